"""Loops of the multigrid method over the points of every system, compiled by numba.

Every level of a system lies in flat arrays with a halo of one point around the grid; a neighbour is
a constant distance away in the list. Names: `C[i, k]` entry of the stencil towards the neighbour
`i + near[k]`, k = 0 the point itself; `W[I, t]` weight of the coarse point I at the fine point
`base[I] + reach[t]`, W[I, 0] = 1; `points` the grid's points in the list; `halo`, `source` where
the wrapping axes repeat a value and which.

Imported only where it is used; without numba the functions stay plain Python, hundreds of times
slower, and `Multigrid` takes `ArrayCycle` instead.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Tables", "ascend", "compiled", "descend", "galerkin", "weigh"]

Floats: TypeAlias = NDArray[Any]
Indices: TypeAlias = NDArray[np.int64]
OWN, APART = -1, -2

F = TypeVar("F", bound=Callable[..., Any])


def compiled(function: F) -> F:
    """Compile a function where numba is installed; the result is kept on disk."""
    if importlib.util.find_spec("numba") is None:
        return function
    numba: Any = importlib.import_module("numba")
    # A product and a sum may be one instruction; sums keep their order.
    options = {"cache": True, "nogil": True, "fastmath": {"contract"}, "error_model": "numpy"}
    return cast(F, numba.njit(**options)(function))


@compiled
def repeat(x: Floats, halo: Indices, source: Indices) -> None:
    """Copy the values that wrap into the halo."""
    for j in range(len(halo)):
        x[halo[j]] = x[source[j]]


@compiled
def sweep(x: Floats, f: Floats, C: Floats, inverse: Floats, near: Indices, points: Indices) -> None:
    """Solve the equation of each point in turn: one colour of Gauss-Seidel."""
    for j in range(len(points)):
        i = points[j]
        rest = f[i]
        for k in range(1, C.shape[1]):
            rest -= C[i, k] * x[i + near[k]]
        x[i] = inverse[i] * rest


@compiled
def residual(x: Floats, f: Floats, C: Floats, near: Indices, points: Indices, r: Floats) -> None:
    """Compute r = f - A x at the points."""
    for j in range(len(points)):
        i = points[j]
        rest = f[i]
        for k in range(C.shape[1]):
            rest -= C[i, k] * x[i + near[k]]
        r[i] = rest


@compiled
def restrict(
    r: Floats, W: Floats, base: Indices, reach: Indices, points: Indices, f: Floats
) -> None:
    """Compute f = W^T r on the coarse points."""
    for j in range(len(points)):
        I = points[j]  # noqa: E741 -- the coarse index of the literature
        total = r[base[j]]
        for t in range(1, W.shape[1]):
            total += W[I, t] * r[base[j] + reach[t]]
        f[I] = total


@compiled
def correct(
    x: Floats, coarse: Floats, W: Floats, base: Indices, reach: Indices, points: Indices
) -> None:
    """Add W times the coarse values; what falls into the halo waits there to be folded back."""
    for j in range(len(points)):
        value = coarse[points[j]]
        x[base[j]] += value
        for t in range(1, W.shape[1]):
            x[base[j] + reach[t]] += W[points[j], t] * value


@compiled
def fold(x: Floats, halo: Indices, source: Indices) -> None:
    """Add what lies in the halo to the points that it stands for."""
    for j in range(len(halo)):
        x[source[j]] += x[halo[j]]


@compiled
def weigh(
    C: Floats, parent: Indices, base: Indices, reach: Indices, points: Indices, W: Floats
) -> None:
    """Compute the interpolation weights W; see `stencil_levels.coarsen`.

    `parent[t, k]`: which weight the entry k of the fine stencil at t multiplies; OWN where it is
    summed into the point's own, APART where it is left out.
    """
    for s in range(len(C)):
        for j in range(len(points)):
            I = points[j]  # noqa: E741
            W[s, I, 0] = 1.0
            for t in range(1, len(reach)):
                i = base[j] + reach[t]
                own, total = 0.0, 0.0
                for k in range(parent.shape[1]):
                    if parent[t, k] >= 0:
                        total += C[s, i, k] * W[s, I, parent[t, k]]
                    elif parent[t, k] == OWN:
                        own += C[s, i, k]
                W[s, I, t] = -total / own if own > 0 else 0.0


@compiled
def galerkin(
    C: Floats,
    W: Floats,
    terms: Indices,
    base: Indices,
    reach: Indices,
    near: Indices,
    points: Indices,
    coarse: Floats,
) -> None:
    """Add up the half of W^T C W that `terms` lists: (t, k, target, rest) each."""
    for s in range(len(C)):
        for j in range(len(points)):
            I = points[j]  # noqa: E741
            for m in range(len(terms)):
                t, k, target, rest = terms[m, 0], terms[m, 1], terms[m, 2], terms[m, 3]
                entry = W[s, I, t] * C[s, base[j] + reach[t], k]
                coarse[s, I, target] += entry * W[s, I + near[target], rest]


class Tables(NamedTuple):
    """What a level is made of, for every system or one for all: see the head of the module.

    `colour[c]` to `colour[c + 1]` are the points of colour c; `wrap` holds halo and source as two
    rows; `n_free` of the first colours, and of the last, are no neighbours of each other.
    """

    C: Floats
    inverse: Floats
    W: Floats
    near: Indices
    reach: Indices
    points: Indices
    colour: Indices
    wrap: Indices
    base: Indices
    coarse_points: Indices
    n_free: int


@compiled
def descend(
    level: Tables, n_sweeps: int, f: Floats, x: Floats, r: Floats, coarse_f: Floats
) -> None:
    """Smooth from zero for every system and restrict the residual.

    The first free colours find only zeros around them, and the last leave no residual; r enters
    as zeros.
    """
    points, colour, halo, source = level.points, level.colour, level.wrap[0], level.wrap[1]
    n_colours = len(colour) - 1
    for s in range(len(f)):
        m = s if len(level.C) > 1 else 0
        C, inverse = level.C[m], level.inverse[m]
        x[s, :] = 0.0
        for j in range(colour[level.n_free]):
            x[s, points[j]] = inverse[points[j]] * f[s, points[j]]
        repeat(x[s], halo, source)
        for k in range(n_sweeps):
            for c in range(level.n_free if k == 0 else 0, n_colours):
                some = points[colour[c] : colour[c + 1]]
                sweep(x[s], f[s], C, inverse, level.near, some)
                repeat(x[s], halo, source)
        residual(x[s], f[s], C, level.near, points[: colour[n_colours - level.n_free]], r[s])
        repeat(r[s], halo, source)
        restrict(r[s], level.W[m], level.base, level.reach, level.coarse_points, coarse_f[s])


@compiled
def ascend(level: Tables, n_sweeps: int, f: Floats, x: Floats, coarse_x: Floats) -> None:
    """Add the coarse correction for every system and smooth in the reverse order."""
    points, colour, halo, source = level.points, level.colour, level.wrap[0], level.wrap[1]
    for s in range(len(f)):
        m = s if len(level.C) > 1 else 0
        for j in range(len(halo)):
            x[s, halo[j]] = 0.0
        correct(x[s], coarse_x[s], level.W[m], level.base, level.reach, level.coarse_points)
        fold(x[s], halo, source)
        repeat(x[s], halo, source)
        for _ in range(n_sweeps):
            for c in range(len(colour) - 2, -1, -1):
                some = points[colour[c] : colour[c + 1]]
                sweep(x[s], f[s], level.C[m], level.inverse[m], level.near, some)
                repeat(x[s], halo, source)
