"""The single-file HDF5 layout of PDEBench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inverse.errors import UsageError
from inverse.pde.components import is_march, solution_components, times_of
from inverse.pde.export.arrays import fields_and_numbers, single, solved_blocks
from inverse.pde.reserved import new_hdf5

if TYPE_CHECKING:
    import h5py

    from inverse.pde.components import Component
    from inverse.pde.samples import Samples
    from inverse.pde.store import DataSet

__all__ = ["files", "write"]


def files(data: DataSet, path: Path) -> list[Path]:
    """Return the one file.

    Raises
    ------
    UsageError
        If the name does not end in .hdf5, by which PDEBench knows the layout, or the family has no
        place in it: it takes steady problems in the plane and marches on a line, of one field each.
    """
    if path.suffix != ".hdf5":
        raise UsageError(
            f"{path}: PDEBench takes another ending for another layout; expected one in .hdf5"
        )
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; name a file")
    first = data.rows(0, 1)
    inputs, outputs = _pair(data, first)
    kind = "march" if is_march(data.plan, first) else "steady problem"
    if (kind, data.plan.grid.ndim) not in {("steady problem", 2), ("march", 1)}:
        raise UsageError(
            f"{data.path}: PDEBench's layout is for steady problems in the plane and marches on a "
            f"line, got a {kind} on a grid {data.plan.grid.shape}; export to the-well"
        )
    if len(inputs) != 1 or len(outputs) != 1:
        raise UsageError(
            f"{data.path}: PDEBench's layout pairs one field with one field, got "
            f"{', '.join(c.name for c in inputs)} and {', '.join(c.name for c in outputs)}; "
            f"export to the-well or neuraloperator"
        )
    return [path]


def write(data: DataSet, parts: list[Path]) -> None:
    """Write the solution as `tensor`, the coefficient as `nu`, and the coordinates.

    A steady problem is `tensor` (n, 1, X, Y) and `nu` (n, X, Y), x before y as PDEBench names
    them: each sample is the transpose of the data set's. A march is (n, T, X) and (n, X). PDEBench
    takes the first tenth of the samples as its test set; they are in their original order.

    Raises
    ------
    DataError
        If a sample did not converge.
    """
    grid = data.plan.grid
    n_bytes = len(data) * data.bytes_per_sample  # twice what single precision takes
    with new_hdf5(parts[0], n_bytes) as file:
        for samples in solved_blocks(data, 0, len(data)):
            (coefficient,), (solution,) = _pair(data, samples)
            rows = slice(int(samples.index[0]), int(samples.index[-1]) + 1)
            for name, component in (("tensor", solution), ("nu", coefficient)):
                values = single(data, component)
                values = values.swapaxes(-1, -2) if grid.ndim == 2 else values
                if name not in file:
                    file.create_dataset(name, (len(data), *values.shape[1:]), np.float32)
                file[name][rows] = values
        for axis, name in enumerate(grid.axes):
            file[f"{name}-coordinate"] = grid.points(axis).astype(np.float32)
        _describe(file, data, coefficient, solution)


def _describe(file: h5py.File, data: DataSet, coefficient: Component, solution: Component) -> None:
    n_times = file["tensor"].shape[1]
    if data.plan.grid.ndim == 1:
        file["t-coordinate"] = times_of(data.plan, n_times).astype(np.float32)
    file["nu"].attrs.update({"name": coefficient.name, "unit": coefficient.unit})
    file["tensor"].attrs.update({"name": solution.name, "unit": solution.unit})
    file.attrs["provenance"] = data.provenance


def _pair(data: DataSet, samples: Samples) -> tuple[list[Component], list[Component]]:
    fields, numbers = fields_and_numbers(data, samples)
    return fields + numbers, solution_components(data.plan, samples)
