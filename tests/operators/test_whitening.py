"""Noise covariance and whitening against NumPy and the measured receivers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from operators import CalibrationError, DtypeError, ShapeError
from operators.mri import noise_covariance, whiten, whitening_matrix


def random_covariance(n_coils: int, condition: float, seed: int) -> NDArray[np.complex128]:
    rng = np.random.default_rng(seed)
    shape = (n_coils, n_coils)
    basis = np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))[0]
    return (basis * np.geomspace(1, condition, n_coils)) @ basis.conj().T


def draw_noise(covariance: NDArray[np.complex128], n: int, seed: int) -> torch.Tensor:
    """Complex normal samples (C, n), E[z z^H] = covariance."""
    rng = np.random.default_rng(seed)
    shape = (len(covariance), n)
    white = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / np.sqrt(2)
    return torch.from_numpy(np.linalg.cholesky(covariance) @ white)


def test_covariance_is_numpys() -> None:
    noise = draw_noise(random_covariance(5, 10, 0), 200, 1) + 0.3
    np.testing.assert_allclose(noise_covariance(noise).numpy(), np.cov(noise.numpy()), rtol=1e-12)


def test_covariance_is_unbiased_for_few_samples() -> None:
    truth = random_covariance(3, 5, 2)
    mean = np.mean([noise_covariance(draw_noise(truth, 5, s)).numpy() for s in range(4000)], axis=0)
    # standard error: 5/sqrt(4 * 4000) = 0.04; forgetting one degree of freedom would cost 20 %
    assert np.abs(mean - truth).max() < 0.15


@given(
    n_coils=st.integers(1, 12),
    condition=st.floats(1, 1e6),
    scale=st.sampled_from([1e-8, 1.0, 1e8]),
    seed=st.integers(0, 1000),
)
def test_whitening_matrix_gives_unit_real_and_imaginary_parts(
    n_coils: int, condition: float, scale: float, seed: int
) -> None:
    covariance = scale**2 * random_covariance(n_coils, condition, seed)
    matrix = whitening_matrix(torch.from_numpy(covariance)).numpy()
    np.testing.assert_allclose(
        matrix @ covariance @ matrix.conj().T, 2 * np.eye(n_coils), atol=1e-8
    )
    np.testing.assert_allclose(matrix, np.tril(matrix))


@pytest.mark.realdata
@pytest.mark.parametrize("receiver", ["normal", "broken"])
def test_measured_receivers_become_white(real_mri: Path, receiver: str) -> None:
    with np.load(real_mri / "noise_cov_8ch.npz") as file:
        covariance = file[receiver]
    check_whiteness(covariance)


def test_a_receiver_with_a_broken_channel_becomes_white() -> None:
    covariance = random_covariance(8, 5, 3)
    gain = np.diag([1, 1, 1, 0.15, 1, 1, 1, 1])
    check_whiteness(gain @ covariance @ gain)


def check_whiteness(covariance: NDArray[np.complex128]) -> None:
    """Whitened samples that the estimate has not seen are white to the sampling error."""
    n = 20_000
    matrix = whitening_matrix(noise_covariance(draw_noise(covariance, 50 * n, 4)))
    noise = draw_noise(covariance, n, 5).to(torch.complex64)
    white = whiten(noise.reshape(len(noise), 100, -1), matrix).flatten(1).numpy()
    error = white @ white.conj().T / (2 * n) - np.eye(len(white))
    assert np.abs(error).max() < 3 / np.sqrt(n)
    assert abs(white.real.std() - 1) < 3 / np.sqrt(n)
    assert abs(white.imag.std() - 1) < 3 / np.sqrt(n)


def test_whitening_acts_on_any_coil_axis() -> None:
    rng = np.random.default_rng(6)
    data = rng.normal(size=(2, 3, 4, 5)) + 1j * rng.normal(size=(2, 3, 4, 5))
    matrix = rng.normal(size=(2, 3))
    got = whiten(torch.from_numpy(data), torch.from_numpy(matrix), coil_axis=1)
    np.testing.assert_allclose(got.numpy(), np.einsum("vc,scyx->svyx", matrix, data), rtol=1e-12)


def test_a_dead_channel_is_named_and_loading_admits_it() -> None:
    covariance = torch.from_numpy(random_covariance(3, 5, 7))
    covariance[1, :] = covariance[:, 1] = 0
    with pytest.raises(CalibrationError, match=r"channels \[1\] carry no noise"):
        whitening_matrix(covariance)
    assert whitening_matrix(covariance, loading=1e-6).isfinite().all()


def test_a_weak_channel_is_not_taken_for_a_dead_one() -> None:
    gain = torch.diag(torch.tensor([1.0, 1e-6])).to(torch.complex128)
    covariance = gain @ torch.from_numpy(random_covariance(2, 5, 8)) @ gain
    matrix = whitening_matrix(covariance)
    assert torch.allclose(matrix @ covariance @ matrix.mH / 2, torch.eye(2).to(matrix.dtype))


def test_copied_channels_are_refused_unless_loaded() -> None:
    noise = draw_noise(random_covariance(2, 3, 9), 100, 10)
    covariance = noise_covariance(noise[[0, 1, 1]])
    with pytest.raises(CalibrationError, match=r"covariance is singular.*compress the coils"):
        whitening_matrix(covariance)
    loaded = whitening_matrix(covariance, loading=1e-3)
    variance = (loaded @ covariance @ loaded.mH).diagonal().real / 2
    assert bool((variance < 1).all())


@pytest.mark.parametrize(
    ("noise", "error", "match"),
    [
        (
            torch.zeros(4, 4, dtype=torch.complex64),
            ShapeError,
            r"more samples than coils.*\(4, 4\)",
        ),
        (torch.zeros(4, dtype=torch.complex64), ShapeError, r"\(coil, n\)"),
        (torch.zeros(2, 9), DtypeError, "must be complex, got torch.float32"),
        (torch.full((2, 9), torch.nan + 0j), CalibrationError, "NaN or infinite"),
    ],
)
def test_bad_noise_is_refused(noise: torch.Tensor, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        noise_covariance(noise)


@pytest.mark.parametrize(
    ("covariance", "error", "match"),
    [
        (torch.zeros(2, 3, dtype=torch.complex64), ShapeError, r"\(coil, coil\) matrix"),
        (torch.zeros(2, 2, dtype=torch.complex64), CalibrationError, "positive variances"),
        (torch.tensor([[1, 1j], [1j, 2]]), CalibrationError, "is Hermitian, but this matrix"),
        (torch.tensor([[1, 2.0], [2, 1]]), CalibrationError, "singular"),
    ],
)
def test_bad_covariances_are_refused(
    covariance: torch.Tensor, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        whitening_matrix(covariance)


def test_a_matrix_for_other_coils_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"for 3 coils must have shape \(V, 3\), got \(2, 2\)"):
        whiten(torch.zeros(3, 4), torch.eye(2))
