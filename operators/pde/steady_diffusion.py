"""What steady diffusion families share: walls, and the assembly of -div(a grad u) = f."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.diffusion import (
    diffusion_form,
    diffusion_operator,
    face_coefficients,
    wall_source,
)
from operators.pde.family import Boundary, LinearSystems
from operators.pde.grid import Grid

__all__ = [
    "STENCIL",
    "Walls",
    "boundary_in_words",
    "cells_of_box",
    "check_positive",
    "steady_systems",
    "wall_boundary",
    "wall_ends",
]

STENCIL = "finite volumes on cells, harmonic face coefficients"

Walls: TypeAlias = Literal["dirichlet", "mixed"]
"""u = 0 on every wall; or u = drop at x = 0, u = 0 at the other end of x, and no flux through the
other walls."""


def wall_boundary(walls: Walls, ndim: int) -> tuple[Boundary, ...]:
    """Return the boundary of each axis.

    Raises
    ------
    ParameterError
        If `walls` is unknown.

    Examples
    --------
    >>> wall_boundary("mixed", 3)
    ('neumann', 'neumann', 'dirichlet')
    """
    across: dict[str, Boundary] = {"dirichlet": "dirichlet", "mixed": "neumann"}
    if walls in across:
        return (*[across[walls]] * (ndim - 1), "dirichlet")
    raise ParameterError(f"expected walls 'dirichlet' or 'mixed', got {walls!r}")


def wall_ends(walls: Walls, drop: float, ndim: int) -> Sequence[tuple[float, float]]:
    """Return the value of u at both ends of each axis, as `wall_source` takes them."""
    return [(0.0, 0.0)] * (ndim - 1) + [(drop if walls == "mixed" else 0.0, 0.0)]


def boundary_in_words(walls: Walls, drop: float, quantity: str = "u") -> str:
    """Say in a line what the walls do."""
    if walls == "dirichlet":
        return f"{quantity} = 0 on every wall"
    return f"{quantity} = {drop:g} at x = 0 and 0 at the other end of x, no flux elsewhere"


def cells_of_box(shape: tuple[int, ...], family: str) -> Grid:
    """Return a grid of cells of the unit square or cube.

    Raises
    ------
    ParameterError
        If there are not two or three axes.
    """
    if len(shape) not in {2, 3}:
        raise ParameterError(f"{family} expected a grid of two or three axes, got {shape}")
    return Grid(shape)


def check_positive(family: str, **settings: float) -> None:
    """Check settings.

    Raises
    ------
    ParameterError
        If one is not positive and finite.
    """
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ParameterError(f"{family} expected a positive {name}, got {value}")


def steady_systems(
    grid: Grid,
    a: NDArray[np.float64],
    source: float | NDArray[np.float64],
    walls: Walls = "dirichlet",
    drop: float = 1.0,
) -> LinearSystems:
    """Assemble -div(a grad u) = f with the given walls.

    Parameters
    ----------
    grid : Grid
        Of cells.
    a : ndarray, (n_samples, *grid.shape)
        Positive.
    source : float or ndarray, (n_samples, *grid.shape)
        f.
    walls : {"dirichlet", "mixed"}
        See `Walls`.
    drop : float
        Difference of u along x under mixed walls.

    Raises
    ------
    ParameterError, ShapeError
        As `face_coefficients`.
    """
    boundary = wall_boundary(walls, grid.ndim)
    coefficient = torch.as_tensor(a)
    faces = face_coefficients(coefficient, grid, boundary)
    operator = diffusion_operator(faces, boundary)
    rhs = wall_source(faces, boundary, wall_ends(walls, drop, grid.ndim))
    rhs += torch.as_tensor(source)
    form = diffusion_form(coefficient, grid, boundary)
    return LinearSystems(operator, rhs, operator.matrix, form)
