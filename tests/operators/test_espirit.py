"""ESPIRiT against the textbook algorithm, known maps, folded objects and a real scan."""

from __future__ import annotations

import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from operators import CalibrationError, DtypeError, ShapeError
from operators.mri import espirit
from operators.mri.calibration_kernels import signal_rank
from tests.operators.coil_scenes import (
    Complex,
    Scene,
    coordinates,
    fft,
    make_scene,
    outside_span,
    smooth_coils,
    texture,
)


def textbook_espirit(
    calibration: Complex, shape: tuple[int, ...], kernel: int, rank: int
) -> tuple[Complex, NDArray[np.float64]]:
    """Uecker et al. 2014, section "Theory", step by step: all vectors (C, C, n) and values (C, n).

    Calibration matrix row by row, its SVD, each kernel zero-filled and transformed to image space,
    then the SVD of the kernels' C x rank matrix in every voxel.
    """
    n_coils, *region = calibration.shape
    rows = []
    for corner in itertools.product(*(range(n - kernel + 1) for n in region)):
        window = tuple(slice(c, c + kernel) for c in corner)
        rows.append(calibration[(slice(None), *window)].ravel())
    right = np.linalg.svd(np.array(rows))[2][:rank]
    weights = np.zeros((rank, n_coils, *shape), complex)
    start = tuple(slice(n // 2, n // 2 + kernel) for n in shape)
    weights[(slice(None), slice(None), *start)] = right.reshape(
        rank, n_coils, *(kernel,) * len(shape)
    )
    axes = tuple(range(2, weights.ndim))
    in_image = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(weights, axes=axes), axes=axes), axes)
    in_image *= np.prod(shape) / np.sqrt(kernel ** len(shape))
    matrices = in_image.reshape(rank, n_coils, -1).transpose(2, 1, 0)
    vectors, values, _ = np.linalg.svd(matrices, full_matrices=False)
    return vectors.transpose(2, 1, 0), values.T**2


def overlap(first: Complex, second: Complex) -> NDArray[np.float64]:
    """|<a, b>| voxel by voxel, coils on axis 0."""
    return np.abs((first.conj() * second).sum(0))


@pytest.mark.parametrize(
    ("shape", "n_coils", "width", "kernel"),
    [((32, 30), 4, 16, 5), ((31, 36), 6, 14, 4), ((14, 12, 13), 3, 10, 3)],
)
def test_it_is_the_textbook_algorithm(
    shape: tuple[int, ...], n_coils: int, width: int, kernel: int
) -> None:
    calibration = make_scene(shape, n_coils).calibration(width)
    rng = np.random.default_rng(0)
    calibration += 1e-3 * torch.from_numpy(rng.normal(size=calibration.shape)) * calibration.std()
    for n_maps in (1, 2):
        maps = espirit(calibration, shape, kernel=kernel, n_maps=n_maps, crop=0.0)
        vectors, values = textbook_espirit(calibration.numpy(), shape, kernel, maps.rank)
        np.testing.assert_allclose(maps.eigenvalues.flatten(1).numpy(), values[:n_maps], atol=1e-3)
        csm = maps.csm.flatten(2).numpy()
        for m in range(n_maps):
            # where two eigenvalues are close, neither algorithm's vectors mean anything alone
            apart = (values[m] - values[m + 1] > 0.02) & (
                m == 0 or values[m - 1] - values[m] > 0.02
            )
            assert apart.mean() > 0.3
            np.testing.assert_allclose(overlap(csm[m], vectors[m])[apart], 1, atol=1e-3)


@pytest.mark.parametrize(
    ("shape", "width", "kernel"), [((64, 48), 24, 6), ((60, 63), 20, 5), ((24, 22, 20), 12, 4)]
)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_known_maps_are_recovered(
    shape: tuple[int, ...], width: int, kernel: int, dtype: torch.dtype
) -> None:
    scene = make_scene(shape, 6)
    maps = espirit(scene.calibration(width).to(dtype), shape, kernel=kernel)
    assert maps.csm.dtype == dtype
    csm = maps.csm[0].numpy()
    assert overlap(csm, scene.maps)[scene.inside].min() > 0.995
    assert np.mean(overlap(csm, scene.maps)[scene.inside]) > 0.9998
    assert maps.support[0].numpy()[scene.inside].all()


def test_maps_have_unit_norm_and_are_zero_outside_the_reported_support() -> None:
    scene = make_scene((48, 48), 5, radius=0.25)
    maps = espirit(scene.calibration(20), (48, 48), n_maps=2, crop=0.9)
    norm = torch.linalg.vector_norm(maps.csm, dim=1)
    assert torch.equal(maps.support, maps.eigenvalues >= 0.9)
    assert 0 < int((~maps.support[0]).sum()) < 48 * 48
    torch.testing.assert_close(norm, maps.support.to(norm.dtype), rtol=1e-5, atol=0)
    across = (maps.csm[0].conj() * maps.csm[1]).sum(0).abs()
    assert float(across.max()) < 1e-5


