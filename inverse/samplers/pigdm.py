"""Pseudoinverse-guided diffusion: reverse diffusion whose denoiser knows the data."""

from __future__ import annotations

import torch

from inverse.methods import Progress, register
from inverse.priors import Prior
from inverse.problem import Problem
from inverse.reconstruction import Reconstruction
from inverse.samplers.guidance import pull_back
from inverse.samplers.reverse_diffusion import IMAGE_WIDTH, ReverseStep
from inverse.samplers.run import Callback, CgIterations, Run, one_of
from inverse.samplers.streams import Generators
from inverse.settings import number

__all__ = ["pigdm"]


@register("pigdm", prior=True)
def pigdm(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: Generators = None,
    n_samples: int = 1,
    progress: Progress | None = None,
    callback: Callback | None = None,
    preset: str = "measured-noise",
    steps: int | None = None,
    sigma_max: float = 1.0,
    sigma_min: float | None = None,
    width: float | None = None,
    cg_iterations: CgIterations = 10,
) -> Reconstruction:
    """Sample by reverse diffusion with E[x0 | x_k, y] in the place of E[x0 | x_k].

    D = E[x0 | x_k],  J = dD/dx;   r^2 = sigma^2 width^2 / (sigma^2 + width^2)
    v = A^H (r^2 A A^H + s^2)^-1 (y - A D) = (xhat - D) / r^2,
        xhat = argmin ||A x - y||^2 + (s^2 / r^2) ||x - D||^2     by conjugate gradients
    measured-noise:  x_{k+1} = reverse step (`ReverseStep`) from x_k with D + sigma^2 J^H v
    pigdm-paper:     x_{k+1} = ancestral step from x_k with D, plus r^2 J^H v

    Approximated is p(x0 | x_k), by N(D, r^2 I), with one r for all pixels; the derivative J then
    spreads the correction as the prior correlates pixels. For a white Gaussian prior of standard
    deviation `width`, D + sigma^2 J^H v is E[x0 | x_k, y] exactly, and the paper's step is longer
    than it.

    Measured against exact posteriors (`benchmarks.sampler_calibration`, eight problems of 8 by 8
    pixels, default settings): the mean is off by 0.05 to 0.53 posterior standard deviations, the
    standard deviation is 0.96 to 1.16 of the exact one, and 90 % intervals hold 87 to 92 % of the
    posterior.

    Parameters
    ----------
    problem : Problem
    prior : Prior, optional
        The embedded one by default; its denoiser must be differentiable.
    generator, n_samples, progress, callback
        See `inverse.samplers.run.Run.begin`. With several samples the image is their mean.
    preset : {"measured-noise", "pigdm-paper"}
        "pigdm-paper": pure noise at the start, 100 levels of the linear DDPM schedule without those
        above the prior's `largest_sigma`, width 1. What is given besides still counts, except
        noise levels.
    steps : int, optional
        Calls of the prior, each with a backward pass; 50 by default, 100 with "pigdm-paper", less
        those levels.
    sigma_max, sigma_min : float
        First and last noise level relative to the image's peak (not with "pigdm-paper").
    width : float, optional
        Above; .25 by default, that of images whose peak is one.
    cg_iterations : int or "adaptive"
        Conjugate-gradient iterations a step.

    Returns
    -------
    Reconstruction

    Raises
    ------
    UsageError
        If a setting is out of range, or the prior's denoiser cannot be differentiated.

    References
    ----------
    Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", ICLR,
    algorithm 1
    """
    paper = one_of("preset", preset, ("measured-noise", "pigdm-paper")) == "pigdm-paper"
    default = 1.0 if paper else IMAGE_WIDTH
    width = number("width", default if width is None else width, above=True)
    steps = (100 if paper else 50) if steps is None else steps
    run, start = Run.begin(
        problem,
        prior,
        generator=generator,
        n_samples=n_samples,
        cg_iterations=cg_iterations,
        progress=progress,
        callback=callback,
    )
    if paper:
        levels = run.vp_schedule(steps)
        start = torch.zeros_like(start)
    else:
        levels = run.schedule(steps, sigma_max, sigma_min)
    reverse = ReverseStep(second_order=not paper)

    def step(x: torch.Tensor, sigma: float, following: float) -> tuple[torch.Tensor, torch.Tensor]:
        variance = 1 / (sigma**-2 + width**-2)
        weight = run.data_weight(variance**0.5, 1.0)

        def direction(clean: torch.Tensor) -> torch.Tensor:
            return (run.agree(clean, weight) - clean) / variance

        clean, pulled = pull_back(run, x, sigma, direction)
        guided = clean + sigma**2 * pulled
        if paper:
            moved = reverse(x, clean, sigma, following, run.white_noise)
            return guided, moved + variance * pulled
        return guided, reverse(x, guided, sigma, following, run.white_noise)

    x = run.anneal(start + levels[0] * run.white_noise(), levels, step)
    return run.finished(x, "pigdm", {"steps": steps, "preset": preset, "width": width})
