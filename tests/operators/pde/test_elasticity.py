"""Elastic bodies: orders, a textbook assembly, rigid motions, exact bars, balance of forces."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse

from operators.errors import ParameterError, ShapeError
from operators.linear import Tag
from operators.pde.elasticity import Elasticity, nodal_volumes, wall_nodes
from operators.pde.elasticity_operator import elasticity_operator
from operators.pde.family import LinearSystems
from operators.pde.grid import Grid

Array = NDArray[np.float64]


def solved(systems: LinearSystems) -> Array:
    u = sparse.linalg.spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
    found = torch.from_numpy(u).reshape(systems.rhs.shape)
    residual = systems.operator(found) - systems.rhs
    assert float(residual.norm() / systems.rhs.norm()) < 1e-10
    return np.asarray(found[0].numpy())


def derivative(function: Callable[[Array], Array], x: Array, axis: int) -> Array:
    """Sixth-order central difference of a function of x, (ndim, *grid)."""
    step = 2e-3
    shift = np.zeros((len(x), *(1,) * (x.ndim - 1)))
    shift[axis] = step
    pairs = ((45, 1), (-9, 2), (1, 3))
    total = sum(w * (function(x + m * shift) - function(x - m * shift)) for w, m in pairs)
    return np.asarray(total / (60 * step))


def body_force(
    displacement: Callable[[Array], Array], modulus: Callable[[Array], Array], nu: float, x: Array
) -> Array:
    """-div sigma(u) from Hooke's law, differentiated numerically."""
    ndim = len(x)

    def stress(at: Array) -> Array:
        gradient = np.stack([derivative(displacement, at, b) for b in range(ndim)], axis=1)
        strain = (gradient + gradient.swapaxes(0, 1)) / 2
        trace = np.einsum("ii...", strain)
        young = modulus(at)
        mu, lame = young / (2 * (1 + nu)), young * nu / ((1 + nu) * (1 - 2 * nu))
        identity = np.eye(ndim).reshape(ndim, ndim, *(1,) * (at.ndim - 1))
        return np.asarray(2 * mu * strain + lame * trace * identity)

    return -np.asarray(sum(derivative(lambda at, b=b: stress(at)[:, b], x, b) for b in range(ndim)))


@pytest.mark.parametrize(("ndim", "sizes"), [(2, (9, 17, 33)), (3, (5, 7, 13))])
def test_manufactured_solution_with_a_varying_modulus(ndim: int, sizes: tuple[int, ...]) -> None:
    walls = tuple(f"{axis}{end}" for axis in "zyx"[3 - ndim :] for end in "-+")
    family = Elasticity(poisson_ratio=0.25, clamped=walls, traction=(), load="random")

    def displacement(x: Array) -> Array:
        bump = np.prod(np.sin(math.pi * x), axis=0)
        return np.stack([bump * np.cos(x[a - 1] + a) for a in range(ndim)])

    def modulus(x: Array) -> Array:
        return np.asarray(2 + np.sin(3 * x[0]) * np.cos(2 * x[-1]))

    def error(n: int) -> float:
        grid = family.grid((n,) * ndim)
        x = np.stack(grid.mesh())
        force = body_force(displacement, modulus, family.poisson_ratio, x)
        u = solved(
            family.systems(grid, {"young_modulus": modulus(x)[None], "body_force": force[None]})
        )
        return float(np.linalg.norm(u - displacement(x)) / np.linalg.norm(displacement(x)))

    errors = [error(n) for n in sizes]
    assert math.log(errors[1] / errors[2]) / math.log((sizes[2] - 1) / (sizes[1] - 1)) >= 1.9


