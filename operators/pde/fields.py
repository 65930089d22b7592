"""Gaussian random fields on a regular grid, drawn by cosine, sine and Fourier transforms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.pde.family import Boundary
from operators.pde.grid import Grid

__all__ = ["GaussianField", "Matern", "PowerLaw"]

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Spectrum of N(0, tau^(2 alpha - d) (-Laplacian + tau^2)^-alpha) in d dimensions.

    S(k) = tau^(2 alpha - d) (|k|^2 + tau^2)^-alpha

    Parameters
    ----------
    alpha : float
        Decay; draws are continuous for alpha > d / 2.
    tau : float
        Inverse length in 1/m: features are about 2 pi / tau long.

    Raises
    ------
    ParameterError
        If `alpha` or `tau` is not positive.

    References
    ----------
    Li et al. 2021, arXiv:2010.08895, appendix A.3 (alpha 2, tau 3, Neumann)
    """

    alpha: float = 2.0
    tau: float = 3.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < math.inf and 0 < self.tau < math.inf):
            raise ParameterError(f"a spectrum expected positive alpha and tau, got {self}")

    def density(self, squared: Floats, ndim: int) -> Floats:
        """Return S at squared angular wave numbers |k|^2 in 1/m^2."""
        scale = self.tau ** (2 * self.alpha - ndim)
        return np.asarray(scale * (squared + self.tau**2) ** -self.alpha)


@dataclass(frozen=True, slots=True)
class Matern:
    """Spectrum of the Matern covariance of unit variance.

    C(r) = 2^(1 - nu) / Gamma(nu) s^nu K_nu(s) with s = sqrt(2 nu) r / length;
    S(k) = 2^d pi^(d/2) Gamma(nu + d/2) (2 nu)^nu / (Gamma(nu) length^(2 nu))
    (2 nu / length^2 + |k|^2)^-(nu + d/2)

    A wall reflects the field (Neumann) or its negative (Dirichlet), so C holds a few lengths away
    from walls; within, the variance is up to 2^d times larger, or falls to zero.

    Parameters
    ----------
    length : float
        Correlation length in metres.
    smoothness : float
        nu: 1/2 is the exponential covariance; draws have nu - 1 or more derivatives.

    Raises
    ------
    ParameterError
        If either is not positive.

    References
    ----------
    Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, eqs. 4.14 and 4.15
    """

    length: float
    smoothness: float = 1.5

    def __post_init__(self) -> None:
        if not (0 < self.length < math.inf and 0 < self.smoothness < math.inf):
            raise ParameterError(
                f"a spectrum expected a positive length and smoothness, got {self}"
            )

    def density(self, squared: Floats, ndim: int) -> Floats:
        """Return S at squared angular wave numbers |k|^2 in 1/m^2."""
        nu, half = self.smoothness, 0.5 * ndim
        rate = 2 * nu / self.length**2
        scale = (4 * math.pi) ** half * math.exp(math.lgamma(nu + half) - math.lgamma(nu))
        return np.asarray(scale * rate**-half * (1 + squared / rate) ** -(nu + half))


@dataclass(frozen=True, slots=True)
class GaussianField:
    """A stationary Gaussian field of mean zero, restricted to a box.

    g(x) = sum_k sqrt(S(k)) xi_k phi_k(x) with independent standard normal xi_k, over the
    orthonormal eigenfunctions phi_k of the Laplacian on the box: cosines (Neumann), sines
    (Dirichlet) or waves (periodic), as many as the grid has points.

    Parameters
    ----------
    spectrum : PowerLaw or Matern
        S.
    boundary : Boundary
        The same for all axes.
    zero_mean : bool
        Leave out the constant function, so that every draw has the mean zero.
    std : float, optional
        Scale the field so that its variance, averaged over the points of the grid, is std^2; by
        default the spectrum's own.

    Raises
    ------
    ParameterError
        If `boundary` is unknown or `std` is not positive.

    Examples
    --------
    >>> field = GaussianField(PowerLaw(alpha=2.0, tau=3.0), std=1.0)
    >>> g = field.sample(Grid((32, 32)), np.random.default_rng(0))
    >>> g.shape, bool(field.variance(Grid((32, 32))).mean().round(12) == 1)
    ((32, 32), True)
    """

    spectrum: PowerLaw | Matern
    boundary: Boundary = "neumann"
    zero_mean: bool = False
    std: float | None = None

    def __post_init__(self) -> None:
        if self.boundary not in {"dirichlet", "neumann", "periodic"}:
            raise ParameterError(
                f"expected boundary 'dirichlet', 'neumann' or 'periodic', got {self.boundary!r}"
            )
        if self.std is not None and not 0 < self.std < math.inf:
            raise ParameterError(f"a field expected a positive std, got {self.std}")

    def sample(self, grid: Grid, rng: np.random.Generator) -> Floats:
        """Draw the field at the points of a grid, (*grid.shape).

        Parameters
        ----------
        grid : Grid
            Of up to three dimensions, cells or nodes.
        rng : numpy.random.Generator
            Gives one standard normal number a mode.
        """
        amplitudes = _amplitudes(self, grid)
        noise = rng.standard_normal(amplitudes.shape)
        return _synthesis(noise, amplitudes, grid, self.boundary)

    def variance(self, grid: Grid) -> Floats:
        """Compute the exact variance at the points of a grid, (*grid.shape)."""
        return _variance(_amplitudes(self, grid), grid, self.boundary)


