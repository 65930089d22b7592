"""The wavelet transform against PyWavelets, a dense matrix and its own algebra."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest
import pywt
import torch
from hypothesis import given
from hypothesis import strategies as st

from solvers.errors import SolverError
from solvers.vectors import Array
from solvers.wavelets import DaubechiesTransform, daubechies_filter

ORDERS = range(1, 9)
LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor, "strict": array_api_strict.asarray}


def random_complex(shape: tuple[int, ...], seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)


@pytest.mark.parametrize("order", ORDERS)
def test_filter_equals_pywavelets(order: int) -> None:
    assert np.allclose(daubechies_filter(order), pywt.Wavelet(f"db{order}").rec_lo, atol=1e-14)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("real", [True, False])
def test_coefficients_equal_pywavelets(order: int, real: bool) -> None:
    x = random_complex((64, 128)).real if real else random_complex((64, 128))
    transform = DaubechiesTransform(2, order, levels=2)
    bands = pywt.wavedec2(x, f"db{order}", mode="periodization", level=2)
    expected, _ = pywt.coeffs_to_array(bands)
    assert np.allclose(transform.forward(x), expected, atol=1e-11)


def test_coefficients_equal_pywavelets_in_three_dimensions() -> None:
    x = random_complex((16, 32, 24)).real
    bands = pywt.wavedecn(x, "db2", mode="periodization", level=2)
    expected, _ = pywt.coeffs_to_array(bands)
    assert np.allclose(DaubechiesTransform(3, 2, levels=2).forward(x), expected, atol=1e-13)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(37,), (64,), (21, 34), (19, 16, 9), (1, 40), (2, 2), (1,)])
def test_any_size_is_orthogonal_to_rounding(order: int, shape: tuple[int, ...]) -> None:
    transform = DaubechiesTransform(len(shape), order, levels=3)
    x, c = random_complex(shape, 1), random_complex(shape, 2)
    scale = np.linalg.norm(x) * np.linalg.norm(c)
    assert np.abs(transform.inverse(transform.forward(x)) - x).max() <= 2e-14
    assert np.abs(transform.forward(transform.inverse(c)) - c).max() <= 2e-14
    gap = np.vdot(c, transform.forward(x)) - np.vdot(transform.inverse(c), x)
    assert abs(gap) <= 1e-14 * scale


@given(
    shape=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    order=st.integers(1, 8),
    levels=st.one_of(st.none(), st.integers(0, 6)),
    n_batch=st.integers(0, 1),
)
def test_it_preserves_norms_and_inverts(
    shape: list[int], order: int, levels: int | None, n_batch: int
) -> None:
    transform = DaubechiesTransform(len(shape), order, levels)
    x = random_complex((*(2,) * n_batch, *shape))
    before = x.copy()
    coefficients = transform.forward(x)
    assert coefficients.shape == x.shape
    assert np.array_equal(x, before)
    assert np.linalg.norm(coefficients) == pytest.approx(np.linalg.norm(x), rel=1e-13)
    assert np.abs(transform.inverse(coefficients) - x).max() <= 3e-14


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_polynomials_below_the_order_have_no_details(order: int) -> None:
    n = 128
    x = np.linspace(-1, 1, n) ** (order - 1)
    details = DaubechiesTransform(1, order, levels=1).forward(x)[n // 2 :]
    inside = details[order : n // 2 - order]  # the periodic border sees a jump
    assert np.abs(inside).max() <= 1e-11


def test_coarse_band_of_a_constant_holds_everything() -> None:
    transform = DaubechiesTransform(2, 3, levels=2)
    coefficients = transform.forward(np.ones((32, 64)))
    coarse = coefficients[transform.coarse((32, 64))]
    assert coarse.shape == (8, 16)
    assert np.allclose(coarse, 4.0)
    assert np.linalg.norm(coarse) == pytest.approx(np.linalg.norm(coefficients), rel=1e-13)


def test_batch_axes_are_independent() -> None:
    transform = DaubechiesTransform(2, 4)
    x = random_complex((3, 2, 33, 40))
    together = transform.forward(x)
    assert np.array_equal(together[1, 0], transform.forward(x[1, 0]))
    assert np.array_equal(transform.inverse(x)[2, 1], transform.inverse(x[2, 1]))


@pytest.mark.parametrize("library", ["torch", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64", "complex128"])
def test_every_library_gives_the_same_and_keeps_the_dtype(library: str, dtype: str) -> None:
    x = random_complex((2, 35, 48))
    x = (x if dtype.startswith("complex") else x.real).astype(dtype)
    transform = DaubechiesTransform(2, 4)
    expected = transform.forward(x.astype("complex128"))
    given_x = LIBRARIES[library](x)
    result = transform.forward(given_x)
    tolerance = 1e-5 if dtype in {"float32", "complex64"} else 1e-13
    assert result.dtype == given_x.dtype
    assert np.abs(np.asarray(result) - expected).max() <= tolerance
    assert np.abs(np.asarray(transform.inverse(result)) - x).max() <= tolerance


def test_a_conjugated_or_strided_tensor_is_read_as_it_stands() -> None:
    x = torch.as_tensor(random_complex((40, 64)))
    transform = DaubechiesTransform(2, 2)
    assert torch.allclose(transform.forward(x.conj()), transform.forward(x.conj().resolve_conj()))
    assert torch.allclose(transform.forward(x.mT), transform.forward(x.mT.contiguous()))


def test_torch_differentiates_through_it() -> None:
    transform = DaubechiesTransform(1, 2)
    x = torch.randn(24, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(transform.forward, (x,))
    assert torch.autograd.gradcheck(transform.inverse, (x,))


def test_default_levels_follow_the_longest_axis() -> None:
    assert DaubechiesTransform(2, 4).n_levels((256, 256)) == 5
    assert DaubechiesTransform(3, 4).n_levels((3, 256, 256)) == 5
    assert DaubechiesTransform(1, 4).n_levels((6,)) == 0
    assert DaubechiesTransform(1, 1, levels=99).n_levels((256,)) == 8


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(SolverError, match="order from 1 to 8, got 9"):
        DaubechiesTransform(2, 9)
    with pytest.raises(SolverError, match="ndim >= 1 and levels >= 0, got ndim=0"):
        DaubechiesTransform(0)
    with pytest.raises(SolverError, match=r"at least 3 axes, got \(4, 4\)"):
        DaubechiesTransform(3).forward(np.ones((4, 4)))
