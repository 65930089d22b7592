"""Where voxels are in the patient: the one geometry that every format converts to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from inverse.errors import DataError

__all__ = ["Grid"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular voxel grid in patient coordinates.

    Coordinates are DICOM's: millimetres, L(eft) P(osterior) S(uperior). The voxel with index n//2
    along every axis sits at `centre_mm`, which is where a centred FFT puts the origin.

    Parameters
    ----------
    shape : (nz, ny, nx)
        Number of voxels.
    spacing_mm : (dz, dy, dx)
        Distance between voxel centres along each axis; dz is the distance between slices.
    centre_mm : (3,), LPS
        Position of the voxel [nz//2, ny//2, nx//2].
    x_direction, y_direction, z_direction : (3,), LPS
        Unit vectors of growing column, row and slice index.
    slice_thickness_mm : float, optional
        Thickness of the excited slice where it differs from dz.
    is_nominal : bool
        True when the file held no position or no directions, so that these (and the spacing, if
        it held none either) were assumed. Left and right are then unknown.

    Raises
    ------
    DataError
        If a number is not finite, a spacing not positive or the directions not orthonormal.

    Examples
    --------
    >>> Grid((1, 4, 4), (5.0, 2.0, 2.0)).affine[:3, 3].tolist()
    [4.0, 4.0, 0.0]
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    x_direction: tuple[float, float, float] = (1.0, 0.0, 0.0)
    y_direction: tuple[float, float, float] = (0.0, 1.0, 0.0)
    z_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    slice_thickness_mm: float | None = None
    is_nominal: bool = False

    def __post_init__(self) -> None:
        directions = self.directions
        numbers = np.concatenate([self.spacing_mm, self.centre_mm, directions.ravel()])
        if not np.isfinite(numbers).all():
            raise DataError("geometry expected finite numbers, got NaN or infinity")
        if min(self.shape) < 1 or min(self.spacing_mm) <= 0:
            raise DataError(
                f"geometry expected positive sizes and spacings, "
                f"got {self.shape} and {self.spacing_mm} mm"
            )
        if np.abs(directions.T @ directions - np.eye(3)).max() > _TOLERANCE:
            raise DataError("geometry expected orthonormal read, phase and slice directions")

    @property
    def directions(self) -> NDArray[np.float64]:
        """(3, 3), columns are the LPS unit vectors of x, y and z."""
        return np.array([self.x_direction, self.y_direction, self.z_direction], dtype=float).T

    def position_mm(self, index_zyx: ArrayLike) -> NDArray[np.float64]:
        """LPS position, (..., 3) mm, of voxels given as (..., 3) indices in z, y, x order."""
        offset = np.asarray(index_zyx, dtype=float) - np.array([n // 2 for n in self.shape])
        steps = (offset * np.array(self.spacing_mm))[..., ::-1]
        return np.asarray(np.array(self.centre_mm) + steps @ self.directions.T, dtype=float)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before positions are trusted; empty when they were measured."""
        if not self.is_nominal:
            return ()
        return (
            "Geometry is assumed: the file holds no complete position and orientation, so left "
            "and right are not known.",
        )

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) NIfTI affine: voxel index (x, y, z) to R(ight) A(nterior) S(uperior) mm."""
        affine = np.eye(4)
        affine[:3, :3] = _LPS_TO_RAS @ self.directions * np.array(self.spacing_mm[::-1])
        affine[:3, 3] = _LPS_TO_RAS @ self.position_mm((0, 0, 0))
        return affine

    @classmethod
    def from_affine(cls, affine: ArrayLike, shape: tuple[int, int, int]) -> Grid:
        """Build the grid of a NIfTI affine, the inverse of `affine`.

        Parameters
        ----------
        affine : (4, 4)
            Voxel index (x, y, z) to R A S millimetres.
        shape : (nz, ny, nx)

        Raises
        ------
        DataError
            If the affine shears, so that no grid has it.

        Examples
        --------
        >>> grid = Grid((3, 4, 5), (5.0, 2.0, 1.0), centre_mm=(7.0, 8.0, 9.0))
        >>> Grid.from_affine(grid.affine, grid.shape) == grid
        True
        """
        to_lps = _LPS_TO_RAS @ np.asarray(affine, dtype=float)[:3]
        steps = to_lps[:, :3]
        lengths = np.linalg.norm(steps, axis=0)
        if not np.isfinite(to_lps).all() or lengths.min() <= 0:
            raise DataError("geometry expected a finite, invertible affine")
        x, y, z = (_triple(column) for column in (steps / lengths).T)
        centre = to_lps @ np.array([*(n // 2 for n in shape[::-1]), 1.0])
        return cls(
            shape,
            _triple(lengths[::-1]),
            centre_mm=_triple(centre),
            x_direction=x,
            y_direction=y,
            z_direction=z,
        )

    def one_slice(self, index: int) -> Grid:
        """Return the grid of the slice `index` alone."""
        _, ny, nx = self.shape
        centre = _triple(self.position_mm((index, ny // 2, nx // 2)))
        return replace(self, shape=(1, ny, nx), centre_mm=centre)

    def crop(self, shape: tuple[int, int, int]) -> Grid:
        """Return the grid after a crop that keeps index n//2 of every axis at the centre."""
        return replace(self, shape=shape)


def _triple(vector: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])
