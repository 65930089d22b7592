"""Noise estimated from k-space: known noise under known signal, and air in a real scan."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import gammainc, gammaincinv, j1

from operators import CalibrationError, DtypeError, ShapeError
from operators.mri import estimate_noise_covariance
from operators.mri.robust_covariance import concentrated_covariance

SHAPE = (160, 128)
N_COILS = 6


def level(estimate: torch.Tensor, truth: NDArray[np.complex128]) -> float:
    """Noise standard deviation over the true one, averaged over whitened channels."""
    relative = np.linalg.solve(truth, estimate.numpy())
    return float(np.sqrt(np.trace(relative).real / len(truth)))


def noise(covariance: NDArray[np.complex128], shape: tuple[int, ...], seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    white = rng.normal(size=(len(covariance), *shape)) + 1j * rng.normal(
        size=(len(covariance), *shape)
    )
    return torch.from_numpy(np.tensordot(np.linalg.cholesky(covariance / 2), white, 1))


def receiver(seed: int) -> NDArray[np.complex128]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(2, N_COILS, N_COILS)) @ np.diag(np.linspace(0.4, 2, N_COILS))
    complex_mixing = mixing[0] + 1j * mixing[1]
    return complex_mixing @ complex_mixing.conj().T / 4 + 0.3 * np.eye(N_COILS)


def discs(strength: float) -> torch.Tensor:
    """k-space, in closed form, of a sharp disc off centre with a weight of its own in each coil.

    Each coil sees two discs: the edges, whose power falls as |k|^-3, differ between coils.
    """
    ky, kx = np.meshgrid(*[np.arange(n) - n // 2 for n in SHAPE], indexing="ij")
    rng = np.random.default_rng(0)
    total = np.zeros((N_COILS, *SHAPE), complex)
    for radius, y, x in ((0.3, 0.05, 0.02), (0.12, -0.1, 0.11)):
        argument = 2 * np.pi * radius * np.hypot(ky, kx) + 1e-9
        spectrum = 2 * j1(argument) / argument * np.exp(-2j * np.pi * (ky * y + kx * x)) * radius**2
        weights = rng.normal(size=N_COILS) + 1j * rng.normal(size=N_COILS)
        total += weights[:, None, None] * spectrum
    return torch.from_numpy(strength * total)


def test_pure_noise_is_estimated_without_bias() -> None:
    covariance = receiver(1)
    mask = torch.ones(SHAPE, dtype=torch.bool)
    levels = [
        level(estimate_noise_covariance(noise(covariance, SHAPE, s), mask), covariance)
        for s in range(8)
    ]
    assert abs(np.mean(levels) - 1) < 0.01


@pytest.mark.parametrize("strength", [1e3, 1e4, 3e4])
def test_sharp_edges_hardly_raise_the_estimate(strength: float) -> None:
    covariance = receiver(2)
    kspace = discs(strength) + noise(covariance, SHAPE, 3)
    mask = torch.ones(SHAPE, dtype=torch.bool)
    estimate = level(estimate_noise_covariance(kspace, mask), covariance)
    outer = kspace[:, :12].flatten(1).numpy()
    plain = level(torch.from_numpy(outer @ outer.conj().T / outer.shape[1]), covariance)
    assert 0.95 < estimate < 1.1
    # of what edges add to the plain covariance of the outermost rows, little is left
    assert estimate - 1 < 0.1 * (plain - 1) + 0.02


def test_an_undersampled_scan_gives_the_noise_of_its_samples() -> None:
    covariance = receiver(4)
    rng = np.random.default_rng(5)
    mask = torch.from_numpy(rng.random(SHAPE) < 0.25)
    mask[68:92, 52:76] = True
    kspace = (discs(1e4) + noise(covariance, SHAPE, 6)) * mask
    assert 0.9 < level(estimate_noise_covariance(kspace, mask), covariance) < 1.1


def test_zero_filled_samples_are_not_taken_for_noise() -> None:
    covariance = receiver(7)
    mask = torch.ones(SHAPE, dtype=torch.bool)
    kspace = noise(covariance, SHAPE, 8)
    kspace[:, :20] = 0
    kspace[:, -20:] = 0
    assert abs(level(estimate_noise_covariance(kspace, mask), covariance) - 1) < 0.03


def test_it_scales_with_the_data() -> None:
    mask = torch.ones(SHAPE, dtype=torch.bool)
    kspace = discs(1e3) + noise(receiver(9), SHAPE, 10)
    once = estimate_noise_covariance(kspace, mask)
    for scale in (1e-8, 1e8):
        again = estimate_noise_covariance(scale * kspace, mask)
        torch.testing.assert_close(again / scale**2, once, rtol=1e-9, atol=1e-12)


def test_dead_and_copied_channels_do_not_disturb_the_others() -> None:
    covariance = receiver(11)
    mask = torch.ones(SHAPE, dtype=torch.bool)
    kspace = noise(covariance, SHAPE, 12)
    dead = estimate_noise_covariance(torch.cat([torch.zeros_like(kspace[:1]), kspace]), mask)
    assert not dead[0].any()
    assert not dead[:, 0].any()
    torch.testing.assert_close(dead[1:, 1:], estimate_noise_covariance(kspace, mask))
    copied = estimate_noise_covariance(torch.cat([kspace, kspace[:1]]), mask)
    assert abs(level(copied[:-1, :-1], covariance) - 1) < 0.1


@pytest.mark.parametrize("n_coils", [1, 4, 16])
def test_a_third_of_outliers_costs_what_theory_says(n_coils: int) -> None:
    samples = noise(np.eye(n_coils, dtype=complex), (30_000,), 13)
    samples[:, ::3] += 1000
    # the quieter half of all samples is the quieter 3/4 of the clean ones
    kept, assumed = (
        gammainc(n_coils + 1, gammaincinv(n_coils, share)) / share for share in (0.75, 0.5)
    )
    expected = kept / assumed * torch.eye(n_coils, dtype=torch.complex128)
    error = concentrated_covariance(samples) - expected
    assert error.abs().max() < 0.05 * kept / assumed


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["full", "R3", "R4"])
def test_a_real_phantom_has_the_noise_of_its_air(real_mri: Path, name: str) -> None:
    with h5py.File(real_mri / "phantom_8ch_full_ismrmrd.h5") as file:
        readouts = file["dataset/data"][:]
    kspace = np.zeros((8, 256, 256), np.complex64)
    for readout in readouts:
        line = readout["head"]["idx"]["kspace_encode_step_1"]
        kspace[:, line] = readout["data"].view(np.complex64).reshape(8, 256)
    images = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(kspace, axes=(1, 2)), norm="ortho"), (1, 2)
    )
    y, x = np.mgrid[-128:128, -128:128]
    air = images[:, np.hypot(y, x) > 120]
    mask = np.ones((256, 256), bool)
    if name != "full":
        with np.load(real_mri / "masks_256.npz") as file:
            mask = np.repeat(file[name][:, None], 256, axis=1)
    estimate = estimate_noise_covariance(torch.from_numpy(kspace * mask), torch.from_numpy(mask))
    assert 0.95 < level(estimate, air @ air.conj().T / air.shape[1]) < 1.05


@pytest.mark.parametrize(
    ("kspace", "mask", "error", "match"),
    [
        (torch.zeros(2, 8, 8) + 0j, torch.ones(8, 9) > 0, ShapeError, r"must have shape \(8, 8\)"),
        (torch.zeros(2, 8, 8), torch.ones(8, 8) > 0, DtypeError, "complex k-space"),
        (torch.zeros(2, 8, 8) + 0j, torch.ones(8, 8), DtypeError, "boolean mask"),
        (torch.ones(2, 8, 8) + 0j, torch.ones(8, 8) > 0, CalibrationError, "2 coils.*256.*got 64"),
    ],
)
def test_unfit_data_are_refused(
    kspace: torch.Tensor, mask: torch.Tensor, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        estimate_noise_covariance(kspace, mask)


def test_a_robust_covariance_needs_samples() -> None:
    with pytest.raises(ShapeError, match="of 4 channels needs more than 8 samples, got 8"):
        concentrated_covariance(torch.ones(4, 8) + 0j)
