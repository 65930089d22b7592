"""Which noise levels a sampler visits."""

from __future__ import annotations

import numpy as np

from inverse.errors import UsageError
from inverse.problem import Problem
from inverse.settings import count, number

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
        If there are fewer than two steps, or a level is out of range.
    """
    steps = count("steps", steps, low=2)
    first = number("sigma_max", sigma_max, above=True)
    last = problem.noise_std / 2 if sigma_min is None else number("sigma_min", sigma_min)
    if sigma_min is not None and last >= first:
        raise UsageError(f"sigma_min expected less than sigma_max = {first:g}, got {last:g}")
    last = max(last, 1e-3)  # without noise in the data, a thousandth of the peak
    return [float(s) for s in np.geomspace(max(first, 2 * last), last, steps)]
