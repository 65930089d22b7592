"""Putting lines at their place: encoding steps, echo centre, reversed readouts, averages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.ismrmrd.flags import REVERSE, has
from inverse.io.ismrmrd.header import Encoding
from inverse.io.ismrmrd.records import Records, samples_of
from inverse.io.untrusted import check_budget

__all__ = ["Layout", "fill", "plan"]

_THINNEST = 4096
"""A matrix this many times larger than the samples is a damaged header, not an acceleration."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where every acquisition goes in an array of (slice, coil, z, y, x).

    Parameters
    ----------
    shape : (slice, coil, z, y, x)
    rows : (n,), int
        Acquisitions in the file.
    slices, z, y, x : (n,), int
        Their place; x is that of the first kept sample.
    first, stop : (n,), int
        Range of samples that is kept, counted after reversal.
    is_reversed : (n,), bool
    notes : tuple of str
    """

    shape: tuple[int, int, int, int, int]
    rows: NDArray[np.intp]
    slices: NDArray[np.intp]
    z: NDArray[np.intp]
    y: NDArray[np.intp]
    x: NDArray[np.intp]
    first: NDArray[np.intp]
    stop: NDArray[np.intp]
    is_reversed: NDArray[np.bool_]
    notes: tuple[str, ...]


def plan(
    records: Records,
    rows: NDArray[np.intp],
    slices: list[int],
    encoding: Encoding,
    *,
    readout: int,
    is_3d: bool,
) -> Layout:
    """Compute the place of every line.

    Encoding step e lands on index n//2 + e - centre, sample i of a readout on index
    nx//2 + i - center_sample, so partial Fourier and asymmetric echoes leave their zeros where
    they were not measured. A reversed readout is turned round first; its center_sample counts in
    the turned order. Samples in discard_pre and discard_post are left out.

    Parameters
    ----------
    records : Records
    rows : (n,), int
        The lines to place.
    slices : list of int
        Slice counters in the order of the result.
    encoding : Encoding
    readout : int
        nx, the readout size of the result.
    is_3d : bool
        Whether kspace_encode_step_2 is an axis.

    Raises
    ------
    DataError
        If a step or sample falls outside the matrix or the coil number changes.
    """
    heads, path = records.heads[rows], records.path
    n_coils = np.unique(heads["active_channels"])
    if len(n_coils) != 1 or n_coils[0] == 0:
        raise DataError(f"{path}: active_channels changes between imaging lines or is 0")
    nz, ny = (encoding.matrix[0] if is_3d else 1), encoding.matrix[1]
    shape = len(slices), int(n_coils[0]), nz, ny, readout
    x, first, stop, notes = _readouts(heads, readout, path)
    if np.prod(shape, dtype=float) > _THINNEST * float((stop - first).sum() * shape[1]):
        raise DataError(
            f"{path}: encodedSpace/matrixSize of {encoding.matrix} holds over {_THINNEST} times "
            f"the acquired samples; the header does not belong to them"
        )
    steps = heads["idx"]
    y = _steps(steps["kspace_encode_step_1"], encoding.centre_y, ny, path, 1)
    z = np.zeros(len(rows), dtype=np.intp)
    if is_3d:
        z = _steps(steps["kspace_encode_step_2"], encoding.centre_z, nz, path, 2)
    place = {counter: index for index, counter in enumerate(slices)}
    at = np.array([place[int(s)] for s in steps["slice"]], dtype=np.intp)
    is_reversed = has(heads["flags"], REVERSE)
    return Layout(shape, rows, at, z, y, x, first, stop, is_reversed, tuple(notes))


def _steps(
    step: NDArray[np.uint16], centre: int | None, n: int, path: Path, axis: int
) -> NDArray[np.intp]:
    index = step.astype(np.intp) + n // 2 - (n // 2 if centre is None else centre)
    if index.min() < 0 or index.max() >= n:
        raise DataError(
            f"{path}: kspace_encode_step_{axis} from {step.min()} to {step.max()} with centre "
            f"{centre} does not fit into a matrix of {n}"
        )
    return index


def _readouts(
    heads: NDArray[np.void], n: int, path: Path
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp], list[str]]:
    size = heads["number_of_samples"].astype(np.intp)
    origin = n // 2 - heads["center_sample"].astype(np.intp)
    notes = []
    # A line as long as the matrix has one place only; many writers leave its center_sample 0.
    whole = (size == n) & (origin != 0)
    if whole.any():
        notes.append(f"center_sample of {int(whole.sum())} full readouts is not n//2; ignored")
        origin[whole] = 0
    first = heads["discard_pre"].astype(np.intp)
    stop = size - heads["discard_post"]
    begins, ends = origin + first, origin + stop
    if (first >= stop).any() or begins.min() < 0 or ends.max() > n:
        raise DataError(
            f"{path}: number_of_samples ({size.min()} to {size.max()}) about center_sample "
            f"({heads['center_sample'].min()} to {heads['center_sample'].max()}) do not fit into "
            f"a readout of {n}"
        )
    if (size < n).any():
        notes.append("the echo is asymmetric or short; samples that were not measured are zero")
    return begins, first, stop, notes


def fill(
    records: Records,
    layout: Layout,
    fallback: Layout | None,
    *,
    max_memory: int,
) -> tuple[NDArray[np.complex64], NDArray[np.uint16]]:
    """Read the samples into place and average what was measured more than once.

    Parameters
    ----------
    records : Records
    layout : Layout
        Imaging lines.
    fallback : Layout, optional
        Lines used only where no imaging line is: embedded calibration.
    max_memory : int
        Bytes that the result may take.

    Returns
    -------
    samples : (slice, coil, z, y, x), complex64
    counts : (slice, z, y, x), uint16
        How many measurements each sample is the mean of.

    Raises
    ------
    DataError
        If a record does not hold what its header says.
    ResourceError
        If the array is larger than `max_memory`.
    """
    grid = (layout.shape[0], *layout.shape[2:])
    n_bytes = int(np.prod(grid, dtype=float)) * (8 * layout.shape[1] + 2)
    check_budget(records.path, "k-space", n_bytes, max_memory)
    samples = np.zeros(layout.shape, dtype=np.complex64)
    counts = np.zeros(grid, dtype=np.uint16)
    _add(records, layout, samples, counts, np.ones(len(layout.rows), dtype=bool))
    if fallback is not None:
        lines = np.asarray(counts.any(axis=-1), dtype=bool)
        is_free = ~lines[fallback.slices, fallback.z, fallback.y]
        _add(records, fallback, samples, counts, is_free)
    if counts.max() > 1:
        samples /= np.maximum(counts, 1)[:, None]
    return samples, counts


def _add(
    records: Records,
    layout: Layout,
    samples: NDArray[np.complex64],
    counts: NDArray[np.uint16],
    keep: NDArray[np.bool_],
) -> None:
    place = {int(row): i for i, row in enumerate(layout.rows) if keep[i]}
    for row, line in samples_of(records, layout.rows[keep]):
        i = place[row]
        turned = line[:, ::-1] if layout.is_reversed[i] else line
        kept = turned[:, layout.first[i] : layout.stop[i]]
        at = slice(layout.x[i], layout.x[i] + kept.shape[1])
        samples[layout.slices[i], :, layout.z[i], layout.y[i], at] += kept
        counts[layout.slices[i], layout.z[i], layout.y[i], at] += 1
