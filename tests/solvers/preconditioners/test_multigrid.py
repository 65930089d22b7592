"""Multigrid against dense Galerkin products and exact solutions, and its iteration counts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import sparse

from solvers import Multigrid, SolverError, Stencil, cg, diffusion_stencil
from solvers.preconditioners.array_cycle import ArrayCycle
from solvers.preconditioners.coarsening import plan_steps
from solvers.preconditioners.compiled_cycle import CompiledCycle
from solvers.preconditioners.stencil_levels import Level, coarsen, with_halo

Matrix = np.ndarray
BOUNDARIES = ("dirichlet", "neumann", "periodic")


def apply_stencil(A: Stencil) -> Callable[[Matrix], Matrix]:
    """Return u -> A u by rolled arrays."""

    def apply(u: Matrix) -> Matrix:
        y = np.zeros_like(u)
        for k, offset in enumerate(A.offsets):
            a = np.array(A.coefficients[:, k])
            for axis, step in enumerate(offset):
                if step and axis not in A.periodic:
                    end = [slice(None)] * a.ndim
                    end[axis + 1] = slice(0, 1) if step < 0 else slice(-1, None)
                    a[tuple(end)] = 0
            y += a * np.roll(u, tuple(-o for o in offset), tuple(range(1, u.ndim)))
        return y

    return apply


@pytest.fixture(params=["compiled", "arrays"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the loops, compiled or not, or the slices."""
    found = object() if request.param == "compiled" else None
    monkeypatch.setattr("solvers.preconditioners.multigrid.find_spec", lambda _: found)


@pytest.mark.parametrize("boundary", list(product(BOUNDARIES, repeat=2)))
def test_the_stencil_is_the_finite_volume_matrix(
    library: SimpleNamespace,
    rng: np.random.Generator,
    dense: Callable[..., Matrix],
    boundary: tuple[str, str],
) -> None:
    a = np.exp(rng.normal(size=(2, 4, 5)))
    stencil = diffusion_stencil(library.array(a), (0.5, 2.0), c=0.25, boundary=boundary)
    A = Stencil(stencil.offsets, library.numpy(stencil.coefficients), stencil.periodic)
    u = rng.normal(size=(2, 4, 5))
    for i in range(2):
        expected = dense(a[i], (0.5, 2.0), boundary, 0.25) @ u[i].ravel()
        assert np.abs(apply_stencil(A)(u)[i].ravel() - expected).max() < 1e-12


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("n", [40, 37, 64])
@pytest.mark.parametrize("boundary", ["dirichlet", "neumann"])
def test_in_one_dimension_a_cycle_is_the_exact_solution(
    rng: np.random.Generator, dense: Callable[..., Matrix], n: int, boundary: str
) -> None:
    # Red-black smoothing and interpolation along the operator are cyclic reduction.
    a = 10.0 ** rng.uniform(-3, 3, size=n)
    M = Multigrid.of_diffusion(a[None], (1.0,), c=1e-3, boundary=boundary)
    A = dense(a, (1.0,), (boundary,), 1e-3)
    x = rng.normal(size=n)
    exact = np.linalg.solve(A, x)
    assert np.abs(M.forward(x) - exact).max() < 1e-8 * np.abs(exact).max()


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("shape", "boundary"),
    [
        ((9, 8), ("dirichlet", "dirichlet")),
        ((7, 12), ("dirichlet", "neumann")),
        ((11, 6), ("periodic", "dirichlet")),
        ((5, 4, 6), ("dirichlet", "periodic", "neumann")),
        ((2, 40), ("dirichlet", "neumann")),
    ],
)
@pytest.mark.parametrize("n_sweeps", [1, 2])
def test_it_is_symmetric_positive_definite_and_contracts(
    rng: np.random.Generator,
    dense: Callable[..., Matrix],
    matrix_of_map: Callable[..., Matrix],
    shape: tuple[int, ...],
    boundary: tuple[str, ...],
    n_sweeps: int,
) -> None:
    a = np.where(rng.random(shape) < 0.5, 100.0, 1.0)
    spacing = (1.0,) * len(shape)
    M = Multigrid.of_diffusion(a[None], spacing, boundary=boundary, n_sweeps=n_sweeps)
    inverse = matrix_of_map(M, shape)
    assert np.abs(inverse - inverse.T).max() < 1e-12 * np.abs(inverse).max()
    A = dense(a, spacing, boundary)
    root = np.linalg.cholesky(A)
    eigenvalues = np.linalg.eigvalsh(root.T @ inverse @ root)
    assert eigenvalues.min() > 0.2
    assert eigenvalues.max() < 1 + 1e-9 if "periodic" not in boundary else 1.2


