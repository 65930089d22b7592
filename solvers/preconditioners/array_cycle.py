"""A multigrid cycle by whole slices of arrays, for any array library and device."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, final

from solvers.preconditioners.stencil_levels import Level, fill_halo, inner, shifted
from solvers.vectors import Array

__all__ = ["ArrayCycle", "colours"]


def colours(ndim: int) -> list[tuple[int, ...]]:
    """List the parities of a point's indices, those with an even sum first.

    No two points of one parity are neighbours, so each is smoothed at once; with a five- or
    seven-point stencil this is the red-black order.

    Examples
    --------
    >>> colours(2)
    [(0, 0), (1, 1), (0, 1), (1, 0)]
    """
    return sorted(product((0, 1), repeat=ndim), key=lambda parity: sum(parity) % 2)


@final
class ArrayCycle:
    """A symmetric V-cycle from zero; see `solvers.preconditioners.multigrid.Multigrid`.

    Parameters
    ----------
    levels : sequence of Level
        Finest first; all but the last with weights.
    coarsest_inverse : array, (n_systems, m, m)
        Inverse of the operator on the coarsest level.
    n_sweeps : int
        Gauss-Seidel sweeps before and after the coarse correction.
    """

    def __init__(self, levels: Sequence[Level], coarsest_inverse: Array, n_sweeps: int) -> None:
        self._levels = levels
        self._inverse = coarsest_inverse
        self._n_sweeps = n_sweeps
        self._plans = [_colour_plan(level) for level in levels[:-1]]

    def __call__(self, r: Array) -> Array:
        """Compute one cycle for (n_systems, *grid)."""
        finest = self._levels[0]
        f = finest.new(finest.shape, r.shape[0])
        f[inner(finest.shape)] = r
        return self._cycle(0, f)[inner(finest.shape)]

    def _cycle(self, depth: int, f: Array) -> Array:
        level = self._levels[depth]
        x = level.new(level.shape, f.shape[0])
        if depth == len(self._levels) - 1:
            x[inner(level.shape)] = self._solve(f[inner(level.shape)])
            fill_halo(x, level.periodic)
            return x
        plan = self._plans[depth]
        for _ in range(self._n_sweeps):
            self._sweep(level, plan, x, f)
        coarse = self._cycle(depth + 1, self._restrict(level, self._residual(level, x, f)))
        self._correct(level, x, coarse)
        for _ in range(self._n_sweeps):
            self._sweep(level, plan[::-1], x, f)
        return x

    def _solve(self, f: Array) -> Array:
        xp = self._levels[0].xp
        flat = xp.reshape(f, (f.shape[0], -1, 1))
        return xp.reshape(xp.matmul(self._inverse, flat), tuple(f.shape))

    def _sweep(self, level: Level, plan: Sequence[Any], x: Array, f: Array) -> None:
        for here, inverse, neighbours in plan:
            rest = f[here]
            for there, a in neighbours:
                rest = rest - a * x[there]
            x[here] = inverse * rest
            fill_halo(x, level.periodic)

    def _residual(self, level: Level, x: Array, f: Array) -> Array:
        r = level.new(level.shape, x.shape[0])
        inside, ones = inner(level.shape), (1,) * len(level.shape)
        total = f[inside]
        for offset, a in level.coefficients.items():
            total = total - a[inside] * x[shifted(level.shape, offset, ones, level.shape)]
        r[inside] = total
        fill_halo(r, level.periodic)
        return r

    def _restrict(self, level: Level, r: Array) -> Array:
        counts = level.coarse_shape
        f = level.new(counts, r.shape[0])
        total = r[shifted(level.shape, level.centre, level.steps, counts)]
        for t, weight in (level.weights or {}).items():
            total = total + weight[inner(counts)] * r[shifted(level.shape, t, level.steps, counts)]
        f[inner(counts)] = total
        return f

    def _correct(self, level: Level, x: Array, coarse: Array) -> None:
        """Add the interpolated coarse values, each to the points that it reaches."""
        counts = level.coarse_shape
        correction = level.new(level.shape, x.shape[0])
        values = coarse[inner(counts)]
        correction[shifted(level.shape, level.centre, level.steps, counts)] += values
        for t, weight in (level.weights or {}).items():
            correction[shifted(level.shape, t, level.steps, counts)] += (
                weight[inner(counts)] * values
            )
        _fold_halo(correction, level.periodic)
        x[inner(level.shape)] += correction[inner(level.shape)]
        fill_halo(x, level.periodic)


def _colour_plan(level: Level) -> list[tuple[Any, Array, list[tuple[Any, Array]]]]:
    """For each colour: where it is, 1 / a_0 there, and every neighbour with its entry."""
    xp, steps = level.xp, (2,) * len(level.shape)
    plan = []
    for parity in colours(len(level.shape)):
        counts = tuple((n - q + 1) // 2 for n, q in zip(level.shape, parity, strict=True))
        if 0 in counts:
            continue
        here = shifted(level.shape, parity, steps, counts)
        own = level.coefficients[level.centre][here]
        usable = own > 0
        one = xp.ones_like(own)
        inverse = xp.where(usable, one / xp.where(usable, own, one), 0 * one)
        neighbours = []
        for offset, a in level.coefficients.items():
            if offset != level.centre:
                place = tuple(q + o for q, o in zip(parity, offset, strict=True))
                neighbours.append((shifted(level.shape, place, steps, counts), a[here]))
        plan.append((here, inverse, neighbours))
    return plan


def _fold_halo(x: Array, periodic: Sequence[bool]) -> None:
    """Add what lies in the halo of the periodic axes to the points that it stands for."""
    ndim = len(periodic)
    for d, wraps in enumerate(periodic):
        if wraps:
            before, after = (slice(None),) * (x.ndim - ndim + d), (slice(None),) * (ndim - d - 1)
            n = x.shape[x.ndim - ndim + d] - 2
            for halo, point in ((0, n), (n + 1, 1)):
                target = (*before, slice(point, point + 1), *after)
                x[target] = x[target] + x[(*before, slice(halo, halo + 1), *after)]
