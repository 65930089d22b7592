"""What became of every system of a sequence."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from solvers.ordering import Ordering
from solvers.solution import Status

__all__ = ["Record", "SequenceResult", "UnconvergedWarning"]


class UnconvergedWarning(UserWarning):
    """Some systems of a sequence missed their tolerance."""


@dataclass(frozen=True, slots=True)
class Record:
    """How one system of a sequence went.

    Parameters
    ----------
    index : int
        Which of the systems, as they were given.
    position, chain : int
        As number what it was solved, and in which chain.
    status : Status
    iterations, n_operator, n_preconditioner : int
        Of the solve, what the recycled space cost included.
    residual_norm, relative_residual : float
        ||b - A x|| and its ratio to ||b||, recomputed from x.
    recycle_dim : int
        Vectors held when the solve began; 0 without a space.
    is_preconditioner_new : bool
        Whether the preconditioner was made or renewed for this system.
    delta : float or None
        Sine of the largest angle from the wanted invariant space to the recycled one, if asked.
    seconds : float
        Wall-clock time of the preconditioner and the solve.
    """

    index: int
    position: int
    chain: int
    status: Status
    iterations: int
    n_operator: int
    n_preconditioner: int
    residual_norm: float
    relative_residual: float
    recycle_dim: int
    is_preconditioner_new: bool
    delta: float | None
    seconds: float

    @property
    def converged(self) -> bool:
        """Whether the system met its tolerance."""
        return self.status in {Status.CONVERGED, Status.DISCREPANCY}


@dataclass(frozen=True, slots=True, eq=False)
class SequenceResult:
    """All solutions, in the order in which the systems were given.

    Parameters
    ----------
    solutions : tuple of array, (*unknown,)
        Empty when the caller took each as it came.
    records : tuple of Record
    order : Ordering or None
        In which order they were solved.
    """

    solutions: tuple[Any, ...] = field(repr=False)
    records: tuple[Record, ...] = field(repr=False)
    order: Ordering | None

    @property
    def converged(self) -> bool:
        """True when every system met its tolerance."""
        return not self.unconverged

    @property
    def unconverged(self) -> tuple[int, ...]:
        """Which systems missed their tolerance."""
        return tuple(record.index for record in self.records if not record.converged)

    @property
    def n_operator(self) -> int:
        """Applications of the operators, all systems together."""
        return sum(record.n_operator for record in self.records)
