"""Conjugate gradients for least-squares problems, without forming the normal equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import SolverError
from solvers.linear_map import Applicable, LinearMap, adjoint_of
from solvers.scaling import Callback, ScaledData, per_system
from solvers.solution import Solution, Status
from solvers.stopping import Counts, Goal, Limits, Measure, Trace, lost_systems, run_cycles
from solvers.vectors import Array, Scalars, Vectors, vectors_of

__all__ = ["cgls"]


def cgls(  # noqa: PLR0913 -- the arguments of the problem, then those of its stop
    A: Applicable,
    AH: Applicable | None,
    b: Array,
    *,
    damp: float = 0.0,
    x0: Array | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    maxiter: int | None = None,
    n_batch_axes: int = 0,
    noise_norm: ArrayLike | None = None,
    check_every: int = 1,
    callback: Callback | None = None,
) -> Solution:
    """Minimise ||A x - b||^2 + damp^2 ||x||^2 by conjugate gradients.

    r = b - A x,  s = A^H r - damp^2 x,  p = s; then for every system of the batch by itself
        q = A p;  alpha = ||s||^2 / (||q||^2 + damp^2 ||p||^2);
        x += alpha p;  r -= alpha q;  s = A^H r - damp^2 x;
        beta = ||s||^2_new / ||s||^2_old;  p = s + beta p

    until ||s|| <= max(rtol ||A^H b||, atol), the data residual ||r|| is down to the noise or the
    iteration limit is reached. Equal to `cg` on A^H A + damp^2 in exact arithmetic, more accurate
    in rounding, and it holds the data residual itself. Scaling, freezing, restarts and honesty are
    those of `cg`.

    Parameters
    ----------
    A : function, matrix or operator
        x -> A x from (*batch, *unknown) to (*batch, *range).
    AH : function, matrix or operator, or None
        y -> A^H y; None to take it from `A` (an object with `adjoint`, a matrix).
    b : array, (*batch, *range)
        Data. A^H b sets the shape, precision and dtype of x.
    damp : float
        Weight of the penalty, in the units of A.
    x0 : array, (*batch, *unknown), optional
        Start; zero if not given.
    rtol, atol : float
        Tolerances of the norm of the gradient s of each system.
    maxiter : int, optional
        Largest number of iterations; ten times the length of the unknown if not given.
    n_batch_axes : int
        How many leading axes of b count independent systems.
    noise_norm : float or (*batch,), optional
        Also stop when ||b - A x|| <= noise_norm, e.g. sqrt(2 m) noise_std for m complex samples.
    check_every : int
        Iterations between stopping tests, as in `cg`.
    callback : function, optional
        Called as callback(iteration, x) after every iteration, with a copy of the iterate.

    Returns
    -------
    Solution
        `residual_norm` is ||A^H (b - A x) - damp^2 x||, relative to ||A^H b||;
        `data_residual_norm` is ||b - A x||.

    Raises
    ------
    SolverError
        If the arguments do not fit together.

    References
    ----------
    Hestenes and Stiefel 1952, doi:10.6028/jres.049.044, section 10; Bjorck 1996, Numerical Methods
    for Least Squares Problems, doi:10.1137/1.9781611971484, algorithm 7.4.1.

    Examples
    --------
    >>> solution = cgls(np.array([[1.0], [1.0]]), None, np.array([1.0, 3.0]))
    >>> solution.x.tolist(), solution.status[0].name
    ([2.0], 'CONVERGED')
    """
    if not (np.isfinite(damp) and damp >= 0):
        raise SolverError(f"damp expected a finite number >= 0, got {damp}")
    w = vectors_of(b, n_batch_axes)
    forward = LinearMap(A, name="A", batch_shape=w.batch_shape, result_like=b)
    adjoint = LinearMap(adjoint_of(A) if AH is None else AH, name="AH", batch_shape=w.batch_shape)
    with w.quiet():
        data = ScaledData(w, b)
        residual = data.right_hand_side()
        gradient = adjoint(residual)
        v = vectors_of(gradient, n_batch_axes)
        limits = Limits(rtol, atol, 10 * v.size if maxiter is None else maxiter, check_every)
        norm_gradient = v.host(v.norm(gradient))
        goal = Goal(
            tolerance=np.maximum(rtol * norm_gradient, atol / data.scale),
            noise=np.full(v.n_systems, -1.0)
            if noise_norm is None
            else per_system(w, noise_norm, "noise_norm") / data.scale,
        )
        report = data.reporter(v, callback)
        method = _LeastSquares(v, w, forward, adjoint, data, damp, goal, check_every, report)
        if x0 is None:
            x = v.zeros()
            first = method.adopt(residual, gradient)
        else:
            x = data.start(v, x0, is_trivial=norm_gradient == 0)
            first = method.measure(x)
        out = run_cycles(method, v, x, first, goal, limits.maxiter)
        n_operator = forward.count + adjoint.count
        return data.solution(v, out, norm_gradient, has_misfit=True, n_operator=n_operator)


@dataclass(slots=True)
class _LeastSquares:
    """The iteration on scaled systems; holds both residuals between cycles."""

    refusal: ClassVar[Status] = Status.BREAKDOWN

    v: Vectors
    w: Vectors
    A: LinearMap
    AH: LinearMap
    data: ScaledData
    damp: float
    goal: Goal
    check_every: int
    report: Callback | None
    n_done: int = 0
    r: Array = None
    s: Array = None

    def measure(self, x: Array) -> Measure:
        """Recompute r = b - A x and s = A^H r - damp^2 x."""
        r = self.w.axpy(-1.0, self.A(x), self.data.right_hand_side())
        return self.adopt(r, self._gradient(r, x))

    def adopt(self, r: Array, s: Array) -> Measure:
        """Take r and s as the residuals of the iterate."""
        self.r, self.s = r, s
        return Measure(self.v.host(self.v.norm(s)), self.w.host(self.w.norm(r)))

    def _gradient(self, r: Array, x: Array) -> Array:
        if self.damp == 0.0:
            return self.AH(r)
        return self.v.axpy(-(self.damp**2), x, self.v.copy(self.AH(r)))

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Bjorck 1996, algorithm 7.4.1, for every system by itself."""
        v, w = self.v, self.w
        tolerance2, noise2 = (v.scalars_of(square) for square in self.goal.signed_squares())
        limit, zero = v.scalars_of(budget), v.scalars_of(0.0)
        soonest = int(np.min(budget, initial=budget.max(), where=budget > 0))
        r, kept = self.r, None
        p = v.copy(self.s)
        gamma = v.dot(p, p)
        misfit2 = w.dot(r, r)
        trace = Trace([gamma], [misfit2])
        active = (limit > 0) & (gamma > 0)
        for k in range(int(budget.max())):
            if k % self.check_every == 0:
                if not v.host(active).any():
                    break
                x, r, p = self._contain(gamma, kept, x, r, p)
                kept = v.copy(x) if self.check_every > 1 else None
            q = self.A(p)
            delta = self._curvature(p, q)
            usable = active & (delta > 0)
            alpha = v.where(usable, gamma / delta, zero)
            x = v.axpy(alpha, p, x)
            r = w.axpy(-alpha, q, r)
            s = self._gradient(r, x)
            gamma, gamma_old = v.dot(s, s), gamma
            active = usable & (gamma > tolerance2)
            if self.goal.has_noise:
                misfit2 = w.dot(r, r)
                active = active & (misfit2 > noise2)
            if k + 1 >= soonest:
                active = active & (limit > k + 1)
            beta = v.where(active, gamma / gamma_old, zero)
            p = v.xpby(s, beta, p)
            trace.add(usable, delta, gamma)
            if self.report is not None:
                self.report(self.n_done + k + 1, x)
        x, _, _ = self._contain(gamma, kept, x, r, p)
        self.n_done += len(trace.accepted)
        trace.misfit2 = v.host(misfit2)
        return x, trace

    def _curvature(self, p: Array, q: Array) -> Scalars:
        """Compute <p, (A^H A + damp^2) p>."""
        curvature = self.w.dot(q, q)
        return curvature + self.damp**2 * self.v.dot(p, p) if self.damp else curvature

    def _contain(
        self, gamma: Scalars, kept: Array | None, x: Array, r: Array, p: Array
    ) -> tuple[Array, Array, Array]:
        """Keep the NaN of a failed system out of its x; see `lost_systems`."""
        lost = lost_systems(self.v, gamma, has_copy=kept is not None)
        if lost is None:
            return x, r, p
        x = x if kept is None else self.v.select(lost, kept, x)
        return x, self.w.fill(lost, 0.0, r), self.v.fill(lost, 0.0, p)
