"""The largest eigenvalue of a Hermitian positive semidefinite map, with a bound on its error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from solvers.errors import SolverError
from solvers.linear_map import Applicable, LinearMap, require_definite
from solvers.solution import Status
from solvers.stopping import Floats, Limits, Mask
from solvers.vectors import Array, Vectors, vectors_of

__all__ = ["Eigenpair", "power_iteration"]


@dataclass(frozen=True, slots=True, eq=False)
class Eigenpair:
    """An estimate of the largest eigenvalue of each system.

    Parameters
    ----------
    value : tuple of float
        Rayleigh quotient <v, A v>: never above the largest eigenvalue of a Hermitian A.
    residual_norm : tuple of float
        ||A v - value v||: an eigenvalue lies within this distance of `value`. It is the largest
        one unless the start had no part in its direction.
    vector : array, (*batch, *unknown)
        v, of unit norm.
    status : tuple of Status
        Why each stopped.
    iterations : tuple of int
        Applications of A until each stopped.
    """

    value: tuple[float, ...]
    residual_norm: tuple[float, ...]
    vector: Any = field(repr=False)
    status: tuple[Status, ...]
    iterations: tuple[int, ...]

    @property
    def upper_bound(self) -> tuple[float, ...]:
        """`value` + `residual_norm` of each system: a safe Lipschitz constant once converged."""
        return tuple(v + r for v, r in zip(self.value, self.residual_norm, strict=True))

    @property
    def converged(self) -> bool:
        """True when every residual met the tolerance."""
        return all(status is Status.CONVERGED for status in self.status)


def power_iteration(
    A: Applicable,
    x0: Array,
    *,
    rtol: float = 1e-2,
    maxiter: int = 100,
    n_batch_axes: int = 0,
    check_every: int = 1,
) -> Eigenpair:
    """Estimate the largest eigenvalue of a Hermitian positive semidefinite A.

    v = x0 / ||x0||; then  w = A v,  value = <v, w>,  v = w / ||w||

    until ||A v - value v|| <= rtol value. The error of the value is of second order: at most
    residual^2 / gap, where gap is the distance to the next eigenvalue.

    Parameters
    ----------
    A : function, matrix or operator
        x -> A x, as in `cg`.
    x0 : array, (*batch, *unknown)
        Start, best random: it must have a part in the direction sought.
    rtol : float
        Tolerance of the residual relative to the value.
    maxiter : int
        Largest number of iterations, >= 1.
    n_batch_axes : int
        How many leading axes of x0 count independent systems.
    check_every : int
        Iterations between stopping tests, each of which waits for the device.

    Returns
    -------
    Eigenpair
        CONVERGED with value 0 for a map that sends the start to zero; NOT_POSITIVE_DEFINITE when
        the value is negative; NON_FINITE_INPUT, with value NaN, when start or map holds NaN or
        infinity.

    Raises
    ------
    SolverError
        If the arguments do not fit together, or a start is zero.

    References
    ----------
    Golub and Van Loan 2013, Matrix Computations, section 8.2.1; Parlett 1998,
    doi:10.1137/1.9781611971163, theorem 4.5.1 (the residual bound).

    Examples
    --------
    >>> largest = power_iteration(np.diag([3.0, 1.0]), np.ones(2), rtol=1e-6)
    >>> round(largest.value[0], 6), largest.converged
    (3.0, True)
    """
    v = vectors_of(x0, n_batch_axes)
    limits = Limits(rtol, 0.0, maxiter, check_every)
    if maxiter < 1:
        raise SolverError(f"maxiter expected a number >= 1, got {maxiter}")
    require_definite(A, "A")
    apply = LinearMap(A, name="A", batch_shape=v.batch_shape, result_like=x0)
    with v.quiet():
        return _iterate(v, apply, _unit(v, x0), limits)


def _unit(v: Vectors, x0: Array) -> Array:
    """Return x0 at unit norm, whatever its scale."""
    peak = v.peak(x0)
    if (peak == 0).any():
        raise SolverError(
            "x0 expected a non-zero start in every system, got zero; draw it at random"
        )
    x = v.scale(v.scalars_of(1.0 / v.binary_scale_of(peak)), v.copy(x0))  # squares stay safe
    return v.scale(1.0 / v.norm(x), x)


def _iterate(v: Vectors, apply: LinearMap, x: Array, limits: Limits) -> Eigenpair:
    """Golub and Van Loan 2013, eq. 8.2.1, in units where A is about 1; systems freeze when done."""
    image = apply(x)
    unit = v.binary_scale(image)
    shrink = v.scalars_of(1.0 / unit)
    active = v.scalars_of(np.ones(v.n_systems, dtype=np.bool_))
    rounds = []
    for k in range(1, limits.maxiter + 1):
        image = v.scale(shrink, v.copy(image))
        value, norm = v.dot(x, image), v.norm(image)
        residual = v.norm(v.axpy(-value, x, v.copy(image)))
        rounds.append(active)
        active = active & (residual > limits.rtol * abs(value))
        if k == limits.maxiter or (k % limits.check_every == 0 and not v.host(active).any()):
            break
        # A frozen system's norm may be 0 or NaN; its x stays.
        x = v.select(active, v.scale(1.0 / norm, image), x)
        image = apply(x)
    return _result(
        v,
        x,
        v.host(value) * unit,
        v.host(residual) * unit,
        limits.rtol,
        [v.host(r) for r in rounds],
    )


def _result(
    v: Vectors, x: Array, value: Floats, residual: Floats, rtol: float, rounds: list[Mask]
) -> Eigenpair:
    """Judge each system."""
    is_finite = np.isfinite(value) & np.isfinite(residual)
    reasons = []
    for i in range(v.n_systems):
        if not is_finite[i]:
            reasons.append(Status.NON_FINITE_INPUT)
        elif value[i] < -residual[i]:
            reasons.append(Status.NOT_POSITIVE_DEFINITE)
        elif residual[i] <= rtol * abs(value[i]):
            reasons.append(Status.CONVERGED)
        else:
            reasons.append(Status.MAX_ITERATIONS)
    return Eigenpair(
        value=tuple(np.where(is_finite, value, np.nan).tolist()),
        residual_norm=tuple(np.where(is_finite, residual, np.nan).tolist()),
        vector=x,
        status=tuple(reasons),
        iterations=tuple(np.sum(rounds, axis=0).tolist()),
    )
