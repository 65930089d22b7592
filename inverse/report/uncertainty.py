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
_SHARE_OF_ENERGY = 0.99
_ALIKE = 0.99  # correlation from which a second map shows nothing new
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
        "undetermined", "width" and, unless that looks the same, "spread": 0 to 1 of their colour
        scale; NaN outside the object.
    captions : mapping of str to str
        What each map shows and what its brightest colour stands for.
    brightest : mapping of str to str
        What the brightest colour stands for, for the end of the scale.
    """

    tone: str
    headline: str
    sentences: tuple[str, ...]
    maps: Mapping[str, NDArray[np.floating]]
    captions: Mapping[str, str]
    brightest: Mapping[str, str]


def uncertainty_of(posterior: Posterior) -> Uncertainty:
    """Put a posterior into words and maps.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    Uncertainty
    """
    shown, share = posterior.shown, posterior.undetermined_share
    painted = {"undetermined": _share_map(posterior), **_width_maps(posterior)}
    return Uncertainty(
        tone="caution" if posterior.dispersion > _AGREE else "good",
        headline=f"By root mean square, the data did not decide {100 * share:.2g} % of this image.",
        sentences=(
            "That part, inside the object, was filled in by the prior: the same measurement could "
            "not have told it from something else. Nearly all of an image's strength is in its "
            "coarse shapes, which a scan seldom misses, so a few per cent are of the order of its "
            "fine detail. Bright areas of the map are where they lie. Do not read anatomy from "
            "detail there alone.",
            f"{len(posterior.samples)} images were drawn that fit the data and the prior; the "
            f"image shown is their mean.",
            _agreement(posterior.dispersion),
            _worth(shown),
            _reach(shown, len(posterior.samples), is_calibrated=posterior.calibrated is not None),
        ),
        maps={name: each.values for name, each in painted.items()},
        captions={name: each.caption for name, each in painted.items()},
        brightest={name: each.brightest for name, each in painted.items()},
    )


@dataclass(frozen=True, slots=True)
class _Map:
    values: NDArray[np.floating]
    caption: str
    brightest: str


def _width_maps(posterior: Posterior) -> dict[str, _Map]:
    """Return the width of the interval and, unless it looks the same, the samples' spread."""
    shown, inside = posterior.shown, posterior.inside
    peak = float(np.abs(posterior.estimate).max(initial=0.0)) or 1.0
    maps = {"width": shown.high - shown.low, "spread": posterior.std}
    what = {
        "width": f"Width of the {100 * shown.level:g} % interval",
        "spread": "Standard deviation of the samples",
    }
    if _are_alike(*(values[inside] for values in maps.values())):
        del maps["spread"]
        what["width"] += ", in proportion to the standard deviation of the samples"
    speckle = _speckle(len(posterior.samples))
    painted = {}
    for name, values in maps.items():
        widest = float(np.percentile(values[inside], _WIDEST_PERCENTILE)) if inside.any() else 0.0
        end = f"{100 * widest / peak:.2g} % of the peak"
        caption = f"{what[name]}; the brightest colour is {end}. {speckle}"
        painted[name] = _Map(_within(values / (widest or 1.0), inside), caption, end)
    return painted


def _share_map(posterior: Posterior) -> _Map:
    """Return the share that the data did not determine, in its own range."""
    share, inside = posterior.null_space_share, posterior.inside
    most = _most_of_the_share(share[inside], posterior.estimate[inside])
    end = f"{100 * most:.2g} %{' or more' if most < 1 else ''}"
    caption = (
        f"Share of each voxel that the data did not determine, from dark (none) to bright ({end}; "
        f"that part was made by the prior). In voxels that are dark in the image, as at the rim, "
        f"a bright colour is a share of next to nothing."
    )
    return _Map(_within(share / most, inside), caption, end)


def _are_alike(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    """Whether two maps show the same picture, each in its own scale."""
    if one.size < 2 or not (np.ptp(one) > 0 and np.ptp(other) > 0):
        return False
    return float(np.corrcoef(one, other)[0, 1]) >= _ALIKE


def _speckle(n_samples: int) -> str:
    """Say how far the figure of one voxel is chance: 1 / sqrt(2 (n - 1)) for Gaussian samples."""
    chance = 100 / math.sqrt(2 * (n_samples - 1))
    return (
        f"From {n_samples} samples the figure of a single voxel is off by some {chance:.0f} %: its "
        f"speckle is chance, and nothing was smoothed."
    )


def _most_of_the_share(share: NDArray[np.floating], estimate: NDArray[np.floating]) -> float:
    """Return the share that is not exceeded where 99 % of the image's energy is; 1 if it is none.

    Weighed by the image, because the share is largest where there is next to no image.
    """
    energy = np.square(estimate.astype(np.float64))
    if not energy.sum() > 0:
        return 1.0
    order = np.argsort(share)
    reached = np.cumsum(energy[order])
    place = int(np.searchsorted(reached, _SHARE_OF_ENERGY * reached[-1]))
    return float(share[order[place]]) or 1.0


def _worth(shown: Interval) -> str:
    """Say what is known of how well the spread shows where the errors are."""
    return shown.verdict or (
        "Whether the spread shows where the errors are is not known of these samples: it depends "
        "on the prior and the sampler, and `inverse calibrate` measures it where a truth is known."
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
