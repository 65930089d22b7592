"""Reading the HDF5 files of data sets, as files from anywhere: checked before they are believed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.hdf5 import dataset, member, opened, text
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, existing_file, reading
from inverse.pde.plan import Plan
from inverse.pde.samples import RECORD, Samples, digests_of_samples
from operators import ParameterError

if TYPE_CHECKING:
    import h5py

__all__ = ["SCHEMA", "DataSet", "open_data_set", "read_part"]

SCHEMA = "inverse-suite pde 1"

_ANY_SIZE = 2**62
"""Data sets are read in blocks, so only a sample has to fit into memory."""

_RIM = 27
"""A grid of three points an axis has no more points than this for each one within its rim."""


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """An open data set; arrays are read when rows are asked for.

    Parameters
    ----------
    path : Path
    plan : Plan
        What it was made by.
    provenance : str
        JSON.
    """

    path: Path
    plan: Plan
    provenance: str
    _parameters: dict[str, h5py.Dataset]
    _solution: h5py.Dataset
    _records: h5py.Dataset

    def __len__(self) -> int:
        return self.plan.n_samples

    @property
    def solution_shape(self) -> tuple[int, ...]:
        """Shape of one sample's solution."""
        return tuple(self._solution.shape[1:])

    @property
    def bytes_per_sample(self) -> int:
        """What the arrays of a sample take in memory."""
        return sum(_bytes_of_row(found) for found in (*self._parameters.values(), self._solution))

    def rows(self, start: int, stop: int) -> Samples:
        """Read consecutive samples.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        with reading(self.path, f"samples {start} to {stop - 1}"):
            return Samples(
                np.arange(start, stop),
                {name: found[start:stop] for name, found in self._parameters.items()},
                self._solution[start:stop],
                self._records[start:stop],
            )

    def blocks(self, n_bytes: int = 2**26) -> Iterator[Samples]:
        """Yield all samples in blocks of about so many bytes."""
        step = max(1, n_bytes // self.bytes_per_sample)
        for start in range(0, len(self), step):
            yield self.rows(start, min(start + step, len(self)))


@contextmanager
def open_data_set(path: Path) -> Iterator[DataSet]:
    """Open a data set for reading.

    Parameters
    ----------
    path : Path
        Nothing in it is trusted: links, data in other files, sizes that it does not hold and
        shapes that its plan does not make are refused before anything is allocated.

    Raises
    ------
    DataError
        If there is no such file, or it holds no data set, or one of a family or settings that
        this version does not know.
    ResourceError
        If one sample does not fit into memory.
    """
    import h5py

    with reading(existing_file(path), "HDF5 content"):
        file = h5py.File(path, "r", locking=False)
    with file:
        with reading(path, "data set"):
            data = _data_set(path, file)
        yield data


def read_part(path: Path, plan: Plan, index: NDArray[np.int64]) -> Samples:
    """Read what a chain left, and check that it is what was written.

    Parameters
    ----------
    path : Path
    plan : Plan
    index : (n,)
        The samples of the chain, in the order in which they were solved.

    Raises
    ------
    DataError
        If the file is damaged, or belongs to another plan.
    """
    with opened(path) as file, reading(path, "part of a data set"):
        if text(file, "schema", path) != SCHEMA or text(file, "plan", path) != plan.to_json():
            raise DataError(f"{path}: made by another plan; remove it to have it made again")
        parameters, solution, records = _arrays(path, file, plan, len(index))
        numbers = _array(file, "index", path, len(index))
        samples = Samples(
            numbers[()],
            {name: found[()] for name, found in parameters.items()},
            solution[()],
            records[()],
        )
    is_whole = np.array_equal(samples.index, index)
    if not is_whole or digests_of_samples(samples) != samples.records["digest"].tolist():
        raise DataError(
            f"{path}: damaged, its digests are not those written; "
            f"remove this file to have its {len(index)} samples solved again"
        )
    return samples


def _data_set(path: Path, file: h5py.File) -> DataSet:
    """Check everything that can be checked without reading the samples."""
    schema = text(file, "schema", path) if "schema" in file.attrs else None
    if schema != SCHEMA:
        raise DataError(
            f"{path}: expected a data set of `inverse pde generate` ({SCHEMA}), "
            f"found {'none' if schema is None else repr(schema[:40])}"
        )
    plan = Plan.from_json(text(file, "plan", path))
    provenance = text(file, "provenance", path)
    made_by = json.loads(provenance)
    if made_by.get("plan_sha256") != plan.digest:
        raise DataError(f"{path}: its plan is not the one that its provenance names; damaged")
    data = DataSet(path, plan, provenance, *_arrays(path, file, plan, plan.n_samples))
    _check_solution(data)
    return data


def _arrays(
    path: Path, file: h5py.File, plan: Plan, n: int
) -> tuple[dict[str, h5py.Dataset], h5py.Dataset, h5py.Dataset]:
    """Return the parameters, the solution and the records of n samples, nothing of them read."""
    group = member(file, "parameters", path)
    parameters = {q.name: _array(group, q.name, path, n) for q in plan.equation.parameters}
    solution, records = _array(file, "solution", path, n), _array(file, "records", path, n)
    for name, found in parameters.items():
        if found.dtype != np.float64:
            raise DataError(f"{path}: the parameter {name!r} expected float64, got {found.dtype}")
    if solution.dtype not in {np.dtype(np.float64), np.dtype(np.complex128)}:
        raise DataError(f"{path}: solution expected double precision, got {solution.dtype}")
    if records.dtype != RECORD or records.ndim != 1:
        raise DataError(f"{path}: records of an unknown layout {records.dtype}")
    return parameters, solution, records


def _array(group: h5py.Group, name: str, path: Path, n: int) -> h5py.Dataset:
    """Return an array of n rows that the file really holds and of which one fits into memory."""
    found = dataset(group, name, path, max_memory=_ANY_SIZE)
    if found.ndim < 1 or found.shape[0] != n:
        raise DataError(f"{path}: expected {n} samples in {name!r}, got shape {found.shape}")
    chunk = math.prod(found.chunks or ()) * found.dtype.itemsize
    check_budget(path, f"array {name!r}", max(_bytes_of_row(found), chunk), DEFAULT_MAX_MEMORY)
    return found


def _bytes_of_row(found: h5py.Dataset) -> int:
    return int(math.prod(found.shape[1:]) * found.dtype.itemsize)


def _check_solution(data: DataSet) -> None:
    """Compare the solution's shape with what the plan makes of the first sample's parameters."""
    path, plan = data.path, data.plan
    family, grid = plan.equation, plan.grid
    if grid.size > _RIM * max(1, math.prod(data.solution_shape)):
        raise DataError(f"{path}: a grid {grid.shape} does not go with its {data.solution_shape}")
    first = data.rows(0, 1).parameters
    try:
        state = family.initial(grid, first)
        systems = family.systems(grid, first, state)
    except ParameterError:
        return  # `verify` names the samples whose parameters the equation does not take
    n_states = family.n_steps + (state is not None)
    expected = tuple(systems.on_grid(systems.rhs).shape[1:])
    if n_states > 1:
        expected = (n_states, *expected)
    if data.solution_shape != expected:
        raise DataError(f"{path}: solution expected {expected} a sample, got {data.solution_shape}")