@pytest.mark.parametrize("boundary", list(product(BOUNDARIES, repeat=2)))
@pytest.mark.parametrize("shape", [(9, 14), (16, 5), (3, 33)])
def test_loops_and_slices_are_one_arithmetic(
    library: SimpleNamespace,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
    boundary: tuple[str, str],
    shape: tuple[int, int],
) -> None:
    a = np.exp(2 * rng.normal(size=(2, *shape)))
    loops = Multigrid.of_diffusion(a, (1.0, 1.0), boundary=boundary, c=0.01)
    monkeypatch.setattr("solvers.preconditioners.multigrid.find_spec", lambda _: None)
    slices = Multigrid.of_diffusion(library.array(a), (1.0, 1.0), boundary=boundary, c=0.01)
    r = rng.normal(size=(2, *shape))
    expected = loops.forward(r)
    found = library.numpy(slices.forward(library.array(r)))
    assert np.abs(found - expected).max() < 1e-11 * np.abs(expected).max()


def levels_of(A: Stencil, n: int) -> list[Level]:
    periodic = tuple(d in A.periodic for d in range(len(A.offsets[0])))
    values = {o: np.array(A.coefficients[:, k]) for k, o in enumerate(A.offsets)}
    for offset, a in values.items():
        for axis, step in enumerate(offset):
            if step and not periodic[axis]:
                end = [slice(None)] * a.ndim
                end[axis + 1] = slice(0, 1) if step < 0 else slice(-1, None)
                a[tuple(end)] = 0
    shape = A.coefficients.shape[2:]
    level = Level(shape, periodic, {o: with_halo(a, periodic) for o, a in values.items()})
    found = []
    for steps in [(2,) * len(shape)] * n:
        fine, level = coarsen(level, steps)
        found.append(fine)
    return [*found, level]


def dense_of_level(level: Level) -> Matrix:
    """Write the matrix of the first system out, point by point."""
    number = {place: k for k, place in enumerate(product(*map(range, level.shape)))}
    A = np.zeros((len(number), len(number)))
    for place, row in number.items():
        for offset, a in level.coefficients.items():
            there = [p + o for p, o in zip(place, offset, strict=True)]
            for d, wraps in enumerate(level.periodic):
                there[d] = there[d] % level.shape[d] if wraps else there[d]
            entry = a[(0, *(p + 1 for p in place))]
            if tuple(there) in number:
                A[row, number[tuple(there)]] += entry
            else:
                assert entry == 0
    return A


def dense_interpolation(level: Level) -> Matrix:
    """Write the interpolation of the first system out, point by point."""
    fine = {place: k for k, place in enumerate(product(*map(range, level.shape)))}
    coarse = list(product(*map(range, level.coarse_shape)))
    P = np.zeros((len(fine), len(coarse)))
    for column, place in enumerate(coarse):
        for t in product((-1, 0, 1), repeat=len(place)):
            weight = 1.0 if not any(t) else level.weights[t][(0, *(p + 1 for p in place))]
            there = [s * p + side for s, p, side in zip(level.steps, place, t, strict=True)]
            for d, wraps in enumerate(level.periodic):
                there[d] = there[d] % level.shape[d] if wraps else there[d]
            if tuple(there) in fine:
                P[fine[tuple(there)], column] += weight
            else:
                assert weight == 0
    return P


@pytest.mark.parametrize(
    ("shape", "boundary"),
    [
        ((9, 8), ("dirichlet", "neumann")),
        ((12, 7), ("periodic", "dirichlet")),
        ((5, 6, 8), ("neumann", "dirichlet", "periodic")),
    ],
)
def test_coarse_operators_are_galerkin_products(
    rng: np.random.Generator, shape: tuple[int, ...], boundary: tuple[str, ...]
) -> None:
    a = np.exp(2 * rng.normal(size=(1, *shape)))
    levels = levels_of(
        diffusion_stencil(a, (1.0, 0.7, 1.3)[: len(shape)], c=0.1, boundary=boundary), 2
    )
    for fine, coarse in pairwise(levels):
        A, P = dense_of_level(fine), dense_interpolation(fine)
        expected = P.T @ A @ P
        assert np.abs(dense_of_level(coarse) - expected).max() < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_interpolation_keeps_constants_where_there_is_no_wall(
    rng: np.random.Generator, boundary: str
) -> None:
    a = np.exp(2 * rng.normal(size=(1, 12, 16)))
    fine = levels_of(diffusion_stencil(a, (1.0, 1.0), boundary=boundary), 1)[0]
    sums = dense_interpolation(fine).sum(axis=1).reshape(12, 16)
    if boundary == "dirichlet":
        assert np.abs(sums[2:-2, 2:-2] - 1).max() < 1e-12
        assert sums.min() > 0
    else:
        assert np.abs(sums - 1).max() < 1e-12


