"""The posterior: what the data and the prior leave open, as samples and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.problem import Problem
from inverse.settings import number
from solvers import cg

__all__ = [
    "LEVEL",
    "Interval",
    "Posterior",
    "dispersion",
    "object_mask",
    "share_of",
    "undetermined",
]

LEVEL = 0.9
"""Of intervals when nobody asks for another."""

_OBJECT_FRACTION = 0.1
_OBJECT_SMOOTHING = 2.0
_LEAST_WEIGHT = 1e-5  # below it single precision no longer tells what the data say from rounding
_RTOL = 1e-2
_MOST_ITERATIONS = 100
_MOST_VALUES = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Interval:
    """Two images between which the truth should lie, voxel by voxel.

    Parameters
    ----------
    level : float
        In how many of all voxels it should, 0 to 1.
    low, high : (z, y, x), float32
    origin : str
        Where it comes from, in words.
    verdict : str
        What the spread behind it is worth, where that was measured.
    """

    level: float
    low: NDArray[np.floating]
    high: NDArray[np.floating]
    origin: str
    verdict: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Samples of the image given the data.

    Spread and intervals are those of what a person looks at: the magnitude of a complex image, the
    value of a real one.

    Parameters
    ----------
    samples : (n, z, y, x), complex64 or float32
        In the units of the file.
    null_space_share : (z, y, x), float32
        How much of the mean image the data did not determine, 0 to 1; see `undetermined`.
    dispersion : float
        How much the samples disagree about what was measured, in noise levels; see `dispersion`.
    calibrated : Interval, optional
        From `Calibration.apply`; without it the samples' own quantiles are the interval.
    """

    samples: NDArray[np.generic]
    null_space_share: NDArray[np.float32]
    dispersion: float
    calibrated: Interval | None = None

    def __repr__(self) -> str:
        return f"<Posterior of {len(self.samples)} samples, dispersion {self.dispersion:.2f}>"

    @property
    def values(self) -> NDArray[np.floating]:
        """What is looked at: magnitudes of complex samples, real samples themselves."""
        return _looked_at(self.samples)

    @property
    def mean(self) -> NDArray[np.generic]:
        """Mean image (z, y, x), complex if the samples are."""
        return np.asarray(self.samples.mean(0))

    @property
    def estimate(self) -> NDArray[np.floating]:
        """What is looked at of the mean image (z, y, x): its magnitude if it is complex."""
        return _looked_at(self.mean)

    @property
    def std(self) -> NDArray[np.floating]:
        """Standard deviation of `values` (z, y, x)."""
        return np.asarray(self.values.std(0, ddof=1))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Voxels of the object (z, y, x): `object_mask` of the estimate."""
        return object_mask(self.estimate)

    @property
    def undetermined_share(self) -> float:
        """Share of the mean image's root mean square inside the object that was not determined."""
        inside = self.inside
        image = self.estimate[inside].astype(np.float64)
        total = float(np.square(image).sum())
        part = float(np.square(self.null_space_share[inside] * image).sum())
        return math.sqrt(part / total) if total > 0 else 0.0

    def quantile(self, level: float) -> NDArray[np.floating]:
        """Quantile of `values` (z, y, x).

        The k-th smallest of n samples is the quantile at k / (n + 1), because a truth that is one
        more draw falls below it with that probability; beyond the outermost samples there is
        nothing to go by, and those are returned.

        Parameters
        ----------
        level : float
            0 to 1.

        References
        ----------
        Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566, definition 6
        """
        level = number("level", level, high=1.0)
        return np.asarray(np.quantile(self.values, level, axis=0, method="weibull"))

    def interval(self, level: float = LEVEL) -> Interval:
        """Range between the quantiles at (1 - level) / 2 and (1 + level) / 2.

        From n samples it holds at most (n - 1) / (n + 1) of the truth even if each is an exact draw
        of the posterior: 78 % for 8, 90 % for 19. `inverse.calibration` goes further with fewer.

        Parameters
        ----------
        level : float
            Between 0 and 1.
        """
        level = _level(level)
        n = len(self.samples)
        low, high = self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)
        return Interval(level, low, high, f"the quantiles of {n} samples, not calibrated")

    @property
    def shown(self) -> Interval:
        """The interval for files and reports: the calibrated one, or that of 90 % as sampled."""
        return self.calibrated or self.interval()

    def with_interval(self, interval: Interval) -> Posterior:
        """Return the posterior with a calibrated interval."""
        return replace(self, calibrated=interval)


