"""Heat conduction: closed-form decay, orders in time and space, and the balance of energy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.linalg import expm
from scipy.sparse.linalg import spsolve

from operators import ParameterError
from operators.pde import Grid, Heat, HeatTransient
from operators.pde.family import Parameters


def march(family: HeatTransient, grid: Grid, parameters: Parameters) -> list[NDArray[np.float64]]:
    state = family.initial(grid, parameters)
    states = [state.numpy()]
    for step in range(family.n_steps):
        systems = family.systems(grid, parameters, state, step)
        rows = [
            spsolve(systems.matrix(i).tocsc(), b.numpy().ravel()) for i, b in enumerate(systems.rhs)
        ]
        state = torch.from_numpy(np.array(rows)).reshape(systems.rhs.shape)
        states.append(state.numpy())
    return states


def some_parameters(family: HeatTransient, grid: Grid, n: int = 2) -> dict[str, NDArray]:
    samples = [family.draw(grid, np.random.default_rng(i)) for i in range(n)]
    return {key: np.stack([one[key] for one in samples]) for key in samples[0]}


def exact_in_time(family: HeatTransient, grid: Grid, p: Parameters) -> NDArray[np.float64]:
    """The semi-discrete equation C T' = b - K T solved by the matrix exponential."""
    steady = Heat(walls=family.walls, drop=family.drop).systems(grid, p)
    found = []
    for i, start in enumerate(p["initial"]):
        rest = spsolve(steady.matrix(i).tocsc(), steady.rhs[i].numpy().ravel())
        decay = expm(-steady.matrix(i).toarray() * family.duration / family.capacity)
        found.append(rest + decay @ (start.ravel() - rest))
    return np.reshape(found, p["initial"].shape)


@pytest.mark.parametrize(("theta", "order"), [(1.0, 0.9), (0.5, 1.9)])
@pytest.mark.parametrize("walls", ["dirichlet", "mixed"])
def test_order_in_time(theta: float, order: float, walls: str) -> None:
    errors = []
    for n_steps in (40, 80):
        family = HeatTransient(
            theta=theta, n_steps=n_steps, walls=walls, duration=2e4, length_scale=0.5
        )
        grid = family.grid((5, 4))
        p = some_parameters(family, grid)
        errors.append(np.abs(march(family, grid, p)[-1] - exact_in_time(family, grid, p)).max())
    assert math.log2(errors[0] / errors[1]) >= order


@pytest.mark.parametrize("theta", [1.0, 0.75, 0.5])
def test_one_step_is_the_theta_scheme(theta: float) -> None:
    family = HeatTransient(theta=theta, walls="mixed", n_steps=3)
    grid = family.grid((3, 4))
    p = some_parameters(family, grid)
    before, after = march(family, grid, p)[:2]
    steady = Heat(walls="mixed", drop=family.drop).systems(grid, p)
    storage = family.capacity / (family.duration / family.n_steps)
    for i in range(2):
        K, b = steady.matrix(i).toarray(), steady.rhs[i].numpy().ravel()
        left = storage * np.eye(12) + theta * K
        right = (storage * np.eye(12) - (1 - theta) * K) @ before[i].ravel() + b
        np.testing.assert_allclose(after[i].ravel(), np.linalg.solve(left, right), rtol=1e-10)


def test_long_march_ends_in_the_steady_state() -> None:
    family = HeatTransient(duration=1e8, n_steps=5)
    grid = family.grid((6, 5))
    p = some_parameters(family, grid)
    steady = Heat().systems(grid, p)
    rest = spsolve(steady.matrix(1).tocsc(), steady.rhs[1].numpy().ravel())
    np.testing.assert_allclose(march(family, grid, p)[-1][1].ravel(), rest, rtol=1e-8)


@pytest.mark.parametrize("shapes", [[(8, 8), (16, 16)], [(6, 6, 6), (12, 12, 12)]])
def test_eigenfunction_decays_at_its_rate(shapes: list[tuple[int, ...]]) -> None:
    """T = exp(-d pi^2 k t / C) prod sin(pi x): second order, refining dt with h."""
    errors = []
    for shape in shapes:
        family = HeatTransient(theta=0.5, n_steps=shape[0], duration=5e4)
        grid = family.grid(shape)
        mode = np.prod([np.sin(np.pi * x) for x in grid.mesh()], axis=0)[None]
        p = {"conductivity": np.ones_like(mode), "source": 0 * mode, "initial": mode}
        rate = grid.ndim * np.pi**2 / family.capacity
        wanted = math.exp(-rate * family.duration) * mode
        errors.append(np.abs(march(family, grid, p)[-1] - wanted).max())
    assert math.log2(errors[0] / errors[1]) >= 1.9


