"""Vector operations of every library against NumPy on the same numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from solvers import SolverError, vectors_of
from solvers.vectors import ArrayVectors

SHAPES = [((5,), 0), ((2, 3, 5), 2), ((4, 7, 3), 1), ((1, 6), 1), ((3, 5000), 1)]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: type) -> NDArray[np.generic]:
    x = rng.normal(size=shape)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * rng.normal(size=shape)
    return x.astype(dtype)


def _tolerance(dtype: type) -> float:
    return 2e-5 if np.finfo(dtype).eps > 1e-10 else 1e-13


@pytest.mark.parametrize(("shape", "n_batch_axes"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
class TestOperations:
    def test_inner_products(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        n_batch_axes: int,
        dtype: type,
    ) -> None:
        x, y = _draw(rng, shape, dtype), _draw(rng, shape, dtype)
        v = vectors_of(library.array(x), n_batch_axes)
        axes = tuple(range(n_batch_axes, len(shape)))
        exact = np.sum(x.astype(np.complex128).conj() * y, axis=axes).reshape(-1)
        scale = np.sqrt(np.sum(np.abs(x) ** 2, axis=axes) * np.sum(np.abs(y) ** 2, axis=axes))
        found = v.host(v.vdot(library.array(x), library.array(y)))
        real = v.host(v.dot(library.array(x), library.array(y)))
        assert real.dtype == np.float64
        assert found.shape == real.shape == (v.n_systems,)
        assert (np.abs(found - exact) <= _tolerance(dtype) * scale.reshape(-1)).all()
        assert (np.abs(real - exact.real) <= _tolerance(dtype) * scale.reshape(-1)).all()

    def test_norm(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        n_batch_axes: int,
        dtype: type,
    ) -> None:
        x = _draw(rng, shape, dtype)
        v = vectors_of(library.array(x), n_batch_axes)
        rows = x.reshape(v.n_systems, -1)
        exact = np.linalg.norm(rows.astype(np.complex128), axis=1)
        np.testing.assert_allclose(v.host(v.norm(library.array(x))), exact, rtol=_tolerance(dtype))

    def test_updates(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        n_batch_axes: int,
        dtype: type,
    ) -> None:
        x, y = _draw(rng, shape, dtype), _draw(rng, shape, dtype)
        v = vectors_of(library.array(x), n_batch_axes)
        factors = rng.normal(size=v.n_systems)
        a = v.scalars_of(factors)
        column = factors.reshape(*shape[:n_batch_axes], *(1,) * (len(shape) - n_batch_axes))
        near = {"rtol": _tolerance(dtype), "atol": _tolerance(dtype)}
        for found, exact in (
            (v.axpy(a, library.array(x), library.array(y)), column * x + y),
            (v.axpy(-0.5, library.array(x), library.array(y)), -0.5 * x + y),
            (v.xpby(library.array(x), a, library.array(y)), x + column * y),
            (v.xpby(library.array(x), 0.25, library.array(y)), x + 0.25 * y),
            (v.scale(a, library.array(x)), column * x),
            (v.scale(3.0, library.array(x)), 3.0 * x),
        ):
            assert library.numpy(found).dtype == np.dtype(dtype)
            np.testing.assert_allclose(library.numpy(found), exact, **near)

    def test_choices(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        n_batch_axes: int,
        dtype: type,
    ) -> None:
        x, y = _draw(rng, shape, dtype), _draw(rng, shape, dtype)
        v = vectors_of(library.array(x), n_batch_axes)
        chosen = np.arange(v.n_systems) % 2 == 0
        systems = v.scalars_of(chosen)
        column = chosen.reshape(*shape[:n_batch_axes], *(1,) * (len(shape) - n_batch_axes))
        selected = v.select(systems, library.array(x), library.array(y))
        np.testing.assert_array_equal(library.numpy(selected), np.where(column, x, y))
        filled = v.fill(systems, 0.0, library.array(y))
        np.testing.assert_array_equal(library.numpy(filled), np.where(column, 0, y))
        np.testing.assert_array_equal(
            v.host(v.where(systems, v.scalars_of(1.0), v.scalars_of(2.0))), 2.0 - chosen
        )

    def test_scale_is_a_power_of_two(
        self,
        library: SimpleNamespace,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        n_batch_axes: int,
        dtype: type,
    ) -> None:
        x = 1e-20 * _draw(rng, shape, dtype)
        v = vectors_of(library.array(x), n_batch_axes)
        scale = v.binary_scale(library.array(x))
        mantissa, _ = np.frexp(scale)
        assert (mantissa == 0.5).all()
        parts = np.maximum(np.abs(x.real), np.abs(x.imag)).reshape(v.n_systems, -1)
        peak = parts.max(axis=1)
        np.testing.assert_allclose(v.peak(library.array(x)), peak, rtol=1e-6)
        assert ((peak / scale >= 0.5) & (peak / scale < 1)).all()


@pytest.mark.parametrize("n", [65535, 65536, 200_000, 3_000_000])
@pytest.mark.parametrize("n_systems", [1, 2])
def test_long_sums_keep_their_digits(library: SimpleNamespace, n: int, n_systems: int) -> None:
    """A plain single-precision sum of squares this long is off by 2e-5."""
    rows = np.random.default_rng(5).normal(size=(n_systems, n)).astype(np.float32)
    x = library.array(rows)
    v = vectors_of(x, 1)
    exact = np.sum(rows.astype(np.float64) ** 2, axis=1)
    np.testing.assert_allclose(v.host(v.dot(x, x)), exact, rtol=5e-7)
    np.testing.assert_allclose(v.host(v.vdot(x, x)), exact, rtol=5e-7)


def test_copy_and_zeros_are_new(library: SimpleNamespace) -> None:
    x = library.array(np.ones((2, 3)))
    v = vectors_of(x, 1)
    v.scale(2.0, v.copy(x))
    assert (library.numpy(x) == 1).all()
    assert library.numpy(v.zeros()).tolist() == np.zeros((2, 3)).tolist()


def test_scale_of_zero_and_of_nan_is_one(library: SimpleNamespace) -> None:
    x = library.array(np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 0.0]]))
    v = vectors_of(x, 1)
    assert v.binary_scale(x).tolist() == [1.0, 1.0, 1.0]
    assert not np.isfinite(v.peak(x)[1:]).any()


@pytest.mark.parametrize("shift", [0, 1])
def test_torch_works_on_views(rng: np.random.Generator, shift: int) -> None:
    """Lazily conjugated and strided tensors are what operators return."""
    dense = torch.from_numpy(_draw(rng, (6, 4), np.complex128))
    x, y = dense.conj()[:, shift:].T, torch.from_numpy(_draw(rng, (4 - shift, 6), np.complex128))
    v = vectors_of(y, shift)
    plain = x.resolve_conj().clone()
    np.testing.assert_allclose(v.host(v.dot(x, y)), v.host(v.dot(plain, y)), rtol=1e-13)
    a = v.scalars_of(0.3)
    expected = 0.3 * plain + y
    torch.testing.assert_close(v.axpy(a, x, v.copy(y)), expected)
    torch.testing.assert_close(v.xpby(x, a, v.copy(y)), plain + 0.3 * y)
    assert v.copy(x).is_contiguous()
    assert not v.copy(x).is_conj()


def test_torch_updates_in_place(rng: np.random.Generator) -> None:
    y = torch.from_numpy(_draw(rng, (3, 5), np.complex64))
    for n_batch_axes in (0, 1):
        v = vectors_of(y, n_batch_axes)
        a = v.scalars_of(2.0)
        assert v.axpy(a, y.clone(), y).data_ptr() == y.data_ptr()
        assert v.xpby(y.clone(), a, y).data_ptr() == y.data_ptr()
        assert v.scale(a, y).data_ptr() == y.data_ptr()


def test_quiet_neither_warns_nor_differentiates(library: SimpleNamespace) -> None:
    x = library.array(np.ones(2))
    v = vectors_of(x)
    with v.quiet():
        ratio = v.scalars_of(0.0) / v.scalars_of(0.0)
        assert not torch.is_grad_enabled() or library.name not in {"torch", "cuda"}
    assert np.isnan(v.host(ratio)).all()
    assert torch.is_grad_enabled()


def test_refuses_what_it_cannot_hold(library: SimpleNamespace) -> None:
    with pytest.raises(SolverError, match=r"n_batch_axes expected 0 to 1 .* got 2"):
        vectors_of(library.array(np.ones(3)), 2)
    with pytest.raises(SolverError, match="expected a non-empty array, got shape"):
        vectors_of(library.array(np.ones((0, 3))))
    with pytest.raises(SolverError, match=r"expected float32, float64, complex64 .* got .*int64"):
        vectors_of(library.array(np.ones(3, dtype=np.int64)))


def test_refuses_what_is_no_array() -> None:
    with pytest.raises(SolverError, match=r"expected an array of NumPy.* got list"):
        vectors_of([1.0, 2.0])


def test_half_precision_is_refused() -> None:
    with pytest.raises(SolverError, match="Convert the right-hand side"):
        vectors_of(torch.ones(3, dtype=torch.float16))


def test_numpy_uses_the_generic_implementation() -> None:
    assert isinstance(vectors_of(np.ones(2)), ArrayVectors)
