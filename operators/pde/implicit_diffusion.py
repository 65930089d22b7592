"""One step of backward Euler for the diffusion of several species, their reaction known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
import torch

from operators.errors import ParameterError, ShapeError
from operators.linear import Tag
from operators.pde.diffusion import diffusion_operator, face_coefficients
from operators.pde.family import Boundary, LinearSystems, Parameters
from operators.pde.grid import Grid
from operators.pde.stencil import StencilOperator
from operators.space import grid_names

__all__ = [
    "SCHEME",
    "Ends",
    "boundary_in_words",
    "boundary_of",
    "checked_march",
    "initial_state",
    "present_state",
    "species_operator",
    "species_systems",
]

SCHEME = "finite volumes on cells, harmonic faces; backward Euler diffusion, forward Euler reaction"

Ends: TypeAlias = Literal["neumann", "periodic"]
"""What happens at both ends of every axis: nothing flows through, or they are joined."""


def boundary_of(ends: Ends, ndim: int) -> tuple[Boundary, ...]:
    """Return the boundary of every axis.

    Examples
    --------
    >>> boundary_of("periodic", 2)
    ('periodic', 'periodic')
    """
    kind: Boundary = ends
    return (kind,) * ndim


def boundary_in_words(ends: Ends) -> str:
    """Describe the boundary of every axis in a line."""
    return "joined ends" if ends == "periodic" else "zero flux through all walls"


def checked_march(name: str, ends: Ends, **positive: float) -> None:
    """Check the settings that all families of this kind share.

    Raises
    ------
    ParameterError
        If `ends` is unknown or one of `positive` is not.
    """
    if ends not in {"neumann", "periodic"}:
        raise ParameterError(f"{name} expected ends 'neumann' or 'periodic', got {ends!r}")
    for setting, value in positive.items():
        if not 0 < value < math.inf:
            raise ParameterError(f"{name} expected a positive {setting}, got {value}")


def initial_state(parameters: Parameters, unknown: tuple[int, ...]) -> torch.Tensor:
    """Return a copy of the parameter ``"initial"`` as a tensor, (n_samples, *unknown).

    Raises
    ------
    ShapeError
        If it is not of that shape.
    """
    state = torch.tensor(np.asarray(parameters["initial"]), dtype=torch.float64)
    if tuple(state.shape[1:]) != unknown:
        raise ShapeError(
            f"expected a start of shape (n_samples, *{unknown}), got {tuple(state.shape)}"
        )
    return state


def present_state(
    parameters: Parameters, unknown: tuple[int, ...], state: torch.Tensor | None, step: int
) -> torch.Tensor:
    """Return the state that a step begins with: the start, unless a later one is given.

    Raises
    ------
    ParameterError
        If a later step has no state.
    """
    if state is not None:
        return state
    if step > 0:
        raise ParameterError(f"step {step} of a march expected the state after step {step - 1}")
    return initial_state(parameters, unknown)


def species_operator(
    grid: Grid, conductivities: Sequence[float], boundary: Sequence[Boundary], n_samples: int
) -> StencilOperator:
    """Make I - div(a_s grad) of several species with a constant a_s each.

    Parameters
    ----------
    grid : Grid
        Of cells.
    conductivities : sequence of float
        a_s = dt D_s of each species in m^2.
    boundary : sequence of Boundary
        One an axis.
    n_samples : int
        How many samples share the matrix; it is held once.

    Returns
    -------
    StencilOperator
        On (n_samples, n_species, *grid), symmetric and positive definite.
    """
    single = [
        diffusion_operator(
            face_coefficients(torch.full((1, *grid.shape), a, dtype=torch.float64), grid, boundary),
            boundary,
            1.0,
        )
        for a in conductivities
    ]
    coefficients = torch.stack([operator.coefficients for operator in single], dim=2)
    return StencilOperator(
        [(0, *offset) for offset in single[0].offsets],
        coefficients.expand(n_samples, *coefficients.shape[1:]),
        periodic=[axis + 1 for axis in single[0].periodic],
        axes=("species", *grid_names(grid.ndim)),
        tags=[Tag.POSITIVE_SEMIDEFINITE],
    )


def species_systems(
    grid: Grid,
    state: torch.Tensor,
    rates: Callable[[torch.Tensor], torch.Tensor],
    *,
    diffusivities: Sequence[float],
    time_step: float,
    ends: Ends,
) -> LinearSystems:
    """Assemble (I - dt D_s lap) u^{n+1} = u^n + dt R(u^n).

    Parameters
    ----------
    grid : Grid
        Of cells.
    state : Tensor, (n_samples, n_species, *grid)
        u^n.
    rates : function
        R, in 1/s.
    diffusivities : sequence of float
        D_s in m^2/s.
    time_step : float
        dt in s.
    ends : Ends
    """
    operator = species_operator(
        grid,
        [time_step * diffusivity for diffusivity in diffusivities],
        boundary_of(ends, grid.ndim),
        len(state),
    )
    rhs = state + time_step * rates(state)
    return LinearSystems(operator, rhs, operator.matrix, is_constant=True)
