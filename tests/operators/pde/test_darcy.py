"""Darcy flow: the published stencil and media written out, and the limit they share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from operators import ParameterError, ShapeError
from operators.pde import Darcy, DarcyFNO, DarcyPDEBench, DarcyTwoPhase, Grid, Poisson
from operators.pde.darcy_fno import node_operator

FLOWS = [Darcy, DarcyTwoPhase, DarcyPDEBench]


def solve(family: Darcy | DarcyFNO, grid: Grid, a: NDArray[np.float64]) -> NDArray[np.float64]:
    systems = family.systems(grid, {"conductivity": a[None]})
    u = spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
    return systems.on_grid(torch.from_numpy(u).reshape(systems.rhs.shape))[0].numpy()


def arithmetic_means(coef: NDArray[np.float64]) -> NDArray[np.float64]:
    """The five-point matrix of the published solver, node by node, its order of columns apart.

    Diagonal: the four half sums of neighbouring node values; off-diagonal: minus each; all times
    (K - 1)^2 with K nodes along a side.
    """
    K = len(coef)
    inner = [(i, j) for i in range(1, K - 1) for j in range(1, K - 1)]
    number = {node: n for n, node in enumerate(inner)}
    A = np.zeros((len(inner), len(inner)))
    for i, j in inner:
        row = number[i, j]
        A[row, row] = (
            (coef[i - 1, j] + coef[i, j]) / 2
            + (coef[i + 1, j] + coef[i, j]) / 2
            + (coef[i, j - 1] + coef[i, j]) / 2
            + (coef[i, j + 1] + coef[i, j]) / 2
        )
        for other in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
            if other in number:
                A[row, number[other]] = -(coef[i, j] + coef[other]) / 2
    return A * (K - 1) ** 2


def test_fno_stencil_is_the_published_one() -> None:
    family = DarcyFNO()
    grid = family.grid((7, 7))
    a = family.draw(grid, np.random.default_rng(3))["conductivity"]
    systems = family.systems(grid, {"conductivity": a[None]})
    np.testing.assert_allclose(systems.matrix(0).toarray(), arithmetic_means(a), rtol=1e-14)
    assert torch.equal(systems.rhs, torch.ones(1, 5, 5, dtype=torch.float64))
    u = solve(family, grid, a)
    wanted = np.linalg.solve(arithmetic_means(a), np.ones(25)).reshape(5, 5)
    np.testing.assert_allclose(u[1:-1, 1:-1], wanted, rtol=1e-12)
    assert not u[[0, -1]].any()
    assert not u[:, [0, -1]].any()


def test_fno_field_is_the_published_spectrum() -> None:
    """Thresholding hides the amplitude: the sign must be that of the cosine series."""
    family = DarcyFNO()
    grid = family.grid((9, 9))
    xi = np.random.default_rng(8).standard_normal((9, 9))
    x = np.linspace(0, 1, 9)
    g = np.zeros((9, 9))
    for k, m in np.ndindex(9, 9):
        if k or m:
            amplitude = 3.0 * (np.pi**2 * (k**2 + m**2) + 9) ** -1
            scale = math.sqrt((1 + (k > 0)) * (1 + (m > 0)))
            g += (
                xi[k, m]
                * amplitude
                * scale
                * np.outer(np.cos(np.pi * k * x), np.cos(np.pi * m * x))
            )
    found = family.draw(grid, np.random.default_rng(8))["conductivity"]
    np.testing.assert_array_equal(found, np.where(g >= 0, 12.0, 3.0))


@pytest.mark.parametrize("shapes", [[(9, 13), (17, 25), (33, 49)], [(7, 5, 7), (13, 9, 13)]])
def test_node_stencil_converges_with_second_order(shapes: list[tuple[int, ...]]) -> None:
    """a = exp(s), u = prod sin(pi x_d), s linear: f = -a (lap u + grad s . grad u)."""
    errors = []
    for shape in shapes:
        grid = Grid(shape, centring="nodes")
        x = grid.mesh()
        a = np.exp(sum((d + 1) * x_d for d, x_d in enumerate(x)) / grid.ndim)
        u = np.prod([np.sin(np.pi * x_d) for x_d in x], axis=0)
        f = grid.ndim * np.pi**2 * u
        for d in range(grid.ndim):
            factors = [np.sin(np.pi * x_e) for x_e in x]
            factors[d] = np.pi * np.cos(np.pi * x[d])
            f = f - (d + 1) / grid.ndim * np.prod(factors, axis=0)
        inner = tuple(slice(1, -1) for _ in shape)
        matrix = node_operator(torch.from_numpy(a)[None], grid).matrix(0)
        found = spsolve(matrix.tocsc(), (a * f)[inner].ravel())
        errors.append(float(np.sqrt(np.mean((found - u[inner].ravel()) ** 2))))
    assert math.log2(errors[-2] / errors[-1]) >= 1.9


def test_arithmetic_and_harmonic_means_share_the_limit() -> None:
    """Two materials split at x = 1/2; refining brings both schemes together, harmonic being first.

    The truth is a solution on 256 x 256 cells, on which the jump lies between cells.
    """

    def two(grid: Grid) -> NDArray[np.float64]:
        return np.where(grid.mesh()[1] < 0.5, 3.0, 12.0)

    fine = DarcyTwoPhase().grid((256, 256))
    truth = solve(DarcyTwoPhase(), fine, two(fine))
    gaps, errors = [], []
    for n in (16, 32, 64):
        nodes, cells = DarcyFNO().grid((n + 1, n + 1)), DarcyTwoPhase().grid((n, n))
        u = solve(DarcyFNO(), nodes, two(nodes))
        v = solve(DarcyTwoPhase(), cells, two(cells))
        at_cells = (u[:-1, :-1] + u[1:, :-1] + u[:-1, 1:] + u[1:, 1:]) / 4
        side = 256 // n
        coarse = truth.reshape(n, side, n, side).mean(axis=(1, 3))
        gaps.append(np.abs(at_cells - v).max())
        errors.append((np.abs(at_cells - coarse).max(), np.abs(v - coarse).max()))
    assert gaps[1] < 0.6 * gaps[0]
    assert gaps[2] < 0.6 * gaps[1]
    assert all(harmonic < arithmetic for arithmetic, harmonic in errors)


@pytest.mark.parametrize("family_type", FLOWS)
@pytest.mark.parametrize("shape", [(8, 10), (5, 4, 6)])
def test_mixed_walls_drive_flow_along_x(family_type: type[Darcy], shape: tuple) -> None:
    """Without a source the head lies within the drop, falls along x on average, and what enters
    leaves."""
    family = family_type(walls="mixed", drop=2.0)
    grid = family.grid(shape)
    a = family.draw(grid, np.random.default_rng(2))["conductivity"]
    u = solve(family, grid, a)
    assert u.min() > 0
    assert u.max() < 2.0
    assert (np.diff(u.mean(axis=tuple(range(grid.ndim - 1)))) < 0).all()
    entering, leaving = (a[..., 0] * (2.0 - u[..., 0])).sum(), (a[..., -1] * u[..., -1]).sum()
    assert entering == pytest.approx(leaving, rel=1e-10)


def test_uniform_medium_between_mixed_walls_is_linear() -> None:
    family = Darcy(walls="mixed", drop=3.0)
    grid = family.grid((4, 5))
    u = solve(family, grid, np.full((4, 5), 7.0))
    np.testing.assert_allclose(u, np.tile(3.0 * (1 - grid.points(1)), (4, 1)), rtol=1e-12)


@pytest.mark.parametrize("family_type", FLOWS)
def test_all_that_is_put_in_flows_out(family_type: type[Darcy]) -> None:
    family = family_type(source=2.5)
    grid = family.grid((9, 6))
    a = family.draw(grid, np.random.default_rng(2))["conductivity"]
    u = solve(family, grid, a)
    h_y, h_x = grid.spacing
    out = (a * u)[[0, -1]].sum() / (h_y / 2) * h_x + (a * u)[:, [0, -1]].sum() / (h_x / 2) * h_y
    assert out == pytest.approx(2.5, rel=1e-10)
    assert u.min() > 0


def test_log_normal_medium_has_its_median_and_spread() -> None:
    family = Darcy(median=5.0, log_std=0.7)
    grid = family.grid((16, 16))
    rng = np.random.default_rng(0)
    logs = np.log([family.draw(grid, rng)["conductivity"] for _ in range(400)])
    # Each draw's logarithm has the mean log 5 exactly, the constant mode being left out.
    np.testing.assert_allclose(logs.mean(axis=(1, 2)), math.log(5.0), atol=1e-12)
    assert np.mean((logs - math.log(5.0)) ** 2) == pytest.approx(0.49, rel=0.15)


def test_two_phase_medium_is_the_sign_of_the_log_normal_one() -> None:
    grid = Darcy().grid((16, 16))
    smooth = Darcy().draw(grid, np.random.default_rng(4))["conductivity"]
    sharp = DarcyTwoPhase().draw(grid, np.random.default_rng(4))["conductivity"]
    np.testing.assert_array_equal(sharp, np.where(smooth >= 1, 12.0, 3.0))


def test_pdebench_medium_is_the_sum_of_bumps() -> None:
    family = DarcyPDEBench(high=2.0, low=0.5, n_bumps=3)
    grid = family.grid((8, 12))
    found = family.draw(grid, np.random.default_rng(6))["conductivity"]
    rng = np.random.default_rng(6)
    centres = [(rng.uniform(), rng.uniform()) for _ in range(3)]
    widths = [0.5 * (1 - rng.uniform()) for _ in range(3)]
    bumps = np.zeros((8, 12))
    for i, j in np.ndindex(8, 12):
        y, x = (i + 0.5) / 8, (j + 0.5) / 12
        for (c_y, c_x), width in zip(centres, widths, strict=True):
            bumps[i, j] += math.exp(-((y - c_y) ** 2 + (x - c_x) ** 2) / width)
    np.testing.assert_array_equal(found, np.where(bumps > bumps.mean(), 2.0, 0.5))


@pytest.mark.parametrize("walls", ["dirichlet", "mixed"])
@pytest.mark.parametrize("shape", [(6, 7), (4, 5, 3)])
def test_poisson_is_darcy_through_a_uniform_medium(walls: str, shape: tuple[int, ...]) -> None:
    family = Poisson(walls=walls, drop=2.0)
    grid = family.grid(shape)
    f = np.stack([family.draw(grid, np.random.default_rng(i))["source"] for i in range(2)])
    systems = family.systems(grid, {"source": f})
    medium = {"conductivity": np.ones((1, *shape))}
    still = Darcy(walls=walls, source=0.0, drop=2.0).systems(grid, medium)
    assert systems.is_constant
    for i in range(2):
        assert (systems.matrix(i) != still.matrix(0)).nnz == 0
        torch.testing.assert_close(systems.rhs[i], torch.from_numpy(f[i]) + still.rhs[0])
    assert systems.operator.coefficients.stride(0) == 0


def test_poisson_solutions_converge_with_second_order() -> None:
    errors = []
    for n in (12, 24):
        grid = Poisson().grid((n, n))
        y, x = grid.mesh()
        u = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
        systems = Poisson().systems(grid, {"source": 5 * np.pi**2 * u[None]})
        found = spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
        errors.append(float(np.abs(found - u.ravel()).max()))
    assert math.log2(errors[0] / errors[1]) >= 1.9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Darcy(walls="open"), "walls 'dirichlet' or 'mixed', got 'open'"),
        (lambda: Darcy(median=0.0), "darcy expected a positive median, got 0"),
        (lambda: Darcy(log_std=-1.0), "positive std"),
        (lambda: Darcy(alpha=math.nan), "positive alpha and tau"),
        (lambda: Darcy(source=math.inf), "finite source"),
        (lambda: Darcy(drop=0.0), "positive drop"),
        (lambda: DarcyTwoPhase(low=0.0), "darcy-two-phase expected a positive low"),
        (lambda: DarcyPDEBench(n_bumps=0), "one bump or more, got 0"),
        (lambda: DarcyFNO(high=-1.0), "darcy-fno expected a positive high"),
        (lambda: DarcyFNO(source=math.nan), "finite source"),
        (lambda: Poisson(source_std=0.0), "positive source_std"),
        (lambda: Darcy().grid((8,)), "two or three axes"),
        (lambda: DarcyFNO().grid((8,)), "two or three axes"),
        (lambda: node_operator(torch.ones(1, 4, 4), Grid((4, 4))), "three or more nodes"),
        (
            lambda: node_operator(-torch.ones(1, 4, 4), Grid((4, 4), centring="nodes")),
            "positive finite",
        ),
    ],
)
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


def test_refuses_a_medium_of_another_grid() -> None:
    with pytest.raises(ShapeError, match=r"a grid of shape \(4, 4\)"):
        Darcy().systems(Grid((4, 4)), {"conductivity": np.ones((1, 4, 5))})
