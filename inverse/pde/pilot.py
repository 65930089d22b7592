"""Choose the solver of a family by solving a few of its samples with each that can."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from inverse.errors import ConvergenceError
from inverse.pde.chain import one_thread, solve_samples
from inverse.pde.chains import order_of
from inverse.pde.drawing import draw
from inverse.pde.plan import Plan
from inverse.pde.solving import STRATEGIES, applicable

__all__ = ["Trial", "choose_solver", "pilot"]

_N_PILOT = 16
_N_SORTED = 256
_HOPELESS = 8.0
"""A strategy whose first sample takes so many times the best one's is not tried further; solving
many samples together gains less than that."""


_CLOSE, _RUN_OFFS = 4.0, 2
"""Strategies within this factor of the best are timed so many times more."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What the pilot saw of one strategy.

    Parameters
    ----------
    solver : str
    milliseconds : float
        Processor time a sample, drawing and assembly included.
    iterations : float
        Mean a sample.
    converged : bool
        Whether it solved every sample by itself.
    n_samples : int
        How many it was given.
    """

    solver: str
    milliseconds: float
    iterations: float
    converged: bool
    n_samples: int


def pilot(plan: Plan, *, progress: Callable[[str, int, int], None] | None = None) -> list[Trial]:
    """Time every strategy that can solve the plan's systems on its first samples.

    Strategies that gain from similar samples get neighbours of a sorted chain, others the first.

    Parameters
    ----------
    plan : Plan
        Its `solver` is not looked at.
    progress : function, optional
        Called as progress("choosing a solver", done, all).

    Returns
    -------
    list of Trial
        Fastest first, those that failed last.
    """
    orders = {name: _some_samples(plan, name) for name in _candidates(plan)}
    firsts = {}
    for name, (few, order) in orders.items():
        _timed(few, order[:1])  # loads and compiles what the strategy needs
        firsts[name] = _timed(few, order[:1])
    best = min((t.milliseconds for t in firsts.values() if t.converged), default=np.inf)
    trials: list[Trial] = []
    for name, first in firsts.items():
        few, order = orders[name]
        is_tried = len(order) > 1 and first.milliseconds <= _HOPELESS * best
        trials.append(_timed(few, order) if is_tried else first)
        if progress is not None:
            progress("choosing a solver", len(trials), len(firsts))
    trials = _run_off(trials, orders)
    return sorted(trials, key=lambda trial: (not trial.converged, trial.milliseconds))


def choose_solver(trials: list[Trial]) -> str:
    """Return the fastest strategy that solved all its samples.

    Raises
    ------
    ConvergenceError
        If none did.
    """
    if not trials or not trials[0].converged:
        raise ConvergenceError(
            "no solver reached the tolerance on the first samples: "
            + ", ".join(trial.solver for trial in trials)
            + "; loosen the tolerance or refine the grid"
        )
    return trials[0].solver


def _candidates(plan: Plan) -> list[str]:
    parameters = draw(plan, [0])
    state = plan.equation.initial(plan.grid, parameters)
    return applicable(plan.equation.systems(plan.grid, parameters, state))


def _run_off(trials: list[Trial], orders: Mapping[str, tuple[Plan, list[int]]]) -> list[Trial]:
    """Time the best few again, in turn, and keep each one's least: others use the machine too."""
    best = min((t.milliseconds for t in trials if t.converged), default=np.inf)
    close = {t.solver for t in trials if t.converged and t.milliseconds <= _CLOSE * best}
    if len(close) < 2:
        return trials
    for _ in range(_RUN_OFFS):
        trials = [
            min(
                trial,
                _timed(*orders[trial.solver]),
                key=lambda t: (not t.converged, t.milliseconds),
            )
            if trial.solver in close
            else trial
            for trial in trials
        ]
    return trials


def _some_samples(plan: Plan, name: str) -> tuple[Plan, list[int]]:
    """Return which samples a strategy is tried on, and the plan that they are from."""
    sort = "greedy" if STRATEGIES[name][0]().learns else "none"
    few = replace(plan, solver=name, n_samples=min(plan.n_samples, _N_SORTED), sort=sort)
    return few, order_of(few)[: min(_N_PILOT, few.n_samples)].tolist()


def _timed(plan: Plan, indices: list[int]) -> Trial:
    with one_thread():
        started = time.process_time()
        samples = solve_samples(plan, indices)
        spent = time.process_time() - started
    records = samples.records
    return Trial(
        plan.solver,
        1e3 * spent / len(indices),
        float(records["iterations"].mean()),
        bool(records["converged"].all() and (records["attempts"] == 1).all()),
        len(indices),
    )
