"""Every way to solve the systems of a family against SciPy's direct solver; the pilot's choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve

from inverse.errors import ConvergenceError
from inverse.pde.chain import solve_samples
from inverse.pde.drawing import draw
from inverse.pde.pilot import Trial, choose_solver, pilot
from inverse.pde.plan import Plan
from inverse.pde.solving import STRATEGIES, applicable
from inverse.pde.strategies import Answer
from operators.pde import FAMILIES, LinearSystems

SETTINGS: dict[str, dict[str, object]] = {"helmholtz": {"wave_number": 10.0, "contrast": 0.2}}
TOLERANCE = 1e-10
N = 3


def systems_of(family: str, shape: tuple[int, ...] = (12, 12)) -> list[LinearSystems]:
    """The first two steps of three samples, the second from the solution of the first."""
    plan = Plan(family, shape, N, "direct", SETTINGS.get(family, {}))
    parameters = draw(plan, range(N))
    state = plan.equation.initial(plan.grid, parameters)
    found = []
    for step in range(min(2, plan.equation.n_steps)):
        systems = plan.equation.systems(plan.grid, parameters, state, step)
        found.append(systems)
        state = torch.from_numpy(reference(systems))
    return found


def reference(systems: LinearSystems) -> np.ndarray:
    """The solutions by SciPy's general LU."""
    return np.stack(
        [
            spsolve(systems.matrix(i).tocsc(), b.numpy().ravel()).reshape(b.shape)
            for i, b in enumerate(systems.rhs)
        ]
    )


def solved_by(name: str, systems: LinearSystems, single: Sequence[LinearSystems]) -> Answer:
    """Solve as a chain does: all samples together, or one after another where a strategy learns."""
    strategy = STRATEGIES[name][0]()
    if not strategy.learns:
        return strategy.solve(systems, TOLERANCE)
    answers = [strategy.solve(one, TOLERANCE) for one in single]
    return Answer(
        torch.cat([answer.x for answer in answers]),
        np.concatenate([answer.iterations for answer in answers]),
        np.concatenate([answer.n_operator for answer in answers]),
    )


def singles(family: str, shape: tuple[int, ...]) -> list[list[LinearSystems]]:
    """The same systems, one sample each: [step][sample]."""
    plan = Plan(family, shape, N, "direct", SETTINGS.get(family, {}))
    found: list[list[LinearSystems]] = [[] for _ in range(min(2, plan.equation.n_steps))]
    for i in range(N):
        parameters = draw(plan, [i])
        state = plan.equation.initial(plan.grid, parameters)
        for step, of_step in enumerate(found):
            of_step.append(plan.equation.systems(plan.grid, parameters, state, step))
            state = torch.from_numpy(reference(of_step[-1]))
    return found


CASES = [(family, (12, 12)) for family in sorted(FAMILIES)] + [
    ("darcy", (6, 7, 8)),
    ("elasticity", (5, 6, 7)),
    ("darcy", (11, 16)),
]


@pytest.mark.parametrize(("family", "shape"), CASES)
def test_every_strategy_that_applies_finds_the_solution(
    family: str, shape: tuple[int, ...]
) -> None:
    for systems, single in zip(systems_of(family, shape), singles(family, shape), strict=True):
        wanted = reference(systems)
        names = applicable(systems)
        assert "direct" in names
        for name in names:
            answer = solved_by(name, systems, single)
            assert answer.x.dtype == systems.rhs.dtype
            assert answer.iterations.shape == answer.n_operator.shape == (N,)
            for i, (x, b) in enumerate(zip(answer.x.numpy(), systems.rhs.numpy(), strict=True)):
                A = systems.matrix(i)
                left = np.linalg.norm(b.ravel() - A @ x.ravel()) / np.linalg.norm(b)
                assert left <= 1.001 * TOLERANCE, (name, i, left)
                error = np.linalg.norm(x - wanted[i]) / np.linalg.norm(wanted[i])
                assert error <= 1e-6, (name, i, error)


def test_strategies_apply_where_they_can() -> None:
    darcy, waves = systems_of("darcy")[0], systems_of("helmholtz")[0]
    poisson, drift = systems_of("poisson")[0], systems_of("convection-diffusion")[0]
    assert set(applicable(darcy)) >= {"direct", "spectral", "multigrid", "jacobi", "lagged-lu"}
    assert "one-lu" not in applicable(darcy)
    assert "one-lu" in applicable(poisson)
    assert not {"spectral", "multigrid", "jacobi", "one-lu"} & set(applicable(waves))
    assert "multigrid" not in applicable(drift)


def test_lagged_lu_factorises_less_often_than_it_solves(monkeypatch: pytest.MonkeyPatch) -> None:
    from solvers.preconditioners import Factorised

    made = []
    original = Factorised._factorise

    def counted(factors: Factorised, A: object) -> None:
        made.append(1)
        original(factors, A)

    monkeypatch.setattr(Factorised, "_factorise", counted)
    plan = Plan("helmholtz", (16, 16), 6, "lagged-lu", {"wave_number": 8.0, "contrast": 0.05})
    assert solve_samples(plan, range(6)).records["converged"].all()
    assert len(made) == 1


def test_direct_solves_a_right_hand_side_of_zero() -> None:
    systems = systems_of("darcy")[0]
    systems.rhs[1] = 0.0
    for name in ("direct", "jacobi", "spectral", "multigrid"):
        x = STRATEGIES[name][0]().solve(systems, TOLERANCE).x
        assert not x[1].any()
        assert x[0].any()


def test_pilot_puts_the_fastest_that_converged_first() -> None:
    plan = Plan("darcy", (24, 24), 20, "direct")
    seen: list[int] = []

    def note(stage: str, done: int, total: int) -> None:
        assert stage == "choosing a solver"
        seen.append(total - done)

    trials = pilot(plan, progress=note)
    can = applicable(systems_of("darcy")[0])
    assert {trial.solver for trial in trials} == set(can)
    good = [trial.milliseconds for trial in trials if trial.converged]
    assert good == sorted(good)
    assert seen == list(range(len(can) - 1, -1, -1))
    assert choose_solver(trials) == trials[0].solver


@pytest.mark.parametrize("trials", [[], [Trial("jacobi", 1.0, 2000.0, False, 16)]])
def test_choice_without_a_solver_says_so(trials: list[Trial]) -> None:
    with pytest.raises(ConvergenceError, match="no solver reached the tolerance"):
        choose_solver(trials)


def test_pilot_does_not_choose_a_solver_that_needed_help(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lazy:
        learns = False

        def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
            del tolerance
            none = np.zeros(len(systems.rhs), dtype=np.int64)
            return Answer(torch.zeros_like(systems.rhs), none, none)

    monkeypatch.setitem(STRATEGIES, "lazy", (Lazy, STRATEGIES["direct"][1]))
    trials = pilot(Plan("darcy", (12, 12), 8, "direct"))
    assert [trial.converged for trial in trials if trial.solver == "lazy"] == [False]
    assert choose_solver(trials) != "lazy"
