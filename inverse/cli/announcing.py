"""What a run of many samples will cost, said before and as soon as it can be measured."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inverse.problem import Problem
    from inverse.provenance import Recipe

__all__ = ["announce_calls", "with_estimate"]

Report = Callable[[str, int, int], None]

_STAGE = "sampling"
_WORTH_SAYING_S = 30.0


def announce_calls(problem: Problem, asked: Recipe) -> None:
    """Print how often several samples will call the prior, before the first call.

    Parameters
    ----------
    problem : Problem
    asked : Recipe
        Nothing is printed unless it asks for several samples.
    """
    n_samples = asked.settings.get("n_samples", 1)
    if not isinstance(n_samples, int) or n_samples < 2:
        return
    from inverse.prior_calls import prior_calls
    from inverse.priors import load_prior
    from inverse.priors.base import AUTO, EMBEDDED
    from inverse.reconstructing import choose

    method = choose(problem, several=True)[0] if asked.method == AUTO else asked.method
    prior = EMBEDDED if asked.prior in (None, AUTO) else asked.prior
    n_calls = prior_calls(
        method,
        asked.settings,
        noise_std=problem.noise_std,
        largest_sigma=load_prior(prior).largest_sigma,
    )
    if n_calls is None:
        return
    n_slices = problem.grid.shape[0]
    each = f"{n_samples} samples" + (f" of {n_slices} slices" if n_slices > 1 else "")
    print(f"{method}: {n_calls} calls of the prior, each for {each}", file=sys.stderr, flush=True)


def with_estimate(report: Report) -> Report:
    """Return a progress report that also says how long the sampling will take, if that is long.

    Parameters
    ----------
    report : callable
        Called as report(stage, done, total).
    """
    started: list[float] = []

    def told(stage: str, done: int, total: int) -> None:
        report(stage, done, total)
        if stage != _STAGE or done > 2:
            return
        started.append(time.perf_counter())
        if done == 2 and len(started) == 2:  # the first step holds what is done only once
            seconds = (total - done) * (started[1] - started[0])
            if seconds > _WORTH_SAYING_S:
                print(f"{stage}: about {_spoken(seconds)} to go", file=sys.stderr, flush=True)

    return told


def _spoken(seconds: float) -> str:
    """Return a duration as people say it.

    Examples
    --------
    >>> _spoken(41.0), _spoken(437.0)
    ('41 s', '7 minutes')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
