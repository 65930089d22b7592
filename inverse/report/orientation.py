"""How to hang a slice on the light box: rows, columns and the letters at its edges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inverse.grid import Grid

__all__ = ["Hanging", "hang"]

_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
# Radiological convention: which patient axis runs to the right and which one downwards, in LPS.
_VIEWS = {
    "axial": ((0, 1.0), (1, 1.0)),
    "coronal": ((0, 1.0), (2, -1.0)),
    "sagittal": ((1, 1.0), (2, -1.0)),
}
_PLANE_OF_NORMAL = ("sagittal", "coronal", "axial")
_OBLIQUE_DEGREES = 2.0


@dataclass(frozen=True, slots=True)
class Hanging:
    """How a (z, y, x) volume is shown.

    Parameters
    ----------
    plane : str
        "axial", "coronal", "sagittal", with "oblique" before it when tilted; "" without geometry.
    is_transposed, is_row_flipped, is_column_flipped : bool
        What `apply` does, in this order.
    pixel_mm : (dy, dx)
        Distance of shown rows and columns.
    letters : (left, right, top, bottom)
        Patient directions at the edges; empty strings without geometry.
    """

    plane: str
    is_transposed: bool
    is_row_flipped: bool
    is_column_flipped: bool
    pixel_mm: tuple[float, float]
    letters: tuple[str, str, str, str]

    def apply(self, volume: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return (..., row, column) as shown, from (..., y, x)."""
        shown = volume.swapaxes(-1, -2) if self.is_transposed else volume
        shown = shown[..., ::-1, :] if self.is_row_flipped else shown
        return shown[..., ::-1] if self.is_column_flipped else shown


def hang(grid: Grid) -> Hanging:
    """Choose the radiological hanging of the slices of a grid.

    Axial slices show the patient's right on the left and the front on top, coronal ones right on
    the left and head on top, sagittal ones front on the left and head on top. An oblique slice is
    shown as the plane nearest to it.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    Hanging
        As stored when the grid is nominal.

    Examples
    --------
    >>> hang(Grid((1, 8, 8), (1, 1, 1))).letters
    ('R', 'L', 'A', 'P')
    """
    spacing = (grid.spacing_mm[1], grid.spacing_mm[2])
    if grid.is_nominal:
        return Hanging("", False, False, False, spacing, ("", "", "", ""))
    columns, rows, normal = grid.directions.T
    nearest = int(np.argmax(np.abs(normal)))
    plane = _PLANE_OF_NORMAL[nearest]
    (right_axis, right_sign), (down_axis, down_sign) = _VIEWS[plane]
    is_transposed = bool(abs(rows[right_axis]) > abs(columns[right_axis]))
    if is_transposed:
        columns, rows, spacing = rows, columns, spacing[::-1]
    is_column_flipped = bool(columns[right_axis] * right_sign < 0)
    is_row_flipped = bool(rows[down_axis] * down_sign < 0)
    to_right = -columns if is_column_flipped else columns
    downwards = -rows if is_row_flipped else rows
    tilt = np.degrees(np.arccos(min(1.0, abs(float(normal[nearest])))))
    return Hanging(
        plane=f"oblique {plane}" if tilt > _OBLIQUE_DEGREES else plane,
        is_transposed=is_transposed,
        is_row_flipped=is_row_flipped,
        is_column_flipped=is_column_flipped,
        pixel_mm=spacing,
        letters=(_letter(-to_right), _letter(to_right), _letter(-downwards), _letter(downwards)),
    )


def _letter(direction: NDArray[np.float64]) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][int(direction[axis] > 0)]
