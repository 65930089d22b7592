"""Where in a checkpoint the weights of an ADM U-Net are, and what it holds instead."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from inverse.errors import DataError
from inverse.io.untrusted import check_budget

__all__ = ["FoundWeights", "check_weights", "find_weights", "plain_name"]

_MARKER = "time_embed.0.weight"
_PLAIN = re.compile(r"[\w.-]{1,200}")
_MAX_NAMED = 6


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """The weights of one network in a checkpoint.

    Parameters
    ----------
    part : str
        Where they were; empty when the checkpoint is nothing but these weights.
    weights : dict of str to Tensor
        Under the names of guided-diffusion, prefixes taken off.
    unused : tuple of str
        What else the checkpoint holds.
    """

    part: str
    weights: dict[str, torch.Tensor]
    unused: tuple[str, ...]


def find_weights(content: object) -> FoundWeights:
    """Find the weights of an ADM U-Net in what a checkpoint holds.

    They may be the whole of it or one of its entries, and their names may have a prefix:
    ``module.`` of parallel training, ``ema.`` of a wrapper. Averaged weights are preferred.

    Parameters
    ----------
    content : object
        From `inverse.priors.pickled.read_pickled`.

    Raises
    ------
    DataError
        If there are none, or several that nothing tells apart.

    Examples
    --------
    >>> weight = torch.zeros(128, 32)
    >>> find_weights({"step": 1, "state_dict": {"module.time_embed.0.weight": weight}}).part
    'state_dict.module'
    """
    if not isinstance(content, Mapping):
        raise DataError(f"expected a dictionary of weights, got {type(content).__name__}")
    places = {(): content, **{(k,): v for k, v in content.items() if isinstance(v, Mapping)}}
    found = [
        (place, name.removesuffix(_MARKER))
        for place, mapping in places.items()
        for name in mapping
        if isinstance(name, str) and name.endswith(_MARKER)
    ]
    if not found:
        raise DataError(_what_it_is(places.values()))
    averaged = [(place, prefix) for place, prefix in found if "ema" in f"{place}{prefix}".lower()]
    if len(averaged or found) > 1:
        raise DataError(
            f"expected one network, got {len(averaged or found)} that may be meant; "
            "save the weights of one of them alone"
        )
    place, prefix = (averaged or found)[0]
    inside, outside = {}, []
    for name, weight in places[place].items():
        if isinstance(name, str) and name.startswith(prefix):
            inside[name.removeprefix(prefix)] = weight
        else:
            outside.append(name)
    # A second network need not be listed weight by weight.
    others = [*(key for key in content if place and key not in place), *outside]
    unused = dict.fromkeys(plain_name(str(name)).partition(".")[0] for name in others)
    part = ".".join(plain_name(str(name)) for name in (*place, prefix.rstrip(".")) if name)
    return FoundWeights(part, inside, tuple(unused))


def check_weights(path: Path, weights: Mapping[str, torch.Tensor], max_memory: int) -> int:
    """Return the number of parameters, when all are finite real numbers that fit in memory.

    Parameters
    ----------
    path : Path
        The checkpoint, for the message.
    weights : mapping
        As found; a hostile file may hold anything in the place of a tensor.
    max_memory : int
        Bytes that they may take in single precision.

    Raises
    ------
    DataError
        If one is something else.
    ResourceError
        If they take more: a few bytes in a file can claim to be a tensor of any size.
    """
    others = [plain_name(name) for name, weight in weights.items() if not _is_dense(name, weight)]
    if others:
        raise DataError(
            f"expected dense tensors of real numbers only, got {len(others)} other entries among "
            f"the weights: {', '.join(others[:_MAX_NAMED])}"
        )
    n_parameters = sum(weight.numel() for weight in weights.values())
    check_budget(path, "network", 4 * n_parameters, max_memory)
    for name, weight in weights.items():
        if not torch.isfinite(weight).all():
            raise DataError(f"expected finite weights, but {name} has values that are not")
    return n_parameters


def _is_dense(name: str, value: object) -> bool:
    return (
        _PLAIN.fullmatch(name) is not None
        and isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
    )


def plain_name(name: str) -> str:
    """Return a name out of a file as something that is safe to print.

    Examples
    --------
    >>> plain_name("conv weight")
    'conv?weight'
    """
    return re.sub(r"[^\w.-]", "?", name)[:80]


def _what_it_is(mappings: Iterable[Mapping[object, object]]) -> str:
    names = [str(name) for mapping in mappings for name in mapping]
    if any("all_modules." in name for name in names):
        return (
            "expected a guided-diffusion (ADM) U-Net, got a score_sde network (NCSN++ or DDPM++, "
            "all_modules.*): diffusers has no U-Net with its filtered resampling and progressive "
            "inputs, so that the result would be another function. Load it in score_sde's own "
            "code, with the averaged weights ema.shadow_params, and give denoise(x, sigma) = "
            "x + sigma^2 score(x, sigma) to inverse.priors.CallablePrior"
        )
    shown = ", ".join(plain_name(name) for name in names[:_MAX_NAMED]) or "none"
    return f"expected a guided-diffusion (ADM) U-Net with {_MARKER}, got the names {shown}"
