"""BART's pair of files: NAME.hdr says the dimensions, NAME.cfl holds complex64, first axis fastest.

Reference: BART, misc/mmio.c and misc/mri.h (the sixteen dimensions).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io.atomic import replacing
from inverse.io.sampling import sampled
from inverse.io.selection import Select, check_names, index_of
from inverse.io.untrusted import (
    DEFAULT_MAX_MEMORY,
    check_budget,
    existing_file,
    reading,
    sha256,
)
from inverse.mri.kspace import KSpace

__all__ = ["pair", "read", "read_array", "survey", "write", "write_array"]

DIMENSIONS = (
    "x", "y", "z", "coil", "maps", "echo", "coefficient", "coefficient2", "iteration", "shift",
    "time", "time2", "level", "slice", "average", "batch",
)  # fmt: skip
_SPATIAL = (0, 1, 2)
_READ = {*_SPATIAL, 3, 13}
_LONGEST_HEADER = 2**20


def pair(path: Path) -> tuple[Path, Path]:
    """Return (NAME.cfl, NAME.hdr) for any of NAME, NAME.cfl and NAME.hdr."""
    base = path.with_suffix("") if path.suffix in {".cfl", ".hdr"} else path
    return base.with_name(base.name + ".cfl"), base.with_name(base.name + ".hdr")


def _dimensions(path: Path) -> tuple[int, ...]:
    """Read the sixteen sizes of the header and check them against the size of the data file."""
    data, header = pair(path)
    existing_file(data)
    existing_file(header)
    if header.stat().st_size > _LONGEST_HEADER:
        raise DataError(f"{header}: a BART header of {header.stat().st_size} bytes is too long")
    with reading(header, "list of dimensions"):
        lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
        at = next(i for i, line in enumerate(lines) if line.split() == ["#", "Dimensions"])
        sizes = [int(word) for word in lines[at + 1].split()]
    if not 1 <= len(sizes) <= len(DIMENSIONS) or min(sizes) < 1:
        raise DataError(
            f"{header}: expected 1 to {len(DIMENSIONS)} positive dimensions, got {len(sizes)}"
        )
    if 8 * math.prod(sizes) != data.stat().st_size:
        raise DataError(
            f"{data}: expected {8 * math.prod(sizes)} bytes for the dimensions of its header, "
            f"got {data.stat().st_size}"
        )
    return (*sizes, *(1,) * (len(DIMENSIONS) - len(sizes)))


def read_array(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> NDArray[np.complex64]:
    """Read an array with BART's axes, trailing axes of size 1 dropped.

    Parameters
    ----------
    path : Path
        NAME, NAME.cfl or NAME.hdr.
    max_memory : int
        Bytes that the array may take.

    Returns
    -------
    (x, y, z, coil, ...), complex64
        A view in Fortran order, as the file is.

    Raises
    ------
    DataError
        If the pair is incomplete or its sizes disagree.
    ResourceError
        If the array is larger than `max_memory`.
    """
    path = Path(path)
    sizes = list(_dimensions(path))
    while len(sizes) > 1 and sizes[-1] == 1:
        sizes.pop()
    data, _ = pair(path)
    check_budget(data, "array", 8 * math.prod(sizes), max_memory)
    with reading(data, "array"):
        return np.fromfile(data, dtype="<c8").reshape(sizes, order="F")


def write_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array with BART's axes (x, y, z, coil, ...), as complex64.

    Raises
    ------
    DataError
        If it has more than sixteen axes.
    ResourceError
        If the files cannot be written.
    """
    if array.ndim > len(DIMENSIONS):
        raise DataError(f"a BART array has at most {len(DIMENSIONS)} axes, got {array.ndim}")
    data, header = pair(Path(path))
    sizes = [*array.shape, *(1,) * (len(DIMENSIONS) - array.ndim)]
    with replacing(data) as part, part.open("wb") as file:
        file.write(np.asarray(array, dtype="<c8").tobytes(order="F"))
    with replacing(header) as part:
        part.write_text("# Dimensions\n" + " ".join(map(str, sizes)) + "\n", encoding="utf-8")


