"""fastMRI HDF5 files.

Their `kspace` is (slice, coil, x, y): rows are the (oversampled) readout, the undersampling mask
runs along the last axis. Ours is (slice, coil, y, x), so every array is transposed on the way in
and out; an image then equals the one of the same scan as ISMRMRD.

Reference: Zbontar et al. 2018, arXiv:1811.08839, section 4.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io import hdf5
from inverse.io.atomic import replacing
from inverse.io.ismrmrd import Header, header_xml, parse_header
from inverse.io.sampling import lines_of, sampled, shared
from inverse.io.selection import Select, check_names, index_of
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, reading, sha256
from inverse.mri.kspace import KSpace

__all__ = ["read", "survey", "write"]

_REFERENCES = ("reconstruction_rss", "reconstruction_esc")


def read(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY, select: Select | None = None
) -> KSpace:
    """Read a multi-coil or single-coil fastMRI file.

    The files hold no position, orientation or slice distance, so the geometry is nominal: field
    of view from the header, axes along x, y, z. Phase-encode columns that are zero everywhere are
    padding or were not sampled. The reference is `reconstruction_rss`, on whose size the image is
    cropped.

    Parameters
    ----------
    path : Path
    max_memory : int
        Bytes that k-space may take.
    select : mapping of str to int, optional
        {"slice": i} reads one slice.

    Raises
    ------
    DataError
        If the file is damaged or its arrays do not fit each other.
    UsageError
        If `select` names what does not exist.
    ResourceError
        If k-space is larger than `max_memory`.
    """
    chosen = select or {}
    check_names(chosen, ["slice"])
    with hdf5.opened(path) as file:
        stored = _kspace_of(file, path, max_memory)
        available = list(range(stored.shape[0]))
        slices = [index_of(path, "slice", available, chosen)] if chosen else available
        samples = _samples(stored, slices, path, max_memory)
        mask = _mask(file, samples, path)
        header = _header(file, path)
        reference, kind = _reference(file, slices, path, max_memory)
    samples *= mask[:, None]
    grid, recon, notes = _geometry(header, samples, reference)
    if reference is not None and reference.shape != recon:
        notes.append(f"the reference of {reference.shape} voxels does not fit the scan; left out")
        reference, kind = None, None
    return KSpace(
        samples=samples,
        mask=mask,
        grid=grid,
        recon_shape=recon,
        reference=reference,
        reference_kind=kind,
        acquisition=dict(header.acquisition) if header else {},
        origin={"format": "fastmri", "sha256": {"h5": sha256(path)}, "notes": notes},
        warnings=grid.warnings,
    )


def survey(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> dict[str, object]:
    """Say what a fastMRI file holds without reading its samples."""
    with hdf5.opened(path) as file:
        stored = _kspace_of(file, path, max_memory)
        return {
            "is_single_coil": stored.ndim == 3,
            "has_header": _has_text(file, "ismrmrd_header"),
            "has_mask": "mask" in file,
            "has_reference": any(name in file for name in _REFERENCES),
        }


def _kspace_of(file: h5py.File, path: Path, max_memory: int) -> h5py.Dataset:
    stored = hdf5.dataset(file, "kspace", path, max_memory=max_memory)
    if stored.dtype.kind != "c" or stored.ndim not in {3, 4} or stored.size == 0:
        raise DataError(
            f"{path}: expected complex 'kspace' of shape (slice, [coil,] x, y), "
            f"got {stored.dtype} of shape {stored.shape}"
        )
    return stored


def _samples(
    stored: h5py.Dataset, slices: list[int], path: Path, max_memory: int
) -> NDArray[np.complex64]:
    nx, ny = stored.shape[-2:]
    n_coils = stored.shape[1] if stored.ndim == 4 else 1
    samples_shape = len(slices), n_coils, ny, nx
    check_budget(path, "k-space", 8 * int(np.prod(samples_shape, dtype=float)), max_memory)
    samples = np.empty(samples_shape, dtype=np.complex64)
    for index, number in enumerate(slices):
        with reading(path, f"slice {number} of 'kspace'"):
            one = stored[number].reshape(n_coils, nx, ny)
        samples[index] = one.swapaxes(-1, -2)
    return samples


def _mask(file: h5py.File, samples: NDArray[np.complex64], path: Path) -> NDArray[np.bool_]:
    """(1 or slice, y, x): whole lines, where the file's mask and the data say so."""
    points = sampled(samples)
    lines = points.any(axis=-1, keepdims=True)
    if "mask" in file:
        stored = hdf5.dataset(file, "mask", path, max_memory=2**26)
        with reading(path, "data set 'mask'"):
            given = np.asarray(stored[()]).astype(bool).reshape(-1)
        if given.size != samples.shape[2]:
            raise DataError(
                f"{path}: 'mask' expected {samples.shape[2]} phase-encode steps, got {given.size}"
            )
        lines = lines & given[None, :, None]
    return shared(np.repeat(lines, samples.shape[3], axis=-1))


