"""Files of neuraloperator's `PTDataset` and `DarcyDataset`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from inverse.errors import UsageError
from inverse.io.atomic import replacing
from inverse.pde.export.arrays import coefficient_and_solution

if TYPE_CHECKING:
    from inverse.pde.store import DataSet

__all__ = ["to_neuraloperator"]

TEST_SHARE = 0.2


def to_neuraloperator(data: DataSet, folder: Path) -> list[Path]:
    """Write `NAME_train_RES.pt` and `NAME_test_RES.pt` for `PTDataset(folder, NAME, ...)`.

    A dictionary of float32 tensors `x` (coefficient) and `y` (solution), (n, *grid), read with
    ``weights_only=True``. The last fifth of the samples is the test set. Families of Darcy's
    equation are named "darcy", which is what `DarcyDataset` looks for; others by their own name.

    Raises
    ------
    UsageError
        If the grid is not square, or the equation is transient.
    """
    import torch

    shape = data.plan.grid.shape
    if len(set(shape)) != 1:
        raise UsageError(f"neuraloperator names its files by one resolution, got a grid {shape}")
    x, y, _ = coefficient_and_solution(data)
    if y.shape != x.shape:
        raise UsageError(
            f"neuraloperator's tensors pair one field with one field, got a solution of shape "
            f"{y.shape[1:]} for the grid {shape}; export to the-well"
        )
    n_test = max(1, round(TEST_SHARE * len(x)))
    if len(x) < 2:
        raise UsageError("neuraloperator needs samples to train on and to test on, got one")
    name = "darcy" if data.plan.family.startswith("darcy") else data.plan.family
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for part, rows in (("train", slice(None, -n_test)), ("test", slice(-n_test, None))):
        file = folder / f"{name}_{part}_{shape[0]}.pt"
        tensors = {"x": torch.from_numpy(x[rows]).clone(), "y": torch.from_numpy(y[rows]).clone()}
        with replacing(file) as unfinished, unfinished.open("wb") as stream:
            torch.save(tensors, stream)
        written.append(file)
    return written
