"""Stencils of finite volumes whose fluxes need not be symmetric, real or conserved at a wall."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from operators.linear import Tag
from operators.pde.stencil import StencilOperator

__all__ = ["flux_operator"]


def flux_operator(
    forth: Sequence[torch.Tensor],
    back: Sequence[torch.Tensor],
    centre: torch.Tensor | float = 0.0,
    *,
    tags: Sequence[Tag] = (),
) -> StencilOperator:
    """Make the operator of the two-point fluxes F = l u_i - r u_{i+1} through every face.

    (A u)_i = sum over the axes of F_{i+1/2} - F_{i-1/2}, plus c_i u_i. Beyond a wall u is zero:
    through the first face flows - r u_0 and through the last l u_{n-1}, so l and r at the walls
    say what the boundary condition is.

    Parameters
    ----------
    forth, back : sequence of Tensor
        l and r, one an axis, real or complex: (n_samples, *grid) with n + 1 faces along that axis,
        face i between the cells i - 1 and i; in flux per spacing. The same tensors give a symmetric
        matrix.
    centre : Tensor, (n_samples, *grid), or float
        c.
    tags : sequence of Tag
        What the caller knows of the matrices.

    Returns
    -------
    StencilOperator
        Offsets in the order centre, then one step back and one forth along each axis.

    Examples
    --------
    >>> upwind = torch.tensor([[0.0, 1.0, 1.0, 1.0]]), torch.zeros(1, 4)
    >>> flux_operator(upwind[:1], upwind[1:]).matrix(0).toarray().tolist()
    [[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.0, -1.0, 1.0]]
    """
    ndim = len(forth)
    shape = (forth[0].shape[0], *(t.shape[axis + 1] - 1 for axis, t in enumerate(forth)))
    offsets = [(0,) * ndim]
    coefficients = forth[0].new_empty(shape[0], 2 * ndim + 1, *shape[1:])
    diagonal = coefficients[:, 0]
    diagonal[...] = centre
    for axis, (left, right) in enumerate(zip(forth, back, strict=True)):
        n = shape[axis + 1]
        diagonal.add_(left.narrow(axis + 1, 1, n)).add_(right.narrow(axis + 1, 0, n))
        torch.neg(left.narrow(axis + 1, 0, n), out=coefficients[:, 2 * axis + 1])
        torch.neg(right.narrow(axis + 1, 1, n), out=coefficients[:, 2 * axis + 2])
        offsets += [tuple(step * (d == axis) for d in range(ndim)) for step in (-1, 1)]
    return StencilOperator(offsets, coefficients, tags=tags)
