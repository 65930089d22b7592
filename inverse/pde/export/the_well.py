"""The HDF5 layout of The Well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.io.atomic import replacing
from inverse.pde.export.arrays import field_names

if TYPE_CHECKING:
    import h5py

    from inverse.pde.store import DataSet

__all__ = ["to_the_well"]

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def to_the_well(data: DataSet, folder: Path) -> list[Path]:
    """Write `data/{train,valid,test}/NAME.hdf5` for `WellDataset(path=...)`.

    Parameters that are fields become constant fields, the solution fields that vary in time. A
    steady equation has one time: read it with ``n_steps_input=1, n_steps_output=0``. Real and
    imaginary part of a complex solution are two fields, components of a vector one each.

    Raises
    ------
    UsageError
        If there are fewer than ten samples.
    DataError
        If a sample did not converge.
    """
    n = len(data)
    if n < 10:
        raise UsageError(f"The Well's split in three parts needs ten samples or more, got {n}")
    written, start = [], 0
    for part, share in SHARES.items():
        stop = n if part == "test" else start + round(share * n)
        file = folder / "data" / part / f"{data.plan.family}.hdf5"
        file.parent.mkdir(parents=True, exist_ok=True)
        _write(data, file, start, stop)
        written.append(file)
        start = stop
    return written


def _write(data: DataSet, path: Path, start: int, stop: int) -> None:
    import h5py

    plan, grid = data.plan, data.plan.grid
    samples = data.rows(start, stop)
    if not samples.records["converged"].all():
        raise DataError(f"{data.path}: some of the samples did not converge")
    solution = samples.solution
    if plan.equation.n_steps == 1 and solution.ndim - 1 == len(data.solution_shape):
        is_march = solution.shape[1] == 2 and solution.ndim == grid.ndim + 2
        solution = solution if is_march else solution[:, None]
    fields = _components(plan.equation.unknown.name, solution, grid.ndim)
    n_times = solution.shape[1]
    with replacing(path) as part, h5py.File(part, "w") as file:
        file.attrs.update(
            {
                "dataset_name": plan.family,
                "grid_type": "cartesian",
                "n_spatial_dims": grid.ndim,
                "n_trajectories": stop - start,
                "simulation_parameters": [],
                "provenance": data.provenance,
            }
        )
        _dimensions(file, data, n_times)
        _boundaries(file, grid.axes)
        constant = {name: samples.parameters[name] for name in field_names(data)}
        _fields(file.create_group("t0_fields"), constant, fields, grid.ndim)
        for empty in ("t1_fields", "t2_fields"):
            file.create_group(empty).attrs["field_names"] = np.array([], dtype="S1")
        file.create_group("scalars").attrs["field_names"] = np.array([], dtype="S1")
