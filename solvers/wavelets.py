"""Orthogonal periodised wavelet transform by Daubechies filters, in any number of dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_numpy_array, is_torch_array

from solvers.errors import SolverError
from solvers.vectors import Array

__all__ = ["DaubechiesTransform", "daubechies_filter"]

_MAX_ORDER = 8  # beyond it the roots of the polynomial cost more than a few units of rounding


def daubechies_filter(order: int) -> tuple[float, ...]:
    """Compute the extremal-phase Daubechies scaling filter, of unit norm and sum sqrt(2).

    h(z) = sqrt(2) ((1 + z) / 2)^p prod_k (z - z_k) / (1 - z_k), z_k the roots inside the unit
    circle of P(y) = sum_k C(p - 1 + k, k) y^k with y = (2 - z - 1/z) / 4.

    Parameters
    ----------
    order : int, 1 to 8
        Number p of vanishing moments; the filter has 2 p taps. Order 1 is Haar's.

    Returns
    -------
    tuple of float, (2 * order,)
        Taps h_0 ... h_{2p-1}.

    Raises
    ------
    SolverError
        If the order is not between 1 and 8.

    References
    ----------
    Daubechies 1992, Ten Lectures on Wavelets, doi:10.1137/1.9781611970104, section 6.1

    Examples
    --------
    >>> [round(h, 4) for h in daubechies_filter(2)]
    [0.483, 0.8365, 0.2241, -0.1294]
    """
    if not 1 <= order <= _MAX_ORDER:
        raise SolverError(
            f"expected a Daubechies order from 1 to {_MAX_ORDER}, got {order}. "
            f"Give the number of vanishing moments, half the number of taps."
        )
    y = np.roots([math.comb(order - 1 + k, k) for k in reversed(range(order))]).astype(complex)
    middle = 1 - 2 * y
    reach = np.sqrt(middle**2 - 1)
    pairs = np.stack([middle + reach, middle - reach])  # z and 1/z
    inside = np.where(np.abs(pairs[0]) < 1, pairs[0], pairs[1])
    taps = np.real(np.poly(np.concatenate([inside, -np.ones(order)])))
    return tuple((math.sqrt(2) * taps / taps.sum()).tolist())


@lru_cache(maxsize=_MAX_ORDER)
def _lattice(order: int) -> tuple[tuple[float, ...], float]:
    """Factor the filter bank into plane rotations with one delay between neighbours.

    Returns the tangents of the angles, first rotation first, and the product of the cosines.
    Any angles give an orthogonal transform, so rounding in the taps never costs orthogonality.

    Vaidyanathan & Hoang 1988, doi:10.1109/29.1491, section III.
    """
    low = np.asarray(daubechies_filter(order))
    high = (-1.0) ** (np.arange(low.size) + 1) * low[::-1]
    gain = low[0]
    tangents = []
    while low.size > 2:
        t = low[-1] / high[-1]
        cosine = 1 / math.hypot(1, t)
        low, high = ((low - t * high) * cosine)[:-2], ((t * low + high) * cosine)[2:]
        tangents.append(float(t))
    tangents.append(float(low[1] / low[0]))
    return tuple(reversed(tangents)), float(gain)


@dataclass(frozen=True, slots=True)
class DaubechiesTransform:
    """Orthogonal n-D wavelet transform of the last axes, with periodic borders.

    Each level splits the coarse band of the one before along every transformed axis,
        a_k = sum_j h_j x_{2k + j + 1 - p},   d_k = sum_j (-1)^j h_{2p-1-j} x_{2k + j + 1 - p},
    indices modulo the axis' length. Coefficients fill an array of the image's own shape, the
    coarse band in its low corner. For lengths that stay even this is PyWavelets'
    ``mode="periodization"``, coefficient for coefficient.

    Sizes: an axis is split while it is at least as long as the filter (2 p), then left alone. Of
    an axis of odd length the last sample joins the coarse band unchanged and the rest is split.
    So every size is allowed and the transform is always orthogonal.

    Parameters
    ----------
    ndim : int
        Number of trailing axes to transform; leading axes are a batch.
    order : int
        Vanishing moments p of the Daubechies wavelet, 1 (Haar) to 8.
    levels : int, optional
        Number of splittings; by default floor(log2(n / (2 p - 1))) for the longest axis n.

    Raises
    ------
    SolverError
        If the order, ndim or levels is out of range, or an array has fewer than ndim axes.

    Notes
    -----
    The filter bank runs as p plane rotations of the even and odd samples with a delay between
    neighbours: half the multiplications of direct filtering, no array beyond the image's size.

    References
    ----------
    Mallat 1989, doi:10.1109/34.192463; Vaidyanathan & Hoang 1988, doi:10.1109/29.1491

    Examples
    --------
    >>> W = DaubechiesTransform(ndim=1, order=1, levels=1)
    >>> W.forward(np.array([1.0, 1.0, 3.0, 5.0])).round(3).tolist()
    [1.414, 5.657, 0.0, -1.414]
    """

    ndim: int = 2
    order: int = 4
    levels: int | None = None

    def __post_init__(self) -> None:
        daubechies_filter(self.order)
        if self.ndim < 1 or (self.levels is not None and self.levels < 0):
            raise SolverError(
                f"expected ndim >= 1 and levels >= 0, got ndim={self.ndim}, levels={self.levels}"
            )

    def forward(self, x: Array) -> Array:
        """Compute the wavelet coefficients W x.

        Parameters
        ----------
        x : array, (*batch, *grid), real or complex

        Returns
        -------
        array, as x
            Coefficients; the coarse band is ``W.forward(x)[W.coarse(x.shape)]``.
        """
        bands = self._bands(x.shape)
        coefficients, as_given = _real_components(x)
        for level, band in enumerate(bands[:-1]):
            corner = _corner(band, coefficients, x)
            split = coefficients[corner]
            for axis in self._axes(band, x.ndim):
                split = _split(split, axis, self.order)
            if level == 0:
                coefficients = split  # a new array: the input is never written to
            else:
                coefficients[corner] = split
        return as_given(coefficients if len(bands) > 1 else _copy(coefficients))

    def inverse(self, coefficients: Array) -> Array:
        """Compute the image W^H c = W^-1 c; the arguments are those of `forward`, exchanged."""
        bands = self._bands(coefficients.shape)
        image, as_given = _real_components(coefficients)
        image = _copy(image)
        for band in reversed(bands[:-1]):
            corner = _corner(band, image, coefficients)
            merged = image[corner]
            for axis in reversed(self._axes(band, coefficients.ndim)):
                merged = _merge(merged, axis, self.order)
            image[corner] = merged
        return as_given(image)

    def coarse(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        """Index of the coarse band in the coefficients of an image of this shape."""
        return (..., *(slice(size) for size in self._bands(shape)[-1]))

    def n_levels(self, shape: tuple[int, ...]) -> int:
        """Levels that an image of this shape gets."""
        return len(self._bands(shape)) - 1

    def _bands(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Sizes of the coarse band after 0, 1, ... levels, until nothing is left to split."""
        if len(shape) < self.ndim:
            raise SolverError(f"expected an array of at least {self.ndim} axes, got {tuple(shape)}")
        sizes = tuple(shape[len(shape) - self.ndim :])
        taps = 2 * self.order
        levels = self.levels
        if levels is None:
            levels = max(0, int(math.log2(max(1.0, max(sizes) / (taps - 1)))))
        bands = [sizes]
        for _ in range(levels):
            if max(sizes) < taps:
                break
            sizes = tuple(n - n // 2 if n >= taps else n for n in sizes)
            bands.append(sizes)
        return bands

    def _axes(self, band: tuple[int, ...], ndim: int) -> list[int]:
        """Axes of the array along which this band is split, last first."""
        first = ndim - self.ndim
        return [first + i for i in reversed(range(self.ndim)) if band[i] >= 2 * self.order]


def _real_components(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """View a complex array as real with a last axis of two, if the library can; and the way back.

    Real filters act on both components alike, and real arithmetic is several times faster.
    """
    xp = array_namespace(x)
    if xp.isdtype(x.dtype, "complex floating"):
        if is_torch_array(x):
            return xp.view_as_real(x.resolve_conj()), xp.view_as_complex
        if is_numpy_array(x):
            real = np.ascontiguousarray(x)[..., None].view(x.real.dtype)
            return real, lambda c: c.view(x.dtype)[..., 0]
    return x, lambda c: c


def _corner(band: tuple[int, ...], components: Array, x: Array) -> tuple[Any, ...]:
    trailing = (slice(None),) * (components.ndim - x.ndim)
    return (..., *(slice(size) for size in band), *trailing)


def _copy(x: Array) -> Array:
    return x.clone() if is_torch_array(x) else array_namespace(x).asarray(x, copy=True)


def _along(axis: int, start: int | None, stop: int | None, step: int = 1) -> tuple[slice, ...]:
    return (*(slice(None),) * axis, slice(start, stop, step))


def _periodic(x: Array, axis: int, start: int, length: int) -> Array:
    """Take samples start, start + 1, ... of the periodic extension of x along an axis."""
    size = x.shape[axis]
    pieces = []
    while length > 0:
        first = start % size
        piece = x[(*_along(axis, first, min(size, first + length)), ...)]
        pieces.append(piece)
        start += piece.shape[axis]
        length -= piece.shape[axis]
    return pieces[0] if len(pieces) == 1 else array_namespace(x).concat(pieces, axis=axis)


def _add_scaled(y: Array, a: float, x: Array) -> Array:
    """Compute y + a x, in one pass over memory where the library offers it."""
    if is_torch_array(x):
        return array_namespace(x).add(y, x, alpha=a)
    return y + a * x


def _split(x: Array, axis: int, order: int) -> Array:
    """One level along one axis: coarse half, carried odd sample, detail half."""
    xp = array_namespace(x)
    tangents, gain = _lattice(order)
    half, reach = x.shape[axis] // 2, order - 1
    even = x[(*_along(axis, None, 2 * half), ...)]
    samples = _periodic(even, axis, -reach, 2 * (half + reach))
    low = gain * samples[(*_along(axis, 0, None, 2), ...)]
    high = -gain * samples[(*_along(axis, 1, None, 2), ...)]
    for stage, t in enumerate(tangents):
        if stage:  # the delay: high moves one sample ahead, and the surplus of each end goes
            low, high = low[(*_along(axis, None, -1), ...)], high[(*_along(axis, 1, None), ...)]
        low, high = _add_scaled(low, -t, high), _add_scaled(high, t, low)
    carried = x[(*_along(axis, 2 * half, None), ...)]
    return xp.concat([low, carried, high], axis=axis)


def _merge(c: Array, axis: int, order: int) -> Array:
    """Invert `_split`: its rotations and delays transposed, last first."""
    xp = array_namespace(c)
    tangents, gain = _lattice(order)
    half, reach = c.shape[axis] // 2, order - 1
    n_coarse = c.shape[axis] - half
    # Stages consume `reach` samples in front. Sample 2k + 1 - p is the first of pair k, so that for
    # odd p - 1 the image begins with the second sample of a pair and one more pair is needed.
    odd = reach % 2
    first, count = (reach + odd) // 2 - odd - reach, half + odd + reach
    low = gain * _periodic(c[(*_along(axis, None, half), ...)], axis, first, count)
    high = -gain * _periodic(c[(*_along(axis, n_coarse, None), ...)], axis, first, count)
    for stage, t in enumerate(reversed(tangents)):
        if stage:
            low, high = low[(*_along(axis, 1, None), ...)], high[(*_along(axis, None, -1), ...)]
        low, high = _add_scaled(low, -t, high), _add_scaled(high, t, low)
    pairs = xp.stack([low, high], axis=axis + 1)
    shape = (*low.shape[:axis], 2 * low.shape[axis], *low.shape[axis + 1 :])
    samples = xp.reshape(pairs, shape)[(*_along(axis, odd, odd + 2 * half), ...)]
    if n_coarse == half:
        return samples
    return xp.concat([samples, c[(*_along(axis, half, n_coarse), ...)]], axis=axis)
