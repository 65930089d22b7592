"""Accelerated proximal gradient: f(x) + g(x) with f smooth and g simple."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import SolverError
from solvers.progress import (
    Progress,
    add_scaled,
    as_factor,
    at_iteration,
    is_positive,
    norms,
    totals,
)
from solvers.proximal import Proximal
from solvers.scaling import Callback, per_system
from solvers.smooth import Smooth
from solvers.solution import Solution
from solvers.stopping import Floats, Limits
from solvers.vectors import Array, Vectors, vectors_of

__all__ = ["fista"]

_ROUNDING = 4.0  # values of the objective closer than this many units of rounding are equal


def fista(
    f: Smooth,
    g: Proximal,
    x0: Array,
    *,
    lipschitz: ArrayLike,
    rtol: float = 1e-6,
    maxiter: int = 200,
    n_batch_axes: int = 0,
    restart: bool = True,
    monotone: bool = False,
    callback: Callback | None = None,
) -> Solution:
    """Minimise f(x) + g(x) by the accelerated proximal gradient method.

    T(y) = prox_{g/L}(y - grad f(y) / L);   x_{k+1} = T(y_k);
    t_{k+1} = (1 + sqrt(1 + 4 t_k^2)) / 2;   y_{k+1} = x_{k+1} + (t_k - 1) / t_{k+1} (x_{k+1} - x_k)

    A point is optimal exactly if x = T(x), and L ||x - T(x)|| is the measure that is reported: the
    norm of a subgradient but for second order. A system stops when
    ||x - T(x)|| <= rtol max(||x||, ||grad f(x)|| / L), which no units enter.

    Parameters
    ----------
    f : Smooth
        E.g. `solvers.LeastSquares`.
    g : Proximal
        Where it has a schedule (`at`), iteration k uses ``g.at(k)``, and so does the final measure.
    x0 : array, (*batch, *unknown)
        Start; not overwritten.
    lipschitz : float or (*batch,), > 0
        Lipschitz constant L of grad f, for least squares the largest eigenvalue of A^H A. Raise an
        estimate from below, as a power iteration gives, by a few per cent.
    rtol : float
        Relative tolerance.
    maxiter : int
        Largest number of iterations.
    n_batch_axes : int
        How many leading axes count independent systems.
    restart : bool
        Drop the momentum of a system when it points uphill: <y_k - x_{k+1}, x_{k+1} - x_k> > 0.
    monotone : bool
        Refuse steps that raise f + g by more than rounding, and drop the momentum there. Costs one
        value of f an iteration.
    callback : function, optional
        Called as callback(iteration, x) after every iteration, with a copy of the iterate.

    Returns
    -------
    Solution
        `residual_norm` is L ||x - T(x)||, `relative_residual` ||x - T(x)|| over
        max(||x||, ||grad f(x)|| / L), both recomputed from x; `history` holds ||y - T(y)|| relative
        in the same way; `n_operator` counts gradients and values of f.

    Raises
    ------
    SolverError
        If an argument is out of range, or `monotone` meets a g that changes between iterations.

    References
    ----------
    Beck & Teboulle 2009, doi:10.1137/080716542, eqs. 4.1-4.3; O'Donoghue & Candes 2015,
    doi:10.1007/s10208-013-9150-3, section 3.2 (gradient scheme).

    Examples
    --------
    >>> from solvers.proximal import L1
    >>> from solvers.smooth import LeastSquares
    >>> f = LeastSquares(lambda x: 2 * x, np.array([6.0, 1.0]))
    >>> fista(f, L1(2.0), np.zeros(2), lipschitz=2.0).x.tolist()
    [2.0, 0.0]
    """
    v = vectors_of(x0, n_batch_axes)
    constants = per_system(v, lipschitz, "lipschitz")
    if not (constants > 0).all():
        raise SolverError(f"fista expected lipschitz > 0, got {constants.tolist()}")
    if monotone and at_iteration(g, 0) is not at_iteration(g, 1):
        raise SolverError(
            "fista with monotone=True expected one g for all iterations, got a schedule. "
            "Give it a single shift."
        )
    step = _ForwardBackward(v, f, g, 1 / constants, as_factor(v, 1 / constants, x0))
    progress = Progress(v, Limits(rtol, 0.0, maxiter, 1), callback)
    with v.quiet():
        x = _iterate(step, progress, v.copy(x0), restart=restart, monotone=monotone)
        unmeasured = np.isnan(progress.residual)
        if unmeasured.any():
            found = step(x, max(progress.iteration - 1, 0))
            progress.record(unmeasured, found.residual, found.relative)
        return progress.solution(x, step.n_operator)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """One forward-backward step: T(y), y - T(y), and the measures of y."""

    point: Array
    gap: Array
    residual: Floats
    relative: Floats


@dataclass(slots=True)
class _ForwardBackward:
    """The map T with its counts."""

    v: Vectors
    f: Smooth
    g: Proximal
    step: Floats
    factor: float | Array
    n_operator: int = 0

    def __call__(self, y: Array, iteration: int) -> _Step:
        gradient = self.f.gradient(y)
        self.n_operator += 1
        descended = add_scaled(y, -self.factor, gradient)
        point = at_iteration(self.g, iteration).prox(descended, self.factor)
        gap = y - point
        distance = norms(self.v, gap)
        scale = np.maximum(norms(self.v, y), self.step * norms(self.v, gradient))
        relative = distance / np.where(scale > 0, scale, 1.0)
        return _Step(point, gap, distance / self.step, relative)

    def objective(self, x: Array) -> Floats:
        """Compute f + g of each system."""
        self.n_operator += 1
        return totals(self.v, self.f.value(x)) + totals(self.v, self.g.value(x))


def _iterate(
    step: _ForwardBackward, progress: Progress, x: Array, *, restart: bool, monotone: bool
) -> Array:
    v, y = step.v, x
    t = np.ones(v.n_systems)
    lowest = step.objective(x) if monotone else np.empty(0)
    while progress.goes_on:
        tried = step(y, progress.iteration)
        taken = progress.take(tried.relative)
        moved = tried.point - x
        uphill = np.zeros_like(taken)
        if restart:
            uphill = is_positive(v, tried.gap, moved)
        if monotone:
            value = step.objective(tried.point)
            refused = value > lowest + _ROUNDING * v.eps * np.abs(lowest)
            uphill, taken = uphill | refused, taken & ~refused
            lowest = np.where(taken, np.minimum(value, lowest), lowest)
        t_next = (1 + np.sqrt(1 + 4 * t**2)) / 2
        momentum = np.where(uphill, 0.0, (t - 1) / t_next)
        t = np.where(uphill, 1.0, t_next)
        x = progress.keep(taken, tried.point, x)
        y = add_scaled(x, as_factor(v, momentum, x), moved)
        progress.report(x)
        # T is nonexpansive: if y is close to T(y), then so is T(y) to T(T(y)). What is recorded is
        # nevertheless measured, at the point that is returned.
        claimed = progress.active & (tried.relative <= progress.limits.rtol)
        if claimed.any():
            found = step(x, progress.iteration - 1)
            progress.record(claimed, found.residual, found.relative)
    return x
