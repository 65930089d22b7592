"""Heat conduction through random media: steady, and in time by the implicit theta scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

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
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, Matern
from operators.pde.grid import Grid
from operators.pde.steady_diffusion import (
    STENCIL,
    Walls,
    boundary_in_words,
    cells_of_box,
    check_positive,
    steady_systems,
    wall_boundary,
    wall_ends,
)

__all__ = ["Heat", "HeatTransient"]


MEDIUM = Quantity("conductivity", "k", "W/(m K)")
HEATING = Quantity("source", "q", "W/m^3")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Conduction:
    """Walls of the families below, and how their medium and its heating are drawn."""

    conductivity: float = 1.0
    conductivity_log_std: float = 0.5
    heating: float = 1000.0
    heating_log_std: float = 1.0
    length_scale: float = 0.2
    walls: Walls = "dirichlet"
    drop: float = 100.0

    name: ClassVar[str]
    stencil: ClassVar[str] = STENCIL
    unknown: ClassVar[Quantity] = Quantity("temperature", "T", "K")

    def __post_init__(self) -> None:
        wall_boundary(self.walls, 2)
        check_positive(
            self.name,
            conductivity=self.conductivity,
            conductivity_log_std=self.conductivity_log_std,
            heating=self.heating,
            heating_log_std=self.heating_log_std,
            length_scale=self.length_scale,
            drop=self.drop,
        )

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        return boundary_in_words(self.walls, self.drop, "T")

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return cells of the unit square or cube."""
        return cells_of_box(shape, self.name)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the conductivity and then the heating of one sample."""
        medium = self._field(self.conductivity_log_std)
        heat = self._field(self.heating_log_std)
        return {
            "conductivity": self.conductivity * np.exp(medium.sample(grid, rng)),
            "source": self.heating * np.exp(heat.sample(grid, rng)),
        }

    def _field(self, std: float) -> GaussianField:
        return GaussianField(Matern(self.length_scale, 1.5), std=std)


@register("heat")
@dataclass(frozen=True, slots=True, kw_only=True)
class Heat(_Conduction):
    """Steady heat conduction, -div(k grad T) = q, with log-normal k and q.

    log k and log q are Gaussian fields with the Matern covariance of smoothness 3/2. T is the
    difference from the surroundings.

    Parameters
    ----------
    conductivity, conductivity_log_std : float
        Median of k in W/(m K), and standard deviation of its logarithm.
    heating, heating_log_std : float
        The same of q, in W/m^3.
    length_scale : float
        Correlation length of both fields in metres.
    walls : {"dirichlet", "mixed"}
        T = 0 on every wall; or T = drop at x = 0 and 0 at x = 1 m, the other walls insulated.
    drop : float
        In kelvins.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    Examples
    --------
    >>> family = Heat()
    >>> drawn = family.draw(family.grid((8, 8)), np.random.default_rng(0))
    >>> {name: array.shape for name, array in drawn.items()}
    {'conductivity': (8, 8), 'source': (8, 8)}
    """

    name: ClassVar[str] = "heat"
    equation: ClassVar[str] = "-div(k grad T) = q"
    parameters: ClassVar[tuple[Quantity, ...]] = (MEDIUM, HEATING)
    n_steps: ClassVar[int] = 1

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the conduction is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the conduction of each sample; there is one step."""
        del state, step
        k, q = parameters["conductivity"], parameters["source"]
        return steady_systems(grid, k, q, self.walls, self.drop)


@register("heat-transient")
@dataclass(frozen=True, slots=True, kw_only=True)
class HeatTransient(_Conduction):
    """Heat conduction in time, C dT/dt = div(k grad T) + q, from a random start.

    (C / dt + theta K) T_new = (C / dt - (1 - theta) K) T_old + q with the steady operator K.
    theta = 1 (backward Euler) is of first order in dt and damps every mode; theta = 1/2
    (Crank-Nicolson) is of second order and lets the fastest modes of a rough start ring.

    Parameters
    ----------
    capacity : float
        C, density times specific heat, in J/(m^3 K).
    duration : float
        Time marched over, in seconds.
    n_steps : int
        Equal time steps.
    theta : float
        From 1/2 to 1.
    initial_std : float
        Standard deviation of the start, a Gaussian field of mean zero, in kelvins.
    conductivity, conductivity_log_std, heating, heating_log_std, length_scale, walls, drop
        As in `Heat`; the start has the same length scale.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Hairer and Wanner 1996, Solving Ordinary Differential Equations II, section IV.3

    Examples
    --------
    >>> family = HeatTransient(n_steps=4)
    >>> grid = family.grid((8, 8))
    >>> drawn = family.draw(grid, np.random.default_rng(0))
    >>> batch = {name: array[None] for name, array in drawn.items()}
    >>> family.systems(grid, batch, family.initial(grid, batch)).rhs.shape
    torch.Size([1, 8, 8])
    """

    capacity: float = 1e6
    duration: float = 1e5
    n_steps: int = 10
    theta: float = 1.0
    initial_std: float = 10.0

    name: ClassVar[str] = "heat-transient"
    equation: ClassVar[str] = "C dT/dt = div(k grad T) + q"
    parameters: ClassVar[tuple[Quantity, ...]] = (
        MEDIUM,
        HEATING,
        Quantity("initial", "T_0", "K"),
    )

    def __post_init__(self) -> None:
        _Conduction.__post_init__(self)
        check_positive(
            self.name,
            capacity=self.capacity,
            duration=self.duration,
            n_steps=self.n_steps,
            initial_std=self.initial_std,
        )
        if not 0.5 <= self.theta <= 1:
            raise ParameterError(
                f"{self.name} expected a theta from 1/2 to 1, got {self.theta}: "
                f"less is unstable for long time steps"
            )

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the conductivity, the heating and the start of one sample."""
        medium = _Conduction.draw(self, grid, rng)
        return {**medium, "initial": self._field(self.initial_std).sample(grid, rng)}

    def initial(self, grid: Grid, parameters: Parameters) -> torch.Tensor:
        """Return the temperatures at the start, (n_samples, *grid)."""
        del grid
        return torch.tensor(parameters["initial"])

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble one time step of each sample; all steps have the same matrices.

        Raises
        ------
        ParameterError
            If `state` is missing.
        """
        if state is None:
            raise ParameterError(f"{self.name} expected the temperatures before step {step}")
        boundary = wall_boundary(self.walls, grid.ndim)
        k = torch.as_tensor(parameters["conductivity"])
        faces = face_coefficients(k, grid, boundary)
        storage = self.capacity * self.n_steps / self.duration
        operator = diffusion_operator([self.theta * t for t in faces], boundary, storage)
        rhs = wall_source(faces, boundary, wall_ends(self.walls, self.drop, grid.ndim))
        rhs += torch.as_tensor(parameters["source"])
        rhs += storage * state
        if self.theta < 1:
            rhs -= (1 - self.theta) * diffusion_operator(faces, boundary)(state)
        form = diffusion_form(self.theta * k, grid, boundary, storage)
        return LinearSystems(operator, rhs, operator.matrix, form)
