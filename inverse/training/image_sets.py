"""Collections of images to learn a prior from: HDF5, NumPy, NIfTI and pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, existing_file, reading

__all__ = ["SCALES", "ImageSet", "read_images"]

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def _peak(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Divide by the 99.9th percentile, so that the peak is about one; a black image stays black."""
    values = np.abs(image).astype(np.float32)
    top = float(np.percentile(values, 99.9))
    return values / np.float32(top) if top > 0 else values


def _hounsfield(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Attenuation relative to water, 1 + HU / 1000: air is zero, water one; never negative."""
    return np.maximum(1 + np.asarray(image, np.float32) / 1000, 0)


def _as_is(image: NDArray[np.generic]) -> NDArray[np.float32]:
    return np.asarray(image, np.float32)


SCALES: dict[str, Callable[[NDArray[np.generic]], NDArray[np.float32]]] = {
    "peak": _peak,
    "hu": _hounsfield,
    "none": _as_is,
}
"""How grey values become image units with a peak of about one, by name."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageSet:
    """Images in image units, and where they came from.

    Parameters
    ----------
    images : tuple of (y, x), float32
        Constant borders are cut away: padding is not anatomy.
    sources : mapping of str to str
        File name (with its data set) to the sha256 of the file.
    scale : str
        Key of `SCALES` that made image units of the grey values.
    """

    images: tuple[NDArray[np.float32], ...]
    sources: dict[str, str]
    scale: str

    @property
    def fingerprint(self) -> str:
        """Digest of the sources in order; a resumed training must see the same."""
        text = "\n".join(f"{name} {digest}" for name, digest in self.sources.items())
        return hashlib.sha256(f"{self.scale}\n{text}".encode()).hexdigest()

    @property
    def root_mean_square(self) -> float:
        """Of all pixels: the `sigma_data` of a plan."""
        total = sum(float(np.vdot(image, image)) for image in self.images)
        return float(np.sqrt(total / sum(image.size for image in self.images)))

    def __repr__(self) -> str:
        return f"<ImageSet of {len(self.images)} images from {len(self.sources)} files>"


def read_images(names: Sequence[str], scale: str = "peak", smallest: int = 16) -> ImageSet:
    """Read every image of some files.

    Parameters
    ----------
    names : sequence of str
        ``set.h5:train`` (a data set of an HDF5 file), ``set.npz:hu`` (an array of an archive),
        ``set.npy``, ``volume.nii.gz`` (its slices along the last axis), a picture, or a folder of
        pictures. Arrays have shape (image, y, x) or (y, x).
    scale : {"peak", "hu", "none"}
        See `SCALES`.
    smallest : int
        Images with a shorter side, once constant borders are cut, are left out.

    Returns
    -------
    ImageSet

    Raises
    ------
    UsageError
        If a file or its data set does not exist, or the scale is unknown.
    DataError
        If a file is damaged, holds NaN or no image that is large enough.
    """
    if scale not in SCALES:
        raise UsageError(f"scale expected one of {', '.join(SCALES)}; got '{scale}'")
    images: list[NDArray[np.float32]] = []
    sources: dict[str, str] = {}
    for name in names:
        for label, path, stack in _stacks(name):
            if stack.ndim not in (2, 3) or not np.isfinite(stack).all():
                raise DataError(
                    f"{label}: expected finite values of shape (image, y, x), got {stack.shape}"
                )
            for image in stack.reshape(-1, *stack.shape[-2:]):
                kept = SCALES[scale](_without_border(image))
                if min(kept.shape) >= smallest:
                    images.append(kept)
            sources[label] = hashlib.sha256(path.read_bytes()).hexdigest()
    if not images:
        raise DataError(f"no image of at least {smallest}x{smallest} pixels in {', '.join(names)}")
    return ImageSet(tuple(images), sources, scale)


def _stacks(name: str) -> list[tuple[str, Path, NDArray[np.generic]]]:
    """Return (label, file, array) for everything that a name stands for."""
    text, _, member = name.rpartition(":") if ":" in name else (name, "", "")
    path = Path(text)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in _PICTURES)
        if not files:
            raise DataError(f"{path.name}: the folder holds no picture ({', '.join(_PICTURES)})")
        return [(file.name, file, _picture(file)) for file in files]
    path = existing_file(path)
    label = f"{path.name}:{member}" if member else path.name
    if path.suffix in (".h5", ".hdf5"):
        return [(label, path, _from_hdf5(path, member))]
    if path.suffix in (".npz", ".npy"):
        return [(label, path, _from_numpy(path, member))]
    if path.name.endswith((".nii", ".nii.gz")):
        return [(label, path, _from_nifti(path))]
    if path.suffix.lower() in _PICTURES:
        return [(label, path, _picture(path))]
    raise DataError(f"{path.name}: expected HDF5, .npz, .npy, NIfTI, a picture or a folder of them")


def _from_hdf5(path: Path, member: str) -> NDArray[np.generic]:
    import h5py

    with reading(path, "HDF5 file"), h5py.File(path) as file:
        if not isinstance(file.get(member or "/"), h5py.Dataset):
            known = [key for key in file if isinstance(file[key], h5py.Dataset)]
            raise UsageError(f"expected {path.name}:NAME with one of {', '.join(known)}")
        data = file[member]
        check_budget(path, member, data.size * data.dtype.itemsize, DEFAULT_MAX_MEMORY)
        return np.asarray(data[()])


def _from_numpy(path: Path, member: str) -> NDArray[np.generic]:
    with reading(path, "array"):
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return np.asarray(loaded)
        with loaded:
            if member not in loaded.files:
                raise UsageError(f"expected {path.name}:NAME with one of {', '.join(loaded.files)}")
            return np.asarray(loaded[member])


def _from_nifti(path: Path) -> NDArray[np.generic]:
    import nibabel

    with reading(path, "NIfTI file"):
        image = nibabel.load(path)  # type: ignore[attr-defined]
        n_bytes = int(np.prod(image.shape)) * 8  # type: ignore[attr-defined]
        check_budget(path, "volume", n_bytes, DEFAULT_MAX_MEMORY)
        volume = np.asarray(image.dataobj)  # type: ignore[attr-defined]
        return np.ascontiguousarray(volume.T)


def _picture(path: Path) -> NDArray[np.generic]:
    from PIL import Image

    with reading(path, "picture"), Image.open(path) as image:
        check_budget(path, "picture", image.width * image.height * 8, DEFAULT_MAX_MEMORY)
        values = np.asarray(image)
        return values if values.ndim == 2 else np.asarray(image.convert("L"))


def _without_border(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """Cut rows and columns that hold one value from the edges."""
    rows = np.flatnonzero(np.ptp(image, axis=1))
    columns = np.flatnonzero(np.ptp(image, axis=0))
    if not len(rows) or not len(columns):
        return image[:0, :0]
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
