"""Strategies by factorisation: each matrix its own, one for all, or one that lags behind."""

from __future__ import annotations

import numpy as np
import torch

from inverse.pde.strategies import MAXITER, Answer, is_definite, strategy
from operators.pde import LinearSystems
from solvers import cg
from solvers.gmres import gmres
from solvers.preconditioners import Factorised, RepeatedLU

__all__ = ["Direct", "LaggedLU", "OneLU"]

_REFINEMENTS = 2


@strategy("direct")
class Direct:
    """LU factors of every matrix in single precision, refined down to the tolerance."""

    learns = False

    def __init__(self) -> None:
        self._lu = RepeatedLU()

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve every system by itself."""
        x = torch.empty_like(systems.rhs)
        n_applied = np.zeros(len(x), dtype=np.int64)
        for i, b in enumerate(systems.rhs):
            values, n_applied[i] = self._lu.solve(systems.matrix(i), b.numpy().ravel(), tolerance)
            x[i] = torch.from_numpy(values).reshape(b.shape)
        return Answer(x, np.zeros(len(x), dtype=np.int64), n_applied)


def _is_constant(systems: LinearSystems) -> bool:
    return systems.is_constant


@strategy("one-lu", _is_constant)
class OneLU:
    """One SuperLU factorisation for all samples of a family whose matrix is always the same."""

    learns = False

    def __init__(self) -> None:
        self._factors: Factorised | None = None

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve all right-hand sides, with iterative refinement down to the tolerance."""
        if self._factors is None:
            self._factors = Factorised(systems.matrix(0), lag="shared")
        b = systems.rhs
        axes = tuple(range(1, b.ndim))
        goal = tolerance * torch.linalg.vector_norm(b, dim=axes)
        x = self._factors.forward(b)
        n_applied = 1
        for _ in range(_REFINEMENTS):
            residual = b - systems.operator(x)
            if (torch.linalg.vector_norm(residual, dim=axes) <= goal).all():
                break
            x = x + self._factors.forward(residual)
            n_applied += 1
        return Answer(x, np.zeros(len(x), dtype=np.int64), np.full(len(x), n_applied))


@strategy("lagged-lu")
class LaggedLU:
    """Krylov iterations with the factors of an earlier matrix, renewed when they grow stale."""

    learns = True

    def __init__(self) -> None:
        self._factors: Factorised | None = None

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve one system."""
        matrix = systems.matrix(0)
        if self._factors is None:
            self._factors = Factorised(matrix, lag="lagged")
        else:
            self._factors.update(matrix)
        solver = cg if is_definite(systems) else gmres
        found = solver(
            matrix, systems.rhs[0].numpy().ravel(), M=self._factors, rtol=tolerance, maxiter=MAXITER
        )
        x = torch.from_numpy(found.x).reshape(systems.rhs.shape)
        return Answer(x, np.array(found.iterations), np.array([found.n_operator]))
