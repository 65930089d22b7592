"""Time-harmonic waves from a source in a random medium."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, Matern
from operators.pde.grid import Grid
from operators.pde.helmholtz_operator import helmholtz_operator, points_per_wavelength
from operators.pde.sources import gaussian_source, point_source

__all__ = ["Helmholtz"]

_FEWEST_POINTS = 6.0
"""A wavelength of fewer spacings is not a wave on the grid: 5 % slow, and anisotropic."""


@register("helmholtz")
@dataclass(frozen=True, slots=True)
class Helmholtz:
    """-lap u - k(x)^2 u = f with k = k_0 sqrt(1 + eps g(x)), |g| < 1: indefinite, complex.

    Parameters
    ----------
    wave_number : float
        k_0 in rad/m; the box has k_0 L / (2 pi) wavelengths a side.
    contrast : float
        eps, 0 <= eps < 1; zero is the same uniform medium for every sample.
    medium : {"random", "modes"}
        g = tanh(z) with a Gaussian random field z of variance 1, or with z the sum of the three
        slowest cosines, each with a standard normal coefficient: three parameters in all.
    walls : {"sommerfeld", "layer"}
        As of `helmholtz_operator`.
    layer : float
        Width of the absorbing layers in wavelengths 2 pi / k_0.
    source : {"point", "gaussian"}
        Of unit integral.
    source_width : float
        Deviation s of a Gaussian source in metres.
    position : {"centre", "random"}
        Where the source is; random ones are uniform in the middle half of every axis.
    length_scale : float
        Correlation length of z in units of the longest side.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    Notes
    -----
    The second-order stencil is dispersive: a plane wave along an axis is slow by about
    (k h)^2 / 24. In the uniform medium, four wavelengths wide, at 16, 32 and 64 points a
    wavelength, the answer is 2.6, 0.64 and 0.16 % away from Hankel's function with a layer of 0.9
    wavelengths, and 3.7, 2.6 and 2.5 % with Sommerfeld walls, which reflect.

    Examples
    --------
    >>> family = Helmholtz(contrast=0.0, walls="layer")
    >>> grid = family.grid((32, 32))
    >>> k = family.draw(grid, np.random.default_rng(0))["wave_number"]
    >>> systems = family.systems(grid, {"wave_number": k[None]})
    >>> systems.operator.domain
    <sample:1 y:32 x:32 complex128>
    """

    wave_number: float = 25.0
    contrast: float = 0.4
    medium: Literal["random", "modes"] = "random"
    walls: Literal["sommerfeld", "layer"] = "sommerfeld"
    layer: float = 0.9
    source: Literal["point", "gaussian"] = "point"
    source_width: float = 0.05
    position: Literal["centre", "random"] = "centre"
    length_scale: float = 0.2

    name: ClassVar[str] = "helmholtz"
    equation: ClassVar[str] = "-lap u - k(x)^2 u = f, k = k_0 sqrt(1 + eps g(x))"
    unknown: ClassVar[Quantity] = Quantity("pressure", "u", "Pa")
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        positive = (self.wave_number, self.layer, self.source_width, self.length_scale)
        if not (min(positive) > 0 and 0 <= self.contrast < 1):
            raise ParameterError(
                f"helmholtz expected a positive wave_number, layer, source_width and length_scale "
                f"and 0 <= contrast < 1, got {positive} and {self.contrast}"
            )
        for setting, allowed in (
            ("medium", ("random", "modes")),
            ("walls", ("sommerfeld", "layer")),
            ("source", ("point", "gaussian")),
            ("position", ("centre", "random")),
        ):
            if getattr(self, setting) not in allowed:
                raise ParameterError(
                    f"helmholtz expected {setting} {allowed[0]!r} or {allowed[1]!r}, "
                    f"got {getattr(self, setting)!r}"
                )

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        if self.walls == "sommerfeld":
            return "Sommerfeld du/dn = i k u on all walls, time exp(-i omega t)"
        return (
            f"perfectly matched layers of {self.layer:g} wavelengths inside the box, u = 0 behind "
            f"them, time exp(-i omega t)"
        )

    @property
    def stencil(self) -> str:
        """The discretisation in words."""
        return "second-order finite volumes on cells, complex symmetric"

    @property
    def parameters(self) -> tuple[Quantity, ...]:
        """What is drawn."""
        medium = Quantity("wave_number", "k", "rad/m")
        where = (Quantity("source_position", "x_s", "m"),) if self.position == "random" else ()
        return (medium, *where)

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return a grid of cells of the unit square or cube.

        Raises
        ------
        ParameterError
            If there are not two or three axes, or the shortest wavelength has too few points.
        """
        if len(shape) not in {2, 3}:
            raise ParameterError(f"helmholtz expected two or three axes, got shape {shape}")
        grid = Grid(shape)
        _check_points(self.wave_number * math.sqrt(1 + self.contrast), grid)
        return grid

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the medium, then the position of the source if it is random."""
        if self.medium == "modes":
            z = _slow_modes(grid, rng)
        else:
            length = self.length_scale * max(grid.lengths)
            z = GaussianField(Matern(length, 2.5), std=1.0).sample(grid, rng)
        drawn = {"wave_number": self.wave_number * np.sqrt(1 + self.contrast * np.tanh(z))}
        if self.position == "random":
            drawn["source_position"] = rng.uniform(0.25, 0.75, grid.ndim) * np.array(grid.lengths)
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
        k = np.asarray(parameters["wave_number"], dtype=np.float64)
        _check_points(float(k.max(initial=0.0)), grid)
        operator, weight = helmholtz_operator(
            torch.from_numpy(k),
            grid,
            walls=self.walls,
            layer=self.layer * 2 * math.pi / self.wave_number,
            reference=self.wave_number,
        )
        if self.position == "random":
            position = np.asarray(parameters["source_position"], dtype=np.float64)
        else:
            position = np.tile(np.array(grid.lengths) / 2, (len(k), 1))
        if self.source == "point":
            source = point_source(position, grid)
        else:
            source = gaussian_source(position, self.source_width, grid)
        return LinearSystems(
            operator,
            weight * torch.from_numpy(source),
            operator.matrix,
            is_constant=self.contrast == 0,
        )


def _slow_modes(grid: Grid, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return c_1 cos_x + c_2 cos_y + c_3 (cos_x cos_y, or cos_z) with cos_x = cos(pi x / L_x)."""
    cosines = [
        np.cos(math.pi * x / length) for x, length in zip(grid.mesh(), grid.lengths, strict=True)
    ]
    modes = [cosines[-1], cosines[-2], cosines[0] if grid.ndim == 3 else cosines[0] * cosines[1]]
    return np.asarray(np.tensordot(rng.standard_normal(3), modes, 1), dtype=np.float64)


def _check_points(largest_wave_number: float, grid: Grid) -> None:
    if largest_wave_number <= 0:
        return
    points = points_per_wavelength(largest_wave_number, grid)
    if points < _FEWEST_POINTS:
        needed = math.ceil(_FEWEST_POINTS * max(grid.lengths) * largest_wave_number / (2 * math.pi))
        raise ParameterError(
            f"the shortest wavelength, {2 * math.pi / largest_wave_number:.3g} m, has {points:.1f} "
            f"points, fewer than {_FEWEST_POINTS:g}, on a grid of shape {grid.shape}. "
            f"Take about {needed} points an axis, or a smaller wave_number."
        )
