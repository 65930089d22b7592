"""Samples as named scalar fields on the grid: what pictures and other libraries' files hold."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.pde.plan import Plan
from inverse.pde.samples import Samples
from operators.pde import Grid, Quantity

__all__ = ["Component", "input_components", "is_march", "solution_components", "times_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One real quantity of some samples.

    Parameters
    ----------
    name : str
        As in files; of a vector or a pair with its component, ``displacement_y``, and of a complex
        field with its part, ``pressure_imag``.
    quantity : str
        What it is a component of.
    symbol, unit : str
        For people.
    values : (n, *grid), (n,) or (n, n_times, *grid)
        Double precision. A parameter that is neither a field nor a number has another shape.
    """

    name: str
    quantity: str
    symbol: str
    unit: str
    values: NDArray[np.float64]


def input_components(plan: Plan, samples: Samples) -> list[Component]:
    """Return the parameters of samples: fields (n, *grid), numbers (n,), anything else as it is.

    Vector fields and short vectors come as one component each.

    Examples
    --------
    >>> from inverse.pde.chain import solve_samples
    >>> plan = Plan("gray-scott", (8, 8), 3, "direct", {"n_steps": 2})
    >>> found = solve_samples(plan, [0, 1])
    >>> [(c.name, c.values.shape) for c in input_components(plan, found)]
    [('initial_u', (2, 8, 8)), ('initial_v', (2, 8, 8))]
    """
    shape = plan.grid.shape
    found = []
    for quantity in plan.equation.parameters:
        values = samples.parameters[quantity.name]
        own = values.shape[1:]
        is_vector = own[1:] == shape or len(own) == 1
        if own != shape and is_vector:
            found += _split(quantity, values, plan.grid)
        else:
            found.append(_whole(quantity, values))
    return found


def solution_components(plan: Plan, samples: Samples) -> list[Component]:
    """Return the solution of samples as fields (n, n_times, *grid); a steady one has one time.

    Raises
    ------
    UsageError
        If the unknown does not live on the points of the grid.

    Examples
    --------
    >>> from inverse.pde.chain import solve_samples
    >>> plan = Plan("darcy-fno", (9, 9), 2, "direct")
    >>> [one] = solution_components(plan, solve_samples(plan, [0, 1]))
    >>> one.name, one.values.shape, float(one.values[0, 0, 0].max())
    ('head', (2, 1, 9, 9), 0.0)
    """
    grid, unknown = plan.grid, plan.equation.unknown
    values: NDArray[Any] = samples.solution
    if not is_march(plan, samples):
        values = values[:, None]
    n_axes = values.ndim - 2
    if n_axes not in {grid.ndim, grid.ndim + 1} or values.shape[-grid.ndim :] != grid.shape:
        raise UsageError(
            f"family {plan.family!r}: its unknown, of shape {samples.solution.shape[1:]}, does not "
            f"live on the points of the grid {grid.shape}; read the data set itself"
        )
    if n_axes == grid.ndim:
        parts = [_whole(unknown, values)]
    else:
        parts = _split(unknown, np.moveaxis(values, 2, 1), grid)
    return [real for part in parts for real in _real_parts(part)]


def is_march(plan: Plan, samples: Samples) -> bool:
    """Tell whether solutions have an axis of times, the start included."""
    family = plan.equation
    first = {name: values[:1] for name, values in samples.parameters.items()}
    return family.n_steps > 1 or family.initial(plan.grid, first) is not None


def times_of(plan: Plan, n_times: int) -> NDArray[np.float64]:
    """Return the times of the states of a march in seconds, (n_times,)."""
    family = plan.equation
    step = getattr(family, "time_step", None)
    if step is None:
        step = getattr(family, "duration", float(family.n_steps)) / family.n_steps
    return np.asarray(step * np.arange(n_times, dtype=np.float64))


def _whole(quantity: Quantity, values: NDArray[Any]) -> Component:
    return Component(quantity.name, quantity.name, quantity.symbol, quantity.unit, values)


def _split(quantity: Quantity, values: NDArray[Any], grid: Grid) -> list[Component]:
    """Return the components of (n, n_components, ...), named by the symbol or by the axes."""
    n = values.shape[1]
    symbols = _listed(quantity.symbol)
    if len(symbols) == n:
        names = symbols
    elif n == grid.ndim:
        names = list(grid.axes)
        symbols = [f"{quantity.symbol}_{axis}" for axis in names]
    else:
        names = [str(i) for i in range(n)]
        symbols = [f"{quantity.symbol}_{i}" for i in names]
    units = _listed(quantity.unit)
    units = units if len(units) == n else [quantity.unit] * n
    return [
        Component(f"{quantity.name}_{name}", quantity.name, symbol, unit, values[:, i])
        for i, (name, symbol, unit) in enumerate(zip(names, symbols, units, strict=True))
    ]


def _listed(text: str) -> list[str]:
    """Take "(u, v)(t=0)" or "T, q" apart."""
    match = re.match(r"\(?([^()]*)\)?", text)
    return match.group(1).split(", ") if match else [text]


def _real_parts(part: Component) -> list[Component]:
    if not np.iscomplexobj(part.values):
        return [part]
    return [
        replace(part, name=f"{part.name}_{word}", symbol=f"{short} {part.symbol}", values=values)
        for word, short, values in (
            ("real", "Re", part.values.real),
            ("imag", "Im", part.values.imag),
        )
    ]
