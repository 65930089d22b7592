"""Darcy flow -div(a grad u) = f through random media, by finite volumes with harmonic faces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.family import LinearSystems, Parameters, Quantity, register
from operators.pde.fields import GaussianField, PowerLaw
from operators.pde.grid import Grid
from operators.pde.steady_diffusion import (
    STENCIL,
    Walls,
    boundary_in_words,
    cells_of_box,
    check_positive,
    steady_systems,
    wall_boundary,
)

__all__ = ["CONDUCTIVITY", "HEAD", "Darcy", "DarcyPDEBench", "DarcyTwoPhase"]

CONDUCTIVITY = Quantity("conductivity", "a", "m/s")
HEAD = Quantity("head", "u", "m")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flow:
    """Walls and assembly of the flows below; they differ in how they draw the conductivity.

    Parameters
    ----------
    walls : {"dirichlet", "mixed"}
        u = 0 on every wall; or u = drop at x = 0 and 0 at x = 1 m, no flow through the others.
    source : float, optional
        f in 1/s; by default 1 with Dirichlet walls and 0 with mixed ones.
    drop : float
        In metres.
    """

    walls: Walls = "dirichlet"
    source: float | None = None
    drop: float = 1.0

    name: ClassVar[str]
    equation: ClassVar[str] = "-div(a grad u) = f"
    stencil: ClassVar[str] = STENCIL
    parameters: ClassVar[tuple[Quantity, ...]] = (CONDUCTIVITY,)
    unknown: ClassVar[Quantity] = HEAD
    n_steps: ClassVar[int] = 1

    def __post_init__(self) -> None:
        wall_boundary(self.walls, 2)
        check_positive(self.name, drop=self.drop)
        if self.source is not None and not math.isfinite(self.source):
            raise ParameterError(f"{self.name} expected a finite source, got {self.source}")

    @property
    def boundary(self) -> str:
        """The boundary condition in words."""
        return boundary_in_words(self.walls, self.drop)

    def grid(self, shape: tuple[int, ...]) -> Grid:
        """Return cells of the unit square or cube."""
        return cells_of_box(shape, self.name)

    def initial(self, grid: Grid, parameters: Parameters) -> None:
        """Return None: the flow is steady."""

    def systems(
        self,
        grid: Grid,
        parameters: Parameters,
        state: torch.Tensor | None = None,
        step: int = 0,
    ) -> LinearSystems:
        """Assemble the flow of each sample; there is one step."""
        del state, step
        source = float(self.walls == "dirichlet") if self.source is None else self.source
        return steady_systems(grid, parameters["conductivity"], source, self.walls, self.drop)


@register("darcy")
@dataclass(frozen=True, slots=True, kw_only=True)
class Darcy(_Flow):
    """Flow through a log-normal medium, a = median exp(g) with a Gaussian field g.

    g ~ N(0, tau^(2 alpha - d) (-Laplacian + tau^2)^-alpha) with Neumann walls, its mean over the
    box left out.

    Parameters
    ----------
    alpha : float
        Decay of the spectrum of g.
    tau : float
        Its inverse length in 1/m.
    log_std : float, optional
        Scale g so that its variance, averaged over the box, is log_std^2; by default the
        spectrum's own variance.
    median : float
        Of a, in m/s.
    walls : {"dirichlet", "mixed"}
        u = 0 on every wall; or u = drop at x = 0 and 0 at x = 1 m, no flow through the others.
    source : float, optional
        f in 1/s; by default 1 with Dirichlet walls and 0 with mixed ones.
    drop : float
        In metres.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Li et al. 2021, arXiv:2010.08895, appendix A.3 (the law of g)

    Examples
    --------
    >>> family = Darcy()
    >>> grid = family.grid((8, 8))
    >>> drawn = family.draw(grid, np.random.default_rng(0))
    >>> systems = family.systems(grid, {name: array[None] for name, array in drawn.items()})
    >>> systems.rhs.shape, systems.matrix(0).shape
    (torch.Size([1, 8, 8]), (64, 64))
    """

    alpha: float = 2.0
    tau: float = 3.0
    log_std: float | None = None
    median: float = 1.0

    name: ClassVar[str] = "darcy"

    def __post_init__(self) -> None:
        _Flow.__post_init__(self)
        check_positive(self.name, median=self.median)
        self._logarithm()

    def _logarithm(self) -> GaussianField:
        return GaussianField(PowerLaw(self.alpha, self.tau), zero_mean=True, std=self.log_std)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the conductivity of one sample."""
        return {"conductivity": self.median * np.exp(self._logarithm().sample(grid, rng))}