def textbook(young: Array, h: tuple[float, ...], nu: float, held: NDArray[np.bool_]) -> Array:
    """Dense K = sum over boxes of int B^T D B in Voigt's notation, held rows and columns cut."""
    ndim, shape = young.ndim, young.shape
    pairs = [(a, a) for a in range(ndim)] + list(itertools.combinations(range(ndim), 2))
    hooke = np.zeros((len(pairs), len(pairs)))
    hooke[:ndim, :ndim] = nu
    hooke[range(ndim), range(ndim)] = 1 - nu
    hooke[range(ndim, len(pairs)), range(ndim, len(pairs))] = (1 - 2 * nu) / 2
    hooke /= (1 + nu) * (1 - 2 * nu)
    number = np.arange(ndim * young.size).reshape(ndim, *shape)
    corners = list(itertools.product((0, 1), repeat=ndim))
    points, weights = np.polynomial.legendre.leggauss(3)  # more points than needed change nothing
    matrix = np.zeros((number.size, number.size))
    for box in np.ndindex(*(n - 1 for n in shape)):
        nodes = [tuple(np.add(box, corner)) for corner in corners]
        mean = np.mean([young[node] for node in nodes])
        unknowns = [number[(a, *node)] for node in nodes for a in range(ndim)]
        for gauss in itertools.product(range(3), repeat=ndim):
            t = [(points[g] + 1) / 2 for g in gauss]
            weight = math.prod(weights[g] / 2 * side for g, side in zip(gauss, h, strict=True))
            strain = np.zeros((len(pairs), len(unknowns)))
            for i, corner in enumerate(corners):
                slope = [
                    math.prod(
                        ((1 if corner[b] else -1) / h[b])
                        if b == a
                        else (t[b] if corner[b] else 1 - t[b])
                        for b in range(ndim)
                    )
                    for a in range(ndim)
                ]
                for row, (a, b) in enumerate(pairs):
                    strain[row, ndim * i + a] += slope[b]
                    if a != b:
                        strain[row, ndim * i + b] += slope[a]
            matrix[np.ix_(unknowns, unknowns)] += mean * weight * strain.T @ hooke @ strain
    cut = np.broadcast_to(held, (ndim, *shape)).ravel()
    diagonal = np.diag(np.diag(matrix))
    matrix[cut] = matrix[:, cut] = 0
    matrix[cut] += diagonal[cut]
    return matrix


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 3)])
def test_matrix_equals_the_textbook_assembly_and_is_positive_definite(
    shape: tuple[int, ...],
) -> None:
    grid = Grid(shape, (1.0, 0.7, 0.9)[: len(shape)], "nodes")
    young = np.exp(np.random.default_rng(0).standard_normal((2, *shape)))
    held = wall_nodes(grid, "x-")
    operator = elasticity_operator(torch.from_numpy(young), grid, 0.3, held)
    assert {Tag.SELF_ADJOINT, Tag.POSITIVE_SEMIDEFINITE} <= operator.tags
    for i in range(2):
        wanted = textbook(young[i], grid.spacing, 0.3, held.numpy())
        found = operator.matrix(i).toarray()
        assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()
        assert np.abs(found - found.T).max() <= 1e-15 * np.abs(found).max()
        assert np.linalg.eigvalsh(found)[0] > 1e-4


@pytest.mark.parametrize(("shape", "n_rigid"), [((4, 3), 3), ((3, 2, 3), 6)])
def test_a_free_body_resists_all_but_rigid_motions(shape: tuple[int, ...], n_rigid: int) -> None:
    grid = Grid(shape, centring="nodes")
    nothing = torch.zeros(shape, dtype=torch.bool)
    young = torch.ones(1, *shape, dtype=torch.float64)
    values = np.linalg.eigvalsh(elasticity_operator(young, grid, 0.2, nothing).matrix(0).toarray())
    assert np.abs(values[:n_rigid]).max() < 1e-13 * values[-1]
    assert values[n_rigid] > 1e-3 * values[-1]


def test_uniform_strain_needs_forces_at_the_surface_only() -> None:
    grid = Grid((5, 6, 4), (1.0, 2.0, 0.5), "nodes")
    x = np.stack(grid.mesh())
    u = np.tensordot(np.random.default_rng(1).standard_normal((3, 3)), x, 1)
    operator = elasticity_operator(
        torch.full((1, 5, 6, 4), 3.0, dtype=torch.float64),
        grid,
        0.4,
        torch.zeros(5, 6, 4, dtype=torch.bool),
    )
    force = operator(torch.from_numpy(u)[None])[0].numpy()
    assert np.abs(force[:, 1:-1, 1:-1, 1:-1]).max() < 1e-13 * np.abs(force).max()


@pytest.mark.parametrize("shape", [(5, 9), (3, 4, 6)])
def test_a_bar_without_lateral_contraction_is_exact(shape: tuple[int, ...]) -> None:
    """nu = 0: u_x = (t x + f (L x - x^2 / 2)) / E at the nodes, whatever the grid."""
    t, f, young = 2e6, 3e6, 5e8
    family = Elasticity(poisson_ratio=0.0, traction=(t,), body_force=(f,), modulus=young)
    grid = family.grid(shape)
    u = solved(family.systems(grid, {"young_modulus": np.full((1, *shape), young)}))
    x = grid.mesh()[-1]
    np.testing.assert_allclose(u[-1], (t * x + f * (x - x**2 / 2)) / young, rtol=1e-9, atol=1e-15)
    assert np.abs(u[:-1]).max() < 1e-10 * np.abs(u[-1]).max()


