"""Reconstruction without a learned prior: least squares, wavelets, total variation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from inverse.errors import UsageError
from inverse.methods import Progress, register
from inverse.priors import Prior
from inverse.problem import Problem
from inverse.reconstruction import Diagnostics, Reconstruction, finish
from operators import FiniteDifference
from solvers import (
    CgUpdate,
    DaubechiesTransform,
    Discrepancy,
    GroupL1,
    LeastSquares,
    Solution,
    Status,
    WaveletL1,
    admm,
    cg,
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
) -> Reconstruction:
    """argmin_x ||A x - y||^2 + weight ||x||^2 by conjugate gradients, stopped before noise grows.

    The number of iterations regularises. By default each slice stops by the discrepancy principle,
    as soon as ||y - A x|| is what the measured noise alone would leave. Where noise and maps do not
    allow that, eight iterations are taken and the image says so.

    Parameters
    ----------
    problem : Problem
    prior, generator
        Not used; nothing is random here.
    progress : function, optional
        Called as progress("cg_sense", done, iterations).
    weight : float
        Tikhonov weight, in units where the image's peak and the operator's norm are about one.
    iterations : int or "auto"

    Raises
    ------
    UsageError
        If a setting is out of range.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241; early stopping and the discrepancy principle:
    Hansen 1998, doi:10.1137/1.9780898719697, chapters 6 and 7.2
    """
    del prior, generator
    started = time.perf_counter()
    if not (math.isfinite(weight) and weight >= 0):
        raise UsageError(f"weight expected a number >= 0, got {weight}")
    if iterations != "auto" and not (isinstance(iterations, int) and iterations >= 1):
        raise UsageError(f"iterations expected 'auto' or an integer >= 1, got {iterations!r}")
    automatic = iterations == "auto"
    limit = _SEARCH_ITERATIONS if iterations == "auto" else int(iterations)
    found = _conjugate_gradients(problem, weight, limit, automatic=automatic, progress=progress)
    warnings: tuple[str, ...] = ()
    spent = 0
    if automatic and Status.MAX_ITERATIONS in found.status:
        spent = found.n_operator
        found = _conjugate_gradients(
            problem, weight, _FALLBACK_ITERATIONS, automatic=True, progress=progress
        )
        warnings = (
            f"The residual did not fall to the noise level within {_SEARCH_ITERATIONS} iterations: "
            f"noise estimate or coil maps do not fit. Stopped after {_FALLBACK_ITERATIONS}.",
        )
    settings: dict[str, object] = {"weight": weight, "iterations": max(found.iterations)}
    finished = _Finished("cg_sense", settings, started, spent, warnings)
    return finished.reconstruction(problem, found)


# Noise amplification starts to win within about ten iterations at the usual accelerations.
_SEARCH_ITERATIONS = 20
_FALLBACK_ITERATIONS = 8


def _conjugate_gradients(
    problem: Problem, weight: float, limit: int, *, automatic: bool, progress: Progress | None
) -> Solution:
    normal = problem.operator.normal
    discrepancy = None
    if automatic:
        discrepancy = Discrepancy(problem.norms(problem.data), problem.expected_residual_norm)
    return cg(
        (lambda v: torch.add(normal(v), v, alpha=weight)) if weight else normal,
        problem.operator.adjoint(problem.data),
        rtol=1e-6,
        maxiter=limit,
        n_batch_axes=problem.n_batch_axes,
        discrepancy=discrepancy,
        callback=_reporting(progress, "cg_sense", limit),
    )


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
    chosen = _weight(problem, weight, _WAVELET_FACTOR)
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
    chosen = _weight(problem, weight, _TV_FACTOR)
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
    if weight == "auto":
        return factor * problem.noise_std
    if isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0:
        return float(weight)
    raise UsageError(f"weight expected 'auto' or a number >= 0, got {weight!r}")


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
    n_operator_before: int = 0
    warnings: tuple[str, ...] = ()

    def reconstruction(self, problem: Problem, found: Solution) -> Reconstruction:
        diagnostics = Diagnostics(
            status=_in_words(found),
            iterations=max(found.iterations),
            n_operator=found.n_operator + self.n_operator_before,
            seconds={"reconstruct": time.perf_counter() - self.started},
            history=tuple(found.history[0]),
            warnings=self.warnings,
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
