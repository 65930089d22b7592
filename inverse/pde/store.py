"""The HDF5 files of a data set: the parts that chains leave, and the whole in sample order.

Layout (docs/pde_files.md): `parameters/NAME` and `solution` with samples along the first axis,
`records` with one row a sample, the plan and the provenance as JSON in the attributes. Nothing in a
file depends on when, where or by how many workers it was made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inverse.errors import DataError
from inverse.io.atomic import replacing
from inverse.io.untrusted import existing_file, reading
from inverse.pde.plan import Plan
from inverse.pde.samples import RECORD, Samples, digests_of_samples

if TYPE_CHECKING:
    import h5py

__all__ = ["SCHEMA", "DataSet", "open_data_set", "read_part", "write_data_set", "write_part"]

SCHEMA = "inverse-suite pde 1"


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
    _file: h5py.File

    def __len__(self) -> int:
        return self.plan.n_samples

    @property
    def solution_shape(self) -> tuple[int, ...]:
        """Shape of one sample's solution."""
        return tuple(self._file["solution"].shape[1:])

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
                {
                    q.name: self._file["parameters"][q.name][start:stop]
                    for q in self.plan.equation.parameters
                },
                self._file["solution"][start:stop],
                self._file["records"][start:stop],
            )

    def blocks(self, n_bytes: int = 2**26) -> Iterator[Samples]:
        """Yield all samples in blocks of about so many bytes."""
        step = max(1, n_bytes // self.plan.bytes_per_sample)
        for start in range(0, len(self), step):
            yield self.rows(start, min(start + step, len(self)))


def write_part(path: Path, plan: Plan, samples: Samples) -> None:
    """Write what a chain found, whole or not at all.

    Raises
    ------
    ResourceError
        If the disk is full or the folder cannot be written.
    """
    import h5py

    with replacing(path) as part, h5py.File(part, "w", libver="latest") as file:
        file.attrs["schema"], file.attrs["plan"] = SCHEMA, plan.to_json()
        file["index"] = samples.index
        _create(file, samples, len(samples.index))
        _fill(file, samples, slice(None), slice(None))


def read_part(path: Path, plan: Plan) -> Samples:
    """Read what a chain left, and check that it is what was written.

    Raises
    ------
    DataError
        If the file is damaged, or belongs to another plan.
    """
    import h5py

    with reading(path, "a part of a data set"), h5py.File(path, "r") as file:
        if file.attrs.get("schema") != SCHEMA or file.attrs.get("plan") != plan.to_json():
            raise DataError(f"{path}: made by another plan; remove it to have it made again")
        names = [quantity.name for quantity in plan.equation.parameters]
        samples = Samples(
            file["index"][()],
            {name: file["parameters"][name][()] for name in names},
            file["solution"][()],
            file["records"][()],
        )
    if (
        digests_of_samples(samples.parameters, samples.solution)
        != samples.records["digest"].tolist()
    ):
        raise DataError(
            f"{path}: damaged, its digests are not those written; "
            f"remove this file to have its {len(samples.index)} samples solved again"
        )
    return samples


def write_data_set(path: Path, plan: Plan, provenance: str, parts: Iterable[Samples]) -> None:
    """Write the whole data set in sample order, or nothing.

    Parameters
    ----------
    path : Path
    plan : Plan
    provenance : str
        JSON.
    parts : iterable of Samples
        All samples, in any order.

    Raises
    ------
    DataError
        If a sample is missing or comes twice.
    ResourceError
        If the disk is full or the folder cannot be written.
    """
    import h5py

    written = np.zeros(plan.n_samples, dtype=np.int64)
    with replacing(path) as part, h5py.File(part, "w", libver="latest") as file:
        file.attrs["schema"], file.attrs["plan"] = SCHEMA, plan.to_json()
        file.attrs["provenance"] = provenance
        for samples in parts:
            if "solution" not in file:
                _create(file, samples, plan.n_samples)
                _describe(file, plan)
            for here, there in _runs(samples.index):
                _fill(file, samples, here, there)
            written[samples.index] += 1
        if (written != 1).any():
            raise DataError(
                f"{path}: sample {int(np.flatnonzero(written != 1)[0])} is there "
                f"{int(written[written != 1][0])} times; not written"
            )


@contextmanager
def open_data_set(path: Path) -> Iterator[DataSet]:
    """Open a data set for reading.

    Raises
    ------
    DataError
        If there is no such file, or it holds no data set.
    """
    import h5py

    with reading(existing_file(path), "a PDE data set"), h5py.File(path, "r") as file:
        if file.attrs.get("schema") != SCHEMA:
            raise DataError(
                f"{path}: expected a data set of `inverse pde generate` ({SCHEMA}), "
                f"found schema {file.attrs.get('schema')!r}"
            )
        plan = Plan.from_json(str(file.attrs["plan"]))
        data = DataSet(path, plan, str(file.attrs["provenance"]), file)
        _check(path, file, plan)
        yield data


def _check(path: Path, file: h5py.File, plan: Plan) -> None:
    wanted = [f"parameters/{q.name}" for q in plan.equation.parameters] + ["solution", "records"]
    for name in wanted:
        if name not in file or file[name].shape[0] != plan.n_samples or file[name].external:
            raise DataError(f"{path}: expected {plan.n_samples} samples in {name!r}")
    if file["records"].dtype != RECORD:
        raise DataError(f"{path}: records of an unknown layout {file['records'].dtype}")


def _create(file: h5py.File, samples: Samples, n: int) -> None:
    """Lay the arrays out one behind the other, so that the bytes depend on their content alone."""
    arrays: dict[str, Any] = {f"parameters/{k}": v for k, v in samples.parameters.items()}
    for name, values in (arrays | {"solution": samples.solution}).items():
        file.create_dataset(name, (n, *values.shape[1:]), values.dtype)
    file.create_dataset("records", (n,), RECORD)


def _fill(file: h5py.File, samples: Samples, here: slice, there: slice) -> None:
    for name, values in samples.parameters.items():
        file["parameters"][name][there] = values[here]
    file["solution"][there] = samples.solution[here]
    file["records"][there] = samples.records[here]


def _runs(index: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[tuple[slice, slice]]:
    """Yield the consecutive runs of an index, as slices of it and of what it points to."""
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    for start, stop in zip([0, *cuts], [*cuts, len(index)], strict=True):
        first = int(index[start])
        yield slice(int(start), int(stop)), slice(first, first + int(stop - start))


def _describe(file: h5py.File, plan: Plan) -> None:
    """Say what the arrays are, for people who open the file with other tools."""
    family = plan.equation
    for quantity in family.parameters:
        file["parameters"][quantity.name].attrs.update(
            {"symbol": quantity.symbol, "unit": quantity.unit}
        )
    file["solution"].attrs.update(
        {"name": family.unknown.name, "symbol": family.unknown.symbol, "unit": family.unknown.unit}
    )
    file.attrs.update(
        {
            "equation": family.equation,
            "boundary": family.boundary,
            "stencil": family.stencil,
            "spacing_m": plan.grid.spacing,
            "centring": plan.grid.centring,
        }
    )
