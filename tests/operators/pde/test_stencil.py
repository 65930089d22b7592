"""Stencil and sparse operators beyond what the registry checks: matrices, views, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from operators import ParameterError, ShapeError, Tag
from operators.pde import SparseOperator, StencilOperator

KINDS = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def stencil(
    offsets: list[tuple[int, ...]],
    grid: tuple[int, ...],
    *,
    n_samples: int = 3,
    dtype: torch.dtype = torch.float64,
    periodic: tuple[int, ...] = (),
) -> StencilOperator:
    generator = torch.Generator().manual_seed(len(offsets))
    c = torch.randn((n_samples, len(offsets), *grid), dtype=dtype, generator=generator)
    return StencilOperator(offsets, c, periodic=periodic)


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("periodic", [(), (0,), (0, 1)])
def test_matrix_is_the_operator(dtype: torch.dtype, periodic: tuple[int, ...]) -> None:
    A = stencil([(0, 1), (-1, 0), (0, 0), (2, -1)], (4, 3), dtype=dtype, periodic=periodic)
    x = torch.randn((3, 4, 3), dtype=dtype, generator=torch.Generator().manual_seed(9))
    for i in range(3):
        matrix = A.matrix(i)
        assert matrix.has_canonical_format
        assert matrix.dtype == A.coefficients.numpy().dtype
        np.testing.assert_allclose(
            A(x)[i].numpy().ravel(), matrix @ x[i].numpy().ravel(), rtol=2e-5, atol=2e-5
        )


def test_order_of_offsets_does_not_matter() -> None:
    offsets = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]
    A = stencil(offsets, (5, 4))
    order = [3, 1, 0, 4, 2]
    B = StencilOperator([offsets[k] for k in order], A.coefficients[:, order])
    x = torch.randn((3, 5, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(A(x), B(x), rtol=1e-14, atol=1e-14)
    assert (A.matrix(1) != B.matrix(1)).nnz == 0
    assert torch.equal(A.diagonal(), B.diagonal())


def test_argument_is_not_written_to() -> None:
    A = stencil([(1,), (0,)], (4,))
    x = torch.ones(2, 3, 4, dtype=torch.float64)
    kept, coefficients = x.clone(), A.coefficients.clone()
    A(x), A.adjoint(x)
    assert torch.equal(x, kept)
    assert torch.equal(A.coefficients, coefficients)


def test_samples_do_not_mix() -> None:
    """Not even through not-a-number."""
    A = stencil([(0, 0), (0, 1), (1, 0)], (3, 3), periodic=(0, 1))
    x = torch.ones(3, 3, 3, dtype=torch.float64)
    whole = A(x)
    x[1] = torch.nan
    found = A(x)
    assert torch.equal(found[[0, 2]], whole[[0, 2]])
    assert found[1].isnan().all()
    assert torch.equal(A.sample(2, 3)(x[2:]), whole[2:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_matrix_for_all_samples_is_held_once(dtype: torch.dtype) -> None:
    one = stencil([(0,), (1,)], (5,), n_samples=1)
    shared = StencilOperator(one.offsets, one.coefficients.expand(4, 2, 5)).to(dtype=dtype)
    assert shared.coefficients.untyped_storage().nbytes() == 10 * dtype.itemsize
    x = torch.randn((4, 5), dtype=dtype, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([one.to(dtype=dtype)(row[None])[0] for row in x])
    assert torch.equal(shared(x), wanted)


def test_diagonal_without_a_centre_is_zero() -> None:
    A = stencil([(1, 0)], (3, 3))
    assert torch.equal(A.diagonal(), torch.zeros(3, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize(
    ("offsets", "shape", "error", "message"),
    [
        ([(0,), (0,)], (1, 2, 4), ParameterError, "different offsets"),
        ([(0,)], (1, 2, 4), ShapeError, "1 offsets expected"),
        ([(0,), (4,)], (1, 2, 4), ShapeError, r"offset \(4,\) does not fit"),
        ([(0,), (1, 0)], (1, 2, 4), ShapeError, r"offset \(1, 0\) does not fit"),
        ([], (1, 0, 4), ShapeError, "0 offsets"),
        ([(0,)], (1, 1), ShapeError, "n_samples, 1, "),
    ],
)
def test_stencil_refuses(offsets: list, shape: tuple, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        StencilOperator(offsets, torch.zeros(shape))


@pytest.mark.parametrize("dtype", KINDS)
def test_sparse_round_trip(dtype: torch.dtype) -> None:
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((5, 4)) * (rng.random((5, 4)) < 0.5)
    dense = dense + 1j * dense**2 if dtype.is_complex else dense
    wanted = torch.from_numpy(dense).to(dtype).numpy()
    A = SparseOperator.from_scipy(sparse.csr_array(wanted))
    assert A.domain.dtype == dtype
    np.testing.assert_array_equal(A.scipy().toarray(), wanted)
    x = torch.ones(2, 3, 4, dtype=dtype)
    np.testing.assert_allclose(A(x)[1, 2].numpy(), wanted.sum(axis=1), rtol=1e-5)


def test_self_adjoint_sparse_matrix_is_its_own_adjoint() -> None:
    matrix = sparse.csr_array([[2.0, 1.0], [1.0, 3.0]])
    A = SparseOperator.from_scipy(matrix, tags=[Tag.POSITIVE_SEMIDEFINITE])
    assert A.H is A
    y = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert A.adjoint(y).tolist() == [4.0, 7.0]


@pytest.mark.parametrize("matrix", [torch.eye(2), torch.eye(2).to_sparse()])
def test_sparse_refuses_other_layouts(matrix: torch.Tensor) -> None:
    with pytest.raises(ShapeError, match=r"CSR layout.*from_scipy"):
        SparseOperator(matrix)
