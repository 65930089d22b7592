"""Leading eigenvectors of many matrices against NumPy's dense solver."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators.mri.eigenmaps import leading_eigenvectors


def random_matrices(n: int, n_coils: int, ratio: float, seed: int) -> torch.Tensor:
    """Hermitian matrices whose eigenvalues fall by `ratio`, over 12 orders of magnitude in size."""
    rng = np.random.default_rng(seed)
    shape = (n, n_coils, n_coils)
    basis = np.linalg.qr(rng.normal(size=shape) + 1j * rng.normal(size=shape))[0]
    values = ratio ** np.arange(n_coils) * 10.0 ** rng.uniform(-6, 6, (n, 1))
    return torch.from_numpy((basis * values[:, None, :]) @ basis.conj().swapaxes(1, 2))


@pytest.mark.parametrize("ratio", [0.1, 0.9, 0.99])
@pytest.mark.parametrize("n_maps", [1, 2])
@pytest.mark.parametrize("n_coils", [2, 8, 32])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_they_are_the_dense_solvers(
    ratio: float, n_maps: int, n_coils: int, dtype: torch.dtype
) -> None:
    matrices = random_matrices(50, n_coils, ratio, 0)
    vectors, values = leading_eigenvectors(matrices.to(dtype), n_maps)
    true_values, true_vectors = np.linalg.eigh(matrices.numpy())
    np.testing.assert_allclose(values, true_values[:, ::-1][:, :n_maps], rtol=1e-5)
    true = true_vectors[..., ::-1][..., :n_maps]
    overlap = np.abs((vectors.numpy().conj() * true).sum(1))
    np.testing.assert_allclose(overlap, 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors.numpy(), axis=1), 1, rtol=1e-5)


def test_equal_eigenvalues_give_some_vector_of_their_space() -> None:
    matrices = torch.diag(torch.tensor([0.5, 2.0, 2.0])).to(torch.complex64)[None]
    vectors, values = leading_eigenvectors(matrices, 1)
    assert abs(float(values) - 2) < 1e-5
    assert float(vectors[0, 0].abs()) < 1e-5


def test_a_coil_that_sees_nothing_is_no_starting_point() -> None:
    matrices = torch.diag(torch.tensor([0.0, 2.0, 1.0])).to(torch.complex64)[None]
    vectors, values = leading_eigenvectors(matrices, 1)
    assert abs(float(values) - 2) < 1e-5
    assert abs(float(vectors[0, 1].abs()) - 1) < 1e-5


def test_zero_matrices_give_zero_vectors_beside_others() -> None:
    matrices = torch.zeros(3, 4, 4, dtype=torch.complex64)
    matrices[1] = torch.eye(4)
    for n_maps in (1, 2):
        vectors, values = leading_eigenvectors(matrices, n_maps)
        assert not vectors[[0, 2]].any()
        assert not values[[0, 2]].any()
        assert torch.allclose(torch.linalg.vector_norm(vectors[1], dim=0), torch.ones(n_maps))