def test_the_phase_is_smooth_where_there_is_signal() -> None:
    scene = make_scene((64, 64), 6)
    csm = espirit(scene.calibration(24), (64, 64)).csm[0].numpy()
    for axis in (1, 2):
        step = np.roll(csm, -1, axis) * csm.conj()
        both = scene.inside & np.roll(scene.inside, -1, axis - 1)
        # the true maps turn by less than 0.1 rad a voxel; a sign flip would be pi
        assert np.abs(np.angle(step.sum(0)[both])).max() < 0.15


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_the_units_of_the_data_do_not_matter(scale: float) -> None:
    calibration = make_scene((32, 32), 4).calibration(16).to(torch.complex64)
    once, again = (espirit(c, (32, 32), kernel=5) for c in (calibration, scale * calibration))
    assert once.rank == again.rank
    torch.testing.assert_close(again.eigenvalues, once.eigenvalues, atol=1e-4, rtol=0)
    firm = once.eigenvalues[0] > 0.99
    torch.testing.assert_close(again.csm[0][:, firm], once.csm[0][:, firm], atol=1e-3, rtol=0)


def folded_scene() -> tuple[Scene, Scene]:
    """An object 1.5 times the field of view in y: what lies inside it, and what folds into it."""
    y, x = coordinates((96, 48))
    coils = smooth_coils((96, 48), 6, extent=1.5)
    inside = (np.abs(y) < 0.375) & (np.abs(x) < 0.4)
    arrays = (coils / np.linalg.norm(coils, axis=0), coils * texture((96, 48)) * inside, inside)
    middle = slice(24, 72)
    return (
        Scene(*(a[..., middle, :] for a in arrays)),
        Scene(*(np.roll(a, 48, -2)[..., middle, :] for a in arrays)),
    )


def test_two_maps_explain_an_object_larger_than_the_field_of_view() -> None:
    inner, outer = folded_scene()
    folded = inner.images + outer.images
    both = inner.inside & outer.inside
    # kernels of 6 samples see the fold blurred over a sixth of the field of view
    single = np.zeros_like(both)
    single[20:29, 8:40] = True
    assert (inner.inside & ~outer.inside)[single].all()
    calibration = Scene(inner.maps, folded, both).calibration(24)
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(calibration.shape, dtype=calibration.dtype, generator=rng)
    calibration += 1e-3 * calibration.abs().max() * noise
    shape = both.shape
    two = espirit(calibration, shape, n_maps=2, crop=0.0)
    one = espirit(calibration, shape, n_maps=1, crop=0.0)
    assert outside_span(folded[:, both], one.csm.numpy()[..., both]) > 0.05
    assert outside_span(folded[:, both], two.csm.numpy()[..., both]) < 0.02
    for true in (inner.maps, outer.maps):
        assert outside_span(true[:, both], two.csm.numpy()[..., both]) < 0.1
    second = two.eigenvalues[1].numpy()
    assert np.median(second[both]) > 0.95
    assert np.median(second[single]) < 0.7


def test_noise_sets_the_rank() -> None:
    shape, sizes = (40, 40), []
    scene = make_scene(shape, 6)
    clean = scene.calibration(20)
    rng = torch.Generator().manual_seed(0)
    for level in (1e-3, 1e-2, 1e-1):
        noise_std = level * float(clean.abs().max()) / 10
        noise = noise_std * 2**0.5 * torch.randn(clean.shape, dtype=clean.dtype, generator=rng)
        own = espirit(clean + noise, shape)
        told = espirit(clean + noise, shape, noise_std=noise_std)
        assert abs(own.rank - told.rank) <= 3
        sizes.append(told.rank)
        assert overlap(told.csm[0].numpy(), scene.maps)[scene.inside].mean() > 0.995
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1] + 5


def test_the_rank_of_a_low_rank_matrix_in_noise_is_found() -> None:
    rng = np.random.default_rng(1)
    for n_rows, n_columns, rank in ((300, 200, 20), (90, 200, 11), (400, 60, 45)):
        left, right, noise = (
            rng.normal(size=shape) + 1j * rng.normal(size=shape)
            for shape in ((n_rows, rank), (rank, n_columns), (n_rows, n_columns))
        )
        values = np.linalg.svd(left @ right + 0.05 * noise, compute_uv=False)
        singular = torch.from_numpy(values)
        assert signal_rank(singular, n_rows, n_columns) == rank
        assert signal_rank(singular, n_rows, n_columns, noise_std=0.05) == rank


