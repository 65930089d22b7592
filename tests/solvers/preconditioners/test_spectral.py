"""The spectral Laplacian against dense inverses, and as a preconditioner of CG."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from solvers import SolverError, SpectralLaplacian, cg

Matrix = np.ndarray
BOUNDARIES = ("dirichlet", "neumann", "periodic")


@pytest.fixture(params=["matrices", "fast transforms"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take either path whatever the length of the axes."""
    limit = 10_000 if request.param == "matrices" else 0
    monkeypatch.setattr("solvers.preconditioners.modes.HOST_MATRIX", limit)
    monkeypatch.setattr("solvers.preconditioners.modes.DEVICE_MATRIX", limit)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("boundary", list(product(BOUNDARIES, repeat=2)))
@pytest.mark.parametrize("shift", [0.0, 3.5])
def test_it_is_the_inverse_on_every_boundary(
    library: SimpleNamespace,
    rng: np.random.Generator,
    dense: Callable[..., Matrix],
    boundary: tuple[str, str],
    shift: float,
) -> None:
    shape, spacing = (5, 6), (0.5, 0.7)
    A = dense(np.ones(shape), spacing, boundary, shift)
    inverse = np.linalg.pinv(A, rcond=1e-12, hermitian=True)
    M = SpectralLaplacian(shape, spacing, boundary=boundary, shift=shift)
    r = rng.normal(size=(2, 3, *shape))
    z = library.numpy(M.forward(library.array(r)))
    expected = (r.reshape(6, -1) @ inverse).reshape(r.shape)
    assert np.abs(z - expected).max() < 1e-12 * np.abs(expected).max()
    is_singular = shift == 0 and "dirichlet" not in boundary
    assert ("POSITIVE_DEFINITE" in M.tags) != is_singular
    assert "POSITIVE_SEMIDEFINITE" in M.tags


@pytest.mark.usefixtures("path")
def test_three_dimensions_nodes_and_anisotropy(
    rng: np.random.Generator, dense: Callable[..., Matrix]
) -> None:
    shape, diffusion = (3, 4, 5), (1.0, 4.0, 0.25)
    walls = ("dirichlet", "periodic", "dirichlet")
    spacing = (0.3, 0.5, 1.0)
    widened = tuple(h / np.sqrt(a) for h, a in zip(spacing, diffusion, strict=True))
    A = dense(np.ones(shape), widened, walls, 0.5, "nodes")
    M = SpectralLaplacian(
        shape, spacing, boundary=walls, centring="nodes", diffusion=diffusion, shift=0.5
    )
    x = rng.normal(size=60)
    assert np.abs(M.forward(A @ x) - x).max() < 1e-12  # the unknown as a list
    x_grid = x.reshape(shape)
    assert np.abs(M.forward((A @ x).reshape(shape)) - x_grid).max() < 1e-12


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_complex_shift_and_its_adjoint(
    rng: np.random.Generator, dense: Callable[..., Matrix], boundary: str
) -> None:
    shape = (4, 7)
    A = dense(np.ones(shape), (0.5, 0.5), (boundary, boundary)) - (9.0 + 2.0j) * np.eye(28)
    M = SpectralLaplacian(shape, (0.5, 0.5), boundary=boundary, shift=-9.0 - 2.0j)
    x = rng.normal(size=28) + 1j * rng.normal(size=28)
    assert np.abs(M.forward(A @ x) - x).max() < 1e-12
    assert np.abs(M.adjoint(A.conj().T @ x) - x).max() < 1e-12
    assert not M.tags
    with pytest.raises(SolverError, match="complex shift expected complex vectors, got float64"):
        M.forward(np.ones(shape))


def test_scale_and_shift_of_each_system(
    rng: np.random.Generator, dense: Callable[..., Matrix]
) -> None:
    shape, walls = (4, 5), ("dirichlet", "neumann")
    scale = np.exp(rng.normal(size=(3, *shape)))
    shifts = np.array([0.0, 1.0, 7.0])
    M = SpectralLaplacian(shape, (1.0, 2.0), boundary=walls, shift=shifts, scale=scale)
    r = rng.normal(size=(3, *shape))
    z = M.forward(r)
    for i in range(3):
        L = dense(np.ones(shape), (1.0, 2.0), walls, float(shifts[i]))
        S = np.diag(scale[i].ravel())
        assert np.abs(z[i].ravel() - S @ np.linalg.solve(L, S @ r[i].ravel())).max() < 1e-12
    other = M.scaled(np.ones((3, *shape)))
    assert np.abs(M.forward(r) - z).max() == 0
    assert np.abs(M.scaled(scale).forward(r) - z).max() == 0
    assert np.abs(other.forward(r) - z).max() > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_dtype_and_library_are_kept(library: SimpleNamespace, dtype: type) -> None:
    scale = np.full((2, 6, 6), 2.0)
    M = SpectralLaplacian((6, 6), (1.0, 1.0), scale=scale)
    r = library.array(np.ones((2, 6, 6), dtype=dtype))
    z = M.forward(r)
    assert z.dtype == r.dtype
    assert type(z) is type(r)
    exact = 4 * SpectralLaplacian((6, 6), (1.0, 1.0)).forward(np.ones((6, 6)))
    assert np.abs(library.numpy(z) - exact).max() < 1e-5


def test_torch_shares_memory_and_scale_follows(rng: np.random.Generator) -> None:
    a = torch.from_numpy(np.exp(rng.normal(size=(2, 8, 8))))
    M = SpectralLaplacian.of_diffusion(a, (0.1, 0.1), c=2.0)
    N = SpectralLaplacian.of_diffusion(a.numpy(), (0.1, 0.1), c=2.0)
    r = rng.normal(size=(2, 8, 8))
    assert np.array_equal(M.forward(torch.from_numpy(r)).numpy(), N.forward(r))


def test_cg_on_a_smooth_medium_needs_few_iterations_on_any_grid(
    rng: np.random.Generator, dense: Callable[..., Matrix]
) -> None:
    counts = []
    for n in (12, 24):
        x = (np.arange(n) + 0.5) / n
        a = np.exp(np.sin(3 * x)[:, None] * np.cos(2 * x)[None, :])
        A = csr_array(dense(a, (1 / n, 1 / n), ("dirichlet", "dirichlet")))
        b = rng.normal(size=n * n)
        plain = cg(A, b, rtol=1e-8)
        M = SpectralLaplacian.of_diffusion(a, (1 / n, 1 / n))
        solution = cg(A, b, M=M, rtol=1e-8)
        assert solution.converged
        assert solution.iterations[0] <= 12
        assert solution.iterations[0] < plain.iterations[0] / 3
        counts.append(solution.iterations[0])
        assert not M.update(A)
    assert abs(counts[1] - counts[0]) <= 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(SolverError, match="a spacing and a boundary an axis"):
        SpectralLaplacian((4, 4), (1.0,))
    with pytest.raises(SolverError, match="positive spacings and diffusion"):
        SpectralLaplacian((4,), (1.0,), diffusion=-1.0)
    with pytest.raises(SolverError, match="finite numbers as shift"):
        SpectralLaplacian((4,), (1.0,), shift=np.nan)
    with pytest.raises(SolverError, match=r"expected vectors \(\*batch, 4, 4\)"):
        SpectralLaplacian((4, 4), (1.0, 1.0)).forward(np.ones((4, 5)))
    with pytest.raises(SolverError, match="positive finite coefficients"):
        SpectralLaplacian.of_diffusion(np.zeros((4, 4)), (1.0, 1.0))