@register("darcy-two-phase")
@dataclass(frozen=True, slots=True, kw_only=True)
class DarcyTwoPhase(_Flow):
    """Flow through two materials: a = high where a Gaussian field is >= 0, low elsewhere.

    Parameters
    ----------
    high, low : float
        Conductivities in m/s.
    alpha, tau : float
        Of the field, as in `Darcy`.
    walls, source, drop
        As in `Darcy`.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Li et al. 2021, arXiv:2010.08895, appendix A.3 (the medium; `darcy-fno` has its stencil too)

    Examples
    --------
    >>> family = DarcyTwoPhase()
    >>> np.unique(family.draw(family.grid((8, 8)), np.random.default_rng(0))["conductivity"])
    array([ 3., 12.])
    """

    high: float = 12.0
    low: float = 3.0
    alpha: float = 2.0
    tau: float = 3.0

    name: ClassVar[str] = "darcy-two-phase"

    def __post_init__(self) -> None:
        _Flow.__post_init__(self)
        check_positive(self.name, high=self.high, low=self.low)
        PowerLaw(self.alpha, self.tau)

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the conductivity of one sample."""
        field = GaussianField(PowerLaw(self.alpha, self.tau), zero_mean=True)
        return {"conductivity": np.where(field.sample(grid, rng) >= 0, self.high, self.low)}


@register("darcy-pdebench")
@dataclass(frozen=True, slots=True, kw_only=True)
class DarcyPDEBench(_Flow):
    """Flow through PDEBench's media: a = high where some Gaussian bumps exceed their mean.

    bumps(x) = sum_j exp(-|x - c_j|^2 / w_j), c_j uniform in the box, w_j uniform in (0, L^2 / 2)
    with L the length of the box along x.

    The law is PDEBench's but for two points. Its threshold is the mean over all samples of a run;
    here it is that of the sample, so that a sample does not depend on the others. And its labels
    are a diffusion in time from a random start, stopped at t = 2; these are the steady flows.

    Parameters
    ----------
    high, low : float
        Conductivities in m/s.
    n_bumps : int
        How many.
    walls, source, drop
        As in `Darcy`; the source is PDEBench's ``beta``.

    Raises
    ------
    ParameterError
        If a setting is out of range.

    References
    ----------
    Takamoto et al. 2022, arXiv:2210.07182

    Examples
    --------
    >>> family = DarcyPDEBench(source=0.01)
    >>> np.unique(family.draw(family.grid((8, 8)), np.random.default_rng(0))["conductivity"])
    array([0.1, 1. ])
    """

    high: float = 1.0
    low: float = 0.1
    n_bumps: int = 5

    name: ClassVar[str] = "darcy-pdebench"

    def __post_init__(self) -> None:
        _Flow.__post_init__(self)
        check_positive(self.name, high=self.high, low=self.low)
        if self.n_bumps < 1:
            raise ParameterError(f"{self.name} expected one bump or more, got {self.n_bumps}")

    def draw(self, grid: Grid, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
        """Draw the conductivity of one sample."""
        centres = rng.uniform(size=(self.n_bumps, grid.ndim)) * grid.lengths
        widths = 0.5 * grid.lengths[-1] ** 2 * (1.0 - rng.uniform(size=self.n_bumps))  # never 0
        bumps = np.zeros(grid.shape)
        for centre, width in zip(centres, widths, strict=True):
            along = [
                np.exp(-((grid.points(axis) - c) ** 2) / width) for axis, c in enumerate(centre)
            ]
            bumps += math.prod(np.meshgrid(*along, indexing="ij", sparse=True))
        return {"conductivity": np.where(bumps > bumps.mean(), self.high, self.low)}