def test_a_threshold_given_by_hand_decides() -> None:
    calibration = make_scene((32, 32), 4).calibration(16)
    maps = espirit(calibration, (32, 32), kernel=5, threshold=0.1)
    rows = np.lib.stride_tricks.sliding_window_view(calibration.numpy(), (5, 5), axis=(1, 2))
    values = np.linalg.svd(rows.transpose(1, 2, 0, 3, 4).reshape(144, -1), compute_uv=False)
    assert maps.rank == (values >= 0.1 * values[0]).sum()
    assert 0.1 <= maps.threshold < 0.2


def test_it_unpacks_into_maps_and_eigenvalues() -> None:
    maps = espirit(make_scene((32, 32), 4).calibration(16), (32, 32), kernel=5)
    csm, eigenvalues = maps
    assert csm is maps.csm
    assert eigenvalues is maps.eigenvalues


def phantom(folder: Path) -> tuple[Complex, Complex, NDArray[np.bool_]]:
    """k-space and images of the fully sampled phantom, and where its signal is."""
    with h5py.File(folder / "phantom_8ch_full_ismrmrd.h5") as file:
        readouts = file["dataset/data"][:]
    kspace = np.zeros((8, 256, 256), complex)
    for readout in readouts:
        line = readout["head"]["idx"]["kspace_encode_step_1"]
        kspace[:, line] = readout["data"].view(np.complex64).reshape(8, 256)
    images = fft(kspace.conj()).conj()
    rss = np.linalg.norm(images, axis=0)
    return kspace, images, rss > 0.1 * rss.max()


@pytest.mark.realdata
def test_a_real_phantom_is_explained_as_well_as_by_bart(real_mri: Path) -> None:
    kspace, images, inside = phantom(real_mri)
    calibration = torch.from_numpy(kspace[:, 116:140, 116:140].astype(np.complex64))
    maps = espirit(calibration, (256, 256))
    assert maps.support[0].numpy()[inside].all()
    # BART 0.8 `ecalib -m1 -r24` leaves 0.03965 here, SigPy 0.0396
    assert outside_span(images[:, inside], maps.csm.numpy()[..., inside]) < 0.0396


@pytest.mark.realdata
def test_more_noise_in_a_real_phantom_costs_little(real_mri: Path) -> None:
    kspace, images, inside = phantom(real_mri)
    rng = np.random.default_rng(2)
    for level, most in ((0.005, 0.0396), (0.05, 0.0404)):
        noise = rng.normal(size=(8, 24, 24)) + 1j * rng.normal(size=(8, 24, 24))
        calibration = torch.from_numpy(kspace[:, 116:140, 116:140] + level * noise)
        csm = espirit(calibration.to(torch.complex64), (256, 256)).csm.numpy()
        assert outside_span(images[:, inside], csm[..., inside]) < most


def test_too_small_a_region_says_what_is_needed() -> None:
    calibration = torch.randn(4, 10, 30, dtype=torch.complex64)
    with pytest.raises(
        CalibrationError, match=r"kernel of 6 needs at least 12 .*got \(10, 30\).*use kernel=5"
    ):
        espirit(calibration, (64, 64))


@pytest.mark.parametrize(
    ("calibration", "shape", "n_maps", "error", "match"),
    [
        (torch.ones(4, 12, 12), (32, 32), 1, DtypeError, "complex k-space, got torch.float32"),
        (torch.ones(4, 12, 12) + 0j, (32,), 1, ShapeError, r"as many axes, got \(4, 12, 12\)"),
        (torch.ones(4, 12, 12) + 0j, (9, 32, 32), 1, ShapeError, "a grid of as many axes"),
        (torch.ones(4, 12, 40) + 0j, (32, 32), 1, ShapeError, r"\(12, 40\) exceeds .*\(32, 32\)"),
        (torch.ones(4, 12, 12) + 0j, (32, 32), 5, ShapeError, "1 to 4 maps.*got n_maps=5"),
        (torch.zeros(4, 12, 12) + 0j, (32, 32), 1, CalibrationError, "finite and not all zero"),
        (torch.full((4, 12, 12), torch.nan + 0j), (32, 32), 1, CalibrationError, "finite"),
    ],
)
def test_unfit_arguments_are_refused(
    calibration: torch.Tensor,
    shape: tuple[int, ...],
    n_maps: int,
    error: type[Exception],
    match: str,
) -> None:
    with pytest.raises(error, match=match):
        espirit(calibration, shape, n_maps=n_maps)
