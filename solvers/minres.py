"""Minimal residuals for Hermitian systems, definite or not, singular or not."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from solvers.errors import SolverError
from solvers.lanczos import Column, Lanczos, Nullity, Triangle
from solvers.linear_map import Applicable, LinearMap, require_definite
from solvers.scaling import Callback, ScaledData
from solvers.solution import Solution, Status
from solvers.stopping import (
    Counts,
    Goal,
    Limits,
    Mask,
    Measure,
    Outcome,
    Reading,
    Trace,
    lost_systems,
    run_cycles,
)
from solvers.vectors import Array, Scalars, Vectors, vectors_of

__all__ = ["minres"]

_SELF_ADJOINT = frozenset({"SELF_ADJOINT", "POSITIVE_SEMIDEFINITE", "POSITIVE_DEFINITE"})


def minres(
    A: Applicable,
    b: Array,
    *,
    x0: Array | None = None,
    M: Applicable | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    maxiter: int | None = None,
    n_batch_axes: int = 0,
    check_every: int = 1,
    callback: Callback | None = None,
) -> Solution:
    """Solve A x = b for Hermitian A by preconditioned minimal residuals.

    In step j, x_j minimises <r, M r> with r = b - A x over x0 + span{M r0, M A M r0, ...}: the
    Lanczos process makes A tridiagonal, Givens rotations triangularise it. A may be indefinite, or
    singular as long as b lies in its range; the answer is then the solution nearest x0 (in the norm
    of M^-1). Where b does not, x is a least-squares solution to rounding, not the shortest, and the
    status is BREAKDOWN, since a residual that A sends to zero cannot shrink. Scaling, freezing,
    restarts and honesty are those of `cg`: the norm that must reach the tolerance is ||b - A x||,
    also with a preconditioner.

    Parameters
    ----------
    A : function, matrix or operator
        x -> A x on (*batch, *unknown), see `solvers.linear_map.LinearMap`. An operator that
        declares `tags` must declare itself self-adjoint.
    b : array, (*batch, *unknown)
        Right-hand sides, single or double, real or complex; NumPy, torch, CuPy or another
        Array-API library. It sets the precision, the device and the dtype of x.
    x0 : array, (*batch, *unknown), optional
        Start; zero if not given.
    M : function, matrix or operator, optional
        Preconditioner z = M r, Hermitian positive definite; close to |A|^-1 for indefinite A.
    rtol, atol : float
        Each system is to reach ||b - A x|| <= max(rtol ||b||, atol).
    maxiter : int, optional
        Largest number of iterations; ten times the length of the unknown if not given.
    n_batch_axes : int
        How many leading axes of b count independent systems.
    check_every : int
        Iterations between stopping tests, each of which waits for the device, as in `cg`.
    callback : function, optional
        Called as callback(iteration, x) after every iteration, with a copy of the iterate.

    Returns
    -------
    Solution
        NOT_POSITIVE_DEFINITE is about M. The residual never exceeds that of the start.

    Raises
    ------
    SolverError
        If the arguments do not fit together.

    References
    ----------
    Paige and Saunders 1975, doi:10.1137/0712047; Elman, Silvester and Wathen 2014, Finite Elements
    and Fast Iterative Solvers, doi:10.1093/acprof:oso/9780199678792.001.0001, algorithm 4.1.

    Examples
    --------
    >>> solution = minres(np.diag([1.0, -2.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    >>> solution.x.round(6).tolist(), solution.status[0].name, solution.iterations
    ([1.0, -0.5, 0.25], 'CONVERGED', (3,))
    """
    v = vectors_of(b, n_batch_axes)
    limits = Limits(rtol, atol, 10 * v.size if maxiter is None else maxiter, check_every)
    _require_self_adjoint(A)
    apply = LinearMap(A, name="A", batch_shape=v.batch_shape, result_like=b)
    precondition = None
    if M is not None:
        require_definite(M, "M")
        precondition = LinearMap(M, name="M", batch_shape=v.batch_shape, result_like=b)
    with v.quiet():
        data = ScaledData(v, b)
        residual = data.right_hand_side()
        norm_b = v.host(v.norm(residual))
        goal = Goal(np.maximum(rtol * norm_b, atol / data.scale), np.full(v.n_systems, -1.0))
        report = data.reporter(v, callback)
        method = _MinimalResiduals(v, apply, precondition, data, goal, check_every, report)
        x = v.zeros() if x0 is None else data.start(v, x0, is_trivial=norm_b == 0)
        start = v.copy(x)
        first = method.adopt(residual) if x0 is None else method.measure(x)
        out = run_cycles(method, v, x, first, goal, limits.maxiter)
        method.judge(out, start, first)
        return data.solution(
            v,
            out,
            norm_b,
            has_misfit=False,
            n_operator=apply.count,
            n_preconditioner=precondition.count if precondition else 0,
        )


def _require_self_adjoint(A: Applicable) -> None:
    """Refuse an operator that declares its properties and is not declared self-adjoint."""
    tags = getattr(A, "tags", None)
    if tags is None or _SELF_ADJOINT & {getattr(tag, "name", str(tag)) for tag in tags}:
        return
    raise SolverError(
        f"A expected a self-adjoint operator, got {A!r} without that tag. Use gmres, or its Gram "
        f"operator for the normal equations."
    )


@dataclass(slots=True)
class _PausingTrace(Trace):
    """A record of a cycle that also ends, for a look at the truth, where A r all but vanishes.

    If A is nearly singular, a restart from the true residual goes on; if b is out of its range,
    the restart gains nothing and the iterate of the pause, a least-squares solution, is kept.
    """

    paused: Scalars = None

    def read(self, v: Vectors, goal: Goal) -> Reading:
        """Bring the record to the host; a pause is to be checked like a claim."""
        reading = Trace.read(self, v, goal)
        return replace(reading, is_claimed=reading.is_claimed | v.host(self.paused))


@dataclass(slots=True)
class _MinimalResiduals:
    """The iteration on scaled systems; holds the residual between cycles."""

    refusal: ClassVar[Status] = Status.BREAKDOWN

    v: Vectors
    A: LinearMap
    M: LinearMap | None
    data: ScaledData
    goal: Goal
    check_every: int
    report: Callback | None
    n_done: int = 0
    r: Array = None
    is_indefinite: Mask = field(init=False)
    is_degenerate: Mask = field(init=False)
    zero: Scalars = field(init=False)

    def __post_init__(self) -> None:
        self.zero = self.v.scalars_of(0.0)
        self.is_indefinite = np.zeros(self.v.n_systems, dtype=np.bool_)
        self.is_degenerate = self.is_indefinite.copy()

    def measure(self, x: Array) -> Measure:
        """Recompute r = b - A x."""
        return self.adopt(self.v.axpy(-1.0, self.A(x), self.data.right_hand_side()))

    def adopt(self, r: Array) -> Measure:
        """Take r as the residual of the iterate."""
        self.r = r
        return Measure(self.v.host(self.v.norm(r)), np.full(self.v.n_systems, np.inf))

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Elman, Silvester and Wathen 2014, algorithm 4.1, with normalised Lanczos vectors."""
        v = self.v
        tolerance2 = v.scalars_of(self.goal.tolerance**2)
        limit, zero = v.scalars_of(budget), self.zero
        soonest = int(np.min(budget, initial=budget.max(), where=budget > 0))
        r, kept = self.r, None
        square = v.dot(r, r)
        w_old, w = v.zeros(), v.zeros()
        lanczos, triangle = Lanczos(v, self.A, self.M, r), Triangle(v)
        nullity = Nullity(v)
        rho, eta = lanczos.rho, lanczos.gamma
        trace = _PausingTrace([square], [rho], paused=limit < 0)
        active = (limit > 0) & (rho > 0)
        negative = (limit > 0) & (square > 0) & (rho <= 0)
        for k in range(int(budget.max())):
            if k % self.check_every == 0:
                if not v.host(active).any():
                    break
                x = self._contain(lanczos, kept, x)
                kept = v.copy(x) if self.check_every > 1 else None
            z, gamma = lanczos.z, lanczos.gamma
            delta = lanczos.extend()
            rho = lanczos.rho
            gamma_new = v.scalars.sqrt(v.where(rho < 0, zero, rho))
            column, gradient2 = triangle.column(gamma, delta, gamma_new)
            # <p, M p> below zero by more than its rounding, at most eps ||A||^2.
            floor = v.eps * triangle.norm2
            negative = negative | (active & (rho < -floor))
            trace.paused = trace.paused | (active & nullity.is_near(gradient2, eta * eta, floor))
            accepted = active & (rho >= -floor) & (gradient2 > 0) & ~trace.paused
            w_old, w = w, self._direction(z, accepted, column, triangle, w_old, w)
            x = v.axpy(v.where(accepted, column.c * eta / column.pivot, zero), w, x)
            eta = v.where(accepted, -column.s * eta, eta)
            lanczos.advance(accepted & (rho > 0), gamma_new)
            triangle.advance(accepted, column)
            square = eta * eta
            if self.M is not None:
                r = self._residual(r, accepted, column, eta, lanczos.p)
                square = v.dot(r, r)
            active = accepted & (square > tolerance2)
            if k + 1 >= soonest:
                active = active & (limit > k + 1)
            trace.add(accepted, delta, square, rho)
            if self.report is not None:
                self.report(self.n_done + k + 1, x)
        x = self._contain(lanczos, kept, x)
        self.n_done += len(trace.accepted)
        self.is_indefinite |= v.host(negative)
        self.is_degenerate |= v.host(trace.paused)
        return x, trace

    def _direction(
        self,
        z: Array,
        accepted: Scalars,
        column: Column,
        triangle: Triangle,
        w_old: Array,
        w: Array,
    ) -> Array:
        """Compute w_{j+1} = z_j - above2 w_{j-1} - above w_j, here without its factor 1 / pivot."""
        v, zero = self.v, self.zero
        w_old = v.xpby(z, v.where(accepted, -column.above2 / triangle.pivot_old, zero), w_old)
        return v.axpy(v.where(accepted, -column.above / triangle.pivot, zero), w, w_old)

    def _residual(
        self, r: Array, accepted: Scalars, column: Column, eta: Scalars, p: Array
    ) -> Array:
        """Compute r_j = s^2 r_{j-1} + c eta_j p_{j+1}, whose norm eta does not tell if M is not I.

        Follows from r_j = eta_j q_j with q_j = -s q_{j-1} + c p_{j+1}, the last column of Q.
        """
        v = self.v
        r = v.scale(v.where(accepted, column.s * column.s, self.zero + 1.0), r)
        return v.axpy(v.where(accepted, column.c * eta, self.zero), p, r)

    def _contain(self, lanczos: Lanczos, kept: Array | None, x: Array) -> Array:
        """Keep the NaN of a failed system out of its x; see `lost_systems`."""
        lost = lost_systems(self.v, lanczos.rho, has_copy=kept is not None)
        if lost is None:
            return x
        lanczos.clear(lost)
        return x if kept is None else self.v.select(lost, kept, x)

    def judge(self, out: Outcome, start: Array, first: Measure) -> None:
        """Name the culprit, and return to the start where rounding led away from it."""
        for i in range(self.v.n_systems):
            if out.status[i] in {Status.BREAKDOWN, Status.STAGNATION} and self.is_indefinite[i]:
                out.status[i] = Status.NOT_POSITIVE_DEFINITE
            elif out.status[i] is Status.STAGNATION and self.is_degenerate[i]:
                out.status[i] = Status.BREAKDOWN
        worse = np.isfinite(first.residual) & ~(out.found.residual <= first.residual)
        if worse.any():
            out.x = self.v.select(self.v.scalars_of(worse), start, out.x)
            residual = np.where(worse, first.residual, out.found.residual)
            out.found = Measure(residual, out.found.misfit)
