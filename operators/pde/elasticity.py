"""Linear elasticity of a body with a random Young's modulus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.elasticity_operator import elasticity_operator
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, Matern
from operators.pde.grid import Grid

__all__ = ["Elasticity", "nodal_volumes", "wall_nodes"]


def wall_nodes(grid: Grid, wall: str) -> torch.Tensor:
    """Mark the nodes of a wall, named by its axis and end, e.g. ``"x-"`` or ``"y+"``.

    Returns
    -------
    Tensor, (*grid), bool

    Raises
    ------
    ParameterError
        If the grid has no such wall.

    Examples
    --------
    >>> wall_nodes(Grid((2, 3), centring="nodes"), "x+").tolist()
    [[False, False, True], [False, False, True]]
    """
    if len(wall) != 2 or wall[0] not in grid.axes or wall[1] not in "-+":
        names = ", ".join(f"{axis}{end}" for axis in grid.axes for end in "-+")
        raise ParameterError(f"a grid of axes {grid.axes} has the walls {names}, got {wall!r}")
    nodes = torch.zeros(grid.shape, dtype=torch.bool)
    nodes.select(grid.axes.index(wall[0]), 0 if wall[1] == "-" else -1).fill_(True)
    return nodes


def nodal_volumes(grid: Grid, along: str = "") -> torch.Tensor:
    """Compute the share of the body, or of a wall, that belongs to each node (trapezoid rule).

    Parameters
    ----------
    grid : Grid
        Of nodes.
    along : str
        Normal axis of the wall, to leave out; none for the volume.

    Returns
    -------
    Tensor, (*grid)
        In m^d, or m^(d-1) on a wall.
    """
    volumes = torch.ones(grid.shape, dtype=torch.float64)
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        if grid.axes[axis] != along:
            share = torch.full((n,), h, dtype=torch.float64)
            share[0] = share[-1] = h / 2
            volumes *= share.reshape(-1, *(1,) * (grid.ndim - axis - 1))
    return volumes


@register("elasticity")
@dataclass(frozen=True, slots=True)
class Elasticity:
    """-div sigma(u) = f, sigma = lambda div u I + 2 mu eps(u), with random Young's modulus E.

    lambda = E nu / ((1 + nu) (1 - 2 nu)) and mu = E / (2 (1 + nu)); in two dimensions this is plane
    strain. E = E_0 exp(s g) with a Gaussian random field g of variance 1.

    Parameters
    ----------
    modulus : float
        E_0, the median of Young's modulus, in Pa.
    log_deviation : float
        s, the standard deviation of log E, >= 0.
    poisson_ratio : float
        nu, above -1 and below 1/2; the elements lock (are far too stiff) close to 1/2.
    clamped : tuple of str
        Walls that cannot move: axis and end, ``"x-"`` is x = 0.
    pulled : str
        Wall that the traction acts on; the others are free.
    traction : tuple of float
        Along each axis of the grid, (z,) y, x, in Pa; padded with zeros in front.
    body_force : tuple of float
        The same in N/m^3, e.g. gravity.
    load : {"constant", "random"}
        Whether `body_force` is what acts, or a vector of Gaussian random fields drawn for each
        sample, of deviation `load_deviation`, with the traction kept.
    load_deviation : float
        In N/m^3.
    length_scale : float
        Correlation length of g in units of the longest side.

    Raises
    ------
    ParameterError
        If a setting is out of range.
    """

    modulus: float = 1e9
    log_deviation: float = 0.5
    poisson_ratio: float = 0.3
    clamped: tuple[str, ...] = ("x-",)
    pulled: str = "x+"
    traction: tuple[float, ...] = (0.0, 1e6)
    body_force: tuple[float, ...] = (0.0, 0.0)
    load: Literal["constant", "random"] = "constant"
    load_deviation: float = 1e6
    length_scale: float = 0.2

    name: ClassVar[str] = "elasticity"
    equation: ClassVar[str] = (
        "-div(lambda div(u) I + mu (grad u + grad u^T)) = f, lambda and mu from E(x) and nu"
    )
    unknown: ClassVar[Quantity] = Quantity("displacement", "u", "m")
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "clamped", tuple(self.clamped))
        object.__setattr__(self, "traction", tuple(float(t) for t in self.traction))
        object.__setattr__(self, "body_force", tuple(float(f) for f in self.body_force))
        if not (self.modulus > 0 and self.log_deviation >= 0 and self.length_scale > 0):
            raise ParameterError(
                f"elasticity expected a positive modulus and length_scale and log_deviation >= 0, "
                f"got {self.modulus}, {self.length_scale} and {self.log_deviation}"
            )
        if not -1 < self.poisson_ratio < 0.5:
            raise ParameterError(
                f"expected a Poisson ratio between -1 and 0.5, got {self.poisson_ratio}"
            )
        if not self.clamped:
            raise ParameterError("elasticity expected at least one clamped wall, got none")
        if self.load not in {"constant", "random"}:
            raise ParameterError(f"expected load 'constant' or 'random', got {self.load!r}")

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        return (
            f"u = 0 on {', '.join(self.clamped)}; traction {self.traction} Pa on {self.pulled}; "
            f"other walls free"
        )

    @property
    def stencil(self) -> str:
        """The discretisation in words."""
        return (
            f"multilinear finite elements between nodes, E of an element the mean of its corners, "
            f"lumped loads, Poisson ratio {self.poisson_ratio}"
        )

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What is drawn."""
        modulus = Quantity("young_modulus", "E", "Pa")
        force = (Quantity("body_force", "f", "N/m^3"),) if self.load == "random" else ()
        return (modulus, *force)

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return a grid of nodes of the unit square or cube, both ends included."""
        if len(shape) not in {2, 3}:
            raise ParameterError(f"elasticity expected two or three axes, got shape {shape}")
        return Grid(shape, centring="nodes")

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw Young's modulus, then the body force if it is random."""
        field = GaussianField(Matern(self.length_scale * max(grid.lengths)), std=1.0)
        exponent = self.log_deviation * field.sample(grid, rng)
        drawn = {"young_modulus": self.modulus * np.exp(exponent)}
        if self.load == "random":
            force = [field.sample(grid, rng) for _ in range(grid.ndim)]
            drawn["body_force"] = self.load_deviation * np.stack(force)
        return drawn

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the equation is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the systems; see `Family.systems`."""
        del state, step
        modulus = torch.from_numpy(np.asarray(parameters["young_modulus"], dtype=np.float64))
        held = torch.stack([wall_nodes(grid, wall) for wall in self.clamped]).any(dim=0)
        operator = elasticity_operator(modulus, grid, self.poisson_ratio, held)
        load = self._load(grid, parameters).expand(len(modulus), -1, *grid.shape)
        return LinearSystems(operator, (load * ~held).contiguous(), operator.matrix)

    def _load(self, grid: Grid, parameters: Parameters) -> torch.Tensor:
        """Return what acts on each node in N (N/m in two dimensions), (n or 1, d, *grid)."""
        column = (1, grid.ndim, *(1,) * grid.ndim)
        if self.load == "random":
            force = torch.from_numpy(np.asarray(parameters["body_force"], dtype=np.float64))
        else:
            force = torch.tensor(_components(self.body_force, grid), dtype=torch.float64)
            force = force.reshape(column)
        traction = torch.tensor(_components(self.traction, grid), dtype=torch.float64)
        pulled = wall_nodes(grid, self.pulled)
        area = nodal_volumes(grid, along=self.pulled[0]) * pulled
        return force * nodal_volumes(grid) + traction.reshape(column) * area


def _components(vector: tuple[float, ...], grid: Grid) -> list[float]:
    if len(vector) > grid.ndim:
        raise ParameterError(
            f"a vector on a grid of axes {grid.axes} expected up to {grid.ndim} components, "
            f"got {vector}"
        )
    return [0.0] * (grid.ndim - len(vector)) + list(vector)
