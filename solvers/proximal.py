"""Proximal maps of the norms that images are penalised by, and the contract they share.

prox(x, step) = argmin_u  step g(u) + 1/2 ||u - x||^2

Arrays are of any Array-API library, real or complex, with batch axes in front. A complex entry is
one point of the plane: thresholds shorten it and keep its phase. Every g of this package but the
squared distance scales like a norm, so that prox(s x, s step) = s prox(x, step) for s > 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from array_api_compat import array_namespace, is_torch_array

from solvers.errors import SolverError
from solvers.vectors import Array

__all__ = [
    "L1",
    "GroupL1",
    "Proximal",
    "Scheduled",
    "SquaredDistance",
    "conjugate_prox",
    "soft_threshold",
]


class Proximal(Protocol):
    """A convex function g known by its proximal map.

    `step` is a float, or an array of the real dtype of `x` with its number of axes that holds one
    step a system: (*batch, 1, ..., 1).
    """

    def prox(self, x: Array, step: float | Array) -> Array:
        """Compute argmin_u step g(u) + 1/2 ||u - x||^2, a new array like `x`."""

    def value(self, x: Array) -> Array:
        """Compute g, one real number for each of the leading axes that g does not sum over."""


@runtime_checkable
class Scheduled(Protocol):
    """A family of functions, one an iteration, as cycle spinning uses."""

    def at(self, iteration: int) -> Proximal:
        """Return the function that belongs to an iteration, counted from 0."""


def soft_threshold(x: Array, threshold: float | Array) -> Array:
    """Shorten every entry by a threshold, keeping its sign or phase.

    S(x) = x max(1 - threshold / |x|, 0), the proximal map of threshold * |x|

    Parameters
    ----------
    x : array, real or complex
    threshold : float or array that broadcasts to x, real, >= 0
        In the units of x.

    Returns
    -------
    array, as x

    Examples
    --------
    >>> import numpy as np
    >>> soft_threshold(np.array([3.0, 0.5, 4j]), 1.0).tolist()
    [(2+0j), 0j, 3j]
    """
    return _apply_gain(x, _shrinkage(array_namespace(x).abs(x), threshold))


def _shrinkage(magnitude: Array, threshold: float | Array) -> Array:
    """max(1 - threshold / magnitude, 0), and 0 where the magnitude is 0."""
    xp = array_namespace(magnitude)
    safe = xp.where(magnitude == 0, xp.ones_like(magnitude), magnitude)
    return xp.clip(magnitude - threshold, min=0) / safe


def _apply_gain(x: Array, gain: Array) -> Array:
    """Multiply by a real factor; torch would first turn the factor into complex numbers."""
    xp = array_namespace(x)
    if is_torch_array(x) and x.is_complex():
        return xp.view_as_complex(xp.view_as_real(x.resolve_conj()) * gain[..., None])
    return x * gain


def group_magnitude(x: Array, axis: int) -> Array:
    """Compute the Euclidean length along an axis, which stays with size one.

    Squares are summed in the open: torch's norm along an inner axis is slower by far.
    """
    xp = array_namespace(x)
    is_complex = xp.isdtype(x.dtype, "complex floating")
    squares = xp.real(x) ** 2 + xp.imag(x) ** 2 if is_complex else x**2
    return xp.sqrt(xp.sum(squares, axis=axis, keepdims=True))


def sum_last(x: Array, ndim: int) -> Array:
    """Sum over the last `ndim` axes; over none, return x."""
    return array_namespace(x).sum(x, axis=tuple(range(-ndim, 0))) if ndim else x


def check_weight(weight: float | Array, name: str) -> None:
    """Refuse a negative or non-finite weight; arrays stay unread on their device."""
    if isinstance(weight, float | int) and not 0 <= weight < float("inf"):
        raise SolverError(f"{name} expected a finite weight >= 0, got {weight}")


@dataclass(frozen=True, slots=True, eq=False)
class L1:
    """g(x) = weight sum_i |x_i| over the last axes.

    Parameters
    ----------
    weight : float or array that broadcasts to x, >= 0
        In the units of the objective per unit of x.
    ndim : int
        How many trailing axes `value` sums over.

    Raises
    ------
    SolverError
        If the weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> L1(2.0).prox(np.array([3.0, -5.0]), step=0.5).tolist()
    [2.0, -4.0]
    """

    weight: float | Array
    ndim: int = 1

    def __post_init__(self) -> None:
        check_weight(self.weight, "L1")

    def prox(self, x: Array, step: float | Array) -> Array:
        """Compute the proximal map, `soft_threshold` by step * weight."""
        return soft_threshold(x, step * self.weight)

    def value(self, x: Array) -> Array:
        """Compute weight ||x||_1 for each leading index."""
        return sum_last(self.weight * array_namespace(x).abs(x), self.ndim)


@dataclass(frozen=True, slots=True, eq=False)
class GroupL1:
    """g(p) = weight sum_i (sum_d |p_{d,i}|^2)^(1/2): the norm of isotropic total variation on D x.

    Parameters
    ----------
    weight : float or array that broadcasts to p, >= 0
        In the units of the objective per unit of p.
    axis : int, negative
        Axis d of a group, counted from the end: -3 for p of shape (*batch, 2, ny, nx). `value` sums
        over it and all that follow.

    Raises
    ------
    SolverError
        If the weight is negative or not finite, or the axis is not negative.

    Examples
    --------
    >>> import numpy as np
    >>> GroupL1(1.0, axis=-2).prox(np.array([[3.0], [4.0]]), step=2.5).tolist()
    [[1.5], [2.0]]
    """

    weight: float | Array
    axis: int = -3

    def __post_init__(self) -> None:
        check_weight(self.weight, "GroupL1")
        if self.axis >= 0:
            raise SolverError(f"GroupL1 expected a negative axis, counted back, got {self.axis}")

    def prox(self, x: Array, step: float | Array) -> Array:
        """Shorten every group by step * weight."""
        return _apply_gain(x, _shrinkage(group_magnitude(x, self.axis), step * self.weight))

    def value(self, x: Array) -> Array:
        """Compute weight ||p||_{2,1} for each index of the axes before the group axis."""
        return sum_last(self.weight * group_magnitude(x, self.axis), -self.axis)


@dataclass(frozen=True, slots=True, eq=False)
class SquaredDistance:
    """g(x) = weight / 2 ||x - target||^2 over the last axes.

    Parameters
    ----------
    target : array, as x
    weight : float or array that broadcasts to x, >= 0
    ndim : int
        How many trailing axes `value` sums over.

    Raises
    ------
    SolverError
        If the weight is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> SquaredDistance(np.array([1.0]), weight=3.0).prox(np.array([5.0]), step=1.0).tolist()
    [2.0]
    """

    target: Array
    weight: float | Array = 1.0
    ndim: int = 1

    def __post_init__(self) -> None:
        check_weight(self.weight, "SquaredDistance")

    def prox(self, x: Array, step: float | Array) -> Array:
        """Compute (x + step weight target) / (1 + step weight)."""
        pull = step * self.weight
        return (x + pull * self.target) / (1 + pull)

    def value(self, x: Array) -> Array:
        """Compute weight / 2 ||x - target||^2 for each leading index."""
        distance = array_namespace(x).abs(x - self.target)
        return sum_last(0.5 * self.weight * distance**2, self.ndim)


def conjugate_prox(h: Proximal, y: Array, step: float | Array) -> Array:
    """Compute the proximal map of the convex conjugate h* from that of h.

    prox_{step h*}(y) = y - step prox_{h / step}(y / step)

    Parameters
    ----------
    h : Proximal
    y : array
        Point of the dual space.
    step : float or array (*batch, 1, ..., 1), > 0

    Returns
    -------
    array, as y

    References
    ----------
    Moreau 1965, doi:10.24033/bsmf.1625; Parikh & Boyd 2014, doi:10.1561/2400000003, section 2.5

    Examples
    --------
    The conjugate of |x| is the indicator of [-1, 1]:

    >>> import numpy as np
    >>> conjugate_prox(L1(1.0), np.array([3.0, 0.5]), step=0.5).tolist()
    [1.0, 0.5]
    """
    return y - step * h.prox(y / step, 1 / step)
