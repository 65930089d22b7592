"""HDF5 files on a disk that had room for them before the first byte was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

__all__ = ["new_hdf5"]

_OVERHEAD = 2**18  # bytes of headers, attributes and names


@contextmanager
def new_hdf5(path: Path, n_bytes: int) -> Iterator[h5py.File]:
    """Open a new HDF5 file after making sure that the disk has room for it.

    The HDF5 library does not survive a full disk: it cannot close the file, prints tracebacks and
    may crash when the process ends. Found out beforehand it is an ordinary error. The room is given
    back at once, so another program may still take it.

    Parameters
    ----------
    path : Path
        Written anew.
    n_bytes : int
        What the arrays take.

    Yields
    ------
    h5py.File

    Raises
    ------
    OSError
        If the disk or the quota has no room for so many bytes.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with new_hdf5(Path(folder) / "a.h5", 8_000_000) as file:
    ...         file["x"] = [1.0, 2.0]
    ...     (Path(folder) / "a.h5").stat().st_size < 10_000
    True
    """
    import h5py

    with path.open("wb") as probe:
        if hasattr(os, "posix_fallocate"):  # not on every system
            os.posix_fallocate(probe.fileno(), 0, n_bytes + _OVERHEAD)
    with h5py.File(path, "w", libver="latest") as file:
        yield file
