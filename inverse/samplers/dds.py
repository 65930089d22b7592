"""Decomposed diffusion sampler: one posterior-like image, agreeing with the data by CG."""

from __future__ import annotations

import math
import time

import torch

from inverse.errors import UsageError
from inverse.methods import Progress, register
from inverse.priors import Prior, load_prior, smooth_phase
from inverse.problem import Problem
from inverse.reconstruction import Diagnostics, Reconstruction, finish
from inverse.samplers.data_step import DataStep, warm_start
from inverse.samplers.schedule import noise_levels
from inverse.samplers.shifted import shifted_denoise

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
    started = time.perf_counter()
    if not 0 <= eta <= 1:
        raise UsageError(f"eta expected 0 to 1, got {eta}")
    prior = load_prior(prior).to(problem.data.device)
    generator = generator or torch.Generator().manual_seed(0)
    levels = noise_levels(problem, steps, sigma_max, sigma_min)
    step = DataStep(problem, maxiter=cg_iterations)
    estimate = warm_start(step)
    phase = smooth_phase(estimate)
    x = estimate + levels[0] * _noise_like(estimate, generator)
    history = []
    for number, sigma in enumerate(levels):
        z = shifted_denoise(prior, x, sigma, phase, generator)
        eps = (x - z) / sigma
        moved = step(z, weight * problem.noise_std**2 / sigma**2)
        history.append(float(torch.linalg.vector_norm(moved - estimate)))
        estimate = moved
        if number + 1 < steps:
            fresh = _noise_like(estimate, generator)
            x = estimate + levels[number + 1] * (math.sqrt(1 - eta**2) * eps + eta * fresh)
        if progress is not None:
            progress("dds", number + 1, steps)
    return finish(
        problem,
        estimate,
        method="dds",
        settings={
            "prior": prior.name,
            "steps": steps,
            "sigma_max": levels[0],
            "sigma_min": levels[-1],
            "eta": eta,
            "weight": weight,
            "cg_iterations": cg_iterations,
        },
        diagnostics=Diagnostics(
            status=f"{steps} noise levels from {levels[0]:.3g} to {levels[-1]:.3g}",
            iterations=steps,
            n_operator=step.n_operator,
            n_denoiser=steps,
            seconds={"reconstruct": time.perf_counter() - started},
            history=tuple(history),
        ),
    )


def _noise_like(image: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """White noise of unit standard deviation in each real component, drawn on the CPU."""
    shape = (*image.shape, 2) if image.is_complex() else tuple(image.shape)
    noise = torch.randn(shape, generator=generator, dtype=image.real.dtype)
    return (torch.view_as_complex(noise) if image.is_complex() else noise).to(image.device)
