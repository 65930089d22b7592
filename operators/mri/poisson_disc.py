"""Variable-density Poisson-disc sampling: random, yet no two samples close together."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from operators.errors import ParameterError
from operators.mri.masks import central, sample_count, spread
from operators.space import positive_axes

__all__ = ["poisson_disc"]

_SURPLUS = 1.03  # share of samples that may have to be dropped again to meet the acceleration
_RESOLUTION = 1.002  # of the radius, where a step of the lattice forbids coming closer


def poisson_disc(
    shape: Sequence[int],
    acceleration: float,
    calibration: tuple[int, int],
    generator: np.random.Generator,
    *,
    growth: float = 2.0,
    axes: tuple[int, int] = (0, 1),
) -> NDArray[np.bool_]:
    """Sample a calibration rectangle and points with a least distance that grows outwards.

    Outside the rectangle any two samples p, q obey |p - q| >= max(r(p), r(q)) in samples, with
    r(k) = r0 (1 + growth rho(k)) and rho(k) the distance from the origin, 1 in the middle of each
    edge. r0 is sought so that slightly too many points fit; the surplus is dropped at random, which
    makes the acceleration exact. Distances on a lattice come in steps, so with `growth=0` the
    surplus, and with it the holes, can be larger.

    Parameters
    ----------
    shape : sequence of int
        Shape of the grid.
    acceleration : float
        Number of points over number of sampled points, >= 1; the calibration rectangle counts.
    calibration : tuple of int
        Size of the fully sampled central rectangle on `axes`; (0, 0) for none.
    generator : numpy.random.Generator
        Source of the choice.
    growth : float
        How fast the distance grows; 0 for uniform density, 2 for a ninth of it at the edges.
    axes : tuple of int
        The two phase-encode axes; the first two by default: (y, x), or (z, y) of a volume.

    Returns
    -------
    ndarray, shape, bool
        Origin at n // 2, constant along the other axes.

    Raises
    ------
    ParameterError
        If the acceleration is below 1, the calibration rectangle alone exceeds the points that it
        allows, or `growth` is negative.
    ShapeError
        If there are no such axes.

    References
    ----------
    Cook 1986, doi:10.1145/7529.8927, section 4 (dart throwing); variable density as in Levine et
    al. 2017, doi:10.1002/mrm.26142

    Examples
    --------
    >>> mask = poisson_disc((64, 64), 6, (8, 8), np.random.default_rng(0))
    >>> int(mask.sum()), bool(mask[28:36, 28:36].all())
    (683, True)
    """
    if not growth >= 0:
        raise ParameterError(f"poisson_disc expected growth >= 0, got {growth}")
    sizes = tuple(shape[axis] for axis in positive_axes(axes, len(shape)))
    rectangle = np.outer(*(central(n, width) for n, width in zip(sizes, calibration, strict=True)))
    wanted = sample_count(rectangle.size, int(rectangle.sum()), acceleration) - int(rectangle.sum())
    distance = [2 * (np.arange(n) - n // 2) / n for n in sizes]
    radius = 1 + growth * np.hypot(*np.meshgrid(*distance, indexing="ij"))
    order = generator.permutation(np.flatnonzero(~rectangle))
    points = _search(radius, order, wanted) if 0 < wanted < order.size else order
    kept = generator.permutation(points)[:wanted]
    sampled = rectangle.ravel()
    sampled[kept] = True
    return spread(sampled.reshape(sizes), shape, axes)


def _search(
    radius: NDArray[np.float64], order: NDArray[np.int64], wanted: int
) -> NDArray[np.int64]:
    """Find the largest scale of the radii at which at least `wanted` points still fit.

    The number of points falls as scale^-2: about 0.7 / r^2 to a sample, as random discs of diameter
    r jam when they cover 0.547 of the plane. That rule and two bounds narrow it down quickly.
    """
    expected = np.minimum(1.0, 0.7 / radius.ravel()[order] ** 2).sum()
    scale = math.sqrt(expected / max(wanted, 1))
    low, high = 0.0, math.inf
    best = order
    while low * _RESOLUTION < high:
        points = throw_darts(scale * radius, order)
        if wanted <= len(points) <= max(wanted * _SURPLUS, wanted + 2):
            return points
        if len(points) > wanted:
            low = scale
            best = min(best, points, key=len)
        else:
            high = scale
        scale *= math.sqrt(max(len(points), 1) / max(wanted * (1 + _SURPLUS) / 2, 1))
        if not low < scale < high:
            scale = (low + high) / 2
    return best


def throw_darts(radius: NDArray[np.float64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Accept points in the order given unless an accepted one lies within either's radius.

    Parameters
    ----------
    radius : ndarray, (n0, n1)
        Least distance of each point to every other, in samples.
    order : ndarray, (m,), int
        Flat indices of the candidates.

    Returns
    -------
    ndarray, (k,), int
        Flat indices of the accepted points.
    """
    # A margin as wide as the largest disc keeps every look-up inside. Plain bytes and ints: discs
    # of some ten points do not repay a call into an array library.
    margin = math.ceil(radius.max())
    width = radius.shape[1] + 2 * margin
    taken = bytearray((radius.shape[0] + 2 * margin) * width)
    blocked = bytearray(len(taken))
    # |d|^2 is an integer: discs with the same ceil(r^2) hold the same points.
    kinds = np.ceil(radius.ravel()[order] ** 2).astype(np.int64)
    discs: dict[int, list[int]] = {}
    rows, columns = np.divmod(order, radius.shape[1])
    places = (rows + margin) * width + columns + margin
    accepted = []
    for index, (place, kind) in enumerate(zip(places.tolist(), kinds.tolist(), strict=True)):
        if blocked[place]:
            continue
        if kind not in discs:
            discs[kind] = _disc(kind, width)
        disc = discs[kind]
        for step in disc:
            if taken[place + step]:
                break
        else:
            taken[place] = 1
            accepted.append(index)
            for step in disc:
                blocked[place + step] = 1
    return order[accepted]


def _disc(squared: int, width: int) -> list[int]:
    """List the flat steps to the neighbours at a squared distance below `squared`."""
    reach = math.isqrt(max(squared - 1, 0))
    steps = range(-reach, reach + 1)
    return [i * width + j for i in steps for j in steps if 0 < i * i + j * j < squared]
