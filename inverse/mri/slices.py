"""Slices cut out of an image along any of its axes, with their place in the patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.grid import Grid

__all__ = ["fit_matrix", "take_slices"]


def take_slices(
    image: NDArray[np.generic],
    grid: Grid | None,
    *,
    axis: str = "z",
    indices: Sequence[int] | None = None,
) -> tuple[NDArray[np.generic], Grid | None]:
    """Cut evenly spaced slices out of an image, along any of its axes.

    Parameters
    ----------
    image : (z, y, x)
    grid : Grid, optional
        Where its voxels are.
    axis : {"z", "y", "x"}
        Becomes the slice axis; the other two keep their order.
    indices : sequence of int, optional
        Along that axis, rising in equal steps; all when left out. They are laid down in falling
        order where that is what keeps x, y and slice direction right-handed.

    Returns
    -------
    image : (slice, row, column)
    grid : Grid or None
        Where they are.

    Raises
    ------
    UsageError
        If there is no such axis or slice, or the steps are not equal.

    Examples
    --------
    >>> take_slices(np.zeros((4, 5, 6)), None, axis="y", indices=[2])[0].shape
    (1, 4, 6)
    """
    if axis not in {"z", "y", "x"}:
        raise UsageError(f"slices expected an axis z, y or x, got '{axis}'")
    first = "zyx".index(axis)
    n = image.shape[first]
    chosen = list(range(n)) if indices is None else list(indices)
    steps = set(np.diff(chosen).tolist()) or {1}
    if not chosen or min(chosen) < 0 or max(chosen) >= n or len(steps) > 1 or min(steps) < 1:
        raise UsageError(
            f"slices along {axis} expected rising indices from 0 to {n - 1} in equal steps, "
            f"got {chosen}"
        )
    order = [first, *(i for i in range(3) if i != first)]
    is_mirrored = grid is not None and np.linalg.det(grid.directions[:, ::-1][:, order]) > 0
    chosen = chosen[::-1] if is_mirrored else chosen
    cut = np.ascontiguousarray(image.transpose(order)[chosen])
    return cut, None if grid is None else _cut_grid(grid, order, chosen, is_mirrored=is_mirrored)


def fit_matrix(
    image: NDArray[np.generic], grid: Grid | None, matrix: tuple[int, int]
) -> tuple[NDArray[np.generic], Grid | None]:
    """Cut or pad each slice with zeros about its centre; voxels stay where they are.

    Parameters
    ----------
    image : (z, y, x)
    grid : Grid, optional
        Where its voxels are.
    matrix : (ny, nx)
        Wanted size.

    Returns
    -------
    image : (z, ny, nx)
    grid : Grid or None

    Raises
    ------
    UsageError
        If the wanted size is not positive.

    Examples
    --------
    >>> fit_matrix(np.arange(5.0).reshape(1, 1, 5), None, (1, 2))[0].tolist()
    [[[1.0, 2.0]]]
    """
    if min(matrix) < 1:
        raise UsageError(f"a matrix expected positive sizes, got {matrix}")
    wanted = (image.shape[0], *matrix)
    fitted = np.zeros(wanted, dtype=image.dtype)
    source, target = [], []
    for have, want in zip(image.shape, wanted, strict=True):
        n, first = min(have, want), max(have // 2 - want // 2, 0)
        source.append(slice(first, first + n))
        start = max(want // 2 - have // 2, 0)
        target.append(slice(start, start + n))
    fitted[tuple(target)] = image[tuple(source)]
    return fitted, None if grid is None else grid.crop(wanted)


def _cut_grid(grid: Grid, order: list[int], chosen: list[int], *, is_mirrored: bool) -> Grid:
    first = order[0]
    step = abs(chosen[1] - chosen[0]) if len(chosen) > 1 else 1
    directions = [(grid.z_direction, grid.y_direction, grid.x_direction)[i] for i in order]
    if is_mirrored:
        x, y, z = directions[0]
        directions[0] = (-x, -y, -z)
    spacing = [grid.spacing_mm[i] for i in order]
    centre = [n // 2 for n in grid.shape]
    centre[first] = chosen[len(chosen) // 2]
    x, y, z = (float(v) for v in grid.position_mm(centre))
    return Grid(
        shape=(len(chosen), grid.shape[order[1]], grid.shape[order[2]]),
        spacing_mm=(spacing[0] * step, spacing[1], spacing[2]),
        centre_mm=(x, y, z),
        x_direction=directions[2],
        y_direction=directions[1],
        z_direction=directions[0],
        slice_thickness_mm=spacing[0],
        is_nominal=grid.is_nominal,
    )
