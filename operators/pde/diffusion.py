"""Finite volumes of -div(a grad u) + c u with harmonic face coefficients, a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch

from operators.errors import ParameterError, ShapeError
from operators.linear import Tag
from operators.pde.family import Boundary, DiffusionForm
from operators.pde.grid import Grid
from operators.pde.stencil import StencilOperator

__all__ = [
    "WallValues",
    "diffusion_form",
    "diffusion_operator",
    "face_coefficients",
    "wall_source",
]

WallValues: TypeAlias = Sequence[tuple[float | torch.Tensor, float | torch.Tensor]]
"""Value of u at both ends of each axis; a tensor broadcasts against the wall's face,
(n_samples, *grid) with one point along the axis."""


def face_coefficients(
    a: torch.Tensor, grid: Grid, boundary: Sequence[Boundary]
) -> tuple[torch.Tensor, ...]:
    """Compute what couples the cells on both sides of every face.

    t = 2 a_i a_j / (a_i + a_j) / h^2 between neighbours i and j: the flux through two half cells
    in series, exact in one dimension where a jumps at the face. At a Dirichlet wall the value lies
    half a cell away, t = 2 a_i / h^2; through a Neumann wall nothing flows, t = 0.

    Parameters
    ----------
    a : Tensor, (n_samples, *grid.shape), real
        Positive coefficient of each cell.
    grid : Grid
        Of cells.
    boundary : sequence of Boundary
        One an axis.

    Returns
    -------
    tuple of Tensor
        One an axis, in the units of a / m^2: shape of `a` with n + 1 faces along that axis, face i
        between the cells i - 1 and i. Periodic axes have their joint twice, first and last.

    Raises
    ------
    ParameterError
        If `a` is not positive and finite, the grid is one of nodes, or a boundary is unknown.
    ShapeError
        If `a` or `boundary` does not fit the grid.

    References
    ----------
    Patankar 1980, Numerical Heat Transfer and Fluid Flow, eq. 4.9

    Examples
    --------
    >>> a = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    >>> face_coefficients(a, Grid((2,), (2.0,)), ["dirichlet"])[0].tolist()
    [[2.0, 1.5, 6.0]]
    """
    _check(a, grid, boundary)
    return tuple(
        _faces_along(a, axis - grid.ndim, kind, h)
        for axis, (kind, h) in enumerate(zip(boundary, grid.spacing, strict=True))
    )


def _faces_along(a: torch.Tensor, axis: int, kind: Boundary, spacing: float) -> torch.Tensor:
    n = a.shape[axis]
    faces = a.new_empty(*a.shape[:axis], n + 1, *a.shape[a.ndim + axis + 1 :])
    resistance = (0.5 * spacing**2) / a  # of half a cell
    before, after = resistance.narrow(axis, 0, n - 1), resistance.narrow(axis, 1, n - 1)
    inner = faces.narrow(axis, 1, n - 1)
    torch.add(before, after, out=inner).reciprocal_()
    first, last = resistance.narrow(axis, 0, 1), resistance.narrow(axis, n - 1, 1)
    low, high = faces.narrow(axis, 0, 1), faces.narrow(axis, n, 1)
    if kind == "dirichlet":
        torch.reciprocal(first, out=low)
        torch.reciprocal(last, out=high)
    elif kind == "neumann":
        low.zero_()
        high.zero_()
    else:
        torch.add(first, last, out=low).reciprocal_()
        high.copy_(low)
    return faces


def diffusion_operator(
    faces: Sequence[torch.Tensor],
    boundary: Sequence[Boundary],
    c: float | torch.Tensor = 0.0,
) -> StencilOperator:
    """Make the finite-volume operator of face coefficients.

    (A u)_i = sum over the faces of cell i of t (u_i - u_j) + c_i u_i, with u_j = 0 beyond a
    Dirichlet wall (`wall_source` brings other values to the right-hand side). A is symmetric and,
    for c >= 0, positive semi-definite; with Neumann or periodic boundaries all round and c = 0 its
    null space are the constants.

    Parameters
    ----------
    faces : sequence of Tensor
        From `face_coefficients`, or any others of the same shapes, >= 0.
    boundary : sequence of Boundary
        One an axis.
    c : float or Tensor, broadcasting to (n_samples, *grid)
        Reaction coefficient >= 0.

    Returns
    -------
    StencilOperator
        Offsets in the order centre, then one step back and one forth along each axis.

    Examples
    --------
    >>> a = torch.ones(1, 3, dtype=torch.float64)
    >>> walls = ["dirichlet"]
    >>> A = diffusion_operator(face_coefficients(a, Grid((3,), (3.0,)), walls), walls)
    >>> A.matrix(0).toarray().tolist()
    [[3.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 3.0]]
    """
    ndim = len(faces)
    shape = (faces[0].shape[0], *(t.shape[axis + 1] - 1 for axis, t in enumerate(faces)))
    offsets = [(0,) * ndim]
    coefficients = faces[0].new_empty(shape[0], 2 * ndim + 1, *shape[1:])
    centre = coefficients[:, 0]
    if isinstance(c, torch.Tensor):
        centre.copy_(c)
    else:
        centre.fill_(c)
    for axis, t in enumerate(faces):
        n = shape[axis + 1]
        for k, step in enumerate((-1, 1)):
            through = t.narrow(axis + 1, k, n)
            centre.add_(through)
            torch.neg(through, out=coefficients[:, 2 * axis + 1 + k])
            offsets.append(tuple(step if d == axis else 0 for d in range(ndim)))
    return StencilOperator(
        offsets,
        coefficients,
        periodic=[axis for axis, kind in enumerate(boundary) if kind == "periodic"],
        tags=[Tag.POSITIVE_SEMIDEFINITE],
    )


def wall_source(
    faces: Sequence[torch.Tensor], boundary: Sequence[Boundary], values: WallValues
) -> torch.Tensor:
    """Compute what Dirichlet values other than zero add to the right-hand side.

    b_i = t u_wall in the cells beside a Dirichlet wall, zero elsewhere; values on other boundaries
    are ignored.

    Parameters
    ----------
    faces, boundary
        As of `diffusion_operator`.
    values : WallValues
        Value at the low and the high end of each axis.

    Returns
    -------
    Tensor, (n_samples, *grid)

    Examples
    --------
    >>> a, walls = torch.ones(1, 3, dtype=torch.float64), ["dirichlet"]
    >>> wall_source(face_coefficients(a, Grid((3,), (3.0,)), walls), walls, [(5.0, 0.0)]).tolist()
    [[10.0, 0.0, 0.0]]
    """
    shape = (faces[0].shape[0], *(t.shape[axis + 1] - 1 for axis, t in enumerate(faces)))
    source = faces[0].new_zeros(shape)
    for axis, (t, kind, ends) in enumerate(zip(faces, boundary, values, strict=True), start=1):
        if kind == "dirichlet":
            n = shape[axis]
            source.narrow(axis, 0, 1).add_(t.narrow(axis, 0, 1) * ends[0])
            source.narrow(axis, n - 1, 1).add_(t.narrow(axis, n, 1) * ends[1])
    return source


def diffusion_form(
    a: torch.Tensor, grid: Grid, boundary: Sequence[Boundary], c: float | torch.Tensor = 0.0
) -> DiffusionForm:
    """Describe the operator to those who make preconditioners.

    Parameters
    ----------
    a : Tensor, (n_samples or 1, *grid.shape)
    grid : Grid
    boundary : sequence of Boundary
        One an axis.
    c : float or Tensor
        Reaction coefficient.
    """
    return DiffusionForm(a, c, grid.spacing, tuple(boundary), grid.centring)


def _check(a: torch.Tensor, grid: Grid, boundary: Sequence[Boundary]) -> None:
    if grid.centring != "cells":
        raise ParameterError("finite volumes expected a grid of cells, got one of nodes")
    if tuple(a.shape[1:]) != grid.shape or len(boundary) != grid.ndim:
        raise ShapeError(
            f"a grid of shape {grid.shape} expected a coefficient (n_samples, *{grid.shape}) and "
            f"a boundary an axis, got {tuple(a.shape)} and {tuple(boundary)}"
        )
    for kind in boundary:
        if kind not in {"dirichlet", "neumann", "periodic"}:
            raise ParameterError(
                f"expected boundary 'dirichlet', 'neumann' or 'periodic', got {kind!r}"
            )
    if not a.numel():
        return
    smallest, largest = (float(end) for end in torch.aminmax(a))
    if not (smallest > 0 and largest < math.inf):  # not-a-number fails both
        raise ParameterError(
            f"a diffusion coefficient expected positive finite values, "
            f"got them from {smallest} to {largest}"
        )
