from __future__ import annotations

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from inverse.errors import DataError
from inverse.grid import Grid

_SIZES = st.tuples(*[st.integers(1, 9)] * 3)
_SPACINGS = st.tuples(*[st.floats(0.1, 20.0)] * 3)
_POINTS = st.tuples(*[st.floats(-400.0, 400.0)] * 3)
_ANGLES = st.tuples(*[st.floats(-180.0, 180.0)] * 3)


def _oblique(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    centre: tuple[float, float, float],
    angles: tuple[float, float, float],
) -> Grid:
    x, y, z = Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T.tolist()
    return Grid(shape, spacing, centre, tuple(x), tuple(y), tuple(z))


_GRIDS = st.builds(_oblique, _SIZES, _SPACINGS, _POINTS, _ANGLES)


@given(_GRIDS)
def test_the_affine_places_every_corner_where_position_mm_does(grid: Grid) -> None:
    for corner in np.ndindex(2, 2, 2):
        index = [c * (n - 1) for c, n in zip(corner, grid.shape, strict=True)]
        ras = nibabel.affines.apply_affine(grid.affine, index[::-1])
        np.testing.assert_allclose(ras * [-1, -1, 1], grid.position_mm(index), atol=1e-9)


@given(_GRIDS)
def test_from_affine_inverts_affine(grid: Grid) -> None:
    again = Grid.from_affine(grid.affine, grid.shape)
    np.testing.assert_allclose(again.affine, grid.affine, atol=1e-9)
    np.testing.assert_allclose(again.centre_mm, grid.centre_mm, atol=1e-9)


@given(_GRIDS, _SIZES)
def test_a_crop_keeps_voxels_where_they_are(grid: Grid, wanted: tuple[int, int, int]) -> None:
    small = tuple(min(a, b) for a, b in zip(grid.shape, wanted, strict=True))
    offset = [n // 2 - m // 2 for n, m in zip(grid.shape, small, strict=True)]
    np.testing.assert_allclose(
        grid.crop(small).position_mm((0, 0, 0)), grid.position_mm(offset), atol=1e-9
    )


@given(_GRIDS, st.data())
def test_one_slice_keeps_its_voxels_where_they_are(grid: Grid, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, grid.shape[0] - 1))
    np.testing.assert_allclose(
        grid.one_slice(index).position_mm((0, 0, 0)), grid.position_mm((index, 0, 0)), atol=1e-9
    )


def test_the_centre_is_the_voxel_n_over_2() -> None:
    grid = Grid((3, 4, 5), (5.0, 2.0, 1.0), centre_mm=(7.0, 8.0, 9.0))
    np.testing.assert_array_equal(grid.position_mm((1, 2, 2)), [7.0, 8.0, 9.0])
    np.testing.assert_array_equal(grid.position_mm((0, 0, 0)), [5.0, 4.0, 4.0])


def test_only_an_assumed_geometry_warns() -> None:
    assert Grid((1, 4, 4), (1.0, 1.0, 1.0)).warnings == ()
    [warning] = Grid((1, 4, 4), (1.0, 1.0, 1.0), is_nominal=True).warnings
    assert warning.startswith("Geometry is assumed: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"centre_mm": (np.nan, 0.0, 0.0)}, "finite numbers"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, "positive sizes and spacings"),
        ({"shape": (0, 4, 4)}, "positive sizes and spacings"),
        ({"x_direction": (1.0, 0.1, 0.0)}, "orthonormal"),
    ],
)
def test_an_impossible_geometry_is_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"shape": (1, 4, 4), "spacing_mm": (1.0, 1.0, 1.0)} | changes
    with pytest.raises(DataError, match=message):
        Grid(**arguments)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([1.0, 0.0, 1.0, 1.0]), "invertible"),
        (np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "orthonormal"),
        (np.full((4, 4), np.inf), "invertible"),
    ],
)
def test_an_affine_without_a_grid_is_refused(affine: NDArray[np.float64], message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(DataError, match=message):
        Grid.from_affine(affine, (2, 2, 2))
