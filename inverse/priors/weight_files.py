"""Weights on disk as safetensors: whole or not there, readable by whom the folder is for.

The writer of safetensors has errors of its own for a full disk, and leaves files that nobody else
may read, whatever the umask says. Where diffusers calls it that is put right here; our own files
are written without it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from inverse.io.atomic import replacing

__all__ = ["saving_network", "write_tensors"]

_SYSTEM_ERROR = re.compile(r"\(os error (\d{1,5})\)")


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, str]
) -> None:
    """Write tensors and texts as one safetensors file, atomically; the same ones as the same bytes.

    Parameters
    ----------
    path : Path
        Replaced in one step.
    tensors : mapping of str to Tensor
        On any device, of any memory layout; no two share memory.
    about : mapping of str to str
        The file's metadata.

    Raises
    ------
    ResourceError
        If the disk is full or the folder cannot be written; what was there is kept.
    """
    from safetensors.torch import save

    packed = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    content = _ordered(save(packed, metadata=dict(about)))
    with replacing(path) as part:
        part.write_bytes(content)


def _ordered(content: bytes) -> bytes:
    """Put the texts of a safetensors file in order of their keys: its writer shuffles them.

    The file is the length of its header in 8 bytes, little-endian, the header in JSON with blanks
    behind it up to a multiple of 8, and the tensors.
    """
    n_header = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n_header])
    texts = header.pop("__metadata__", {})
    ordered = {"__metadata__": dict(sorted(texts.items())), **header}
    text = json.dumps(ordered, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + n_header :]


@contextmanager
def saving_network(folder: Path) -> Iterator[None]:
    """Let `save_pretrained` of diffusers fail as other writers do, and share what it wrote.

    Parameters
    ----------
    folder : Path
        Where it puts ``config.json`` and the weights; these get the permissions of that file.

    Raises
    ------
    OSError
        In place of a `SafetensorError`, with the number of the system's error where it names one.
    """
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        number = _SYSTEM_ERROR.search(str(error))
        raise (OSError(int(number[1]), str(error)) if number else OSError(str(error))) from error
    config = folder / "config.json"
    if config.is_file():
        for weights in folder.glob("*.safetensors"):
            shutil.copymode(config, weights)
