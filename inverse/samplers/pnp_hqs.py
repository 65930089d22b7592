"""Plug-and-play half-quadratic splitting: the deterministic sampler, a point estimate."""

from __future__ import annotations

import time

import torch

from inverse.methods import Progress, register
from inverse.priors import Prior, load_prior, smooth_phase
from inverse.problem import Problem
from inverse.reconstruction import Diagnostics, Reconstruction, finish
from inverse.samplers.data_step import DataStep, warm_start
from inverse.samplers.schedule import noise_levels
from inverse.samplers.shifted import shifted_denoise

__all__ = ["pnp_hqs"]


@register("pnp_hqs", prior=True)
def pnp_hqs(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    steps: int = 20,
    sigma_max: float = 0.2,
    sigma_min: float | None = None,
    weight: float = 0.6,
    cg_iterations: int = 4,
) -> Reconstruction:
    """Alternate denoising and data consistency at falling noise levels.

    z_k = E[x0 | x_k] at sigma_k;   x_{k+1} = argmin ||A x - y||^2 + mu_k ||x - z_k||^2,
    mu_k = weight noise_std^2 / sigma_k^2

    The data weight follows the noise that was measured: nothing needs tuning. The result is a
    point estimate without spread; where the data say nothing it is what the prior finds likely.

    Parameters
    ----------
    problem : Problem
    prior : Prior, optional
        The embedded one by default.
    generator : torch.Generator, optional
        Draws the shifts of the image between calls of the prior.
    progress : function, optional
        Called as progress("pnp_hqs", done, steps).
    steps : int
        Calls of the prior.
    sigma_max, sigma_min : float
        First and last noise level relative to the image's peak; the last is by default half that
        of the data.
    weight : float
        lambda above.
    cg_iterations : int
        Conjugate-gradient iterations a step.

    Returns
    -------
    Reconstruction

    Raises
    ------
    UsageError
        If a setting is out of range.

    References
    ----------
    Zhang et al. 2021, doi:10.1109/TPAMI.2021.3088914, eq. 6; Zhu et al. 2023, arXiv 2305.08995
    (DiffPIR, of which this is the limit without re-noising)
    """
    started = time.perf_counter()
    prior = load_prior(prior).to(problem.data.device)
    generator = generator or torch.Generator().manual_seed(0)
    levels = noise_levels(problem, steps, sigma_max, sigma_min)
    step = DataStep(problem, maxiter=cg_iterations)
    x = warm_start(step)
    phase = smooth_phase(x)
    history = []
    for number, sigma in enumerate(levels):
        z = shifted_denoise(prior, x, sigma, phase, generator)
        moved = step(z, weight * problem.noise_std**2 / sigma**2)
        history.append(float(torch.linalg.vector_norm(moved - x)))
        x = moved
        if progress is not None:
            progress("pnp_hqs", number + 1, steps)
    return finish(
        problem,
        x,
        method="pnp_hqs",
        settings={
            "prior": prior.name,
            "steps": steps,
            "sigma_max": levels[0],
            "sigma_min": levels[-1],
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
