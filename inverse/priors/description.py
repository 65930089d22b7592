"""What there is to say of a prior: parametrisation, sizes, noise range, its card."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from pathlib import Path

from inverse.priors.base import BUILT_IN, EMBEDDED, is_installed, load_prior, weights_of
from inverse.priors.diffusers_folder import printable
from inverse.priors.molrg import PatchPrior
from inverse.priors.unet import UNetPrior

__all__ = ["describe_prior", "shipped_priors"]

_SHIPPED = {
    EMBEDDED: "patches of photographs; knows local structure, no anatomy",
    "brain": "network trained on brain MR",
    "ct": "network trained on CT",
}
_LARGEST_CARD = 2**20


def shipped_priors() -> dict[str, str]:
    """Return the names of the priors in this installation, and what they are.

    Examples
    --------
    >>> "natural" in shipped_priors()
    True
    """
    return {name: what for name, what in _SHIPPED.items() if is_installed(name)}


def describe_prior(prior: str) -> dict[str, object]:
    """Return what is known of a prior, as plain values by name.

    Parameters
    ----------
    prior : str
        As `inverse.load_prior` takes it.

    Returns
    -------
    dict
        The entry ``card`` is the model card's text, empty where there is none.

    Raises
    ------
    UsageError, DataError
        As `inverse.load_prior`.

    Examples
    --------
    >>> describe_prior("natural")["kind"]
    'mixture of low-rank Gaussians over patches'
    """
    loaded = load_prior(prior)
    facts: dict[str, object] = {"name": loaded.name}
    if isinstance(loaded, PatchPrior):
        facts |= _patch_facts(loaded)
    elif isinstance(loaded, UNetPrior):
        facts |= _network_facts(loaded)
    largest = loaded.largest_sigma
    return {
        **facts,
        "image_channels": loaded.n_channels,
        "largest_noise_level": largest if math.isfinite(largest) else "any",
        "card": _card(prior),
    }


def _patch_facts(prior: PatchPrior) -> dict[str, object]:
    mixture = prior.mixture
    return {
        "kind": "mixture of low-rank Gaussians over patches",
        "patch_pixels": prior.size,
        "stride": prior.stride,
        "components": mixture.n_components,
        "rank": int(mixture.variances.shape[1]),
        "parameters": sum(getattr(mixture, field.name).numel() for field in fields(mixture)),
        **{f"fit_{key}": value for key, value in prior.card.items() if key not in _PATCH_KEYS},
    }


_PATCH_KEYS = frozenset({"format", "name", "size", "stride", "n_components", "rank"})


def _network_facts(prior: UNetPrior) -> dict[str, object]:
    network = prior.network
    how: object = prior.parametrisation
    settings: dict[str, object] = {}
    if is_dataclass(how):
        values = {field.name: getattr(how, field.name) for field in fields(how)}
        settings = {k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}
    config = network.config
    return {
        "kind": "network (diffusers UNet2DModel)",
        "parametrisation": type(how).__name__,
        **settings,
        "units": prior.units,
        "scale": prior.scale,
        "offset": prior.offset,
        "parameters": prior.n_parameters,
        "channels": list(config["block_out_channels"]),
        "inputs_and_outputs": [config["in_channels"], config["out_channels"]],
    }


def _card(prior: str) -> str:
    """Return the text beside a prior: README.md of a folder, NAME.md of a file."""
    path = weights_of(prior) if prior in BUILT_IN else Path(prior)
    text = path / "README.md" if path.is_dir() else path.with_suffix(".md")
    if not text.is_file() or text.stat().st_size > _LARGEST_CARD:
        return ""
    return printable(text.read_text(encoding="utf-8", errors="replace"))
