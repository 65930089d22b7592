"""Plug-and-play half-quadratic splitting: the deterministic sampler, a point estimate."""

from __future__ import annotations

import torch

from inverse.methods import Progress, register
from inverse.priors import Prior
from inverse.problem import Problem
from inverse.reconstruction import Reconstruction
from inverse.samplers.run import Callback, CgIterations, Run
from inverse.samplers.streams import Generators
from inverse.settings import number

__all__ = ["pnp_hqs"]


@register("pnp_hqs", prior=True)
def pnp_hqs(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: Generators = None,
    progress: Progress | None = None,
    callback: Callback | None = None,
    steps: int = 20,
    sigma_max: float = 0.2,
    sigma_min: float | None = None,
    weight: float = 0.6,
    cg_iterations: CgIterations = "adaptive",
    recycle: int = 0,
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
    generator
        Not used: nothing is random.
    progress, callback : function, optional
        See `inverse.samplers.run`.
    steps : int
        Calls of the prior.
    sigma_max, sigma_min : float
        First and last noise level relative to the image's peak; the last is by default half that
        of the data.
    weight : float
        lambda above.
    cg_iterations : int or "adaptive"
        Conjugate-gradient iterations a step.
    recycle : int
        Directions of earlier data steps that each starts from; see `inverse.samplers.run.Run`.

    Returns
    -------
    Reconstruction

    Raises
    ------
    UsageError
        If a setting is out of range.

    References
    ----------
    Zhang et al. 2021, doi:10.1109/TPAMI.2021.3088914; Zhu et al. 2023, arXiv 2305.08995
    (DiffPIR, of which this is the limit without re-noising)
    """
    weight = number("weight", weight)
    run, start = Run.begin(
        problem,
        prior,
        generator=generator,
        cg_iterations=cg_iterations,
        recycle=recycle,
        progress=progress,
        callback=callback,
    )

    def step(x: torch.Tensor, sigma: float, following: float) -> tuple[torch.Tensor, torch.Tensor]:
        del following
        z = run.denoise(x, sigma)
        moved = run.agree(z, run.data_weight(sigma, weight))
        return moved, moved

    x = run.anneal(start, run.schedule(steps, sigma_max, sigma_min), step)
    return run.finished(x, "pnp_hqs", {"weight": weight})
