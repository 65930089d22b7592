"""Strategies that learn from the sample before: a recycled Krylov space."""

from __future__ import annotations

import numpy as np
import torch

from inverse.pde.strategies import MAXITER, Answer, strategy
from operators.pde import LinearSystems
from solvers.gcrodr import gcrodr
from solvers.preconditioners import Jacobi
from solvers.recycle import RecycleSpace

__all__ = ["RecycledKrylov"]


def _has_no_zero_diagonal(systems: LinearSystems) -> bool:
    return bool((systems.matrix(0).diagonal() != 0).all())


@strategy("gcrodr", _has_no_zero_diagonal)
class RecycledKrylov:
    """GCRO-DR(40, 20) with the diagonal, sorted: the solver of the SKR paper.

    References
    ----------
    Wang et al. 2024, arXiv:2401.09516
    """

    learns = True

    def __init__(self) -> None:
        self._space = RecycleSpace(20, target="smallest")

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve one system."""
        matrix = systems.matrix(0)
        found = gcrodr(
            matrix,
            systems.rhs[0].numpy().ravel(),
            M=Jacobi(matrix),
            m=40,
            k=20,
            recycle=self._space,
            rtol=tolerance,
            maxiter=MAXITER,
        )
        x = torch.from_numpy(found.x).reshape(systems.rhs.shape)
        return Answer(x, np.array(found.iterations), np.array([found.n_operator]))
