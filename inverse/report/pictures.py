"""The still pictures of the report: coil maps, sampling mask, noise correlation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inverse.report.orientation import Hanging

__all__ = ["coil_magnitude", "coil_phase", "mask_picture", "noise_correlation", "phase_colours"]

_MOST_COILS = 32
_TILE = 112
_GAP = 2


def coil_magnitude(csm: NDArray[np.generic], hanging: Hanging) -> NDArray[np.uint8]:
    """Tile |s_c| of the middle slice, one tile a coil.

    Parameters
    ----------
    csm : (slice, map, coil, *grid), complex
    hanging : Hanging

    Returns
    -------
    (rows, columns), uint8
    """
    maps = np.abs(_middle_maps(csm, hanging))
    return _tiled((255 * maps / max(float(maps.max()), 1e-30)).astype(np.uint8))


def coil_phase(csm: NDArray[np.generic], hanging: Hanging) -> NDArray[np.uint8]:
    """Tile the phase of s_c as colours, dark where the map is zero.

    Parameters
    ----------
    csm, hanging
        As `coil_magnitude`.

    Returns
    -------
    (rows, columns, 3), uint8
    """
    maps = _middle_maps(csm, hanging)
    present = (np.abs(maps) > 0)[..., None]
    return _tiled((phase_colours(np.angle(maps)) * present).astype(np.uint8))


def phase_colours(phase_rad: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return a cyclic colour of nearly constant lightness for each phase.

    Parameters
    ----------
    phase_rad : (*shape)

    Returns
    -------
    (*shape, 3), uint8
    """
    turns = np.asarray(phase_rad, dtype=np.float64)[..., None] - 2 * np.pi / 3 * np.arange(3)
    return np.asarray(128 + 92 * np.cos(turns), dtype=np.uint8)


def mask_picture(mask: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Show where k-space was sampled: white samples; the readout across, phase encodes down.

    Parameters
    ----------
    mask : (slice, y, x) or (1, z, y, x), bool
        The middle slice is shown; of a volume, the plane of its two phase encodes.

    Returns
    -------
    (rows, columns), uint8
    """
    plane = mask[len(mask) // 2]
    if plane.ndim == 3:
        plane = plane[..., plane.shape[-1] // 2]
    return np.asarray(plane.astype(bool) * np.uint8(235), dtype=np.uint8)


def noise_correlation(covariance: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Show |Psi_ij| / sqrt(Psi_ii Psi_jj), black for 0, white for 1.

    Parameters
    ----------
    covariance : (coil, coil), complex

    Returns
    -------
    (coil, coil), uint8
    """
    scale = np.sqrt(np.abs(np.diagonal(covariance)))
    scale = np.where(scale > 0, scale, 1)
    return np.asarray(255 * np.clip(np.abs(covariance) / np.outer(scale, scale), 0, 1), np.uint8)


def _middle_maps(csm: NDArray[np.generic], hanging: Hanging) -> NDArray[np.complex64]:
    """Return (coil, row, column) of the middle slice and the first map, thinned to tile size."""
    maps = csm[len(csm) // 2, 0]
    if maps.ndim == 4:
        maps = maps[:, maps.shape[1] // 2]
    step = -(-max(maps.shape[-2:]) // _TILE)
    return np.asarray(hanging.apply(maps[:_MOST_COILS, ::step, ::step]), dtype=np.complex64)


def _tiled(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay (tile, row, column, ...) out in two rows or, for many tiles, rows of eight."""
    n, height, width, *rest = tiles.shape
    n_across = min(n, 8)
    n_down = -(-n // n_across)
    sheet = np.zeros(
        (n_down * (height + _GAP) - _GAP, n_across * (width + _GAP) - _GAP, *rest), np.uint8
    )
    for i, tile in enumerate(tiles):
        top, left = i // n_across * (height + _GAP), i % n_across * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet
