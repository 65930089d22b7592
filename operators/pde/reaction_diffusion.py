"""Two species that diffuse and react: Gray-Scott and FitzHugh-Nagumo."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, Matern
from operators.pde.grid import Grid
from operators.pde.implicit_diffusion import (
    SCHEME,
    Ends,
    boundary_in_words,
    checked_march,
    initial_state,
    present_state,
    species_systems,
)
from operators.pde.reaction_kinetics import fitzhugh_nagumo_rates, gray_scott_rates

__all__ = ["FitzHughNagumo", "GrayScott"]


@register("gray-scott")
@dataclass(frozen=True, slots=True)
class GrayScott:
    """du/dt = D_u lap u - u v^2 + F (1 - u), dv/dt = D_v lap v + u v^2 - (F + k) v.

    It starts from u = 1, v = 0 but for round seeds of u = 1/2, v = 1/4 with soft edges. Spots and
    stripes grow from them in thousands of seconds.

    Parameters
    ----------
    feed, kill : float
        F and k in 1/s, positive.
    diffusivities : tuple of float
        D_u and D_v in m^2/s.
    n_seeds : int
        How many seeds, at random places.
    seed_radius : float
        Distance in metres at which a seed has fallen to exp(-1/2).
    time_step : float
        dt in s; the explicit reaction wants it below about 1 / (F + k + 1).
    n_steps : int
    length : float
        Side of the box in metres.
    ends : {"periodic", "neumann"}

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Pearson 1993, doi:10.1126/science.261.5118.189
    """

    feed: float = 0.04
    kill: float = 0.06
    diffusivities: tuple[float, float] = (2e-5, 1e-5)
    n_seeds: int = 8
    seed_radius: float = 0.04
    time_step: float = 1.0
    n_steps: int = 200
    length: float = 1.0
    ends: Ends = "periodic"

    name: ClassVar[str] = "gray-scott"
    equation: ClassVar[str] = (
        "du/dt = D_u lap u - u v^2 + F (1 - u), dv/dt = D_v lap v + u v^2 - (F + k) v"
    )
    stencil: ClassVar[str] = SCHEME
    unknown: ClassVar[Quantity] = Quantity("concentration", "(u, v)", "1")
    parameters: ClassVar[tuple[Quantity, ...]] = (Quantity("initial", "(u, v)(t=0)", "1"),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "diffusivities", _pair(self.diffusivities))
        checked_march(
            self.name,
            self.ends,
            n_steps=self.n_steps,
            n_seeds=self.n_seeds,
            feed=self.feed,
            kill=self.kill,
            seed_radius=self.seed_radius,
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
        """Draw the places of the seeds, and return the state at the start, (2, *grid)."""
        v = np.zeros(grid.shape)
        for place in rng.random((self.n_seeds, grid.ndim)) * np.array(grid.lengths):
            squared = np.zeros(grid.shape)
            for x, centre, length in zip(grid.mesh(), place, grid.lengths, strict=True):
                distance = np.abs(x - centre)
                if self.ends == "periodic":
                    distance = np.minimum(distance, length - distance)
                squared += distance**2
            np.maximum(v, 0.25 * np.exp(-0.5 * squared / self.seed_radius**2), out=v)
        return {"initial": np.stack((1 - 2 * v, v))}

    def initial(self, grid: Grid, parameters: Parameters) -> torch.Tensor:
        """Return the states at the start, (n_samples, 2, *grid)."""
        return initial_state(parameters, (2, *grid.shape))

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the systems of a step; see `Family.systems`."""
        return species_systems(
            grid,
            present_state(parameters, (2, *grid.shape), state, step),
            partial(gray_scott_rates, feed=self.feed, kill=self.kill),
            diffusivities=self.diffusivities,
            time_step=self.time_step,
            ends=self.ends,
        )


@register("fitzhugh-nagumo")
@dataclass(frozen=True, slots=True)
class FitzHughNagumo:
    """du/dt = D_u lap u + u - u^3 - k - v, dv/dt = D_v lap v + u - v.

    It starts from Gaussian random u and v of variance 1. Constants, box and walls are those of
    PDEBench's two-dimensional diffusion-reaction problem, whose start is white noise instead.

    Parameters
    ----------
    threshold : float
        k.
    diffusivities : tuple of float
        D_u and D_v in m^2/s.
    length_scale : float
        Correlation length of the start in units of the side.
    time_step : float
        dt in s.
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
    Takamoto et al. 2022, arXiv:2210.07182 (PDEBench)
    """

    threshold: float = 5e-3
    diffusivities: tuple[float, float] = (1e-3, 5e-3)
    length_scale: float = 0.05
    time_step: float = 0.05
    n_steps: int = 100
    length: float = 2.0
    ends: Ends = "neumann"

    name: ClassVar[str] = "fitzhugh-nagumo"
    equation: ClassVar[str] = (
        "du/dt = D_u lap u + u - u^3 - k - v, dv/dt = D_v lap v + u - v (time in s)"
    )
    stencil: ClassVar[str] = SCHEME
    unknown: ClassVar[Quantity] = Quantity("activation", "(u, v)", "1")
    parameters: ClassVar[tuple[Quantity, ...]] = (Quantity("initial", "(u, v)(t=0)", "1"),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "diffusivities", _pair(self.diffusivities))
        checked_march(
            self.name,
            self.ends,
            n_steps=self.n_steps,
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
        """Draw the state at the start, (2, *grid)."""
        spectrum = Matern(self.length_scale * self.length)
        field = GaussianField(spectrum, boundary=self.ends, std=1.0)
        return {"initial": np.stack([field.sample(grid, rng) for _ in range(2)])}

    def initial(self, grid: Grid, parameters: Parameters) -> torch.Tensor:
        """Return the states at the start, (n_samples, 2, *grid)."""
        return initial_state(parameters, (2, *grid.shape))

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the systems of a step; see `Family.systems`."""
        return species_systems(
            grid,
            present_state(parameters, (2, *grid.shape), state, step),
            partial(fitzhugh_nagumo_rates, threshold=self.threshold),
            diffusivities=self.diffusivities,
            time_step=self.time_step,
            ends=self.ends,
        )


def _pair(diffusivities: tuple[float, ...]) -> tuple[float, float]:
    if len(diffusivities) != 2 or not min(diffusivities) > 0:
        raise ParameterError(f"expected two positive diffusivities, got {diffusivities}")
    return float(diffusivities[0]), float(diffusivities[1])
