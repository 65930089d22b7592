"""What a preconditioner is to a solver, and to a sequence of systems."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from solvers.vectors import Array

__all__ = ["DEFINITE", "SEMIDEFINITE", "Preconditioner"]

SEMIDEFINITE = frozenset({"SELF_ADJOINT", "POSITIVE_SEMIDEFINITE"})
"""Tags of a Hermitian preconditioner without negative eigenvalues: CG and MINRES take it."""

DEFINITE = SEMIDEFINITE | {"POSITIVE_DEFINITE"}
"""Tags of a Hermitian preconditioner with positive eigenvalues only."""


@runtime_checkable
class Preconditioner(Protocol):
    """An approximate inverse M of an operator A that can follow A as it changes.

    It is what the solvers take as `M`. Two optional members tell more: `adjoint(r)` computes M^H r,
    and `tags` names the properties of M as the operators' tags are named; CG refuses a
    preconditioner with tags that lack POSITIVE_SEMIDEFINITE and trusts one without.
    """

    def forward(self, r: Array, /) -> Array:
        """Compute z = M r, close to A^-1 r.

        Parameters
        ----------
        r : array, (*batch, *unknown)
            One residual for each of independent systems.

        Returns
        -------
        array, shape, dtype and device of r
        """
        ...

    def update(self, A: Any, /) -> bool:
        """Adapt to a new operator of the same shape.

        Parameters
        ----------
        A : matrix or operator
            What the next systems have; of a form that the preconditioner was made from.

        Returns
        -------
        bool
            True if work was done; False if the preconditioner stays what it was, because it does
            not depend on the operator or still serves well enough.
        """
        ...
