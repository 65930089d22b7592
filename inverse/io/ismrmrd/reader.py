"""ISMRMRD files to `KSpace`: choose, place, average, and say what was done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io import hdf5
from inverse.io.ismrmrd.choosing import (
    EXCLUSIVE,
    choose_rows,
    encoding_of,
    is_volume,
    readout_of,
    values_of,
)
from inverse.io.ismrmrd.flags import Kinds, sort_by_kind
from inverse.io.ismrmrd.geometry import grid_of, slice_order
from inverse.io.ismrmrd.header import Encoding, Header, parse_header
from inverse.io.ismrmrd.noise import dwell_time_us, scaled_noise, uneven_noise
from inverse.io.ismrmrd.placement import Layout, fill, plan
from inverse.io.ismrmrd.records import COUNTERS, Records, find_group, read_records
from inverse.io.sampling import shared
from inverse.io.selection import Select, check_names
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, sha256
from inverse.mri.kspace import KSpace

__all__ = ["read", "survey"]

_MERGED_CALIBRATION = {"", "embedded"}


@dataclass(frozen=True, slots=True)
class _Scan:
    """An opened file: its header, acquisitions and their kinds."""

    header: Header
    records: Records
    kinds: Kinds


def read(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY, select: Select | None = None
) -> KSpace:
    """Read the Cartesian k-space of an ISMRMRD file.

    Averages are averaged, segments with different lines are joined, slices are put in spatial
    order. Of several contrasts, phases, repetitions, sets or encodings one has to be selected.

    Parameters
    ----------
    path : Path
    max_memory : int
        Bytes that k-space may take.
    select : mapping of str to int, optional
        "encoding", "slice" or a counter of the standard -> its value.

    Returns
    -------
    KSpace

    Raises
    ------
    DataError
        If the file is damaged, not Cartesian, carries an unsupported flag, or holds several images
        of which none is selected.
    UsageError
        If `select` names what does not exist.
    ResourceError
        If k-space is larger than `max_memory`.
    """
    chosen = select or {}
    check_names(chosen, ["encoding", "slice", *COUNTERS])
    with hdf5.opened(path) as file:
        return _assemble(_scan(file, path, max_memory), chosen, max_memory)


def survey(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> dict[str, object]:
    """Say what an ISMRMRD file holds without reading its samples.

    Returns
    -------
    dict
        "acquisitions", "flags" (name to count), "counters" (name to number of values, for those
        with several), "trajectory".
    """
    with hdf5.opened(path) as file:
        scan = _scan(file, path, max_memory)
    heads = scan.records.heads[scan.kinds.imaging]
    counters = {name: values_of(heads, name) for name in ("encoding", "slice", *COUNTERS)}
    return {
        "acquisitions": len(scan.records.heads),
        "flags": scan.kinds.seen,
        "counters": {name: values for name, values in counters.items() if len(values) > 1},
        "trajectory": [encoding.trajectory for encoding in scan.header.encodings],
    }


def _scan(file: h5py.File, path: Path, max_memory: int) -> _Scan:
    group = find_group(file, path)
    if group is None:
        raise DataError(f"{path}: expected a group with the members 'xml' and 'data'")
    header = parse_header(hdf5.text(group, "xml", path), path)
    records = read_records(group, path, max_memory)
    return _Scan(header, records, _kinds(records))


def _kinds(records: Records) -> Kinds:
    try:
        kinds = sort_by_kind(records.heads["flags"])
    except DataError as error:
        raise DataError(f"{records.path}: {error}") from None
    if not kinds.imaging.size:
        raise DataError(f"{records.path}: no acquisition is an imaging line")
    return kinds


def _assemble(scan: _Scan, select: Select, max_memory: int) -> KSpace:
    records, path = scan.records, scan.records.path
    rows, notes = choose_rows(records, scan.kinds.imaging, select)
    heads = records.heads[rows]
    encoding = encoding_of(scan.header, int(heads["encoding_space_ref"][0]), path)
    encoding, oversampling_notes = readout_of(encoding, heads)
    slices = slice_order(heads, values_of(heads, "slice"), path)
    is_3d = is_volume(encoding, heads, slices, path)
    nx = encoding.matrix[2]
    layout = plan(records, rows, slices, encoding, readout=nx, is_3d=is_3d)
    calibration, calibration_notes = _calibration(scan, rows, slices, encoding, is_3d=is_3d)
    samples, counts = fill(records, layout, calibration, max_memory=max_memory)
    averages = int(counts.max())
    noise, noise_notes = scaled_noise(
        records, scan.kinds.noise, rows, counts, bandwidth=scan.header.noise_bandwidth
    )
    grid = grid_of(
        heads, slices, encoding,
        shape=(layout.shape[2] if is_3d else len(slices), layout.shape[3], nx),
        is_flipped=scan.header.vendor_is_siemens, path=path,
    )  # fmt: skip
    notes += [*layout.notes, *oversampling_notes, *calibration_notes, *noise_notes]
    notes += _general_notes(scan, grid, encoding, averages)
    uneven = uneven_noise(counts)
    notes += uneven
    recon = encoding.recon_size()
    kspace = KSpace(
        samples=samples if is_3d else samples[:, :, 0],
        mask=shared(counts > 0) if is_3d else shared(counts[:, 0] > 0),
        grid=grid,
        recon_shape=(recon[0] if is_3d else len(slices), recon[1], recon[2]),
        noise=noise,
        acquisition=_acquisition(scan.header, dwell_time_us(heads)),
        origin={
            "format": "ismrmrd",
            "sha256": {"h5": sha256(path)},
            "flags": scan.kinds.seen,
            "notes": notes,
        },
        warnings=(*grid.warnings, *uneven),
    )
    return _collapse_readout(kspace) if is_3d and nx == 1 else kspace


def _acquisition(header: Header, dwell_us: float) -> dict[str, float | str]:
    return header.acquisition | ({"dwell_time_us": dwell_us} if dwell_us > 0 else {})


def _calibration(
    scan: _Scan,
    rows: NDArray[np.intp],
    slices: list[int],
    encoding: Encoding,
    *,
    is_3d: bool,
) -> tuple[Layout | None, list[str]]:
    found, records = scan.kinds.calibration, scan.records
    if not found.size:
        return None, []
    mode = scan.header.calibration_mode
    if mode not in _MERGED_CALIBRATION:
        return None, [f"left out {found.size} lines of {mode} parallel calibration"]
    first, heads = records.heads[rows[0]], records.heads[found]
    keep = np.isin(heads["idx"]["slice"], slices)
    keep &= heads["encoding_space_ref"] == first["encoding_space_ref"]
    for name in EXCLUSIVE:
        keep &= heads["idx"][name] == first["idx"][name]
    if not keep.any():
        return None, []
    layout = plan(records, found[keep], slices, encoding, readout=encoding.matrix[2], is_3d=is_3d)
    return layout, [f"{int(keep.sum())} embedded calibration lines joined k-space"]


def _general_notes(scan: _Scan, grid: Grid, encoding: Encoding, averages: int) -> list[str]:
    notes = [f"left out {n} acquisitions flagged {name}" for name, n in scan.kinds.skipped.items()]
    if averages > 1:
        notes.append(f"averaged up to {averages} measurements of a sample")
    if grid.is_nominal:
        notes.append("the file holds no positions or directions; the geometry is nominal")
    if min(encoding.fov_mm) <= 0:
        notes.append("the header holds no field of view along an axis; 1 mm spacing was assumed")
    if scan.header.vendor_is_siemens and not grid.is_nominal:
        notes.append("Siemens directions turned round for exp(+2 pi i k x) images")
    return notes


def _collapse_readout(kspace: KSpace) -> KSpace:
    """Turn a volume whose readout is one sample into an image in its two phase-encode axes."""
    grid, recon = kspace.grid, kspace.recon_shape
    turned = Grid(
        (1, *grid.shape[:2]),
        (grid.spacing_mm[2], *grid.spacing_mm[:2]),
        is_nominal=grid.is_nominal,
    )
    if not grid.is_nominal:
        turned = replace(
            turned,
            centre_mm=grid.centre_mm,
            x_direction=grid.y_direction,
            y_direction=grid.z_direction,
            z_direction=grid.x_direction,
        )
    return replace(
        kspace,
        samples=kspace.samples[..., 0],
        mask=kspace.mask[..., 0],
        grid=turned,
        recon_shape=None if recon is None else (1, *recon[:2]),
    )