def object_mask(image: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Voxels of the object, without its background.

    Where |image|, smoothed within slices by a Gaussian of two pixels, exceeds a tenth of the
    largest smoothed value.

    Parameters
    ----------
    image : (..., y, x), real or complex

    Examples
    --------
    >>> disc = np.zeros((1, 32, 32)); disc[0, 8:24, 8:24] = 1
    >>> bool(object_mask(disc)[0, 16, 16]), bool(object_mask(disc)[0, 0, 0])
    (True, False)
    """
    from scipy.ndimage import gaussian_filter

    magnitude = np.abs(image).astype(np.float64)
    width = (0.0,) * (magnitude.ndim - 2) + (_OBJECT_SMOOTHING,) * 2
    smooth = gaussian_filter(magnitude, width)
    return np.asarray(smooth > _OBJECT_FRACTION * smooth.max(initial=0.0))


def undetermined(problem: Problem, x: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Part of an image that the data did not determine.

    x - R x,  R = (A^H A + delta)^-1 A^H A,  delta = noise_std^2 / mean |x_i|^2

    R x is what a linear reconstruction would find of x, had x been measured with these data. A
    direction that A maps with gain s is kept by s^2 / (s^2 + delta): it counts as determined where
    a pattern as strong as the image stands above the noise, |s| rms(x) > noise_std. If every gain
    is 0 or far above that, R is A^+ A. The mean is over each independent system and over real
    components.

    Parameters
    ----------
    problem : Problem
    x : Tensor, (*problem.operator.domain.shape)

    Returns
    -------
    Tensor, as x
        Its norm is at most that of x. By conjugate gradients, to about 1 % of the norm of x.
    int
        How often A^H A was applied.

    Examples
    --------
    >>> from inverse.grid import Grid
    >>> from operators import Identity, Space
    >>> seen = Identity(Space((1, 2), torch.float64, ("y", "x")))
    >>> ones = torch.ones(1, 2, dtype=torch.float64)
    >>> problem = Problem(seen, ones, noise_std=0.1, n_samples=2, grid=Grid((1, 1, 2), (1, 1, 1)))
    >>> [round(float(v), 4) for v in undetermined(problem, ones)[0].ravel()]
    [0.0099, 0.0099]
    """
    unknown = tuple(range(problem.n_batch_axes, x.ndim))
    component = 0.5 if x.is_complex() else 1.0
    energy = component * x.abs().square().mean(unknown, keepdim=True)
    is_seen = energy > 0
    ratio = problem.noise_std**2 / torch.where(is_seen, energy, torch.ones_like(energy))
    delta = torch.where(is_seen, ratio.clamp_min(_LEAST_WEIGHT), torch.ones_like(energy))
    found = cg(
        lambda v: problem.operator.normal(v) + delta * v,
        delta * x,
        rtol=_RTOL,
        maxiter=_MOST_ITERATIONS,
        n_batch_axes=problem.n_batch_axes,
    )
    return found.x, found.n_operator


def share_of(part: NDArray[np.generic], whole: NDArray[np.generic]) -> NDArray[np.float32]:
    """|part| / |whole| voxel by voxel, at most 1, and 0 where the part is 0.

    A part can exceed the whole where what was measured cancels it; that voxel is all undetermined.

    Examples
    --------
    >>> share_of(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 1.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    above, below = np.abs(part).astype(np.float64), np.abs(whole).astype(np.float64)
    larger = np.maximum(above, below)
    share = np.divide(above, larger, out=np.zeros_like(above), where=larger > 0)
    return np.asarray(share, dtype=np.float32)


def dispersion(problem: Problem, samples: torch.Tensor) -> float:
    """How much samples disagree about what was measured, in noise levels.

    sqrt( sum_j ||A (x_j - mean)||^2 / ((n - 1) m) ) / noise_std,  m the measured real components

    Samples of the posterior agree with the data to within their noise, and so with each other:
    for a linear Gaussian problem this is the root mean leverage of the data, below 1. Above 1 they
    contradict what was measured.

    Parameters
    ----------
    problem : Problem
    samples : Tensor, (n, *problem.operator.domain.shape)
        n >= 2.

    Returns
    -------
    float
        NaN if the data are without noise.

    Raises
    ------
    UsageError
        If there are fewer than two samples.
    """
    n = len(samples)
    if n < 2:
        raise UsageError(f"dispersion expected at least 2 samples, got {n}; raise n_samples")
    mean = samples.mean(0)
    # A few at a time: the data of all samples together may not fit.
    parts = samples.split(max(1, _MOST_VALUES // problem.data.numel()))
    squares = [np.square(problem.norms(problem.operator(part - mean))).sum() for part in parts]
    spread = math.sqrt(float(sum(squares)) / ((n - 1) * float(problem.n_components.sum())))
    return spread / problem.noise_std if problem.noise_std > 0 else math.nan


def _looked_at(images: NDArray[np.generic]) -> NDArray[np.floating]:
    shown = np.abs(images) if np.iscomplexobj(images) else images
    return cast("NDArray[np.floating]", shown)


def _level(level: float) -> float:
    found = number("level", level, high=1.0, above=True)
    if found == 1.0:
        raise UsageError("level expected a number > 0 and < 1, got 1: no samples can promise that")
    return found
