"""Data sets in the layouts that neural-operator libraries read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inverse.errors import ResourceError, UsageError
from inverse.io.atomic import check_writable, replacing
from inverse.pde.export import neuraloperator, pdebench, the_well

if TYPE_CHECKING:
    from inverse.pde.store import DataSet

__all__ = ["TARGETS", "Target", "export"]


@dataclass(frozen=True, slots=True)
class Target:
    """How a library wants its files.

    Parameters
    ----------
    files : function
        files(data, path) names them, or says why the library has no place for the data set.
    write : function
        write(data, files) writes them.
    reads : str
        How the library reads them, in one line.
    """

    files: Callable[[DataSet, Path], list[Path]]
    write: Callable[[DataSet, list[Path]], None]
    reads: str


TARGETS: dict[str, Target] = {
    "neuraloperator": Target(
        neuraloperator.files, neuraloperator.write, "PTDataset(FOLDER, NAME, ...), DarcyDataset"
    ),
    "pdebench": Target(pdebench.files, pdebench.write, "FNODatasetSingle(FILE, saved_folder=...)"),
    "the-well": Target(
        the_well.files, the_well.write, "WellDataset(path=FOLDER, well_split_name='train', ...)"
    ),
}
"""By the name of the library."""


def export(data: DataSet, target: str, path: Path, *, overwrite: bool = False) -> list[Path]:
    """Write a data set as a library reads it: float32, every sample, in its original order.

    Parameters
    ----------
    data : DataSet
        Every sample must have converged.
    target : str
        One of `TARGETS`.
    path : Path
        A folder (neuraloperator, the-well), made if it is not there, or a file ending in .hdf5
        (pdebench).
    overwrite : bool
        Replace files that are there.

    Returns
    -------
    list of Path
        Files written: all, or none.

    Raises
    ------
    UsageError
        If there is no such target, the family has no place in its layout, or a file is there.
    DataError
        If a sample did not converge, or is not finite in single precision.
    ResourceError
        If the disk is full or the folder cannot be written.
    """
    if target not in TARGETS:
        raise UsageError(f"no export to {target!r}; there are {', '.join(TARGETS)}")
    files = TARGETS[target].files(data, path)
    for file in files:
        if file.exists() and file.samefile(data.path):
            raise UsageError(f"{file}: is the data set itself; choose another name")
        if file.exists() and not overwrite:
            raise UsageError(f"{file}: is there already; choose another name, or --overwrite it")
    _make_folders(path, files)
    with ExitStack() as unfinished:
        parts = [unfinished.enter_context(replacing(file)) for file in files]
        TARGETS[target].write(data, parts)
    return files


def _make_folders(path: Path, files: list[Path]) -> None:
    """Make the folders of an export to a folder, whose own parent must be there."""
    if path in files:
        check_writable(path)
        return
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; name a folder")
    check_writable(path)
    try:
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"{path}: no folder could be made there ({error.strerror})") from error
