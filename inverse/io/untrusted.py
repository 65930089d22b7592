"""What a file may not do to us: lie about sizes, exhaust memory, raise foreign exceptions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inverse.errors import DataError, InverseError, ResourceError
from inverse.provenance import sha256_of_file

__all__ = ["DEFAULT_MAX_MEMORY", "check_budget", "existing_file", "reading", "sha256"]

DEFAULT_MAX_MEMORY = 4 * 2**30
"""Bytes that the arrays of one file may take, unless the caller says otherwise."""


@contextmanager
def reading(path: Path, part: str) -> Iterator[None]:
    """Turn whatever a parser raises into one `DataError` that names the file and the part.

    The parser's own message stays out of ours, because it may quote a header value.

    Parameters
    ----------
    path : Path
        The file being read.
    part : str
        What of it, as the message should call it ("XML header", "member kspace").

    Raises
    ------
    DataError
        In place of any exception that is not ours already.
    ResourceError
        If memory ran out.

    Examples
    --------
    >>> with reading(Path("s.h5"), "text"):
    ...     int("JANE DOE")
    Traceback (most recent call last):
        ...
    inverse.errors.DataError: s.h5: the text is truncated or damaged, or not understood (ValueError)
    """
    try:
        yield
    except InverseError as error:
        # An object that checks itself (`KSpace`, `Grid`) does not know which file it came from.
        if str(path.with_suffix("")) in str(error):
            raise
        raise type(error)(f"{path}: {error}") from error
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory for the {part}") from error
    except Exception as error:
        raise DataError(
            f"{path}: the {part} is truncated or damaged, or not understood "
            f"({type(error).__name__})"
        ) from error


def existing_file(path: Path) -> Path:
    """Return `path` if it is a readable, non-empty file.

    Raises
    ------
    DataError
        If it is missing, no regular file, unreadable or empty.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    if not path.is_file():
        raise DataError(f"{path}: expected a file, got a folder or device")
    with reading(path, "file"), path.open("rb") as file:
        if not file.read(1):
            raise DataError(f"{path}: the file is empty")
    return path


def check_budget(path: Path, part: str, n_bytes: int, max_memory: int) -> None:
    """Refuse an array before it is allocated.

    Parameters
    ----------
    path : Path
        The file that asks for it.
    part : str
        What the array is.
    n_bytes : int
        Its size.
    max_memory : int
        The limit, in bytes.

    Raises
    ------
    ResourceError
        If it is larger than the limit.
    """
    if n_bytes > max_memory:
        raise ResourceError(
            f"{path}: the {part} needs {n_bytes / 2**30:.3g} GiB, "
            f"the limit is {max_memory / 2**30:.3g} GiB; raise max_memory if the file is right"
        )


def sha256(path: Path) -> str:
    """SHA-256 of an input's bytes, in hexadecimal; a `DataError` if they cannot be read."""
    with reading(path, "file"):
        return sha256_of_file(path)
