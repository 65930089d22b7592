"""Reconstruction without a learned prior: least squares, wavelets, total variation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from inverse.errors import UsageError
from inverse.methods import Progress, register
from inverse.mri.stopping import SEARCH_LIMIT, least_squares, stop_by_risk
from inverse.priors import Prior
from inverse.problem import Problem
from inverse.reconstruction import Diagnostics, Reconstruction, finish
from inverse.settings import count, number
from operators import FiniteDifference
from solvers import (
    CgUpdate,
    DaubechiesTransform,
    GroupL1,
    LeastSquares,
    RecycleSpace,
    Solution,
    Status,
    WaveletL1,
    admm,
    fista,
    random_shifts,
)

__all__ = ["cg_sense", "l1_wavelet", "tv", "zero_filled"]


@register("zero_filled")
def zero_filled(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
) -> Reconstruction:
    """x = A^H y: coils combined, what was not measured taken as zero. The baseline.

    Parameters
    ----------
    problem : Problem
    prior, generator, progress
        Not used.
    """
    del prior, generator, progress
    started = time.perf_counter()
    x = problem.operator.adjoint(problem.data)
    seconds = {"reconstruct": time.perf_counter() - started}
    found = Diagnostics(status="one application of the adjoint", n_operator=1, seconds=seconds)
    return finish(problem, x, method="zero_filled", settings={}, diagnostics=found)


@register("cg_sense")
def cg_sense(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    weight: float = 0.0,
    iterations: int | str = "auto",
    recycle: RecycleSpace | None = None,
) -> Reconstruction:
    """argmin_x ||A x - y||^2 + weight ||x||^2 by conjugate gradients, stopped before noise grows.

    The number of iterations regularises. By default each slice stops where the data, with their
    noise known, say that the noise-free data are predicted best: see
    `inverse.mri.stopping.stop_by_risk`.

    Parameters
    ----------
    problem : Problem
    prior
        Not used.
    generator : torch.Generator, optional
        Draws the probe that measures how much noise the iterations fit.
    progress : function, optional
        Called as progress("cg_sense", done, iterations).
    weight : float
        Tikhonov weight, in units where the image's peak and the operator's norm are about one.
    iterations : int or "auto"
    recycle : RecycleSpace, optional
        Directions of earlier reconstructions with the same maps and mask, frames of a series for
        instance; from Python, with `iterations` and a `weight` given. It pays in solves that are to
        be tight; one that stops early to keep noise out is another image with it.

    Raises
    ------
    UsageError
        If a setting is out of range, or `recycle` is given where iterations regularise.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241; early stopping as regularisation: Hansen 1998,
    doi:10.1137/1.9780898719697, chapter 6
    """
    del prior
    started = time.perf_counter()
    weight = number("weight", weight)
    settings: dict[str, object] = {"weight": weight, "iterations": iterations}
    if recycle is not None and (iterations == "auto" or weight == 0):
        raise UsageError(
            "cg_sense expected a weight and a number of iterations with recycle: "
            "where iterations regularise, what is recycled would change the image"
        )
    if iterations == "auto" and problem.noise_std > 0:
        generator = generator or torch.Generator().manual_seed(0)
        stop = stop_by_risk(
            problem, weight, generator, _reporting(progress, "cg_sense", SEARCH_LIMIT)
        )
        diagnostics = Diagnostics(
            status="stopped where the estimated risk is least, at iteration "
            + ", ".join(str(k) for k in sorted(set(stop.iterations))),
            iterations=max(stop.iterations),
            n_operator=stop.n_operator,
            seconds={"reconstruct": time.perf_counter() - started},
            history=tuple(float(value) for value in stop.risk.mean(1)),
        )
        return finish(
            problem, stop.x, method="cg_sense", settings=settings, diagnostics=diagnostics
        )
    limit = SEARCH_LIMIT if iterations == "auto" else count("iterations", iterations)
    report = _reporting(progress, "cg_sense", limit)
    found = least_squares(problem, weight, limit, recycle=recycle, callback=report)
    return _Finished("cg_sense", settings, started).reconstruction(problem, found)


@register("l1_wavelet")
def l1_wavelet(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    weight: float | str = "auto",
    iterations: int = 60,
) -> Reconstruction:
    """argmin_x 1/2 ||A x - y||^2 + weight ||W x||_1 by FISTA, Daubechies-4 with cycle spinning.

    The weight is by default a multiple of the noise level that was measured.

    Parameters
    ----------
    problem : Problem
    prior
        Not used.
    generator : torch.Generator, optional
        Draws the shifts of the wavelets.
    progress : function, optional
        Called as progress("l1_wavelet", done, iterations).
    weight : float or "auto"
        In units where the image's peak is about one.
    iterations : int

    Raises
    ------
    UsageError
        If a setting is out of range.

    References
    ----------
    Lustig et al. 2007, doi:10.1002/mrm.21391
    """
    del prior
    started = time.perf_counter()
    chosen, iterations = _weight(problem, weight, _WAVELET_FACTOR), count("iterations", iterations)
    generator = generator or torch.Generator().manual_seed(0)
    seed = int(torch.randint(0, 2**31, (1,), generator=generator))
    transform = DaubechiesTransform(ndim=_image_ndim(problem), order=4)
    shifts = random_shifts(transform.ndim, 16, iterations, np.random.default_rng(seed))
    rhs = problem.operator.adjoint(problem.data)
    # Maps of unit norm, a mask and a unitary transform: the operator's norm is at most one.
    found = fista(
        LeastSquares(problem.operator.normal, rhs, problem.n_batch_axes),
        WaveletL1(chosen, transform, shifts=shifts),
        torch.zeros_like(rhs),
        lipschitz=1.0,
        rtol=1e-5,
        maxiter=iterations,
        n_batch_axes=problem.n_batch_axes,
        callback=_reporting(progress, "l1_wavelet", iterations),
    )
    settings: dict[str, object] = {"weight": chosen, "iterations": iterations}
    return _Finished("l1_wavelet", settings, started).reconstruction(problem, found)


@register("tv")
def tv(
    problem: Problem,
    prior: Prior | None = None,
    *,
    generator: torch.Generator | None = None,
    progress: Progress | None = None,
    weight: float | str = "auto",
    iterations: int = 60,
) -> Reconstruction:
    """argmin_x 1/2 ||A x - y||^2 + weight TV(x) by ADMM, isotropic total variation.

    Parameters and errors as `l1_wavelet`; nothing is random here.

    References
    ----------
    Block et al. 2007, doi:10.1002/mrm.21236; Boyd et al. 2011, doi:10.1561/2200000016
    """
    del prior, generator
    started = time.perf_counter()
    chosen, iterations = _weight(problem, weight, _TV_FACTOR), count("iterations", iterations)
    operator, n_batch = problem.operator, problem.n_batch_axes
    image = operator.domain.shape[-_image_ndim(problem) :]
    differences = FiniteDifference(image, dtype=operator.domain.dtype)
    f = LeastSquares(operator.normal, operator.adjoint(problem.data), n_batch)
    found = admm(
        f,
        GroupL1(chosen, axis=-len(image) - 1),
        CgUpdate(f, differences, maxiter=4),
        torch.zeros_like(f.rhs),
        K=differences,
        rho=0.1,
        rtol=1e-3,
        maxiter=iterations,
        n_batch_axes=n_batch,
        callback=_reporting(progress, "tv", iterations),
    )
    settings: dict[str, object] = {"weight": chosen, "iterations": iterations}
    return _Finished("tv", settings, started).reconstruction(problem, found)


# Weight over noise_std. Chosen on training slices with simulated coils (docs/decisions.md), never
# on the data that results are reported for.
_WAVELET_FACTOR = 0.3
_TV_FACTOR = 0.3


def _weight(problem: Problem, weight: float | str, factor: float) -> float:
    return factor * problem.noise_std if weight == "auto" else number("weight", weight)


def _image_ndim(problem: Problem) -> int:
    """Axes of one image: two of a slice, three of a volume."""
    return sum(axis in {"z", "y", "x"} for axis in problem.operator.domain.axes)


def _reporting(
    progress: Progress | None, name: str, total: int
) -> Callable[[int, torch.Tensor], None] | None:
    if progress is None:
        return None
    return lambda iteration, _x: progress(name, iteration, total)


@dataclass(frozen=True, slots=True)
class _Finished:
    """What a method knows besides its solution when it is done."""

    method: str
    settings: dict[str, object]
    started: float

    def reconstruction(self, problem: Problem, found: Solution) -> Reconstruction:
        diagnostics = Diagnostics(
            status=_in_words(found),
            iterations=max(found.iterations),
            n_operator=found.n_operator,
            seconds={"reconstruct": time.perf_counter() - self.started},
            history=tuple(found.history[0]),
        )
        return finish(
            problem, found.x, method=self.method, settings=self.settings, diagnostics=diagnostics
        )


def _in_words(found: Solution) -> str:
    """Say why the solver stopped; a fixed number of iterations is no failure to converge here."""
    reasons = {status.value for status in found.status if status is not Status.MAX_ITERATIONS}
    if len(reasons) < len(set(found.status)):
        reasons.add(f"{max(found.iterations)} iterations, as set")
    return "; ".join(sorted(reasons))
