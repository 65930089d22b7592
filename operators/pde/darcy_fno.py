"""Darcy flow as the data sets of the Fourier neural operator have it: nodes, arithmetic means."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.linear import Tag
from operators.pde.darcy import CONDUCTIVITY, HEAD
from operators.pde.family import DiffusionForm, LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, PowerLaw
from operators.pde.grid import Grid
from operators.pde.steady_diffusion import check_positive, wall_boundary
from operators.pde.stencil import StencilOperator

__all__ = ["DarcyFNO", "node_operator"]


def node_operator(a: torch.Tensor, grid: Grid) -> StencilOperator:
    """Make -div(a grad u) at the inner nodes, with u = 0 on the outer ones.

    (A u)_i = sum over the neighbours j of i of (a_i + a_j) / 2 (u_i - u_j) / h^2

    Parameters
    ----------
    a : Tensor, (n_samples, *grid.shape)
        Positive, at all nodes.
    grid : Grid
        Of nodes, three or more along each axis.

    Returns
    -------
    StencilOperator
        On (n_samples, *n - 2), symmetric and positive definite.

    Raises
    ------
    ParameterError
        If the grid is one of cells or too small, or `a` is not positive and finite.

    Examples
    --------
    >>> grid = Grid((5,), (4.0,), centring="nodes")
    >>> node_operator(torch.tensor([[1.0, 1.0, 3.0, 3.0, 3.0]]), grid).matrix(0).toarray().tolist()
    [[3.0, -2.0, 0.0], [-2.0, 5.0, -3.0], [0.0, -3.0, 6.0]]
    """
    if grid.centring != "nodes" or min(grid.shape) < 3:
        raise ParameterError(f"expected three or more nodes along each axis, got {grid}")
    if a.numel() and not (float(a.min()) > 0 and float(a.max()) < math.inf):
        raise ParameterError("a conductivity expected positive finite values")
    at = _inner_nodes(a)
    coefficients = a.new_zeros(a.shape[0], 2 * grid.ndim + 1, *at.shape[1:])
    centre, offsets = coefficients[:, 0], [(0,) * grid.ndim]
    for axis, h in enumerate(grid.spacing):
        for step in (-1, 1):
            through = (at + _inner_nodes(a, axis, step)) / (2 * h**2)
            centre += through
            coefficients[:, len(offsets)] = -through
            offsets.append(tuple(step if d == axis else 0 for d in range(grid.ndim)))
    return StencilOperator(offsets, coefficients, tags=[Tag.POSITIVE_SEMIDEFINITE])


def _inner_nodes(a: torch.Tensor, towards: int = 0, step: int = 0) -> torch.Tensor:
    """View a at the inner nodes, or at their neighbours a step along an axis."""
    for axis in range(a.ndim - 1):
        start = 1 + step if axis == towards else 1
        a = a.narrow(axis + 1, start, a.shape[axis + 1] - 2)
    return a


@register("darcy-fno")
@dataclass(frozen=True, slots=True, kw_only=True)
class DarcyFNO:
    """Flow through two materials on nodes, as in the neural operator's Darcy data sets.

    a = high where a Gaussian field is >= 0 and low elsewhere; -div(a grad u) = 1, u = 0 on the
    walls. The field is drawn at the nodes themselves, so that a has the two values only.

    Across a jump of a this stencil takes the arithmetic mean, which lets more flow through than
    the two materials in series: it converges to the same limit as `darcy-two-phase`, more slowly.

    Parameters
    ----------
    high, low : float
        Conductivities in m/s.
    alpha, tau : float
        Decay and inverse length (1/m) of the field's spectrum.
    source : float
        f in 1/s.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Li et al. 2021, arXiv:2010.08895, appendix A.3

    Examples
    --------
    >>> family = DarcyFNO()
    >>> grid = family.grid((9, 9))
    >>> drawn = family.draw(grid, np.random.default_rng(0))
    >>> systems = family.systems(grid, {name: array[None] for name, array in drawn.items()})
    >>> systems.rhs.shape, systems.on_grid(systems.rhs).shape
    (torch.Size([1, 7, 7]), torch.Size([1, 9, 9]))
    """

    high: float = 12.0
    low: float = 3.0
    alpha: float = 2.0
    tau: float = 3.0
    source: float = 1.0

    name: ClassVar[str] = "darcy-fno"
    equation: ClassVar[str] = "-div(a grad u) = f"
    boundary: ClassVar[str] = "u = 0 on every wall"
    stencil: ClassVar[str] = "finite differences on nodes, arithmetic means of a"
    parameters: ClassVar[tuple[Quantity, ...]] = (CONDUCTIVITY,)
    unknown: ClassVar[Quantity] = HEAD
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check_positive(self.name, high=self.high, low=self.low)
        PowerLaw(self.alpha, self.tau)
        if not math.isfinite(self.source):
            raise ParameterError(f"{self.name} expected a finite source, got {self.source}")

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return nodes of the unit square or cube, those on the walls included."""
        if len(shape) not in {2, 3}:
            raise ParameterError(f"{self.name} expected a grid of two or three axes, got {shape}")
        return Grid(shape, centring="nodes")

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the conductivity of one sample."""
        field = GaussianField(PowerLaw(self.alpha, self.tau), zero_mean=True)
        return {"conductivity": np.where(field.sample(grid, rng) >= 0, self.high, self.low)}

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the flow is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the flow of each sample at the inner nodes; there is one step."""
        del state, step
        a = torch.as_tensor(parameters["conductivity"])
        operator = node_operator(a, grid)
        inner = _inner_nodes(a)
        boundary = wall_boundary("dirichlet", grid.ndim)
        form = DiffusionForm(inner, 0.0, grid.spacing, boundary, "nodes")
        rhs = torch.full_like(inner, self.source)
        return LinearSystems(operator, rhs, operator.matrix, form, rim=1)
