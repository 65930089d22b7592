"""Poisson's equation with random sources: one operator, many right-hand sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.pde.diffusion import (
    diffusion_form,
    diffusion_operator,
    face_coefficients,
    wall_source,
)
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, PowerLaw
from operators.pde.grid import Grid
from operators.pde.steady_diffusion import (
    Walls,
    boundary_in_words,
    cells_of_box,
    check_positive,
    wall_boundary,
    wall_ends,
)
from operators.pde.stencil import StencilOperator

__all__ = ["Poisson"]


@register("poisson")
@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """-laplacian u = f with a Gaussian random f.

    f ~ N(0, s^2 (-Laplacian + tau^2)^-alpha), with cosines, and s so that its variance averaged
    over the box is source_std^2.

    Parameters
    ----------
    alpha : float
        Decay of the spectrum of f.
    tau : float
        Its inverse length in 1/m.
    source_std : float
        In V/m^2.
    walls : {"dirichlet", "mixed"}
        u = 0 on every wall; or u = drop at x = 0 and 0 at x = 1 m, no field through the others.
    drop : float
        In volts.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    Examples
    --------
    >>> family = Poisson()
    >>> grid = family.grid((8, 8))
    >>> f = family.draw(grid, np.random.default_rng(0))["source"]
    >>> family.systems(grid, {"source": f[None]}).is_constant
    True
    """

    alpha: float = 2.0
    tau: float = 7.0
    source_std: float = 1.0
    walls: Walls = "dirichlet"
    drop: float = 1.0

    name: ClassVar[str] = "poisson"
    equation: ClassVar[str] = "-laplacian u = f"
    stencil: ClassVar[str] = "finite volumes on cells"
    parameters: ClassVar[tuple[Quantity, ...]] = (Quantity("source", "f", "V/m^2"),)
    unknown: ClassVar[Quantity] = Quantity("potential", "u", "V")
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        wall_boundary(self.walls, 2)
        check_positive(self.name, source_std=self.source_std, drop=self.drop)
        PowerLaw(self.alpha, self.tau)

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        return boundary_in_words(self.walls, self.drop)

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return cells of the unit square or cube."""
        return cells_of_box(shape, self.name)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the source of one sample."""
        field = GaussianField(PowerLaw(self.alpha, self.tau), std=self.source_std)
        return {"source": field.sample(grid, rng)}

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the equation is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the one operator, shared by the samples, and their right-hand sides."""
        del state, step
        f = torch.as_tensor(parameters["source"])
        boundary = wall_boundary(self.walls, grid.ndim)
        one = torch.ones(1, *grid.shape, dtype=torch.float64)
        faces = face_coefficients(one, grid, boundary)
        single = diffusion_operator(faces, boundary)
        shared = single.coefficients.expand(f.shape[0], *(-1,) * (grid.ndim + 1))
        operator = StencilOperator(single.offsets, shared, tags=tuple(single.tags))
        rhs = f + wall_source(faces, boundary, wall_ends(self.walls, self.drop, grid.ndim))
        form = diffusion_form(one, grid, boundary)
        return LinearSystems(operator, rhs, operator.matrix, form, is_constant=True)
