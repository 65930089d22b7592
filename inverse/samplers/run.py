"""What all samplers share: the prior's calls, the data's solves, random numbers and counting."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from inverse.errors import UsageError
from inverse.methods import Progress
from inverse.priors import Prior, denoise_complex, load_prior, smooth_phase
from inverse.problem import Problem
from inverse.reconstruction import Diagnostics, Reconstruction, finish
from inverse.samplers.schedule import noise_levels, vp_levels
from inverse.samplers.streams import Generators, Streams
from inverse.settings import count, number
from solvers import RecycleSpace, Solution, cg

__all__ = ["Callback", "CgIterations", "Run", "State", "Step", "one_of"]

_WARM_ITERATIONS = 10
_WARM_WEIGHT = 1e-2
_RTOL = 1e-4
_GOLDEN = (0.7548776662466927, 0.5698402909980532)
_LEAST_WEIGHT = 1e-6  # keeps a data step definite when the data are taken to be without noise
_ADAPTIVE_LIMIT = 30
_FORCING = 0.035
# Limits of the adaptive iteration fall linearly from the first step to the last, 4.8 on average:
# early steps change the most. With the start and the first residuals, 128 applications in 20 steps.
_MOST_FIRST, _FEWER = 7.8, 6.0
# What is not solved for is wrong in the spread of the samples. Directions that the data fix have a
# spread of about s, a small share of the r in the first residual: there a tenth of s / r.
_FORCING_OF_DRAWS = 1e-3
_FORCING_OF_FIXED = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """What a callback sees after each step.

    Parameters
    ----------
    index : int
        Step, from 0.
    sigma : float
        Noise level that the prior was called at.
    x : Tensor, (n_samples, *problem.operator.domain.shape)
        What the next step starts from.
    estimate : Tensor, as x
        The current estimate of the noise-free image.
    """

    index: int
    sigma: float
    x: torch.Tensor
    estimate: torch.Tensor


Callback = Callable[[State], None]
"""Called after each step; what it returns is not used, and it must not change the tensors."""

Step = Callable[[torch.Tensor, float, float], tuple[torch.Tensor, torch.Tensor]]
"""step(x, sigma, next_sigma) -> (estimate, next x); the next sigma is 0 after the last level."""

CgIterations = int | str
"""A fixed number of iterations for each data step, or "adaptive"."""


@dataclass(slots=True, eq=False)
class Run:
    """One run of a sampler: its prior, its problem, its random numbers, and what it has spent.

    Images have shape (n_samples, *problem.operator.domain.shape) throughout.

    Parameters
    ----------
    problem : Problem
    prior : Prior
    streams : Streams
    n_samples : int
    cg_iterations : int or "adaptive"
        Of each data step. Adaptive: until 0.035 of the step's first residual is left, at most 8
        in the first step and 2 in the last: twenty steps cost 100 to 128 applications of A^H A.
        None for a sampler without such steps.
    recycle : int
        Directions of earlier data steps that each one starts from, kept with their images: 2 n
        more images in memory. Data steps differ by their weights alone, so that images follow at
        no application of A^H A. 0 is plain CG.
    progress, callback : function, optional
        See `Progress` and `Callback`.
    """

    problem: Problem
    prior: Prior
    streams: Streams
    n_samples: int = 1
    cg_iterations: CgIterations | None = 4
    recycle: int = 0
    progress: Progress | None = None
    callback: Callback | None = None
    backprojection: torch.Tensor = field(init=False)
    phase: torch.Tensor = field(init=False)
    history: list[float] = field(init=False, default_factory=list)
    levels: list[float] = field(init=False, default_factory=list)
    n_operator: int = field(init=False, default=1)
    n_denoiser: int = field(init=False, default=0)
    _space: RecycleSpace | None = field(init=False, default=None)
    _last_weight: float = field(init=False, default=0.0)
    _started: float = field(init=False)

    def __post_init__(self) -> None:
        self._started = time.perf_counter()
        back = self.problem.operator.adjoint(self.problem.data)
        self.backprojection = back.expand(self.n_samples, *back.shape)

    @classmethod
    def begin(
        cls,
        problem: Problem,
        prior: Prior | None,
        *,
        generator: Generators = None,
        n_samples: int = 1,
        cg_iterations: CgIterations | None = 4,
        recycle: int = 0,
        progress: Progress | None = None,
        callback: Callback | None = None,
    ) -> tuple[Run, torch.Tensor]:
        """Return a run and the image it starts from: mildly regularised least squares.

        Parameters
        ----------
        problem : Problem
        prior : Prior, optional
            The embedded one by default.
        generator : Generator, sequence of Generator, optional
            One for all, or one for each independent system; seed 0 by default.
        n_samples : int
            Independent images drawn of each system.
        cg_iterations : int, "adaptive" or None
        recycle : int
        progress, callback : function, optional

        Raises
        ------
        UsageError
            If a setting is out of range.
        """
        if cg_iterations not in (None, "adaptive"):
            count("cg_iterations", cg_iterations)
        n_samples = count("n_samples", n_samples)
        n_systems = math.prod(problem.data.shape[: problem.n_batch_axes])
        run = cls(
            problem,
            load_prior(prior).to(problem.data.device),
            Streams(generator, n_samples, n_systems),
            n_samples,
            cg_iterations,
            count("recycle", recycle, low=0),
            progress,
            callback,
        )
        start = run._solve(run.backprojection[:1], _WARM_WEIGHT, _WARM_ITERATIONS, _RTOL).x
        if run.recycle:
            run._space = RecycleSpace(run.recycle, target="largest", same_operator=True)
        run.phase = smooth_phase(start) if start.is_complex() else torch.ones_like(start)
        return run, start.expand_as(run.backprojection)

    def schedule(self, steps: int, sigma_max: float, sigma_min: float | None) -> list[float]:
        """Geometric noise levels (`noise_levels`) from no more than the prior's largest."""
        first = number("sigma_max", sigma_max, above=True)
        return noise_levels(self.problem, steps, min(first, self.prior.largest_sigma), sigma_min)

    def vp_schedule(self, steps: int, *, quadratic: bool = False) -> list[float]:
        """Levels of the linear DDPM schedule (`vp_levels`) up to the prior's largest.

        What is left out is not made up for: a prior that knows half the levels is called half as
        often as `steps` says.
        """
        levels = vp_levels(steps, quadratic=quadratic)
        return [s for s in levels if s <= self.prior.largest_sigma] or levels[-1:]

    def anneal(self, x: torch.Tensor, levels: list[float], step: Step) -> torch.Tensor:
        """Take one step at each noise level and return the last estimate.

        Parameters
        ----------
        x : Tensor
            Start.
        levels : list of float
            Falling.
        step : function
            See `Step`.
        """
        self.levels = levels
        estimate = x
        for index, sigma in enumerate(levels):
            following = levels[index + 1] if index + 1 < len(levels) else 0.0
            found, x = step(x, sigma, following)
            self.history.append(float(torch.linalg.vector_norm(found - estimate)))
            estimate = found
            if self.callback is not None:
                self.callback(State(index, sigma, x, estimate))
            if self.progress is not None:
                self.progress("sampling", index + 1, len(levels))
        return estimate

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x]; a prior with a grid of patches sees the image rolled by a changing offset.

        The offsets follow a fixed two-dimensional sequence of low discrepancy, so that they are
        the same for every seed and every batch.

        Parameters
        ----------
        x : Tensor
        sigma : float
            Noise level in image units.
        """
        self.n_denoiser += 1
        largest = self.prior.max_shift
        offset = [int(largest * math.fmod(self.n_denoiser * g, 1.0)) for g in _GOLDEN]
        if not any(offset):
            return denoise_complex(self.prior, x, sigma, self.phase)
        rolled, turned = (torch.roll(image, offset, (-2, -1)) for image in (x, self.phase))
        clean = denoise_complex(self.prior, rolled, sigma, turned)
        return torch.roll(clean, [-n for n in offset], (-2, -1))

    def data_weight(self, sigma: float, weight: float) -> float:
        """weight noise_std^2 / sigma^2: the variance of the data over that of the prior's image."""
        return max(weight * self.problem.noise_std**2 / sigma**2, _LEAST_WEIGHT)

    def agree(
        self,
        z: torch.Tensor,
        weight: float,
        rhs: torch.Tensor | None = None,
        *,
        rtol: float | None = None,
    ) -> torch.Tensor:
        """argmin_x ||A x - y||^2 + weight ||x - z||^2, by conjugate gradients started at z.

        Parameters
        ----------
        z : Tensor
        weight : float
            Noise variance over the variance of z about the truth; 0 is least squares, in which
            only the number of iterations keeps x near z.
        rhs : Tensor, optional
            Right-hand side of (A^H A + weight) x = rhs, when it is not A^H y + weight z.
        rtol : float, optional
            Share of the step's first residual at which the iteration stops; 0.035 where it is
            adaptive, none where its number is fixed.

        References
        ----------
        Dembo, Eisenstat and Steihaug 1982, doi:10.1137/0719025 (forcing terms: a step of an outer
        iteration needs to be solved only as well as the outer iteration can use it)
        """
        b = torch.add(self.backprojection, z, alpha=weight) if rhs is None else rhs
        residual = b - torch.add(self.problem.operator.normal(z), z, alpha=weight)
        self.n_operator += 1
        if self.cg_iterations == "adaptive" and rtol is None:
            done = len(self.history) / max(len(self.levels) - 1, 1)
            found = self._solve(residual, weight, round(_MOST_FIRST - _FEWER * done), _FORCING)
        elif self.cg_iterations in (None, "adaptive"):
            found = self._solve(residual, weight, _ADAPTIVE_LIMIT, rtol or _FORCING)
        else:
            found = self._solve(residual, weight, int(self.cg_iterations), rtol or 0.0)
        x: torch.Tensor = z + found.x
        return x

    def draw(self, z: torch.Tensor, deviation: float) -> torch.Tensor:
        """Draw x ~ p(x | y, z) proportional to N(y; A x, s^2) N(x; z, r^2), exactly.

        Perturb and solve: (A^H A + w) x = A^H (y + s n1) + w (z + r n2), w = s^2 / r^2, whose
        solution has the mean and the covariance s^2 (A^H A + w)^-1 of that Gaussian. Iteration
        starts at z + r n2, which is the solution where A says nothing: from z it would have to
        find the spread there through w, and stop before it did where the data have little noise.

        Parameters
        ----------
        z : Tensor
        deviation : float
            r, in image units.

        References
        ----------
        Papandreou and Yuille 2010, "Gaussian sampling by local perturbations", NeurIPS 23
        """
        s = self.problem.noise_std
        weight = max(s**2 / deviation**2, _LEAST_WEIGHT)
        data = self.problem.data
        n1 = self.streams.white_noise(data.expand(self.n_samples, *data.shape))
        n2 = self.streams.white_noise(z)
        self.n_operator += 1
        moved = z + deviation * n2
        rhs = self.backprojection + s * self.problem.operator.adjoint(n1) + weight * moved
        rtol = min(_FORCING_OF_DRAWS, _FORCING_OF_FIXED * math.sqrt(weight))
        return self.agree(moved, weight, rhs, rtol=rtol)

    def white_noise(self) -> torch.Tensor:
        """White noise of unit standard deviation in each real component of the images."""
        return self.streams.white_noise(self.backprojection)

    def finished(
        self, x: torch.Tensor, method: str, settings: Mapping[str, object]
    ) -> Reconstruction:
        """Return the reconstruction with all that was counted.

        Parameters
        ----------
        x : Tensor
            One image, or the samples of a posterior.
        method : str
        settings : mapping
            Of the method, besides what the levels say.
        """
        levels = self.levels
        solves: dict[str, object] = {}
        if self.cg_iterations is not None:
            solves["cg_iterations"] = self.cg_iterations
        if self.recycle:
            solves["recycle"] = self.recycle
        return finish(
            self.problem,
            x,
            method=method,
            settings={
                "prior": self.prior.name,
                "prior_precision": getattr(self.prior, "precision", "float32"),
                "steps": len(levels),
                "sigma_max": levels[0],
                "sigma_min": levels[-1],
                **solves,
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

    def _solve(self, b: torch.Tensor, weight: float, maxiter: int, rtol: float) -> Solution:
        normal = self.problem.operator.normal
        if self._space is not None:
            self._space.shift(weight - self._last_weight)
            self._last_weight = weight
        found = cg(
            (lambda v: torch.add(normal(v), v, alpha=weight)) if weight else normal,
            b,
            rtol=rtol,
            maxiter=maxiter,
            verify=False,
            n_batch_axes=1 + self.problem.n_batch_axes,
            recycle=self._space,
        )
        self.n_operator += found.n_operator
        return found


def one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    """Return `value` if it is known.

    Raises
    ------
    UsageError
        If it is not.
    """
    if value not in known:
        raise UsageError(f"{name} expected one of {', '.join(known)}; got '{value}'")
    return value
