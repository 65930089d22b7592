"""The single-file HDF5 layout of PDEBench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inverse.errors import UsageError
from inverse.io.atomic import replacing
from inverse.pde.export.arrays import coefficient_and_solution

if TYPE_CHECKING:
    from inverse.pde.store import DataSet

__all__ = ["to_pdebench"]


def to_pdebench(data: DataSet, path: Path) -> list[Path]:
    """Write one file for `FNODatasetSingle` and `UNetDatasetSingle`.

    `tensor` (n, 1, X, Y) is the solution, `nu` (n, X, Y) the coefficient, with the coordinates;
    samples are in their original order, of which PDEBench takes the first tenth as its test set.

    Raises
    ------
    UsageError
        If the name does not end in .hdf5, by which PDEBench knows the layout, or the family is
        not a steady one in two dimensions.
    """
    import h5py
    import numpy as np

    if path.suffix != ".hdf5":
        raise UsageError(f"{path}: PDEBench reads this layout from names ending in .hdf5")
    grid = data.plan.grid
    x, y, name = coefficient_and_solution(data)
    if grid.ndim != 2 or y.shape != x.shape:
        raise UsageError(
            f"PDEBench's layout pairs one plane with one plane, got a solution of shape "
            f"{y.shape[1:]} for the grid {grid.shape}; export to the-well"
        )
    with replacing(path) as part, h5py.File(part, "w") as file:
        file["tensor"], file["nu"] = y[:, None], x
        file["x-coordinate"] = grid.points(0).astype(np.float32)
        file["y-coordinate"] = grid.points(1).astype(np.float32)
        file.attrs.update({"coefficient": name, "provenance": data.provenance})
    return [path]
