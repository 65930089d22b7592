"""`calibrate`: measure, where the truth is known, how wide an interval must be to hold it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from inverse.calibration import Calibration, posterior_of, spread_of
from inverse.conditions import Conditions
from inverse.errors import DataError, UsageError
from inverse.reconstruction import Reconstruction
from inverse.settings import number

__all__ = ["calibrate"]

_ROUNDING = 1e-9  # (9 + 1) times a level of 0.9 is 9, not a little more


def calibrate(
    reconstructions: Sequence[Reconstruction],
    truths: Sequence[NDArray[np.generic]] | None = None,
    *,
    level: float = 0.9,
    masks: Sequence[NDArray[np.bool_]] | None = None,
) -> Calibration:
    """Measure how wide intervals must be to hold the truth as often as they say.

    factor = the ceil((n + 1) level)-th smallest of |truth - estimate| / max(std, floor) over the n
    voxels of the object, the finite-sample quantile of split conformal prediction.

    Parameters
    ----------
    reconstructions : sequence of Reconstruction
        With samples, all made in the same way; two slices or more between them.
    truths : sequence of (z, y, x), real or complex, optional
        On their grids, in their units; each one's `reference` by default. Magnitudes are compared
        where the samples are complex.
    level : float
        Between 0 and 1.
    masks : sequence of (z, y, x), bool, optional
        The voxels that count; by default those of the object, `inverse.posterior.object_mask`.

    Returns
    -------
    Calibration
        With the coverage before, and after on slices that the factor has not seen.

    Raises
    ------
    UsageError
        If a reconstruction has no samples or no truth, they were made differently, the level is
        out of range, or there is not one truth or mask for each.
    DataError
        If shapes differ, a truth is not finite, or there are too few slices or voxels for the
        level.
    """
    level = number("level", level, high=1.0, above=True)
    conditions = _common_conditions(reconstructions)
    for name, given in (("truth", truths), ("mask", masks)):
        if given is not None and len(given) != len(reconstructions):
            raise UsageError(
                f"calibrate expected a {name} for each of {len(reconstructions)} images, "
                f"got {len(given)}"
            )
    pixels = [
        pixel
        for index, found in enumerate(reconstructions)
        for pixel in _slices(
            found,
            _truth(found, truths, index),
            None if masks is None else masks[index],
            level,
        )
    ]
    if len(pixels) < 2:
        raise DataError(
            f"calibrate expected at least 2 slices with voxels of the object, got {len(pixels)}: "
            f"coverage is checked on slices that the factor has not seen"
        )
    scores = [error / spread for error, spread, _ in pixels]
    left_out = [
        float((score <= _factor(scores[:i] + scores[i + 1 :], level)).mean())
        for i, score in enumerate(scores)
    ]
    error, spread, is_held = (np.concatenate(part) for part in zip(*pixels, strict=True))
    sizes = [len(score) for score in scores]
    return Calibration(
        level=level,
        factor=_factor(scores, level),
        coverage_before=float(is_held.mean()),
        coverage_after=float(np.average(left_out, weights=sizes)),
        coverage_of_slices=tuple(left_out),
        error_correlation=_correlation(error, spread),
        n_slices=len(scores),
        n_pixels=len(error),
        conditions=conditions,
    )


def _common_conditions(reconstructions: Sequence[Reconstruction]) -> Conditions:
    if not reconstructions:
        raise UsageError("calibrate expected reconstructions with samples, got none")
    for found in reconstructions:
        posterior_of(found)
    first, *others = (Conditions.of(found) for found in reconstructions)
    for index, other in enumerate(others, 1):
        different = first.differences(other)
        if different:
            raise UsageError(
                f"calibrate expected reconstructions made alike; the first has "
                f"{'; '.join(different)}, which number {index + 1} has; calibrate them apart"
            )
    noises = [c.noise for c in (first, *others) if c.noise is not None]
    return replace(first, noise=float(np.median(noises))) if noises else first


def _truth(
    found: Reconstruction, truths: Sequence[NDArray[np.generic]] | None, index: int
) -> NDArray[np.generic]:
    truth = found.reference if truths is None else truths[index]
    if truth is None:
        raise UsageError(
            f"calibrate expected a truth for each image; number {index + 1} has no reference, "
            f"give truths"
        )
    if truth.shape != found.image.shape:
        raise DataError(
            f"calibrate expected truth number {index + 1} on the image's grid "
            f"{found.image.shape}, got {truth.shape}; crop or resample it"
        )
    if not np.isfinite(truth).all():
        raise DataError(f"calibrate expected truth number {index + 1} to be finite, got NaN or inf")
    return truth


def _slices(
    found: Reconstruction,
    truth: NDArray[np.generic],
    mask: NDArray[np.bool_] | None,
    level: float,
) -> list[tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.bool_]]]:
    """Error, spread and whether the samples' own interval holds the truth, by slice."""
    posterior = posterior_of(found)
    seen = np.abs(truth) if np.iscomplexobj(posterior.samples) else truth.real
    inside = posterior.inside if mask is None else mask
    if inside.shape != truth.shape:
        raise DataError(f"calibrate expected masks of shape {truth.shape}, got {inside.shape}")
    error, spread = np.abs(seen - posterior.estimate), spread_of(posterior)
    own = posterior.interval(level)
    is_held = (own.low <= seen) & (seen <= own.high)
    return [
        (error[z][where], spread[z][where], is_held[z][where])
        for z, where in enumerate(inside)
        if where.any()
    ]


def _factor(scores: Sequence[NDArray[np.floating]], level: float) -> float:
    """Return the ceil((n + 1) level)-th smallest of all scores."""
    pooled = np.concatenate(scores)
    rank = math.ceil((len(pooled) + 1) * level - _ROUNDING)
    if rank > len(pooled):
        raise DataError(
            f"calibrate expected more than {len(pooled)} voxels for level {level:g}: even their "
            f"largest error holds less than that"
        )
    return float(np.partition(pooled, rank - 1)[rank - 1])


def _correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    x, y = (values.astype(np.float64) - values.mean(dtype=np.float64) for values in (a, b))
    norm = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / norm if norm > 0 else 0.0
