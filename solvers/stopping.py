"""When a Krylov iteration stops, and what it may claim: limits, records and the outer loop.

A recurrence's residual drifts away from b - A x by rounding, by orders of magnitude in single
precision. So a method runs in *cycles*: iterate until the recurrence claims the goal, recompute the
true residual, and restart from it as long as the goal is not truly met and progress is made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.solution import Status
from solvers.vectors import Array, Scalars, Vectors

__all__ = [
    "Goal",
    "Limits",
    "Measure",
    "Method",
    "Outcome",
    "Reading",
    "Trace",
    "lost_systems",
    "run_cycles",
]

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

    @property
    def has_noise(self) -> bool:
        """True when some system may stop at its noise level."""
        return bool((self.noise >= 0).any())

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

    def read(self, v: Vectors, goal: Goal) -> Reading:
        """Bring the record to the host; waits for the device."""
        squares = _read(v, self.squares)
        steps = np.zeros(v.n_systems, dtype=np.int64)
        if self.accepted:
            steps += _read(v, self.accepted).sum(axis=0)
        tolerance2, noise2 = goal.signed_squares()
        claimed = np.take_along_axis(squares, steps[None], axis=0)[0] <= tolerance2
        if self.misfit2 is not None:
            claimed |= self.misfit2 <= noise2
        finite = np.isfinite(squares).all(axis=0) & np.isfinite(_read(v, self.others)).all(axis=0)
        norms = np.sqrt(squares).T.tolist()
        own = [past[1 : n + 1] for past, n in zip(norms, steps.tolist(), strict=True)]
        return Reading(steps, own, claimed, finite)


@dataclass(frozen=True, slots=True)
class Reading:
    """A trace on the host.

    Parameters
    ----------
    steps : (n_systems,)
        How many steps each system took.
    norms : list of list of float
        Residual norm after each system's own steps.
    is_claimed : (n_systems,)
        Which systems met their goal by the recurrence.
    is_finite : (n_systems,)
        Where every scalar was finite.
    """

    steps: Counts
    norms: list[list[float]]
    is_claimed: Mask
    is_finite: Mask


def _read(v: Vectors, scalars: list[Scalars]) -> NDArray[Any]:
    return v.host(v.scalars.stack(scalars)).reshape(-1, v.n_systems)


def lost_systems(v: Vectors, rho: Scalars, *, has_copy: bool) -> Scalars | None:
    """Return the systems whose recurrence scalar `rho` is not finite, None when there are none.

    The search direction and residual of such a system are NaN and must be cleared: its next step,
    of length 0 * NaN, would else reach its last good x. Its mates are safe, since systems share
    nothing but the calls. A single system stops at its first NaN and needs no help unless steps
    are taken untested, when it has a copy of x to fall back to.
    """
    if v.n_systems == 1 and not has_copy:
        return None
    lost = ~np.isfinite(v.host(rho))
    return v.scalars_of(lost) if lost.any() else None


class Method(Protocol):
    """One iterative method with its operator and data, as `run_cycles` sees it.

    Attributes
    ----------
    refusal : Status
        What it means when the method refuses a step though every number is finite.
    """

    refusal: ClassVar[Status]

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
    run = trace.read(v, goal)
    out.iterations += run.steps
    for past, new in zip(out.history, run.norms, strict=True):
        past.extend(new)
    met = goal.status(out.found)
    is_sound = run.is_finite & np.isfinite(out.found.residual)
    for i in np.flatnonzero(pending):
        out.status[i] = met[i]
        if met[i] is None and not is_sound[i]:
            out.status[i] = Status.BREAKDOWN if out.iterations[i] else Status.NON_FINITE_INPUT
        elif met[i] is None and run.steps[i] == budget[i]:
            out.status[i] = Status.MAX_ITERATIONS
        elif met[i] is None and not run.is_claimed[i]:
            out.status[i] = method.refusal


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
