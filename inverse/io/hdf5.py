"""HDF5 opened so that a hostile file reads nothing but itself and no more than it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.untrusted import check_budget, reading
from inverse.io.variable_length import descriptors, heap_of, stored_elements

__all__ = ["dataset", "member", "numbers", "opened", "text"]

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
_LONGEST_NUMBERS = 4096
_NUMBERS = {h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM}


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


def dataset(
    group: h5py.Group, name: str, path: Path, *, max_memory: int, is_variable: bool = False
) -> h5py.Dataset:
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
    is_variable : bool
        Whether elements of variable length are welcome; they must not be read through h5py.

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
            f"but stores {found.id.get_storage_size()}; the file is truncated or damaged"
        )
    chunk = found.dtype.itemsize * math.prod(found.chunks or ())
    check_budget(path, f"data set '{name}'", max(n_bytes, chunk), max_memory)
    if found.dtype.hasobject and not is_variable:
        raise DataError(f"{path}: the data set '{name}' expected numbers, got references or text")
    return found


def numbers(node: h5py.HLObject, name: str, path: Path) -> NDArray[np.generic] | None:
    """Return a small attribute of numbers, or None if there is none.

    Raises
    ------
    DataError
        If it is no array of numbers, or larger than 4 kB.
    """
    if name not in node.attrs:
        return None
    attribute = node.attrs.get_id(name)
    is_number = attribute.get_type().get_class() in _NUMBERS
    if not is_number or attribute.get_storage_size() > _LONGEST_NUMBERS:
        raise DataError(f"{path}: the attribute '{name}' expected a few numbers")
    return np.asarray(node.attrs[name])


def text(node: h5py.Group, name: str, path: Path) -> str:
    """Return a string stored as a data set of one element or as an attribute of fixed length.

    The length of an attribute that varies cannot be checked, so that is not read.

    Raises
    ------
    DataError
        If there is none, it is not UTF-8, or longer than 16 MiB.
    """
    if name in node:
        raw = _stored_text(node, name, path)
    elif name in node.attrs:
        attribute = node.attrs.get_id(name)
        if attribute.dtype.kind != "S" or attribute.get_storage_size() > _LONGEST_TEXT:
            raise DataError(f"{path}: the attribute '{name}' expected text of fixed length")
        raw = bytes(node.attrs[name])
    else:
        raise DataError(f"{path}: expected a member '{name}', there is none")
    with reading(path, f"text '{name}'"):
        return raw.rstrip(b"\0").decode("utf-8")


def _stored_text(node: h5py.Group, name: str, path: Path) -> bytes:
    found = dataset(node, name, path, max_memory=_LONGEST_TEXT, is_variable=True)
    if found.size != 1:
        raise DataError(f"{path}: '{name}' expected one text, got {found.size}")
    if not found.dtype.hasobject:
        return np.asarray(found[()]).tobytes()
    if found.id.get_type().get_class() != h5py.h5t.STRING:
        raise DataError(f"{path}: '{name}' expected text")
    [place] = descriptors(stored_elements(found, path), 0)
    length = int(place["length"])
    if length > _LONGEST_TEXT:
        raise DataError(f"{path}: the text '{name}' claims {length} characters, too many")
    with heap_of(node.file, path) as heap:
        return heap.object(int(place["address"]), int(place["index"]), length)
