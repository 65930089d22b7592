"""Operator algebra against dense matrices: random expressions, simplifications, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from operators import (
    DeviceError,
    DtypeError,
    FiniteDifference,
    Fourier,
    Identity,
    LinearOperator,
    Sense,
    ShapeError,
    Space,
    Tag,
    Zero,
    vstack,
)
from operators.algebra import Adjoint
from operators.space import grid_names, positive_axes, with_precision_of
from tests.operators.registry import Array, random_complex

N = 3


class Matrix(LinearOperator):
    """A dense matrix as an operator."""

    def __init__(self, matrix: Array, tags: tuple[Tag, ...] = ()) -> None:
        rows, columns = matrix.shape
        super().__init__(
            Space((columns,), torch.complex128, ("x",)),
            Space((rows,), torch.complex128, ("x",)),
            device=torch.device("cpu"),
            tags=tags,
        )
        self.matrix = torch.from_numpy(matrix)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix.T

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return y @ self.matrix.conj()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        del device, dtype
        return self


@dataclass(frozen=True)
class Pair:
    """An operator built with the algebra and the matrix it must equal."""

    op: LinearOperator
    matrix: Array


def space(n: int = N) -> Space:
    return Space((n,), torch.complex128, ("x",))


def tagged(matrix: Array) -> LinearOperator:
    """The operator with every tag that is true of its matrix."""
    hermitian = np.allclose(matrix, matrix.conj().T)
    tags = []
    if hermitian:
        tags.append(Tag.SELF_ADJOINT)
        if np.linalg.eigvalsh(matrix).min() >= 0:
            tags.append(Tag.POSITIVE_SEMIDEFINITE)
    if np.allclose(matrix.conj().T @ matrix, np.eye(len(matrix))):
        tags.append(Tag.ISOMETRY)
    return Matrix(matrix, tuple(tags))


def random_leaf(seed: int, kind: str) -> Pair:
    general = random_complex((N, N), seed)
    matrix = {
        "general": general,
        "hermitian": general + general.conj().T,
        "positive": general @ general.conj().T,
        "unitary": np.linalg.qr(general)[0],
    }[kind]
    return Pair(tagged(matrix), matrix)


leaves = st.one_of(
    st.builds(
        random_leaf,
        st.integers(0, 2**16),
        st.sampled_from(["general", "hermitian", "positive", "unitary"]),
    ),
    st.just(Pair(Identity(space()), np.eye(N, dtype=complex))),
    st.just(Pair(Zero(space(), space()), np.zeros((N, N), dtype=complex))),
)
factors = st.sampled_from([0, 1, -1, 1j, -2.5, 0.5 - 2j])


def grown(smaller: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    return st.one_of(
        smaller.map(lambda p: Pair(p.op.H, p.matrix.conj().T)),
        smaller.map(lambda p: Pair(-p.op, -p.matrix)),
        smaller.map(lambda p: Pair(p.op.gram, p.matrix.conj().T @ p.matrix)),
        st.builds(lambda a, p: Pair(a * p.op, a * p.matrix), factors, smaller),
        st.builds(lambda p, q: Pair(p.op @ q.op, p.matrix @ q.matrix), smaller, smaller),
        st.builds(lambda p, q: Pair(p.op + q.op, p.matrix + q.matrix), smaller, smaller),
        st.builds(lambda p, q: Pair(p.op - q.op, p.matrix - q.matrix), smaller, smaller),
    )


expressions = st.recursive(leaves, grown, max_leaves=6)


def dense(
    op: LinearOperator, rule: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> NDArray[np.complex128]:
    """The matrix of an operator, column by column through one batch."""
    rule = rule or op.forward
    given_space = op.range if rule == op.adjoint else op.domain
    basis = torch.eye(given_space.size, dtype=given_space.dtype)
    columns = rule(basis.reshape(-1, *given_space.shape))
    return columns.reshape(given_space.size, -1).T.numpy()


def assert_equal(found: Array, wanted: Array) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * (1 + abs(wanted).max()))


@given(expressions)
def test_expressions_equal_their_matrices(pair: Pair) -> None:
    adjoint = pair.matrix.conj().T
    assert_equal(dense(pair.op), pair.matrix)
    assert_equal(dense(pair.op, pair.op.adjoint), adjoint)
    assert_equal(dense(pair.op, pair.op.normal), adjoint @ pair.matrix)


@given(expressions)
def test_tags_of_expressions_are_true(pair: Pair) -> None:
    matrix, scale = pair.matrix, 1 + abs(pair.matrix).max()
    if Tag.SELF_ADJOINT in pair.op.tags:
        assert_equal(matrix, matrix.conj().T)
    if Tag.POSITIVE_SEMIDEFINITE in pair.op.tags:
        assert Tag.SELF_ADJOINT in pair.op.tags
        assert np.linalg.eigvalsh(matrix).min() >= -1e-12 * scale
    if Tag.ISOMETRY in pair.op.tags:
        assert_equal(matrix.conj().T @ matrix, np.eye(N))


@given(st.lists(expressions, min_size=1, max_size=3))
def test_stacks_equal_stacked_matrices(pairs: list[Pair]) -> None:
    op = vstack(*(pair.op for pair in pairs))
    matrix = np.concatenate([pair.matrix for pair in pairs])
    assert_equal(dense(op), matrix)
    assert_equal(dense(op, op.adjoint), matrix.conj().T)
    assert_equal(dense(op, op.normal), matrix.conj().T @ matrix)


@given(expressions, expressions)
def test_the_adjoint_of_a_product_is_the_product_of_adjoints(p: Pair, q: Pair) -> None:
    assert_equal(dense((p.op @ q.op).H), dense(q.op.H @ p.op.H))
    assert_equal(dense((p.op + q.op).H), dense(p.op.H + q.op.H))


@given(expressions)
def test_the_adjoint_of_the_adjoint_is_the_operator(pair: Pair) -> None:
    assert_equal(dense(pair.op.H.H), pair.matrix)
    if not isinstance(pair.op, Adjoint):
        assert pair.op.H.H is pair.op


def test_simplifications() -> None:
    op, one, zero = tagged(random_complex((N, N), 0)), Identity(space()), Zero(space(), space())
    assert one @ op is op
    assert op @ one is op
    assert isinstance(op @ zero, Zero)
    assert isinstance(zero @ op, Zero)
    assert op + zero is op
    assert zero + op is op
    assert isinstance(zero + zero, Zero)
    assert 1 * op is op
    assert isinstance(0 * op, Zero)
    assert 0.5 * (2 * op) is op
    assert vstack(op) is op
    assert one.H is one
    assert op.gram.H.domain == op.domain
    total = op + op + op + zero
    assert len(total.terms) == 3


def test_unitary_adjoints_stay_isometries_and_tall_ones_do_not() -> None:
    assert Tag.ISOMETRY in Fourier((4, 3)).H.tags
    orthonormal = np.linalg.qr(random_complex((5, N), 0))[0]
    tall = Matrix(orthonormal, (Tag.ISOMETRY,))
    assert Tag.ISOMETRY not in tall.H.tags
    assert Tag.ISOMETRY in (Fourier((N,), dtype=torch.complex128) @ Identity(space())).tags
    assert Tag.ISOMETRY in (1j * Fourier((N,))).tags
    assert Tag.ISOMETRY not in (2 * Fourier((N,))).tags


def test_positive_implies_self_adjoint() -> None:
    assert Tag.SELF_ADJOINT in Matrix(np.eye(2, dtype=complex), (Tag.POSITIVE_SEMIDEFINITE,)).tags


def test_normal_of_a_product_uses_the_fast_one_outside() -> None:
    class Watched(Matrix):
        used: tuple[str, ...] = ()

        def _normal(self, x: torch.Tensor) -> torch.Tensor:
            self.used += ("normal",)
            return super()._normal(x)

    outer = Watched(random_complex((4, N), 1))
    inner = Matrix(random_complex((N, N), 2))
    (outer @ inner).normal(torch.ones(N, dtype=torch.complex128))
    assert outer.used == ("normal",)


def test_mismatches_are_refused() -> None:
    square, tall = Matrix(random_complex((N, N), 0)), Matrix(random_complex((4, N), 0))
    with pytest.raises(ShapeError, match=r"product of .*: expected <x:3 .*>, got <x:4 .*>"):
        square @ tall
    with pytest.raises(ShapeError, match=r"range of a term of a sum: expected .*x:3.*got .*x:4"):
        square + tall
    with pytest.raises(ShapeError, match="domain of a block of a stack"):
        vstack(square, tall.H)
    with pytest.raises(ShapeError, match="at least one operator, got none"):
        vstack()
    with pytest.raises(DtypeError, match=r"expected torch.complex64, got torch.complex128"):
        Fourier((N,)) @ square
    with pytest.raises(DtypeError, match="stacked ranges must share a dtype"):
        vstack(
            Zero(space(), Space((2,), torch.complex64, ("x",))),
            Zero(space(), Space((2,), torch.complex128, ("x",))),
        )
    with pytest.raises(DtypeError, match=r"a complex factor 1j needs complex spaces"):
        1j * FiniteDifference((3,), dtype=torch.float32)


def test_operators_on_different_devices_are_refused() -> None:
    here, away = Matrix(np.eye(N, dtype=complex)), Matrix(np.eye(N, dtype=complex))
    away.device = torch.device("meta")
    for combine in (lambda: here @ away, lambda: here + away, lambda: vstack(here, away)):
        with pytest.raises(DeviceError, match=r"live on \['cpu', 'meta'\]"):
            combine()


def test_names_of_axes_may_differ_between_factors() -> None:
    csm = torch.from_numpy(random_complex((2, 4, 3), 0))
    sense = Sense(csm, torch.ones(4, 3, dtype=torch.bool))
    renamed = Identity(Space((4, 3), torch.complex128, ("row", "column")))
    assert (sense @ Fourier((4, 3), dtype=torch.complex128)).range == sense.range
    assert sense @ renamed is sense


def test_spaces() -> None:
    found = Space((2, 3), torch.complex64, ("y", "x"))
    assert repr(found) == "<y:2 x:3 complex64>"
    assert found.size == math.prod(found.shape)
    assert found.to(None) is found
    assert found.to(torch.float64).dtype == torch.complex128
    assert found.flatten(torch.zeros(5, 2, 3)).shape == (5, 6)
    with pytest.raises(ShapeError, match=r"shape \(2, 3\) needs as many names, got \('x',\)"):
        Space((2, 3), torch.complex64, ("x",))
    with pytest.raises(DtypeError, match=r"single or double precision dtype, got torch.int64"):
        with_precision_of(torch.complex64, torch.int64)
    assert with_precision_of(torch.float64, torch.complex64) == torch.float32
    assert grid_names(3) == ("z", "y", "x")
    assert positive_axes(None, 2) == (0, 1)
