"""How the systems of a chain are solved: each strategy a solver with a preconditioner.

A strategy lives as long as its chain and may carry what it learned from one sample to the next (a
factorisation, a recycled space). Nothing outlives a chain, so that a data set does not depend on
who solved which chain and when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from operators import Tag
from operators.pde import LinearSystems
from solvers import Solution, cg
from solvers.gmres import gmres
from solvers.linear_map import Applicable

__all__ = [
    "MAXITER",
    "STRATEGIES",
    "Answer",
    "Strategy",
    "applicable",
    "has_form",
    "is_definite",
    "krylov",
    "strategy",
]

MAXITER = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a strategy found for the systems it was given.

    Parameters
    ----------
    x : Tensor, (n, *unknown)
    iterations : (n,)
        Of the Krylov solver; 0 for a direct solve.
    n_operator : (n,)
        Applications of the operator or of a factorisation's triangular solves that each system
        took part in.
    """

    x: torch.Tensor
    iterations: NDArray[np.int64]
    n_operator: NDArray[np.int64]


class Strategy(Protocol):
    """One way to solve systems.

    Attributes
    ----------
    learns : bool
        Whether it carries something from a sample to the next, and gains from similar ones
        following one another. It is given one sample at a time, others a batch.
    """

    learns: bool

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve every system to a relative residual, or as near as it gets."""
        ...


STRATEGIES: dict[str, tuple[Callable[[], Strategy], Callable[[LinearSystems], bool]]] = {}
"""By name: how to make a strategy, and whether it can solve systems like those given."""


def _always(systems: LinearSystems) -> bool:
    del systems
    return True


def strategy(name: str, can: Callable[[LinearSystems], bool] = _always) -> Callable[[type], type]:
    """Enter a strategy under a name, with the test for what it can solve."""

    def enter(made: type) -> type:
        STRATEGIES[name] = (made, can)
        return made

    return enter


def applicable(systems: LinearSystems) -> list[str]:
    """Return the names of the strategies that can solve systems like these."""
    return [name for name, (_, can) in STRATEGIES.items() if can(systems)]


def is_definite(systems: LinearSystems) -> bool:
    """Tell whether the matrices are Hermitian positive definite."""
    return Tag.POSITIVE_SEMIDEFINITE in systems.operator.tags


def has_form(systems: LinearSystems) -> bool:
    """Tell whether a diffusion operator is known that the matrices are or are close to."""
    return systems.form is not None


def krylov(
    systems: LinearSystems, tolerance: float, M: Applicable, *, n_batch_axes: int = 1
) -> Answer:
    """Solve by CG where the matrices are definite and by GMRES elsewhere, all samples together."""
    solver = cg if is_definite(systems) else gmres
    found: Solution = solver(
        systems.operator,
        systems.rhs,
        M=M,
        rtol=tolerance,
        maxiter=MAXITER,
        n_batch_axes=n_batch_axes,
    )
    return Answer(
        found.x,
        np.asarray(found.iterations, dtype=np.int64),
        np.full(systems.rhs.shape[0], found.n_operator),
    )