def read(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY, select: Select | None = None
) -> KSpace:
    """Read Cartesian k-space from a BART pair.

    Two spatial axes make slices, three a volume. Where the readout (x) is 1 the grid is the two
    phase-encode axes: y of the result is BART's z, x is BART's y. The format has no geometry, so
    the grid is nominal with 1 mm spacing. What is exactly zero in every coil was not sampled.

    Parameters
    ----------
    path : Path
        NAME, NAME.cfl or NAME.hdr.
    max_memory : int
        Bytes that k-space may take.
    select : mapping of str to int, optional
        Index along "slice" or one of the axes that are refused otherwise ("maps", "echo",
        "time", "average", ...).

    Raises
    ------
    DataError
        If the pair is incomplete, its sizes disagree, it is no image, or an axis that is not
        space, coil or slice has more than one element; the message names the axis.
    UsageError
        If `select` names what does not exist.
    ResourceError
        If k-space is larger than `max_memory`.
    """
    path, chosen = Path(path), select or {}
    check_names(chosen, [name for i, name in enumerate(DIMENSIONS) if i not in {*_SPATIAL, 3}])
    sizes = _dimensions(path)
    data, header = pair(path)
    array = read_array(path, max_memory=max_memory).reshape(sizes, order="F")
    for axis, name in enumerate(DIMENSIONS):
        if axis in _READ and name not in chosen:
            continue
        index = index_of(path, name, list(range(sizes[axis])), chosen)
        array = array.take([index], axis=axis) if sizes[axis] > 1 else array
    n_slices, n_coils = array.shape[13], array.shape[3]
    spatial = [n for n in array.shape[2::-1] if n > 1]
    if len(spatial) < 2 or (len(spatial) == 3 and n_slices > 1):
        raise DataError(
            f"{data}: expected two spatial axes with slices or three without, got x, y, z = "
            f"{array.shape[:3]} and {n_slices} slices"
        )
    samples = np.ascontiguousarray(array.T, dtype=np.complex64)
    samples = samples.reshape(n_slices, n_coils, *spatial)
    notes = ["BART files hold no geometry; 1 mm spacing was assumed"]
    if array.shape[0] == 1:
        notes.append("the readout axis is 1; the grid is the two phase-encode axes")
    notes += [f"read {name} {value}" for name, value in chosen.items()]
    shape = (spatial[0], spatial[1], spatial[2]) if len(spatial) == 3 else (n_slices, *spatial)
    grid = Grid((shape[0], shape[1], shape[2]), (1.0, 1.0, 1.0), is_nominal=True)
    return KSpace(
        samples=samples,
        mask=sampled(samples),
        grid=grid,
        origin={
            "format": "bart",
            "sha256": {"cfl": sha256(data), "hdr": sha256(header)},
            "notes": notes,
        },
        warnings=grid.warnings,
    )


def survey(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> dict[str, object]:
    """Say what a BART pair holds without reading its samples."""
    del max_memory
    sizes = _dimensions(Path(path))
    named = {name: n for name, n in zip(DIMENSIONS, sizes, strict=True) if n > 1}
    extra = {n: list(range(named[n])) for i, n in enumerate(DIMENSIONS) if n in named and i > 3}
    return {"dimensions": named, "counters": {n: v for n, v in extra.items() if n != "slice"}}


def write(kspace: KSpace, path: Path) -> None:
    """Write k-space as a BART pair; the geometry is lost, the format has none.

    Parameters
    ----------
    kspace : KSpace
    path : Path
        NAME, NAME.cfl or NAME.hdr.

    Raises
    ------
    ResourceError
        If the files cannot be written.
    """
    volume = kspace.samples if kspace.is_3d else kspace.samples[:, :, None]
    slices = volume.transpose(4, 3, 2, 1, 0)
    write_array(path, slices.reshape((*slices.shape[:4], *(1,) * 9, slices.shape[4])))
