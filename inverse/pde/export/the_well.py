"""The HDF5 layout of The Well."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inverse.errors import UsageError
from inverse.pde.components import solution_components, times_of
from inverse.pde.export.arrays import fields_and_numbers, single, solved_blocks
from inverse.pde.reserved import new_hdf5

if TYPE_CHECKING:
    import h5py

    from inverse.pde.components import Component
    from inverse.pde.plan import Plan
    from inverse.pde.store import DataSet

__all__ = ["files", "write"]

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
_FEWEST = 10
_OPEN = {"helmholtz", "convection-diffusion"}
"""Families whose waves or matter leave through the walls."""


def files(data: DataSet, folder: Path) -> list[Path]:
    """Return `data/{train,valid,test}/NAME.hdf5` in a folder.

    Raises
    ------
    UsageError
        If there are fewer than ten samples, or the unknown or a parameter does not live on the
        grid.
    """
    if len(data) < _FEWEST:
        raise UsageError(
            f"{data.path}: The Well's three parts need {_FEWEST} samples or more, got {len(data)}"
        )
    first = data.rows(0, 1)
    solution_components(data.plan, first)
    fields_and_numbers(data, first)
    return [folder / "data" / part / f"{data.plan.family}.hdf5" for part in SHARES]


def write(data: DataSet, parts: list[Path]) -> None:
    """Write the parts: parameters as constant fields and scalars, the solution as varying in time.

    A steady equation has one time: read it with ``n_steps_input=1, n_steps_output=0``. Axes are
    (z,) y, x, as in the data set, and named so.

    Raises
    ------
    DataError
        If a sample did not converge.
    """
    n_train, n_valid = (round(SHARES[part] * len(data)) for part in ("train", "valid"))
    ends = [n_train, n_train + n_valid, len(data)]
    for path, start, stop in zip(parts, [0, *ends], ends, strict=False):
        _write(data, path, start, stop)


def _write(data: DataSet, path: Path, start: int, stop: int) -> None:
    n_bytes = (stop - start) * data.bytes_per_sample  # twice what single precision takes
    with new_hdf5(path, n_bytes) as file:
        for name in _names([], []):
            file.create_group(name)
        for samples in solved_blocks(data, start, stop):
            rows = slice(int(samples.index[0]) - start, int(samples.index[-1]) + 1 - start)
            fields, numbers = fields_and_numbers(data, samples)
            solution = solution_components(data.plan, samples)
            for group, components in (("t0_fields", fields + solution), ("scalars", numbers)):
                for component in components:
                    _put(file[group], data, component, rows, stop - start)
        n_times = solution[0].values.shape[1]
        for group, names in _names(fields + solution, numbers).items():
            file[group].attrs["field_names"] = _texts(names)
        _dimensions(file.create_group("dimensions"), data.plan, n_times)
        _boundaries(file.create_group("boundary_conditions"), data.plan)
        file.attrs.update(
            {
                "dataset_name": data.plan.family,
                "grid_type": "cartesian",
                "n_spatial_dims": data.plan.grid.ndim,
                "n_trajectories": stop - start,
                "simulation_parameters": _texts([]),
                "provenance": data.provenance,
            }
        )


def _put(group: h5py.Group, data: DataSet, component: Component, rows: slice, n: int) -> None:
    """Write some samples of a field (n, *grid) or (n, n_times, *grid), or of a number (n,)."""
    values, ndim = single(data, component), data.plan.grid.ndim
    if component.name not in group:
        made = group.create_dataset(component.name, (n, *values.shape[1:]), np.float32)
        made.attrs.update(
            {
                "sample_varying": True,
                "time_varying": values.ndim == ndim + 2,
                "unit": component.unit,
            }
        )
        if values.ndim > 1:
            made.attrs["dim_varying"] = np.ones(ndim, bool)
    group[component.name][rows] = values


def _names(fields: list[Component], numbers: list[Component]) -> dict[str, list[str]]:
    """Return the groups of quantities and what is in them; vectors come as components in t0."""
    return {
        "t0_fields": [field.name for field in fields],
        "t1_fields": [],
        "t2_fields": [],
        "scalars": [number.name for number in numbers],
    }


def _dimensions(group: h5py.Group, plan: Plan, n_times: int) -> None:
    group.attrs["spatial_dims"] = _texts(list(plan.grid.axes))
    group["time"] = times_of(plan, n_times).astype(np.float32)
    group["time"].attrs["sample_varying"] = False
    for axis, name in enumerate(plan.grid.axes):
        group[name] = plan.grid.points(axis).astype(np.float32)
        group[name].attrs.update({"sample_varying": False, "time_varying": False})


def _boundaries(group: h5py.Group, plan: Plan) -> None:
    """Mark both ends of every axis as The Well's WALL, OPEN or PERIODIC."""
    family = plan.equation
    kind = "OPEN" if plan.family in _OPEN else "WALL"
    if getattr(family, "ends", None) == "periodic":
        kind = "PERIODIC"
    for axis, name in zip(plan.grid.shape, plan.grid.axes, strict=True):
        own = group.create_group(f"{name}_{kind.lower()}")
        own.attrs.update(
            {
                "bc_type": kind,
                "associated_dims": _texts([name]),
                "associated_fields": _texts([]),
                "sample_varying": False,
                "time_varying": False,
                "description": family.boundary,
            }
        )
        own["mask"] = np.isin(np.arange(axis), (0, axis - 1))


def _texts(names: list[str]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Return names as HDF5's strings of any length, which an empty list would not become."""
    import h5py

    return np.array(names, dtype=h5py.string_dtype())
