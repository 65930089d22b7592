"""Conjugate gradients for Hermitian positive definite systems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from solvers.linear_map import Applicable, LinearMap, require_definite
from solvers.recycle import RecycleSpace
from solvers.recycling_cg import DeflatedIteration, recycled
from solvers.scaling import Callback, ScaledData, per_system
from solvers.solution import Solution, Status
from solvers.stopping import Counts, Floats, Goal, Limits, Measure, Trace, lost_systems, run_cycles
from solvers.vectors import Array, Scalars, Vectors, vectors_of

__all__ = ["Discrepancy", "cg"]


@dataclass(frozen=True, slots=True, eq=False)
class Discrepancy:
    """Stop CG on normal equations once the data are explained to within their noise.

    For H x = A^H y with H = A^H A the iteration never sees y, but its norm is enough:
    ||y - A x||^2 = ||y||^2 - 2 Re <x, A^H y> + <x, H x>, and each step of CG lowers this by
    alpha_k <r_k, z_k>. With H = A^H A + weight I the same sum is ||y - A x||^2 + weight ||x||^2,
    which is then what is compared.

    The difference cancels: it is known to about eps ||y||^2. A noise_norm below
    8 sqrt(eps) data_norm (2.8e-3 of it in single precision, 1.2e-7 in double) cannot be seen this
    way and never stops the iteration; use `solvers.cgls`, which holds the data residual itself.

    Parameters
    ----------
    data_norm : float or (*batch,)
        ||y|| of each system.
    noise_norm : float or (*batch,)
        Expected norm of the noise in y: sqrt(2 m) noise_std for m complex samples whose real and
        imaginary part each have standard deviation noise_std.

    References
    ----------
    Hestenes and Stiefel 1952, doi:10.6028/jres.049.044, theorem 6:1 (decrease of the error
    function); Strakos and Tichy 2002, ETNA 13, 56-80 (it holds in finite precision).

    Examples
    --------
    >>> Discrepancy(data_norm=10.0, noise_norm=0.5)
    Discrepancy(data_norm=10.0, noise_norm=0.5)
    """

    data_norm: ArrayLike
    noise_norm: ArrayLike


def cg(  # noqa: PLR0913 -- the arguments of the linear system, then those of its stop
    A: Applicable,
    b: Array,
    *,
    x0: Array | None = None,
    M: Applicable | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    maxiter: int | None = None,
    n_batch_axes: int = 0,
    discrepancy: Discrepancy | None = None,
    check_every: int = 1,
    verify: bool = True,
    recycle: RecycleSpace | None = None,
    callback: Callback | None = None,
) -> Solution:
    """Solve A x = b for Hermitian positive definite A by preconditioned conjugate gradients.

    r = b - A x,  z = M r,  p = z; then for every system of the batch by itself
        alpha = <r, z> / <p, A p>;  x += alpha p;  r -= alpha A p;
        z = M r;  beta = <r, z>_new / <r, z>_old;  p = z + beta p

    until ||r|| <= max(rtol ||b||, atol), the noise level or the iteration limit. Finished systems
    take no more steps. Systems are scaled by powers of two inside, so the result does not depend
    on the units of b. The residual is recomputed when the recurrence claims to be done and the
    iteration restarts from it, as long as that helps. Slow convergence is never an error.

    Parameters
    ----------
    A : function, matrix or operator
        x -> A x on (*batch, *unknown), see `solvers.linear_map.LinearMap`. An operator that
        declares `tags` must declare itself positive semidefinite.
    b : array, (*batch, *unknown)
        Right-hand sides, single or double, real or complex; NumPy, torch, CuPy or another
        Array-API library. It sets the precision, the device and the dtype of x.
    x0 : array, (*batch, *unknown), optional
        Start; zero if not given.
    M : function, matrix or operator, optional
        Preconditioner z = M r close to A^-1, Hermitian positive definite.
    rtol, atol : float
        Tolerances of the residual norm of each system.
    maxiter : int, optional
        Largest number of iterations; ten times the length of the unknown if not given.
    n_batch_axes : int
        How many leading axes of b count independent systems.
    discrepancy : Discrepancy, optional
        For normal equations: also stop when the data are explained to within their noise.
    check_every : int
        Iterations between stopping tests, each of which waits for the device. The result does not
        depend on it, except that a system that breaks down returns its iterate at the last test.
    verify : bool
        Whether the residual is recomputed at the end. Without, one application of A is saved, and
        the residual that is reported is the recurrence's: for a loose step of an outer iteration
        that looks at its data itself.
    recycle : RecycleSpace, optional
        Directions W of earlier solves, changed in place: the solve starts with the best x in x0 + W
        and iterates A-orthogonally to W, which costs three products with W a step. A new operator
        needs `recycle.dim` applications first, counted in `n_operator`; with
        `recycle.same_operator` none. The iterates differ from those of plain CG, so a method that
        relies on stopping early changes with it. None is plain CG to the last bit.
    callback : function, optional
        Called as callback(iteration, x) after every iteration, with a copy of the iterate.

    Returns
    -------
    Solution
        `data_residual_norm` is filled when `discrepancy` is given.

    Raises
    ------
    SolverError
        If the arguments do not fit together.

    References
    ----------
    Hestenes and Stiefel 1952, doi:10.6028/jres.049.044; Saad 2003, Iterative Methods for Sparse
    Linear Systems, doi:10.1137/1.9780898718003, algorithm 9.1.

    Examples
    --------
    >>> solution = cg(np.diag([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 1.0]))
    >>> solution.x.round(6).tolist(), solution.status[0].name, solution.iterations
    ([1.0, 0.5, 0.25], 'CONVERGED', (3,))
    """
    v = vectors_of(b, n_batch_axes)
    limits = Limits(rtol, atol, 10 * v.size if maxiter is None else maxiter, check_every)
    require_definite(A, "A")
    apply = LinearMap(A, name="A", batch_shape=v.batch_shape, result_like=b)
    precondition = None
    if M is not None:
        require_definite(M, "M")
        precondition = LinearMap(M, name="M", batch_shape=v.batch_shape, result_like=b)
    with v.quiet():
        data = ScaledData(v, b)
        residual = data.right_hand_side()
        norm_b = v.host(v.norm(residual))
        goal, data_norm = _goal(v, data, norm_b, limits, discrepancy)
        report = data.reporter(v, callback)
        directions = None
        if recycle is not None and (norm_b > 0).any():
            directions = recycled(v, apply, precondition, recycle, limits.maxiter)
        method = _ConjugateGradients(
            v,
            directions.apply if directions else apply,
            directions.preconditioner if directions else precondition,
            data,
            goal,
            data_norm,
            check_every,
            verify,
            report,
        )
        x = v.zeros() if x0 is None else data.start(v, x0, is_trivial=norm_b == 0)
        first = method.adopt(x, residual) if x0 is None else method.measure(x)
        run = DeflatedIteration(method, directions) if directions else method
        out = run_cycles(run, v, x, first, goal, limits.maxiter)
        solution = data.solution(
            v,
            out,
            norm_b,
            has_misfit=discrepancy is not None,
            n_operator=apply.count,
            n_preconditioner=precondition.count if precondition else 0,
        )
        if directions:
            directions.finish(solution)
        return solution


def _goal(
    v: Vectors, data: ScaledData, norm_b: Floats, limits: Limits, discrepancy: Discrepancy | None
) -> tuple[Goal, Floats]:
    """Return the goal and ||y||, in scaled units; ||y|| is infinite where it is not known."""
    tolerance = np.maximum(limits.rtol * norm_b, limits.atol / data.scale)
    if discrepancy is None:
        return Goal(tolerance, np.full(v.n_systems, -1.0)), np.full(v.n_systems, np.inf)
    data_norm = per_system(v, discrepancy.data_norm, "data_norm") / data.scale
    noise_norm = per_system(v, discrepancy.noise_norm, "noise_norm") / data.scale
    is_visible = noise_norm >= 8 * np.sqrt(v.eps) * data_norm
    return Goal(tolerance, np.where(is_visible, noise_norm, -1.0)), data_norm


@dataclass(slots=True)
class _ConjugateGradients:
    """The iteration on scaled systems; holds the residual between cycles."""

    refusal: ClassVar[Status] = Status.NOT_POSITIVE_DEFINITE

    v: Vectors
    A: Callable[[Array], Array]
    M: Callable[[Array], Array] | None
    data: ScaledData
    goal: Goal
    data_norm: Floats
    check_every: int
    verify: bool
    report: Callback | None
    n_done: int = 0
    r: Array = None
    found: Measure = field(init=False)

    def measure(self, x: Array) -> Measure:
        """Recompute r = b - A x, unless the iteration is trusted, and what is known from it."""
        if self.n_done and not self.verify:
            return self.adopt(x, self.r)
        return self.adopt(x, self.v.axpy(-1.0, self.A(x), self.data.right_hand_side()))

    def adopt(self, x: Array, r: Array) -> Measure:
        """Take r as the residual of x; ||y - A x||^2 = ||y||^2 - Re <x, b> - Re <x, r>."""
        v = self.v
        self.r = r
        misfit = self.data_norm
        if np.isfinite(misfit).all():
            explained = v.host(v.dot(x, self.data.right_hand_side()) + v.dot(x, r))
            misfit = np.sqrt(np.maximum(misfit**2 - explained, 0.0))
        self.found = Measure(v.host(v.norm(r)), misfit)
        return self.found

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Saad 2003, algorithm 9.1, for every system by itself; its line numbers."""
        v = self.v
        tolerance2, noise2 = (v.scalars_of(square) for square in self.goal.signed_squares())
        limit, zero = v.scalars_of(budget), v.scalars_of(0.0)
        soonest = int(np.min(budget, initial=budget.max(), where=budget > 0))
        growth = (64.0 * v.eps) ** -2
        misfit2 = v.scalars_of(self.found.misfit**2)
        r, kept = self.r, None
        z = r if self.M is None else self.M(r)  # 1
        p = v.copy(z)
        square = v.dot(r, r)
        rho = square if self.M is None else v.dot(r, z)
        trace = Trace([square], [rho])
        active = (limit > 0) & (rho > 0)
        for k in range(int(budget.max())):
            if k % self.check_every == 0:
                if not v.host(active).any():
                    break
                x, r, p = self._contain(rho, kept, x, r, p)
                kept = v.copy(x) if self.check_every > 1 else None
            q = self.A(p)
            curvature = v.dot(p, q)
            usable = active & (curvature > 0)
            alpha = v.where(usable, rho / curvature, zero)  # 3
            r = v.axpy(-alpha, q, r)  # 5
            z = r if self.M is None else self.M(r)  # 6
            previous, square = square, v.dot(r, r)
            # A curvature lost in rounding shows as a residual that leaps; x must not follow.
            accepted = usable & (square <= growth * previous)
            step = v.where(accepted, alpha, zero)
            x = v.axpy(step, p, x)  # 4
            active = accepted & (square > tolerance2)
            if self.goal.has_noise:
                misfit2 = misfit2 - step * rho
                active = active & (misfit2 > noise2)
            rho, rho_old = (square if self.M is None else v.dot(r, z)), rho
            if self.M is not None:
                active = active & (rho > 0)
            if k + 1 >= soonest:
                active = active & (limit > k + 1)
            beta = v.where(active, rho / rho_old, zero)  # 7
            p = v.xpby(z, beta, p)  # 8
            trace.add(accepted, curvature, square, rho)
            if self.report is not None:
                self.report(self.n_done + k + 1, x)
        x, self.r, _ = self._contain(rho, kept, x, r, p)
        self.n_done += len(trace.accepted)
        trace.misfit2 = v.host(misfit2)
        return x, trace

    def _contain(
        self, rho: Scalars, kept: Array | None, x: Array, r: Array, p: Array
    ) -> tuple[Array, Array, Array]:
        """Keep the NaN of a failed system out of its x; see `lost_systems`."""
        v = self.v
        lost = lost_systems(v, rho, has_copy=kept is not None)
        if lost is None:
            return x, r, p
        x = x if kept is None else v.select(lost, kept, x)
        return x, v.fill(lost, 0.0, r), v.fill(lost, 0.0, p)
