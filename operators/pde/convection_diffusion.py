"""Steady transport by a wind and by diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.diffusion import diffusion_form
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, Matern
from operators.pde.grid import Grid
from operators.pde.transport_operator import transport_operator
from operators.pde.wind import curl_wind, uniform_wind

__all__ = ["ConvectionDiffusion"]


@register("convection-diffusion")
@dataclass(frozen=True, slots=True)
class ConvectionDiffusion:
    """-div(D grad u) + w.grad u = f with a random wind w free of divergence.

    Parameters
    ----------
    peclet : float
        Pe = |w| L / D > 0, with the root mean square of the speed over the faces (random wind) or
        the speed (uniform wind), and L the longest side of the box.
    diffusivity : float
        D in m^2/s.
    wind : {"random", "uniform"}
        w = curl psi of Gaussian random psi, or the same everywhere in a random direction.
    flux, walls
        As of `transport_operator`.
    source : {"constant", "random"}
        f = 1 mol/(m^3 s), or a Gaussian random field of variance 1.
    length_scale : float
        Correlation length of psi and of a random source in units of the longest side.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    Examples
    --------
    >>> family = ConvectionDiffusion(wind="uniform", peclet=50.0)
    >>> grid = family.grid((8, 8))
    >>> drawn = family.draw(grid, np.random.default_rng(0))
    >>> round(float(np.linalg.norm(drawn["wind"])) * 1.0 / family.diffusivity, 6)
    50.0
    """

    peclet: float = 100.0
    diffusivity: float = 0.01
    wind: Literal["random", "uniform"] = "random"
    flux: Literal["upwind", "central", "exponential"] = "exponential"
    walls: Literal["dirichlet", "outflow"] = "outflow"
    source: Literal["constant", "random"] = "constant"
    length_scale: float = 0.2

    name: ClassVar[str] = "convection-diffusion"
    equation: ClassVar[str] = "-div(D grad u) + w.grad u = f, div w = 0"
    unknown: ClassVar[Quantity] = Quantity("concentration", "u", "mol/m^3")
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not (self.peclet > 0 and self.diffusivity > 0 and self.length_scale > 0):
            raise ParameterError(
                f"convection-diffusion expected a positive peclet, diffusivity and length_scale, "
                f"got {self.peclet}, {self.diffusivity} and {self.length_scale}"
            )
        if self.wind not in {"random", "uniform"} or self.source not in {"constant", "random"}:
            raise ParameterError(
                f"expected wind 'random' or 'uniform' and source 'constant' or 'random', "
                f"got {self.wind!r} and {self.source!r}"
            )

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        if self.walls == "dirichlet":
            return "u = 0 on all walls"
        return "u = 0 where the wind enters, zero diffusive flux where it leaves"

    @property
    def stencil(self) -> str:
        """The discretisation in words."""
        return f"finite volumes on cells, {self.flux} flux, discretely divergence-free face winds"

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What is drawn."""
        wind = (
            Quantity("stream_function", "psi", "m^2/s")
            if self.wind == "random"
            else Quantity("wind", "w", "m/s")
        )
        source = (Quantity("source", "f", "mol/(m^3 s)"),) if self.source == "random" else ()
        return (wind, *source)

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return a grid of cells of the unit square or cube."""
        if len(shape) not in {2, 3}:
            raise ParameterError(
                f"convection-diffusion expected two or three axes, got shape {shape}"
            )
        return Grid(shape)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the wind, then the source if it is random."""
        field = GaussianField(Matern(self.length_scale * max(grid.lengths), 2.5), std=1.0)
        speed = self.peclet * self.diffusivity / max(grid.lengths)
        drawn: dict[str, NDArray[np.float64]] = {}
        if self.wind == "random":
            n_components = 1 if grid.ndim == 2 else 3
            psi = np.stack([field.sample(grid, rng) for _ in range(n_components)])
            psi = psi[0] if grid.ndim == 2 else psi
            wind = curl_wind(torch.from_numpy(psi)[None], grid)
            drawn["stream_function"] = psi * (speed / _root_mean_square(wind))
        else:
            direction = rng.standard_normal(grid.ndim)
            drawn["wind"] = direction * (speed / np.linalg.norm(direction))
        if self.source == "random":
            drawn["source"] = field.sample(grid, rng)
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
        if self.wind == "random":
            wind = curl_wind(_tensor(parameters["stream_function"]), grid)
        else:
            wind = uniform_wind(_tensor(parameters["wind"]), grid)
        operator = transport_operator(
            wind, self.diffusivity, grid, flux=self.flux, walls=self.walls
        )
        shape = (operator.n_samples, *grid.shape)
        if self.source == "random":
            source = _tensor(parameters["source"])
        else:
            source = torch.ones(shape, dtype=torch.float64)
        diffusivity = torch.full((1, *grid.shape), self.diffusivity, dtype=torch.float64)
        return LinearSystems(
            operator,
            source,
            operator.matrix,
            form=diffusion_form(diffusivity, grid, ["dirichlet"] * grid.ndim),
        )


def _root_mean_square(wind: tuple[torch.Tensor, ...]) -> float:
    squared = sum(float(component.square().mean()) for component in wind)
    return float(squared**0.5)


def _tensor(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, dtype=np.float64))
