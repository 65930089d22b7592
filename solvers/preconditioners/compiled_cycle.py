"""A multigrid cycle by compiled loops, for arrays in the main memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from solvers.preconditioners import compiled_kernels as kernels
from solvers.preconditioners.array_cycle import colours
from solvers.preconditioners.coarsening import coarsest_inverse
from solvers.preconditioners.compiled_kernels import APART, OWN, Floats, Indices
from solvers.preconditioners.stencil_levels import Offset, coarse_neighbours, inner

__all__ = ["CompiledCycle"]


@final
class CompiledCycle:
    """A symmetric V-cycle from zero: the arithmetic of `ArrayCycle`, point by point.

    Parameters
    ----------
    coefficients : dict of Offset to ndarray, (n_systems, *grid)
        Entries of the finest stencils; zero where they point beyond an end.
    periodic : tuple of bool
        Which axes wrap.
    plan : sequence of tuple of int
        Steps from every grid to the next.
    n_sweeps : int
        Gauss-Seidel sweeps before and after the coarse correction.
    """

    def __init__(
        self,
        coefficients: dict[Offset, NDArray[Any]],
        periodic: tuple[bool, ...],
        plan: Sequence[tuple[int, ...]],
        n_sweeps: int,
    ) -> None:
        offsets = tuple(sorted(coefficients, key=_distance))
        first = coefficients[offsets[0]]
        shape = tuple(first.shape[1:])
        grid = _Grid.of(shape, periodic)
        C = np.zeros((len(first), math.prod(n + 2 for n in shape), len(offsets)), first.dtype)
        boxes = C.reshape(len(first), *(n + 2 for n in shape), len(offsets))
        for k, offset in enumerate(offsets):
            boxes[(*inner(shape), k)] = coefficients[offset]
        _fill(C, grid)
        self._levels: list[_Level] = []
        for steps in plan:
            joint = _Joint.of(grid, offsets, steps)
            level = _Level.make(joint, C)
            self._levels.append(level)
            C, grid, offsets = level.galerkin(), joint.coarse, joint.coarse_offsets
        self._coarsest = grid
        values = C[:, grid.rows]
        inverse = coarsest_inverse(values, grid.shape, periodic, offsets)
        self._inverse = inverse.astype(first.dtype, copy=False)
        self._n_sweeps = n_sweeps

    def __call__(self, r: NDArray[Any]) -> NDArray[Any]:
        """Compute one cycle for (n_systems, *grid) of the coefficients' dtype."""
        grid = self._levels[0].joint.fine if self._levels else self._coarsest
        box = (len(r), *(n + 2 for n in grid.shape))
        f = np.zeros(box, r.dtype)
        f[inner(grid.shape)] = r
        x = self._cycle(0, f.reshape(len(r), -1))
        return np.asarray(x.reshape(box)[inner(grid.shape)])

    def _cycle(self, depth: int, f: Floats) -> Floats:
        x = np.empty_like(f)
        if depth == len(self._levels):
            grid = self._coarsest
            x[:, grid.rows] = np.matmul(self._inverse, f[:, grid.rows, None])[..., 0]
            x[:, grid.wrap[0]] = x[:, grid.wrap[1]]
            return x
        level = self._levels[depth]
        coarse_f = np.zeros((len(f), level.joint.coarse.size), f.dtype)
        kernels.descend(level.tables, self._n_sweeps, f, x, np.zeros_like(f), coarse_f)
        coarse_x = self._cycle(depth + 1, coarse_f)
        kernels.ascend(level.tables, self._n_sweeps, f, x, coarse_x)
        return x


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Where the points of a grid lie in the flat list with its halo.

    `rows` are the points in row-major order and `points` those of one colour after the other,
    which begin at `colour`; `wrap` holds the halo of the wrapping axes and what it repeats.
    """

    shape: tuple[int, ...]
    periodic: tuple[bool, ...]
    rows: Indices
    points: Indices
    colour: Indices
    wrap: Indices

    @staticmethod
    @lru_cache(maxsize=64)
    def of(shape: tuple[int, ...], periodic: tuple[bool, ...]) -> _Grid:
        """Make the lists of a grid."""
        boxes = tuple(n + 2 for n in shape)
        number = np.arange(math.prod(boxes)).reshape(boxes)
        rows = np.ascontiguousarray(number[inner(shape)]).reshape(-1)
        parity = np.indices(shape).reshape(len(shape), -1) % 2
        groups = [
            rows[np.all(parity == np.asarray(c)[:, None], axis=0)] for c in colours(len(shape))
        ]
        colour = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
        wrapped = number
        for d, wraps in enumerate(periodic):
            if wraps:
                places = np.concatenate([[shape[d]], np.arange(1, shape[d] + 1), [1]])
                wrapped = np.take(wrapped, places, axis=d)
        is_halo = (wrapped != number) & np.isin(wrapped, rows)
        wrap = np.stack([number[is_halo], wrapped[is_halo]])
        return _Grid(shape, periodic, rows, np.concatenate(groups), colour, wrap)

    @property
    def size(self) -> int:
        """Length of the list."""
        return math.prod(n + 2 for n in self.shape)

    def distances(self, offsets: Sequence[Offset]) -> Indices:
        """Return how far neighbours are away in the list."""
        strides = [math.prod(n + 2 for n in self.shape[d + 1 :]) for d in range(len(self.shape))]
        away = [sum(s * o for s, o in zip(strides, offset, strict=True)) for offset in offsets]
        return np.asarray(away, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Joint:
    """How a grid and the next coarser one hang together; the same for all coefficients.

    `near` and `reach` are distances in the fine list, `coarse_near` in the coarse one; see
    `compiled_kernels` for these, `base`, `parent`, `terms` and `n_free`.
    """

    fine: _Grid
    coarse: _Grid
    coarse_offsets: tuple[Offset, ...]
    near: Indices
    coarse_near: Indices
    reach: Indices
    base: Indices
    parent: Indices
    terms: Indices
    n_free: int

    @staticmethod
    @lru_cache(maxsize=256)
    def of(fine: _Grid, offsets: tuple[Offset, ...], steps: tuple[int, ...]) -> _Joint:
        """Derive the tables from the offsets of the fine stencil."""
        shape = tuple((n - 1) // step + 1 for n, step in zip(fine.shape, steps, strict=True))
        coarse = _Grid.of(shape, fine.periodic)
        places = fine.rows.reshape(fine.shape)[tuple(slice(None, None, step) for step in steps)]
        sides = [(0,) if step == 1 else (-1, 0, 1) for step in steps]
        reach = tuple(sorted(product(*sides), key=_distance))
        coarse_offsets, terms = _galerkin_terms(offsets, reach, steps)
        return _Joint(
            fine,
            coarse,
            coarse_offsets,
            fine.distances(offsets),
            coarse.distances(coarse_offsets),
            fine.distances(reach),
            np.ascontiguousarray(places).reshape(-1),
            _parents(offsets, reach),
            terms,
            _n_free(fine, offsets),
        )


def _n_free(grid: _Grid, offsets: tuple[Offset, ...]) -> int:
    """Return how many of the first (and of the last) colours are no neighbours of each other."""
    if any(wraps and n % 2 for n, wraps in zip(grid.shape, grid.periodic, strict=True)):
        return 0  # both ends have one colour and are neighbours
    has_diagonals = any(sum(map(abs, offset)) > 1 for offset in offsets)
    return 1 if has_diagonals else 2 ** (len(grid.shape) - 1)


def _parents(offsets: tuple[Offset, ...], reach: tuple[Offset, ...]) -> Indices:
    """Return which weight each entry multiplies in the interpolation to t."""
    parent = np.full((len(reach), len(offsets)), APART, dtype=np.int64)
    for row, t in enumerate(reach):
        for k, offset in enumerate(offsets):
            move = tuple(o if side else 0 for o, side in zip(offset, t, strict=True))
            if not any(move):
                parent[row, k] = OWN
            elif all(o in {0, -side} for o, side in zip(move, t, strict=True)):
                towards = tuple(side + o for side, o in zip(t, move, strict=True))
                parent[row, k] = reach.index(towards)
    return parent


def _galerkin_terms(
    offsets: tuple[Offset, ...], reach: tuple[Offset, ...], steps: tuple[int, ...]
) -> tuple[tuple[Offset, ...], Indices]:
    """Return the offsets of the coarse stencil and the terms of its one half."""
    found = []
    for row, t in enumerate(reach):
        for k, offset in enumerate(offsets):
            reached = tuple(side + o for side, o in zip(t, offset, strict=True))
            for target in coarse_neighbours(reached, steps):
                rest = tuple(
                    place - step * o for place, step, o in zip(reached, steps, target, strict=True)
                )
                found.append((row, k, target, reach.index(rest)))
    every = {target for *_, target, _ in found}
    every |= {tuple(-o for o in target) for target in every}
    coarse_offsets = tuple(sorted(every, key=_distance))
    terms = [
        (row, k, coarse_offsets.index(target), rest)
        for row, k, target, rest in found
        if target >= coarse_offsets[0]
    ]
    return coarse_offsets, np.asarray(terms, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """A joint with the stencils and the interpolation of some systems."""

    joint: _Joint
    tables: kernels.Tables

    @classmethod
    def make(cls, joint: _Joint, C: Floats) -> _Level:
        """Weigh the interpolation of a level."""
        fine, coarse = joint.fine, joint.coarse
        W = np.zeros((len(C), coarse.size, len(joint.reach)), C.dtype)
        kernels.weigh(C, joint.parent, joint.base, joint.reach, coarse.rows, W)
        _fill(W, coarse)
        own = C[:, :, 0]
        inverse = np.zeros(own.shape, C.dtype)
        np.divide(1.0, own, out=inverse, where=own > 0)
        tables = kernels.Tables(
            C,
            inverse,
            W,
            joint.near,
            joint.reach,
            fine.points,
            fine.colour,
            fine.wrap,
            joint.base,
            coarse.rows,
            joint.n_free,
        )
        return cls(joint, tables)

    def galerkin(self) -> Floats:
        """Compute the stencils of the next grid."""
        joint, coarse = self.joint, self.joint.coarse
        fine, W = self.tables.C, self.tables.W
        C = np.zeros((len(fine), coarse.size, len(joint.coarse_offsets)), fine.dtype)
        kernels.galerkin(
            fine,
            W,
            joint.terms,
            joint.base,
            joint.reach,
            joint.coarse_near,
            coarse.rows,
            C,
        )
        _fill(C, coarse)
        centre = joint.coarse_offsets[0]
        for k, offset in enumerate(joint.coarse_offsets):
            if offset < centre:
                mirror = joint.coarse_offsets.index(tuple(-o for o in offset))
                C[:, coarse.rows, k] = C[:, coarse.rows + joint.coarse_near[k], mirror]
        _fill(C, coarse)
        return C


def _fill(values: Floats, grid: _Grid) -> None:
    """Repeat the values that wrap, (n_systems, size, ...)."""
    if grid.wrap.size:
        values[:, grid.wrap[0]] = values[:, grid.wrap[1]]


def _distance(offset: Offset) -> tuple[int, Offset]:
    """Order offsets: the point itself first, then the nearest."""
    return sum(map(abs, offset)), offset
