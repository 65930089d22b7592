"""Check a data set from what is stored in it: every residual, every digest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.pde.chain import one_thread, relative_residuals
from inverse.pde.plan import Plan
from inverse.pde.samples import Samples, digests_of_samples
from inverse.pde.store import open_data_set

__all__ = ["Certificate", "stored_residuals", "verify"]


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """What a check of a data set found.

    Parameters
    ----------
    n_samples : int
    tolerance : float
        That the data set was made with.
    largest_residual : float
        Of the samples that converged; NaN when none did.
    above_tolerance : tuple of int
        Samples whose stored solution does not solve the equation of their stored parameters.
    changed : tuple of int
        Samples whose bytes are not those that were written.
    unconverged : tuple of int
        Samples that the data set itself says were not solved; they are NaN.
    """

    n_samples: int
    tolerance: float
    largest_residual: float
    above_tolerance: tuple[int, ...]
    changed: tuple[int, ...]
    unconverged: tuple[int, ...]

    @property
    def is_sound(self) -> bool:
        """True when every sample is solved and as it was written."""
        return not (self.above_tolerance or self.changed or self.unconverged)


def verify(path: Path, *, progress: Callable[[str, int, int], None] | None = None) -> Certificate:
    """Recompute the residual of every sample from its stored parameters and solution.

    A changed value is found twice: its sample's digest differs, and the residual says whether the
    change matters.

    Parameters
    ----------
    path : Path
        A data set of `generate`.
    progress : function, optional
        Called as progress("verifying", samples done, samples in all).

    Raises
    ------
    DataError
        If the file is no data set, or is damaged.
    """
    above: list[int] = []
    changed: list[int] = []
    unconverged: list[int] = []
    largest = np.nan
    with open_data_set(path) as data, one_thread():
        plan = data.plan
        for samples in data.blocks():
            residuals = stored_residuals(plan, samples)
            is_solved = samples.records["converged"]
            largest = float(np.fmax(largest, residuals[is_solved].max(initial=-np.inf)))
            digests = digests_of_samples(samples.parameters, samples.solution)
            is_changed = np.array(digests, dtype="S64") != samples.records["digest"]
            above += samples.index[is_solved & ~(residuals <= plan.tolerance)].tolist()
            changed += samples.index[is_changed].tolist()
            unconverged += samples.index[~is_solved].tolist()
            if progress is not None:
                progress("verifying", int(samples.index[-1]) + 1, len(data))
    return Certificate(
        plan.n_samples,
        plan.tolerance,
        largest if np.isfinite(largest) else np.nan,
        tuple(above),
        tuple(changed),
        tuple(unconverged),
    )


def stored_residuals(plan: Plan, samples: Samples) -> NDArray[np.float64]:
    """Compute the largest relative residual of each sample over its steps, from its arrays alone.

    Returns
    -------
    (n,)
        ||b - A u|| / ||b||; NaN where the solution holds one.
    """
    family = plan.equation
    values = torch.from_numpy(np.ascontiguousarray(samples.solution))
    if family.n_steps == 1 and family.initial(plan.grid, samples.parameters) is None:
        return relative_residuals(family.systems(plan.grid, samples.parameters), values)
    found = np.zeros(len(samples.index))
    for step in range(family.n_steps):
        systems = family.systems(plan.grid, samples.parameters, values[:, step], step)
        found = np.maximum(found, relative_residuals(systems, values[:, step + 1]))
    return found
