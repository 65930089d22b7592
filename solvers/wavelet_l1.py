"""The L1 norm of wavelet coefficients as a penalty, with cycle spinning."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from array_api_compat import array_namespace

from solvers.errors import SolverError
from solvers.proximal import check_weight, soft_threshold, sum_last
from solvers.vectors import Array
from solvers.wavelets import DaubechiesTransform

__all__ = ["WaveletL1", "random_shifts"]


def random_shifts(
    ndim: int, span: int, n_shifts: int, generator: np.random.Generator
) -> tuple[tuple[int, ...], ...]:
    """Draw shifts for cycle spinning.

    Parameters
    ----------
    ndim : int
        Number of axes.
    span : int
        Shifts are 0 ... span - 1 samples; 2^levels reaches every alignment of a wavelet transform,
        the block's edge every alignment of a block.
    n_shifts : int
        How many to draw.
    generator : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    tuple of tuple of int, (n_shifts, ndim)

    Examples
    --------
    >>> random_shifts(2, 8, 3, np.random.default_rng(0))
    ((6, 5), (4, 2), (2, 0))
    """
    drawn = generator.integers(span, size=(n_shifts, ndim))
    return tuple(tuple(row) for row in drawn.tolist())


@dataclass(frozen=True, slots=True, eq=False)
class WaveletL1:
    """g(x) = weight ||T W x||_1, W an orthogonal wavelet transform and T its detail bands.

    prox(x, step) = W^H S_{step weight}(W x), exact as W is orthogonal. Cycle spinning shifts the
    image before W and back after W^H, so that no alignment of the wavelets is favoured.

    Parameters
    ----------
    weight : float or array that broadcasts to x, >= 0
        In the units of the objective per unit of x.
    transform : DaubechiesTransform
        The wavelets; its `ndim` trailing axes are the image.
    shifts : tuple of tuple of int
        Shifts along those axes. ``at(k)`` takes the k-th in turn and starts again at the end: one
        shift spins not at all, a list runs cyclically, `random_shifts` draws it. Solvers call `at`
        before each iteration; without, the first shift holds.
    average : bool
        Average the map over all shifts, in every call. This is again a proximal map, of the
        proximal average of the shifted norms (Yu 2013); `value` is the mean of the norms, an upper
        bound.
    keep_coarse : bool
        Leave the coarse band out of the norm. It holds the image's mean brightness.

    Raises
    ------
    SolverError
        If the weight is negative or not finite, or the shifts do not fit the transform.

    Notes
    -----
    With shifts that change, the minimiser changes a little too: a solver settles to within about
    1e-3 of it and then moves with the shifts. Bound the number of iterations rather than rtol.

    References
    ----------
    Coifman & Donoho 1995, doi:10.1007/978-1-4612-2544-7_9; Yu, NIPS 2013, "Better approximation and
    faster algorithm using the proximal average"

    Examples
    --------
    >>> g = WaveletL1(1.0, DaubechiesTransform(ndim=1, order=1, levels=1), shifts=((0,),))
    >>> g.prox(np.array([1.0, 1.0, 5.0, 3.0]), step=1.0).round(3).tolist()
    [1.0, 1.0, 4.293, 3.707]
    """

    weight: float | Array
    transform: DaubechiesTransform = field(default_factory=DaubechiesTransform)
    shifts: tuple[tuple[int, ...], ...] = ()
    average: bool = False
    keep_coarse: bool = True

    def __post_init__(self) -> None:
        check_weight(self.weight, "WaveletL1")
        if any(len(shift) != self.transform.ndim for shift in self.shifts):
            raise SolverError(
                f"WaveletL1 expected shifts of {self.transform.ndim} integers each, one for each "
                f"transformed axis, got {self.shifts[:3]}"
            )

    def at(self, iteration: int) -> WaveletL1:
        """Return the norm with the shift of an iteration; itself when it does not spin."""
        if self.average or len(self.shifts) < 2:
            return self
        return replace(self, shifts=(self.shifts[iteration % len(self.shifts)],))

    def prox(self, x: Array, step: float | Array) -> Array:
        """Shorten the wavelet coefficients by step * weight."""
        shifts = self._shifts()
        total = self._prox(x, step, shifts[0])
        for shift in shifts[1:]:
            total = total + self._prox(x, step, shift)
        return total / len(shifts) if len(shifts) > 1 else total

    def value(self, x: Array) -> Array:
        """Compute weight ||T W x||_1 for each leading index, the mean over shifts if averaged."""
        shifts = self._shifts()
        total = self._value(x, shifts[0])
        for shift in shifts[1:]:
            total = total + self._value(x, shift)
        return total / len(shifts)

    def _shifts(self) -> tuple[tuple[int, ...], ...]:
        if not self.shifts:
            return ((0,) * self.transform.ndim,)
        return self.shifts if self.average else self.shifts[:1]

    def _prox(self, x: Array, step: float | Array, shift: tuple[int, ...]) -> Array:
        coefficients = self.transform.forward(_roll(x, shift))
        shrunk = soft_threshold(coefficients, step * self.weight)
        if self.keep_coarse:
            coarse = self.transform.coarse(x.shape)
            shrunk[coarse] = coefficients[coarse]
        return _roll(self.transform.inverse(shrunk), tuple(-s for s in shift))

    def _value(self, x: Array, shift: tuple[int, ...]) -> Array:
        xp = array_namespace(x)
        magnitude = xp.abs(self.transform.forward(_roll(x, shift)))
        if self.keep_coarse:
            magnitude[self.transform.coarse(x.shape)] = 0
        return sum_last(self.weight * magnitude, self.transform.ndim)


def _roll(x: Array, shift: tuple[int, ...]) -> Array:
    if not any(shift):
        return x
    return array_namespace(x).roll(x, shift, axis=tuple(range(-len(shift), 0)))
