"""`load`: any k-space file to `KSpace`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

from inverse.errors import DataError, UsageError
from inverse.io import bart, fastmri, ismrmrd, npz
from inverse.io.detect import Format, detect
from inverse.io.selection import Select
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, reading
from inverse.mri.kspace import KSpace

__all__ = ["KSPACE_READERS", "load"]


class _Reader(Protocol):
    def __call__(self, path: Path, *, max_memory: int, select: Select | None) -> KSpace: ...


KSPACE_READERS: dict[Format, _Reader] = {
    Format.ISMRMRD: ismrmrd.read,
    Format.FASTMRI: fastmri.read,
    Format.BART: bart.read,
    Format.NPZ: npz.read,
}


def load(
    path: str | Path,
    *,
    max_memory: int = DEFAULT_MAX_MEMORY,
    select: Select | None = None,
) -> KSpace:
    """Read Cartesian multi-coil k-space from a file whose format is told from its content.

    Parameters
    ----------
    path : str or Path
        ISMRMRD, fastMRI or BART (NAME, NAME.cfl or NAME.hdr) file, or an npz archive with the
        keys of `inverse.io.npz`.
    max_memory : int
        Bytes that its arrays may take; 4 GiB.
    select : mapping of str to int, optional
        Which repetition, contrast, slice ... to read of a file with several, as
        ``{"repetition": 0}``.

    Returns
    -------
    KSpace
        Its origin holds what was selected, so that the run can be repeated.

    Raises
    ------
    DataError
        If the file is missing, damaged, unsupported, or holds several images and none is
        selected. The message names the file and the part.
    UsageError
        If `select` names what the file does not have, or `max_memory` is not positive.
    ResourceError
        If its arrays are larger than `max_memory`.
    """
    path = Path(path)
    if max_memory <= 0:
        raise UsageError(f"max_memory expected a positive number of bytes, got {max_memory}")
    kind = detect(path)
    if kind not in KSPACE_READERS:
        raise DataError(f"{path}: expected k-space, got an image ({kind})")
    # Readers translate what their libraries raise; this is the last line, so that no damaged file
    # ever ends in a traceback.
    with reading(path, f"{kind} file"):
        kspace = KSPACE_READERS[kind](path, max_memory=max_memory, select=select)
    return replace(kspace, origin={**kspace.origin, "select": dict(select)}) if select else kspace
