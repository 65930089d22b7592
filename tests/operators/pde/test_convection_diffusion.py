"""Transport: orders of accuracy, a second implementation, conservation, exact profiles."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from operators.errors import ParameterError, ShapeError
from operators.pde.convection_diffusion import ConvectionDiffusion
from operators.pde.grid import Grid
from operators.pde.transport_operator import transport_operator
from operators.pde.wind import curl_wind, uniform_wind

Array = NDArray[np.float64]
PI = math.pi


def solved(family: ConvectionDiffusion, grid: Grid, **parameters: Array) -> Array:
    systems = family.systems(grid, {name: value[None] for name, value in parameters.items()})
    u = sparse.linalg.spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
    residual = systems.operator(torch.from_numpy(u).reshape(1, *grid.shape)) - systems.rhs
    assert float(residual.norm() / systems.rhs.norm()) < 1e-10
    return np.asarray(u).reshape(grid.shape)


def orders(error: Callable[[int], float], sizes: tuple[int, ...]) -> list[float]:
    errors = [error(n) for n in sizes]
    return [
        math.log(errors[i] / errors[i + 1]) / math.log(sizes[i + 1] / sizes[i])
        for i in range(len(sizes) - 1)
    ]


def planar_problem(grid: Grid, diffusivity: float) -> tuple[Array, Array, Array]:
    """psi, f and u = sin(pi x) sin(pi y) exp(x), with w = (w_y, w_x) = (-psi_x, psi_y)."""
    y, x = grid.mesh()
    psi = np.sin(2 * x + 1) * np.cos(3 * y) + x * y
    w_x = -3 * np.sin(2 * x + 1) * np.sin(3 * y) + x
    w_y = -(2 * np.cos(2 * x + 1) * np.cos(3 * y) + y)
    s, c, e = np.sin(PI * x), np.cos(PI * x), np.exp(x)
    u = s * np.sin(PI * y) * e
    u_x = (PI * c + s) * e * np.sin(PI * y)
    u_y = s * e * PI * np.cos(PI * y)
    laplacian = (2 * PI * c + (1 - PI**2) * s) * e * np.sin(PI * y) - PI**2 * u
    return psi, -diffusivity * laplacian + w_x * u_x + w_y * u_y, u


@pytest.mark.parametrize(
    ("flux", "least"), [("central", 1.9), ("exponential", 1.9), ("upwind", 0.9)]
)
def test_manufactured_solution_in_two_dimensions(flux: str, least: float) -> None:
    family = ConvectionDiffusion(diffusivity=0.3, flux=flux, walls="dirichlet", source="random")

    def error(n: int) -> float:
        grid = family.grid((n, n + 3))
        psi, f, u = planar_problem(grid, family.diffusivity)
        found = solved(family, grid, stream_function=psi, source=f)
        return float(np.sqrt(np.mean((found - u) ** 2)))

    assert orders(error, (32, 64, 128))[-1] >= least


@pytest.mark.parametrize("flux", ["exponential", "central"])
def test_manufactured_solution_in_three_dimensions(flux: str) -> None:
    """w = curl psi, components of psi in the order z, y, x; u is a product of sines."""
    family = ConvectionDiffusion(diffusivity=0.5, flux=flux, walls="dirichlet", source="random")

    def error(n: int) -> float:
        grid = family.grid((n, n, n))
        z, y, x = grid.mesh()
        psi = np.stack((np.sin(2 * x * y), np.sin(z + x), np.sin(y - z)))
        w_x = 2 * x * np.cos(2 * x * y) - np.cos(z + x)  # d psi_z / dy - d psi_y / dz
        w_y = -np.cos(y - z) - 2 * y * np.cos(2 * x * y)  # d psi_x / dz - d psi_z / dx
        w_z = np.cos(z + x) - np.cos(y - z)  # d psi_y / dx - d psi_x / dy
        sines = [np.sin(PI * t) for t in (z, y, x)]
        u = sines[0] * sines[1] * sines[2]
        f = 3 * PI**2 * family.diffusivity * u
        for t, w in ((x, w_x), (y, w_y), (z, w_z)):
            f = f + w * PI * u / np.tan(PI * t)
        found = solved(family, grid, stream_function=psi, source=f)
        return float(np.sqrt(np.mean((found - u) ** 2)))

    assert orders(error, (8, 16, 24))[-1] >= 1.9


@pytest.mark.parametrize("flux", ["central", "exponential"])
def test_outflow_is_second_order(flux: str) -> None:
    """-D u'' + w u' = 1, u(0) = 0, u'(1) = 0 along the wind; nothing changes across it."""
    family = ConvectionDiffusion(diffusivity=0.2, wind="uniform", flux=flux)

    def error(n: int) -> float:
        grid, w, d = family.grid((3, n)), 1.0, family.diffusivity
        x = grid.points(1)
        u = x / w + d / w**2 * (np.exp(-w / d) - np.exp(-w * (1 - x) / d))
        return float(np.abs(solved(family, grid, wind=np.array([0.0, w])) - u).max())

    assert min(orders(error, (32, 64, 128))) >= 1.9


def test_exponential_fitting_is_exact_for_the_homogeneous_equation() -> None:
    """u = (exp(w x / D) - 1) has a constant flux: the stencil has no residual but at the walls."""
    grid, w, d = Grid((9,), (1.8,)), 3.0, 0.2
    matrix = transport_operator(
        uniform_wind(torch.tensor([[w]], dtype=torch.float64), grid), d, grid, walls="dirichlet"
    ).matrix(0)
    u = np.expm1(w * grid.points(0) / d)
    residual = matrix @ u
    assert np.abs(residual[:-1]).max() <= 1e-12 * np.abs(u).max()
    assert residual[-1] > 1.0  # the value at the last wall is not zero


def dense(wind: list[Array], d: float, h: tuple[float, float], flux: str, walls: str) -> Array:
    """The matrix cell by cell and face by face, from the fluxes as the textbook writes them."""
    n_y, n_x = wind[1].shape[0], wind[0].shape[1]
    matrix = np.zeros((n_y * n_x, n_y * n_x))

    def value(w: float, distance: float) -> tuple[float, float]:
        """Coefficients of the flux F = a u_before - b u_after."""
        p = w * distance / d
        if flux == "upwind":
            return d / distance + max(w, 0.0), d / distance - min(w, 0.0)
        if flux == "central":
            return d / distance + w / 2, d / distance - w / 2
        if abs(p) < 1e-9:
            return d / distance, d / distance
        return w / -math.expm1(-p), w / math.expm1(p)

    for i, j in np.ndindex(n_y, n_x):
        row = i * n_x + j
        for axis, (di, dj) in enumerate(((1, 0), (0, 1))):
            for side in (-1, 1):
                w = wind[axis][i + di * (side > 0), j + dj * (side > 0)]
                k, m = i + side * di, j + side * dj
                inside = 0 <= k < n_y and 0 <= m < n_x
                before, after = value(w, h[axis] if inside else h[axis] / 2)
                own, other = (before, -after) if side > 0 else (after, -before)
                if not inside and walls == "outflow" and side * w >= 0:
                    own = side * w
                matrix[row, row] += own / h[axis]
                if inside:
                    matrix[row, k * n_x + m] += other / h[axis]
    return matrix


@pytest.mark.parametrize("flux", ["upwind", "central", "exponential"])
@pytest.mark.parametrize("walls", ["dirichlet", "outflow"])
def test_matrix_equals_a_cell_by_cell_assembly(flux: str, walls: str) -> None:
    family = ConvectionDiffusion(peclet=40.0, flux=flux, walls=walls)
    grid = family.grid((4, 5))
    rng = np.random.default_rng(3)
    psi = np.stack([family.draw(grid, rng)["stream_function"] for _ in range(2)])
    systems = family.systems(grid, {"stream_function": psi})
    wind = curl_wind(torch.from_numpy(psi), grid)
    for i in range(2):
        wanted = dense([w[i].numpy() for w in wind], 0.01, grid.spacing, flux, walls)
        found = systems.matrix(i).toarray()
        assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()


@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 6)])
def test_random_wind_is_free_of_divergence_and_of_the_speed_asked_for(
    shape: tuple[int, ...],
) -> None:
    family = ConvectionDiffusion(peclet=200.0, diffusivity=0.05)
    grid = family.grid(shape)
    psi = family.draw(grid, np.random.default_rng(1))["stream_function"]
    wind = [w[0].numpy() for w in curl_wind(torch.from_numpy(psi)[None], grid)]
    divergence = sum(
        np.diff(w, axis=axis) / h
        for axis, (w, h) in enumerate(zip(wind, grid.spacing, strict=True))
    )
    assert np.abs(divergence).max() <= 1e-12 * max(np.abs(w).max() for w in wind) / min(
        grid.spacing
    )
    assert np.sqrt(sum(np.mean(w**2) for w in wind)) * 1.0 / 0.05 == pytest.approx(200.0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_wind_of_a_linear_potential_is_exact_up_to_the_walls(ndim: int) -> None:
    """psi_c = sum_b G[c, b] x_b has the constant curl w_a = eps_abc G[c, b], (x, y, z) cyclic."""
    grid = Grid((4, 5, 6)[:ndim], (1.0, 0.8, 2.0)[:ndim])
    g = np.random.default_rng(2).standard_normal((3, 3))  # rows and columns z, y, x
    mesh = np.stack(grid.mesh())
    if ndim == 2:
        psi, wanted = np.tensordot(g[0, 1:], mesh, 1), (-g[0, 2], g[0, 1])
    else:
        psi = np.tensordot(g, mesh, 1)
        wanted = (g[1, 2] - g[2, 1], g[2, 0] - g[0, 2], g[0, 1] - g[1, 0])
    for w, constant in zip(curl_wind(torch.from_numpy(psi)[None], grid), wanted, strict=True):
        np.testing.assert_allclose(w.numpy(), constant, rtol=1e-11)


def test_what_is_made_leaves_through_the_walls() -> None:
    family = ConvectionDiffusion(peclet=30.0)
    grid = family.grid((16, 12))
    psi = family.draw(grid, np.random.default_rng(5))["stream_function"]
    u = solved(family, grid, stream_function=psi)
    outflow = 0.0
    for axis, w in enumerate(curl_wind(torch.from_numpy(psi)[None], grid)):
        h, d = grid.spacing[axis], family.diffusivity
        for end, side in ((0, -1.0), (-1, 1.0)):
            normal = side * np.take(w[0].numpy(), end, axis)
            cell = np.take(u, end, axis)
            # Entering wind: u_wall = 0 is carried in, the exponential profile diffuses against it.
            entering = normal / -np.expm1(-normal * h / 2 / d)
            outflow += float(np.sum(np.where(normal >= 0, normal, entering) * cell)) * (
                math.prod(grid.spacing) / h
            )
    assert outflow == pytest.approx(1.0, rel=1e-9)


def test_upwind_and_exponential_are_monotone_and_central_is_not() -> None:
    """An M-matrix: off-diagonals <= 0 and columns that sum to zero or more."""
    for flux, is_monotone in (("upwind", True), ("exponential", True), ("central", False)):
        family = ConvectionDiffusion(peclet=500.0, flux=flux)
        grid = family.grid((8, 8))
        drawn = family.draw(grid, np.random.default_rng(0))
        matrix = family.systems(grid, {k: v[None] for k, v in drawn.items()}).matrix(0).toarray()
        outside = matrix - np.diag(np.diag(matrix))
        assert (outside.max() <= 0) == is_monotone
        if is_monotone:
            assert matrix.sum(axis=0).min() >= -1e-10 * np.abs(matrix).max()


def test_form_is_the_operator_without_wind() -> None:
    family = ConvectionDiffusion(wind="uniform", walls="dirichlet")
    grid = family.grid((5, 6))
    systems = family.systems(grid, {"wind": np.zeros((1, 2))})
    assert systems.form is not None
    u = torch.randn(1, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    laplacian = np.zeros((5, 6))
    for axis, h in enumerate(grid.spacing):
        padded = np.pad(u[0].numpy(), [(1, 1) if a == axis else (0, 0) for a in range(2)])
        ends = [slice(None), slice(None)]
        for end, cell in ((0, 1), (-1, -2)):  # odd reflection: zero on the wall
            ends[axis] = end
            padded[tuple(ends)] = -np.take(padded, cell, axis)
        laplacian += np.diff(padded, 2, axis=axis) / h**2
    wanted = -systems.form.a[0].numpy() * laplacian
    np.testing.assert_allclose(systems.operator(u)[0].numpy(), wanted, rtol=1e-12, atol=1e-12)


def test_draws_repeat_and_batches_equal_singles() -> None:
    for wind in ("random", "uniform"):
        family = ConvectionDiffusion(wind=wind, source="random")
        for shape in ((6, 5), (4, 5, 3)):
            grid = family.grid(shape)
            first, again = (
                [family.draw(grid, np.random.default_rng([7, i])) for i in range(3)]
                for _ in range(2)
            )
            names = [quantity.name for quantity in family.parameters]
            for a, b in zip(first, again, strict=True):
                assert list(a) == names
                assert all(np.array_equal(a[name], b[name]) for name in names)
            together = family.systems(grid, {n: np.stack([s[n] for s in first]) for n in names})
            for i, sample in enumerate(first):
                alone = family.systems(grid, {n: sample[n][None] for n in names})
                assert (together.matrix(i) != alone.matrix(0)).nnz == 0
                assert torch.equal(together.rhs[i], alone.rhs[0])


def test_refusals() -> None:
    with pytest.raises(ParameterError, match="positive peclet"):
        ConvectionDiffusion(peclet=0.0)
    with pytest.raises(ParameterError, match="wind 'random' or 'uniform'"):
        ConvectionDiffusion(wind="calm")
    with pytest.raises(ParameterError, match="two or three axes"):
        ConvectionDiffusion().grid((8,))
    grid = Grid((4, 4))
    with pytest.raises(ParameterError, match="flux 'upwind', 'central' or 'exponential'"):
        transport_operator(uniform_wind(torch.ones(1, 2), grid), 1.0, grid, flux="quick")
    with pytest.raises(ShapeError, match=r"psi \(n_samples, \*\(4, 4\)\)"):
        curl_wind(torch.zeros(1, 3, 4, 4), grid)
    with pytest.raises(ShapeError, match=r"velocities \(n_samples, 2\)"):
        uniform_wind(torch.zeros(1, 3), grid)
