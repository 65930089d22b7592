"""A reconstruction as HDF5 or npz: the complex image, its grid and how it was made.

| name | in HDF5 | in npz |
|---|---|---|
| image, baseline (z, y, x) complex64 | data sets | arrays |
| samples (n, z, y, x) complex64 or float32, of a posterior | data set | array |
| std, interval_low, interval_high, null_space_share (z, y, x) float32 | data sets | arrays |
| spacing_mm, centre_mm, directions, is_nominal | attributes of image | arrays |
| method, settings, provenance (JSON) | attributes of the file | arrays of text |
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io import hdf5
from inverse.io.archive import read_arrays
from inverse.io.atomic import replacing
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, reading

__all__ = ["read_hdf5", "read_members", "read_npz", "write_hdf5", "write_npz"]

_GEOMETRY = ("spacing_mm", "centre_mm", "directions", "is_nominal")


def _geometry(grid: Grid) -> dict[str, NDArray[np.generic]]:
    return {
        "spacing_mm": np.array(grid.spacing_mm),
        "centre_mm": np.array(grid.centre_mm),
        "directions": grid.directions,
        "is_nominal": np.array(grid.is_nominal),
    }


def write_hdf5(
    arrays: dict[str, NDArray[np.generic]], grid: Grid, texts: dict[str, str], path: Path
) -> None:
    """Write arrays, the grid of "image" and texts.

    Parameters
    ----------
    arrays : dict of str to (z, y, x) or (n, z, y, x)
        "image" and others on its grid.
    grid : Grid
    texts : dict of str to str
        "method", "settings", "provenance"; JSON where they have structure.
    path : Path
        Replaced in one step.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    # The newer layout holds attributes beyond 64 kB, which a long provenance is.
    with replacing(path) as part, h5py.File(part, "w", libver=("v110", "v110")) as file:
        for name, text in texts.items():
            file.attrs[name] = text
        for name, array in arrays.items():
            file.create_dataset(name, data=array)
        for name, value in _geometry(grid).items():
            file["image"].attrs[name] = value


def write_npz(
    arrays: dict[str, NDArray[np.generic]], grid: Grid, texts: dict[str, str], path: Path
) -> None:
    """Write the same as `write_hdf5` as a NumPy archive.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    written = {name: np.array(value) for name, value in texts.items()}
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays, **_geometry(grid), **written)


def read_hdf5(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY
) -> tuple[NDArray[np.generic], Grid | None]:
    """Read "image" and, where it has one, its grid.

    Raises
    ------
    DataError
        If it is missing or damaged.
    ResourceError
        If it is larger than `max_memory`.
    """
    with hdf5.opened(path) as file:
        stored = hdf5.dataset(file, "image", path, max_memory=max_memory)
        with reading(path, "data set 'image'"):
            image = np.asarray(stored[()])
        found = {name: hdf5.numbers(stored, name, path) for name in _GEOMETRY}
    facts = {name: value for name, value in found.items() if value is not None}
    return image, _grid(facts, image, path)


def read_npz(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY
) -> tuple[NDArray[np.generic], Grid | None]:
    """Read "image" and, where it has one, its grid.

    Raises
    ------
    DataError
        If it is missing or damaged.
    ResourceError
        If it is larger than `max_memory`.
    """
    arrays = read_arrays(path, ("image", *_GEOMETRY), max_memory=max_memory)
    if "image" not in arrays:
        raise DataError(f"{path}: expected an array 'image' in the archive, there is none")
    return arrays["image"], _grid(arrays, arrays["image"], path)


def read_members(
    path: Path, wanted: tuple[str, ...], *, max_memory: int = DEFAULT_MAX_MEMORY
) -> dict[str, NDArray[np.generic]]:
    """Read arrays of a result besides its image, those that are there.

    Parameters
    ----------
    path : Path
        HDF5 or npz, told from the content.
    wanted : tuple of str
    max_memory : int
        Bytes that they may take.

    Raises
    ------
    DataError
        If one is damaged.
    ResourceError
        If they are larger than `max_memory`.
    """
    if not h5py.is_hdf5(path):
        return read_arrays(path, wanted, max_memory=max_memory)
    arrays = {}
    with hdf5.opened(path) as file:
        for name in (name for name in wanted if name in file):
            stored = hdf5.dataset(file, name, path, max_memory=max_memory)
            with reading(path, f"data set '{name}'"):
                arrays[name] = np.asarray(stored[()])
            max_memory -= arrays[name].nbytes
    return arrays


def _grid(
    facts: dict[str, NDArray[np.generic]], image: NDArray[np.generic], path: Path
) -> Grid | None:
    if not set(_GEOMETRY) <= set(facts) or image.ndim != 3:
        return None
    with reading(path, "geometry of 'image'"):
        dz, dy, dx = (float(v) for v in facts["spacing_mm"].reshape(3))
        x, y, z = (float(v) for v in facts["centre_mm"].reshape(3))
        columns = facts["directions"].reshape(3, 3).astype(float).T
        read, phase, normal = ((float(c[0]), float(c[1]), float(c[2])) for c in columns)
        return Grid(
            (image.shape[0], image.shape[1], image.shape[2]),
            (dz, dy, dx),
            centre_mm=(x, y, z),
            x_direction=read,
            y_direction=phase,
            z_direction=normal,
            is_nominal=bool(facts["is_nominal"]),
        )
