"""The step every sampler shares: move a denoised image to where it agrees with the data."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inverse.problem import Problem
from solvers import cg

__all__ = ["DataStep", "warm_start"]


@dataclass(slots=True, eq=False)
class DataStep:
    """argmin_x ||A x - y||^2 + weight ||x - z||^2, by conjugate gradients started at z.

    Counts what it spends: `n_operator` applications of A^H A (and one of A^H) so far.

    Parameters
    ----------
    problem : Problem
    maxiter : int
        Iterations of each call.
    rtol : float
        Residual relative to the right-hand side at which a call stops early.
    """

    problem: Problem
    maxiter: int
    rtol: float = 1e-4
    n_operator: int = 0
    _backprojection: torch.Tensor | None = None

    @property
    def backprojection(self) -> torch.Tensor:
        """A^H y."""
        if self._backprojection is None:
            self._backprojection = self.problem.operator.adjoint(self.problem.data)
            self.n_operator += 1
        return self._backprojection

    def __call__(self, z: torch.Tensor, weight: float) -> torch.Tensor:
        """Return the minimiser; `weight` >= 0 is noise variance over prior variance."""
        b = torch.add(self.backprojection, z, alpha=weight)
        return self._solve(b, weight, z, self.maxiter)

    def _solve(
        self, b: torch.Tensor, weight: float, start: torch.Tensor | None, maxiter: int
    ) -> torch.Tensor:
        normal = self.problem.operator.normal
        found = cg(
            lambda v: torch.add(normal(v), v, alpha=weight),
            b,
            x0=start,
            rtol=self.rtol,
            maxiter=maxiter,
            n_batch_axes=self.problem.n_batch_axes,
        )
        self.n_operator += found.n_operator
        x: torch.Tensor = found.x
        return x


def warm_start(step: DataStep, *, maxiter: int = 10, weight: float = 1e-2) -> torch.Tensor:
    """Return a mildly regularised least-squares image to start a sampler from."""
    return step._solve(step.backprojection, weight, None, maxiter)
