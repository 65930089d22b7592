"""What the report says and shows of a posterior: where the data did not decide, and how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inverse.posterior import Interval, Posterior

__all__ = ["Uncertainty", "coloured", "ramp", "uncertainty_of"]

_AGREE = 1.15
_WIDEST_PERCENTILE = 99.5
_OUTSIDE = 24  # grey of what is not the object
# Dark blue over red to pale yellow: of rising lightness, and told apart by the colour-blind.
_RAMP = np.array(
    [(12, 12, 40), (66, 16, 104), (140, 30, 108), (208, 58, 78), (248, 130, 40), (252, 240, 170)],
    dtype=np.float64,
)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """A posterior, ready for people.

    Parameters
    ----------
    tone : {"good", "caution"}
        Whether the samples agree about what was measured.
    headline : str
        One sentence with the number that matters most.
    sentences : tuple of str
        What else to know.
    maps : mapping of str to (z, y, x) float
        "undetermined", "width" and "spread", 0 to 1 of their colour scale; NaN outside the object.
    captions : mapping of str to str
        What each map shows and what its brightest colour stands for.
    """

    tone: str
    headline: str
    sentences: tuple[str, ...]
    maps: Mapping[str, NDArray[np.floating]]
    captions: Mapping[str, str]


def uncertainty_of(posterior: Posterior) -> Uncertainty:
    """Put a posterior into words and maps.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    Uncertainty
    """
    shown, inside, estimate = posterior.shown, posterior.inside, posterior.estimate
    peak = float(np.abs(estimate).max(initial=0.0)) or 1.0
    percent = f"{100 * shown.level:g} %"
    maps, captions = {}, {}
    for name, values, what in (
        ("width", shown.high - shown.low, f"Width of the {percent} interval"),
        ("spread", posterior.std, "Standard deviation of the samples"),
    ):
        widest = float(np.percentile(values[inside], _WIDEST_PERCENTILE)) if inside.any() else 0.0
        maps[name] = _within(values / (widest or 1.0), inside)
        captions[name] = f"{what}; the brightest colour is {100 * widest / peak:.2g} % of the peak."
    maps["undetermined"] = _within(posterior.null_space_share, inside)
    captions["undetermined"] = (
        "Share of each voxel that the data did not determine, from dark (none) to bright (all of "
        "it, made by the prior). In dark voxels, as at the rim, it is a share of next to nothing."
    )
    share = posterior.undetermined_share
    return Uncertainty(
        tone="caution" if posterior.dispersion > _AGREE else "good",
        headline=f"The data did not decide {100 * share:.0f} % of this image.",
        sentences=(
            "That part, by root mean square inside the object, was filled in by the prior: the "
            "same measurement could not have told it from something else. Bright areas of the "
            "map are where it lies. Do not read anatomy from detail there alone.",
            f"{len(posterior.samples)} images were drawn that fit the data and the prior; the "
            f"image shown is their mean.",
            _agreement(posterior.dispersion),
            _reach(shown, len(posterior.samples), is_calibrated=posterior.calibrated is not None),
        ),
        maps=maps,
        captions=captions,
    )


def _agreement(dispersion: float) -> str:
    if not math.isfinite(dispersion):
        return "The noise of the data is not known, so how far the samples agree on them is not."
    if dispersion <= _AGREE:
        return (
            f"About what was measured the samples agree: they differ there by {dispersion:.2f} "
            f"times the noise, and not more than 1 is right."
        )
    return (
        f"The samples contradict each other about what was measured, by {dispersion:.2f} times "
        f"the noise, where not more than 1 is right: their spread is not to be trusted."
    )


def _reach(shown: Interval, n_samples: int, *, is_calibrated: bool) -> str:
    percent = f"{100 * shown.level:g} %"
    if is_calibrated:
        return (
            f"The {percent} interval is {shown.origin}. It holds the truth in {percent} of the "
            f"object's voxels of slices like those, in more or less of them in a single slice."
        )
    most = (n_samples - 1) / (n_samples + 1)
    limit = (
        f" Exact samples would hold the truth in at most {100 * most:.0f} % of the voxels: draw "
        f"more, or calibrate."
        if most < shown.level
        else ""
    )
    return f"The {percent} interval is {shown.origin}.{limit}"


def _within(values: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.floating]:
    return np.where(inside, np.clip(values, 0, 1), np.nan)


def ramp() -> NDArray[np.uint8]:
    """Return the colour scale, (256, 3), from dark to bright.

    Examples
    --------
    >>> ramp()[[0, 255]].tolist()
    [[12, 12, 40], [252, 240, 170]]
    """
    stops = np.linspace(0, 255, len(_RAMP))
    channels = [np.interp(np.arange(256), stops, _RAMP[:, i]) for i in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def coloured(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Paint values of 0 to 1 in the colours of `ramp`, NaN in grey.

    Parameters
    ----------
    values : (*shape)

    Returns
    -------
    (*shape, 3), uint8
    """
    is_shown = np.isfinite(values)
    levels = np.where(is_shown, 255 * np.clip(values, 0, 1), 0).round().astype(np.intp)
    return np.where(is_shown[..., None], ramp()[levels], np.uint8(_OUTSIDE))
