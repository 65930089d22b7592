"""The table of methods and the one call that runs them: `reconstruct(problem, method=...)`."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from inverse.errors import UsageError
from inverse.reconstruction import Reconstruction

__all__ = [
    "METHODS",
    "Progress",
    "check_settings",
    "find",
    "nearest",
    "register",
    "samplers",
    "settings_of",
    "takes_prior",
]

Progress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total)."""

Method = Callable[..., Reconstruction]
METHODS: dict[str, Method] = {}

_WITH_PRIOR: set[str] = set()
_ARGUMENTS = {"generator", "progress", "callback"}
_SAMPLES = "n_samples"

_M = TypeVar("_M", bound=Method)


def register(name: str, *, prior: bool = False) -> Callable[[_M], _M]:
    """Enter a method into the table under `name`; `prior` says that it uses one."""

    def enter(method: _M) -> _M:
        METHODS[name] = method
        if prior:
            _WITH_PRIOR.add(name)
        return method

    return enter


def takes_prior(name: str) -> bool:
    """Return whether the method called `name` uses a prior."""
    return name in _WITH_PRIOR


def nearest(name: str, known: list[str]) -> str:
    """Return ``; did you mean ...?`` for a mistyped name, or the list of what is known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known are {', '.join(sorted(known))}"


def settings_of(name: str) -> list[str]:
    """Return the names of the settings of the method called `name`."""
    parameters = inspect.signature(METHODS[name]).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in _ARGUMENTS]


def samplers() -> list[str]:
    """Return the methods that draw several images of one problem (`n_samples`)."""
    return [name for name in METHODS if _SAMPLES in settings_of(name)]


def check_settings(name: str, settings: Mapping[str, object]) -> None:
    """Refuse a setting that the method does not have.

    Raises
    ------
    UsageError
        Naming the nearest setting that exists, or the methods that draw samples.
    """
    known = settings_of(name)
    for setting in settings:
        if setting == _SAMPLES and setting not in known:
            raise UsageError(
                f"{name} gives one image and draws no samples; those that draw {_SAMPLES} are "
                f"{', '.join(sorted(samplers()))}"
            )
        if setting not in known:
            raise UsageError(f"{name} has no setting '{setting}'; {nearest(setting, known)}")


def find(name: str) -> Method:
    """Return the method called `name`.

    Raises
    ------
    UsageError
        If there is none.
    """
    import inverse.mri.methods
    import inverse.samplers  # noqa: F401 -- importing a module enters its methods into the table

    if name not in METHODS:
        raise UsageError(f"there is no method '{name}'; {nearest(name, list(METHODS))}")
    return METHODS[name]
