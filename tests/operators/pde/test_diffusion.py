"""Finite volumes of diffusion: exact solutions, dense assembly, and what the equation promises."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from operators import ParameterError, ShapeError, Tag
from operators.pde import (
    Grid,
    diffusion_form,
    diffusion_operator,
    face_coefficients,
    wall_source,
)
from operators.pde.diffusion import WallValues

BOUNDARIES = [
    ("dirichlet", "neumann"),
    ("periodic", "dirichlet"),
    ("neumann", "periodic", "dirichlet"),
    ("dirichlet", "dirichlet"),
]


def random_medium(shape: tuple[int, ...], n_samples: int = 2, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.exp(rng.standard_normal((n_samples, *shape))))


def dense(a: NDArray[np.float64], grid: Grid, boundary: tuple[str, ...], c: float) -> NDArray:
    """The same equation cell by cell and face by face: a flux balance in a dense matrix."""
    number = np.arange(grid.size).reshape(grid.shape)
    matrix = c * np.eye(grid.size)
    for i in np.ndindex(grid.shape):
        for axis, side in itertools.product(range(grid.ndim), (-1, 1)):
            h, n = grid.spacing[axis], grid.shape[axis]
            j = list(i)
            j[axis] += side
            if not 0 <= j[axis] < n:
                if boundary[axis] == "neumann":
                    continue
                if boundary[axis] == "dirichlet":
                    matrix[number[i], number[i]] += a[i] / (h / 2) / h
                    continue
                j[axis] %= n
            through = 1 / (h / 2 / a[i] + h / 2 / a[tuple(j)]) / h
            matrix[number[i], number[i]] += through
            matrix[number[i], number[tuple(j)]] -= through
    return matrix


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("c", [0.0, 0.7])
def test_matrix_is_the_balance_of_fluxes(boundary: tuple, c: float) -> None:
    grid = Grid((3, 2, 4)[: len(boundary)], (1.0, 0.7, 2.0)[: len(boundary)])
    a = random_medium(grid.shape)
    A = diffusion_operator(face_coefficients(a, grid, boundary), boundary, c)
    for sample in range(2):
        wanted = dense(a[sample].numpy(), grid, boundary, c)
        found = A.matrix(sample).toarray()
        np.testing.assert_allclose(found, wanted, rtol=1e-13, atol=1e-13 * np.abs(wanted).max())
        assert np.array_equal(found, found.T)
        x = torch.from_numpy(np.random.default_rng(1).standard_normal((2, *grid.shape)))
        np.testing.assert_allclose(
            A(x)[sample].ravel(), found @ x[sample].numpy().ravel(), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_operator_is_as_tagged(boundary: tuple) -> None:
    grid = Grid((4, 3, 3)[: len(boundary)])
    A = diffusion_operator(face_coefficients(random_medium(grid.shape), grid, boundary), boundary)
    assert Tag.POSITIVE_SEMIDEFINITE in A.tags
    assert np.linalg.eigvalsh(A.matrix(0).toarray()).min() > 0


def test_constants_are_the_null_space_without_dirichlet_walls() -> None:
    grid, boundary = Grid((4, 5)), ("neumann", "periodic")
    A = diffusion_operator(face_coefficients(random_medium(grid.shape), grid, boundary), boundary)
    assert A(torch.ones(2, 4, 5, dtype=torch.float64)).abs().max() < 1e-11
    eigenvalues = np.linalg.eigvalsh(A.matrix(1).toarray())
    assert abs(eigenvalues[0]) < 1e-10
    assert eigenvalues[1] > 1e-2


def test_reaction_may_vary_in_space() -> None:
    grid, boundary = Grid((3, 4)), ("neumann", "neumann")
    c = random_medium(grid.shape, seed=3)
    faces = face_coefficients(random_medium(grid.shape), grid, boundary)
    difference = diffusion_operator(faces, boundary, c).matrix(1) - (
        diffusion_operator(faces, boundary).matrix(1)
    )
    np.testing.assert_allclose(
        difference.toarray(), np.diag(c[1].numpy().ravel()), atol=1e-12, rtol=1e-12
    )


def solve(
    grid: Grid,
    a: NDArray[np.float64],
    f: NDArray[np.float64],
    boundary: tuple,
    values: WallValues | None = None,
) -> NDArray[np.float64]:
    faces = face_coefficients(torch.from_numpy(a)[None], grid, boundary)
    b = f if values is None else f + wall_source(faces, boundary, values)[0].numpy()
    u = spsolve(diffusion_operator(faces, boundary).matrix(0).tocsc(), b.ravel())
    return np.asarray(u).reshape(grid.shape)


def observed_order(errors: list[float]) -> float:
    return math.log2(errors[-2] / errors[-1])


def smooth_problem(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray]:
    """a = 2 + sin(x_0 + 2 x_1 + ...), u = prod sin(pi x_d); f = -a lap u - grad a . grad u."""
    x = grid.mesh()
    phase = sum((d + 1) * x_d for d, x_d in enumerate(x))
    a = 2 + np.sin(phase)
    u = np.prod([np.sin(np.pi * x_d) for x_d in x], axis=0)
    f = a * grid.ndim * np.pi**2 * u
    for d in range(grid.ndim):
        slope = np.pi * np.prod(
            [np.cos(np.pi * x_e) if e == d else np.sin(np.pi * x_e) for e, x_e in enumerate(x)],
            axis=0,
        )
        f -= (d + 1) * np.cos(phase) * slope
    return a, u, f


@pytest.mark.parametrize("shapes", [[(16, 12), (32, 24), (64, 48)], [(6, 8, 7), (12, 16, 14)]])
def test_smooth_solutions_converge_with_second_order(shapes: list[tuple[int, ...]]) -> None:
    errors = []
    for shape in shapes:
        grid = Grid(shape)
        a, u, f = smooth_problem(grid)
        found = solve(grid, a, f, ("dirichlet",) * grid.ndim)
        errors.append(float(np.sqrt(np.mean((found - u) ** 2))))
    assert observed_order(errors) >= 1.9
    assert errors[-1] < 0.02


@pytest.mark.parametrize("shapes", [[(16, 12), (32, 24)], [(6, 8, 6), (12, 16, 12)]])
def test_mixed_and_periodic_walls_converge_with_second_order(shapes: list) -> None:
    """u = 1 + x + cos(pi y) cos(2 pi z), a = 1; z periodic, y insulated, x given at both ends."""
    errors = []
    for shape in shapes:
        grid = Grid(shape)
        *z, y, x = grid.mesh()
        wave = np.cos(np.pi * y) * (np.cos(2 * np.pi * z[0]) if z else 1.0)
        rate = np.pi**2 * (5 if z else 1)
        u, f = 1 + x + wave * np.sin(np.pi * x), (rate + np.pi**2) * wave * np.sin(np.pi * x)
        boundary = (*(["periodic"] * len(z)), "neumann", "dirichlet")
        values = [(0.0, 0.0)] * (grid.ndim - 1) + [(1.0, 2.0)]
        found = solve(grid, np.ones(shape), f, boundary, values)
        errors.append(float(np.sqrt(np.mean((found - u) ** 2))))
    assert observed_order(errors) >= 1.9


def test_values_that_vary_along_a_wall_converge_with_second_order() -> None:
    """u = x^2 - y^2 is harmonic."""
    errors = []
    for n in (16, 32):
        grid = Grid((n, n))
        y, x = grid.mesh()
        along = torch.from_numpy(grid.points(0) ** 2)
        values = [(along[None, None], along[None, None] - 1), (-along[:, None], 1 - along[:, None])]
        found = solve(grid, np.ones((n, n)), np.zeros((n, n)), ("dirichlet",) * 2, values)
        errors.append(float(np.abs(found - (x**2 - y**2)).max()))
    assert observed_order(errors) >= 1.8
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("contrast", [10.0, 1e3])
def test_jump_on_a_face_is_exact_in_one_dimension(contrast: float) -> None:
    """Two materials in series: the flux is the drop over the sum of the resistances."""
    grid = Grid((8,), (2.0,))
    a = np.where(grid.points(0) < 0.5, 1.0, contrast)
    faces = face_coefficients(torch.from_numpy(a)[None], grid, ("dirichlet",))
    u = solve(grid, a, np.zeros(8), ("dirichlet",), [(3.0, 0.0)])
    flux = float(faces[0][0, 0]) * grid.spacing[0] * (3.0 - u[0])
    assert flux == pytest.approx(3.0 / (0.5 / 1.0 + 1.5 / contrast), rel=1e-12)


@pytest.mark.parametrize("ndim", [2, 3])
def test_flux_across_a_jump_that_cuts_cells_converges(ndim: int) -> None:
    """u = s / a with a jumping at s = 0: the flux -a grad u is constant, the jump cuts cells."""
    direction = np.array([0.3, 0.8, 1.0])[-ndim:]
    errors = []
    for n in (5, 10, 20) if ndim == 3 else (16, 32, 64, 128):
        grid = Grid((n,) * ndim)
        s = sum(d * x for d, x in zip(direction, grid.mesh(), strict=True)) - 0.47
        a = np.where(s < 0, 1.0, 10.0)
        walls = []
        for axis in range(ndim):
            ends = []
            for at in (0.0, 1.0):
                points = [grid.points(d) for d in range(ndim)]
                points[axis] = np.array([at])
                wall = np.meshgrid(*points, indexing="ij")
                t = sum(d * x for d, x in zip(direction, wall, strict=True)) - 0.47
                ends.append(torch.from_numpy(t / np.where(t < 0, 1.0, 10.0)))
            walls.append(tuple(ends))
        boundary = ("dirichlet",) * ndim
        u = solve(grid, a, np.zeros(grid.shape), boundary, walls)
        faces = face_coefficients(torch.from_numpy(a)[None], grid, boundary)
        missing = 0.0
        for axis in range(ndim):
            inner = faces[axis][0].narrow(axis, 1, n - 1).numpy() * grid.spacing[axis]
            missing += np.mean((inner * np.diff(u, axis=axis) - direction[axis]) ** 2)
        errors.append(math.sqrt(missing))
    # The flux is wrong by a fixed amount in the layer of cells that the jump cuts, hence 1/2.
    assert observed_order(errors) >= 0.4


@pytest.mark.parametrize("ndim", [2, 3])
def test_flux_across_a_jump_between_cells_converges(ndim: int) -> None:
    """a = 1 left and 5 right of x = 1/2, u = v(x) sin(pi y) ... / a with v(1/2) = 0."""
    errors = []
    for n in (8, 16, 32) if ndim == 2 else (6, 12, 24):
        grid = Grid((n,) * ndim)
        *others, x = grid.mesh()
        a = np.where(x < 0.5, 1.0, 5.0)
        profile = np.prod([np.sin(np.pi * t) for t in others], axis=0)
        v = np.sin(2 * np.pi * x)
        f = (4 + ndim - 1) * np.pi**2 * v * profile
        boundary = ("dirichlet",) * ndim
        u = solve(grid, a, f, boundary)
        faces = face_coefficients(torch.from_numpy(a)[None], grid, boundary)[-1][0]
        h = grid.spacing[-1]
        flux = -faces.narrow(ndim - 1, 1, n - 1).numpy() * h * np.diff(u, axis=-1)
        between = np.arange(1, n) * h
        truth = -2 * np.pi * np.cos(2 * np.pi * between) * profile[..., 1:]
        errors.append(float(np.sqrt(np.mean((flux - truth) ** 2))))
    assert observed_order(errors) >= 0.9


def test_solutions_lie_between_their_walls() -> None:
    """The maximum principle, at a contrast of about 1e4; and positive sources heat."""
    grid, boundary = Grid((12, 12)), ("dirichlet", "dirichlet")
    a = random_medium(grid.shape, 1)[0].numpy() ** 2
    values = [(0.0, 0.3), (1.0, 0.1)]
    u = solve(grid, a, np.zeros(grid.shape), boundary, values)
    assert u.min() > 0
    assert u.max() < 1
    matrix = diffusion_operator(
        face_coefficients(torch.from_numpy(a)[None], grid, boundary), boundary
    ).matrix(0)
    assert np.linalg.inv(matrix.toarray()).min() > 0


def test_a_batch_is_its_samples() -> None:
    grid, boundary = Grid((5, 4)), ("dirichlet", "periodic")
    a = random_medium(grid.shape, 3)
    together = diffusion_operator(face_coefficients(a, grid, boundary), boundary)
    for i in range(3):
        faces = face_coefficients(a[i : i + 1], grid, boundary)
        alone = diffusion_operator(faces, boundary)
        assert torch.equal(together.coefficients[i : i + 1], alone.coefficients)
        assert torch.equal(together.sample(i, i + 1).coefficients, alone.coefficients)


def test_form_names_the_operator() -> None:
    grid, a = Grid((5, 4), (2.0, 1.0)), random_medium((5, 4))
    form = diffusion_form(a, grid, ("dirichlet", "neumann"), 0.5)
    assert form.spacing == (0.4, 0.25)
    assert (form.boundary, form.centring, form.c) == (("dirichlet", "neumann"), "cells", 0.5)


@pytest.mark.parametrize(
    ("a", "grid", "boundary", "error", "message"),
    [
        ([[1.0, -1.0]], Grid((2,)), ["neumann"], ParameterError, "positive finite values.*-1"),
        ([[1.0, 0.0]], Grid((2,)), ["neumann"], ParameterError, "positive finite values"),
        ([[1.0, math.nan]], Grid((2,)), ["neumann"], ParameterError, "positive finite values"),
        ([[1.0, math.inf]], Grid((2,)), ["neumann"], ParameterError, "positive finite values"),
        ([[1.0]], Grid((2,)), ["neumann"], ShapeError, "n_samples"),
        ([[1.0, 1.0]], Grid((2,)), [], ShapeError, "a boundary an axis"),
        ([[1.0, 1.0]], Grid((2,)), ["robin"], ParameterError, "'robin'"),
        ([[1.0, 1.0]], Grid((2,), centring="nodes"), ["neumann"], ParameterError, "one of nodes"),
    ],
)
def test_refuses(a: list, grid: Grid, boundary: list, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        face_coefficients(torch.tensor(a), grid, boundary)


def test_no_samples_make_no_operator_fail() -> None:
    grid, boundary = Grid((3, 3)), ("dirichlet", "dirichlet")
    A = diffusion_operator(face_coefficients(torch.empty(0, 3, 3), grid, boundary), boundary)
    assert A(torch.empty(0, 3, 3)).shape == (0, 3, 3)
