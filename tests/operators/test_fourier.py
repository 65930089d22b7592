"""The centred transform: closed forms, NumPy's shifted FFT, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from operators import DtypeError, Fourier, ShapeError, Tag
from operators.fourier import centring_phase, fft_centred, ifft_centred

shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def numpy_centred(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    shifted = np.fft.ifftshift(x, axes=axes)
    return np.fft.fftshift(np.fft.fftn(shifted, axes=axes, norm="ortho"), axes=axes)


@given(shapes, st.integers(0, 2**32 - 1), st.data())
def test_agrees_with_the_shifted_transform_of_numpy(
    shape: list[int], seed: int, data: st.DataObject
) -> None:
    axes = tuple(data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    found = fft_centred(torch.from_numpy(x), axes).numpy()
    np.testing.assert_allclose(found, numpy_centred(x, axes), rtol=0, atol=1e-13)
    np.testing.assert_allclose(
        ifft_centred(torch.from_numpy(found), axes).numpy(), x, rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 96, 97, 230, 255, 256])
def test_point_at_the_origin_is_flat_and_back(n: int) -> None:
    x = torch.zeros(n, dtype=torch.complex128)
    x[n // 2] = 1
    flat = torch.full((n,), n**-0.5, dtype=torch.complex128)
    torch.testing.assert_close(fft_centred(x), flat, rtol=0, atol=1e-15)
    torch.testing.assert_close(fft_centred(flat), x, rtol=0, atol=1e-14)


def test_point_off_the_origin_is_a_wave_of_negative_sign() -> None:
    x = torch.zeros(8, dtype=torch.complex128)
    x[8 // 2 + 1] = 8**0.5
    k = np.arange(8) - 4
    np.testing.assert_allclose(fft_centred(x).numpy(), np.exp(-2j * np.pi * k / 8), atol=1e-15)


@pytest.mark.parametrize("shape", [(256, 256), (255, 230), (7, 96, 3)])
def test_single_precision_error(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    error = fft_centred(x.to(torch.complex64)) - fft_centred(x)
    assert torch.linalg.vector_norm(error) <= 5e-7 * torch.linalg.vector_norm(x)


def test_even_sizes_need_signs_only() -> None:
    phase, constant = centring_phase((6, 4), (0, 1), torch.complex128)
    assert set(phase.real.flatten().tolist()) == {-1.0, 1.0}
    assert not phase.imag.any()
    assert constant == -1


def test_real_input_is_taken_as_complex() -> None:
    x = torch.arange(6.0).reshape(2, 3)
    torch.testing.assert_close(fft_centred(x), fft_centred(x.to(torch.complex64)))


def test_plain_functions_can_be_differentiated() -> None:
    x = torch.randn(3, 4, dtype=torch.complex128).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: fft_centred(u, (1,)), x)
    assert torch.autograd.gradcheck(lambda u: ifft_centred(u, (0, 1)), x)


def test_both_directions_are_isometries() -> None:
    op = Fourier((4, 5), axes=(-1,))
    assert Tag.ISOMETRY in op.tags
    assert Tag.ISOMETRY in op.H.tags
    assert op.range.axes == ("y", "kx")
    assert Fourier((2, 3), names=("t", "u")).range.axes == ("kt", "ku")


@pytest.mark.parametrize("axes", [(2,), (-3,), (0, 0), (0, -2), ()])
def test_axes_that_do_not_exist_are_refused(axes: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"different axes between -2 and 1, got \("):
        fft_centred(torch.zeros(2, 3), axes)
    with pytest.raises(ShapeError, match="different axes"):
        Fourier((2, 3), axes)


def test_real_spaces_are_refused() -> None:
    with pytest.raises(DtypeError, match=r"complex dtype, got torch.float32"):
        Fourier((2, 3), dtype=torch.float32)
    with pytest.raises(ShapeError, match="needs as many names"):
        Fourier((2, 3), names=("x",))
