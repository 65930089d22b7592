"""Preparation: what a scan becomes, checked on scans whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inverse import DataError, Grid, KSpace, Problem, UsageError
from inverse.mri.simulate import Acquisition, simulate
from operators import fourier
from operators.mri import Sense


def discs(shape: tuple[int, int, int] = (1, 64, 48)) -> NDArray[np.float32]:
    """Bright ellipse with darker ones inside: an object with edges, (z, y, x)."""
    z, y, x = np.meshgrid(
        *(np.linspace(-1, 1, n) if n > 1 else [0.0] for n in shape), indexing="ij"
    )
    image = ((y / 0.8) ** 2 + (x / 0.8) ** 2 + (z / 0.9) ** 2 < 1) * 1.0
    image -= 0.4 * ((y - 0.2) ** 2 + (x + 0.1) ** 2 < 0.08)
    image += 0.3 * ((y + 0.3) ** 2 + (x - 0.2) ** 2 < 0.03)
    return image.astype(np.float32)


def scan(shape: tuple[int, int, int] = (1, 64, 48), **changes: object) -> KSpace:
    settings = {"n_coils": 6, "acceleration": 2.0, "n_calibration": 16, "noise": 0.01} | changes
    return simulate(discs(shape), Acquisition(**settings))  # type: ignore[arg-type]


def nrmse(image: NDArray[np.generic], truth: NDArray[np.generic]) -> float:
    return float(np.linalg.norm(np.abs(image) - truth) / np.linalg.norm(truth))


def truth_residual(problem: Problem, kspace: KSpace) -> float:
    """Residual over noise of the best image the problem's maps allow, by many CG iterations."""
    from inverse import reconstruct

    found = reconstruct(problem, "cg_sense", iterations=60, weight=1e-4)
    del kspace
    return found.diagnostics.residual_to_noise


def test_problem_declares_slices_coils_and_grid() -> None:
    problem = scan((3, 64, 48)).prepare()
    assert problem.operator.domain.axes == ("slice", "y", "x")
    assert problem.operator.domain.shape == (3, 64, 48)
    assert problem.operator.range.shape == (3, 6, 64, 48)
    assert problem.n_batch_axes == 1
    assert problem.grid.shape == (3, 64, 48)


def test_volume_is_one_system() -> None:
    kspace = scan((16, 32, 32), mask="poisson_disc", n_calibration=12, acceleration=3.0)
    problem = kspace.prepare()
    assert problem.operator.domain.axes == ("z", "y", "x")
    assert problem.n_batch_axes == 0
    assert isinstance(problem.operator, Sense)


def test_noise_is_white_with_the_declared_level() -> None:
    """Two scans of one object, noise apart: their prepared difference is the noise itself."""
    with_noise = scan(noise_correlation=0.6, acceleration=1.0, noise=0.02)
    silent = scan(noise_correlation=0.6, acceleration=1.0, noise=0.0)
    problem = with_noise.prepare()
    clean = replace(silent, noise=with_noise.noise).prepare()
    noise = (problem.data * problem.scale - clean.data * clean.scale)[0].flatten(1) / problem.scale
    assert float(noise.real.std()) == pytest.approx(problem.noise_std, rel=0.02)
    assert float(noise.imag.std()) == pytest.approx(problem.noise_std, rel=0.02)
    correlation = torch.corrcoef(noise).abs() - torch.eye(len(noise))
    assert float(correlation.max()) < 0.1


@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_residual_of_a_good_image_is_the_noise(correlation: float) -> None:
    """6 x 32 x 48 samples for 64 x 48 unknowns: part of the noise is fitted."""
    kspace = scan(noise_correlation=correlation)
    ratio = truth_residual(kspace.prepare(), kspace)
    unknowns, samples = 64 * 48, 6 * 32 * 48
    assert ratio == pytest.approx(np.sqrt(1 - unknowns / samples), rel=0.1)


def test_image_is_in_the_units_of_the_file() -> None:
    """Fully sampled, scaled by any factor: magnitude comes back as it went in."""
    for factor in (1e-6, 1.0, 1e6):
        kspace = scan(acceleration=1.0, noise=0.001)
        assert kspace.noise is not None
        kspace = replace(
            kspace,
            samples=(factor * kspace.samples).astype(np.complex64),
            noise=(factor * kspace.noise).astype(np.complex64),
        )
        from inverse import reconstruct

        image = reconstruct(kspace.prepare(), "zero_filled").image
        assert nrmse(image / factor, discs()) < 0.03


@pytest.mark.parametrize("n_coils", [6, 24])
def test_weak_channels_do_not_shade_the_image(n_coils: int) -> None:
    """Gains of the channels differ a hundredfold: the image is that of the raw channels' norm.

    So it is with 24 channels, which are compressed.
    """
    kspace = scan(acceleration=1.0, noise=0.001, n_coils=n_coils)
    gains = np.geomspace(0.01, 1, n_coils)[:, None]
    assert kspace.noise is not None
    uneven = replace(
        kspace,
        samples=(kspace.samples * gains[..., None]).astype(np.complex64),
        noise=(kspace.noise * gains).astype(np.complex64),
    )
    from inverse import reconstruct

    image = np.abs(reconstruct(uneven.prepare(), "zero_filled").image[0])
    coils = fourier.ifft_centred(torch.from_numpy(uneven.samples[0]), (-2, -1)).numpy()
    norm = np.linalg.norm(coils, axis=0)
    inside = discs()[0] > 0
    assert np.linalg.norm((image - norm)[inside]) < 0.02 * np.linalg.norm(norm[inside])


