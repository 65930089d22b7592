"""ISMRMRD files to `KSpace`: choose, place, average, and say what was done."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io import hdf5
from inverse.io.ismrmrd.flags import Kinds, sort_by_kind
from inverse.io.ismrmrd.geometry import grid_of, slice_order
from inverse.io.ismrmrd.header import Encoding, Header, parse_header
from inverse.io.ismrmrd.placement import Layout, fill, plan
from inverse.io.ismrmrd.records import COUNTERS, Records, find_group, read_records, samples_of
from inverse.io.sampling import shared
from inverse.io.selection import Select, check_names, index_of
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, sha256
from inverse.mri.kspace import KSpace

__all__ = ["read", "survey"]

_EXCLUSIVE = ("contrast", "phase", "repetition", "set")
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
        group = find_group(file, path)
        if group is None:
            raise DataError(f"{path}: expected a group with the members 'xml' and 'data'")
        header = parse_header(hdf5.text(group, "xml", path), path)
        records = read_records(group, path, max_memory)
        kinds = _kinds(records)
        return _assemble(_Scan(header, records, kinds), chosen, max_memory)


def survey(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> dict[str, object]:
    """Say what an ISMRMRD file holds without reading its samples.

    Returns
    -------
    dict
        "acquisitions", "flags" (name to count), "counters" (name to number of values, for those
        with several), "trajectory".
    """
    with hdf5.opened(path) as file:
        group = find_group(file, path)
        if group is None:
            raise DataError(f"{path}: expected a group with the members 'xml' and 'data'")
        header = parse_header(hdf5.text(group, "xml", path), path)
        records = read_records(group, path, max_memory)
        kinds = _kinds(records)
    heads = records.heads[kinds.imaging]
    counters = {name: _values(heads, name) for name in ("encoding", "slice", *COUNTERS)}
    return {
        "acquisitions": len(records.heads),
        "flags": kinds.seen,
        "counters": {name: values for name, values in counters.items() if len(values) > 1},
        "trajectory": [encoding.trajectory for encoding in header.encodings],
    }


def _kinds(records: Records) -> Kinds:
    try:
        kinds = sort_by_kind(records.heads["flags"])
    except DataError as error:
        raise DataError(f"{records.path}: {error}") from None
    if not kinds.imaging.size:
        raise DataError(f"{records.path}: no acquisition is an imaging line")
    return kinds


def _values(heads: NDArray[np.void], name: str) -> list[int]:
    column = heads["encoding_space_ref"] if name == "encoding" else heads["idx"][name]
    return [int(v) for v in np.unique(column)]


def _assemble(scan: _Scan, select: Select, max_memory: int) -> KSpace:
    records, path = scan.records, scan.records.path
    rows, notes = _chosen_rows(scan, select)
    heads = records.heads[rows]
    encoding = _encoding(scan.header, int(heads["encoding_space_ref"][0]), path)
    encoding, oversampling_notes = _readout_of(encoding, heads)
    slices = slice_order(heads, _values(heads, "slice"), path)
    is_3d = _is_volume(encoding, heads, slices, path)
    nx = encoding.matrix[2]
    layout = plan(records, rows, slices, encoding, readout=nx, is_3d=is_3d)
    calibration, calibration_notes = _calibration(scan, rows, slices, encoding, is_3d=is_3d)
    samples, counts = fill(records, layout, calibration, max_memory=max_memory)
    averages = int(counts.max())
    noise, noise_notes = _noise(scan, rows, counts)
    grid = grid_of(
        heads, slices, encoding,
        shape=(layout.shape[2] if is_3d else len(slices), layout.shape[3], nx),
        is_flipped=scan.header.vendor_is_siemens, path=path,
    )  # fmt: skip
    notes += [*layout.notes, *oversampling_notes, *calibration_notes, *noise_notes]
    notes += _general_notes(scan, grid, encoding, averages)
    recon = encoding.recon_size()
    kspace = KSpace(
        samples=samples if is_3d else samples[:, :, 0],
        mask=shared(counts > 0) if is_3d else shared(counts[:, 0] > 0),
        grid=grid,
        recon_shape=(recon[0] if is_3d else len(slices), recon[1], recon[2]),
        noise=noise,
        acquisition={**scan.header.acquisition, "dwell_time_us": _dwell(heads)},
        origin={
            "format": "ismrmrd",
            "sha256": {"h5": sha256(path)},
            "flags": scan.kinds.seen,
            "notes": notes,
        },
    )
    return _collapse_readout(kspace) if is_3d and nx == 1 else kspace


def _dwell(heads: NDArray[np.void]) -> float:
    dwell = float(np.median(heads["sample_time_us"]))
    return dwell if np.isfinite(dwell) and dwell > 0 else 0.0


def _chosen_rows(scan: _Scan, select: Select) -> tuple[NDArray[np.intp], list[str]]:
    rows, path = scan.kinds.imaging, scan.records.path
    notes: list[str] = []

    def keep(name: str, value: int) -> None:
        nonlocal rows
        heads = scan.records.heads[rows]
        column = heads["encoding_space_ref"] if name == "encoding" else heads["idx"][name]
        rows = rows[column == value]

    for name in ("encoding", *_EXCLUSIVE):
        keep(name, index_of(path, name, _values(scan.records.heads[rows], name), select))
    for name in ("slice", "average"):
        if name in select:
            available = _values(scan.records.heads[rows], name)
            keep(name, index_of(path, name, available, select))
    segments = _values(scan.records.heads[rows], "segment")
    if "segment" in select or not _segments_are_disjoint(scan.records.heads[rows]):
        keep("segment", index_of(path, "segment", segments, select))
    elif len(segments) > 1:
        notes.append(f"joined {len(segments)} segments")
    notes += [f"read {name} {value}" for name, value in select.items()]
    return rows, notes


def _segments_are_disjoint(heads: NDArray[np.void]) -> bool:
    names = ("slice", "kspace_encode_step_1", "kspace_encode_step_2", "segment")
    places = np.unique(np.stack([heads["idx"][n] for n in names], axis=1), axis=0)
    return len(np.unique(places[:, :3], axis=0)) == len(places)


def _encoding(header: Header, index: int, path: Path) -> Encoding:
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


def _readout_of(encoding: Encoding, heads: NDArray[np.void]) -> tuple[Encoding, list[str]]:
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


def _is_volume(encoding: Encoding, heads: NDArray[np.void], slices: list[int], path: Path) -> bool:
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
    for name in _EXCLUSIVE:
        keep &= heads["idx"][name] == first["idx"][name]
    if not keep.any():
        return None, []
    layout = plan(records, found[keep], slices, encoding, readout=encoding.matrix[2], is_3d=is_3d)
    return layout, [f"{int(keep.sum())} embedded calibration lines joined k-space"]


def _noise(
    scan: _Scan, rows: NDArray[np.intp], counts: NDArray[np.uint16]
) -> tuple[NDArray[np.complex64] | None, list[str]]:
    """Noise samples scaled to one averaged sample of k-space.

    The variance of noise is proportional to the bandwidth 1 / dwell, and to 1 / averages.
    """
    found, records = scan.kinds.noise, scan.records
    if not found.size:
        return None, []
    n_coils = records.heads[rows[0]]["active_channels"]
    heads = records.heads[found]
    if (heads["active_channels"] != n_coils).any():
        return None, ["the noise scan has another number of channels; it was not used"]
    dwell = _dwell(records.heads[rows])
    own = np.maximum(heads["sample_time_us"].astype(float), 0.0)
    is_known = bool(dwell > 0 and np.isfinite(own).all() and (own > 0).all())
    averaged = float(np.mean(1.0 / counts[counts > 0]))
    scale = {
        int(row): float(
            np.sqrt((own[i] / dwell if is_known else 1.0) / scan.header.noise_bandwidth * averaged)
        )
        for i, row in enumerate(found)
    }
    parts = [line * np.float32(scale[row]) for row, line in samples_of(records, found)]
    noise = np.concatenate(parts, axis=1)
    if not np.isfinite(noise).all():
        raise DataError(f"{records.path}: the noise scan holds samples that are NaN or infinite")
    notes = [f"noise scaled by {np.mean(list(scale.values())):.4g} to the bandwidth of the scan"]
    if not is_known:
        notes.append("sample_time_us is missing; noise taken to be at the bandwidth of the scan")
    return noise.astype(np.complex64, copy=False), notes


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
