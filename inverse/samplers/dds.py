"""Decomposed diffusion sampler: denoise, move towards the data by CG, add noise back."""

from __future__ import annotations

import math

import torch

from inverse.methods import Progress, register
from inverse.priors import Prior
from inverse.problem import Problem
from inverse.reconstruction import Reconstruction
from inverse.samplers.run import Callback, CgIterations, Run, one_of
from inverse.samplers.streams import Generators
from inverse.settings import number

__all__ = ["dds"]

_PAPER_ETA = {19: 0.15, 49: 0.5, 99: 0.8}


@register("dds", prior=True)
def dds(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: Generators = None,
    n_samples: int = 1,
    progress: Progress | None = None,
    callback: Callback | None = None,
    preset: str = "measured-noise",
    steps: int = 20,
    sigma_max: float = 0.2,
    sigma_min: float | None = None,
    eta: float | None = None,
    gamma: float | str = "auto",
    weight: float = 0.6,
    form: str = "noisy",
    cg_iterations: CgIterations | None = None,
    recycle: int = 0,
) -> Reconstruction:
    """Sample by denoising, moving towards the data, and adding noise back.

    With x_k at noise level sigma_k, in the variance-exploding form:
        z = E[x0 | x_k];   eps = (x_k - z) / sigma_k
        noisy:      xhat = argmin gamma_k ||A x - y||^2 + ||x - z||^2
        noiseless:  xhat = cg_iterations steps of CG on A^H A x = A^H y from z
        x_{k+1} = xhat + sigma_{k+1} ( sqrt(1 - eta^2) eps + eta n )
    which is the paper's variance-preserving form divided by sqrt(a_t): sigma^2 = (1 - a_t) / a_t.

    By default ("measured-noise") two things differ from the paper: the start is a least-squares
    image plus noise of sigma_max, because a prior made of patches cannot start from pure noise, and
    the data weight follows the measured noise, 1 / gamma_k = weight noise_std^2 / sigma_k^2,
    because a fixed one ignores how noisy the data are. The noise estimate eps is, as in the paper,
    not corrected for the data step, so that eta < 1 carries aliasing along; at the default eta = 1
    it has no weight, and the sampler is `diffpir` at its defaults to the last bit: the two differ
    only in which noise they keep. A result is one draw, sharper and noisier than a posterior mean.

    It approximates p(x0 | x_k, y) by the mean xhat of its data step: what is left open about x0
    does not enter the draw. The measured bias at the defaults is that of `diffpir`: the mean off by
    0.05 to 0.62 posterior standard deviations, the standard deviation 0.60 to 0.69 of the exact
    one, and 90 % intervals that hold 69 to 77 % of the truth (`benchmarks.sampler_calibration`,
    eight problems of 8 by 8 pixels).

    Parameters
    ----------
    problem : Problem
    prior : Prior, optional
        The embedded one by default.
    generator, n_samples, progress, callback
        See `inverse.samplers.run.Run.begin`. With several samples the image is their mean.
    preset : {"measured-noise", "dds-paper"}
        "dds-paper": pure noise at the start, the levels of the linear DDPM schedule, gamma = 1,
        five CG iterations, eta .15 / .5 / .8 at 19 / 49 / 99 steps (the nearest is taken). Levels
        above the prior's `largest_sigma` are left out and not made up for: the schedule starts
        near 100, of 20 levels 8 are at most 1.8. What is given besides still counts.
    steps : int
        Calls of the prior; with "dds-paper" at most so many, see there.
    sigma_max, sigma_min : float
        First and last noise level relative to the image's peak (not with "dds-paper").
    eta : float
        Share of fresh noise, 0 to 1; by default 1. Not the eta of DDIM schedulers, see
        `inverse.diffusers_pipeline.ddim_eta`.
    gamma : "auto" or float
        Weight of the data, above.
    weight : float
        lambda in gamma = "auto".
    form : {"noisy", "noiseless"}
    cg_iterations : int or "adaptive"
        Conjugate-gradient iterations a step, M in the paper; adaptive by default.
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
    Chung, Lee and Ye 2024, arXiv 2303.05754, algorithm 1 and section 3
    """
    paper = one_of("preset", preset, ("measured-noise", "dds-paper")) == "dds-paper"
    noiseless = one_of("form", form, ("noisy", "noiseless")) == "noiseless"
    if eta is None:
        eta = _PAPER_ETA[min(_PAPER_ETA, key=lambda n: abs(n - steps))] if paper else 1.0
    eta = number("eta", eta, high=1.0)
    weight = number("weight", weight)
    fixed = 1.0 if paper and gamma == "auto" else gamma
    inverse_gamma = None if fixed == "auto" else 1 / number("gamma", fixed, above=True)
    if cg_iterations is None:
        cg_iterations = 5 if paper else "adaptive"
    run, start = Run.begin(
        problem,
        prior,
        generator=generator,
        n_samples=n_samples,
        cg_iterations=cg_iterations,
        recycle=recycle,
        progress=progress,
        callback=callback,
    )
    if paper:
        levels = run.vp_schedule(steps)
        start = torch.zeros_like(start)
    else:
        levels = run.schedule(steps, sigma_max, sigma_min)

    def step(x: torch.Tensor, sigma: float, following: float) -> tuple[torch.Tensor, torch.Tensor]:
        z = run.denoise(x, sigma)
        eps = (x - z) / sigma
        mu = run.data_weight(sigma, weight) if inverse_gamma is None else inverse_gamma
        estimate = run.agree(z, 0.0 if noiseless else mu)
        noise = math.sqrt(1 - eta**2) * eps
        if eta:
            noise = noise + eta * run.white_noise()
        return estimate, estimate + following * noise

    estimate = run.anneal(start + levels[0] * run.white_noise(), levels, step)
    settings = {"steps": steps, "preset": preset, "eta": eta, "gamma": fixed, "weight": weight}
    return run.finished(estimate, "dds", {**settings, "form": form})
