"""The HDF5 files of a data set: the parts that chains leave, and the whole in sample order.

Layout (docs/pde_files.md): `parameters/NAME` and `solution` with samples along the first axis,
`records` with one row a sample, the plan and the provenance as JSON in the attributes. Nothing in a
file depends on when, where or by how many workers it was made.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.atomic import replacing
from inverse.pde.plan import Plan
from inverse.pde.samples import RECORD, Samples
from inverse.pde.store import SCHEMA

if TYPE_CHECKING:
    import h5py

__all__ = ["write_data_set", "write_part"]

_Layout: TypeAlias = Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]
"""Shape and type of every array by its name."""


def write_part(path: Path, plan: Plan, samples: Samples) -> None:
    """Write what a chain found, whole or not at all.

    Raises
    ------
    ResourceError
        If the disk is full or the folder cannot be written.
    """
    n = len(samples.index)
    layout = {"index": ((n,), np.dtype("<i8"))} | _layout(samples, n)
    with replacing(path) as part:
        with _created(part, layout) as file:
            _sign(file, plan)
        with _reopened(part) as file:
            file["index"][...] = samples.index
            _fill(file, samples, slice(None), slice(None))


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
    written = np.zeros(plan.n_samples, dtype=np.int64)
    remaining = iter(parts)
    first = next(remaining)
    with replacing(path) as part:
        with _created(part, _layout(first, plan.n_samples)) as file:
            _sign(file, plan)
            file.attrs["provenance"] = np.bytes_(provenance.encode())
            _describe(file, plan)
        with _reopened(part) as file:
            for samples in chain([first], remaining):
                for here, there in _runs(samples.index):
                    _fill(file, samples, here, there)
                written[samples.index] += 1
        if (written != 1).any():
            raise DataError(
                f"{path}: sample {int(np.flatnonzero(written != 1)[0])} is there "
                f"{int(written[written != 1][0])} times; not written"
            )


@contextmanager
def _created(path: Path, layout: _Layout) -> Iterator[h5py.File]:
    """Make a file with room for every array, one behind the other, on the disk when it is closed.

    The HDF5 library does not survive a full disk: it cannot close the file and may crash later.
    So nothing is written through it before the disk has given room for the whole file.
    """
    import h5py

    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    _reserve(path, _HEADERS)
    with h5py.File(path, "w", libver="latest", locking=False) as file:
        for name, (shape, dtype) in layout.items():
            file.create_dataset(name, shape, dtype, dcpl=early)
        yield file
    _reserve(path, path.stat().st_size)


@contextmanager
def _reopened(path: Path) -> Iterator[h5py.File]:
    import h5py

    with h5py.File(path, "r+", libver="latest", locking=False) as file:
        yield file


_HEADERS = 2**18  # bytes of headers, attributes and names


def _reserve(path: Path, n_bytes: int) -> None:
    """Have the disk set so many bytes of a file aside; an `OSError` if it has not so many."""
    with path.open("ab") as file:
        if hasattr(os, "posix_fallocate"):  # not on every system
            os.posix_fallocate(file.fileno(), 0, n_bytes)


def _layout(samples: Samples, n: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    arrays: dict[str, NDArray[Any]] = {f"parameters/{k}": v for k, v in samples.parameters.items()}
    arrays["solution"] = samples.solution
    found = {name: ((n, *values.shape[1:]), values.dtype) for name, values in arrays.items()}
    return found | {"records": ((n,), RECORD)}


def _fill(file: h5py.File, samples: Samples, here: slice, there: slice) -> None:
    for name, values in samples.parameters.items():
        file["parameters"][name][there] = values[here]
    file["solution"][there] = samples.solution[here]
    file["records"][there] = samples.records[here]


def _runs(index: NDArray[np.int64]) -> Iterator[tuple[slice, slice]]:
    """Yield the consecutive runs of an index, as slices of it and of what it points to."""
    cuts = np.flatnonzero(np.diff(index) != 1) + 1
    for start, stop in zip([0, *cuts], [*cuts, len(index)], strict=True):
        first = int(index[start])
        yield slice(int(start), int(stop)), slice(first, first + int(stop - start))


def _sign(file: h5py.File, plan: Plan) -> None:
    """Say what the file is; text of fixed length, whose size can be checked before it is read."""
    file.attrs["schema"] = np.bytes_(SCHEMA.encode())
    file.attrs["plan"] = np.bytes_(plan.to_json().encode())


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
