"""NumPy archives with documented keys: k-space in, k-space out.

| key | shape | meaning |
|---|---|---|
| kspace | (y, x), (coil, y, x), (slice, coil, y, x) or (1, coil, z, y, x), complex | centred |
| mask | grid or (slice, *grid), bool | optional; without it, what is not exactly zero |
| noise | (coil, n), complex | optional |
| reference | (z, y, x) or (y, x) | optional truth; `reference_kind` says which |
| spacing_mm | (dz, dy, dx) or (dy, dx) | optional |
| centre_mm | (3,), LPS | optional, position of index n//2 |
| directions | (3, 3), LPS, columns x, y, z | optional |
| slice_thickness_mm | () | optional |
| recon_shape | (nz, ny, nx) | optional crop |
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io.archive import names, read_arrays
from inverse.io.atomic import replacing
from inverse.io.sampling import sampled, shared
from inverse.io.selection import Select, check_names, index_of
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, sha256
from inverse.mri.kspace import KSpace

__all__ = ["read", "survey", "write"]

KEYS = (
    "kspace", "mask", "noise", "reference", "reference_kind", "spacing_mm", "centre_mm",
    "directions", "slice_thickness_mm", "recon_shape",
)  # fmt: skip
_KINDS = {"magnitude", "complex", "rss"}


def read(
    path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY, select: Select | None = None
) -> KSpace:
    """Read k-space from an archive with the keys of this module's table.

    Parameters
    ----------
    path : Path
    max_memory : int
        Bytes that the arrays may take.
    select : mapping of str to int, optional
        {"slice": i} reads one slice.

    Raises
    ------
    DataError
        If a key is missing or damaged or the shapes do not fit each other.
    UsageError
        If `select` names what does not exist.
    ResourceError
        If the arrays are larger than `max_memory`.
    """
    chosen = select or {}
    check_names(chosen, ["slice"])
    arrays = read_arrays(path, KEYS, max_memory=max_memory)
    for name in ("noise", "reference"):
        if name in arrays and not np.isfinite(arrays[name]).all():
            raise DataError(f"{path}: the array '{name}' holds values that are NaN or infinite")
    if "kspace" not in arrays:
        raise DataError(f"{path}: expected an array 'kspace' in the archive, there is none")
    samples = _samples(arrays["kspace"], path)
    mask = _mask(arrays.get("mask"), samples, path)
    notes: list[str] = []
    grid = _grid(arrays, samples, path, notes)
    samples[~np.broadcast_to(mask[:, None], samples.shape)] = 0
    reference = arrays.get("reference")
    if reference is not None and reference.ndim == 2:
        reference = reference[None]
    kspace = KSpace(
        samples=samples,
        mask=mask,
        grid=grid,
        recon_shape=_recon_shape(arrays, grid, path),
        noise=_noise(arrays, path),
        reference=reference,
        reference_kind=_kind(arrays, path),
        origin={"format": "npz", "sha256": {"npz": sha256(path)}, "notes": notes},
        warnings=grid.warnings,
    )
    return _one_slice(kspace, path, chosen) if chosen else kspace


def survey(path: Path, *, max_memory: int = DEFAULT_MAX_MEMORY) -> dict[str, object]:
    """Say which of the documented arrays an archive holds."""
    del max_memory
    return {"arrays": [name for name in names(path) if name in KEYS]}


def _samples(stored: NDArray[np.generic], path: Path) -> NDArray[np.complex64]:
    if stored.dtype.kind != "c" or stored.ndim not in {2, 3, 4, 5} or stored.size == 0:
        raise DataError(
            f"{path}: 'kspace' expected complex (y, x), (coil, y, x), (slice, coil, y, x) or "
            f"(1, coil, z, y, x), got {stored.dtype} of shape {stored.shape}"
        )
    if stored.ndim == 5 and len(stored) != 1:
        raise DataError(f"{path}: 'kspace' expected one volume, got {len(stored)}")
    leading = (None,) * max(0, 4 - stored.ndim)
    return np.array(stored[leading], dtype=np.complex64, order="C")


def _mask(
    stored: NDArray[np.generic] | None, samples: NDArray[np.complex64], path: Path
) -> NDArray[np.bool_]:
    if stored is None:
        return sampled(samples)
    spatial = samples.shape[2:]
    with_slices = stored[None] if stored.ndim == len(spatial) else stored
    if with_slices.shape[1:] != spatial or len(with_slices) not in {1, len(samples)}:
        raise DataError(
            f"{path}: 'mask' expected shape {spatial} or ({len(samples)}, *{spatial}), "
            f"got {stored.shape}"
        )
    if stored.dtype.kind not in "biuf":
        raise DataError(f"{path}: 'mask' expected booleans, got {stored.dtype}")
    return shared(with_slices.astype(bool))


def _numbers(
    arrays: dict[str, NDArray[np.generic]], name: str, size: int, path: Path
) -> list[float] | None:
    if name not in arrays:
        return None
    array = arrays[name]
    if array.size != size or array.dtype.kind not in "iuf":
        raise DataError(f"{path}: '{name}' expected {size} numbers, got {array.size}")
    return [float(v) for v in array.reshape(-1)]


def _grid(
    arrays: dict[str, NDArray[np.generic]],
    samples: NDArray[np.complex64],
    path: Path,
    notes: list[str],
) -> Grid:
    shape = samples.shape[2:] if samples.ndim == 5 else (len(samples), *samples.shape[2:])
    size = 2 if "spacing_mm" in arrays and arrays["spacing_mm"].size == 2 else 3
    spacing = _numbers(arrays, "spacing_mm", size, path)
    if spacing is None:
        notes.append("the archive holds no spacing_mm; 1 mm was assumed")
        spacing = [1.0, 1.0, 1.0]
    spacing = spacing if len(spacing) == 3 else [1.0, *spacing]
    centre = _numbers(arrays, "centre_mm", 3, path) or [0.0, 0.0, 0.0]
    columns = _numbers(arrays, "directions", 9, path) or [1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0]
    thickness = _numbers(arrays, "slice_thickness_mm", 1, path)
    is_nominal = not {"spacing_mm", "centre_mm", "directions"} <= set(arrays)
    if is_nominal:
        notes.append("the archive holds no complete geometry; position or direction is nominal")
    return Grid(
        (shape[0], shape[1], shape[2]),
        (spacing[0], spacing[1], spacing[2]),
        centre_mm=(centre[0], centre[1], centre[2]),
        x_direction=(columns[0], columns[3], columns[6]),
        y_direction=(columns[1], columns[4], columns[7]),
        z_direction=(columns[2], columns[5], columns[8]),
        slice_thickness_mm=thickness[0] if thickness else None,
        is_nominal=is_nominal,
    )


def _recon_shape(
    arrays: dict[str, NDArray[np.generic]], grid: Grid, path: Path
) -> tuple[int, int, int] | None:
    sizes = _numbers(arrays, "recon_shape", 3, path)
    if sizes is None:
        return None
    if not all(1 <= s <= n for s, n in zip(sizes, grid.shape, strict=True)):
        raise DataError(f"{path}: 'recon_shape' expected sizes within {grid.shape}, got {sizes}")
    return int(sizes[0]), int(sizes[1]), int(sizes[2])


def _noise(arrays: dict[str, NDArray[np.generic]], path: Path) -> NDArray[np.complex64] | None:
    noise = arrays.get("noise")
    if noise is None:
        return None
    if noise.dtype.kind != "c":
        raise DataError(f"{path}: 'noise' expected complex (coil, n), got {noise.dtype}")
    return noise.astype(np.complex64)


def _kind(arrays: dict[str, NDArray[np.generic]], path: Path) -> str | None:
    if "reference" not in arrays:
        return None
    if "reference_kind" not in arrays:
        return "complex" if arrays["reference"].dtype.kind == "c" else "magnitude"
    kind = str(arrays["reference_kind"].reshape(-1)[0]) if arrays["reference_kind"].size else ""
    if kind not in _KINDS:
        raise DataError(f"{path}: 'reference_kind' expected one of {', '.join(sorted(_KINDS))}")
    return kind


def _one_slice(kspace: KSpace, path: Path, select: Select) -> KSpace:
    if kspace.is_3d:
        raise DataError(f"{path}: 'kspace' is one volume; it has no slices to select")
    index = index_of(path, "slice", list(range(kspace.n_slices)), select)
    one = slice(index, index + 1)
    recon, reference = kspace.recon_shape, kspace.reference
    return replace(
        kspace,
        samples=kspace.samples[one],
        mask=kspace.mask[one] if len(kspace.mask) > 1 else kspace.mask,
        grid=kspace.grid.one_slice(index),
        recon_shape=None if recon is None else (1, *recon[1:]),
        reference=None if reference is None else reference[one],
    )


def write(kspace: KSpace, path: Path) -> None:
    """Write k-space with the keys of this module's table.

    Parameters
    ----------
    kspace : KSpace
    path : Path
        Replaced in one step.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    grid = kspace.grid
    arrays: dict[str, NDArray[np.generic]] = {
        "kspace": kspace.samples,
        "mask": kspace.mask,
        "spacing_mm": np.array(grid.spacing_mm),
    }
    if not grid.is_nominal:
        arrays["centre_mm"] = np.array(grid.centre_mm)
        arrays["directions"] = grid.directions
    if grid.slice_thickness_mm is not None:
        arrays["slice_thickness_mm"] = np.array(grid.slice_thickness_mm)
    if kspace.recon_shape is not None:
        arrays["recon_shape"] = np.array(kspace.recon_shape)
    if kspace.noise is not None:
        arrays["noise"] = kspace.noise
    if kspace.reference is not None:
        arrays["reference"] = kspace.reference
        arrays["reference_kind"] = np.array(kspace.reference_kind or "magnitude")
    with replacing(Path(path)) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
