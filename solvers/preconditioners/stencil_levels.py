"""A stencil on a grid, its interpolation from a coarser grid, and the stencil there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import array_api_compat

from solvers.vectors import Array

__all__ = [
    "Level",
    "Offset",
    "coarse_neighbours",
    "coarsen",
    "fill_halo",
    "inner",
    "shifted",
    "with_halo",
]

Offset = tuple[int, ...]
"""Steps to a neighbour, -1, 0 or 1 along each axis."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Symmetric stencils of some systems: (A x)[i] = sum_o a_o[i] x[i + o].

    Parameters
    ----------
    shape : tuple of int
        Points along each axis.
    periodic : tuple of bool
        Which axes wrap; beyond the others everything is zero.
    coefficients : dict of Offset to array, (n_systems, *(n + 2))
        a_o with a halo of one point: zero, or the values from the other end.
    steps : tuple of int
        1 or 2 along each axis: every how many points the next coarser grid has one; empty on the
        coarsest.
    weights : dict of Offset to array, (n_systems, *(n_coarse + 2))
        weights[t][I]: part of the coarse value I at the point step * I + t, with a halo; without
        t = 0, where it is one.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    coefficients: dict[Offset, Array]
    steps: tuple[int, ...] = ()
    weights: dict[Offset, Array] | None = None

    @property
    def centre(self) -> Offset:
        """The offset of a point to itself."""
        return (0,) * len(self.shape)

    @property
    def xp(self) -> Any:
        """Namespace of the coefficients."""
        return array_api_compat.array_namespace(self.coefficients[self.centre])

    @property
    def coarse_shape(self) -> tuple[int, ...]:
        """Points along each axis of the next grid: 0, step, 2 step ..."""
        return tuple((n - 1) // step + 1 for n, step in zip(self.shape, self.steps, strict=True))

    def new(self, shape: tuple[int, ...], n_systems: int = 0) -> Array:
        """Return zeros on a grid with a halo, for so many systems or as many as have stencils."""
        like = self.coefficients[self.centre]
        sizes = (n_systems or like.shape[0], *(n + 2 for n in shape))
        device = array_api_compat.device(like)
        return self.xp.zeros(sizes, dtype=like.dtype, device=device)


def inner(shape: Sequence[int]) -> tuple[Any, ...]:
    """Index an array with a halo at the points of the grid."""
    return (..., *(slice(1, n + 1) for n in shape))


def shifted(
    shape: Sequence[int], offset: Offset, steps: Sequence[int], counts: Sequence[int]
) -> tuple[Any, ...]:
    """Index an array with a halo at the points step * I + offset, I = 0 .. count - 1."""
    index = []
    for n, t, step, count in zip(shape, offset, steps, counts, strict=True):
        stop = t + step * (count - 1) + 2
        index.append(slice(t + 1, min(stop, n + 2), step))
    return (..., *index)


def fill_halo(x: Array, periodic: Sequence[bool]) -> None:
    """Copy the values of the other end into the halo of the periodic axes, in place."""
    ndim = len(periodic)
    for d, wraps in enumerate(periodic):
        if wraps:
            before, after = (slice(None),) * (x.ndim - ndim + d), (slice(None),) * (ndim - d - 1)
            n = x.shape[x.ndim - ndim + d] - 2
            for halo, source in ((0, n), (n + 1, 1)):
                target = slice(halo, halo + 1)
                x[(*before, target, *after)] = x[(*before, slice(source, source + 1), *after)]


def with_halo(values: Array, periodic: Sequence[bool]) -> Array:
    """Return (n_systems, *grid) with a halo."""
    xp = array_api_compat.array_namespace(values)
    shape = tuple(values.shape[1:])
    x = xp.zeros(
        (values.shape[0], *(n + 2 for n in shape)),
        dtype=values.dtype,
        device=array_api_compat.device(values),
    )
    x[inner(shape)] = values
    fill_halo(x, periodic)
    return x


def coarsen(level: Level, steps: tuple[int, ...]) -> tuple[Level, Level]:
    """Give a level its interpolation and return it with the Galerkin level below.

    Interpolation follows the operator. A point that lies between coarse points along the axes D
    takes the value that solves its own equation, after the stencil is summed along the other axes
    (as if the error were constant there):

        w_t = -1 / a_0 sum_E a_E w_(t with E set to 0),    E the non-empty parts of D

    with a_E the summed stencil's entry towards the parent along the axes of E. So the error keeps
    its flux through a jump of the coefficient. The coarse operator is P^T A P.

    Parameters
    ----------
    level : Level
    steps : tuple of int
        1 or 2 along each axis; 2 needs an even number of points where the axis wraps.

    References
    ----------
    Dendy 1982, doi:10.1016/0021-9991(82)90057-2 (black box multigrid)
    """
    fine = Level(level.shape, level.periodic, level.coefficients, steps)
    weights = _weights(fine)
    fine = Level(level.shape, level.periodic, level.coefficients, steps, weights)
    return fine, Level(fine.coarse_shape, fine.periodic, _galerkin(fine))


def _weights(fine: Level) -> dict[Offset, Array]:
    """Compute the interpolation weights, those with fewer axes in between first."""
    xp, counts = fine.xp, fine.coarse_shape
    reach = [(0,) if step == 1 else (-1, 0, 1) for step in fine.steps]
    weights: dict[Offset, Array] = {}
    for t in sorted(product(*reach), key=lambda t: sum(map(abs, t))):
        between = [d for d, side in enumerate(t) if side]
        if not between:
            continue
        here = shifted(fine.shape, t, fine.steps, counts)
        total: Array = 0.0
        for towards in product((0, 1), repeat=len(between)):
            if any(towards):
                parent, step = list(t), [0] * len(t)
                for d, moves in zip(between, towards, strict=True):
                    if moves:
                        parent[d], step[d] = 0, -t[d]
                entry = _summed(fine, between, step, here)
                known = weights.get(tuple(parent))
                inside = inner(counts)
                total = total + (entry if known is None else entry * known[inside])
        own = _summed(fine, between, [0] * len(t), here)
        usable = own > 0
        weight = fine.new(counts)
        one = xp.ones_like(own)
        weight[inner(counts)] = xp.where(usable, -total / xp.where(usable, own, one), 0 * one)
        fill_halo(weight, fine.periodic)
        weights[t] = weight
    return weights


def _summed(fine: Level, between: Sequence[int], step: Sequence[int], here: Any) -> Array:
    """Sum the stencil's entries that agree with `step` along the axes `between`."""
    total: Array = None
    for offset, a in fine.coefficients.items():
        if all(offset[d] == step[d] for d in between):
            total = a[here] if total is None else total + a[here]
    return fine.xp.zeros_like(fine.coefficients[fine.centre][here]) if total is None else total


def _galerkin(fine: Level) -> dict[Offset, Array]:
    """Compute P^T A P, one half of it by symmetry.

    A_c[I, O] = sum_t w_t[I] sum_o a_o[2 I + t] w_t'[I + O],  t' = t + o - 2 O.
    """
    counts, ndim = fine.coarse_shape, len(fine.shape)
    weights = fine.weights or {}
    ones = (1,) * ndim
    half: dict[Offset, Array] = {}
    for t in [fine.centre, *weights]:
        here = shifted(fine.shape, t, fine.steps, counts)
        for offset, a in fine.coefficients.items():
            part: Array = None
            reached = tuple(side + move for side, move in zip(t, offset, strict=True))
            for target in coarse_neighbours(reached, fine.steps):
                if target < fine.centre:  # comes from the mirror image
                    continue
                if part is None:
                    part = a[here] if t == fine.centre else a[here] * weights[t][inner(counts)]
                rest = tuple(reached[d] - fine.steps[d] * target[d] for d in range(ndim))
                term = part
                if rest != fine.centre:
                    term = part * weights[rest][shifted(counts, target, ones, counts)]
                if target not in half:
                    half[target] = fine.new(counts)
                half[target][inner(counts)] += term
    whole: dict[Offset, Array] = {}
    for target in sorted(half, key=lambda o: sum(map(abs, o))):
        a = half[target]
        fill_halo(a, fine.periodic)
        whole[target] = a
        if target != fine.centre:
            opposite = tuple(-o for o in target)
            mirror = fine.new(counts)
            mirror[inner(counts)] = a[shifted(counts, opposite, ones, counts)]
            fill_halo(mirror, fine.periodic)
            whole[opposite] = mirror
    return whole


def coarse_neighbours(reached: Offset, steps: Sequence[int]) -> list[Offset]:
    """List the coarse points on either side of the fine point `reached`, seen from 0.

    Examples
    --------
    >>> coarse_neighbours((2, -1), (2, 2))
    [(1, -1), (1, 0)]
    """
    choices: list[tuple[int, ...]] = []
    for place, step in zip(reached, steps, strict=True):
        if step == 1 or place % 2 == 0:
            choices.append((place // step,))
        else:
            choices.append(((place - 1) // 2, (place + 1) // 2))
    return list(product(*choices))
