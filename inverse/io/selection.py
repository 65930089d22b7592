"""Choosing one image of a file that holds several: `select={"repetition": 0}`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from inverse.errors import DataError, UsageError

__all__ = ["Select", "check_names", "index_of"]

Select = Mapping[str, int]
"""Name of a counter or axis -> which of its values to read."""


def check_names(select: Select, known: Iterable[str]) -> None:
    """Refuse a name that the format does not have.

    Raises
    ------
    UsageError
        Naming the nearest one that exists.
    """
    names = list(known)
    for name in select:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(names)}"
            raise UsageError(f"select has no '{name}' in this format; {hint}")


def index_of(path: Path, name: str, available: list[int], select: Select) -> int:
    """Return the value of `name` to read: the only one there is, or the selected one.

    Parameters
    ----------
    path : Path
        The file, for messages.
    name : str
        Counter or axis.
    available : list of int
        Values that occur, sorted.
    select : mapping of str to int

    Raises
    ------
    DataError
        If there are several and none is selected.
    UsageError
        If the selected one does not occur.
    """
    if name in select:
        if select[name] not in available:
            raise UsageError(
                f"{path}: there is no {name} {select[name]}; "
                f"it has {len(available)}, from {available[0]} to {available[-1]}"
            )
        return select[name]
    if len(available) > 1:
        raise DataError(
            f"{path}: expected one {name}, got {len(available)} "
            f"({available[0]} to {available[-1]}); choose one, select={{'{name}': {available[0]}}}"
        )
    return available[0]
