from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inverse.errors import DataError, UsageError
from inverse.grid import Grid
from inverse.io import describe, ismrmrd, load
from inverse.mri.coil_array import _transverse_field, coil_maps
from inverse.mri.simulate import (
    LINE_MASKS,
    POINT_MASKS,
    Acquisition,
    noise_factor,
    object_phase,
    simulate,
)
from inverse.mri.slices import fit_matrix, take_slices

SMALL = Acquisition(n_coils=4, acceleration=2, n_calibration=6, noise=0.0, seed=5)


def brain(shape: tuple[int, int, int] = (2, 20, 17)) -> np.ndarray:
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def centred_fft(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    shifted = np.fft.fftn(np.fft.ifftshift(x, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(shifted, axes=axes)


def test_the_field_on_the_axis_of_a_loop_is_the_closed_form() -> None:
    # Along its axis a loop of radius a makes |B| = mu_0 I a^2 / (2 (a^2 + d^2)^1.5);
    # without mu_0 / (4 pi) that is 2 pi a^2 / (a^2 + d^2)^1.5.
    ring, radius = 100.0, 40.0
    along = np.linspace(-60, 60, 7, dtype=np.float32)
    origin = np.zeros(1, dtype=np.float32)
    field = _transverse_field([origin, origin, along], 0.0, ring, radius).ravel()
    distance = ring - along.astype(float)
    expected = 2 * np.pi * radius**2 / (radius**2 + distance**2) ** 1.5
    np.testing.assert_allclose(np.abs(field), expected, rtol=1e-5)
    assert np.abs(field.imag).max() < 1e-5 * np.abs(field.real).max()


def test_coil_maps_have_unit_norm_and_a_phase_that_is_smooth_and_not_flat() -> None:
    maps = coil_maps(Grid((3, 32, 24), (5, 2, 2)), 8)
    assert maps.shape == (8, 3, 32, 24)
    np.testing.assert_allclose(np.linalg.norm(maps, axis=0), 1, rtol=1e-5)
    assert np.ptp(np.unwrap(np.angle(maps[0, 1, :, 4]))) > 0.3
    assert np.abs(np.diff(maps, axis=-1)).max() < 0.1


def test_the_ring_looks_the_same_from_every_coil() -> None:
    maps = np.abs(coil_maps(Grid((1, 33, 33), (1, 1, 1)), 4))
    for coil in range(4):
        np.testing.assert_allclose(np.rot90(maps[coil, 0], coil), maps[0, 0], atol=1e-5)


def test_samples_are_the_fourier_transform_of_what_each_coil_sees() -> None:
    x = brain()
    grid = Grid(x.shape, (5, 1, 1))
    kspace = simulate(x, SMALL, grid=grid)
    generators = np.random.default_rng(SMALL.seed).spawn(4)
    phase = object_phase(x.shape, SMALL.phase_rad, generators[1])
    seen = coil_maps(grid, 4).swapaxes(0, 1) * (x * np.exp(1j * phase))[:, None]
    expected = centred_fft(seen, (-2, -1)) * kspace.mask[:, None]
    np.testing.assert_allclose(kspace.samples, expected, atol=2e-6)
    np.testing.assert_array_equal(kspace.reference, x)
    assert kspace.noise is None
    assert kspace.acquisition["source"] == "simulation"


def test_a_point_mask_gives_a_volume_with_two_phase_encodes() -> None:
    x = brain((14, 16, 12))
    acquisition = dataclasses.replace(SMALL, mask="gaussian_2d", n_calibration=4)
    kspace = simulate(x, acquisition)
    assert kspace.is_3d
    assert (kspace.mask == kspace.mask[..., :1]).all()
    assert kspace.acceleration == pytest.approx(2, rel=0.01)
    filled = simulate(x, dataclasses.replace(acquisition, acceleration=1))
    energy = np.linalg.norm(filled.samples)
    assert energy == pytest.approx(np.linalg.norm(x), rel=1e-5)


@pytest.mark.parametrize("mask", LINE_MASKS + POINT_MASKS)
def test_every_mask_keeps_its_centre_and_the_acceleration(mask: str) -> None:
    x = brain((32, 32, 8))
    kspace = simulate(x, Acquisition(n_coils=2, mask=mask, acceleration=3, n_calibration=8))
    assert kspace.acceleration == pytest.approx(3, rel=0.08)  # of 32 lines
    axes = (1, 2) if mask in POINT_MASKS else (1,)
    centre = [slice(None)] * kspace.mask.ndim
    for axis in axes:
        centre[axis] = slice(12, 20)
    assert kspace.mask[tuple(centre)].all()


def test_noise_has_the_covariance_that_was_asked_for() -> None:
    x = brain((1, 96, 96))
    acquisition = Acquisition(n_coils=4, acceleration=1, n_calibration=0, noise=0.05)
    noisy = simulate(x, acquisition)
    clean = simulate(x, dataclasses.replace(acquisition, noise=0.0))
    factor = noise_factor(acquisition) * x.max()
    expected = factor @ factor.T
    np.testing.assert_allclose(np.diag(expected), (0.05 * x.max()) ** 2, rtol=1e-6)
    assert expected[0, 1] / expected[0, 0] == pytest.approx(0.2)
    assert expected[0, 3] / expected[0, 0] == pytest.approx(0.2)
    for noise in ((noisy.samples - clean.samples)[0].reshape(4, -1), noisy.noise):
        n = noise.shape[1]
        for part in (noise.real, noise.imag):
            found = part @ part.T / n
            assert np.abs(found - expected).max() < 5 * expected[0, 0] / n**0.5
        assert np.abs((noise @ noise.T) / n).max() < 10 * expected[0, 0] / n**0.5


def test_equal_seeds_give_equal_data_and_the_file_says_simulated(tmp_path: Path) -> None:
    x = brain()
    acquisition = dataclasses.replace(SMALL, noise=0.02)
    first, second = simulate(x, acquisition), simulate(x, acquisition)
    np.testing.assert_array_equal(first.samples, second.samples)
    other = simulate(x, dataclasses.replace(acquisition, seed=6))
    assert not np.array_equal(first.mask, other.mask)
    path = tmp_path / "raw.h5"
    ismrmrd.write(first, path)
    again = load(path)
    np.testing.assert_array_equal(again.samples, first.samples)
    np.testing.assert_array_equal(again.mask, first.mask)
    np.testing.assert_array_equal(again.noise, first.noise)
    assert describe(path)["acquisition"]["source"] == "simulation"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_coils": 0}, "n_coils from 1 to 256, got 0"),
        ({"acceleration": float("nan")}, "acceleration from 1 to 100, got nan"),
        ({"noise": -1.0}, "noise from 0 to 10, got -1"),
        ({"mask": "spiral"}, "a mask out of fastmri_random, .*, got 'spiral'"),
    ],
)
def test_settings_outside_their_range_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Acquisition(**changed)


def test_images_and_masks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match=r"finite image .* that is not zero"):
        simulate(np.zeros((1, 8, 8)), SMALL)
    with pytest.raises(DataError, match=r"got shape \(8, 8\)"):
        simulate(np.ones((8, 8)), SMALL)
    with pytest.raises(UsageError, match="more than 6 phase encodes"):
        simulate(np.ones((1, 6, 8)), SMALL)
    with pytest.raises(UsageError, match="Lower the acceleration or the centre"):
        simulate(np.ones((1, 20, 8)), dataclasses.replace(SMALL, acceleration=10))


