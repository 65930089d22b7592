"""Coil compression against NumPy's singular value decomposition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from operators import DtypeError, ShapeError
from operators.mri import compress, compress_geometric
from operators.mri.compression import CompressedCoils
from tests.operators.coil_scenes import fft, make_scene
from tests.operators.test_espirit import phantom


def rss(kspace: torch.Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.linalg.norm(fft(kspace.numpy().conj().astype(complex)), axis=0)


def scene_kspace(shape: tuple[int, ...] = (24, 20), n_coils: int = 6) -> torch.Tensor:
    rng = np.random.default_rng(0)
    kspace = fft(make_scene(shape, n_coils).images)
    return torch.from_numpy(kspace + 0.01 * rng.normal(size=kspace.shape))


@given(n_coils=st.integers(1, 9), n_virtual=st.integers(1, 9), seed=st.integers(0, 100))
def test_it_keeps_the_energy_of_the_leading_singular_values(
    n_coils: int, n_virtual: int, seed: int
) -> None:
    n_virtual = min(n_virtual, n_coils)
    rng = np.random.default_rng(seed)
    kspace = rng.normal(size=(n_coils, 5, 6)) + 1j * rng.normal(size=(n_coils, 5, 6))
    result = compress(torch.from_numpy(kspace), n_virtual)
    left, values, _ = np.linalg.svd(kspace.reshape(n_coils, -1), full_matrices=False)
    kept = np.sum(values[:n_virtual] ** 2) / np.sum(values**2)
    assert abs(result.energy_kept - kept) < 1e-12
    projector = left[:, :n_virtual] @ left[:, :n_virtual].conj().T
    matrix = result.matrix.numpy()
    np.testing.assert_allclose(matrix.conj().T @ matrix, projector, atol=1e-8)
    np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(n_virtual), atol=1e-10)
    np.testing.assert_allclose(
        result.kspace.numpy(), np.einsum("vc,cyx->vyx", matrix, kspace), atol=1e-12
    )


@pytest.mark.parametrize("rule", [compress, compress_geometric])
@pytest.mark.parametrize("shape", [(24, 20), (8, 9, 10)])
def test_all_coils_kept_is_exact(rule: object, shape: tuple[int, ...]) -> None:
    assert callable(rule)
    kspace = scene_kspace(shape, 5)
    result = rule(kspace, 5)
    assert isinstance(result, CompressedCoils)
    np.testing.assert_allclose(rss(result.kspace), rss(kspace), rtol=1e-10)
    assert abs(result.energy_kept - 1) < 1e-12


def test_calibration_data_decide_the_matrix() -> None:
    kspace = scene_kspace()
    centre = kspace[:, 8:16, 6:14]
    result = compress(kspace, 3, calibration=centre)
    torch.testing.assert_close(result.matrix, compress(centre, 3).matrix)
    assert result.energy_kept < compress(kspace, 3).energy_kept


def test_energy_is_summed_to_six_digits_in_single_precision() -> None:
    kspace = torch.randn(
        8, 128, 128, dtype=torch.complex64, generator=torch.Generator().manual_seed(0)
    )
    assert abs(compress(kspace, 8).energy_kept - 1) < 1e-6


@pytest.mark.parametrize("readout_axis", [-1, 1])
def test_geometric_compression_is_the_best_at_every_position(readout_axis: int) -> None:
    kspace = scene_kspace()
    result = compress_geometric(kspace, 3, readout_axis=readout_axis)
    n = kspace.shape[readout_axis]
    images = np.fft.fftshift(
        np.fft.ifft(
            np.fft.ifftshift(kspace.numpy(), axes=readout_axis), axis=readout_axis, norm="ortho"
        ),
        axes=readout_axis,
    )
    assert result.matrix.shape == (n, 3, 6)
    kept = 0.0
    for x, matrix in enumerate(result.matrix.numpy()):
        samples = np.moveaxis(images, readout_axis, 0)[x].reshape(6, -1)
        left, values, _ = np.linalg.svd(samples, full_matrices=False)
        kept += np.sum(values[:3] ** 2)
        projector = left[:, :3] @ left[:, :3].conj().T
        np.testing.assert_allclose(matrix.conj().T @ matrix, projector, atol=1e-7)
        np.testing.assert_allclose(matrix @ matrix.conj().T, np.eye(3), atol=1e-10)
    assert abs(result.energy_kept - kept / np.sum(np.abs(images) ** 2)) < 1e-12
    assert result.energy_kept > compress(kspace, 3).energy_kept


def test_aligned_virtual_coils_are_the_nearest_to_their_neighbours() -> None:
    matrices = compress_geometric(scene_kspace(), 3).matrix.numpy()
    rng = np.random.default_rng(1)
    middle = len(matrices) // 2
    for x in range(middle + 1, len(matrices)):
        distance = np.linalg.norm(matrices[x] - matrices[x - 1])
        for _ in range(20):
            turn = np.linalg.qr(rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3)))[0]
            assert distance <= np.linalg.norm(turn @ matrices[x] - matrices[x - 1]) + 1e-12
    steps = np.linalg.norm(np.diff(matrices, axis=0), axis=(1, 2))
    object_is_there = slice(5, 15)
    # unaligned rows have arbitrary phases: neighbours differ by about sqrt(2 V) = 2.4
    assert steps[object_is_there].max() < 0.8


@pytest.mark.realdata
def test_half_the_coils_hardly_change_a_real_phantom(real_mri: Path) -> None:
    kspace, _, inside = phantom(real_mri)
    data = torch.from_numpy(kspace)
    before = rss(data)[inside]
    for rule, most in ((compress, 0.0015), (compress_geometric, 0.0010)):
        after = rss(rule(data, 4).kspace)[inside]
        assert np.linalg.norm(after - before) / np.linalg.norm(before) < most


@pytest.mark.parametrize("rule", [compress, compress_geometric])
@pytest.mark.parametrize(
    ("kspace", "n_virtual", "error", "match"),
    [
        (torch.ones(4, 8, 8) + 0j, 5, ShapeError, "4 coils compress to 1 to 4 .*got 5"),
        (torch.ones(4, 8, 8) + 0j, 0, ShapeError, "got 0"),
        (torch.ones(4, 8, 8), 2, DtypeError, "complex data, got torch.float32"),
    ],
)
def test_unfit_arguments_are_refused(
    rule: object, kspace: torch.Tensor, n_virtual: int, error: type[Exception], match: str
) -> None:
    assert callable(rule)
    with pytest.raises(error, match=match):
        rule(kspace, n_virtual)


def test_axes_and_coils_must_agree() -> None:
    kspace = torch.ones(4, 8, 8) + 0j
    with pytest.raises(ShapeError, match="calibration data of 3 coils do not fit 4 coils"):
        compress(kspace, 2, calibration=kspace[:3])
    with pytest.raises(ShapeError, match="must be an image axis"):
        compress_geometric(kspace, 2, readout_axis=0)
