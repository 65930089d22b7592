"""Decomposed diffusion sampler: one posterior-like image, agreeing with the data by CG."""

from __future__ import annotations

import math

import torch

from inverse.methods import Progress, register
from inverse.priors import Prior
from inverse.problem import Problem
from inverse.reconstruction import Reconstruction
from inverse.samplers.alternation import Alternation
from inverse.samplers.schedule import noise_levels
from inverse.settings import number

__all__ = ["dds"]


@register("dds", prior=True)
def dds(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    steps: int = 20,
    sigma_max: float = 0.2,
    sigma_min: float | None = None,
    eta: float = 1.0,
    weight: float = 0.6,
    cg_iterations: int = 4,
) -> Reconstruction:
    """Sample by denoising, moving towards the data, and adding noise back.

    With x_k at noise level sigma_k, in the variance-exploding form:
        z = E[x0 | x_k];   eps = (x_k - z) / sigma_k
        xhat = argmin ||A x - y||^2 + mu_k ||x - z||^2,  mu_k = weight noise_std^2 / sigma_k^2
        x_{k+1} = xhat + sigma_{k+1} ( sqrt(1 - eta^2) eps + eta n )

    Two things differ from the paper, both because a patch prior cannot start from pure noise and
    because its fixed data weight (gamma = 1) ignores how noisy the data are: the start is a
    least-squares image plus noise of sigma_max, and the weight follows the measured noise. The
    noise estimate eps is, as in the paper, not corrected for the data step, so that eta < 1 carries
    aliasing along. The result is one draw that is sharper and noisier than a posterior mean; its
    spread over seeds is not calibrated.

    Parameters
    ----------
    problem : Problem
    prior : Prior, optional
        The embedded one by default.
    generator : torch.Generator, optional
        Draws noise and shifts; on the CPU.
    progress : function, optional
        Called as progress("dds", done, steps).
    steps : int
        Calls of the prior.
    sigma_max, sigma_min : float
        First and last noise level relative to the image's peak.
    eta : float
        Share of fresh noise, 0 to 1. This is the paper's eta, not that of DDIM schedulers.
    weight : float
        lambda above.
    cg_iterations : int
        Conjugate-gradient iterations a step, M in the paper.

    Returns
    -------
    Reconstruction

    Raises
    ------
    UsageError
        If a setting is out of range.

    References
    ----------
    Chung, Lee and Ye 2024, arXiv 2303.05754, algorithm 1 and eq. 16
    """
    eta = number("eta", eta, high=1.0)
    weight = number("weight", weight)
    levels = noise_levels(problem, steps, sigma_max, sigma_min)
    run, estimate = Alternation.begin(problem, prior, generator, cg_iterations)
    x = estimate + levels[0] * run.white_noise()
    for index, sigma in enumerate(levels):
        z = run.denoise(x, sigma)
        eps = (x - z) / sigma
        moved = run.agree(z, weight * problem.noise_std**2 / sigma**2)
        run.record(moved - estimate)
        estimate = moved
        if index + 1 < steps:
            noise = math.sqrt(1 - eta**2) * eps + eta * run.white_noise()
            x = estimate + levels[index + 1] * noise
        if progress is not None:
            progress("dds", index + 1, steps)
    return run.finished(estimate, "dds", levels, {"eta": eta, "weight": weight})
