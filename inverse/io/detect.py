"""Which format a file has, told from its content."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import h5py

from inverse.errors import DataError
from inverse.io import bart, hdf5
from inverse.io.archive import names
from inverse.io.ismrmrd import find_group
from inverse.io.untrusted import existing_file, reading

__all__ = ["Format", "detect"]


class Format(StrEnum):
    """The formats that are read."""

    ISMRMRD = "ismrmrd"
    FASTMRI = "fastmri"
    BART = "bart"
    NPZ = "npz"
    RESULT_H5 = "result-h5"
    RESULT_NPZ = "result-npz"
    NIFTI = "nifti"
    DICOM = "dicom"
    NPY = "npy"
    PNG = "png"


_MAGIC = {
    b"\x93NUMPY": Format.NPY,
    b"\x89PNG\r\n\x1a\n": Format.PNG,
}
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_NIFTI = {b"n+1\0", b"ni1\0"}


def detect(path: Path) -> Format:
    """Return the format of a file.

    Parameters
    ----------
    path : Path
        For BART, NAME, NAME.cfl or NAME.hdr.

    Raises
    ------
    DataError
        If the file is missing, empty, or of no known format.
    """
    if _is_bart(path):
        return Format.BART
    existing_file(path)
    with reading(path, "file"), path.open("rb") as file:
        head = file.read(352)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if h5py.is_hdf5(path):
        return _hdf5_format(path)
    if head.startswith(_ZIP):
        return _npz_format(path)
    if head.startswith(_GZIP) or head[344:348] in _NIFTI:
        return Format.NIFTI
    if head[128:132] == b"DICM":
        return Format.DICOM
    if path.suffix == ".cfl":
        raise DataError(f"{path}: BART data need the header {path.with_suffix('.hdr')} beside them")
    raise DataError(
        f"{path}: this is none of ISMRMRD, fastMRI, BART, npz, NIfTI, DICOM or PNG; "
        f"convert scanner raw data to ISMRMRD first"
    )


def _is_bart(path: Path) -> bool:
    data, header = bart.pair(path)
    if not header.is_file() or (path.is_file() and path not in {data, header}):
        return False
    with reading(header, "file"), header.open("rb") as file:
        return file.read(64).lstrip().startswith(b"# ")


def _hdf5_format(path: Path) -> Format:
    with hdf5.opened(path) as file:
        if "kspace" in file:
            return Format.FASTMRI
        if "image" in file:
            return Format.RESULT_H5
        if find_group(file, path) is not None:
            return Format.ISMRMRD
    raise DataError(
        f"{path}: this HDF5 file is neither ISMRMRD (a group with 'xml' and 'data'), fastMRI "
        f"('kspace') nor a result ('image')"
    )


def _npz_format(path: Path) -> Format:
    found = names(path)
    if "kspace" in found:
        return Format.NPZ
    if "image" in found:
        return Format.RESULT_NPZ
    raise DataError(f"{path}: expected an array 'kspace' or 'image' in the archive")
