"""Which noise levels a sampler visits."""

from __future__ import annotations

import math

import numpy as np

from inverse.errors import UsageError
from inverse.problem import Problem

__all__ = ["noise_levels"]


def noise_levels(
    problem: Problem, steps: int, sigma_max: float, sigma_min: float | None
) -> list[float]:
    """Geometric sequence of noise levels, coarse to fine.

    Parameters
    ----------
    problem : Problem
        Half its `noise_std` is where the sequence ends unless `sigma_min` says otherwise: the data
        step then leaves less than half of the data's noise in what they determine.
    steps : int
        How many.
    sigma_max : float
        The first, in image units (the image's peak is about one); raised to twice the last if
        the data are noisier than that.
    sigma_min : float, optional
        The last.

    Raises
    ------
    UsageError
        If `steps` or a level is not positive.
    """
    if steps < 1 or not (math.isfinite(sigma_max) and sigma_max > 0):
        raise UsageError(f"expected steps >= 1 and sigma_max > 0, got {steps} and {sigma_max}")
    last = problem.noise_std / 2 if sigma_min is None else sigma_min
    if not (math.isfinite(last) and last >= 0):
        raise UsageError(f"sigma_min expected a number >= 0, got {last}")
    last = max(last, 1e-3)  # without noise in the data, a thousandth of the peak
    return [float(s) for s in np.geomspace(max(sigma_max, 2 * last), last, steps)]
