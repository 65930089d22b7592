"""`read_image`: any image file to an array and, where it has one, its grid."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io import hdf5, nifti, result
from inverse.io.archive import read_array
from inverse.io.detect import Format, detect
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, reading

__all__ = ["read_image"]

_REFERENCES = ("reconstruction_rss", "reconstruction_esc")


def read_image(
    path: str | Path, *, max_memory: int = DEFAULT_MAX_MEMORY
) -> tuple[NDArray[np.generic], Grid | None]:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        NIfTI-1 (.nii, .nii.gz), a result of ours (.h5, .npz) or any npz or HDF5 file with
        "image", the reference of a fastMRI file, .npy, or .png (as luminance).
    max_memory : int
        Bytes that it may take.

    Returns
    -------
    image : (z, y, x), float32 or complex64
        A two-dimensional image gets a z axis of 1.
    grid : Grid or None
        None where the file has no geometry.

    Raises
    ------
    DataError
        If the file is missing, damaged, no image, or holds values that are not finite.
    ResourceError
        If the image is larger than `max_memory`.
    """
    path = Path(path)
    kind = detect(path)
    with reading(path, f"{kind} file"):
        image, grid = _read(path, kind, max_memory)
        return _checked(image, path), grid


def _read(path: Path, kind: Format, max_memory: int) -> tuple[NDArray[np.generic], Grid | None]:
    match kind:
        case Format.NIFTI:
            return nifti.read(path, max_memory=max_memory)
        case Format.RESULT_H5:
            return result.read_hdf5(path, max_memory=max_memory)
        case Format.RESULT_NPZ:
            return result.read_npz(path, max_memory=max_memory)
        case Format.FASTMRI:
            return _fastmri(path, max_memory), None
        case Format.NPY:
            return read_array(path, max_memory=max_memory), None
        case Format.PNG:
            return _png(path, max_memory), None
        case Format.DICOM:
            raise DataError(f"{path}: DICOM is written, not read; convert it to NIfTI first")
        case _:
            raise DataError(f"{path}: expected an image, got k-space ({kind})")


def _checked(image: NDArray[np.generic], path: Path) -> NDArray[np.generic]:
    if image.ndim not in {2, 3} or image.size == 0 or image.dtype.kind not in "biufc":
        raise DataError(
            f"{path}: expected numbers of shape (y, x) or (z, y, x), "
            f"got {image.dtype} of shape {image.shape}"
        )
    with np.errstate(over="ignore"):  # what does not fit is infinite, which is refused below
        values = image.astype(np.complex64 if image.dtype.kind == "c" else np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path}: the image holds values that are NaN or infinite")
    return values[None] if values.ndim == 2 else values


def _fastmri(path: Path, max_memory: int) -> NDArray[np.generic]:
    with hdf5.opened(path) as file:
        for name in _REFERENCES:
            if name in file:
                stored = hdf5.dataset(file, name, path, max_memory=max_memory)
                with reading(path, f"data set '{name}'"):
                    return np.asarray(stored[()]).swapaxes(-1, -2)
    raise DataError(f"{path}: expected an image, got fastMRI k-space without a reference")


def _png(path: Path, max_memory: int) -> NDArray[np.generic]:
    from PIL import Image

    with reading(path, "PNG image"), Image.open(path, formats=["PNG"]) as image:
        check_budget(path, "image", 8 * math.prod(image.size), max_memory)
        is_grey = image.mode in {"1", "L", "I", "I;16", "F"}
        return np.asarray(image if is_grey else image.convert("L"), dtype=np.float32)
