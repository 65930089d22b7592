"""When a Krylov iteration stops, and what it may claim: limits, records and the outer loop.

A recurrence's residual drifts away from b - A x by rounding, by orders of magnitude in single
precision. So a method runs in *cycles*: iterate until the recurrence claims the goal, recompute the
true residual, and restart from it as long as the goal is not truly met and progress is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.solution import Status
from solvers.vectors import Array, Scalars, Vectors

__all__ = ["Goal", "Limits", "Measure", "Method", "Outcome", "Trace", "run_cycles"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """Validated stopping arguments of a solver.

    Parameters
    ----------
    rtol, atol : float
        Relative and absolute tolerance, >= 0.
    maxiter : int
        Largest number of iterations of a system, >= 0.
    check_every : int
        Iterations between stopping tests, >= 1; each test waits for the device once.

    Raises
    ------
    SolverError
        If one is out of range.
    """

    rtol: float
    atol: float
    maxiter: int
    check_every: int

    def __post_init__(self) -> None:
        for name, least in (("rtol", 0), ("atol", 0), ("maxiter", 0), ("check_every", 1)):
            value = getattr(self, name)
            if not value >= least:
                raise SolverError(f"{name} expected a number >= {least}, got {value}")


@dataclass(frozen=True, slots=True)
class Measure:
    """What is true of an iterate: norms on the host, one a system.

    Parameters
    ----------
    residual : (n_systems,)
        Norm that the tolerance is about.
    misfit : (n_systems,)
        Norm of data minus prediction; infinite where it is not known.
    """

    residual: Floats
    misfit: Floats


@dataclass(frozen=True, slots=True)
class Goal:
    """What each system is to reach.

    Parameters
    ----------
    tolerance : (n_systems,)
        For the residual.
    noise : (n_systems,)
        For the misfit; negative where there is no such goal.
    """

    tolerance: Floats
    noise: Floats

    def status(self, found: Measure) -> list[Status | None]:
        """Return which goal each system has met, None where neither."""
        converged = found.residual <= self.tolerance
        explained = found.misfit <= self.noise
        return [
            Status.CONVERGED if c else Status.DISCREPANCY if e else None
            for c, e in zip(converged, explained, strict=True)
        ]

    def signed_squares(self) -> tuple[Floats, Floats]:
        """Return both thresholds squared with their sign, for comparison with squared norms."""
        return self.tolerance**2, self.noise * np.abs(self.noise)


@dataclass(slots=True)
class Trace:
    """What one cycle did, kept where the scalars live and read once at its end.

    Parameters
    ----------
    squares : list of scalars
        Squared residual norm of the recurrence, the start first.
    others : list of scalars
        Every further scalar that must be finite for the recurrence to go on.
    accepted : list of boolean scalars
        Which systems took the step of each iteration; none takes one after its first refusal.
    misfit2 : (n_systems,)
        Squared misfit of the recurrence at the end, on the host.
    """

    squares: list[Scalars] = field(default_factory=list)
    others: list[Scalars] = field(default_factory=list)
    accepted: list[Scalars] = field(default_factory=list)
    misfit2: Floats | None = None

    def add(self, accepted: Scalars, curvature: Scalars, square: Scalars, *others: Scalars) -> None:
        """Record one iteration."""
        self.accepted.append(accepted)
        self.squares.append(square)
        self.others += (curvature, *others)

    def steps(self, v: Vectors) -> Counts:
        """Count the steps that each system took."""
        if not self.accepted:
            return np.zeros(v.n_systems, dtype=np.int64)
        return np.asarray(_read(v, self.accepted).sum(axis=0), dtype=np.int64)

    def norms(self, v: Vectors) -> list[list[float]]:
        """Return the residual norms after each system's own steps."""
        norms = np.sqrt(_read(v, self.squares))
        return [norms[1 : n + 1, i].tolist() for i, n in enumerate(self.steps(v))]

    def claims(self, v: Vectors, goal: Goal) -> Mask:
        """Tell which systems met their goal by the recurrence."""
        tolerance2, noise2 = goal.signed_squares()
        last = np.take_along_axis(_read(v, self.squares), self.steps(v)[None], axis=0)[0]
        explained = False if self.misfit2 is None else self.misfit2 <= noise2
        return np.asarray((last <= tolerance2) | explained)

    def is_finite(self, v: Vectors) -> Mask:
        """Tell where every scalar was finite."""
        return np.asarray(np.isfinite(_read(v, [*self.squares, *self.others])).all(axis=0))


