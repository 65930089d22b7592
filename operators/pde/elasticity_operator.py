"""Linear elasticity by trilinear finite elements on the boxes between nodes, as a stencil."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError, ShapeError
from operators.linear import Tag
from operators.pde.grid import Grid
from operators.pde.stencil import StencilOperator
from operators.space import grid_names

__all__ = ["elasticity_operator", "element_modulus", "element_stiffness"]


def element_stiffness(spacing: Sequence[float], poisson_ratio: float) -> NDArray[np.float64]:
    """Integrate the stiffness of one box of Young's modulus 1.

    K_pa,qb = int lambda d_a phi_p d_b phi_q + mu d_b phi_p d_a phi_q
              + mu delta_ab grad phi_p . grad phi_q,
    lambda = nu / ((1 + nu) (1 - 2 nu)),   mu = 1 / (2 (1 + nu)),

    with the multilinear shape functions phi of the corners p, q and components a, b; two Gauss
    points an axis integrate it exactly. In two dimensions this is plane strain.

    Parameters
    ----------
    spacing : sequence of float
        Sides of the box in metres.
    poisson_ratio : float
        nu, -1 < nu < 1/2.

    Returns
    -------
    ndarray, (2^d, d, 2^d, d)
        Corners in row-major order.

    References
    ----------
    Hughes 2000, The Finite Element Method, section 2.7-9

    Examples
    --------
    >>> K = element_stiffness((1.0, 1.0), 0.3)
    >>> bool(np.allclose(K.sum(axis=2), 0))  # moving the whole box costs nothing
    True
    """
    nu, ndim = poisson_ratio, len(spacing)
    lame, shear = nu / ((1 + nu) * (1 - 2 * nu)), 1 / (2 * (1 + nu))
    corners = list(itertools.product((0, 1), repeat=ndim))
    total = np.zeros((2**ndim, ndim, 2**ndim, ndim))
    for point in itertools.product((0.5 - 0.75**0.5 / 3, 0.5 + 0.75**0.5 / 3), repeat=ndim):
        gradient = np.array([_shape_gradient(corner, point, spacing) for corner in corners])
        total += lame * np.einsum("pa,qb->paqb", gradient, gradient)
        total += shear * np.einsum("pb,qa->paqb", gradient, gradient)
        total += shear * np.einsum("pc,qc,ab->paqb", gradient, gradient, np.eye(ndim))
    return np.asarray(total * (np.prod(spacing) / 2**ndim), dtype=np.float64)


def _shape_gradient(
    corner: tuple[int, ...], point: tuple[float, ...], spacing: Sequence[float]
) -> list[float]:
    values = [x if c else 1 - x for c, x in zip(corner, point, strict=True)]
    slopes = [(1 if c else -1) / h for c, h in zip(corner, spacing, strict=True)]
    return [
        slopes[axis] * float(np.prod(values[:axis] + values[axis + 1 :]))
        for axis in range(len(corner))
    ]


def element_modulus(modulus: torch.Tensor) -> torch.Tensor:
    """Average Young's modulus from the corners to the boxes: (n, *nodes) to (n, *(nodes - 1)).

    Examples
    --------
    >>> element_modulus(torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])).tolist()
    [[[3.0]]]
    """
    for axis in range(1, modulus.ndim):
        n = modulus.shape[axis]
        modulus = 0.5 * (modulus.narrow(axis, 0, n - 1) + modulus.narrow(axis, 1, n - 1))
    return modulus


def elasticity_operator(
    modulus: torch.Tensor, grid: Grid, poisson_ratio: float, held: torch.Tensor
) -> StencilOperator:
    """Assemble the stiffness matrix of -div(sigma(u)), sigma = lambda div u I + 2 mu eps(u).

    A = P K P + (I - P) diag(K) (I - P), where P sets the displacement of the nodes that are held
    to zero: symmetric, and positive definite once the held nodes allow no rigid motion. The rows
    of the held nodes say K_ii u_i = b_i; their right-hand side is zero.

    Parameters
    ----------
    modulus : Tensor, (n_samples, *grid)
        Young's modulus at the nodes in Pa, > 0.
    grid : Grid
        Of nodes, in two (plane strain) or three dimensions.
    poisson_ratio : float
        nu, -1 < nu < 1/2.
    held : Tensor, (*grid), bool
        Nodes that cannot move.

    Returns
    -------
    StencilOperator
        On (n_samples, d, *grid), components in the order of the axes; in N/m^d per metre.

    Raises
    ------
    ParameterError
        If the Poisson ratio is out of range or the grid is one of cells.
    ShapeError
        If modulus, held and grid disagree.
    """
    if not -1 < poisson_ratio < 0.5:
        raise ParameterError(f"expected a Poisson ratio between -1 and 0.5, got {poisson_ratio}")
    if grid.centring != "nodes" or grid.ndim == 1:
        raise ParameterError("elasticity expected a grid of nodes in two or three dimensions")
    if tuple(modulus.shape[1:]) != grid.shape or tuple(held.shape) != grid.shape:
        raise ShapeError(
            f"a grid of shape {grid.shape} expected Young's modulus (n_samples, *{grid.shape}) "
            f"and held nodes of its shape, got {tuple(modulus.shape)} and {tuple(held.shape)}"
        )
    offsets = list(itertools.product(range(1 - grid.ndim, grid.ndim), *[(-1, 0, 1)] * grid.ndim))
    stiffness = element_stiffness(grid.spacing, poisson_ratio)
    coefficients = _assembled(element_modulus(modulus), stiffness, grid, offsets)
    _hold(coefficients, held, offsets)
    return StencilOperator(
        offsets,
        coefficients,
        axes=("component", *grid_names(grid.ndim)),
        tags=[Tag.POSITIVE_SEMIDEFINITE],
    )


def _assembled(
    modulus: torch.Tensor,
    stiffness: NDArray[np.float64],
    grid: Grid,
    offsets: Sequence[tuple[int, ...]],
) -> torch.Tensor:
    """Sum what every box contributes to (n_samples, n_offsets, component, *nodes)."""
    corners = list(itertools.product((0, 1), repeat=grid.ndim))
    total = modulus.new_zeros(modulus.shape[0], len(offsets), grid.ndim, *grid.shape)
    number = {offset: i for i, offset in enumerate(offsets)}
    for p, a, q, b in np.ndindex(stiffness.shape):
        offset = (b - a, *(j - i for i, j in zip(corners[p], corners[q], strict=True)))
        # Corner p of box e is the node e + p.
        nodes = tuple(slice(i, i + n - 1) for i, n in zip(corners[p], grid.shape, strict=True))
        where = (slice(None), number[offset], a, *nodes)
        total[where].add_(modulus, alpha=float(stiffness[p, a, q, b]))
    return total


def _hold(
    coefficients: torch.Tensor, held: torch.Tensor, offsets: Sequence[tuple[int, ...]]
) -> None:
    """Cut the held nodes from all others, and their components from each other, in place."""
    free = (~held).to(coefficients.dtype)
    axes = tuple(range(free.ndim))
    for coefficient, offset in zip(coefficients.unbind(1), offsets, strict=True):
        if any(offset):
            # That this wraps is harmless: there the coefficients point beyond the grid.
            coefficient.mul_(free * torch.roll(free, [-step for step in offset[1:]], axes))
