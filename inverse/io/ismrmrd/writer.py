"""`KSpace` to an ISMRMRD file that other tools read: only sampled lines, geometry, noise scan."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from xml.sax.saxutils import escape

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io.atomic import replacing
from inverse.io.ismrmrd.flags import NOISE
from inverse.io.ismrmrd.header import SIMULATED
from inverse.mri.kspace import KSpace

__all__ = ["header_xml", "write"]

_COUNTERS = [
    (name, "<u2")
    for name in (
        "kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase",
        "repetition", "set", "segment",
    )
]  # fmt: skip
_HEAD = np.dtype(
    [
        ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
        ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)),
        ("number_of_samples", "<u2"), ("available_channels", "<u2"), ("active_channels", "<u2"),
        ("channel_mask", "<u8", (16,)), ("discard_pre", "<u2"), ("discard_post", "<u2"),
        ("center_sample", "<u2"), ("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"),
        ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)),
        ("phase_dir", "<f4", (3,)), ("slice_dir", "<f4", (3,)),
        ("patient_table_position", "<f4", (3,)), ("idx", [*_COUNTERS, ("user", "<u2", (8,))]),
        ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,)),
    ]
)  # fmt: skip
_FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
_RECORD = np.dtype([("head", _HEAD), ("traj", _FLOATS), ("data", _FLOATS)])
_LONGEST_READOUT = 65535
_BLOCK = 256

_Acquisition = tuple[NDArray[np.void], NDArray[np.complex64]]


def write(kspace: KSpace, path: Path) -> None:
    """Write k-space as an ISMRMRD file.

    A sampled line becomes one acquisition, shorter than the matrix where only a run of samples
    about the centre was measured. A point mask of a single slice is written as a volume whose
    readout is one sample long, x as kspace_encode_step_1 and y as kspace_encode_step_2, which is
    what two phase-encode axes are; `read` gives the same k-space back.

    Parameters
    ----------
    kspace : KSpace
    path : Path
        Replaced in one step.

    Raises
    ------
    DataError
        If a mask has isolated points in several slices or in a volume.
    ResourceError
        If the file cannot be written.
    """
    stored = kspace if _has_runs(kspace.mask) else _expand_readout(kspace)
    with replacing(Path(path)) as part, h5py.File(part, "w") as file:
        group = file.create_group("dataset")
        xml = group.create_dataset("xml", shape=(1,), dtype=h5py.string_dtype("utf-8"))
        xml[0] = header_xml(stored)
        data = group.create_dataset("data", (0,), dtype=_RECORD, maxshape=(None,), chunks=(_BLOCK,))
        records = chain(_noise_records(kspace), _line_records(stored))
        while block := list(islice(records, _BLOCK)):
            rows = np.empty(len(block), dtype=_RECORD)
            for row, (head, samples) in enumerate(block):
                rows["head"][row] = head
                rows["traj"][row] = np.zeros(0, dtype="<f4")
                rows["data"][row] = np.ascontiguousarray(samples, dtype="<c8").view("<f4").ravel()
            data.resize(len(data) + len(block), axis=0)
            data[-len(block) :] = rows


def _has_runs(mask: NDArray[np.bool_]) -> bool:
    """Whether the samples of every line are one run that holds the centre of k-space."""
    starts = (mask[..., 1:] & ~mask[..., :-1]).sum(axis=-1) + mask[..., 0]
    is_sampled = mask.any(axis=-1)
    centre = mask[..., mask.shape[-1] // 2]
    return bool(((starts == 1) & centre)[is_sampled].all())


def _expand_readout(kspace: KSpace) -> KSpace:
    if kspace.is_3d or kspace.n_slices != 1:
        raise DataError(
            "an ISMRMRD file holds lines: expected a mask that is one run of samples in every "
            "line, or isolated points in a single slice; write npz instead"
        )
    grid, recon = kspace.grid, kspace.recon_shape
    return KSpace(
        samples=kspace.samples[..., None],
        mask=kspace.mask[..., None],
        grid=Grid(
            (*grid.shape[1:], 1),
            (*grid.spacing_mm[1:], grid.spacing_mm[0]),
            centre_mm=grid.centre_mm,
            x_direction=grid.z_direction,
            y_direction=grid.x_direction,
            z_direction=grid.y_direction,
            is_nominal=grid.is_nominal,
        ),
        recon_shape=None if recon is None else (*recon[1:], 1),
        noise=kspace.noise,
        acquisition=kspace.acquisition,
    )


def _line_records(kspace: KSpace) -> Iterator[_Acquisition]:
    mask = np.broadcast_to(kspace.mask, (kspace.n_slices, *kspace.mask.shape[1:]))
    volume = mask if kspace.is_3d else mask[:, None]
    for index in np.argwhere(volume.any(axis=-1)):
        s, z, y = (int(i) for i in index)
        run = np.flatnonzero(volume[s, z, y])
        start, stop = int(run[0]), int(run[-1]) + 1
        line = kspace.samples[s, :, z, y] if kspace.is_3d else kspace.samples[s, :, y]
        head = _head(kspace, stop - start)
        head["center_sample"] = kspace.grid.shape[2] // 2 - start
        head["idx"]["slice"] = s
        head["idx"]["kspace_encode_step_1"] = y
        head["idx"]["kspace_encode_step_2"] = z
        _set_geometry(head, kspace, s)
        yield head, line[:, start:stop]


def _noise_records(kspace: KSpace) -> Iterator[_Acquisition]:
    if kspace.noise is None:
        return
    for start in range(0, kspace.noise.shape[1], _LONGEST_READOUT):
        samples = kspace.noise[:, start : start + _LONGEST_READOUT]
        head = _head(kspace, samples.shape[1])
        head["flags"] = 1 << (NOISE - 1)
        yield head, samples


def _head(kspace: KSpace, n_samples: int) -> NDArray[np.void]:
    head = np.zeros((), dtype=_HEAD)
    head["version"] = 1
    head["available_channels"] = head["active_channels"] = kspace.n_coils
    head["number_of_samples"] = n_samples
    head["sample_time_us"] = float(kspace.acquisition.get("dwell_time_us", 0.0))
    return head


def _set_geometry(head: NDArray[np.void], kspace: KSpace, index: int) -> None:
    grid = kspace.grid
    if grid.is_nominal:
        return  # directions of zero say that none are known
    z, y, x = (n // 2 for n in grid.shape)
    head["position"] = grid.position_mm([z if kspace.is_3d else index, y, x])
    head["read_dir"] = grid.x_direction
    head["phase_dir"] = grid.y_direction
    head["slice_dir"] = grid.z_direction


def header_xml(kspace: KSpace) -> str:
    """ISMRMRD XML header of `kspace`: matrices, fields of view, limits and sequence facts."""
    grid = kspace.grid
    recon = kspace.recon_shape or grid.shape
    encoded, wanted = list(grid.shape), list(recon)
    spacing = list(grid.spacing_mm)
    if not kspace.is_3d:
        encoded[0] = wanted[0] = 1
        spacing[0] = grid.slice_thickness_mm or spacing[0]
    limits = "".join(
        _limit(name, n)
        for name, n in zip(
            ("kspace_encoding_step_1", "kspace_encoding_step_2", "slice"),
            (encoded[1], encoded[0], kspace.n_slices),
            strict=True,
        )
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"{_facts(kspace)}<encoding>"
        f"<encodedSpace>{_space(encoded, spacing)}</encodedSpace>"
        f"<reconSpace>{_space(wanted, spacing)}</reconSpace>"
        f"<encodingLimits>{limits}</encodingLimits>"
        "<trajectory>cartesian</trajectory></encoding>"
        f"{_sequence(kspace)}</ismrmrdHeader>"
    )


def _space(matrix: list[int], spacing_mm: list[float]) -> str:
    sizes = "".join(f"<{a}>{n}</{a}>" for a, n in zip("xyz", matrix[::-1], strict=True))
    fov = [n * d for n, d in zip(matrix[::-1], spacing_mm[::-1], strict=True)]
    extents = "".join(f"<{a}>{f!r}</{a}>" for a, f in zip("xyz", map(float, fov), strict=True))
    return f"<matrixSize>{sizes}</matrixSize><fieldOfView_mm>{extents}</fieldOfView_mm>"


def _limit(name: str, n: int) -> str:
    centre = 0 if name == "slice" else n // 2
    return (
        f"<{name}><minimum>0</minimum><maximum>{n - 1}</maximum><center>{centre}</center></{name}>"
    )


def _facts(kspace: KSpace) -> str:
    facts = kspace.acquisition
    position = facts.get("patient_position")
    measurement = (
        f"<measurementInformation><patientPosition>{escape(str(position))}</patientPosition>"
        "</measurementInformation>"
        if position
        else ""
    )
    tesla = float(facts.get("field_t", 0.0))
    vendor = SIMULATED if facts.get("source") == "simulation" else ""
    system = (
        "<acquisitionSystemInformation>"
        + (f"<systemVendor>{vendor}</systemVendor>" if vendor else "")
        + (f"<systemFieldStrength_T>{tesla!r}</systemFieldStrength_T>" if tesla > 0 else "")
        + f"<receiverChannels>{kspace.n_coils}</receiverChannels></acquisitionSystemInformation>"
    )
    # The standard demands the frequency; 0 says that it is not known.
    hertz = round(tesla * 42.577478518e6)
    return (
        f"{measurement}{system}<experimentalConditions><H1resonanceFrequency_Hz>{hertz}"
        "</H1resonanceFrequency_Hz></experimentalConditions>"
    )


def _sequence(kspace: KSpace) -> str:
    names = (
        ("TR", "repetition_time_ms"),
        ("TE", "echo_time_ms"),
        ("TI", "inversion_time_ms"),
        ("flipAngle_deg", "flip_angle_deg"),
    )
    facts = kspace.acquisition
    inner = "".join(f"<{n}>{float(facts[f])!r}</{n}>" for n, f in names if f in facts)
    return f"<sequenceParameters>{inner}</sequenceParameters>" if inner else ""