def test_readout_oversampling_is_cut_without_changing_the_image() -> None:
    """Pad the image to twice the readout, encode, prepare: the same image as without."""
    plain = scan(noise=0.002)
    images = fourier.ifft_centred(torch.from_numpy(plain.samples), (-1,)).numpy()
    wide = np.zeros((*images.shape[:-1], 96), np.complex64)
    wide[..., 24:72] = images
    samples = fourier.fft_centred(torch.from_numpy(wide), (-1,)).numpy()
    mask = np.broadcast_to(plain.mask[..., :1], (1, 64, 96)).copy()
    over = KSpace(
        samples=(samples * mask[:, None]).astype(np.complex64),
        mask=mask,
        grid=Grid((1, 64, 96), (1.0, 1.0, 1.0)),
        recon_shape=(1, 64, 48),
        noise=plain.noise,
    )
    a, b = plain.prepare(), over.prepare()
    assert b.operator.domain.shape == (1, 64, 48)
    torch.testing.assert_close(a.data * a.scale, b.data * b.scale, rtol=0, atol=2e-3)


def test_two_sets_of_maps_give_one_image() -> None:
    from inverse import reconstruct

    problem = scan(acceleration=1.0).prepare(maps=2)
    assert problem.operator.domain.axes == ("slice", "map", "y", "x")
    image = reconstruct(problem, "cg_sense").image
    assert image.shape == (1, 64, 48)
    assert nrmse(image, discs()) < 0.1


def test_many_channels_are_compressed() -> None:
    problem = scan(n_coils=24).prepare()
    assert 8 <= problem.operator.range.shape[1] < 24
    assert "virtual channels" in str(problem.notes["compression"])
    assert problem.n_samples == (int(problem.details["mask"].sum()) * problem.data.shape[1],)


def test_silent_channel_is_left_out() -> None:
    kspace = scan()
    samples = kspace.samples.copy()
    samples[:, 2] = 0
    assert kspace.noise is not None
    noise = kspace.noise.copy()
    noise[2] = 0
    problem = replace(kspace, samples=samples, noise=noise).prepare()
    assert problem.notes["silent channels"] == [2]
    assert problem.operator.range.shape[1] == 5


def test_what_cannot_be_prepared_is_refused() -> None:
    kspace = scan()
    with pytest.raises(UsageError, match="maps expected 1 or 2, got 3"):
        kspace.prepare(maps=3)
    with pytest.raises(UsageError, match="n_virtual_coils expected 1 to 6, got 9"):
        kspace.prepare(n_virtual_coils=9)
    mask = kspace.mask.copy()
    mask[:, 30:34] = False
    with pytest.raises(DataError, match="centre"):
        replace(kspace, samples=kspace.samples * mask[:, None], mask=mask).prepare()
    silent = np.zeros_like(kspace.samples)
    with pytest.raises(DataError, match="not all zero"):
        replace(kspace, samples=silent).prepare()


def test_few_calibration_lines_are_enough_for_walsh() -> None:
    """Four lines are too few for ESPIRiT: maps are found all the same, and the image says so."""
    from inverse import reconstruct

    kspace = scan(n_calibration=2, acceleration=2.0, mask="fastmri_equispaced")
    problem = kspace.prepare()
    assert str(problem.notes["maps"]).startswith("Walsh")
    assert any("calibration samples" in warning for warning in problem.warnings)
    assert set(problem.warnings) <= set(reconstruct(problem, "cg_sense").diagnostics.warnings)


def test_missing_noise_scan_is_warned_of() -> None:
    problem = replace(scan(), noise=None).prepare()
    assert any("No noise scan" in warning for warning in problem.warnings)


def test_a_small_object_in_many_slices_sets_the_scale() -> None:
    """Two slices of forty hold the object: the level is theirs, not that of the empty ones."""
    image = np.zeros((40, 32, 24), np.float32)
    image[20:22] = discs((2, 32, 24)) * 0 + 1
    acquisition = Acquisition(n_coils=4, acceleration=1.0, noise=0.01)
    problem = simulate(image, acquisition).prepare()
    assert problem.noise_std == pytest.approx(0.01, rel=0.3)


def test_read_only_arrays_are_taken_and_left_alone() -> None:
    kspace = scan()
    before = kspace.samples.copy()
    kspace.samples.flags.writeable = False
    kspace.mask.flags.writeable = False
    kspace.prepare()
    assert np.array_equal(kspace.samples, before)


def test_k_space_of_zeros_without_a_noise_scan_is_refused() -> None:
    kspace = scan()
    with pytest.raises(DataError, match="k-space of zeros only"):
        replace(kspace, samples=np.zeros_like(kspace.samples), noise=None).prepare()
