"""Blocks of vectors against NumPy on the same numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import vectors, vectors_of
from solvers.basis import Basis

Array = NDArray[np.generic]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> Array:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _filled(library: SimpleNamespace, x: Array) -> Basis:
    """Hold x (n, 2, 3, 7), two batch axes."""
    basis = Basis(vectors_of(library.array(x[0]), 2), len(x) + 1)
    for i, vector in enumerate(x):
        basis.put(i, library.array(vector))
    return basis


@pytest.mark.parametrize("dtype", DTYPES)
class TestBlock:
    def test_gives_back_what_was_put(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        x = _draw(rng, (4, 2, 3, 7), dtype)
        basis = _filled(library, x)
        assert type(basis.vector(2)) is type(library.array(x[2]))
        np.testing.assert_array_equal(library.numpy(basis.vector(2)), x[2])
        assert basis.n_bytes == 5 * x[0].nbytes

    def test_products_and_sums(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        x, y = _draw(rng, (4, 2, 3, 7), dtype), _draw(rng, (2, 3, 7), dtype)
        tolerance = 1e-13 if np.finfo(dtype).eps < 1e-10 else 1e-5
        basis = _filled(library, x)
        c = basis.project(library.array(y), 1, 4)
        expected = np.einsum("kabn,abn->abk", x[1:].conj(), y).reshape(6, 3)
        np.testing.assert_allclose(basis.host(c), expected, rtol=tolerance, atol=tolerance)
        found = basis.add(basis.coefficients(expected), library.array(y), 1)
        whole = y + np.einsum("abk,kabn->abn", expected.reshape(2, 3, 3), x[1:])
        np.testing.assert_allclose(library.numpy(found), whole, rtol=0, atol=30 * tolerance)

    def test_orthonormalises_to_rounding(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        """Nearly parallel vectors: Gram-Schmidt done once would leave 1e-3 (single: 1e0)."""
        eps = np.finfo(dtype).eps
        x = _draw(rng, (1, 2, 3, 7), dtype) + 1e3 * eps**0.5 * _draw(rng, (4, 2, 3, 7), dtype) / 100
        basis = _filled(library, x)
        r = np.zeros((6, 4, 4), np.complex128)
        for i in range(4):
            r[:, : i + 1, i] = basis.host(basis.orthonormalise(i))
        q = np.stack([library.numpy(basis.vector(i)) for i in range(4)]).reshape(4, 6, 7)
        gram = np.einsum("isn,jsn->sij", q.conj(), q)
        assert np.abs(gram - np.eye(4)).max() <= 30 * eps
        again = np.einsum("isn,sij->jsn", q, r)
        np.testing.assert_allclose(again, x.reshape(4, 6, 7), rtol=0, atol=100 * eps)

    def test_a_dependent_vector_becomes_zero(
        self, library: SimpleNamespace, rng: np.random.Generator, dtype: type
    ) -> None:
        x = _draw(rng, (3, 2, 3, 7), dtype)
        x[2, 0, 1] = x[0, 0, 1] - 2 * x[1, 0, 1]
        basis = _filled(library, x)
        norms = [basis.host(basis.orthonormalise(i))[:, i].real for i in range(3)]
        assert norms[2][1] == 0
        assert (np.delete(norms[2], 1) > 0).all()
        last = library.numpy(basis.vector(2))
        assert not last[0, 1].any()
        assert np.isfinite(last).all()


def test_single_precision_is_summed_in_double(
    library: SimpleNamespace, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short stretches against long ones: the same sum but for the last bits of each product."""
    x = rng.normal(size=(3, 1000)).astype(np.float32)
    monkeypatch.setattr("solvers.basis.STRETCH", 7)
    assert vectors.STRETCH == 2**16
    basis = Basis(vectors_of(library.array(x[0])), 3)
    for i in range(3):
        basis.put(i, library.array(x[i]))
    found = basis.host(basis.products(basis.rows, basis.rows))[0]
    exact = x.astype(np.float64) @ x.T.astype(np.float64)
    np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-4)
    assert found.dtype == np.float64


def test_a_transposed_array_is_not_lost(library: SimpleNamespace) -> None:
    """Sums are returned even where a flat view of the argument needs a copy."""
    x = library.array(np.arange(6.0).reshape(2, 3)).T
    basis = Basis(vectors_of(x), 1)
    basis.put(0, x)
    found = basis.add(basis.coefficients(np.array([[2.0]])), x)
    np.testing.assert_array_equal(library.numpy(found), 3 * np.arange(6.0).reshape(2, 3).T)


def test_clearing_keeps_nan_to_itself(library: SimpleNamespace) -> None:
    x = np.ones((2, 3, 4))
    x[1, 2] = np.nan
    basis = Basis(vectors_of(library.array(x[0]), 1), 2)
    for i in range(2):
        basis.put(i, library.array(x[i]))
    basis.clear(np.array([False, False, True]), start=1)
    found = library.numpy(basis.vector(1))
    np.testing.assert_array_equal(found, [[1] * 4, [1] * 4, [0] * 4])
    np.testing.assert_array_equal(library.numpy(basis.vector(0)), np.ones((3, 4)))
