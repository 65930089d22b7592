"""What first-order methods share: who still iterates, why the others stopped, and safe norms.

These methods read a norm of every system once an iteration, to stop; so their scalars (steps,
momentum, residuals) are NumPy arrays on the host, one entry a system.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array

from solvers.proximal import Proximal, Scheduled
from solvers.scaling import Callback
from solvers.solution import Solution, Status
from solvers.stopping import Counts, Floats, Limits, Mask
from solvers.vectors import Array, Vectors

__all__ = [
    "Balance",
    "Progress",
    "add_scaled",
    "as_factor",
    "at_iteration",
    "is_positive",
    "norms",
    "totals",
]

_ROUNDING = 16.0  # residuals within this many units of rounding are as small as they get


def norms(v: Vectors, x: Array) -> Floats:
    """Return the norm of each system on the host, also where the squares over- or underflow."""
    plain = np.asarray(v.host(v.norm(x)), dtype=np.float64)
    squares_kept = np.sqrt(np.ldexp(1.0, -v.largest_exponent)) / v.eps
    if (np.isfinite(plain) & (plain > squares_kept)).all():
        return plain
    scale = v.binary_scale(x)
    scaled = v.scale(v.scalars_of(1.0 / scale), v.copy(x))
    return np.asarray(v.host(v.norm(scaled)) * scale, dtype=np.float64)


def is_positive(v: Vectors, x: Array, y: Array) -> Mask:
    """Tell for each system whether Re <x, y> > 0, also where products over- or underflow."""
    plain = np.asarray(v.host(v.dot(x, y)), dtype=np.float64)
    products_kept = np.ldexp(1.0, -v.largest_exponent) / v.eps
    if not (np.isfinite(plain) & (np.abs(plain) > products_kept)).all():
        a, b = (
            v.scale(v.scalars_of(1.0 / v.binary_scale(array)), v.copy(array)) for array in (x, y)
        )
        plain = np.asarray(v.host(v.dot(a, b)), dtype=np.float64)
    return np.asarray(plain > 0)


def totals(v: Vectors, values: Array) -> Floats:
    """Sum what `value` returned for the leading axes over the entries of each system."""
    xp = array_namespace(values)
    rows = xp.reshape(values, (v.n_systems, -1))
    sums = xp.sum(rows, axis=1)
    return np.asarray([float(sums[i]) for i in range(v.n_systems)])


def as_factor(v: Vectors, values: Floats, like: Array) -> float | Array:
    """Turn one number a system into what multiplies arrays: a float or (*batch, 1, ..., 1)."""
    if v.n_systems == 1:
        return float(values[0])
    xp = array_namespace(like)
    real = xp.float32 if v.eps > 1e-10 else xp.float64
    column = xp.asarray(values.tolist(), dtype=real, device=device(like))
    return xp.reshape(column, (*v.batch_shape, *(1,) * (like.ndim - v.n_batch_axes)))


def add_scaled(x: Array, a: float | Array, y: Array) -> Array:
    """Compute x + a y as a new array, in one pass where the library offers it."""
    if isinstance(a, float) and is_torch_array(x):
        return array_namespace(x).add(x, y, alpha=a)
    return x + a * y


def at_iteration(g: Proximal, iteration: int) -> Proximal:
    """Return the function of an iteration, counted from 0, where g has a schedule."""
    return g.at(iteration) if isinstance(g, Scheduled) else g


@dataclass(slots=True)
class Progress:
    """Record of a running iteration, one entry a system.

    Parameters
    ----------
    v : Vectors
        Of the unknown.
    limits : Limits
    callback : function or None
        Called as callback(iteration, x) with a copy of the iterate.

    Attributes
    ----------
    iteration : int
        Iterations done.
    residual, relative : (n_systems,)
        True optimality measure of the iterate that is kept.
    """

    v: Vectors
    limits: Limits
    callback: Callback | None = None
    iteration: int = 0
    residual: Floats = field(init=False)
    relative: Floats = field(init=False)
    _status: list[Status | None] = field(init=False)
    _iterations: Counts = field(init=False)
    _history: list[list[float]] = field(init=False)

    def __post_init__(self) -> None:
        n = self.v.n_systems
        self.residual, self.relative = np.full(n, np.nan), np.full(n, np.nan)
        self._status = [None] * n
        self._iterations = np.zeros(n, dtype=np.int64)
        self._history = [[] for _ in range(n)]

    @property
    def active(self) -> Mask:
        """Systems without a reason to stop."""
        return np.asarray([status is None for status in self._status])

    @property
    def goes_on(self) -> bool:
        """Whether a system is active and the limit not reached."""
        return self.iteration < self.limits.maxiter and bool(self.active.any())

    def take(self, measure: Floats) -> Mask:
        """Count an iteration and return the systems that take its step.

        An active system whose measure is not finite takes none and stops.
        """
        active, is_finite = self.active, np.isfinite(measure)
        for i in np.flatnonzero(active & ~is_finite):
            first = self.iteration == 0
            self._status[i] = Status.NON_FINITE_INPUT if first else Status.BREAKDOWN
        self.iteration += 1
        taken = np.asarray(active & is_finite)
        self._iterations += taken
        for i in np.flatnonzero(taken):
            self._history[i].append(float(measure[i]))
        return taken

    def keep(self, taken: Mask, new: Array, old: Array) -> Array:
        """Return the new array where the step is taken and the old one elsewhere."""
        if taken.all():
            return new
        return self.v.select(self.v.scalars_of(taken), new, old)

    def record(self, systems: Mask, residual: Floats, relative: Floats) -> None:
        """Keep the true measure of some systems; those within the tolerance have converged."""
        self.residual = np.where(systems, residual, self.residual)
        self.relative = np.where(systems, relative, self.relative)
        for i in np.flatnonzero(systems & self.active & (relative <= self.limits.rtol)):
            self._status[i] = Status.CONVERGED

    def report(self, x: Array) -> None:
        """Hand a copy of the iterate to the caller."""
        if self.callback is not None:
            self.callback(self.iteration, self.v.copy(x))

    def solution(self, x: Array, n_operator: int) -> Solution:
        """Close the record; systems that never had a finite value are NaN."""
        status = [
            reason or self._limit_reached(relative)
            for reason, relative in zip(self._status, self.relative, strict=True)
        ]
        unusable = np.asarray([reason is Status.NON_FINITE_INPUT for reason in status])
        if unusable.any():
            x = self.v.fill(self.v.scalars_of(unusable), float("nan"), self.v.copy(x))
        return Solution(
            x=x,
            status=tuple(status),
            iterations=tuple(self._iterations.tolist()),
            residual_norm=tuple(np.where(unusable, np.nan, self.residual).tolist()),
            relative_residual=tuple(np.where(unusable, np.nan, self.relative).tolist()),
            history=tuple(tuple(past) for past in self._history),
            n_operator=n_operator,
        )

    def _limit_reached(self, relative: float) -> Status:
        if relative <= self.limits.rtol:
            return Status.CONVERGED
        if not np.isfinite(relative):
            return Status.NON_FINITE_INPUT
        at_rounding = relative <= _ROUNDING * self.v.eps
        return Status.STAGNATION if at_rounding else Status.MAX_ITERATIONS


@dataclass(slots=True)
class Balance:
    """A weight between two residuals, moved towards where both are equally small.

    It grows while the feasibility residual is the larger by a factor of 1.5 and shrinks while the
    stationarity residual is. Each move is smaller than the one before, so that the iteration
    converges as with a fixed weight, and none leads below the floor. Both residuals are relative,
    so units cancel.

    Goldstein et al. 2013, arXiv:1305.0546, algorithm 1; Wohlberg 2017, arXiv:1704.06209, section 4.
    """

    weight: Floats
    floor: Floats | float = 0.0
    rate: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.rate = np.full_like(self.weight, 0.5)

    def move(self, stationarity: Floats, feasibility: Floats) -> Floats:
        """Update the weight; return the factor by which it changed."""
        grow = feasibility > 1.5 * stationarity
        shrink = stationarity > 1.5 * feasibility
        factor = np.where(grow, 1 / (1 - self.rate), np.where(shrink, 1 - self.rate, 1.0))
        before = self.weight
        self.weight = np.maximum(before * factor, self.floor)
        self.rate = np.where(grow | shrink, 0.95 * self.rate, self.rate)
        return np.asarray(self.weight / before)