@pytest.mark.parametrize("contrast", [4.0, 1000.0])
@pytest.mark.parametrize(
    "shape", [(32, 32), (65, 47), (128, 128), pytest.param((256, 256), marks=pytest.mark.slow)]
)
def test_iterations_on_two_phase_media_hardly_grow(
    rng: np.random.Generator,
    media: Callable[..., Matrix],
    shape: tuple[int, int],
    contrast: float,
) -> None:
    a = np.stack([media(rng, shape, contrast) for _ in range(2)])
    spacing = tuple(1 / n for n in shape)
    stencil = diffusion_stencil(a, spacing)
    solution = cg(
        apply_stencil(stencil),
        np.ones((2, *shape)),
        M=Multigrid(stencil),
        rtol=1e-8,
        n_batch_axes=1,
    )
    assert solution.converged
    assert max(solution.iterations) <= (12 if contrast < 10 else 15)


def test_three_dimensions_and_batches(
    rng: np.random.Generator, media: Callable[..., Matrix]
) -> None:
    a = np.stack([media(rng, (12, 15, 16), 4.0) for _ in range(3)])
    walls = ("dirichlet", "neumann", "periodic")
    stencil = diffusion_stencil(a, (1.0, 1.0, 1.0), boundary=walls)
    b = rng.normal(size=a.shape)
    M = Multigrid(stencil)
    solution = cg(apply_stencil(stencil), b, M=M, rtol=1e-8, n_batch_axes=1)
    assert solution.converged
    assert max(solution.iterations) <= 13
    z = M.forward(b)
    for i in range(3):
        alone = Multigrid.of_diffusion(a[i : i + 1], (1.0, 1.0, 1.0), boundary=walls)
        assert np.allclose(alone.forward(b[i]), z[i], rtol=1e-12, atol=1e-14)
    shared = Multigrid.of_diffusion(a[:1], (1.0, 1.0, 1.0), boundary=walls).forward(b)
    assert np.allclose(shared[0], z[0], rtol=1e-12, atol=1e-14)
    assert not np.allclose(shared[1], z[1])


@pytest.mark.parametrize("boundary", [("neumann", "neumann"), ("periodic", "periodic")])
def test_a_singular_system_is_solved_when_it_is_consistent(
    rng: np.random.Generator, media: Callable[..., Matrix], boundary: tuple[str, str]
) -> None:
    a = media(rng, (33, 26), 4.0)[None]
    stencil = diffusion_stencil(a, (1.0, 1.0), boundary=boundary)
    b = rng.normal(size=a.shape)
    b -= b.mean()
    solution = cg(apply_stencil(stencil), b, M=Multigrid(stencil), rtol=1e-8, n_batch_axes=1)
    assert solution.converged
    assert max(solution.iterations) <= 16


def test_a_weak_axis_waits(rng: np.random.Generator) -> None:
    assert plan_steps((32, 32), (False, False), (64.0, 1.0))[:3] == [(2, 1)] * 3
    assert plan_steps((33, 33), (True, False), (1.0, 1.0))[0] == (1, 2)
    stencil = diffusion_stencil(np.ones((1, 48, 48)), (0.1, 1.0))
    b = rng.normal(size=(1, 48, 48))
    solution = cg(apply_stencil(stencil), b, M=Multigrid(stencil), rtol=1e-8, n_batch_axes=1)
    assert solution.converged
    assert solution.iterations[0] <= 12


