"""What all samplers share: call the prior, move to where the data agree, count and record."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from inverse.priors import Prior, denoise_complex, load_prior, smooth_phase
from inverse.problem import Problem
from inverse.reconstruction import Diagnostics, Reconstruction, finish
from inverse.settings import count
from solvers import Solution, cg

__all__ = ["Alternation"]

_LARGEST_SHIFT = 64
_WARM_ITERATIONS = 10
_WARM_WEIGHT = 1e-2
_RTOL = 1e-4


@dataclass(slots=True, eq=False)
class Alternation:
    """One run of a sampler: its prior, its problem, and what it has spent.

    Parameters
    ----------
    problem : Problem
    prior : Prior
    generator : torch.Generator
        On the CPU, whatever the device of the problem: a seed means the same everywhere.
    cg_iterations : int
        Limit of each data step.
    """

    problem: Problem
    prior: Prior
    generator: torch.Generator
    cg_iterations: int
    backprojection: torch.Tensor = field(init=False)
    phase: torch.Tensor = field(init=False)
    history: list[float] = field(init=False, default_factory=list)
    n_operator: int = field(init=False, default=1)
    n_denoiser: int = field(init=False, default=0)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = time.perf_counter()
        self.backprojection = self.problem.operator.adjoint(self.problem.data)

    @classmethod
    def begin(
        cls,
        problem: Problem,
        prior: Prior | None,
        generator: torch.Generator | None,
        cg_iterations: int,
    ) -> tuple[Alternation, torch.Tensor]:
        """Return a run and the image it starts from: mildly regularised least squares.

        Parameters
        ----------
        problem : Problem
        prior : Prior, optional
            The embedded one by default.
        generator : torch.Generator, optional
            Seed 0 by default.
        cg_iterations : int

        Raises
        ------
        UsageError
            If `cg_iterations` is not a positive integer.
        """
        cg_iterations = count("cg_iterations", cg_iterations)
        run = cls(
            problem,
            load_prior(prior).to(problem.data.device),
            generator or torch.Generator().manual_seed(0),
            cg_iterations,
        )
        start = run._solve(run.backprojection, _WARM_WEIGHT, None, _WARM_ITERATIONS).x
        run.phase = smooth_phase(start)
        return run, start

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x] with the image rolled by a random offset before and back after.

        A prior made of patches has a grid; shifted at random, it does not show.

        Parameters
        ----------
        x : Tensor, (*batch, y, x)
        sigma : float
            Noise level in image units.
        """
        offset = torch.randint(0, _LARGEST_SHIFT, (2,), generator=self.generator).tolist()
        rolled, turned = (torch.roll(image, offset, (-2, -1)) for image in (x, self.phase))
        clean = denoise_complex(self.prior, rolled, sigma, turned)
        self.n_denoiser += 1
        return torch.roll(clean, [-n for n in offset], (-2, -1))

    def agree(self, z: torch.Tensor, weight: float) -> torch.Tensor:
        """argmin_x ||A x - y||^2 + weight ||x - z||^2, by conjugate gradients started at z.

        Parameters
        ----------
        z : Tensor, (*problem.operator.domain.shape)
        weight : float
            Noise variance over the variance of z about the truth.
        """
        b = torch.add(self.backprojection, z, alpha=weight)
        x: torch.Tensor = self._solve(b, weight, z, self.cg_iterations).x
        return x

    def record(self, change: torch.Tensor) -> None:
        """Note the size of a step for the convergence plot."""
        self.history.append(float(torch.linalg.vector_norm(change)))

    def white_noise(self) -> torch.Tensor:
        """White noise of unit standard deviation in each real component of the image."""
        like = self.backprojection
        shape = (*like.shape, 2) if like.is_complex() else tuple(like.shape)
        noise = torch.randn(shape, generator=self.generator, dtype=like.real.dtype)
        drawn: torch.Tensor = torch.view_as_complex(noise) if like.is_complex() else noise
        return drawn.to(like.device)

    def finished(
        self, x: torch.Tensor, method: str, levels: list[float], settings: Mapping[str, object]
    ) -> Reconstruction:
        """Return the reconstruction with all that was counted.

        Parameters
        ----------
        x : Tensor, (*problem.operator.domain.shape)
        method : str
        levels : list of float
            Noise levels visited.
        settings : mapping
            Of the method, besides what the levels say.
        """
        return finish(
            self.problem,
            x,
            method=method,
            settings={
                "prior": self.prior.name,
                "steps": len(levels),
                "sigma_max": levels[0],
                "sigma_min": levels[-1],
                "cg_iterations": self.cg_iterations,
                **settings,
            },
            diagnostics=Diagnostics(
                status=f"{len(levels)} noise levels from {levels[0]:.3g} to {levels[-1]:.3g}",
                iterations=len(levels),
                n_operator=self.n_operator,
                n_denoiser=self.n_denoiser,
                seconds={"reconstruct": time.perf_counter() - self._started},
                history=tuple(self.history),
            ),
        )

    def _solve(
        self, b: torch.Tensor, weight: float, start: torch.Tensor | None, maxiter: int
    ) -> Solution:
        normal = self.problem.operator.normal
        found = cg(
            lambda v: torch.add(normal(v), v, alpha=weight),
            b,
            x0=start,
            rtol=_RTOL,
            maxiter=maxiter,
            n_batch_axes=self.problem.n_batch_axes,
        )
        self.n_operator += found.n_operator
        return found
