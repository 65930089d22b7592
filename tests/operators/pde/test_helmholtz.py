"""Waves: Hankel's function, orders of accuracy, dense assembly, symmetry, indefiniteness."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse, special

from operators.errors import ParameterError
from operators.linear import Tag
from operators.pde.family import LinearSystems
from operators.pde.grid import Grid
from operators.pde.helmholtz import Helmholtz
from operators.pde.helmholtz_operator import absorbing_stretch, helmholtz_operator
from operators.pde.sources import gaussian_source, point_source

Complex = NDArray[np.complex128]


def solved(systems: LinearSystems, grid: Grid) -> Complex:
    u = sparse.linalg.spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
    residual = systems.operator(torch.from_numpy(u).reshape(1, *grid.shape)) - systems.rhs
    assert float(residual.norm() / systems.rhs.norm()) < 1e-10
    return np.asarray(u).reshape(grid.shape)


def error_in_the_plane(walls: str, n: int) -> float:
    """Relative difference to i/4 H_0^(1)(k r) between the source and the absorbing layer."""
    family = Helmholtz(wave_number=25.0, contrast=0.0, walls=walls)
    grid = family.grid((n, n))
    k = family.draw(grid, np.random.default_rng(0))["wave_number"]
    u = solved(family.systems(grid, {"wave_number": k[None]}), grid)
    y, x = grid.mesh()
    r = np.hypot(y - 0.5, x - 0.5)
    truth = 0.25j * special.hankel1(0, 25.0 * r)
    inside = np.maximum(np.abs(y - 0.5), np.abs(x - 0.5)) < 0.5 - 0.9 * 2 * math.pi / 25.0
    here = inside & (r > 0.1)
    return float(np.linalg.norm((u - truth)[here]) / np.linalg.norm(truth[here]))


def test_layers_give_the_wave_of_a_point_source_in_the_open_plane() -> None:
    coarse, fine = (error_in_the_plane("layer", n) for n in (64, 128))
    assert fine < 0.0075  # 32 points a wavelength
    assert math.log2(coarse / fine) >= 1.9


def test_sommerfeld_walls_reflect_a_few_per_cent() -> None:
    assert 0.005 < error_in_the_plane("sommerfeld", 128) < 0.04


def test_layers_give_the_wave_of_a_blurred_source_in_open_space() -> None:
    """Away from it, a Gaussian source acts as a point of strength exp(-k^2 s^2 / 2)."""
    k, width = 14.0, 0.04

    def error(n: int) -> float:
        family = Helmholtz(k, 0.0, walls="layer", layer=0.5, source="gaussian", source_width=width)
        grid = family.grid((n, n, n))
        u = solved(family.systems(grid, {"wave_number": np.full((1, *grid.shape), k)}), grid)
        offset = np.stack(grid.mesh()) - 0.5
        r = np.sqrt(np.sum(offset**2, axis=0))
        truth = math.exp(-0.5 * (k * width) ** 2) * np.exp(1j * k * r) / (4 * math.pi * r)
        here = (r > 4 * width) & (np.abs(offset).max(axis=0) < 0.5 - 0.5 * 2 * math.pi / k)
        return float(np.linalg.norm((u - truth)[here]) / np.linalg.norm(truth[here]))

    coarse, fine = error(16), error(24)
    assert fine < 0.06
    assert math.log(coarse / fine) / math.log(24 / 16) > 1.5  # the layer is a few cells thick


def test_radiating_walls_are_exact_and_second_order_in_one_dimension() -> None:
    """u = i exp(i k |x - x_s|) / (2 k) leaves both ends of a line without a reflection."""
    k, x_s = 30.0, 0.4

    def error(n: int) -> float:
        grid = Grid((n,))
        operator, _ = helmholtz_operator(torch.full((1, n), k, dtype=torch.float64), grid)
        source = point_source(np.array([[x_s]]), grid)[0].astype(complex)
        u = sparse.linalg.spsolve(operator.matrix(0).tocsc(), source)
        truth = 0.5j / k * np.exp(1j * k * np.abs(grid.points(0) - x_s))
        return float(np.linalg.norm(u - truth) / np.linalg.norm(truth))

    errors = [error(n) for n in (200, 400, 800)]
    assert math.log2(errors[1] / errors[2]) >= 1.9
    assert errors[-1] < 2e-3


@pytest.mark.parametrize(("ndim", "sizes"), [(2, (24, 48, 96)), (3, (8, 12, 18))])
def test_manufactured_solution_in_a_varying_medium(ndim: int, sizes: tuple[int, ...]) -> None:
    """u = prod sin^2(pi x) (1 + i x) has neither value nor slope on the walls."""

    def error(n: int) -> float:
        grid = Grid((n,) * ndim)
        mesh = grid.mesh()
        k = 8 + 3 * np.sin(2 * mesh[0]) * np.cos(3 * mesh[-1])
        values, second = [], []
        for x in mesh:
            s, c = np.sin(math.pi * x), np.cos(math.pi * x)
            values.append(s**2 * (1 + 1j * x))
            second.append(2 * math.pi**2 * (c**2 - s**2) * (1 + 1j * x) + 4j * math.pi * s * c)
        u = np.prod(values, axis=0)
        f = -(k**2) * u
        for axis in range(ndim):
            f = f - second[axis] * np.prod(values[:axis] + values[axis + 1 :], axis=0)
        operator, weight = helmholtz_operator(torch.from_numpy(k)[None], grid)
        found = sparse.linalg.spsolve(operator.matrix(0).tocsc(), (weight.numpy() * f).ravel())
        return float(np.linalg.norm(found - u.ravel()) / np.linalg.norm(u))

    errors = [error(n) for n in sizes]
    assert math.log(errors[1] / errors[2]) / math.log(sizes[2] / sizes[1]) >= 1.9


def dense(k: NDArray[np.float64], h: tuple[float, float], layer: float, k_0: float) -> Complex:
    """Point by point, from the equations; layer 0 stands for Sommerfeld walls."""
    n_y, n_x = k.shape
    lengths = (n_y * h[0], n_x * h[1])

    def stretch(x: float, length: float) -> complex:
        depth = max(0.0, layer - x, x - length + layer)
        if depth == 0:
            return 1.0
        return 1 + 1j / k_0 * 3 * math.log(1e4) / (2 * layer) * (depth / layer) ** 2

    matrix = np.zeros((k.size, k.size), dtype=complex)
    for i, j in np.ndindex(n_y, n_x):
        row, place = i * n_x + j, ((i + 0.5) * h[0], (j + 0.5) * h[1])
        s_y, s_x = stretch(place[0], lengths[0]), stretch(place[1], lengths[1])
        matrix[row, row] -= s_y * s_x * k[i, j] ** 2
        for axis, (di, dj) in enumerate(((1, 0), (0, 1))):
            across = s_x if axis == 0 else s_y
            for side in (-1, 1):
                m, n = i + side * di, j + side * dj
                face = place[axis] + side * h[axis] / 2
                t = across / stretch(face, lengths[axis]) / h[axis] ** 2
                if 0 <= m < n_y and 0 <= n < n_x:
                    matrix[row, row] += t
                    matrix[row, m * n_x + n] -= t
                elif layer:
                    matrix[row, row] += 2 * t
                else:
                    ratio = (2 + 1j * k[i, j] * h[axis]) / (2 - 1j * k[i, j] * h[axis])
                    matrix[row, row] += t * (1 - ratio)
    return matrix


@pytest.mark.parametrize("walls", ["sommerfeld", "layer"])
def test_matrix_equals_a_point_by_point_assembly_and_is_complex_symmetric(walls: str) -> None:
    grid = Grid((7, 9), (1.0, 1.5))
    k = 5 + np.random.default_rng(1).random((2, 7, 9))
    layer = 0.25 if walls == "layer" else 0.0
    operator, _ = helmholtz_operator(
        torch.from_numpy(k), grid, walls=walls, layer=layer, reference=5.0
    )
    assert Tag.SELF_ADJOINT not in operator.tags
    for i in range(2):
        found = operator.matrix(i).toarray()
        wanted = dense(k[i], grid.spacing, layer, 5.0)
        assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()
        assert np.array_equal(found, found.T)
        assert np.abs(found - found.conj().T).max() > 1.0


@pytest.mark.parametrize("walls", ["sommerfeld", "layer"])
def test_is_indefinite_beyond_the_first_resonance_and_loses_energy(walls: str) -> None:
    family = Helmholtz(wave_number=12.0, walls=walls, layer=0.4)
    grid = family.grid((15, 15))
    drawn = family.draw(grid, np.random.default_rng(0))
    matrix = family.systems(grid, {n: v[None] for n, v in drawn.items()}).matrix(0).toarray()
    real = np.linalg.eigvalsh((matrix + matrix.conj().T) / 2)
    assert real[0] < -10.0
    assert real[-1] > 10.0
    if walls == "sommerfeld":
        # Im <u, A u> <= 0: power only leaves through the walls.
        imaginary = np.linalg.eigvalsh((matrix - matrix.conj().T) / 2j)
        assert imaginary[-1] <= 1e-9
        assert imaginary[0] < -1.0


def test_power_of_the_source_leaves_through_the_walls() -> None:
    """Im <u, f> is the flux k |u_wall|^2 through Sommerfeld walls, u_wall the mean across them."""
    family = Helmholtz(wave_number=20.0, contrast=0.3)
    grid = family.grid((32, 40))
    drawn = family.draw(grid, np.random.default_rng(2))
    systems = family.systems(grid, {n: v[None] for n, v in drawn.items()})
    u, k = solved(systems, grid), drawn["wave_number"]
    area = math.prod(grid.spacing)
    made = float(np.imag(np.vdot(systems.rhs[0].numpy(), u))) * area
    lost = 0.0
    for axis, h in enumerate(grid.spacing):
        for end in (0, -1):
            k_end, u_end = np.take(k, end, axis), np.take(u, end, axis)
            u_wall = u_end / (1 - 0.5j * k_end * h)
            lost += float(np.sum(k_end * np.abs(u_wall) ** 2)) * area / h
    assert made == pytest.approx(lost, rel=1e-9)


def test_sources_have_unit_strength_and_sit_where_they_should() -> None:
    grid = Grid((20, 30), (1.0, 1.2))
    where = np.array([[0.31, 0.62], [0.5, 0.5]])
    area = math.prod(grid.spacing)
    for source in (point_source(where, grid), gaussian_source(where, 0.07, grid)):
        np.testing.assert_allclose(source.sum(axis=(1, 2)) * area, 1.0, rtol=2e-4)
        for axis, x in enumerate(grid.mesh()):
            centre = (source * x).sum(axis=(1, 2)) * area
            np.testing.assert_allclose(centre, where[:, axis], rtol=5e-4)
    assert np.count_nonzero(point_source(where, grid), axis=(1, 2)).max() <= 4


def test_stretch_is_one_inside_and_damps_by_the_root_of_the_reflection() -> None:
    x = torch.linspace(0, 1, 100001, dtype=torch.float64)
    stretch = absorbing_stretch(x, 1.0, 0.2, 30.0)
    assert bool((stretch[(x >= 0.2) & (x <= 0.8)] == 1).all())
    lost = float(stretch.imag[x <= 0.2].sum()) * 1e-5 * 30.0
    assert math.exp(-2 * lost) == pytest.approx(1e-4, rel=1e-2)


def test_medium_stays_between_its_bounds_and_three_parameters_make_modes() -> None:
    for medium in ("random", "modes"):
        family = Helmholtz(wave_number=20.0, contrast=0.5, medium=medium, position="random")
        for shape in ((24, 26), (24, 25, 26)):
            grid = family.grid(shape)
            drawn = [family.draw(grid, np.random.default_rng(i)) for i in range(6)]
            k = np.stack([sample["wave_number"] for sample in drawn])
            assert k.shape == (6, *shape)
            assert k.min() > 20 * math.sqrt(0.5)
            assert k.max() < 20 * math.sqrt(1.5)
            z = np.arctanh(((k / 20) ** 2 - 1) / 0.5).reshape(6, -1)
            rank = np.linalg.matrix_rank(z, tol=1e-6 * np.linalg.norm(z))
            assert rank == (3 if medium == "modes" else 6)
            for sample in drawn:
                assert np.all(np.abs(sample["source_position"] - 0.5) <= 0.25)


def test_draws_repeat_and_batches_equal_singles() -> None:
    for settings in ({}, {"position": "random", "walls": "layer", "medium": "modes"}):
        family = Helmholtz(wave_number=15.0, layer=0.5, **settings)
        grid = family.grid((18, 20))
        names = [quantity.name for quantity in family.parameters]
        first, again = (
            [family.draw(grid, np.random.default_rng([3, i])) for i in range(3)] for _ in range(2)
        )
        for a, b in zip(first, again, strict=True):
            assert list(a) == names
            assert all(np.array_equal(a[name], b[name]) for name in names)
        together = family.systems(grid, {n: np.stack([s[n] for s in first]) for n in names})
        assert not together.is_constant
        for i, sample in enumerate(first):
            alone = family.systems(grid, {n: sample[n][None] for n in names})
            assert (together.matrix(i) != alone.matrix(0)).nnz == 0
            assert torch.equal(together.rhs[i], alone.rhs[0])


def test_uniform_medium_is_one_matrix() -> None:
    family = Helmholtz(wave_number=15.0, contrast=0.0, position="random")
    grid = family.grid((16, 16))
    drawn = [family.draw(grid, np.random.default_rng(i)) for i in range(2)]
    systems = family.systems(grid, {n: np.stack([s[n] for s in drawn]) for n in drawn[0]})
    assert systems.is_constant
    assert (systems.matrix(0) != systems.matrix(1)).nnz == 0


def test_refusals() -> None:
    with pytest.raises(ParameterError, match=r"has 4\.2 points, fewer than 6, .* Take about 91 "):
        Helmholtz(wave_number=80.0, contrast=0.4).grid((64, 64))
    family = Helmholtz(wave_number=25.0, contrast=0.0)
    with pytest.raises(ParameterError, match="fewer than 6"):
        family.systems(Grid((32, 32)), {"wave_number": np.full((1, 32, 32), 60.0)})
    with pytest.raises(ParameterError, match="two or three axes"):
        family.grid((100,))
    with pytest.raises(ParameterError, match="0 <= contrast < 1"):
        Helmholtz(contrast=1.0)
    with pytest.raises(ParameterError, match="walls 'sommerfeld' or 'layer'"):
        Helmholtz(walls="hard")
    thick = Helmholtz(wave_number=6.0, walls="layer", layer=1.0)
    with pytest.raises(ParameterError, match="up to a quarter of the box"):
        thick.systems(Grid((32, 32)), {"wave_number": np.full((1, 32, 32), 6.0)})
    with pytest.raises(ParameterError, match="walls 'sommerfeld' or 'layer'"):
        helmholtz_operator(torch.ones(1, 4, 4), Grid((4, 4)), walls="hard")