def test_nine_point_stencils(rng: np.random.Generator) -> None:
    # Bilinear finite elements of -Laplace u + u / 10 on a periodic grid, a circulant matrix.
    offsets = tuple(product((-1, 0, 1), repeat=2))
    entry = {0: 8 / 3 + 0.1, 1: -1 / 3, 2: -1 / 3}
    values = [entry[sum(map(abs, o))] * np.ones((16, 16)) for o in offsets]
    stencil = Stencil(offsets, np.stack(values)[None], (0, 1))
    M = Multigrid(stencil)
    b = rng.normal(size=(1, 16, 16))
    solution = cg(apply_stencil(stencil), b, M=M, rtol=1e-10, n_batch_axes=1)
    symbol = sum(
        values[k][0, 0] * np.exp(-2j * np.pi * np.add.outer(o[0] * k1, o[1] * k1))
        for k, o in enumerate(offsets)
        for k1 in [np.fft.fftfreq(16)]
    )
    exact = np.fft.ifft2(np.fft.fft2(b) / symbol).real
    assert solution.iterations[0] <= 12
    assert np.abs(solution.x - exact).max() < 1e-8


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtypes_and_torch(rng: np.random.Generator, dtype: type) -> None:
    a = np.exp(rng.normal(size=(2, 10, 10)))
    M = Multigrid.of_diffusion(torch.from_numpy(a), (1.0, 1.0))
    entries = rng.normal(size=(2, 10, 10))
    is_complex = np.issubdtype(dtype, np.complexfloating)
    r = torch.from_numpy((entries * (1 + 1j) if is_complex else entries).astype(dtype))
    z = M.forward(r)
    assert z.dtype == r.dtype
    wide = r.numpy().astype(np.complex128)
    expected = M.forward(wide.real) + 1j * M.forward(wide.imag)
    assert np.abs(z.numpy() - expected).max() < 1e-5 * np.abs(expected).max()
    single = Multigrid.of_diffusion(a.astype(np.float32), (1.0, 1.0))
    found = single.forward(wide.real)
    assert found.dtype == np.float64
    assert np.abs(found - expected.real).max() < 1e-4 * np.abs(expected).max()


def test_update_follows_the_operator(rng: np.random.Generator) -> None:
    a = np.exp(rng.normal(size=(1, 12, 12)))
    M = Multigrid.of_diffusion(a, (1.0, 1.0))
    r = rng.normal(size=(1, 12, 12))
    z = M.forward(r)
    assert M.update(diffusion_stencil(2 * a, (1.0, 1.0)))
    assert np.allclose(2 * M.forward(r), z)
    assert np.array_equal(M.adjoint(r), M.forward(r))
    assert M.forward(r.reshape(1, 144)).shape == (1, 144)


def test_operators_that_do_not_fit() -> None:
    good = diffusion_stencil(np.ones((2, 6, 6)), (1.0, 1.0))
    with pytest.raises(SolverError, match=r"got csr_array\. Use diffusion_stencil"):
        Multigrid(sparse.eye_array(4).tocsr())
    with pytest.raises(SolverError, match="steps of -1, 0 and 1"):
        Multigrid(Stencil(((0, 0), (0, 2)), np.ones((1, 2, 6, 6))))
    with pytest.raises(SolverError, match="symmetric stencils, got offsets"):
        Multigrid(Stencil(((0, 0), (0, 1)), np.ones((1, 2, 6, 6))))
    with pytest.raises(SolverError, match="real stencils with a centre"):
        Multigrid(Stencil(good.offsets, good.coefficients * 1j))
    with pytest.raises(SolverError, match="positive entries on the diagonal"):
        Multigrid(Stencil(good.offsets, -good.coefficients))
    with pytest.raises(SolverError, match="one or more sweeps"):
        Multigrid(good, n_sweeps=0)
    with pytest.raises(SolverError, match="for 2 systems got vectors of 3"):
        Multigrid(good).forward(np.ones((3, 6, 6)))
    with pytest.raises(SolverError, match="expected vectors"):
        Multigrid(good).forward(np.ones((2, 5, 6)))
    with pytest.raises(SolverError, match="positive finite coefficients"):
        diffusion_stencil(np.zeros((1, 4)), (1.0,))
    with pytest.raises(SolverError, match="expected boundaries"):
        diffusion_stencil(np.ones((1, 4)), (1.0,), boundary="robin")  # type: ignore[arg-type]
    nine = tuple(product((-1, 0, 1), repeat=2))
    with pytest.raises(SolverError, match="Add 1 points along axis 0"):
        Multigrid(Stencil(nine, np.ones((1, 9, 15, 16)), (0,)))


def test_both_cycles_are_what_the_paths_take(monkeypatch: pytest.MonkeyPatch) -> None:
    a = np.ones((1, 8, 8))
    monkeypatch.setattr("solvers.preconditioners.multigrid.find_spec", lambda _: object())
    assert isinstance(Multigrid.of_diffusion(a, (1.0, 1.0))._cycle, CompiledCycle)
    monkeypatch.setattr("solvers.preconditioners.multigrid.find_spec", lambda _: None)
    assert isinstance(Multigrid.of_diffusion(a, (1.0, 1.0))._cycle, ArrayCycle)
