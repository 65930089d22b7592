"""Finite differences: closed-form spectra and null spaces, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from operators import FiniteDifference, ParameterError, ShapeError


def test_periodic_laplacian_has_waves_for_eigenvectors() -> None:
    n, k = 12, 5
    op = FiniteDifference((n,), dtype=torch.complex128)
    wave = torch.from_numpy(np.exp(2j * np.pi * k * np.arange(n) / n))
    eigenvalue = 4 * math.sin(math.pi * k / n) ** 2
    torch.testing.assert_close(op.normal(wave), eigenvalue * wave)


def test_neumann_laplacian_has_cosines_for_eigenvectors() -> None:
    n, k = 12, 5
    op = FiniteDifference((n,), boundary="neumann", dtype=torch.float64)
    wave = torch.from_numpy(np.cos(np.pi * k * (np.arange(n) + 0.5) / n))
    eigenvalue = 4 * math.sin(math.pi * k / (2 * n)) ** 2
    torch.testing.assert_close(op.normal(wave), eigenvalue * wave)


@pytest.mark.parametrize("boundary", ["periodic", "neumann"])
def test_constants_are_the_null_space(boundary: str) -> None:
    op = FiniteDifference((3, 4), boundary=boundary, dtype=torch.float64)
    columns = op(torch.eye(12, dtype=torch.float64).reshape(12, 3, 4)).flatten(1)
    values = np.linalg.svd(columns.numpy(), compute_uv=False)
    assert (values < 1e-14).sum() == 1
    assert values.max() ** 2 <= 4 * 2
    assert not op(torch.ones(3, 4, dtype=torch.float64)).any()


def test_ramp_has_slope_one_and_a_boundary() -> None:
    ramp = torch.arange(4.0)
    for boundary, last in (("periodic", -3.0), ("neumann", 0.0)):
        op = FiniteDifference((4,), boundary=boundary, dtype=torch.float32)
        assert op(ramp).tolist() == [[1.0, 1.0, 1.0, last]]


def test_components_follow_the_order_of_the_axes() -> None:
    x = torch.arange(3.0)[:, None] * 10 + torch.arange(4.0)
    op = FiniteDifference((3, 4), axes=(1, 0), boundary="neumann", dtype=torch.float32)
    assert op.range.axes == ("direction", "y", "x")
    assert op(x)[:, 0, 0].tolist() == [1.0, 10.0]


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ParameterError, match="'periodic' or 'neumann', got 'zero'"):
        FiniteDifference((3,), boundary="zero")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"different axes between -1 and 0, got \(1,\)"):
        FiniteDifference((3,), axes=(1,))
