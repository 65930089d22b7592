"""Files of neuraloperator's `PTDataset` and `DarcyDataset`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.pde.components import is_march, solution_components
from inverse.pde.export.arrays import as_channels, fields_and_numbers, solved_blocks

if TYPE_CHECKING:
    from inverse.pde.components import Component
    from inverse.pde.samples import Samples
    from inverse.pde.store import DataSet

__all__ = ["files", "write"]

TEST_SHARE = 0.2


def files(data: DataSet, folder: Path) -> list[Path]:
    """Return `NAME_train_RES.pt` and `NAME_test_RES.pt` in a folder.

    Families of Darcy's equation are named "darcy", which is what `DarcyDataset` looks for; others
    by their own name. Sets of several resolutions share a folder.

    Raises
    ------
    UsageError
        If the grid is not square, the equation is a march in time, there is only one sample, or a
        parameter is neither a field nor a number.
    """
    plan = data.plan
    if len(set(plan.grid.shape)) != 1:
        raise UsageError(
            f"{data.path}: neuraloperator names files by one resolution, got a grid "
            f"{plan.grid.shape}; export to the-well"
        )
    if len(data) < 2:
        raise UsageError(f"{data.path}: expected samples to train on and to test on, got one")
    first = data.rows(0, 1)
    if is_march(plan, first):
        raise UsageError(
            f"{data.path}: neuraloperator pairs an input with an output, got {plan.family!r}, a "
            f"march in time; export to the-well"
        )
    _pair(data, first)
    name = "darcy" if plan.family.startswith("darcy") else plan.family
    return [folder / f"{name}_{part}_{plan.grid.shape[0]}.pt" for part in ("train", "test")]


def write(data: DataSet, parts: list[Path]) -> None:
    """Write float32 tensors `x` (input) and `y` (solution), (n, *grid) or (n, n_channels, *grid).

    They have an axis of channels when there are several, of either; it is then read with
    ``channels_squeezed=False``. The last fifth of the samples is the test set.

    Raises
    ------
    DataError
        If a sample did not converge.
    """
    n = len(data)
    n_test = max(1, round(TEST_SHARE * n))
    x_names, y_names = ([c.name for c in side] for side in _pair(data, data.rows(0, 1)))
    shape = data.plan.grid.shape
    x = np.empty((n, len(x_names), *shape), np.float32)
    y = np.empty((n, len(y_names), *shape), np.float32)
    for samples in solved_blocks(data, 0, n):
        inputs, outputs = _pair(data, samples)
        rows = slice(int(samples.index[0]), int(samples.index[-1]) + 1)
        x[rows], y[rows] = as_channels(data, inputs), as_channels(data, outputs)
    is_squeezed = x.shape[1] == y.shape[1] == 1
    if is_squeezed:
        x, y = x[:, 0], y[:, 0]
    facts = {
        "x_channels": x_names,
        "y_channels": y_names,
        "channels_squeezed": is_squeezed,
        "provenance": data.provenance,
    }
    for path, rows in zip(parts, (slice(0, n - n_test), slice(n - n_test, n)), strict=True):
        _save(path, x[rows], y[rows], facts)


def _save(
    path: Path, x: NDArray[np.float32], y: NDArray[np.float32], facts: dict[str, object]
) -> None:
    """Write tensors and plain Python values only, which `torch.load` reads with weights_only."""
    import torch

    with path.open("wb") as stream:
        tensors = {"x": torch.from_numpy(x).clone(), "y": torch.from_numpy(y).clone()}
        torch.save(tensors | facts, stream)


def _pair(data: DataSet, samples: Samples) -> tuple[list[Component], list[Component]]:
    """Return the inputs (*grid or a number) and the outputs (*grid)."""
    fields, numbers = fields_and_numbers(data, samples)
    outputs = [replace(c, values=c.values[:, 0]) for c in solution_components(data.plan, samples)]
    return fields + numbers, outputs
