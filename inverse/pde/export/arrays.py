"""What all exports need: blocks of samples that are all solved, in single precision."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.pde.components import Component, input_components, is_march

if TYPE_CHECKING:
    from inverse.pde.samples import Samples
    from inverse.pde.store import DataSet

__all__ = ["as_channels", "fields_and_numbers", "single", "solved_blocks"]

_BLOCK = 2**26  # bytes


def solved_blocks(data: DataSet, start: int, stop: int) -> Iterator[Samples]:
    """Yield consecutive samples in blocks of some megabytes.

    Raises
    ------
    DataError
        If one of them did not converge.
    """
    step = max(1, _BLOCK // data.bytes_per_sample)
    for first in range(start, stop, step):
        samples = data.rows(first, min(first + step, stop))
        bad = samples.index[~samples.records["converged"]]
        if len(bad):
            raise DataError(
                f"{data.path}: sample {bad[0]} did not converge and is NaN, nothing was exported; "
                f"generate the set again with another --solver or --tol"
            )
        yield samples


def single(data: DataSet, component: Component) -> NDArray[np.float32]:
    """Return the values of a component in single precision.

    Raises
    ------
    DataError
        If one of them is not finite there.
    """
    with np.errstate(over="ignore"):
        values = component.values.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataError(
            f"{data.path}: {component.name} has values that are not finite in single precision, "
            f"nothing was exported; check the set with `inverse pde verify`"
        )
    return values


def fields_and_numbers(data: DataSet, samples: Samples) -> tuple[list[Component], list[Component]]:
    """Return the parameters that are fields (n, *grid), and those that are numbers (n,).

    The start of a march is left out: it is the first state of the solution.

    Raises
    ------
    UsageError
        If one is neither.
    """
    shape = data.plan.grid.shape
    march = is_march(data.plan, samples)
    fields: list[Component] = []
    numbers: list[Component] = []
    for component in input_components(data.plan, samples):
        if march and component.quantity == "initial":
            continue
        own = component.values.shape[1:]
        if own not in {shape, ()}:
            raise UsageError(
                f"{data.path}: parameter {component.name!r} of {data.plan.family!r} has the shape "
                f"{own}, neither a field on the grid {shape} nor a number; read the set itself"
            )
        (fields if own == shape else numbers).append(component)
    return fields, numbers


def as_channels(data: DataSet, components: list[Component]) -> NDArray[np.float32]:
    """Stack components as (n, n_channels, *grid); a number is a constant field."""
    shape = data.plan.grid.shape
    channels = []
    for component in components:
        values = single(data, component)
        if values.ndim == 1:
            values = np.broadcast_to(values.reshape(-1, *(1,) * len(shape)), (len(values), *shape))
        channels.append(values)
    return np.stack(channels, axis=1)
