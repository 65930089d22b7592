"""Marches of reacting species: closed forms, orders in space and time, dense assembly, budgets."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import integrate, sparse
from scipy.sparse import linalg

from operators.errors import ParameterError, ShapeError
from operators.linear import Tag
from operators.pde.family import Family
from operators.pde.fisher_kpp import FisherKpp
from operators.pde.grid import Grid
from operators.pde.implicit_diffusion import species_operator
from operators.pde.reaction_diffusion import FitzHughNagumo, GrayScott
from operators.pde.reaction_kinetics import (
    fisher_rate,
    fitzhugh_nagumo_rates,
    gray_scott_rates,
)

Array = NDArray[np.float64]
March: TypeAlias = type[FisherKpp] | type[GrayScott] | type[FitzHughNagumo]
FAMILIES: tuple[March, ...] = (FisherKpp, GrayScott, FitzHughNagumo)


def marched(family: Family, grid: Grid, parameters: dict[str, Array]) -> Array:
    """Every state of a march by direct solves, (n_steps + 1, n_samples, *unknown)."""
    state = family.initial(grid, parameters)
    assert state is not None
    states, factors = [state.numpy()], []
    for step in range(family.n_steps):
        systems = family.systems(grid, parameters, state, step)
        if not factors or not systems.is_constant:
            factors = [
                linalg.splu(systems.matrix(i).tocsc(), "MMD_AT_PLUS_A")
                for i in range(1 if systems.is_constant else len(state))
            ]
        u = [factors[i % len(factors)].solve(b.numpy().ravel()) for i, b in enumerate(systems.rhs)]
        state = torch.from_numpy(np.stack(u)).reshape(systems.rhs.shape)
        residual = systems.operator(state) - systems.rhs
        assert float(residual.norm() / systems.rhs.norm()) < 1e-10
        states.append(state.numpy())
    return np.stack(states)


def test_fisher_wave_in_one_dimension() -> None:
    """u = (1 + exp((x - 5 t / sqrt 6) / sqrt 6))^-2 (Ablowitz and Zeppetella 1979), D = r = 1."""

    def wave(x: Array, t: float) -> Array:
        return np.asarray((1 + np.exp((x - 5 * t / 6**0.5) / 6**0.5)) ** -2)

    def error(n: int) -> float:
        n_steps = n**2 // 2000
        family = FisherKpp(
            diffusivity=1.0, growth=1.0, length=60.0, n_steps=n_steps, time_step=3.0 / n_steps
        )
        grid = family.grid((n,))
        x = grid.points(0) - 25
        drawn = {"diffusivity": np.ones((1, n)), "initial": wave(x, 0.0)[None]}
        u = marched(family, grid, drawn)[-1, 0]
        inside = np.abs(x) < 15  # the ends of the line are not those of the wave
        return float(np.abs(u - wave(x, 3.0))[inside].max())

    errors = [error(n) for n in (150, 300, 600)]
    assert math.log2(errors[1] / errors[2]) >= 1.9
    assert errors[-1] < 5e-3


@pytest.mark.parametrize(("ndim", "ends"), [(2, "neumann"), (2, "periodic"), (3, "periodic")])
def test_a_cosine_decays_at_second_order(ndim: int, ends: str) -> None:
    """Gray-Scott with v = 0: u - 1 decays by diffusion and by the feed, dt falling as h^2."""
    d, feed, end = 0.02, 0.3, 0.5
    k = math.pi if ends == "neumann" else 2 * math.pi

    def error(n: int) -> float:
        n_steps = n**2 // 2
        family = GrayScott(
            feed=feed, diffusivities=(d, 1.0), time_step=end / n_steps, n_steps=n_steps, ends=ends
        )
        grid = family.grid((n,) * ndim)
        profile = np.prod([np.cos(k * x) for x in grid.mesh()], axis=0)
        start = np.stack((1 + 0.5 * profile, np.zeros(grid.shape)))[None]
        u, v = marched(family, grid, {"initial": start})[-1, 0]
        left = 0.5 * math.exp(-(feed + d * ndim * k**2) * end)
        assert not v.any()
        return float(np.linalg.norm(u - 1 - left * profile) / np.linalg.norm(left * profile))

    coarse, fine = (error(n) for n in (8, 16))
    assert math.log2(coarse / fine) >= 1.9


@pytest.mark.parametrize("family_type", FAMILIES)
def test_uniform_states_follow_the_ordinary_differential_equation(family_type: March) -> None:
    """Nothing diffuses; forward Euler is of first order."""
    start = {FisherKpp: [0.2], GrayScott: [0.6, 0.3], FitzHughNagumo: [0.8, -0.5]}[family_type]
    r, f, k, c = 1.0, 0.04, 0.06, 5e-3
    rates = {
        FisherKpp: lambda _, y: [r * y[0] * (1 - y[0])],
        GrayScott: lambda _, y: [
            f * (1 - y[0]) - y[0] * y[1] ** 2,
            y[0] * y[1] ** 2 - (f + k) * y[1],
        ],
        FitzHughNagumo: lambda _, y: [y[0] - y[0] ** 3 - c - y[1], y[0] - y[1]],
    }[family_type]
    truth = integrate.solve_ivp(rates, (0, 2.0), start, rtol=1e-10, atol=1e-12).y[:, -1]

    def error(n_steps: int) -> float:
        family = family_type(n_steps=n_steps, time_step=2.0 / n_steps)
        grid = family.grid((3, 4))
        state = np.broadcast_to(np.reshape(start, (-1, 1, 1)), (len(start), 3, 4))
        state = state[0] if len(start) == 1 else state
        parameters = {"initial": state[None], "diffusivity": np.full((1, 3, 4), 0.5)}
        end = marched(family, grid, parameters)[-1, 0].reshape(len(start), -1)
        assert np.abs(end - end[:, :1]).max() < 1e-12
        return float(np.abs(end[:, 0] - truth).max())

    errors = [error(n) for n in (40, 80, 160)]
    assert math.log2(errors[1] / errors[2]) == pytest.approx(1.0, abs=0.05)


def dense(a: Array, h: tuple[float, ...], ends: str) -> Array:
    """I - div(a grad) face by face, with the harmonic mean of a."""
    number = np.arange(a.size).reshape(a.shape)
    matrix = np.eye(a.size)
    for cell in np.ndindex(a.shape):
        for axis, n in enumerate(a.shape):
            if cell[axis] == n - 1 and ends == "neumann":
                continue
            other = tuple((i + (d == axis)) % n if d == axis else i for d, i in enumerate(cell))
            t = 2 * a[cell] * a[other] / (a[cell] + a[other]) / h[axis] ** 2
            i, j = number[cell], number[other]
            matrix[i, i] += t
            matrix[j, j] += t
            matrix[i, j] -= t
            matrix[j, i] -= t
    return matrix


@pytest.mark.parametrize("ends", ["neumann", "periodic"])
@pytest.mark.parametrize("family_type", FAMILIES)
def test_systems_equal_a_face_by_face_assembly(family_type: March, ends: str) -> None:
    family = family_type(ends=ends)
    grid = family.grid((4, 5))
    drawn = [family.draw(grid, np.random.default_rng(i)) for i in range(2)]
    parameters = {name: np.stack([s[name] for s in drawn]) for name in drawn[0]}
    systems = family.systems(grid, parameters)
    assert Tag.POSITIVE_SEMIDEFINITE in systems.operator.tags
    for i, sample in enumerate(drawn):
        if family_type is FisherKpp:
            fields = [sample["diffusivity"]]
        else:
            fields = [np.full(grid.shape, d) for d in family.diffusivities]
        blocks = [dense(family.time_step * d, grid.spacing, ends) for d in fields]
        wanted = sparse.block_diag(blocks).toarray()
        found = systems.matrix(i).toarray()
        assert np.abs(found - wanted).max() <= 1e-12 * np.abs(wanted).max()
        assert np.array_equal(found, found.T)
        assert np.linalg.eigvalsh(found)[0] > 1 - 1e-9


@pytest.mark.parametrize("family_type", FAMILIES)
@pytest.mark.parametrize("shape", [(8, 10), (5, 4, 6)])
def test_a_step_makes_what_the_reaction_makes(family_type: March, shape: tuple[int, ...]) -> None:
    """Closed walls keep everything: sum u^{n+1} - sum u^n = dt sum R(u^n), species by species."""
    family = family_type(n_steps=4)
    grid = family.grid(shape)
    drawn = family.draw(grid, np.random.default_rng(9))
    parameters = {name: value[None] for name, value in drawn.items()}
    states = marched(family, grid, parameters)
    space = tuple(range(-len(shape), 0))
    for before, after in pairwise(states):
        u = torch.from_numpy(before)
        rate = {
            FisherKpp: lambda u: fisher_rate(u, 1.0),
            GrayScott: lambda u: gray_scott_rates(u, 0.04, 0.06),
            FitzHughNagumo: lambda u: fitzhugh_nagumo_rates(u, 5e-3),
        }[family_type](u).numpy()
        made = family.time_step * rate.sum(axis=space)
        np.testing.assert_allclose((after - before).sum(axis=space), made, rtol=1e-8, atol=1e-9)
    if family_type is not FitzHughNagumo:
        assert states.min() >= 0  # fractions
        assert states.max() <= 1


def test_gray_scott_seeds_are_round_and_wrap() -> None:
    family = GrayScott(n_seeds=1, seed_radius=0.1)
    grid = family.grid((40, 40))
    u, v = family.draw(grid, np.random.default_rng(0))["initial"]
    np.testing.assert_allclose(u, 1 - 2 * v)
    place = np.random.default_rng(0).random((1, 2))[0]
    # The integral of a bell of height 1/4 over the plane, which the joined ends keep whole.
    assert v.mean() == pytest.approx(0.25 * 2 * math.pi * 0.1**2, rel=1e-3)
    peak = np.unravel_index(v.argmax(), v.shape)
    assert np.abs((np.array(peak) + 0.5) / 40 - place).max() <= 0.5 / 40 + 1e-12
    assert v.max() == pytest.approx(0.25, rel=0.02)


def test_fisher_medium_and_patches() -> None:
    family = FisherKpp(diffusivity=2.0, log_deviation=0.3)
    grid = family.grid((16, 16))
    drawn = [family.draw(grid, np.random.default_rng(i)) for i in range(100)]
    exponent = np.log(np.stack([s["diffusivity"] for s in drawn]) / 2.0)
    assert np.sqrt(np.mean(exponent**2)) == pytest.approx(0.3, rel=0.1)
    settled = np.stack([s["initial"] for s in drawn])
    assert settled.min() > 0
    assert settled.max() < 1
    assert 0.1 < settled.mean() < 0.3


@pytest.mark.parametrize("family_type", FAMILIES)
def test_draws_repeat_and_batches_equal_singles(family_type: March) -> None:
    family = family_type(n_steps=2)
    names = [quantity.name for quantity in family.parameters]
    grid = family.grid((6, 5))
    first, again = (
        [family.draw(grid, np.random.default_rng([2, i])) for i in range(3)] for _ in range(2)
    )
    for a, b in zip(first, again, strict=True):
        assert list(a) == names
        assert all(np.array_equal(a[name], b[name]) for name in names)
    together = marched(family, grid, {n: np.stack([s[n] for s in first]) for n in names})
    for i, sample in enumerate(first):
        alone = marched(family, grid, {n: sample[n][None] for n in names})
        assert np.array_equal(together[:, i], alone[:, 0])


def test_species_share_one_matrix_in_memory() -> None:
    boundary = ("neumann", "neumann")
    operator = species_operator(Grid((4, 5)), (0.1, 0.2), boundary, n_samples=7)
    assert operator.n_samples == 7
    assert operator.coefficients.stride(0) == 0
    family = GrayScott()
    grid = family.grid((4, 5))
    start = family.draw(grid, np.random.default_rng(0))["initial"]
    assert family.systems(grid, {"initial": np.stack([start, start])}).is_constant


def test_fisher_form_is_the_operator() -> None:
    family = FisherKpp()
    grid = family.grid((4, 5))
    drawn = family.draw(grid, np.random.default_rng(0))
    form = family.systems(grid, {n: v[None] for n, v in drawn.items()}).form
    assert form is not None
    assert form.boundary == ("neumann", "neumann")
    assert form.c == 1.0
    np.testing.assert_allclose(form.a[0].numpy(), family.time_step * drawn["diffusivity"])


def test_refusals() -> None:
    with pytest.raises(ParameterError, match="positive feed, got -1"):
        GrayScott(feed=-1.0)
    with pytest.raises(ParameterError, match="positive n_steps, got 0"):
        FisherKpp(n_steps=0)
    with pytest.raises(ParameterError, match="ends 'neumann' or 'periodic'"):
        FitzHughNagumo(ends="dirichlet")
    with pytest.raises(ParameterError, match="two positive diffusivities"):
        GrayScott(diffusivities=(1.0, 0.0))
    family = FitzHughNagumo()
    grid = family.grid((4, 5))
    start = family.draw(grid, np.random.default_rng(0))["initial"][None]
    with pytest.raises(ParameterError, match="the state after step 2"):
        family.systems(grid, {"initial": start}, None, 3)
    with pytest.raises(ShapeError, match=r"\(n_samples, \*\(2, 4, 5\)\)"):
        family.initial(grid, {"initial": start[:, :1]})