def test_energy_is_balanced_in_every_step() -> None:
    """Stored heat grows by what the source gives less what crosses the walls (backward Euler)."""
    family = HeatTransient(n_steps=4)
    grid = family.grid((5, 7))
    p = some_parameters(family, grid)
    states = march(family, grid, p)
    dt, (h_y, h_x) = family.duration / 4, grid.spacing
    k = p["conductivity"]
    for before, after in itertools.pairwise(states):
        stored = family.capacity * (after - before).sum(axis=(1, 2)) * h_y * h_x
        through_y = (k * after)[:, [0, -1]].sum(axis=(1, 2)) / (h_y / 2) * h_x
        through_x = (k * after)[:, :, [0, -1]].sum(axis=(1, 2)) / (h_x / 2) * h_y
        given = p["source"].sum(axis=(1, 2)) * h_y * h_x
        np.testing.assert_allclose(stored, dt * (given - through_y - through_x), rtol=1e-9)


def test_backward_euler_keeps_temperatures_between_start_and_walls() -> None:
    family = HeatTransient(n_steps=6, duration=1e4)
    grid = family.grid((8, 8))
    p = some_parameters(family, grid)
    p["source"] = np.zeros_like(p["source"])
    for state in march(family, grid, p):
        assert state.min() >= min(0.0, p["initial"].min())
        assert state.max() <= max(0.0, p["initial"].max())


def test_form_is_the_operator() -> None:
    family = HeatTransient(theta=0.5)
    grid = family.grid((4, 5))
    p = some_parameters(family, grid)
    systems = family.systems(grid, p, family.initial(grid, p))
    form = systems.form
    assert form is not None
    uniform = {**p, "conductivity": np.full_like(p["conductivity"], 2.0)}
    plain = family.systems(grid, uniform, family.initial(grid, p))
    mode = np.prod([np.sin(np.pi * x) for x in grid.mesh()], axis=0)
    eigenvalue = sum(4 / h**2 * math.sin(math.pi * h / 2) ** 2 for h in grid.spacing)
    wanted = (plain.form.c + float(plain.form.a[0, 0, 0]) * eigenvalue) * mode
    np.testing.assert_allclose(plain.matrix(0) @ mode.ravel(), wanted.ravel(), rtol=1e-12)
    np.testing.assert_allclose(form.a.numpy(), 0.5 * p["conductivity"])


def test_media_have_their_medians() -> None:
    family = Heat(conductivity=4.0, heating=50.0, conductivity_log_std=0.3, heating_log_std=0.6)
    grid = family.grid((10, 10))
    rng = np.random.default_rng(0)
    draws = [family.draw(grid, rng) for _ in range(400)]
    for key, median, std in (("conductivity", 4.0, 0.3), ("source", 50.0, 0.6)):
        logs = np.log([one[key] for one in draws]) - math.log(median)
        assert abs(logs.mean()) < 0.1 * std
        assert np.mean(logs**2) == pytest.approx(std**2, rel=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Heat(conductivity=0.0), "heat expected a positive conductivity"),
        (lambda: Heat(length_scale=-1.0), "positive length_scale"),
        (lambda: Heat(walls="warm"), "got 'warm'"),
        (lambda: HeatTransient(theta=0.4), "theta from 1/2 to 1, got 0.4"),
        (lambda: HeatTransient(n_steps=0), "positive n_steps"),
        (lambda: HeatTransient(duration=math.inf), "positive duration"),
        (lambda: Heat().grid((3,)), "two or three axes"),
    ],
)
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()


def test_a_step_needs_the_state_before() -> None:
    family = HeatTransient()
    grid = family.grid((3, 3))
    with pytest.raises(ParameterError, match="temperatures before step 2"):
        family.systems(grid, some_parameters(family, grid), step=2)
