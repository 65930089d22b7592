"""Restarted minimal-residual cycles, with or without a recycled space: GMRES and GCRO-DR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.basis import Basis
from solvers.hessenberg import Hessenberg
from solvers.linear_map import LinearMap
from solvers.scaling import Callback, ScaledData
from solvers.solution import Solution, Status
from solvers.stopping import (
    Counts,
    Floats,
    Goal,
    Limits,
    Mask,
    Measure,
    Reading,
    Trace,
    run_cycles,
)
from solvers.vectors import Array, Vectors

__all__ = ["Cycle", "Deflation", "Recycling", "RestartedArnoldi", "Settings", "run_restarted"]


@dataclass(frozen=True, slots=True)
class Cycle:
    """One finished cycle: A [U, Z] = [C, V] G with G = [[I, B], [0, H]].

    Parameters
    ----------
    n_deflated : int
        Length of U and C.
    small : Hessenberg
        B and H.
    """

    n_deflated: int
    small: Hessenberg


class Deflation(Protocol):
    """A space whose images C = A U are kept orthonormal in the first rows of the Arnoldi basis."""

    @property
    def size(self) -> int:
        """How many vectors of the basis are C."""
        ...

    def lift(self, coefficients: NDArray[Any], x: Array) -> Array:
        """Return x + U c, overwriting x."""
        ...

    def update(self, cycle: Cycle, *, is_last: bool) -> None:
        """Choose a new space from [U, Z] and write its images over those in the basis."""
        ...


class Recycling(Protocol):
    """What happens to the recycled space before and after a solve."""

    def start(self, method: RestartedArnoldi) -> Deflation:
        """Bring the space to the operator of this solve."""
        ...

    def finish(self, solution: Solution) -> None:
        """Hand the space on."""
        ...


@dataclass(slots=True)
class RestartedArnoldi:
    """Minimal residuals over a recycled space and m Krylov directions, again and again.

    Parameters
    ----------
    v : Vectors
    A, M : LinearMap
        M is None without a preconditioner.
    data : ScaledData
        The right-hand sides.
    goal : Goal
    m : int
        Dimension of recycled space and Krylov space together.
    flexible : bool
        Store Z = M V, for a preconditioner that changes from step to step.
    check_every : int
        Steps between looks at the residual.
    report : function or None
        The caller's callback.
    """

    refusal: ClassVar[Status] = Status.BREAKDOWN

    v: Vectors
    A: LinearMap
    M: LinearMap | None
    data: ScaledData
    goal: Goal
    m: int
    flexible: bool
    check_every: int
    report: Callback | None
    deflation: Deflation | None = None
    V: Basis = field(init=False)
    Z: Basis | None = field(init=False)
    r: Array = None
    n_done: int = 0

    def __post_init__(self) -> None:
        self.V = Basis(self.v, self.m + 1)
        self.Z = Basis(self.v, self.m) if self.flexible and self.M is not None else None

    def measure(self, x: Array) -> Measure:
        """Recompute r = b - A x."""
        return self.adopt(self.v.axpy(-1.0, self.A(x), self.data.right_hand_side()))

    def adopt(self, r: Array) -> Measure:
        """Take r as the residual of the iterate."""
        self.r = r
        return Measure(self.v.host(self.v.norm(r)), np.full(self.v.n_systems, np.inf))

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Run cycles until no system can or need go on."""
        v, tolerance = self.v, self.goal.tolerance
        record = _Record(v.n_systems)
        left = budget.copy()
        is_open: Mask = budget > 0
        while is_open.any():
            x, self.r = self._deflate(x, self.r, is_open)
            beta = v.host(v.norm(self.r))
            record.is_claimed |= is_open & (beta <= tolerance)
            record.is_finite &= np.isfinite(beta) | ~is_open
            is_open = is_open & (beta > tolerance) & np.isfinite(beta)
            if not is_open.any():
                break
            if not is_open.all():  # a NaN in a closed system must not reach its basis
                self.r = v.fill(v.scalars_of(~is_open), 0.0, self.r)
            cycle = self._expand(x, np.where(is_open, beta, 0.0), np.where(is_open, left, 0))
            x, self.r = self._advance(cycle, x, self.r, is_open)
            record.note(cycle.small, is_open)
            left = left - cycle.small.steps
            is_open = is_open & record.can_go_on(cycle.small) & (left > 0)
            if self.deflation is not None:
                self.deflation.update(cycle, is_last=not is_open.any())
        return x, record

    def _deflate(self, x: Array, r: Array, is_open: Mask) -> tuple[Array, Array]:
        """Make r orthogonal to C: x += U C^H r, r -= C C^H r."""
        if self.deflation is None or self.deflation.size == 0:
            return x, r
        c = self.V.project(r, 0, self.deflation.size)
        c = np.where(is_open[:, None], self.V.host(c), 0.0)
        return self.deflation.lift(c, x), self.V.add(self.V.coefficients(-c), r)

    def _expand(self, x: Array, beta: Floats, limit: Counts) -> Cycle:
        """Build the Arnoldi basis of r, until every system has met its tolerance."""
        V, k = self.V, 0 if self.deflation is None else self.deflation.size
        n_steps = min(self.m - k, int(limit.max()))
        dtype = np.dtype(np.complex128 if self.v.is_complex else np.float64)
        small = Hessenberg(beta, self.goal.tolerance, limit, self.m - k, k, dtype, self.v.eps)
        columns = V.no_coefficients(self.m + 1, self.m - k)
        V.put(k, self.r)
        V.scale(k, V.coefficients(np.where(beta > 0, 1.0 / np.where(beta > 0, beta, 1.0), 0.0)))
        cycle = Cycle(k, small)
        for j in range(n_steps):
            z = V.vector(k + j) if self.M is None else self.M(V.vector(k + j))
            if self.Z is not None:
                self.Z.put(j, z)
            V.put(k + j + 1, self.A(z))
            columns[:, : k + j + 2, j] = V.orthonormalise(k + j + 1)
            if (j + 1) % self.check_every and j + 1 < n_steps and self.report is None:
                continue
            small.extend(V.host(columns[:, :, small.n_read : j + 1]))
            if small.is_tainted.any():
                self._contain(small, k)
            if self.report is not None:
                y, _ = self._advance(cycle, self.v.copy(x), self.v.zeros(), small.beta > 0)
                self.report(self.n_done + j + 1, y)
            if not small.is_open.any():
                break
        self.n_done += int(small.steps.max())
        return cycle

    def _contain(self, small: Hessenberg, k: int) -> None:
        """Clear what a system with a NaN computed after its last good step."""
        for i in np.flatnonzero(small.is_tainted):
            only = np.arange(self.v.n_systems) == i
            self.V.clear(only, k + int(small.steps[i]) + 1)
            if self.Z is not None:
                self.Z.clear(only, int(small.steps[i]))

    def _advance(self, cycle: Cycle, x: Array, r: Array, is_open: Mask) -> tuple[Array, Array]:
        """x += Z y - U B y;  r = V (beta e1 - H y) for the systems of this cycle."""
        V, k, n = self.V, cycle.n_deflated, cycle.small.n_read
        y = cycle.small.solve()
        if self.Z is not None:
            x = self.Z.add(self.Z.coefficients(y), x)
        elif self.M is not None:
            x = self.v.axpy(1.0, self.M(V.add(V.coefficients(y), self.v.zeros(), k)), x)
        else:
            x = V.add(V.coefficients(y), x, k)
        if self.deflation is not None and k:
            above = np.einsum("sij,sj->si", cycle.small.columns[:, :k, :n], y)
            x = self.deflation.lift(-above, x)
        rest = V.add(V.coefficients(cycle.small.remainder(y)), self.v.zeros(), k)
        return x, rest if is_open.all() else self.v.select(self.v.scalars_of(is_open), rest, r)


