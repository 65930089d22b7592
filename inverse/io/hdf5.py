"""HDF5 opened so that a hostile file reads nothing but itself and no more than it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from inverse.errors import DataError
from inverse.io.untrusted import check_budget, reading

__all__ = ["dataset", "member", "opened", "text"]

_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
    h5py.h5z.FILTER_SZIP,
    h5py.h5z.FILTER_NBIT,
    h5py.h5z.FILTER_SCALEOFFSET,
    h5py.h5z.FILTER_LZF,
}
_BEST_COMPRESSION = 1100
"""No deflate stream is more than 1032 times smaller than what it holds."""
_LONGEST_TEXT = 16 * 2**20


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading; anything the library raises becomes a `DataError`."""
    with reading(path, "HDF5 content"), h5py.File(path, "r", locking=False) as file:
        yield file


def member(group: h5py.Group, name: str, path: Path) -> h5py.Group | h5py.Dataset:
    """Return a member that lies in the file itself.

    Raises
    ------
    DataError
        If there is none, or it is a link: a soft or external link can pull another local file
        into a reconstruction.
    """
    link = group.get(name, getlink=True)
    if link is None:
        raise DataError(f"{path}: expected a member '{name}', there is none")
    if not isinstance(link, h5py.HardLink):
        raise DataError(f"{path}: the member '{name}' is a link; only data in the file is read")
    return group[name]


def dataset(group: h5py.Group, name: str, path: Path, *, max_memory: int) -> h5py.Dataset:
    """Return a data set whose declared size is believable; nothing of it is read yet.

    Parameters
    ----------
    group : h5py.Group
    name : str
        Its name in the group.
    path : Path
        The file, for messages.
    max_memory : int
        Bytes that it may take.

    Raises
    ------
    DataError
        If it is missing, a link, kept in other files (external or virtual), compressed by an
        unknown filter, or declares more than it stores.
    ResourceError
        If it is larger than `max_memory`.
    """
    found = member(group, name, path)
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{path}: expected '{name}' to be a data set, got a group")
    if found.external or found.is_virtual:
        raise DataError(f"{path}: the data set '{name}' is kept in other files; it is not read")
    properties = found.id.get_create_plist()
    for index in range(properties.get_nfilters()):
        code = properties.get_filter(index)[0]
        if code not in _FILTERS:
            raise DataError(f"{path}: the data set '{name}' needs the unknown filter {code}")
    n_bytes = found.dtype.itemsize * math.prod(found.shape or ())
    if n_bytes > _BEST_COMPRESSION * found.id.get_storage_size():
        raise DataError(
            f"{path}: the data set '{name}' of shape {found.shape} declares {n_bytes} bytes "
            f"but stores {found.id.get_storage_size()}; the file is incomplete or damaged"
        )
    chunk = found.dtype.itemsize * math.prod(found.chunks or ())
    check_budget(path, f"data set '{name}'", max(n_bytes, chunk), max_memory)
    return found


def text(node: h5py.Group, name: str, path: Path) -> str:
    """Return a string stored as an attribute or as a data set of one element.

    Raises
    ------
    DataError
        If there is none, it is not UTF-8, or longer than 16 MiB.
    """
    if name in node.attrs:
        value = node.attrs[name]
    else:
        value = dataset(node, name, path, max_memory=_LONGEST_TEXT)[()]
        value = value.reshape(-1)[0] if hasattr(value, "reshape") else value
    with reading(path, f"text '{name}'"):
        decoded = value if isinstance(value, str) else bytes(value).decode("utf-8")
    if len(decoded) > _LONGEST_TEXT:
        raise DataError(f"{path}: the text '{name}' has {len(decoded)} characters, too many")
    return decoded
