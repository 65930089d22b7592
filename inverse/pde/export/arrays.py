"""What all exports need: one parameter field and the solution, as arrays in single precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError

if TYPE_CHECKING:
    from inverse.pde.store import DataSet

__all__ = ["coefficient_and_solution", "field_names"]


def field_names(data: DataSet) -> list[str]:
    """Return the parameters that are fields on the grid; scalars and vectors are not."""
    shape = data.plan.grid.shape
    first = data.rows(0, 1)
    return [name for name, values in first.parameters.items() if values.shape[1:] == shape]


def coefficient_and_solution(
    data: DataSet,
) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """Read the first field among the parameters and the solution.

    Returns
    -------
    coefficient : (n, *grid), float32
    solution : (n, *unknown) or (n, n_steps + 1, *unknown), float32
    name : str
        Of the coefficient.

    Raises
    ------
    UsageError
        If no parameter is a field, or the solution is complex.
    DataError
        If a sample did not converge.
    """
    names = field_names(data)
    if not names:
        raise UsageError(
            f"{data.path}: no parameter of {data.plan.family!r} is a field on the grid; "
            f"read the data set itself"
        )
    blocks = list(data.blocks())
    bad = [int(i) for b in blocks for i in b.index[~b.records["converged"]]]
    if bad:
        raise DataError(f"{data.path}: sample {bad[0]} did not converge; generate the set again")
    solution = np.concatenate([b.solution for b in blocks])
    if np.iscomplexobj(solution):
        raise UsageError(
            f"{data.path}: the solution of {data.plan.family!r} is complex, which this layout "
            f"has no place for; export to the-well, or read the data set itself"
        )
    coefficient = np.concatenate([b.parameters[names[0]] for b in blocks])
    return coefficient.astype(np.float32), solution.astype(np.float32), names[0]