@settings(deadline=None)
@given(
    st.integers(0, 2**20),
    st.sampled_from("zyx"),
    st.integers(0, 2),
    st.integers(1, 2),
    st.booleans(),
)
def test_slices_and_matrices_keep_every_voxel_in_its_place(
    seed: int, axis: str, first: int, step: int, mirrored: bool
) -> None:
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((3, 3)))[0]
    turn[:, 0] *= np.sign(np.linalg.det(turn)) * (-1 if mirrored else 1)
    shape = (5, 6, 7)
    directions = [tuple(map(float, turn[:, i])) for i in range(3)]
    grid = Grid(shape, (3, 2, 1.5), (5, -3, 9), *directions)
    image = generator.standard_normal(shape)
    cut, cut_grid = take_slices(image, grid, axis=axis, indices=[first, first + step])
    fitted, fitted_grid = fit_matrix(cut, cut_grid, (4, 9))
    assert np.linalg.det(fitted_grid.directions) == pytest.approx(1)
    place = {
        tuple(np.round(p, 6) + 0.0): v for p, v in zip(_positions(grid), image.ravel(), strict=True)
    }
    inside = 0
    for p, value in zip(_positions(fitted_grid), fitted.ravel(), strict=True):
        known = place.get(tuple(np.round(p, 6) + 0.0), 0.0)
        assert value == known
        inside += known != 0.0
    assert inside == 2 * min(4, cut.shape[1]) * min(9, cut.shape[2])


def _positions(grid: Grid) -> np.ndarray:
    return grid.position_mm(np.argwhere(np.ones(grid.shape, dtype=bool)))


@pytest.mark.parametrize("indices", [[], [3, 2], [0, 1, 3], [-1], [9]])
def test_slices_that_are_not_there_are_refused(indices: list[int]) -> None:
    with pytest.raises(UsageError, match="rising indices from 0 to 8 in equal steps"):
        take_slices(np.ones((9, 2, 2)), None, indices=indices)
    with pytest.raises(UsageError, match="an axis z, y or x, got 't'"):
        take_slices(np.ones((9, 2, 2)), None, axis="t")
    with pytest.raises(UsageError, match="positive sizes"):
        fit_matrix(np.ones((9, 2, 2)), None, (0, 2))
