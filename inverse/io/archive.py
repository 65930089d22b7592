"""NumPy arrays in files and zip archives: no Python objects, no size that was not checked."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, check_budget, reading

__all__ = ["names", "read_array", "read_arrays"]


def names(path: Path) -> list[str]:
    """Names of the arrays in an archive.

    Raises
    ------
    DataError
        If it is no archive or a name occurs twice.
    """
    with reading(path, "zip directory"), zipfile.ZipFile(path) as archive:
        found = [name.removesuffix(".npy") for name in archive.namelist()]
    if len(set(found)) != len(found):
        raise DataError(f"{path}: the archive holds two arrays of one name")
    return found


def read_arrays(
    path: Path, wanted: tuple[str, ...], *, max_memory: int = DEFAULT_MAX_MEMORY
) -> dict[str, NDArray[np.generic]]:
    """Read some arrays, their sizes checked against the archive's directory first.

    Parameters
    ----------
    path : Path
    wanted : tuple of str
        Those that are there are read, everything else is left alone.
    max_memory : int
        Bytes that all of them together may take.

    Raises
    ------
    DataError
        If a member is damaged, holds Python objects, or claims another size than it has.
    ResourceError
        If they are larger than `max_memory`.
    """
    present = [name for name in names(path) if name in wanted]
    arrays: dict[str, NDArray[np.generic]] = {}
    with reading(path, "archive"), zipfile.ZipFile(path) as archive:
        infos = {name: archive.getinfo(f"{name}.npy") for name in present}
        total = sum(info.file_size for info in infos.values())
        check_budget(path, "archive", total, max_memory)
        for name, info in infos.items():
            with reading(path, f"array '{name}'"):
                arrays[name] = _member(archive, info, path, name)
    return arrays


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, name: str
) -> NDArray[np.generic]:
    with archive.open(info) as file:
        _check_header(file, info.file_size, f"{path}: the array '{name}'")
    with archive.open(info) as file:
        array = np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        file.read(1)  # reading to the end verifies the checksum
    return array


def read_array(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> NDArray[np.generic]:
    """Read a .npy file.

    Raises
    ------
    DataError
        If it is damaged, holds Python objects, or claims another size than it has.
    ResourceError
        If it is larger than `max_memory`.
    """
    check_budget(path, "array", path.stat().st_size, max_memory)
    with reading(path, "array"), path.open("rb") as file:
        _check_header(file, path.stat().st_size, f"{path}: the array")
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _check_header(file: IO[bytes], n_bytes: int, what: str) -> None:
    """Refuse objects, and a shape that does not take the bytes that are there."""
    version = np.lib.format.read_magic(file)
    is_short = version == (1, 0)
    shape, _, dtype = (
        np.lib.format.read_array_header_1_0(file)
        if is_short
        else np.lib.format.read_array_header_2_0(file)
    )
    if dtype.hasobject:
        raise DataError(f"{what} holds Python objects; it is not read")
    claimed, stored = dtype.itemsize * math.prod(shape), n_bytes - file.tell()
    if claimed != stored:
        raise DataError(
            f"{what} claims {claimed} bytes, the file holds {stored}; it is truncated or damaged"
        )
