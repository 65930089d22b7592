"""Isotropic total variation as a penalty; its proximal map is solved to a certified accuracy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from array_api_compat import array_namespace

from solvers.errors import SolverError
from solvers.progress import Progress, add_scaled, as_factor, is_positive, norms, totals
from solvers.proximal import GroupL1, check_weight, group_magnitude
from solvers.solution import Solution
from solvers.stopping import Floats, Limits
from solvers.vectors import Array, Vectors, vectors_of

__all__ = ["TotalVariation"]

_BOUNDARIES = ("neumann", "periodic")


@dataclass(frozen=True, slots=True, eq=False)
class TotalVariation:
    """g(x) = weight sum_i (sum_d |(D_d x)_i|^2)^(1/2), D_d the forward difference along axis d.

    The proximal map x - D^H p solves the dual problem
        min_p 1/2 ||x - D^H p||^2   with   (sum_d |p_{d,i}|^2)^(1/2) <= step weight
    by the accelerated projected gradient method with restarts. For every p the duality gap bounds
    the error of u = x - D^H p: with t = step weight,
        1/2 ||u - prox(x)||^2 <= gap = sum_i t |(D u)_i| - Re <D u, p>.

    Parameters
    ----------
    weight : float or array (*batch, 1, ..., 1), >= 0
        In the units of the objective per unit of x.
    ndim : int, >= 1
        How many trailing axes are the image; leading axes are a batch.
    boundary : {"neumann", "periodic"}
        No difference across the border, or one with the opposite side.
    rtol : float
        Stop once ||u - prox(x)|| <= rtol ||x|| is certain.
    maxiter : int
        Largest number of dual iterations.

    Raises
    ------
    SolverError
        If an argument is out of range.

    Notes
    -----
    The bound is a cautious one, by a factor of 3 to 20, and shrinks like 1 / iterations. Where the
    penalty is one part of a reconstruction, `solvers.pdhg` or `solvers.admm` with `GroupL1` on
    finite differences needs no inner iteration and is faster.

    References
    ----------
    Beck & Teboulle 2009, doi:10.1109/TIP.2009.2028250, section IV (fast gradient projection);
    Chambolle 2004, doi:10.1023/B:JMIV.0000011325.36760.1e (the dual problem); O'Donoghue &
    Candes 2015, doi:10.1007/s10208-013-9150-3, section 3.2 (restarts).

    Examples
    --------
    >>> g = TotalVariation(1.0, ndim=1, rtol=1e-7)
    >>> g.prox(np.array([0.0, 0.0, 4.0, 4.0]), step=1.0).round(6).tolist()
    [0.5, 0.5, 3.5, 3.5]
    """

    weight: float | Array
    ndim: int = 2
    boundary: Literal["neumann", "periodic"] = "neumann"
    rtol: float = 1e-3
    maxiter: int = 100

    def __post_init__(self) -> None:
        check_weight(self.weight, "TotalVariation")
        Limits(self.rtol, 0.0, self.maxiter, 1)
        if self.ndim < 1 or self.boundary not in _BOUNDARIES:
            raise SolverError(
                f"TotalVariation expected ndim >= 1 and a boundary of {_BOUNDARIES}, "
                f"got {self.ndim} and {self.boundary!r}"
            )

    def prox(self, x: Array, step: float | Array) -> Array:
        """Compute the proximal map to within rtol ||x||, or as near as maxiter allows."""
        return self.denoise(x, step).x

    def denoise(self, x: Array, step: float | Array = 1.0) -> Solution:
        """Compute the proximal map and say how exactly it was met.

        Parameters
        ----------
        x : array, (*batch, *grid)
        step : float or array (*batch, 1, ..., 1), >= 0

        Returns
        -------
        Solution
            One system for each batch index; `residual_norm` is sqrt(2 gap), which bounds
            ||x - prox||, and `relative_residual` is that over the norm of the argument.

        Raises
        ------
        SolverError
            If x has fewer than ndim axes.
        """
        if x.ndim < self.ndim:
            raise SolverError(
                f"TotalVariation expected an array of at least {self.ndim} axes, "
                f"got shape {tuple(x.shape)}"
            )
        v = vectors_of(x, x.ndim - self.ndim)
        radius = step * self.weight
        if not isinstance(radius, float | int) and radius.ndim == x.ndim:
            radius = array_namespace(x).expand_dims(radius, axis=self._axis)
        progress = Progress(v, Limits(self.rtol, 0.0, self.maxiter, 1))
        with v.quiet():
            u, n_operator = self._descend(v, x, radius, progress)
            return progress.solution(u, n_operator)

    def value(self, x: Array) -> Array:
        """Compute weight TV(x) for each leading index."""
        weight = self.weight
        if not isinstance(weight, float | int) and weight.ndim == x.ndim:
            weight = array_namespace(x).expand_dims(weight, axis=self._axis)
        return GroupL1(weight, self._axis).value(self._differences(x))

    @property
    def _axis(self) -> int:
        return -(self.ndim + 1)

    def _descend(
        self, v: Vectors, x: Array, radius: float | Array, progress: Progress
    ) -> tuple[Array, int]:
        """Run the dual iteration; variables as in Beck & Teboulle, D u being affine in p."""
        size = norms(v, x)
        u, slope = x, self._differences(x)  # slope: D (x - D^H p) at p = 0
        p = 0 * slope
        w = vectors_of(p, v.n_batch_axes)
        q, q_slope, t = p, slope, np.ones(v.n_systems)
        error = self._error(v, slope, p, radius)
        progress.record(progress.active, error, _over(error, size))
        while progress.goes_on:
            # ||D||^2 <= 4 ndim is the Lipschitz constant of the dual's gradient -D (x - D^H q).
            p_new = _project(add_scaled(q, 1 / (4.0 * self.ndim), q_slope), radius, self._axis)
            u_new = x - self._adjoint(p_new)
            slope_new = self._differences(u_new)
            error = self._error(v, slope_new, p_new, radius)
            taken = progress.take(_over(error, size))
            u = progress.keep(taken, u_new, u)
            progress.record(taken, error, _over(error, size))
            moved = p_new - p
            uphill = is_positive(w, q - p_new, moved)
            t_next = (1 + np.sqrt(1 + 4 * t**2)) / 2
            momentum = as_factor(w, np.where(uphill, 0.0, (t - 1) / t_next), p)
            t = np.where(uphill, 1.0, t_next)
            q = add_scaled(p_new, momentum, moved)
            q_slope = add_scaled(slope_new, momentum, slope_new - slope)
            p, slope = p_new, slope_new
        return u, 1 + progress.iteration

    def _error(self, v: Vectors, slope: Array, p: Array, radius: float | Array) -> Floats:
        """Return sqrt(2 gap), which bounds the distance from u to the solution."""
        xp = array_namespace(slope)
        is_complex = xp.isdtype(p.dtype, "complex floating")
        product = xp.real(xp.conj(p) * slope) if is_complex else p * slope
        # No pixel's share is negative but by rounding, which must not cancel the others' shares.
        longest = radius * group_magnitude(slope, self._axis)
        share = longest - xp.sum(product, axis=self._axis, keepdims=True)
        return np.sqrt(2 * totals(v, xp.clip(share, min=0)))

    def _differences(self, x: Array) -> Array:
        """D x, (*batch, ndim, *grid)."""
        xp = array_namespace(x)
        parts = []
        for axis in range(-self.ndim, 0):
            difference = xp.roll(x, -1, axis=axis) - x
            if self.boundary == "neumann":
                difference[_last(axis)] = 0
            parts.append(difference)
        return xp.stack(parts, axis=self._axis)

    def _adjoint(self, p: Array) -> Array:
        """D^H p, for p that is zero where D x always is."""
        xp = array_namespace(p)
        total: Array = 0.0
        for i, axis in enumerate(range(-self.ndim, 0)):
            component = p[(..., i, *(slice(None),) * self.ndim)]
            total = total + (xp.roll(component, 1, axis=axis) - component)
        return total


def _over(error: Floats, size: Floats) -> Floats:
    return error / np.where(size > 0, size, 1.0)


def _project(p: Array, radius: float | Array, axis: int) -> Array:
    """Shorten the groups that are longer than the radius."""
    xp = array_namespace(p)
    magnitude = group_magnitude(p, axis)
    longer = magnitude > radius
    return p * xp.where(longer, radius / xp.where(longer, magnitude, 1.0), 1.0)


def _last(axis: int) -> tuple[object, ...]:
    return (..., -1, *(slice(None),) * (-axis - 1))
