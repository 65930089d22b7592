"""The Poisson and heat problems that sorting and Krylov recycling were published with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.linear import Tag
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.grid import Grid
from operators.pde.sparse import SparseMatrix, SparseOperator
from operators.pde.triangles import Mesh, lattice_mesh

__all__ = ["SKRPoisson", "SKRThermal"]

STENCIL = "linear finite elements on a distorted lattice of triangles"


@register("skr_poisson")
@dataclass(frozen=True, slots=True, kw_only=True)
class SKRPoisson:
    """The published Poisson problem: one matrix, random source and wall values.

    -laplacian u = f(x) on the unit square; f and the values on the sides y = 0, x = 1, y = 1 and
    x = 0 are five Chebyshev series in x of degree `degree` with coefficients uniform in (-1, 1).
    The sides along y therefore have a constant value each. The unknown are the values at the inner
    points of `mesh`, the others being given.

    Every sample has the same matrix: one factorisation solves them all. The published meshes were
    MATLAB's; here the triangles are those of `lattice_mesh`.

    Parameters
    ----------
    degree : int
        Of the series.

    Raises
    ------
    ParameterError
        If `degree` is negative.

    References
    ----------
    Wang et al. 2024, arXiv:2401.09516, and the code published with it

    Examples
    --------
    >>> family = SKRPoisson()
    >>> grid = family.grid((12, 12))
    >>> drawn = family.draw(grid, np.random.default_rng(0))["chebyshev"]
    >>> systems = family.systems(grid, {"chebyshev": drawn[None]})
    >>> drawn.shape, systems.rhs.shape, systems.is_constant
    ((5, 6), torch.Size([1, 100]), True)
    """

    degree: int = 5

    name: ClassVar[str] = "skr_poisson"
    equation: ClassVar[str] = "-laplacian u = f(x)"
    boundary: ClassVar[str] = "u given on every side by a Chebyshev series in x"
    stencil: ClassVar[str] = STENCIL
    parameters: ClassVar[tuple[Quantity, ...]] = (Quantity("chebyshev", "c", "1"),)
    unknown: ClassVar[Quantity] = Quantity("solution", "u", "1")
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.degree < 0:
            raise ParameterError(f"{self.name} expected a degree >= 0, got {self.degree}")

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return the lattice of mesh points, those on the sides included."""
        return _lattice(shape, (1.0, 1.0), self.name)

    def mesh(self, grid: Grid) -> tuple[Mesh, NDArray[np.int64]]:
        """Return the mesh and which of its points the unknown are."""
        mesh = lattice_mesh(grid.shape, grid.lengths)
        return mesh, np.flatnonzero(np.all((mesh.points > 0) & (mesh.points < 1), axis=1))

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the coefficients of the source and of the four sides, in rows."""
        del grid
        return {"chebyshev": rng.uniform(-1.0, 1.0, (5, self.degree + 1))}

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the equation is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the one matrix and the right-hand sides; there is one step."""
        del state, step
        mesh, free = self.mesh(grid)
        y, x = mesh.points.T
        source, bottom, right, top, left = (
            np.polynomial.chebyshev.chebval(x, c.T).reshape(-1, x.size)
            for c in np.moveaxis(parameters["chebyshev"], 1, 0)
        )
        given = np.select([y == 0, y == 1, x == 0, x == 1], [bottom, top, left, right], 0.0)
        return _constant_systems(mesh, free, given, (mesh.mass() @ source.T).T)


