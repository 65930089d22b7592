"""What a solver returns: the best iterate, why it stopped and what it really reached."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Solution", "Status"]


class Status(Enum):
    """Why a system stopped; the value is what to tell a person."""

    CONVERGED = "the residual reached the tolerance"
    DISCREPANCY = "the data are explained to within their noise"
    MAX_ITERATIONS = "the iteration limit came first; raise maxiter or precondition"
    BREAKDOWN = "the recurrence broke down; the last good iterate is returned"
    NOT_POSITIVE_DEFINITE = "the operator has a direction of zero or negative curvature"
    NON_FINITE_INPUT = "the right-hand side, start or operator holds NaN or infinity"


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Result of an iterative solver, one entry per system of the batch.

    Parameters
    ----------
    x : array, shape of the right-hand side's unknown
        Best iterate.
    status : tuple of Status, one a system (row-major over the batch axes; one entry when unbatched)
        Why each stopped.
    iterations : tuple of int
        Iterations each system took.
    residual_norm : tuple of float
        True residual norm ||b - A x||, recomputed from x at the end, never the recurrence's.
    relative_residual : tuple of float
        The same over ||b|| (0 when b = 0).
    history : tuple of tuple of float
        Recurrence residual norms (or objective values) by iteration, for plots only.
    n_operator, n_preconditioner : int
        How often A and M were applied to the whole batch, the final check included.
    """

    x: Any
    status: tuple[Status, ...]
    iterations: tuple[int, ...]
    residual_norm: tuple[float, ...]
    relative_residual: tuple[float, ...]
    history: tuple[tuple[float, ...], ...]
    n_operator: int
    n_preconditioner: int = 0

    @property
    def converged(self) -> bool:
        """True when every system met its tolerance or its noise level."""
        return all(s in {Status.CONVERGED, Status.DISCREPANCY} for s in self.status)
