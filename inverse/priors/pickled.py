"""Files of `torch.save`, read without ever running what they hold."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
import zipfile
from pathlib import Path

import torch

from inverse.errors import DataError
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, existing_file, reading

__all__ = ["read_pickled"]

_GLOBAL = re.compile(r"GLOBAL ([\w.]{1,80})")
_PICKLE = b"\x80"
# The number that torch.save wrote first, before it wrote archives (torch 1.5 and older).
_OLD_TORCH_FILE = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")


def read_pickled(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> object:
    """Return the tensors and plain containers of a ``.pt`` file, on the CPU.

    A pickle is a program, so the file goes to the restricted unpickler of ``torch.load`` alone,
    which knows tensors, numbers, texts and containers. One more class is let in, because training
    scripts like to save their options and it does nothing when it is built: `argparse.Namespace`.

    Parameters
    ----------
    path : Path
    max_memory : int
        Bytes that the file may take.

    Returns
    -------
    object
        What was saved, most often a dictionary.

    Raises
    ------
    DataError
        If the file holds anything else, is damaged, or is an archive of compressed members.
    ResourceError
        If it is larger than `max_memory`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     torch.save({"step": 3}, Path(folder) / "net.pt")
    ...     read_pickled(Path(folder) / "net.pt")
    {'step': 3}
    """
    existing_file(path)
    check_budget(path, "checkpoint", path.stat().st_size, max_memory)
    if zipfile.is_zipfile(path):
        _check_archive(path)
    else:
        _check_pickle(path)
    with reading(path, "checkpoint"), torch.serialization.safe_globals([argparse.Namespace]):
        try:
            with warnings.catch_warnings():
                # What torch says of odd files is advice on how to load them without protection.
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            name = _GLOBAL.search(str(error))
            if name is None:
                raise
            raise DataError(
                f"{path}: expected a dictionary of tensors, got a Python object ({name[1]}) that "
                "would run code when it is read; it is refused. Where you trust the file, load it "
                "and save the weights alone: torch.save(network.state_dict(), ...)"
            ) from error


def _check_archive(path: Path) -> None:
    """Refuse an archive that grows when it is read; `torch.save` stores its members as they are."""
    with reading(path, "archive"), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    n_bytes = sum(member.file_size for member in members)
    is_stored = all(member.compress_type == zipfile.ZIP_STORED for member in members)
    if not is_stored or n_bytes > path.stat().st_size:
        raise DataError(
            f"{path}: expected an archive of stored members, as torch.save writes it, got "
            "compressed or overlapping ones; save the weights again with torch.save"
        )


def _check_pickle(path: Path) -> None:
    """Refuse a pickle that is not of `torch.save`: it can hold objects only, and they run code."""
    with reading(path, "file"), path.open("rb") as file:
        head = file.read(32)
    if head.startswith(_PICKLE) and _OLD_TORCH_FILE not in head:
        raise DataError(
            f"{path}: expected a file of torch.save, got a plain pickle, as EDM's .pkl networks "
            "are: it would run code when it is read and is refused. Load it where it was made, "
            "and give its denoiser to inverse.priors.CallablePrior"
        )