def _has_text(file: h5py.File, name: str) -> bool:
    return name in file or name in file.attrs


def _header(file: h5py.File, path: Path) -> Header | None:
    if not _has_text(file, "ismrmrd_header"):
        return None
    return parse_header(hdf5.text(file, "ismrmrd_header", path), path)


def _reference(
    file: h5py.File, slices: list[int], path: Path, max_memory: int
) -> tuple[NDArray[np.float32] | None, str | None]:
    for name in _REFERENCES:
        if name in file:
            stored = hdf5.dataset(file, name, path, max_memory=max_memory)
            if stored.ndim != 3 or stored.dtype.kind != "f" or len(stored) <= max(slices):
                raise DataError(
                    f"{path}: '{name}' expected real images of shape (slice, x, y), "
                    f"got {stored.dtype} of shape {stored.shape}"
                )
            with reading(path, f"data set '{name}'"):
                images = stored[slices].astype(np.float32)
            if not np.isfinite(images).all():
                raise DataError(f"{path}: '{name}' holds values that are NaN or infinite")
            kind = "rss" if name == "reconstruction_rss" else "magnitude"
            return np.ascontiguousarray(images.swapaxes(-1, -2)), kind
    return None, None


def _geometry(
    header: Header | None,
    samples: NDArray[np.complex64],
    reference: NDArray[np.float32] | None,
) -> tuple[Grid, tuple[int, int, int], list[str]]:
    n_slices, _, ny, nx = samples.shape
    notes = ["fastMRI files hold no position or orientation; the geometry is nominal"]
    recon: tuple[int, int, int] = (n_slices, ny, nx)
    spacing = (1.0, 1.0, 1.0)
    if header is None:
        notes.append("there is no header; 1 mm spacing was assumed")
    else:
        stated = header.encodings[0]
        encoding = replace(stated, matrix=(stated.matrix[0], ny, nx))
        if encoding != stated:
            notes.append("the header has another matrix than k-space; its field of view was kept")
        spacing = encoding.spacing_mm
        recon = (n_slices, *encoding.recon_size()[1:])
        notes.append("the slice distance is taken to be the slice thickness")
    if reference is not None and reference.shape[1] <= ny and reference.shape[2] <= nx:
        recon = (n_slices, *reference.shape[1:])
    return Grid((n_slices, ny, nx), spacing, is_nominal=True), recon, notes


def write(kspace: KSpace, path: Path) -> None:
    """Write k-space as a fastMRI file; position and orientation are lost, the format has none.

    Parameters
    ----------
    kspace : KSpace
        Slices whose mask is the same for all and whole lines.
    path : Path
        Replaced in one step.

    Raises
    ------
    DataError
        If it is a volume, or its mask is no pattern of whole lines shared by all slices.
    ResourceError
        If the file cannot be written.
    """
    lines = None if kspace.is_3d or len(kspace.mask) > 1 else lines_of(kspace.mask)
    if lines is None:
        raise DataError(
            "a fastMRI file expects slices that share one mask of whole phase-encode lines; "
            "write npz instead"
        )
    with replacing(Path(path)) as part, h5py.File(part, "w") as file:
        file["kspace"] = np.ascontiguousarray(kspace.samples.swapaxes(-1, -2))
        file["mask"] = lines[0].astype(np.float32)
        file["ismrmrd_header"] = header_xml(kspace).encode("utf-8")
        if kspace.reference is not None and kspace.reference_kind in {"rss", "magnitude"}:
            name = _REFERENCES[kspace.reference_kind == "magnitude"]
            images = np.abs(kspace.reference).astype(np.float32)
            file[name] = np.ascontiguousarray(images.swapaxes(-1, -2))
