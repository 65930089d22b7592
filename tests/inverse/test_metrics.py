from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from inverse.errors import DataError
from inverse.grid import Grid
from inverse.metrics import best_scale, compare, nrmse, psnr, ssim, support


def complex_image(seed: int, shape: tuple[int, ...] = (2, 24, 21)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)


@given(st.integers(0, 2**20), st.floats(1e-8, 1e8), st.floats(-3.0, 3.0))
def test_nrmse_ignores_a_complex_scale(seed: int, gain: float, phase: float) -> None:
    x, r = complex_image(seed, (5, 4)), complex_image(seed + 1, (5, 4))
    assert nrmse(gain * np.exp(1j * phase) * x, r) == pytest.approx(nrmse(x, r), rel=1e-9)


def test_best_scale_is_the_least_squares_solution() -> None:
    x, r = complex_image(1), complex_image(2)
    expected = np.linalg.lstsq(x.reshape(-1, 1), r.ravel(), rcond=None)[0][0]
    assert best_scale(x, r) == pytest.approx(expected, rel=1e-12)
    stacked = np.concatenate([x.real.ravel(), x.imag.ravel()])[:, None]
    target = np.concatenate([r.real.ravel(), r.imag.ravel()])
    expected_real = np.linalg.lstsq(stacked, target, rcond=None)[0][0]
    assert best_scale(x, r, "real") == pytest.approx(expected_real, rel=1e-12)
    assert best_scale(np.zeros(3), np.ones(3)) == 0


def test_nrmse_of_a_mask_sees_nothing_outside() -> None:
    r = complex_image(3)
    x = r.copy()
    mask = support(r, 0.5)
    x[~mask] = 1e6
    assert nrmse(x, r, mask) < 1e-12 < nrmse(x, r)


@given(st.integers(0, 2**20))
def test_psnr_and_ssim_equal_scikit_image(seed: int) -> None:
    x, r = np.abs(complex_image(seed)), np.abs(complex_image(seed + 1))
    peak = r.max()
    assert psnr(x, r) == pytest.approx(peak_signal_noise_ratio(r, x, data_range=peak), rel=1e-12)
    slices = [structural_similarity(a, b, data_range=peak) for a, b in zip(x, r, strict=True)]
    assert ssim(x, r) == pytest.approx(np.mean(slices), rel=1e-9)


def test_equal_images_are_perfect() -> None:
    x = complex_image(4)
    found = compare(x, x, grid=Grid(x.shape, (3, 1, 1)), reference_grid=Grid(x.shape, (3, 1, 1)))
    assert found.nrmse < 1e-15
    assert found.psnr_db > 300
    assert found.ssim == pytest.approx(1, abs=1e-12)
    assert found.max_difference == 0
    assert found.is_same_place is True


def test_compare_reports_a_wrong_factor_beside_the_scaled_error() -> None:
    r = complex_image(5)
    found = compare((2 * r).astype(np.complex64), r)
    assert found.scale == pytest.approx(0.5, rel=1e-6)
    assert found.nrmse < 1e-6
    assert found.nrmse_unscaled == pytest.approx(1, rel=1e-6)
    assert found.geometry_mm is None
    assert found.is_same_place is None


def test_compare_measures_a_rotation_at_the_far_corner() -> None:
    shape = (1, 9, 9)
    angle = np.deg2rad(10)
    turned = Grid(
        shape,
        (5, 2, 2),
        x_direction=(np.cos(angle), np.sin(angle), 0),
        y_direction=(-np.sin(angle), np.cos(angle), 0),
    )
    ones, straight = np.ones(shape), Grid(shape, (5, 2, 2))
    found = compare(ones, ones, grid=turned, reference_grid=straight)
    radius = 4 * 2 * np.sqrt(2)
    assert found.geometry_mm == pytest.approx(2 * radius * np.sin(angle / 2), rel=1e-12)
    assert found.is_same_place is False
    nominal = dataclasses.replace(turned, is_nominal=True)
    assert compare(ones, ones, grid=nominal, reference_grid=turned).geometry_mm is None


def test_magnitudes_are_compared_when_one_image_is_real() -> None:
    x = complex_image(6)
    found = compare(x, np.abs(x))
    assert not found.is_complex
    assert found.nrmse < 1e-15


@pytest.mark.parametrize(
    ("x", "r", "message"),
    [
        (np.ones((1, 8, 8)), np.ones((1, 8, 9)), r"one shape, got \(1, 8, 8\) and \(1, 8, 9\)"),
        (np.full((1, 8, 8), np.nan), np.ones((1, 8, 8)), "the image holds NaN"),
        (np.ones((1, 8, 8)), np.full((1, 8, 8), np.inf), "the reference holds NaN or infinity"),
        (np.ones((1, 8, 8)), np.zeros((1, 8, 8)), "not zero everywhere"),
        (np.ones((1, 6, 8)), np.ones((1, 6, 8)), "at least 7 by 7"),
    ],
)
def test_what_cannot_be_compared_is_refused(x: np.ndarray, r: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(x, r)


def test_data_range_and_mask_are_checked() -> None:
    with pytest.raises(DataError, match="data range above zero, got -1"):
        psnr(np.ones(3), np.ones(3), data_range=-1)
    with pytest.raises(DataError, match=r"mask of shape \(3,\), got \(2,\)"):
        nrmse(np.ones(3), np.ones(3), np.ones(2, dtype=bool))
