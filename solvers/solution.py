"""What a solver returns: the best iterate, why it stopped and what it really reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

__all__ = ["Solution", "Status"]


class Status(Enum):
    """Why a system stopped; the value is what to tell a person."""

    CONVERGED = "the residual reached the tolerance"
    DISCREPANCY = "the data are explained to within their noise"
    MAX_ITERATIONS = "the iteration limit came first; raise maxiter or precondition"
    STAGNATION = "rounding stopped progress above the tolerance; loosen it or use double precision"
    BREAKDOWN = "the recurrence broke down; the last good iterate is returned"
    NOT_POSITIVE_DEFINITE = (
        "the operator or preconditioner has a direction of zero or negative curvature; "
        "the last good iterate is returned"
    )
    NON_FINITE_INPUT = "the right-hand side, start or operator holds NaN or infinity"


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Result of an iterative solver, one entry per system of the batch.

    Systems count row-major over the batch axes; an unbatched problem is one system.

    Parameters
    ----------
    x : array, (*batch, *unknown)
        Best iterate; NaN in a system whose status is NON_FINITE_INPUT, so that it cannot pass for
        an answer.
    status : tuple of Status
        Why each system stopped.
    iterations : tuple of int
        Iterations each system took.
    residual_norm : tuple of float
        True residual norm ||b - A x|| (the solver says so where it is another optimality measure),
        recomputed from x at the end, never the recurrence's.
    relative_residual : tuple of float
        The same over its value at x = 0, e.g. over ||b|| (0 when b = 0).
    history : tuple of tuple of float
        For each system, recurrence residual norms (or objective values) by iteration, the start
        first; for plots only.
    n_operator, n_preconditioner : int
        How often A (and A^H) and M were applied to the whole batch, the final check included.
    data_residual_norm : tuple of float
        Norm of data minus prediction for solvers of least-squares problems that were given the
        means to know it; empty otherwise.
    """

    x: Any = field(repr=False)
    status: tuple[Status, ...]
    iterations: tuple[int, ...]
    residual_norm: tuple[float, ...]
    relative_residual: tuple[float, ...]
    history: tuple[tuple[float, ...], ...] = field(repr=False)
    n_operator: int
    n_preconditioner: int = 0
    data_residual_norm: tuple[float, ...] = ()

    @property
    def converged(self) -> bool:
        """True when every system met its tolerance or its noise level."""
        return all(s in {Status.CONVERGED, Status.DISCREPANCY} for s in self.status)