@register("skr_thermal")
@dataclass(frozen=True, slots=True, kw_only=True)
class SKRThermal:
    """The published heat problem: one matrix, random temperature of one side, flux of another.

    -laplacian T = 0 in a block of 1 m by 1.6 m with a slot of 0.1 m by 0.8 m in its middle, of
    conductivity 1 W/(m K); T uniform in (0, 100) K on the left side, a flux uniform in (0, 100)
    W/m^2 out of the right one, the others insulated. The unknown are the temperatures at all points
    of `mesh` that are not on the left side. The solution is a combination of two functions.

    Every sample has the same matrix: one factorisation solves them all. The published meshes were
    MATLAB's; here the triangles are those of `lattice_mesh`, the slot cut out cell by cell.

    References
    ----------
    Wang et al. 2024, arXiv:2401.09516, and the code published with it

    Examples
    --------
    >>> family = SKRThermal()
    >>> grid = family.grid((33, 21))
    >>> drawn = family.draw(grid, np.random.default_rng(0))["sides"]
    >>> systems = family.systems(grid, {"sides": drawn[None]})
    >>> drawn.shape, systems.rhs.shape
    ((2,), torch.Size([1, 645]))
    """

    name: ClassVar[str] = "skr_thermal"
    equation: ClassVar[str] = "-laplacian T = 0"
    boundary: ClassVar[str] = "T given on the left, flux on the right, zero flux elsewhere"
    stencil: ClassVar[str] = STENCIL
    parameters: ClassVar[tuple[Quantity, ...]] = (Quantity("sides", "T, q", "K, W/m^2"),)
    unknown: ClassVar[Quantity] = Quantity("temperature", "T", "K")
    n_steps: ClassVar[int] = 1

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return the lattice of mesh points, those in the slot included."""
        grid = _lattice(shape, (1.6, 1.0), self.name)
        if not _slot(grid).any():
            raise ParameterError(
                f"{self.name} expected cells small enough for one to lie in the slot of 0.1 m, "
                f"got spacings of {grid.spacing} m. Ask for 12 points along x or more."
            )
        return grid

    def mesh(self, grid: Grid) -> tuple[Mesh, NDArray[np.int64]]:
        """Return the mesh, its origin at a corner, and which of its points the unknown are."""
        mesh = lattice_mesh(grid.shape, grid.lengths, hole=_slot(grid))
        return mesh, np.flatnonzero(mesh.points[:, 1] > 0)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the temperature of the left side and the flux into the right one, negative."""
        del grid
        return {"sides": rng.uniform(0.0, 100.0, 2) * (1.0, -1.0)}

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the conduction is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the one matrix and the right-hand sides; there is one step."""
        del state, step
        mesh, free = self.mesh(grid)
        y, x = mesh.points.T
        temperature, flux = parameters["sides"].T[:, :, None]
        # A linear element gives each end of an edge half of what flows through it.
        share = np.where(np.isclose(x, grid.lengths[1]), grid.spacing[0], 0.0)
        share *= np.where(np.isclose(y, 0) | np.isclose(y, grid.lengths[0]), 0.5, 1.0)
        return _constant_systems(mesh, free, temperature * (x == 0), flux * share)


def _lattice(shape: tuple[int, ...], lengths: tuple[float, float], family: str) -> Grid:
    if len(shape) != 2 or min(shape) < 3:
        raise ParameterError(f"{family} expected two axes of 3 points or more, got {shape}")
    return Grid(shape, lengths, centring="nodes")


def _slot(grid: Grid) -> NDArray[np.bool_]:
    """Mark the cells whose centre lies in the slot."""
    inside = []
    for axis, half in enumerate((0.4, 0.05)):
        centres = grid.points(axis)[:-1] + 0.5 * grid.spacing[axis]
        inside.append(np.abs(centres - 0.5 * grid.lengths[axis]) < half)
    return np.asarray(inside[0][:, None] & inside[1][None, :])


def _constant_systems(
    mesh: Mesh,
    free: NDArray[np.int64],
    given: NDArray[np.float64],
    load: NDArray[np.float64],
) -> LinearSystems:
    """Eliminate the points that are not free, of values `given`; arrays are (n_samples, n)."""
    rows = mesh.stiffness()[free]
    matrix: SparseMatrix = rows[:, free].tocsr()
    fixed = np.setdiff1d(np.arange(len(mesh.points)), free)
    rhs = load[:, free] - (rows[:, fixed] @ given[:, fixed].T).T
    operator = SparseOperator.from_scipy(matrix, tags=[Tag.POSITIVE_SEMIDEFINITE])

    def the_matrix(sample: int) -> SparseMatrix:
        del sample
        return matrix

    return LinearSystems(
        operator, torch.from_numpy(np.ascontiguousarray(rhs)), the_matrix, is_constant=True
    )
