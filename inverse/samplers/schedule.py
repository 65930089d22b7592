"""Which noise levels a sampler visits."""

from __future__ import annotations

import numpy as np
import torch

from inverse.errors import UsageError
from inverse.problem import Problem
from inverse.settings import count, number

__all__ = ["noise_levels", "vp_levels"]

_LEAST = 1e-3  # data may be without noise


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
        The last; a thousandth of the peak at least, whatever it or the noise is.

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
    last = max(last, _LEAST)
    return [float(s) for s in np.geomspace(max(first, 2 * last), last, steps)]


def vp_levels(steps: int, n_train: int = 1000, *, quadratic: bool = False) -> list[float]:
    """Noise levels of the variance-preserving schedule of DDPM, every `n_train // steps` steps.

    sigma_t = sqrt((1 - a_t) / a_t),  a_t = prod_{s <= t} (1 - beta_s),  beta linear 1e-4 .. 2e-2

    x_t / sqrt(a_t) of the variance-preserving process is x + sigma_t n, so that a DDIM step there
    is the step of the same form here.

    Parameters
    ----------
    steps : int
        Number of levels wanted, at most `n_train`.
    n_train : int
        Steps of the schedule that the network was trained on.
    quadratic : bool
        From the last training step to the first, t = n_train - 1 - n_train sqrt(j / (steps - 1)),
        close together where there is little noise, instead of evenly spaced.

    Returns
    -------
    list of float
        Falling; the last is that of t = 0.

    Raises
    ------
    UsageError
        If `steps` is out of range.

    References
    ----------
    Ho et al. 2020, arXiv 2006.11239, section 4; Chung et al. 2024, arXiv 2303.05754, section 2.
    """
    steps = count("steps", steps, low=2)
    if steps > n_train:
        raise UsageError(f"steps expected at most {n_train}, got {steps}")
    kept = torch.cumprod(1 - torch.linspace(1e-4, 2e-2, n_train, dtype=torch.float64), 0)
    times = torch.arange(steps - 1, -1, -1) * (n_train // steps)
    if quadratic:
        share = torch.linspace(0, 1, steps, dtype=torch.float64).sqrt()
        times = (n_train - 1 - (n_train * share).long()).clamp_min(0)
    return [float(s) for s in ((1 - kept[times]) / kept[times]).sqrt()]
