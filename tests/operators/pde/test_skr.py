"""The published problems of sorted Krylov recycling, rebuilt from their own recipe."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import spsolve

from operators import ParameterError, Tag
from operators.pde import SKRDarcy, SKRHelmholtz, SKRPoisson, SKRThermal
from operators.pde.triangles import Mesh, lattice_mesh


def published(coef: NDArray[np.float64], k: float = 0.0) -> sparse.csr_array:
    """Five diagonals by offset, the first value of each in its first row that fits.

    The one above the diagonal block is taken from two points too early, which leaves it two values
    too long: the last are dropped.
    """
    s = coef.shape[0] - 2
    h = 1.0 / (s - 1)
    left, right = coef[1:-1, :-2].copy(), coef[1:-1, 2:].copy()
    left[:, 0] = 0
    right[:, -1] = 0
    n = s * s
    diagonals = [
        -left.ravel()[1:],
        -coef[:-2, 1:-1].ravel()[s - 2 :][: n - s],
        4 * coef[1:-1, 1:-1].ravel() - h**2 * k**2,
        -coef[2:, 1:-1].ravel()[: n - s],
        -right.ravel()[:-1],
    ]
    return sparse.diags_array(diagonals, offsets=[-1, -s, 0, s, 1], shape=(n, n)).tocsr()


@pytest.mark.parametrize("family", [SKRDarcy(), SKRHelmholtz()])
def test_matrix_is_the_published_one(family: SKRDarcy | SKRHelmholtz) -> None:
    grid = family.grid((12, 12))
    drawn = family.draw(grid, np.random.default_rng(1))
    systems = family.systems(grid, {key: array[None] for key, array in drawn.items()})
    wanted = published(drawn["coefficient"], float(drawn.get("wave_number", 0.0)))
    assert abs(systems.matrix(0) - wanted).max() < 1e-13
    np.testing.assert_allclose(systems.rhs[0].numpy(), (1 / 9) ** 2)
    assert Tag.SELF_ADJOINT not in systems.operator.tags


def test_without_the_shift_it_is_the_laplacian_of_the_product() -> None:
    family = SKRDarcy(index_shift=False)
    grid = family.grid((9, 9))
    a = family.draw(grid, np.random.default_rng(1))["coefficient"]
    line = sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(7, 7))
    laplacian = sparse.kron(line, np.eye(7)) + sparse.kron(np.eye(7), line)
    wanted = laplacian @ sparse.diags_array(a[1:-1, 1:-1].ravel())
    systems = family.systems(grid, {"coefficient": a[None]})
    assert abs(systems.matrix(0) - wanted).max() < 1e-13
    u = spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
    flow = spsolve(laplacian.tocsc(), systems.rhs[0].numpy().ravel())
    np.testing.assert_allclose(u * a[1:-1, 1:-1].ravel(), flow, rtol=1e-11)


def test_the_shift_changes_the_matrix_by_about_a_per_cent() -> None:
    grid = SKRDarcy().grid((52, 52))
    a = SKRDarcy().draw(grid, np.random.default_rng(0))["coefficient"][None]
    shifted, plain = (
        SKRDarcy(index_shift=shift).systems(grid, {"coefficient": a}).matrix(0)
        for shift in (True, False)
    )
    change = sparse.linalg.norm(shifted - plain) / sparse.linalg.norm(plain)
    assert 0.003 < change < 0.03


def test_helmholtz_hardly_differs_from_darcy() -> None:
    family = SKRHelmholtz(index_shift=False)
    grid = family.grid((22, 22))
    drawn = {key: x[None] for key, x in family.draw(grid, np.random.default_rng(0)).items()}
    waves = family.systems(grid, drawn).matrix(0)
    still = family.systems(grid, {**drawn, "wave_number": np.zeros(1)}).matrix(0)
    assert abs(waves - still).max() <= (1 / 19) ** 2
    assert np.linalg.eigvals(waves.toarray()).real.min() > 0  # no waves


def test_medium_is_the_exponential_of_a_periodic_field() -> None:
    """log a = Re sum sqrt(2) 7^1.5 (4 pi^2 |k|^2 + 49)^-1.25 xi_k exp(2 pi i k x), E|xi|^2 = 1."""
    grid = SKRDarcy().grid((16, 16))
    rng = np.random.default_rng(3)
    logs = np.log([SKRDarcy().draw(grid, rng)["coefficient"] for _ in range(3000)])
    k = np.fft.fftfreq(16, 1 / 16)
    power = 7.0**3 * (4 * np.pi**2 * (k[:, None] ** 2 + k[None, :] ** 2) + 49) ** -2.5
    power[0, 0] = 0
    np.testing.assert_allclose(logs.mean(axis=(1, 2)), 0, atol=1e-12)
    found = np.mean(np.abs(np.fft.fft2(logs)) ** 2, axis=0) / 16**4
    low = (np.abs(k)[:, None] <= 2) & (np.abs(k)[None, :] <= 2) & (power > 0)
    np.testing.assert_allclose(found[low], power[low], rtol=0.15)


def order(errors: list[float]) -> float:
    return math.log2(errors[-2] / errors[-1])


def test_mesh_covers_the_rectangle_with_triangles_the_same_way_round() -> None:
    mesh = lattice_mesh((9, 7), (2.0, 1.0), 0.249)
    p, q, r = np.moveaxis(mesh.points[mesh.triangles], 1, 0)
    cross = (q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0]
    assert len(np.unique(np.sign(cross))) == 1
    assert mesh.areas().sum() == pytest.approx(2.0)
    assert mesh.areas().max() > 1.5 * mesh.areas().min()


def test_hole_is_left_out_and_its_sides_are_straight() -> None:
    hole = np.zeros((6, 8), bool)
    hole[2:4, 3:5] = True
    mesh = lattice_mesh((7, 9), (0.6, 0.8), hole=hole)
    assert mesh.areas().sum() == pytest.approx(0.48 - 0.04)
    assert len(mesh.points) == 63 - 1
    assert len(np.unique(mesh.triangles)) == len(mesh.points)
    round_hole = np.abs(mesh.points - (0.3, 0.4)).max(axis=1) < 0.1001
    assert round_hole.sum() >= 8


def test_stiffness_is_exact_for_linear_functions_and_mass_for_their_products() -> None:
    mesh = lattice_mesh((8, 6), (1.0, 2.0))
    y, x = mesh.points.T
    K, M = mesh.stiffness(), mesh.mass()
    u = 2 * x - 3 * y + 1
    assert u @ (K @ u) == pytest.approx((4 + 9) * 2.0, rel=1e-12)
    inside = (y > 0) & (y < 1) & (x > 0) & (x < 2)
    assert np.abs((K @ u)[inside]).max() < 1e-12
    assert x @ (M @ y) == pytest.approx(1.0 / 2 * 4.0 / 2, rel=1e-12)
    assert np.ones_like(x) @ (M @ (x * 1.0)) == pytest.approx(2.0, rel=1e-12)


def test_undistorted_stiffness_is_the_five_point_laplacian() -> None:
    mesh = lattice_mesh((5, 5), (1.0, 1.0), 0.0)
    inner = np.flatnonzero(np.all((mesh.points > 0) & (mesh.points < 1), axis=1))
    line = 2 * np.eye(3) - np.eye(3, k=1) - np.eye(3, k=-1)
    wanted = np.kron(line, np.eye(3)) + np.kron(np.eye(3), line)
    found = mesh.stiffness()[inner][:, inner].toarray()
    np.testing.assert_allclose(found, wanted, atol=1e-14)


def test_poisson_converges_with_second_order() -> None:
    """f = -6 x = -laplacian x^3, walls x^3: in Chebyshev series of degree 5 exactly."""
    power = np.polynomial.chebyshev.poly2cheb
    cube, zero, one = power([0, 0, 0, 1]), np.zeros(4), np.array([1.0, 0, 0, 0])
    f = np.pad(power([0, -6]), (0, 2))
    chebyshev = np.pad(np.stack([f, cube, one, cube, zero]), ((0, 0), (0, 2)))
    errors = []
    for n in (15, 29, 50):  # 1 / 49 * 49 is not 1 in floating point
        family = SKRPoisson()
        grid = family.grid((n, n + 2))
        mesh, free = family.mesh(grid)
        assert len(free) == (n - 2) * n
        systems = family.systems(grid, {"chebyshev": chebyshev[None]})
        u = spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy())
        errors.append(float(np.sqrt(np.mean((u - mesh.points[free, 1] ** 3) ** 2))))
    assert math.log(errors[-2] / errors[-1]) / math.log(49 / 28) >= 1.8
    assert errors[-1] < 1e-4


def test_poisson_draws_uniform_coefficients() -> None:
    draws = SKRPoisson(degree=3).draw(SKRPoisson().grid((5, 5)), np.random.default_rng(0))
    assert draws["chebyshev"].shape == (5, 4)
    assert np.abs(draws["chebyshev"]).max() < 1


def thermal(n: int, sides: tuple[float, float]) -> tuple[Mesh, NDArray, NDArray, float]:
    family = SKRThermal()
    grid = family.grid((n, n))
    mesh, free = family.mesh(grid)
    systems = family.systems(grid, {"sides": np.array([sides])})
    full = np.full(len(mesh.points), sides[0])
    full[free] = spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy())
    return mesh, full, mesh.points[:, 1] == 0, 1.6


def test_heat_flows_round_the_slot() -> None:
    """What leaves on the right enters on the left; a slot only hinders."""
    mesh, full, left, height = thermal(41, (50.0, -20.0))
    entering = float((mesh.stiffness() @ full)[left].sum())
    assert entering == pytest.approx(20.0 * height, rel=1e-9)
    assert full.max() == pytest.approx(50.0)
    right = np.isclose(mesh.points[:, 1], 1.0)
    drop = 50.0 - full[right].mean()
    assert drop > 20.0 * 1.0  # of the block without a slot
    assert drop < 20.0 * 1.5


def test_thermal_solutions_are_combinations_of_two() -> None:
    _, warm, _, _ = thermal(21, (10.0, -4.0))
    _, one, _, _ = thermal(21, (1.0, 0.0))
    _, other, _, _ = thermal(21, (0.0, 1.0))
    np.testing.assert_allclose(one, 1.0, rtol=1e-10)
    np.testing.assert_allclose(warm, 10 * one - 4 * other, rtol=1e-9)


def test_thermal_slot_has_its_size() -> None:
    grid = SKRThermal().grid((81, 51))
    mesh, _ = SKRThermal().mesh(grid)
    assert mesh.areas().sum() == pytest.approx(1.6 - 0.8 * 0.1, abs=0.02)
    drawn = SKRThermal().draw(grid, np.random.default_rng(0))["sides"]
    assert 0 < drawn[0] < 100
    assert -100 < drawn[1] < 0


@pytest.mark.parametrize("family", [SKRPoisson(), SKRThermal()])
def test_one_matrix_serves_all(family: SKRPoisson | SKRThermal) -> None:
    grid = family.grid((17, 17))
    samples = [family.draw(grid, np.random.default_rng(i)) for i in range(3)]
    parameters = {key: np.stack([one[key] for one in samples]) for key in samples[0]}
    systems = family.systems(grid, parameters)
    assert systems.is_constant
    assert Tag.POSITIVE_SEMIDEFINITE in systems.operator.tags
    assert systems.rhs.shape == (3, *systems.operator.domain.shape)
    assert not torch.equal(systems.rhs[0], systems.rhs[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SKRDarcy().grid((3, 9)), "two axes of 4 points or more"),
        (lambda: SKRHelmholtz().grid((5, 5, 5)), "two axes of 4 points or more"),
        (lambda: SKRPoisson().grid((9,)), "two axes of 3 points or more"),
        (lambda: SKRPoisson(degree=-1), "a degree >= 0, got -1"),
        (lambda: SKRThermal().grid((9, 7)), "small enough for one to lie in the slot"),
        (lambda: lattice_mesh((4, 4), (1.0, 1.0), 0.25), "distortion from 0 to below 1/4"),
    ],
)
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()