@pytest.mark.parametrize("shape", [(8, 9), (4, 5, 6)])
def test_the_clamp_holds_what_is_pulled(shape: tuple[int, ...]) -> None:
    family = Elasticity(traction=(1e6, 2e6), body_force=(0.0, -7e6), load="constant")
    grid = family.grid(shape)
    drawn = family.draw(grid, np.random.default_rng(4))
    systems = family.systems(grid, {name: value[None] for name, value in drawn.items()})
    u = solved(systems)
    nothing = torch.zeros(shape, dtype=torch.bool)
    young = torch.from_numpy(drawn["young_modulus"])[None]
    force = elasticity_operator(young, grid, 0.3, nothing)(torch.from_numpy(u)[None])[0].numpy()
    held = wall_nodes(grid, "x-").numpy()
    assert not u[:, held].any()
    # The unit body: force per volume times one, traction times one; the clamped nodes' own share
    # of the body force goes straight into the clamp.
    share = float(nodal_volumes(grid)[wall_nodes(grid, "x-")].sum())
    wanted = np.zeros(len(shape))
    wanted[-2:] = 1e6, 2e6 - 7e6 * (1 - share)
    np.testing.assert_allclose(-force[:, held].sum(axis=1), wanted, rtol=1e-8, atol=1e-2)
    # Clapeyron: the load does twice the work that is stored.
    assert np.sum(u * systems.rhs[0].numpy()) == pytest.approx(np.sum(u * force), rel=1e-9)


def test_gaussian_modulus_and_units() -> None:
    family = Elasticity(modulus=2e9, log_deviation=0.4, load="random", load_deviation=5.0)
    grid = family.grid((12, 10))
    drawn = [family.draw(grid, np.random.default_rng(i)) for i in range(200)]
    exponent = np.log(np.stack([sample["young_modulus"] for sample in drawn]) / 2e9)
    assert np.sqrt(np.mean(exponent**2)) == pytest.approx(0.4, rel=0.1)
    force = np.stack([sample["body_force"] for sample in drawn])
    assert force.shape == (200, 2, 12, 10)
    assert np.sqrt(np.mean(force**2)) == pytest.approx(5.0, rel=0.1)
    assert [quantity.unit for quantity in family.parameters] == ["Pa", "N/m^3"]


def test_draws_repeat_and_batches_equal_singles() -> None:
    family = Elasticity(load="random")
    names = [quantity.name for quantity in family.parameters]
    for shape in ((5, 6), (3, 4, 5)):
        grid = family.grid(shape)
        first, again = (
            [family.draw(grid, np.random.default_rng([5, i])) for i in range(3)] for _ in range(2)
        )
        for a, b in zip(first, again, strict=True):
            assert list(a) == names
            assert all(np.array_equal(a[name], b[name]) for name in names)
        together = family.systems(grid, {n: np.stack([s[n] for s in first]) for n in names})
        for i, sample in enumerate(first):
            alone = family.systems(grid, {n: sample[n][None] for n in names})
            assert (together.matrix(i) != alone.matrix(0)).nnz == 0
            assert torch.equal(together.rhs[i], alone.rhs[0])


def test_refusals() -> None:
    grid = Grid((4, 4), centring="nodes")
    nothing, young = torch.zeros(4, 4, dtype=torch.bool), torch.ones(1, 4, 4)
    with pytest.raises(ParameterError, match=r"between -1 and 0\.5, got 0\.5"):
        elasticity_operator(young, grid, 0.5, nothing)
    with pytest.raises(ParameterError, match=r"between -1 and 0\.5, got -1"):
        Elasticity(poisson_ratio=-1.0)
    with pytest.raises(ParameterError, match="a grid of nodes in two or three dimensions"):
        elasticity_operator(young, Grid((4, 4)), 0.3, nothing)
    with pytest.raises(ShapeError, match="expected Young's modulus"):
        elasticity_operator(torch.ones(1, 3, 4), grid, 0.3, nothing)
    with pytest.raises(ParameterError, match=r"has the walls y-, y\+, x-, x\+, got 'z-'"):
        wall_nodes(grid, "z-")
    with pytest.raises(ParameterError, match="got ''"):
        Elasticity(pulled="").systems(grid, {"young_modulus": np.ones((1, 4, 4))})
    with pytest.raises(ParameterError, match="at least one clamped wall"):
        Elasticity(clamped=())
    with pytest.raises(ParameterError, match="two or three axes"):
        Elasticity().grid((8,))
    with pytest.raises(ParameterError, match="up to 2 components"):
        family = Elasticity(traction=(1.0, 0.0, 0.0))
        family.systems(grid, {"young_modulus": np.ones((1, 4, 4))})