@dataclass(frozen=True, slots=True)
class Settings:
    """Validated arguments that GMRES and GCRO-DR share; see `solvers.gmres`."""

    limits: Limits
    m: int
    flexible: bool
    callback: Callback | None


def run_restarted(
    v: Vectors,
    b: Array,
    x0: Array | None,
    apply: LinearMap,
    precondition: LinearMap | None,
    settings: Settings,
    recycling: Recycling | None,
) -> Solution:
    """Solve by restarted cycles in scaled units; `recycling` makes the space and keeps it after."""
    limits = settings.limits
    with v.quiet():
        data = ScaledData(v, b)
        residual = data.right_hand_side()
        norm_b = v.host(v.norm(residual))
        tolerance = np.maximum(limits.rtol * norm_b, limits.atol / data.scale)
        method = RestartedArnoldi(
            v,
            apply,
            precondition,
            data,
            Goal(tolerance, np.full(v.n_systems, -1.0)),
            min(settings.m, v.size),
            settings.flexible,
            limits.check_every,
            data.reporter(v, settings.callback),
        )
        x = v.zeros() if x0 is None else data.start(v, x0, is_trivial=norm_b == 0)
        first = method.adopt(residual) if x0 is None else method.measure(x)
        if recycling is not None and not (first.residual <= tolerance).all():
            method.deflation = recycling.start(method)
        out = run_cycles(method, v, x, first, method.goal, limits.maxiter)
        solution = data.solution(
            v,
            out,
            norm_b,
            has_misfit=False,
            n_operator=apply.count,
            n_preconditioner=precondition.count if precondition else 0,
        )
        if recycling is not None and method.deflation is not None:
            recycling.finish(solution)
        return solution


class _Record(Trace):
    """What the cycles did, known on the host."""

    def __init__(self, n_systems: int) -> None:
        super().__init__()
        self.steps: Counts = np.zeros(n_systems, dtype=np.int64)
        self.norms: list[list[float]] = [[] for _ in range(n_systems)]
        self.is_claimed: Mask = np.zeros(n_systems, dtype=np.bool_)
        self.is_finite: Mask = np.ones(n_systems, dtype=np.bool_)

    def note(self, small: Hessenberg, is_open: Mask) -> None:
        """Record one cycle.

        An exhausted basis that halved the residual, and a whole cycle that did not move it, count
        as claims: the residual is then recomputed and tells whether there is more to gain.
        """
        self.steps = self.steps + small.steps
        last = small.reached
        for i in np.flatnonzero(is_open):
            self.norms[i] += small.norms[i, 1 : small.steps[i] + 1].tolist()
        self.is_claimed |= small.is_claimed | (small.is_exhausted & (last <= 0.5 * small.beta))
        self.is_claimed |= is_open & ~small.is_exhausted & (last >= small.beta * (1 - 1e-12))
        self.is_finite &= ~small.is_lost

    def can_go_on(self, small: Hessenberg) -> Mask:
        """Tell which systems have reason to start another cycle."""
        return ~self.is_claimed & self.is_finite & ~small.is_exhausted

    def read(self, v: Vectors, goal: Goal) -> Reading:  # noqa: ARG002 -- nothing left to bring
        """Return the record."""
        return Reading(self.steps, self.norms, self.is_claimed, self.is_finite)
