"""Data sets in the layouts that neural-operator libraries read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from inverse.errors import UsageError
from inverse.pde.export.neuraloperator import to_neuraloperator
from inverse.pde.export.pdebench import to_pdebench
from inverse.pde.export.the_well import to_the_well

if TYPE_CHECKING:
    from inverse.pde.store import DataSet

__all__ = ["EXPORTS", "export"]

EXPORTS: dict[str, Callable[[DataSet, Path], list[Path]]] = {
    "neuraloperator": to_neuraloperator,
    "pdebench": to_pdebench,
    "the-well": to_the_well,
}
"""By the name of the library."""


def export(data: DataSet, target: str, path: Path) -> list[Path]:
    """Write a data set as a library reads it.

    Parameters
    ----------
    data : DataSet
        Every sample must have converged.
    target : str
        One of `EXPORTS`.
    path : Path
        A folder (neuraloperator, the-well) or a file ending in .hdf5 (pdebench).

    Returns
    -------
    list of Path
        Files written.

    Raises
    ------
    UsageError
        If there is no such target, or the family has no place in its layout.
    DataError
        If a sample did not converge.
    """
    if target not in EXPORTS:
        raise UsageError(f"no export to {target!r}; there are {', '.join(EXPORTS)}")
    return EXPORTS[target](data, path)
