"""Cartesian sampling masks: which lines or points of k-space are acquired.

Every function returns a bool array of the grid's shape, origin at n // 2, and draws without
replacement, so that the acceleration asked for is the one realised: the calibration region counts,
and the number of sampled lines or points is round(n / acceleration). Masks are decided on one or
two axes and constant along the others. Equal generators give equal masks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.space import positive_axes

__all__ = [
    "central",
    "fastmri_equispaced",
    "fastmri_random",
    "gaussian_1d",
    "gaussian_2d",
    "sample_count",
    "spread",
]


def fastmri_random(
    shape: Sequence[int],
    acceleration: float,
    center_fraction: float,
    generator: np.random.Generator,
    *,
    axis: int = -2,
) -> NDArray[np.bool_]:
    """Sample a fully sampled centre and phase-encode lines drawn uniformly around it.

    As in fastMRI, the round(center_fraction n) central lines are kept and the others have equal
    probability, such that n / acceleration lines are acquired in all. Deviation: fastMRI tosses a
    coin for each line, so that only the expected number is right; here exactly that many are drawn.

    Parameters
    ----------
    shape : sequence of int
        Shape of the grid.
    acceleration : float
        Number of lines over number of sampled lines, >= 1.
    center_fraction : float
        Share of the lines in the fully sampled centre.
    generator : numpy.random.Generator
        Source of the choice.
    axis : int
        Phase-encode axis; y by default.

    Returns
    -------
    ndarray, shape, bool

    Raises
    ------
    ParameterError
        If the acceleration is below 1, or the centre alone exceeds the lines it allows.
    ShapeError
        If there is no such axis.

    References
    ----------
    Zbontar et al. 2018, arXiv:1811.08839, section 6.2 (Cartesian undersampling masks)

    Examples
    --------
    >>> mask = fastmri_random((64, 8), 4, 0.125, np.random.default_rng(0))
    >>> int(mask[:, 0].sum())
    16
    """
    n = shape[positive_axes((axis,), len(shape))[0]]
    centre = central(n, round(center_fraction * n))
    lines = draw(np.zeros(n), centre, acceleration, generator)
    return spread(lines, shape, (axis,))


def fastmri_equispaced(
    shape: Sequence[int],
    acceleration: float,
    center_fraction: float,
    generator: np.random.Generator,
    *,
    axis: int = -2,
) -> NDArray[np.bool_]:
    """Sample a fully sampled centre and equally spaced phase-encode lines.

    With c central lines of n, the spacing is R' = R (c - n) / (c R - n), larger than the
    acceleration R by what the centre takes; line k lies at round(offset + k R'), the offset random.

    Parameters, result and errors are those of `fastmri_random`. The realised acceleration is R up
    to the line or two by which the spacing does not divide n evenly.

    References
    ----------
    Zbontar et al. 2018, arXiv:1811.08839; spacing as in fastMRI's `EquispacedMaskFractionFunc`

    Examples
    --------
    >>> mask = fastmri_equispaced((64, 8), 4, 0.125, np.random.default_rng(0))
    >>> int(mask[:, 0].sum())
    16
    """
    n = shape[positive_axes((axis,), len(shape))[0]]
    lines = central(n, round(center_fraction * n))
    n_centre = int(lines.sum())
    sample_count(n, n_centre, acceleration)
    if n_centre * acceleration < n:
        spacing = acceleration * (n_centre - n) / (n_centre * acceleration - n)
        offset = int(generator.integers(round(spacing)))
        lines[np.rint(np.arange(offset, n - 0.5, spacing)).astype(int)] = True
    return spread(lines, shape, (axis,))


def gaussian_1d(
    shape: Sequence[int],
    acceleration: float,
    center_fraction: float,
    generator: np.random.Generator,
    *,
    axis: int = -2,
) -> NDArray[np.bool_]:
    """Sample a fully sampled centre and phase-encode lines with Gaussian density around it.

    The density has the standard deviation 15 n / 128 about the origin. Deviation from the source:
    lines are drawn without replacement, so that the acceleration is exact.

    Parameters, result and errors are those of `fastmri_random`.

    References
    ----------
    Chung and Ye 2022, doi:10.1016/j.media.2022.102479 (score-MRI): mask "gaussian1d"

    Examples
    --------
    >>> mask = gaussian_1d((64, 8), 4, 0.08, np.random.default_rng(0))
    >>> int(mask[:, 0].sum()), bool((mask == mask[:, :1]).all())
    (16, True)
    """
    n = shape[positive_axes((axis,), len(shape))[0]]
    centre = central(n, round(center_fraction * n))
    log_density = -0.5 * ((np.arange(n) - n // 2) / (15 / 128 * n)) ** 2
    return spread(draw(log_density, centre, acceleration, generator), shape, (axis,))


def gaussian_2d(
    shape: Sequence[int],
    acceleration: float,
    center_fraction: float,
    generator: np.random.Generator,
    *,
    axes: tuple[int, int] = (0, 1),
) -> NDArray[np.bool_]:
    """Sample a fully sampled central rectangle and points with Gaussian density around it.

    The density has the variance 1.5 n^2 / 128 along each axis. Deviation from the source: points
    are drawn without replacement, so that the acceleration is exact.

    Parameters
    ----------
    shape : sequence of int
        Shape of the grid.
    acceleration : float
        Number of points over number of sampled points, >= 1.
    center_fraction : float
        Share of each axis that the rectangle takes; 0 for none, as in the source.
    generator : numpy.random.Generator
        Source of the choice.
    axes : tuple of int
        The two phase-encode axes; the first two by default: (y, x), or (z, y) of a volume.

    Returns
    -------
    ndarray, shape, bool

    Raises
    ------
    ParameterError
        If the acceleration is below 1, or the centre alone exceeds the points it allows.
    ShapeError
        If there are no such axes.

    References
    ----------
    Chung and Ye 2022, doi:10.1016/j.media.2022.102479 (score-MRI): mask "gaussian2d"

    Examples
    --------
    >>> mask = gaussian_2d((32, 32), 8, 0.125, np.random.default_rng(0))
    >>> int(mask.sum()), bool(mask[14:18, 14:18].all())
    (128, True)
    """
    first, second = (shape[axis] for axis in positive_axes(axes, len(shape)))
    centre = np.outer(*(central(n, round(center_fraction * n)) for n in (first, second)))
    squared = [((np.arange(n) - n // 2) / n) ** 2 / (1.5 / 128) for n in (first, second)]
    log_density = -0.5 * np.add.outer(*squared)
    return spread(draw(log_density, centre, acceleration, generator), shape, axes)


def central(n: int, width: int) -> NDArray[np.bool_]:
    """Mark the `width` samples about the origin n // 2, which is (width // 2)-th of them."""
    inside = np.zeros(n, dtype=bool)
    first = n // 2 - width // 2
    inside[max(first, 0) : first + width] = True
    return inside


def sample_count(n: int, n_centre: int, acceleration: float) -> int:
    """Return how many of n samples to take, the centre included."""
    if not acceleration >= 1:
        raise ParameterError(f"a mask expected an acceleration >= 1, got {acceleration}")
    wanted = round(n / acceleration)
    if wanted < max(n_centre, 1):
        raise ParameterError(
            f"a mask expected to sample at least its centre of {n_centre}, got acceleration "
            f"{acceleration:g}, which allows {wanted} of {n}. Lower the acceleration or the centre."
        )
    return wanted


def draw(
    log_density: NDArray[np.float64],
    centre: NDArray[np.bool_],
    acceleration: float,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Take the centre and draw the rest without replacement, with probability ~ density.

    The largest of log_density + Gumbel noise are such a draw (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003); in logarithms no density underflows.
    """
    wanted = sample_count(centre.size, int(centre.sum()), acceleration)
    keys = log_density + generator.gumbel(size=centre.shape)
    keys[centre] = np.inf
    chosen = np.zeros(centre.size, dtype=bool)
    chosen[np.argpartition(keys, centre.size - wanted, axis=None)[centre.size - wanted :]] = True
    return chosen.reshape(centre.shape)


def spread(
    decided: NDArray[np.bool_], shape: Sequence[int], axes: Sequence[int]
) -> NDArray[np.bool_]:
    """Repeat what was decided on some axes along all the others, as a writable array."""
    where = positive_axes(axes, len(shape))
    if where != tuple(sorted(where)):
        decided = decided.T
    thin = [n if axis in where else 1 for axis, n in enumerate(shape)]
    return np.broadcast_to(decided.reshape(thin), tuple(shape)).copy()
