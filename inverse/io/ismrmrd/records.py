"""The acquisitions of an ISMRMRD file: headers at once, samples one by one, all sizes checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io import hdf5
from inverse.io.untrusted import reading
from inverse.io.variable_length import descriptors, heap_of, stored_elements

__all__ = ["COUNTERS", "Records", "find_group", "read_records", "samples_of"]

COUNTERS = ("contrast", "phase", "repetition", "set", "segment", "average")
"""Loop counters besides the encoding steps and the slice."""

_FIELDS = {
    "flags", "number_of_samples", "active_channels", "discard_pre", "discard_post",
    "center_sample", "encoding_space_ref", "trajectory_dimensions", "sample_time_us", "position",
    "read_dir", "phase_dir", "slice_dir", "idx",
}  # fmt: skip
_STEPS = {"kspace_encode_step_1", "kspace_encode_step_2", "slice", *COUNTERS}


@dataclass(frozen=True, slots=True)
class Records:
    """Headers of all acquisitions and where their samples are.

    Parameters
    ----------
    path : Path
        The file, for messages.
    file : h5py.File
        The same, open.
    heads : (n,), structured
        Acquisition headers as the standard names their fields.
    places : (n,), structured
        Length, heap address and index of each acquisition's samples.
    """

    path: Path
    file: h5py.File
    heads: NDArray[np.void]
    places: NDArray[np.void]


def find_group(file: h5py.File, path: Path) -> h5py.Group | None:
    """Return the group that holds `xml` and `data`, or None if this is no ISMRMRD file.

    Raises
    ------
    DataError
        If several groups do and none is called "dataset".
    """
    names = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    groups = [name for name in names if file.get(name, getclass=True) is h5py.Group]
    found = [name for name in groups if {"xml", "data"} <= set(file[name])]
    if len(found) > 1 and "dataset" not in found:
        raise DataError(
            f"{path}: expected one ISMRMRD group, got {len(found)}; "
            f"call the one to read 'dataset' or copy it to a file of its own"
        )
    if not found:
        return None
    return file["dataset" if "dataset" in found else found[0]]


def read_records(group: h5py.Group, path: Path, max_memory: int) -> Records:
    """Read the headers of all acquisitions.

    Raises
    ------
    DataError
        If the records are not those of the standard, or claim more samples than the file holds.
    """
    data = hdf5.dataset(group, "data", path, max_memory=max_memory, is_variable=True)
    names = set(data.dtype.names or ())
    if not {"head", "data"} <= names or data.ndim != 1 or data.size == 0:
        raise DataError(f"{path}: expected one row of ISMRMRD acquisitions in 'data'")
    head_type = data.dtype["head"]
    if not set(head_type.names or ()) >= _FIELDS or not set(head_type["idx"].names) >= _STEPS:
        raise DataError(f"{path}: the acquisition headers lack fields of the ISMRMRD standard")
    kind = data.id.get_type()
    offsets = {name: kind.get_member_offset(kind.get_member_index(name.encode())) for name in names}
    samples = kind.get_member_type(kind.get_member_index(b"data"))
    if samples.get_class() != h5py.h5t.VLEN or samples.get_super().dtype != np.dtype("<f4"):
        raise DataError(f"{path}: the samples expected rows of single-precision numbers")
    with reading(path, "acquisition headers"):
        elements = stored_elements(data, path)
        stop = offsets["head"] + head_type.itemsize
        heads = np.ascontiguousarray(elements[:, offsets["head"] : stop]).view(head_type)[:, 0]
    places = descriptors(elements, offsets["data"])
    # Samples are stored uncompressed, so the claims must fit into the file before any is read.
    claimed = 8 * (heads["number_of_samples"].astype(int) * heads["active_channels"]).sum()
    if claimed > path.stat().st_size:
        raise DataError(
            f"{path}: the acquisition headers claim {claimed} bytes of samples, "
            f"the file has {path.stat().st_size}; it is truncated or damaged"
        )
    return Records(path, group.file, heads, places)


def samples_of(
    records: Records, rows: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.complex64]]]:
    """Yield (row, samples) with samples (coil, x) complex64, in file order.

    Raises
    ------
    DataError
        If a record holds another number of samples than its header says.
    """
    with heap_of(records.file, records.path) as heap:
        for row in np.sort(rows):
            head, place = records.heads[row], records.places[row]
            shape = int(head["active_channels"]), int(head["number_of_samples"])
            length = int(place["length"])
            if length != 2 * shape[0] * shape[1]:
                raise DataError(
                    f"{records.path}: acquisition {row} expected {shape[0]} channels of "
                    f"{shape[1]} samples, got {length / 2} samples in all"
                )
            raw = heap.object(int(place["address"]), int(place["index"]), 4 * length)
            yield int(row), np.frombuffer(raw, dtype="<c8").reshape(shape)