def _read(v: Vectors, scalars: list[Scalars]) -> NDArray[Any]:
    return v.host(v.scalars.stack(scalars))


class Method(Protocol):
    """One iterative method with its operator and data, as `run_cycles` sees it."""

    def measure(self, x: Array) -> Measure:
        """Recompute the residual from `x`, keep it for `iterate` and return its norms."""
        ...

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Iterate from `x` and its measured residual, overwriting `x`.

        A system stops when the recurrence claims its goal, when its budget is spent or when the
        recurrence fails; then its x stays as it was.
        """
        ...


@dataclass(slots=True)
class Outcome:
    """Where a method ended, in the units it worked in; one entry a system but for x."""

    x: Array
    found: Measure
    status: list[Status | None]
    iterations: Counts
    history: list[list[float]]


def run_cycles(
    method: Method, v: Vectors, x: Array, start: Measure, goal: Goal, maxiter: int
) -> Outcome:
    """Iterate until every system truly meets its goal, or cannot.

    Parameters
    ----------
    method : Method
        Holding the residual of `x`.
    v : Vectors
    x : array, (*batch, *unknown)
        Start; overwritten.
    start : Measure
        Of `x`.
    goal : Goal
    maxiter : int
        Largest number of iterations of a system, all cycles together.
    """
    out = Outcome(
        x=x,
        found=start,
        status=[
            met if np.isfinite(residual) else Status.NON_FINITE_INPUT
            for met, residual in zip(goal.status(start), start.residual, strict=True)
        ],
        iterations=np.zeros(v.n_systems, dtype=np.int64),
        history=[[float(residual)] for residual in start.residual],
    )
    if None in out.status:
        _run_cycle(method, v, out, goal, maxiter)
    while None in out.status:
        kept, before = v.copy(out.x), out.found
        pending = np.array([status is None for status in out.status])
        _run_cycle(method, v, out, goal, maxiter)
        _settle(v, out, pending, kept, before)
    return out


def _run_cycle(method: Method, v: Vectors, out: Outcome, goal: Goal, maxiter: int) -> None:
    """Iterate the unfinished systems once and look at what they truly reached."""
    pending = np.array([status is None for status in out.status])
    budget = np.where(pending, maxiter - out.iterations, 0)
    out.x, trace = method.iterate(out.x, budget)
    out.found = method.measure(out.x)
    steps = trace.steps(v)
    out.iterations += steps
    for past, new in zip(out.history, trace.norms(v), strict=True):
        past.extend(new)
    met, claimed, is_finite = goal.status(out.found), trace.claims(v, goal), trace.is_finite(v)
    for i in np.flatnonzero(pending):
        out.status[i] = met[i]
        if met[i] is None and steps[i] == budget[i]:
            out.status[i] = Status.MAX_ITERATIONS
        elif met[i] is None and not claimed[i]:
            failure = Status.BREAKDOWN if out.iterations[i] else Status.NON_FINITE_INPUT
            out.status[i] = Status.NOT_POSITIVE_DEFINITE if is_finite[i] else failure


def _settle(v: Vectors, out: Outcome, pending: Mask, kept: Array, before: Measure) -> None:
    """End the systems that a restart did not bring forward, with the better of both iterates."""
    for i in np.flatnonzero(pending):
        if out.status[i] is None and not out.found.residual[i] <= 0.5 * before.residual[i]:
            out.status[i] = Status.STAGNATION
    has_met = np.array([s in {Status.CONVERGED, Status.DISCREPANCY} for s in out.status])
    worse = pending & ~has_met & ~(out.found.residual <= before.residual)
    if worse.any():
        out.x = v.select(v.scalars_of(worse), kept, out.x)
        out.found = Measure(
            np.where(worse, before.residual, out.found.residual),
            np.where(worse, before.misfit, out.found.misfit),
        )
