"""What a family of differential equations is: random parameters to a march of linear systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.linear import LinearOperator
from operators.pde.grid import Grid
from operators.pde.sparse import SparseMatrix

__all__ = [
    "FAMILIES",
    "Boundary",
    "DiffusionForm",
    "Family",
    "LinearSystems",
    "Parameters",
    "Quantity",
    "make_family",
    "register",
]

Parameters: TypeAlias = Mapping[str, NDArray[np.float64]]
"""Random inputs of the equation by name, in double precision."""

Boundary: TypeAlias = Literal["dirichlet", "neumann", "periodic"]
"""Condition at both ends of an axis: value zero, flux zero, or joined ends."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A parameter or an unknown of a family.

    Parameters
    ----------
    name : str
        Name in files, e.g. ``"permeability"``.
    symbol : str
        As the family's equation writes it.
    unit : str
        SI unit; ``"1"`` when it has none.
    """

    name: str
    symbol: str
    unit: str


@dataclass(frozen=True, slots=True, eq=False)
class DiffusionForm:
    """The part -div(a grad u) + c u of an operator, from which a fast preconditioner can be made.

    Parameters
    ----------
    a : Tensor, (n_samples, *grid) or (1, *grid)
        Positive diffusion coefficient at the points of the unknown.
    c : Tensor, (n_samples, *grid) or float
        Reaction coefficient, >= 0.
    spacing : tuple of float
        Of the unknown's points along each axis.
    boundary : tuple of Boundary
        One an axis.
    centring : {"cells", "nodes"}
        Where a Dirichlet value lies: half a spacing beyond the last point, or a whole one.
    """

    a: torch.Tensor
    c: torch.Tensor | float
    spacing: tuple[float, ...]
    boundary: tuple[Boundary, ...]
    centring: Literal["cells", "nodes"] = "cells"


@dataclass(frozen=True, slots=True, eq=False)
class LinearSystems:
    """The systems A_i u_i = b_i of some samples at one step of the march.

    Parameters
    ----------
    operator : LinearOperator
        All the A_i, on (n_samples, *unknown), no sample mixed with another. Where
        `is_constant`, it may have the domain (*unknown) alone.
    rhs : Tensor, (n_samples, *unknown)
        All the b_i, double precision, real or complex.
    matrix : function
        matrix(i) is A_i as a SciPy CSR array over the row-major unknown.
    form : DiffusionForm, optional
        What A is, or is close to, if that is a diffusion operator.
    is_constant : bool
        Whether every sample of the family, and every step, has the same matrix.
    rim : int
        Layers of points all round the grid, where u is zero, that the unknown leaves out.
    """

    operator: LinearOperator
    rhs: torch.Tensor
    matrix: Callable[[int], SparseMatrix]
    form: DiffusionForm | None = None
    is_constant: bool = False
    rim: int = 0

    def on_grid(self, u: torch.Tensor) -> torch.Tensor:
        """Put the rim's zeros round solutions, (n_samples, *unknown) to (n_samples, *grid)."""
        if not self.rim:
            return u
        return torch.nn.functional.pad(u, (self.rim, self.rim) * (u.ndim - 1))

    def from_grid(self, u: torch.Tensor) -> torch.Tensor:
        """Take the unknown out of solutions on the grid; the inverse of `on_grid`."""
        inner = slice(self.rim, -self.rim if self.rim else None)
        return u[(slice(None), *(inner,) * (u.ndim - 1))]


class Family(Protocol):
    """A differential equation with random parameters, its boundary conditions and discretisation.

    An implementation is a frozen dataclass whose fields are its settings (exponents, contrasts,
    wave numbers ... with units in the docstring), registered under its name with `register`.

    Attributes
    ----------
    name : str
        As the command line spells it.
    equation, boundary, stencil : str
        One line each, for provenance: what is solved, with which conditions, how it is discretised.
    parameters : tuple of Quantity
        What `draw` returns, in that order; the first is what fields are sorted by.
    unknown : Quantity
        What is solved for.
    n_steps : int
        Linear systems a sample: 1 for a steady equation, the number of time steps otherwise.
    """

    name: str
    equation: str
    boundary: str
    stencil: str
    parameters: tuple[Quantity, ...]
    unknown: Quantity
    n_steps: int

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return the grid of a sample with so many points an axis.

        Raises
        ------
        ParameterError
            If the family does not exist in so many dimensions.
        """
        ...

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the parameters of one sample; they depend on the generator's state alone."""
        ...

    def initial(self, grid: Grid, parameters: Parameters) -> torch.Tensor | None:
        """Return the states at the start, (n_samples, *unknown); None for a steady equation."""
        ...

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the systems of one step.

        Parameters
        ----------
        grid : Grid
        parameters : mapping
            As `draw` returns them, stacked along a new first axis of samples.
        state : Tensor, (n_samples, *unknown), optional
            Solution of the step before; needed when `n_steps` > 1.
        step : int
            Which of the `n_steps`.
        """
        ...


FAMILIES: dict[str, Callable[..., Family]] = {}
"""Every family by its name."""

FamilyT = TypeVar("FamilyT", bound=Callable[..., Any])


def register(name: str) -> Callable[[FamilyT], FamilyT]:
    """Enter a family, or a function that returns one with other defaults, under a name."""

    def enter(family: FamilyT) -> FamilyT:
        FAMILIES[name] = family
        return family

    return enter


def make_family(name: str, **settings: Any) -> Family:  # noqa: ANN401 -- each family has its own
    """Make a family by its name.

    Parameters
    ----------
    name : str
        One of `FAMILIES`.
    **settings
        Fields of the family.

    Raises
    ------
    ParameterError
        If there is no such family or setting.
    """
    if name not in FAMILIES:
        raise ParameterError(f"no family {name!r}; there are {', '.join(sorted(FAMILIES))}")
    try:
        return FAMILIES[name](**settings)
    except TypeError as error:
        raise ParameterError(f"family {name!r}: {error}") from error
