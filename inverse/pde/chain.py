"""Solve one chain of samples: the unit of work, of parallelism and of resuming."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from inverse.pde.drawing import draw
from inverse.pde.plan import Plan
from inverse.pde.samples import RECORD, Samples, digests_of_samples
from inverse.pde.solving import STRATEGIES, applicable
from inverse.pde.strategies import Strategy
from operators.pde import LinearSystems

__all__ = ["one_thread", "relative_residuals", "solve_chain", "solve_samples"]

LADDER = ("multigrid", "direct")
"""What a sample that its strategy did not solve is tried with, in this order."""

_CACHE = 2**20  # bytes that one vector of a batch may take
_LARGEST_BATCH = 64

_MARGIN = 0.9
"""Solvers get a little less than the tolerance, so that the last rounding does not undo it."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the same bytes on any number of cores, and faster on small vectors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def relative_residuals(systems: LinearSystems, x: torch.Tensor) -> NDArray[np.float64]:
    """Compute ||b - A x|| / ||b|| of every system, (n,); 0 where b and x are zero.

    It is NaN where x is, and infinite where b is zero and x is not.
    """
    n = x.shape[0]
    b = systems.rhs.reshape(n, -1)
    residual = torch.linalg.vector_norm(b - systems.operator(x).reshape(n, -1), dim=1).numpy()
    size = torch.linalg.vector_norm(b, dim=1).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((size == 0) & (residual == 0), 0.0, residual / size)


def solve_chain(plan: Plan, indices: Sequence[int]) -> tuple[Samples, float]:
    """Solve the samples of a chain, in the order given.

    Parameters
    ----------
    plan : Plan
    indices : sequence of int
        Which samples, in the order in which they are to be solved.

    Returns
    -------
    samples : Samples
        In that order. A sample that no strategy solved is NaN and not `converged`.
    seconds : float
        Processor time.
    """
    started = time.process_time()
    with one_thread():
        march = _March(plan)
        batches = [march.solve(batch) for batch in _batches(indices, march.batch)]
    parameters = {
        name: np.concatenate([b.parameters[name] for b in batches])
        for name in batches[0].parameters
    }
    samples = Samples(
        np.concatenate([b.index for b in batches]),
        parameters,
        np.concatenate([b.solution for b in batches]),
        np.concatenate([b.records for b in batches]),
    )
    return samples, time.process_time() - started


def solve_samples(plan: Plan, indices: Sequence[int]) -> Samples:
    """Solve some samples as one chain; for notebooks and pilots."""
    return solve_chain(plan, indices)[0]


def batch_for(plan: Plan) -> int:
    """Return how many samples to solve together so that their arrays stay near the processor."""
    parameters = draw(plan, [0])
    state = plan.equation.initial(plan.grid, parameters)
    systems = plan.equation.systems(plan.grid, parameters, state)
    n_bytes = systems.rhs.numel() * systems.rhs.element_size()
    return max(1, min(_LARGEST_BATCH, _CACHE // n_bytes))


def _batches(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(indices), size):
        yield [int(i) for i in indices[start : start + size]]


class _March:
    """The steps of a family through time, with the strategy that lives as long as the chain."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.strategy: Strategy = STRATEGIES[plan.solver][0]()
        self.batch = 1 if self.strategy.learns else batch_for(plan)

    def solve(self, indices: list[int]) -> Samples:
        """Solve some samples together, all steps."""
        plan, family = self.plan, self.plan.equation
        parameters = draw(plan, indices)
        records = np.zeros(len(indices), RECORD)
        records["solver"], records["attempts"], records["converged"] = plan.solver, 1, True
        state = family.initial(plan.grid, parameters)
        states = [] if state is None else [state]
        for step in range(family.n_steps):
            systems = family.systems(plan.grid, parameters, state, step)
            answer = self.strategy.solve(systems, _MARGIN * plan.tolerance)
            residuals = relative_residuals(systems, answer.x)
            state = answer.x
            records["iterations"] += answer.iterations
            records["n_operator"] += answer.n_operator
            for i in np.flatnonzero(~(residuals <= plan.tolerance)):
                own = {name: values[i : i + 1] for name, values in parameters.items()}
                before = states[-1][i : i + 1] if states else None
                again = family.systems(plan.grid, own, before, step)
                state[i], residuals[i] = self._retry(again, records[i : i + 1])
            records["relative_residual"] = np.maximum(records["relative_residual"], residuals)
            states.append(state)
        states = [systems.on_grid(state) for state in states]
        solution = states[0] if len(states) == 1 else torch.stack(states, dim=1)
        values = solution.contiguous().numpy()
        records["converged"] &= records["relative_residual"] <= plan.tolerance
        values[~records["converged"]] = np.nan
        samples = Samples(np.array(indices, dtype=np.int64), parameters, values, records)
        records["digest"] = digests_of_samples(samples)
        return samples

    def _retry(
        self, systems: LinearSystems, record: NDArray[np.void]
    ) -> tuple[torch.Tensor, float]:
        """Solve one system by the strategies of the ladder, each from its beginning."""
        can = applicable(systems)
        best, left = torch.full_like(systems.rhs[0], torch.nan), np.inf
        for name in (name for name in LADDER if name in can and name != self.plan.solver):
            answer = STRATEGIES[name][0]().solve(systems, _MARGIN * self.plan.tolerance)
            found = float(relative_residuals(systems, answer.x)[0])
            record["attempts"] += 1
            record["iterations"] += answer.iterations
            record["n_operator"] += answer.n_operator
            if found < left:
                best, left = answer.x[0], found
                record["solver"] = name
            if left <= self.plan.tolerance:
                break
        return best, left
