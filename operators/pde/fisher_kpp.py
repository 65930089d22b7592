"""A population that grows and spreads through a random medium: Fisher and KPP's equation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.pde.diffusion import diffusion_form, diffusion_operator, face_coefficients
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, Matern
from operators.pde.grid import Grid
from operators.pde.implicit_diffusion import (
    SCHEME,
    Ends,
    boundary_in_words,
    boundary_of,
    checked_march,
    initial_state,
    present_state,
)
from operators.pde.reaction_kinetics import fisher_rate

__all__ = ["FisherKpp"]


@register("fisher-kpp")
@dataclass(frozen=True, slots=True)
class FisherKpp:
    """du/dt = div(D grad u) + r u (1 - u) with log-normal D and patches of population at first.

    D = D_0 exp(s g) and u(t=0) = 1 / (1 + exp(-4 (g' - 1))) with independent Gaussian random
    fields g and g' of variance 1: a quarter or so of the box is settled.

    Parameters
    ----------
    growth : float
        r in 1/s.
    diffusivity : float
        D_0, the median of D, in m^2/s.
    log_deviation : float
        s, the standard deviation of log D; positive.
    length_scale : float
        Correlation length of g and g' in units of the side.
    time_step : float
        dt in s; below 1 / r, u stays between 0 and 1.
    n_steps : int
    length : float
        Side of the box in metres.
    ends : {"neumann", "periodic"}

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Fisher 1937, doi:10.1111/j.1469-1809.1937.tb02153.x
    """

    growth: float = 1.0
    diffusivity: float = 1e-3
    log_deviation: float = 0.5
    length_scale: float = 0.1
    time_step: float = 0.1
    n_steps: int = 50
    length: float = 1.0
    ends: Ends = "neumann"

    name: ClassVar[str] = "fisher-kpp"
    equation: ClassVar[str] = "du/dt = div(D grad u) + r u (1 - u)"
    stencil: ClassVar[str] = SCHEME
    unknown: ClassVar[Quantity] = Quantity("population", "u", "1")
    parameters: ClassVar[tuple[Quantity, ...]] = (
        Quantity("diffusivity", "D", "m^2/s"),
        Quantity("initial", "u(t=0)", "1"),
    )

    def __post_init__(self) -> None:
        checked_march(
            self.name,
            self.ends,
            n_steps=self.n_steps,
            growth=self.growth,
            diffusivity=self.diffusivity,
            log_deviation=self.log_deviation,
            length_scale=self.length_scale,
            time_step=self.time_step,
            length=self.length,
        )

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        return boundary_in_words(self.ends)

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return a grid of cells, the same length along every axis."""
        return Grid(shape, (self.length,) * len(shape))

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the diffusivity, then the state at the start."""
        spectrum = Matern(self.length_scale * self.length)
        field = GaussianField(spectrum, boundary=self.ends, std=1.0)
        diffusivity = self.diffusivity * np.exp(self.log_deviation * field.sample(grid, rng))
        settled = 1 / (1 + np.exp(-4 * (field.sample(grid, rng) - 1)))
        return {"diffusivity": diffusivity, "initial": settled}

    def initial(self, grid: Grid, parameters: Parameters) -> torch.Tensor:
        """Return the states at the start, (n_samples, *grid)."""
        return initial_state(parameters, grid.shape)

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble (I - dt div(D grad)) u^{n+1} = u^n + dt R(u^n); see `Family.systems`."""
        u = present_state(parameters, grid.shape, state, step)
        diffusivity = np.asarray(parameters["diffusivity"], dtype=np.float64)
        a = self.time_step * torch.from_numpy(diffusivity)
        boundary = boundary_of(self.ends, grid.ndim)
        operator = diffusion_operator(face_coefficients(a, grid, boundary), boundary, 1.0)
        return LinearSystems(
            operator,
            u + self.time_step * fisher_rate(u, self.growth),
            operator.matrix,
            form=diffusion_form(a, grid, boundary, 1.0),
        )
