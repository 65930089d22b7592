"""Which lines make one image: selected counters, joined segments, slices or a volume."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.ismrmrd.header import Encoding, Header
from inverse.io.ismrmrd.records import Records
from inverse.io.selection import Select, index_of

__all__ = ["EXCLUSIVE", "choose_rows", "encoding_of", "is_volume", "readout_of", "values_of"]

EXCLUSIVE = ("contrast", "phase", "repetition", "set")
"""Counters of which an image has one value."""


def values_of(heads: NDArray[np.void], name: str) -> list[int]:
    """Values, sorted, of "encoding" or of a counter of the standard."""
    column = heads["encoding_space_ref"] if name == "encoding" else heads["idx"][name]
    return [int(v) for v in np.unique(column)]


def choose_rows(
    records: Records, imaging: NDArray[np.intp], select: Select
) -> tuple[NDArray[np.intp], list[str]]:
    """Return the imaging lines of one image, and notes on what was chosen.

    Segments are joined where each line is in one of them only; averages and slices all stay
    unless they are selected.

    Raises
    ------
    DataError
        If a counter has several values and none is selected.
    UsageError
        If a selected value does not occur.
    """
    rows, path = imaging, records.path
    notes: list[str] = []

    def keep(name: str, value: int) -> None:
        nonlocal rows
        heads = records.heads[rows]
        column = heads["encoding_space_ref"] if name == "encoding" else heads["idx"][name]
        rows = rows[column == value]

    for name in ("encoding", *EXCLUSIVE):
        keep(name, index_of(path, name, values_of(records.heads[rows], name), select))
    for name in ("slice", "average"):
        if name in select:
            available = values_of(records.heads[rows], name)
            keep(name, index_of(path, name, available, select))
    segments = values_of(records.heads[rows], "segment")
    if "segment" in select or not _segments_are_disjoint(records.heads[rows]):
        keep("segment", index_of(path, "segment", segments, select))
    elif len(segments) > 1:
        notes.append(f"joined {len(segments)} segments")
    notes += [f"read {name} {value}" for name, value in select.items()]
    return rows, notes


def _segments_are_disjoint(heads: NDArray[np.void]) -> bool:
    names = ("slice", "kspace_encode_step_1", "kspace_encode_step_2", "segment")
    places = np.unique(np.stack([heads["idx"][n] for n in names], axis=1), axis=0)
    return len(np.unique(places[:, :3], axis=0)) == len(places)


def encoding_of(header: Header, index: int, path: Path) -> Encoding:
    """Return encoding `index`.

    Raises
    ------
    DataError
        If there is none, or its trajectory is not Cartesian; the message names it.
    """
    if index >= len(header.encodings):
        raise DataError(
            f"{path}: acquisitions refer to encoding {index}, "
            f"the header has {len(header.encodings)}"
        )
    encoding = header.encodings[index]
    if encoding.trajectory != "cartesian":
        known = {"epi", "radial", "goldenangle", "spiral", "other"}
        name = encoding.trajectory if encoding.trajectory in known else "(unknown)"
        raise DataError(f"{path}: the trajectory '{name}' is not supported, only 'cartesian' is")
    return encoding


def readout_of(encoding: Encoding, heads: NDArray[np.void]) -> tuple[Encoding, list[str]]:
    """Detect that readout oversampling was removed already although the header still has it."""
    n, wanted = encoding.matrix[2], encoding.recon_matrix[2]
    size = np.unique(heads["number_of_samples"])
    is_removed = (
        wanted < n
        and len(size) == 1
        and size[0] == wanted
        and bool(np.isin(heads["center_sample"], (0, wanted // 2)).all())
        and abs(encoding.fov_mm[2] * wanted - encoding.recon_fov_mm[2] * n) < 0.01 * n
    )
    if is_removed:
        removed = replace(
            encoding,
            matrix=(*encoding.matrix[:2], wanted),
            fov_mm=(*encoding.fov_mm[:2], encoding.recon_fov_mm[2]),
        )
        return removed, ["the readout oversampling had been removed before"]
    ratio = n / encoding.recon_size()[2]
    return encoding, [f"readout oversampling {ratio:.3g}"] if ratio > 1 else []


def is_volume(encoding: Encoding, heads: NDArray[np.void], slices: list[int], path: Path) -> bool:
    """Whether kspace_encode_step_2 is an axis.

    A matrix with as many partitions as there are slices, of which only the first is encoded, is a
    stack of slices.

    Raises
    ------
    DataError
        If there are several slabs.
    """
    if encoding.matrix[0] == 1:
        return False
    is_stack = not heads["idx"]["kspace_encode_step_2"].any()
    if is_stack and len(slices) == encoding.matrix[0]:
        return False
    if len(slices) > 1:
        raise DataError(
            f"{path}: expected one slab of a 3-D scan, got {len(slices)}; "
            f"choose one, select={{'slice': {slices[0]}}}"
        )
    return True
