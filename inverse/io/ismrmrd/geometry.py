"""From ISMRMRD positions and directions to a `Grid`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.io.ismrmrd.header import Encoding

__all__ = ["grid_of", "slice_order"]

_DIRECTION_TOLERANCE = 1e-2
_SPACING_TOLERANCE_MM = 1e-2


def _frame(heads: NDArray[np.void], path: Path) -> NDArray[np.float64] | None:
    """(3, 3) columns read, phase, slice; None where the file leaves them zero."""
    names = ("read_dir", "phase_dir", "slice_dir")
    directions = np.stack([heads[name].astype(float) for name in names], axis=-1)
    if not np.isfinite(directions).all():
        raise DataError(f"{path}: the acquisition headers hold directions that are not finite")
    if not directions.any():
        return None
    first: NDArray[np.float64] = directions[0]
    if np.abs(directions - first).max() > _DIRECTION_TOLERANCE:
        raise DataError(
            f"{path}: the orientation changes between acquisitions; "
            f"choose one slice, select={{'slice': 0}}"
        )
    if np.abs(first.T @ first - np.eye(3)).max() > _DIRECTION_TOLERANCE:
        raise DataError(f"{path}: read_dir, phase_dir and slice_dir are not orthonormal")
    # Single precision is not orthonormal enough for DICOM: take the nearest frame that is.
    u, _, vh = np.linalg.svd(first)
    return np.asarray(u @ vh, dtype=float)


def slice_order(heads: NDArray[np.void], slices: list[int], path: Path) -> list[int]:
    """Slice counters in the order of growing position along slice_dir.

    Parameters
    ----------
    heads : (n,), structured
        Headers of the imaging lines.
    slices : list of int
        Values of the slice counter, sorted; kept as they are where the file holds no positions.
    path : Path
        For messages.
    """
    frame = _frame(heads, path)
    if frame is None or len(slices) == 1:
        return slices
    along = {s: float(_position(heads, s) @ frame[:, 2]) for s in slices}
    return sorted(slices, key=lambda s: along[s])


def grid_of(
    heads: NDArray[np.void],
    slices: list[int],
    encoding: Encoding,
    *,
    shape: tuple[int, int, int],
    is_flipped: bool,
    path: Path,
) -> Grid:
    """Geometry of the encoded matrix.

    Parameters
    ----------
    heads : (n,), structured
        Headers of the imaging lines.
    slices : list of int
        Slice counters from `slice_order`; one for a volume.
    encoding : Encoding
    shape : (nz, ny, nx)
    is_flipped : bool
        The directions belong to images formed with exp(-2 pi i k x), as Siemens does. Ours use
        exp(+2 pi i k x), which mirrors every encoded axis about index n//2: the directions of
        these axes turn round, the centre stays.
    path : Path
        For messages.

    Raises
    ------
    DataError
        If slices are not parallel, equally spaced and on one line along slice_dir.
    """
    spacing = encoding.spacing_mm
    frame = _frame(heads, path)
    if frame is None:
        return Grid(shape, spacing, is_nominal=True)
    positions = np.array([_position(heads, s) for s in slices])
    if not np.isfinite(positions).all():
        raise DataError(f"{path}: the acquisition headers hold positions that are not finite")
    dz, thickness, is_nominal = spacing[0], None, False
    if len(slices) > 1:
        if not np.ptp(positions, axis=0).any():
            is_nominal = True
        else:
            dz = _distance(positions, frame[:, 2], path)
            thickness = spacing[0] if abs(dz - spacing[0]) > _SPACING_TOLERANCE_MM else None
    signs = np.ones(3)
    if is_flipped:
        signs = np.array([-1.0, -1.0, 1.0 if len(slices) == shape[0] else -1.0])
    read, phase, normal = (_triple(column) for column in (frame * signs).T)
    return Grid(
        shape,
        (dz, spacing[1], spacing[2]),
        centre_mm=_triple(positions[len(slices) // 2]),
        x_direction=read,
        y_direction=phase,
        z_direction=normal,
        slice_thickness_mm=thickness,
        is_nominal=is_nominal,
    )


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


def _position(heads: NDArray[np.void], counter: int) -> NDArray[np.float64]:
    row = int(np.argmax(heads["idx"]["slice"] == counter))
    return np.asarray(heads["position"][row], dtype=float)


def _distance(positions: NDArray[np.float64], normal: NDArray[np.float64], path: Path) -> float:
    along = positions @ normal
    across = positions - along[:, None] * normal
    steps = np.diff(along)
    if np.ptp(across, axis=0).max() > _SPACING_TOLERANCE_MM or steps.min() <= 0:
        raise DataError(
            f"{path}: the slices are not stacked along slice_dir; choose one, select={{'slice': 0}}"
        )
    if np.ptp(steps) > _SPACING_TOLERANCE_MM:
        raise DataError(
            f"{path}: the slice distances vary from {steps.min():.3f} to {steps.max():.3f} mm; "
            f"choose one slice, select={{'slice': 0}}"
        )
    return float(steps.mean())
