"""NIfTI-1: magnitude or phase as float32, with scanner coordinates in qform and sform.

Without a measured position both codes are 0 (NIFTI_XFORM_UNKNOWN): the header then holds the voxel
size only, and viewers show no left and right.
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io.atomic import replacing
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, reading

__all__ = ["read", "write"]

_HEADER_BYTES = 348
_BEST_COMPRESSION = 1100
_SCANNER = 1
"""NIFTI_XFORM_SCANNER_ANAT: coordinates of the scanner."""


def write(image: NDArray[np.float32], grid: Grid, path: Path, *, description: str = "") -> None:
    """Write a real image.

    Parameters
    ----------
    image : (z, y, x), float32
    grid : Grid
        Becomes qform and sform, both with code 1 (scanner), in millimetres. Of a nominal one only
        the spacing is written, both codes are 0.
    path : Path
        Compressed if its name ends in ``.gz``; the bytes depend on the arguments only.
    description : str
        At most 79 characters, for the header.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    import nibabel

    affine = None if grid.is_nominal else grid.affine
    volume = nibabel.Nifti1Image(np.asarray(image, dtype=np.float32).T, affine)
    volume.header.set_zooms(grid.spacing_mm[::-1])
    volume.header.set_xyzt_units("mm")
    volume.header["descrip"] = description.encode("ascii", "replace")[:79]
    if affine is not None:
        volume.set_qform(affine, code=_SCANNER)
        volume.set_sform(affine, code=_SCANNER)
    with replacing(path) as part, part.open("wb") as file:
        if path.suffix.lower() == ".gz":
            with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
                volume.to_stream(packed)
        else:
            volume.to_stream(file)


def read(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY
) -> tuple[NDArray[np.generic], Grid | None]:
    """Read an image.

    Returns
    -------
    image : (z, y, x), float32 or complex64
    grid : Grid or None
        Nominal where both codes are 0; None where the affine shears or the voxel size is no number.

    Raises
    ------
    DataError
        If the file is damaged, truncated, not three-dimensional, or holds values that are not
        finite.
    ResourceError
        If the image is larger than `max_memory`.
    """
    import nibabel

    with path.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
    opened = cast("IO[bytes]", gzip.GzipFile(path) if is_packed else path.open("rb"))
    with reading(path, "NIfTI image"), opened as file:
        content = _bounded(file, path, max_memory, is_packed=is_packed)
        volume = nibabel.Nifti1Image.from_bytes(content)
        values = np.asanyarray(volume.dataobj)
        has_affine = bool(volume.header["sform_code"] or volume.header["qform_code"])
        affine = np.asarray(volume.affine, dtype=float)
        steps = [float(step) for step in volume.header["pixdim"][3:0:-1]]
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    values = values[..., None] if values.ndim == 2 else values
    if values.ndim != 3 or values.size == 0:
        raise DataError(f"{path}: expected a three-dimensional image, got {values.shape}")
    if not np.isfinite(values).all():
        raise DataError(f"{path}: the image holds values that are NaN or infinite")
    if has_affine and not np.isfinite(affine).all():
        raise DataError(f"{path}: the affine holds values that are NaN or infinite")
    dtype = np.complex64 if values.dtype.kind == "c" else np.float32
    image = np.ascontiguousarray(values.T, dtype=dtype)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    return image, _placed(affine, shape) if has_affine else _nominal(steps, shape)


def _bounded(file: IO[bytes], path: Path, max_memory: int, *, is_packed: bool) -> bytes:
    """Read header and image, no more, once their size is believable."""
    import nibabel

    head = file.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES or head[344:348] != b"n+1\0":
        raise DataError(f"{path}: expected a single-file NIfTI-1 image (.nii or .nii.gz)")
    header = nibabel.Nifti1Header(head)
    start = int(header["vox_offset"])
    sizes = [int(n) for n in header.get_data_shape()]
    n_bytes = int(header.get_data_dtype().itemsize) * math.prod(sizes)
    stored = path.stat().st_size * (_BEST_COMPRESSION if is_packed else 1)
    if start < _HEADER_BYTES or start + n_bytes > stored:
        raise DataError(
            f"{path}: the header claims {n_bytes} bytes of voxels, "
            f"the file of {path.stat().st_size} bytes cannot hold them"
        )
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise DataError(f"{path}: scl_slope and scl_inter expected finite numbers")
    # Once as bytes, once as scaled numbers.
    check_budget(path, "image", 2 * n_bytes, max_memory)
    rest = file.read(start + n_bytes - _HEADER_BYTES)
    if len(rest) < start + n_bytes - _HEADER_BYTES:
        raise DataError(f"{path}: the file is truncated, it ends before the last voxel")
    return head + rest


def _placed(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Grid | None:
    try:
        return Grid.from_affine(affine, shape)
    except DataError:
        return None


def _nominal(steps: list[float], shape: tuple[int, int, int]) -> Grid | None:
    dz, dy, dx = steps
    try:
        return Grid(shape, (dz, dy, dx), is_nominal=True)
    except DataError:
        return None
