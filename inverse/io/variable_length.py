"""Variable-length HDF5 elements, read without the library.

An element is stored as 16 bytes: its length (uint32), the address (uint64) and index (uint32) of
an object in one of the file's global heap collections. The library believes all three: a damaged
length makes it allocate up to 16 GiB, a damaged collection keeps it in an endless loop. Here every
number is compared with the size of the file before it is used.

Reference: HDF5 file format specification, version 3.0, sections III.E (global heap) and IV.A.2.d
(datatype class 9, variable length).
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError

__all__ = ["Heap", "descriptors", "heap_of", "stored_elements"]

_DESCRIPTOR = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
_COLLECTION = struct.Struct("<4sB3xQ")
_OBJECT = struct.Struct("<HHIQ")
_DECODED = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_FLETCHER32}


class Heap:
    """The objects of a file's global heap, found on demand.

    Parameters
    ----------
    content : mmap
        The whole file.
    base : int
        Where its addresses count from.
    path : Path
        For messages.
    """

    def __init__(self, content: mmap.mmap, base: int, path: Path) -> None:
        self._content = content
        self._base = base
        self._path = path
        self._collections: dict[int, dict[int, tuple[int, int]]] = {}
        self._scanned = 0

    def object(self, address: int, index: int, n_bytes: int) -> bytes:
        """Return the first `n_bytes` of an object.

        Parameters
        ----------
        address : int
            Of its collection.
        index : int
            In the collection.
        n_bytes : int

        Raises
        ------
        DataError
            If there is no such object or it is shorter.
        """
        if n_bytes == 0:
            return b""
        if address not in self._collections:
            self._collections[address] = self._collection(address)
        start, size = self._collections[address].get(index, (0, 0))
        if size < n_bytes:
            raise DataError(
                f"{self._path}: a variable-length element expected {n_bytes} bytes, "
                f"the file holds {size}"
            )
        return self._content[start : start + n_bytes]

    def _collection(self, address: int) -> dict[int, tuple[int, int]]:
        """Place and size of every object in a collection."""
        start = self._base + address
        if start + _COLLECTION.size > len(self._content):
            raise DataError(
                f"{self._path}: the file is truncated or damaged, an HDF5 address points behind "
                f"its end"
            )
        signature, version, size = _COLLECTION.unpack_from(self._content, start)
        stop = start + size
        self._scanned += size
        # Collections do not overlap; together they cannot be larger than the file.
        if signature != b"GCOL" or version != 1 or self._scanned > len(self._content):
            raise DataError(f"{self._path}: a collection of the HDF5 heap is truncated or damaged")
        if stop > len(self._content):
            raise DataError(
                f"{self._path}: the file is truncated or damaged, it ends within its HDF5 heap"
            )
        objects = {}
        at = start + _COLLECTION.size
        while at + _OBJECT.size <= stop:
            index, _, _, n_bytes = _OBJECT.unpack_from(self._content, at)
            at += _OBJECT.size
            if index == 0:  # free space, always last
                break
            if at + n_bytes > stop:
                raise DataError(f"{self._path}: an object of the HDF5 heap is truncated or damaged")
            objects[index] = (at, n_bytes)
            at += -(-n_bytes // 8) * 8
        return objects


@contextmanager
def heap_of(file: h5py.File, path: Path) -> Iterator[Heap]:
    """Open the global heap of a file.

    Raises
    ------
    DataError
        If the file's addresses are not 64 bits wide, which no MRI software writes.
    """
    creation = file.id.get_create_plist()
    if creation.get_sizes() != (8, 8):
        raise DataError(f"{path}: an HDF5 file with other than 64-bit addresses is not read")
    with (
        path.open("rb") as raw,
        mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        yield Heap(content, int(creation.get_userblock()), path)


def descriptors(elements: NDArray[np.uint8], offset: int) -> NDArray[np.void]:
    """View 16 bytes of every element as (length, address, index).

    Parameters
    ----------
    elements : (n, size), uint8
        From `stored_elements`.
    offset : int
        Of the variable-length part in an element.

    Returns
    -------
    (n,), structured
    """
    part = np.ascontiguousarray(elements[:, offset : offset + _DESCRIPTOR.itemsize])
    return part.view(_DESCRIPTOR)[:, 0]


def stored_elements(dataset: h5py.Dataset, path: Path) -> NDArray[np.uint8]:
    """Read the elements of a scalar or one-dimensional data set as their bytes in the file.

    Parameters
    ----------
    dataset : h5py.Dataset, () or (n,)
    path : Path
        Its file.

    Returns
    -------
    (n, size), uint8

    Raises
    ------
    DataError
        If it has more axes, a layout or filter that cannot be read, or fewer bytes than elements.
    """
    if dataset.ndim > 1:
        raise DataError(f"{path}: '{dataset.name}' expected one row, got {dataset.ndim} axes")
    size, n = _element_size(dataset), dataset.size
    layout = dataset.id.get_create_plist().get_layout()
    if layout == h5py.h5d.CONTIGUOUS and dataset.id.get_offset() is not None:
        with path.open("rb") as file:
            file.seek(dataset.id.get_offset())
            raw = file.read(n * size)
    elif layout == h5py.h5d.CHUNKED:
        raw = _chunks(dataset, size, path)
    else:
        raise DataError(f"{path}: '{dataset.name}' has no data or keeps them in its header")
    if len(raw) < n * size:
        raise DataError(
            f"{path}: '{dataset.name}' expected {n * size} bytes, the file holds {len(raw)}"
        )
    return np.frombuffer(raw, dtype=np.uint8)[: n * size].reshape(n, size)


def _element_size(dataset: h5py.Dataset) -> int:
    kind = dataset.id.get_type()
    # The library tells the size of a pointer in memory for a text, not its size in the file.
    is_text = kind.get_class() == h5py.h5t.STRING and kind.is_variable_str()
    return _DESCRIPTOR.itemsize if is_text else int(kind.get_size())


def _chunks(dataset: h5py.Dataset, size: int, path: Path) -> bytes:
    whole = size * dataset.chunks[0]
    raw = bytearray(-(-dataset.size // dataset.chunks[0]) * whole)
    offsets: list[int] = []
    dataset.id.chunk_iter(lambda info: offsets.append(info.chunk_offset[0]))
    for offset in offsets:
        skipped, stored = dataset.id.read_direct_chunk((offset,))
        plain = _unfiltered(dataset, stored, skipped, path)
        start = offset * size
        if len(plain) != whole or start + whole > len(raw):
            raise DataError(f"{path}: a chunk of '{dataset.name}' has a wrong size or place")
        raw[start : start + whole] = plain
    return bytes(raw)


def _unfiltered(dataset: h5py.Dataset, raw: bytes, skipped: int, path: Path) -> bytes:
    properties = dataset.id.get_create_plist()
    size = _element_size(dataset)
    for index in reversed(range(properties.get_nfilters())):
        code = properties.get_filter(index)[0]
        if skipped >> index & 1:
            continue
        if code not in _DECODED:
            raise DataError(f"{path}: '{dataset.name}' has variable length under filter {code}")
        if code == h5py.h5z.FILTER_FLETCHER32:
            raw = raw[:-4]
        elif code == h5py.h5z.FILTER_DEFLATE:
            raw = zlib.decompressobj().decompress(raw, size * dataset.chunks[0] + 4)
        else:
            raw = np.frombuffer(raw, dtype=np.uint8).reshape(size, -1).T.tobytes()
    return raw
