"""What one name on a command line stands for: the stacks of images of a file or a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, existing_file, reading

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Stack", "read_stacks"]

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_SUBJECTS = ("patient", "subject")
_FORMATS = "HDF5, .npz, .npy, NIfTI, a picture or a folder of pictures"


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Images of one file as they are stored.

    Parameters
    ----------
    label : str
        File name, with the name of the array in it; no folder.
    path : Path
    images : (image, y, x), real or complex
    subjects : (image,), optional
        Who was scanned, where the file says so; kept out of everything that is written.
    """

    label: str
    path: Path
    images: NDArray[np.generic]
    subjects: NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        images = self.images
        if images.dtype.kind not in "iufc":
            raise DataError(
                f"{self.label}: expected images of numbers, got {images.dtype}; convert them with "
                f"array.astype(numpy.float32)"
            )
        if images.ndim != 3:
            raise DataError(
                f"{self.label}: expected images of shape (image, y, x) or (y, x), got shape "
                f"{images.shape}"
            )
        bad = ~np.isfinite(images)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"{self.label}: {int(bad.sum())} values are NaN or infinite, the first at "
                f"[image, y, x] = {first}; replace them, or leave that image out"
            )


def read_stacks(name: str) -> Iterator[Stack]:
    """Read everything that a name stands for.

    Parameters
    ----------
    name : str
        ``set.h5:train`` (a data set of an HDF5 file), ``set.npz:hu`` (an array of an archive),
        ``set.npy``, ``volume.nii.gz`` (its slices along the last axis), a picture, or a folder of
        pictures. The array's name may be left out where there is no choice.

    Yields
    ------
    Stack

    Raises
    ------
    UsageError
        If the file holds several arrays and none of them is named, or not the named one.
    DataError
        If a file is missing, damaged, of another kind, or holds no finite images.
    """
    path, member = _split(name)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURES)
        if not files:
            raise DataError(f"{path.name}: the folder holds no picture ({', '.join(_PICTURES)})")
        for file in files:
            yield Stack(file.name, file, _stacked(_picture(file)))
        return
    path = existing_file(path)
    subjects = None
    if path.suffix in {".h5", ".hdf5"}:
        member, images, subjects = _from_hdf5(path, member)
    elif path.suffix == ".npz":
        member, images, subjects = _from_archive(path, member)
    else:
        images = _alone(path)
    yield Stack(f"{path.name}:{member}" if member else path.name, path, _stacked(images), subjects)


def _split(name: str) -> tuple[Path, str]:
    """Take FILE:ARRAY apart; a file whose own name holds a colon is a file."""
    text, colon, member = name.rpartition(":")
    return (Path(text), member) if colon and not Path(name).exists() else (Path(name), "")


def _stacked(images: NDArray[np.generic]) -> NDArray[np.generic]:
    return images[None] if images.ndim == 2 else images


def _alone(path: Path) -> NDArray[np.generic]:
    """Read a file that holds one array."""
    from inverse.io import nifti
    from inverse.io.archive import read_array

    if path.suffix == ".npy":
        return read_array(path)
    if path.name.endswith((".nii", ".nii.gz")):
        return nifti.read(path)[0]
    if path.suffix.lower() in _PICTURES:
        return _picture(path)
    raise DataError(f"{path.name}: expected {_FORMATS}")


def _from_hdf5(
    path: Path, member: str
) -> tuple[str, NDArray[np.generic], NDArray[np.generic] | None]:
    import h5py

    from inverse.io import hdf5

    with hdf5.opened(path) as file:
        known = [
            key
            for key in file
            if isinstance(found := file.get(key), h5py.Dataset) and found.ndim in {2, 3}
        ]
        member = _chosen(path, member, known)
        images = hdf5.dataset(file, member, path, max_memory=DEFAULT_MAX_MEMORY)[()]
        for name in (f"{member}_{kind}" for kind in _SUBJECTS):
            if name in file and len(file[name]) == len(images):
                subjects = hdf5.dataset(file, name, path, max_memory=DEFAULT_MAX_MEMORY)[()]
                return member, np.asarray(images), np.asarray(subjects)
    return member, np.asarray(images), None


def _from_archive(
    path: Path, member: str
) -> tuple[str, NDArray[np.generic], NDArray[np.generic] | None]:
    from inverse.io.archive import names, read_arrays

    known = names(path)
    if not member and len(known) > 1:  # which of them are images shows only when they are read
        known = [key for key, value in read_arrays(path, tuple(known)).items() if value.ndim > 1]
    member = _chosen(path, member, known)
    arrays = read_arrays(path, (member, *_SUBJECTS))
    subjects = next((arrays[kind] for kind in _SUBJECTS if kind in arrays), None)
    if subjects is not None and subjects.shape != arrays[member].shape[:1]:
        subjects = None
    return member, arrays[member], subjects


def _chosen(path: Path, member: str, known: list[str]) -> str:
    """Return the array that is meant: the named one, or the only one."""
    if member in known:
        return member
    if not member and len(known) == 1:
        return known[0]
    raise UsageError(
        f"expected {path.name}:NAME with one of {', '.join(known) or '(it holds no image)'}; "
        f"got {member or 'no name'}"
    )


def _picture(path: Path) -> NDArray[np.generic]:
    """Read the grey values of a picture, of all pages of a TIFF file."""
    from PIL import ImageSequence
    from PIL.Image import open as opened

    with reading(path, "picture"), opened(path) as image:
        # In other formats further images are thumbnails or animations.
        n_pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        n_bytes = n_pages * image.width * image.height * 8
        check_budget(path, "picture", n_bytes, DEFAULT_MAX_MEMORY)
        if n_pages == 1:
            return _grey(image)
        return np.stack([_grey(page) for page in ImageSequence.Iterator(image)])


def _grey(page: Image) -> NDArray[np.generic]:
    """Return grey values as stored, in up to 32 bits; of colours and palettes the luminance."""
    is_grey = page.mode in {"L", "F"} or page.mode.startswith("I")
    return np.asarray(page if is_grey else page.convert("L"))
