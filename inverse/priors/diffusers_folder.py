"""Read a folder that diffusers wrote: the network and its card, offline and without pickle.

    unet/config.json  unet/diffusion_pytorch_model[.fp16].safetensors
    scheduler/scheduler_config.json             (see `inverse.priors.noise_schedule`)
    prior.json                                  (ours, optional: see `Card`)

The folder may come from anyone. The network is first built without memory and its shapes are
compared with those in the file, so that a configuration cannot ask for more than the file holds;
of the configurations only known entries reach diffusers, and nothing is looked up by network.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import existing_file, reading

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

__all__ = [
    "Card",
    "check_name",
    "pipeline_folder",
    "printable",
    "read_card",
    "read_network",
    "read_settings",
]

_LARGEST_JSON = 2**22
_LONGEST_NAME = 100
_WEIGHTS = "diffusion_pytorch_model"
# Attention layers were called otherwise before diffusers 0.13.
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_KEY = re.compile(rf"(attentions\.\d+\.)({'|'.join(_OLD_ATTENTION)})(?=\.)")


@dataclass(frozen=True, slots=True)
class Card:
    """What ``prior.json`` says about the images a network was trained on.

    Parameters
    ----------
    name : str
        What a report calls the prior; by default the folder's name.
    units : str
        Of the images, for people.
    scale, offset : float
        Network input = scale x + offset for an image x in image units (peak about one). Networks
        trained on -1..1, the habit of DDPM, have scale 2 and offset -1. Without the file 1 and 0.
    """

    name: str
    units: str = ""
    scale: float = 1.0
    offset: float = 0.0


def read_card(folder: Path) -> Card:
    """Read ``prior.json``; the defaults of `Card` where there is none.

    Raises
    ------
    DataError
        If it is damaged or an entry is out of range.
    """
    path = folder / "prior.json"
    if not path.exists():
        return Card(folder.resolve().name)
    entries = read_settings(path)
    name, units = entries.get("name", folder.resolve().name), entries.get("units", "")
    with reading(path, "scale or offset"):
        scale, offset = float(entries.get("scale", 1)), float(entries.get("offset", 0))
    if not (_is_line(name) and _is_line(units)):
        raise DataError(
            f"{path}: name and units expected a line of at most {_LONGEST_NAME} characters"
        )
    if not (0 < scale < math.inf and math.isfinite(offset)):
        raise DataError(f"{path}: expected a positive scale and a finite offset")
    return Card(name, units, scale, offset)


def check_name(name: str) -> str:
    """Return a prior's name if `read_card` would read it back: one printable line, not too long.

    Raises
    ------
    UsageError
        If it would not.
    """
    if not (_is_line(name) and name.strip()):
        raise UsageError(
            f"the name of a prior expected a printable line of at most {_LONGEST_NAME} characters, "
            f"got {len(name)}: {name[:20]!a}"
        )
    return name


def _is_line(text: object) -> bool:
    return isinstance(text, str) and text.isprintable() and len(text) <= _LONGEST_NAME


def printable(text: str) -> str:
    r"""Replace what a terminal would obey rather than show; lines stay lines.

    Examples
    --------
    >>> printable("safe \x1b[2J")
    'safe ?[2J'
    """
    return "".join(char if char.isprintable() or char in "\n\t" else "?" for char in text)


def pipeline_folder(folder: Path) -> Path:
    """Return the folder that holds schedule and card, for one that may be the network's in it."""
    is_inside = folder.name == "unet" and (folder / "config.json").is_file()
    return folder.parent if is_inside else folder


def read_settings(path: Path) -> dict[str, Any]:
    """Read a small JSON file that holds one object.

    Raises
    ------
    DataError
        If it is missing, large, damaged or holds something else.
    """
    if existing_file(path).stat().st_size > _LARGEST_JSON:
        raise DataError(f"{path}: expected settings of at most {_LARGEST_JSON} bytes")
    with reading(path, "JSON"):
        entries = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(entries, dict):
        raise DataError(f"{path}: expected a JSON object, got {type(entries).__name__}")
    return entries


