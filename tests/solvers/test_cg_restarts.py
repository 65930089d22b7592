"""The outer loop: restarts from the true residual, what they may claim, and budgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from solvers import Discrepancy, Status, cg, vectors_of
from solvers.stopping import Goal, Measure, Trace, run_cycles

Floats = NDArray[np.float64]


@dataclass
class Scripted:
    """A method whose recurrence always claims success after one step, whatever is true."""

    truths: list[float]
    misfits: list[float] = field(default_factory=list)
    claimed_misfit: float = np.inf
    refusal: Status = Status.NOT_POSITIVE_DEFINITE

    def measure(self, x: Floats) -> Measure:
        del x
        misfit = self.misfits.pop(0) if self.misfits else np.inf
        return Measure(np.array([self.truths.pop(0)]), np.array([misfit]))

    def iterate(self, x: Floats, budget: NDArray[np.int64]) -> tuple[Floats, Trace]:
        del budget
        recurrence = 1.0 if np.isfinite(self.claimed_misfit) else 0.0
        trace = Trace([np.float64(1.0)], [np.float64(1.0)])
        trace.add(np.True_, np.float64(1.0), np.float64(recurrence))
        trace.misfit2 = np.array([self.claimed_misfit**2])
        return x + 1.0, trace


def _run(method: Scripted, maxiter: int = 100, noise: float = -1.0) -> SimpleNamespace:
    x = np.zeros(1)
    goal = Goal(np.array([0.1]), np.array([noise]))
    start = Measure(np.array([1.0]), np.array([np.inf]))
    out = run_cycles(method, vectors_of(x), x, start, goal, maxiter)
    return SimpleNamespace(
        x=out.x[0],
        status=out.status[0],
        iterations=out.iterations[0],
        residual=out.found.residual[0],
        n_history=len(out.history[0]),
    )


def test_goes_on_while_a_claim_is_false_but_progress_is_made() -> None:
    out = _run(Scripted([0.9, 0.4, 0.2, 0.05]))
    assert out.status is Status.CONVERGED
    assert (out.x, out.iterations, out.residual) == (4.0, 4, 0.05)
    assert out.n_history == 5


def test_keeps_the_better_iterate_when_a_restart_makes_things_worse() -> None:
    out = _run(Scripted([0.5, 0.8]))
    assert out.status is Status.STAGNATION
    assert (out.x, out.residual) == (1.0, 0.5)


def test_keeps_the_last_iterate_of_a_small_gain() -> None:
    out = _run(Scripted([0.5, 0.4]))
    assert out.status is Status.STAGNATION
    assert (out.x, out.residual) == (2.0, 0.4)


def test_the_first_cycle_may_raise_the_residual() -> None:
    """The residual norm of CG is not monotone; only a restart can stagnate."""
    assert _run(Scripted([3.0, 0.05])).status is Status.CONVERGED


def test_the_limit_counts_all_cycles() -> None:
    out = _run(Scripted([0.9, 0.4, 0.19, 0.05]), maxiter=3)
    assert out.status is Status.MAX_ITERATIONS
    assert out.iterations == 3


def test_a_false_claim_about_the_noise_is_no_breakdown() -> None:
    out = _run(Scripted([0.9, 0.3], misfits=[2.0, 0.9], claimed_misfit=1.0), noise=1.0)
    assert out.status is Status.DISCREPANCY
    assert out.iterations == 2


def test_nan_after_some_steps_is_a_breakdown() -> None:
    assert _run(Scripted([np.nan])).status is Status.BREAKDOWN


def _hard(n: int = 50) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    d = np.stack([np.geomspace(1e-4, 1, n), np.geomspace(1e-1, 1, n), np.geomspace(1e-3, 1, n)])
    return d.astype(np.float32), np.ones((3, n), np.float32)


@pytest.mark.parametrize("maxiter", [30, 120, 260, 330])
def test_every_system_has_the_whole_limit_and_no_more(
    library: SimpleNamespace, maxiter: int
) -> None:
    d, b = _hard()
    D = library.array(d)
    both = cg(lambda x: D * x, library.array(b), rtol=1e-9, maxiter=maxiter, n_batch_axes=1)
    assert max(both.iterations) <= maxiter
    for i in range(3):
        one = library.array(d[i])
        alone = cg(lambda x, d=one: d * x, library.array(b[i]), rtol=1e-9, maxiter=maxiter)
        assert both.status[i] is alone.status[0]
        assert abs(both.iterations[i] - alone.iterations[0]) <= 0.15 * maxiter
        assert len(both.history[i]) == both.iterations[i] + 1
        if both.status[i] is Status.MAX_ITERATIONS:
            assert both.iterations[i] == maxiter


def test_callback_counts_on_through_restarts() -> None:
    d, b = _hard()
    seen: list[int] = []
    solution = cg(
        lambda x: d[0] * x, b[0], rtol=1e-9, maxiter=600, callback=lambda k, _: seen.append(k)
    )
    assert solution.n_operator >= solution.iterations[0] + 2  # one restart at least
    assert seen == list(range(1, solution.iterations[0] + 1))


def test_nan_between_tests_cannot_reach_the_result(library: SimpleNamespace) -> None:
    """The operator fails at its fifth call; tests come at every fourth, and the limit is six."""
    calls = [0]
    d = library.array(np.stack([np.geomspace(1e-2, 1, 20)] * 2))
    broken = library.array(np.array([[1.0], [np.nan]]))

    def apply(x: object) -> object:
        calls[0] += 1
        return d * x * broken if calls[0] == 5 else d * x

    b = library.array(np.ones((2, 20)))
    solution = cg(apply, b, n_batch_axes=1, maxiter=6, check_every=4)
    assert solution.status == (Status.MAX_ITERATIONS, Status.BREAKDOWN)
    found = library.numpy(solution.x)
    assert np.isfinite(found).all()
    four = cg(lambda x: d * x, b, n_batch_axes=1, maxiter=4)
    np.testing.assert_array_equal(found[1], library.numpy(four.x)[1])


def test_noise_below_rounding_claims_nothing() -> None:
    """||y||^2 minus what is explained is pure rounding here, of either sign."""
    rng = np.random.default_rng(3)
    A = rng.normal(size=(60, 40)).astype(np.float32)
    y = A @ rng.normal(size=40).astype(np.float32)
    gram, b = A.T @ A, A.T @ y
    norm = float(np.linalg.norm(y))
    hidden = cg(gram, b, rtol=0.0, maxiter=60, discrepancy=Discrepancy(norm, 1e-6 * norm))
    assert hidden.status != (Status.DISCREPANCY,)
    seen = cg(gram, b, rtol=0.0, maxiter=60, discrepancy=Discrepancy(norm, 1e-2 * norm))
    assert seen.status == (Status.DISCREPANCY,)
