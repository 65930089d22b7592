"""Receive sensitivities of a simulated coil array, from the field of its loops."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inverse.grid import Grid

__all__ = ["coil_maps"]

_N_SEGMENTS = 48
_ARRAY_RADIUS = 1.25


def coil_maps(grid: Grid, n_coils: int) -> NDArray[np.complex64]:
    """Compute what a ring of circular loops around the z axis of the grid receives.

    s_c = (B_x - i B_y) / sqrt(sum_c |B_x - i B_y|^2) with the Biot-Savart field of a unit current,
    B(r) = mu_0 / (4 pi) integral dl x (r - r') / |r - r'|^3

    Parameters
    ----------
    grid : Grid
        The ring's radius is 1.25 times the half diagonal of its slices.
    n_coils : int

    Returns
    -------
    (coil, z, y, x), complex64
        Unit norm over the coils at each voxel; magnitude and phase are smooth, not flat.

    References
    ----------
    Roemer et al. 1990, doi:10.1002/mrm.1910160203 (reciprocity: reception is the loop's own field)
    """
    axes = [
        (np.arange(n, dtype=np.float32) - n // 2) * np.float32(step)
        for n, step in zip(grid.shape, grid.spacing_mm, strict=True)
    ]
    height, width = (n * step for n, step in zip(grid.shape[1:], grid.spacing_mm[1:], strict=True))
    ring = _ARRAY_RADIUS * float(np.hypot(height, width)) / 2
    # Loops that nearly touch their neighbours; one or two coils are kept from growing huge.
    radius = 1.1 * ring * np.sin(np.pi / max(n_coils, 4))
    fields = [
        _transverse_field(axes, angle, ring, float(radius))
        for angle in 2 * np.pi * np.arange(n_coils) / n_coils
    ]
    maps = np.stack(fields)
    return np.asarray(maps / np.linalg.norm(maps, axis=0), dtype=np.complex64)


def _transverse_field(
    axes: list[NDArray[np.float32]], angle: float, ring: float, radius: float
) -> NDArray[np.complex64]:
    """Sum B_x - i B_y, (z, y, x), over the segments of one loop that faces the z axis."""
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    outward = np.array([np.cos(angle), np.sin(angle), 0.0])
    around, along = np.array([-np.sin(angle), np.cos(angle), 0.0]), np.array([0.0, 0.0, 1.0])
    # The midpoint rule converges exponentially on a closed loop, away from the wire itself.
    turns = 2 * np.pi * (np.arange(_N_SEGMENTS) + 0.5) / _N_SEGMENTS
    step = 2 * np.pi / _N_SEGMENTS * radius
    field = np.zeros([len(axis) for axis in axes], dtype=np.complex64)
    for turn in turns:
        wire = ring * outward + radius * (np.cos(turn) * around + np.sin(turn) * along)
        dx, dy, dz = step * (np.cos(turn) * along - np.sin(turn) * around)
        rx, ry, rz = x - wire[0], y - wire[1], z - wire[2]
        inverse_cube = (rx * rx + ry * ry + rz * rz) ** -1.5
        field += ((dy * rz - dz * ry) - 1j * (dz * rx - dx * rz)) * inverse_cube
    return field