def read_network(folder: Path, dtype: torch.dtype) -> UNet2DModel:
    """Read the network, ready to be evaluated.

    Parameters
    ----------
    folder : Path
        Holds ``unet/``, or the network itself.
    dtype : dtype
        Of the weights in memory.

    Raises
    ------
    DataError
        If the folder holds no `UNet2DModel` in safetensors that fits its configuration.
    """
    unet = folder / "unet" if (folder / "unet").is_dir() else folder
    path = unet / "config.json"
    if not path.is_file():
        raise DataError(
            f"{folder}: expected a diffusers folder with unet/config.json, found none; "
            "`UNet2DModel.save_pretrained` writes it"
        )
    config = read_settings(path)
    if config.get("_class_name") != "UNet2DModel":
        raise DataError(
            f"{path}: expected a network of class UNet2DModel, got "
            f"{str(config.get('_class_name'))[:60]!r}"
        )
    tensors = _read_tensors(_find_weights(unet))
    with reading(path, "network configuration"):
        network = _build(config, path)
    return _filled(network, tensors, dtype, unet)


def _build(config: dict[str, Any], path: Path) -> UNet2DModel:
    """Build the network without memory for its weights."""
    from diffusers.models.unets.unet_2d import UNet2DModel

    channels, layers = config.get("block_out_channels"), config.get("layers_per_block", 2)
    if not (isinstance(channels, list) and len(channels) <= 12):
        raise DataError(f"{path}: block_out_channels expected a list of at most 12 numbers")
    if not (isinstance(layers, int) and 0 < layers <= 32):
        raise DataError(f"{path}: layers_per_block expected 1 to 32")
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        raise DataError(
            f"{path}: the network needs a class label for each image; expected one without classes"
        )
    accepted = inspect.signature(UNet2DModel.__init__).parameters
    with torch.device("meta"):
        network: UNet2DModel = UNet2DModel(
            **{key: value for key, value in config.items() if key in accepted}
        )
        # Without memory this costs nothing, and finds blocks that do not fit each other.
        size = 2 ** len(channels)
        image = torch.empty(1, network.config["in_channels"], size, size)
        network(image, torch.zeros(1, dtype=torch.long))
    return network


def _filled(
    network: UNet2DModel, tensors: dict[str, torch.Tensor], dtype: torch.dtype, unet: Path
) -> UNet2DModel:
    wanted = {key: value.shape for key, value in network.state_dict().items()}
    found = {key: value.shape for key, value in tensors.items()}
    if wanted != found:
        differing = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        raise DataError(
            f"{unet}: the weights do not fit config.json in {len(differing)} of {len(wanted)} "
            f"tensors, first {differing[0][:80]!r}; both must come from the same network"
        )
    with reading(unet, "weights"):
        weights = {key: _laid_out(tensors[key], dtype) for key in wanted}
    if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
        raise DataError(f"{unet}: the weights hold NaN or infinity in {dtype}")
    network.load_state_dict(weights, assign=True)
    if any(buffer.is_meta for buffer in network.buffers()):
        raise DataError(f"{unet}: the network has blocks with fixed filters, which are not read")
    network.requires_grad_(False).eval()
    return network


def _laid_out(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return a weight with channels last where it is a convolution: some 7 % faster on a CPU."""
    order = torch.channels_last if weight.ndim == 4 else torch.contiguous_format
    # A copy: rounding depends on how memory is aligned, which must not depend on the file.
    return weight.to(dtype).clone(memory_format=order)


def _find_weights(unet: Path) -> Path:
    """Return the weight file: the one without a variant in its name, or the shortest variant."""
    files = sorted(unet.glob(f"{_WEIGHTS}*.safetensors"), key=lambda file: len(file.name))
    if files and "-of-" not in files[0].name:
        return files[0]
    if list(unet.glob("*.bin")) or list(unet.glob("*.pt")):
        raise DataError(
            f"{unet}: the weights are pickled, which may run code; expected safetensors: where you "
            "trust them, UNet2DModel.from_pretrained(folder).save_pretrained(folder) writes it"
        )
    what = "one file, got several parts" if files else "found none"
    raise DataError(f"{unet}: expected weights in {_WEIGHTS}.safetensors, {what}")


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    with reading(existing_file(path), "weight file"):
        tensors = load_file(path)
    return {
        _OLD_KEY.sub(lambda match: match[1] + _OLD_ATTENTION[match[2]], key): value
        for key, value in tensors.items()
    }
