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
from operators import ParameterError

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
            residuals = _residuals(plan, samples)
            is_solved = samples.records["converged"]
            largest = float(np.fmax(largest, residuals[is_solved].max(initial=-np.inf)))
            is_changed = np.array(digests_of_samples(samples)) != samples.records["digest"]
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


def _residuals(plan: Plan, samples: Samples) -> NDArray[np.float64]:
    """Compute `stored_residuals`; NaN for samples whose parameters the equation does not take."""
    try:
        return stored_residuals(plan, samples)
    except (ParameterError, ArithmeticError, ValueError):
        if len(samples.index) == 1:
            return np.array([np.nan])
    alone = (samples.at(slice(i, i + 1)) for i in range(len(samples.index)))
    return np.concatenate([_residuals(plan, one) for one in alone])


def stored_residuals(plan: Plan, samples: Samples) -> NDArray[np.float64]:
    """Compute the largest relative residual of each sample over its steps, from its arrays alone.

    A march begins with the initial state of its parameters; how far the stored one is from that
    counts as a residual too. Points of the rim that the unknown leaves out have to be zero.

    Returns
    -------
    (n,)
        ||b - A u|| / ||b||; NaN where the solution holds one, infinite where the rim is not zero.
    """
    family, grid = plan.equation, plan.grid
    # Torch warns of arrays that cannot be written.
    parameters = {k: np.require(v, requirements=("C", "W")) for k, v in samples.parameters.items()}
    values = torch.from_numpy(np.require(samples.solution, requirements=("C", "W")))
    state = family.initial(grid, parameters)
    is_march = state is not None or family.n_steps > 1
    stored = list(values.unbind(1)) if is_march else [values]
    found = np.zeros(len(values))
    if state is not None:
        found = _distances(stored.pop(0), state)
    for step, there in enumerate(stored):
        systems = family.systems(grid, parameters, state, step)
        state = systems.from_grid(there)
        found = np.maximum(found, relative_residuals(systems, state))
        is_off = (systems.on_grid(state) != there).reshape(len(there), -1).any(dim=1)
        found[is_off.numpy() & np.isfinite(found)] = np.inf
    return found


def _distances(stored: torch.Tensor, expected: torch.Tensor) -> NDArray[np.float64]:
    """Compute ||stored - expected|| / ||expected||, (n,)."""
    axes = tuple(range(1, stored.ndim))
    off = torch.linalg.vector_norm(stored - expected, dim=axes).numpy()
    size = torch.linalg.vector_norm(expected, dim=axes).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(off == 0, 0.0, off / size)