# Drawing a field takes less time than tabulating its spectrum, and all samples share the table.
@lru_cache(maxsize=8)
def _amplitudes(field: GaussianField, grid: Grid) -> Floats:
    """Compute the standard deviation of every coefficient of the transform in `_synthesis`."""
    axes = [_modes(grid, axis, field.boundary) for axis in range(grid.ndim)]
    squared = sum(k**2 for k in np.meshgrid(*(k for k, _ in axes), indexing="ij", sparse=True))
    amplitudes = np.sqrt(field.spectrum.density(np.asarray(squared), grid.ndim))
    for weight in np.meshgrid(*(w for _, w in axes), indexing="ij", sparse=True):
        amplitudes = amplitudes * weight
    if field.zero_mean and field.boundary != "dirichlet":
        amplitudes[(0,) * grid.ndim] = 0.0
    if field.std is not None:
        mean = float(np.mean(_variance(amplitudes, grid, field.boundary)))
        amplitudes *= field.std / math.sqrt(mean)
    amplitudes.flags.writeable = False
    return amplitudes


def _modes(grid: Grid, axis: int, boundary: Boundary) -> tuple[Floats, Floats]:
    """Return the wave numbers along an axis in 1/m, and the factor from phi_k to the transform."""
    n, length, h = grid.shape[axis], grid.lengths[axis], grid.spacing[axis]
    is_cells = grid.centring == "cells"
    if boundary == "periodic":
        n_waves = n if is_cells else n - 1  # the last node repeats the first
        k = np.asarray(2 * math.pi * np.fft.fftfreq(n_waves, 1 / n_waves) / length, np.float64)
        return k, np.full(n_waves, h**-0.5)
    first = 0 if boundary == "neumann" else 1
    n_modes = n if is_cells or boundary == "neumann" else n - 2
    k = math.pi * np.arange(first, first + n_modes, dtype=np.float64) / length
    if is_cells:  # orthonormal transforms
        weight = np.full(n_modes, h**-0.5)
        if boundary == "dirichlet":  # the last sine is +-1 at every cell, and longer than others
            weight[-1] *= math.sqrt(2)
        return k, weight
    weight = np.full(n_modes, 0.5 * math.sqrt(2 / length))  # type I doubles what is not an end
    if boundary == "neumann":
        weight[0], weight[-1] = length**-0.5, math.sqrt(2 / length)
    return k, weight


def _synthesis(noise: Floats, amplitudes: Floats, grid: Grid, boundary: Boundary) -> Floats:
    """Sum the modes with the coefficients `amplitudes * noise`."""
    from scipy import fft

    is_cells = grid.centring == "cells"
    if boundary == "periodic":
        half = amplitudes[..., : amplitudes.shape[-1] // 2 + 1]
        waves = fft.rfftn(noise, workers=1) * half
        g = fft.irfftn(waves, noise.shape, overwrite_x=True, workers=1)
        return np.asarray(g if is_cells else np.pad(g, (0, 1), mode="wrap"))
    noise *= amplitudes
    transform = fft.dctn if boundary == "neumann" else fft.dstn
    if is_cells:
        return np.asarray(transform(noise, 3, norm="ortho", overwrite_x=True, workers=1))
    g = transform(noise, 1, overwrite_x=True, workers=1)
    return np.asarray(g if boundary == "neumann" else np.pad(g, 1))


def _variance(amplitudes: Floats, grid: Grid, boundary: Boundary) -> Floats:
    """Sum the squared modes times the squared amplitudes, axis by axis."""
    if boundary == "periodic":
        return np.full(grid.shape, float(np.mean(amplitudes**2)))
    variance = amplitudes**2
    for axis in range(grid.ndim):
        line = Grid((grid.shape[axis],), (grid.lengths[axis],), grid.centring)
        n_modes = amplitudes.shape[axis]
        modes = [_synthesis(e, np.ones(n_modes), line, boundary) for e in np.eye(n_modes)]
        variance = np.moveaxis(np.tensordot(variance, np.square(modes), (axis, 0)), -1, axis)
    return np.asarray(variance)
