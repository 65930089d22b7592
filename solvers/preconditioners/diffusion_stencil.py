"""Stencils of elliptic operators: of finite volumes with jumping coefficients, or given ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import array_api_compat

from solvers.errors import SolverError
from solvers.preconditioners.stencil_levels import Offset
from solvers.preconditioners.transforms import Boundary
from solvers.vectors import Array

__all__ = ["Stencil", "diffusion_stencil"]


@dataclass(frozen=True, slots=True, eq=False)
class Stencil:
    """Symmetric stencils on one grid: (A u)[i] = sum_o a_o[i] u[i + o], u = 0 beyond the ends.

    Parameters
    ----------
    offsets : tuple of tuple of int
        Steps of -1, 0 or 1 along each axis, all different, with the centre.
    coefficients : array, (n_systems, n_offsets, *grid), real
        a_o; entries that point beyond an end are ignored.
    periodic : tuple of int
        Axes of the grid that wrap.
    """

    offsets: tuple[Offset, ...]
    coefficients: Array
    periodic: tuple[int, ...] = ()


def diffusion_stencil(
    a: Array,
    spacing: Sequence[float],
    *,
    c: float | Array = 0.0,
    boundary: Boundary | Sequence[Boundary] = "dirichlet",
) -> Stencil:
    """Discretise -div(a grad u) + c u by finite volumes with harmonic faces.

    (A u)_i = sum_faces 2 a_i a_j / (a_i + a_j) (u_i - u_j) / h^2 + c_i u_i, with 2 a_i u_i / h^2
    for a face in a Dirichlet wall and nothing for one in a Neumann wall.

    Parameters
    ----------
    a : array, (n_systems, *grid), > 0
        Coefficient of each cell.
    spacing : sequence of float
        h along each axis of the grid.
    c : float or array, (n_systems, *grid)
        Reaction coefficient >= 0.
    boundary : {"dirichlet", "neumann", "periodic"} or one an axis

    Raises
    ------
    SolverError
        If a is not positive, or spacing and boundary do not fit.

    References
    ----------
    Patankar 1980, Numerical Heat Transfer and Fluid Flow, eq. 4.9

    Examples
    --------
    >>> import numpy as np
    >>> diffusion_stencil(np.ones((1, 3)), (1.0,)).coefficients[0].tolist()
    [[3.0, 2.0, 3.0], [-2.0, -1.0, -1.0], [-1.0, -1.0, -2.0]]
    """
    xp, ndim = array_api_compat.array_namespace(a), len(spacing)
    walls = [boundary] * ndim if isinstance(boundary, str) else list(boundary)
    if a.ndim != ndim + 1 or len(walls) != ndim or not bool(xp.all((a > 0) & xp.isfinite(a))):
        raise SolverError(
            f"expected positive finite coefficients (n_systems, *grid) and a spacing and a "
            f"boundary an axis, got shape {tuple(a.shape)}, {ndim} spacings and {walls}"
        )
    unknown = set(walls) - {"dirichlet", "neumann", "periodic"}
    if unknown or min(spacing) <= 0:
        raise SolverError(
            f"expected boundaries 'dirichlet', 'neumann' or 'periodic' and positive spacings, "
            f"got {walls} and {tuple(spacing)}"
        )
    offsets: list[Offset] = [(0,) * ndim]
    centre = xp.zeros_like(a) + c
    parts = []
    for axis, (wall, h) in enumerate(zip(walls, spacing, strict=True)):
        for step in (-1, 1):
            face = _faces(a, axis + 1, step, wall) / h**2
            parts.append(-face)
            centre = centre + face
            offsets.append(tuple(step if d == axis else 0 for d in range(ndim)))
    periodic = tuple(axis for axis, wall in enumerate(walls) if wall == "periodic")
    return Stencil(tuple(offsets), xp.stack([centre, *parts], axis=1), periodic)


def _faces(a: Array, axis: int, step: int, wall: Boundary) -> Array:
    """Return the coefficient of each cell's face on one side along an axis."""
    xp = array_api_compat.array_namespace(a)
    before = (slice(None),) * axis
    low, high = a[(*before, slice(None, -1), ...)], a[(*before, slice(1, None), ...)]
    first, last = a[(*before, slice(0, 1), ...)], a[(*before, slice(-1, None), ...)]
    between = 2 * low * high / (low + high)
    if wall == "periodic":
        outer = 2 * first * last / (first + last)
    else:
        outer = (2.0 if wall == "dirichlet" else 0.0) * (first if step < 0 else last)
    return xp.concat([outer, between] if step < 0 else [between, outer], axis=axis)
