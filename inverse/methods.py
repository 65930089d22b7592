"""The table of methods and the one call that runs them: `reconstruct(problem, method=...)`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import TypeVar

from inverse.errors import UsageError
from inverse.problem import Problem
from inverse.reconstruction import Reconstruction

__all__ = ["METHODS", "Progress", "nearest", "register"]

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""

Method = Callable[..., Reconstruction]
METHODS: dict[str, Method] = {}

_M = TypeVar("_M", bound=Method)


def register(name: str) -> Callable[[_M], _M]:
    """Enter a method into the table under `name`."""

    def enter(method: _M) -> _M:
        METHODS[name] = method
        return method

    return enter


def nearest(name: str, known: list[str]) -> str:
    """Return ``; did you mean ...?`` for a mistyped name, or the list of what is known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(sorted(known))}"


def check_settings(name: str, settings: dict[str, object]) -> None:
    """Refuse a setting that the method does not have.

    Raises
    ------
    UsageError
        Naming the nearest setting that exists.
    """
    parameters = inspect.signature(METHODS[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    for setting in settings:
        if setting not in known:
            raise UsageError(f"{name} has no setting '{setting}'; {nearest(setting, known)}")


def find(name: str, problem: Problem) -> Method:
    """Return the method called `name`.

    Raises
    ------
    UsageError
        If there is none.
    """
    del problem
    if name not in METHODS:
        raise UsageError(f"there is no method '{name}'; {nearest(name, list(METHODS))}")
    return METHODS[name]
