"""Many fields, in memory or arriving in blocks, as blocks of rows of real numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError

__all__ = ["Fields", "Rows", "array_of", "blocks_of", "given_blocks", "rows_of"]

Rows: TypeAlias = NDArray[np.floating[Any]]
"""(n, length): one field a row."""

Fields: TypeAlias = NDArray[Any] | Iterable[NDArray[Any]]
"""(n, *field) that can be sliced (an array, a memory map, a data set of a file), or an iterable of
blocks (n_block, *field), which is read once."""

_BLOCK_BYTES = 2**24


def array_of(fields: Fields) -> NDArray[Any] | None:
    """Return the fields if they can be read again and in any order, None if they only arrive."""
    if isinstance(fields, list | tuple) and fields and np.ndim(fields[0]) < 2:
        return np.asarray(fields)
    array: Any = fields
    return array if hasattr(array, "shape") and hasattr(array, "__getitem__") else None


def given_blocks(fields: Fields) -> Iterable[NDArray[Any]]:
    """Return the fields in blocks (n_block, *field) as they were given, an array in slices."""
    known = array_of(fields)
    return fields if known is None else _slices(known)


def blocks_of(fields: Fields) -> Iterator[Rows]:
    """Yield the fields as rows, some megabytes at a time; complex numbers become pairs of reals.

    Raises
    ------
    SolverError
        If fields differ in length, are empty, not numbers or not finite.
    """
    length, start = None, 0
    for given in given_blocks(fields):
        block = rows_of(given)
        if length not in {None, block.shape[1]}:
            raise SolverError(
                f"fields expected {length} numbers each, got {block.shape[1]} from field {start} on"
            )
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if bad.size:
            raise SolverError(
                f"fields expected finite numbers, got NaN or infinity in field "
                f"{start + bad[0]}. Leave it out or mend it."
            )
        length, start = block.shape[1], start + len(block)
        if len(block):
            yield block
    if not start or not length:
        raise SolverError("fields expected at least one field of at least one number, got none")


def rows_of(block: NDArray[Any]) -> Rows:
    """See fields (n, *field) as rows of real numbers of single or double precision."""
    array = np.asarray(block)
    if array.ndim < 1 or array.dtype.kind not in "biufc":
        raise SolverError(
            f"fields expected arrays of numbers (n, *field), got {array.dtype} {array.shape}"
        )
    rows = array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0)
    if array.dtype.kind == "c":
        rows = np.ascontiguousarray(rows)
        rows = rows.view(rows.real.dtype)
    is_narrow = rows.dtype.kind == "f" and rows.dtype.itemsize <= 4
    return rows.astype(np.float32 if is_narrow else np.float64, copy=False)


def _slices(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    n = array.shape[0] if array.ndim else 0
    bytes_each = max(1, int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize)
    step = max(1, _BLOCK_BYTES // bytes_each)
    for start in range(0, n, step):
        yield array[start : start + step]
