"""Many linear systems, made one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np

from solvers.errors import SolverError
from solvers.linear_map import Applicable
from solvers.vectors import Array

__all__ = ["LazySystems", "System", "system_of"]


class System(NamedTuple):
    """One linear system A x = b.

    Parameters
    ----------
    A : function, matrix or operator
    b : array, (*unknown,)
    x0 : array, (*unknown,), optional
        Start; zero if not given.
    """

    A: Applicable
    b: Array
    x0: Array | None = None


@final
@dataclass(frozen=True, slots=True)
class LazySystems(Sequence[System]):
    """Systems that are made when their turn comes, and only then.

    Parameters
    ----------
    n : int
    make : function
        Called as make(index), 0 <= index < n; returns a `System` or a tuple like one.

    Examples
    --------
    >>> systems = LazySystems(3, lambda i: (np.eye(2), np.full(2, float(i))))
    >>> len(systems), systems[2].b.tolist()
    (3, [2.0, 2.0])
    """

    n: int
    make: Callable[[int], tuple[Any, ...]]

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int | np.integer) or not 0 <= index < self.n:
            raise IndexError(index)
        return System(*self.make(int(index)))


def system_of(given: Any, index: int) -> System:
    """Return what was given as system number `index`.

    Raises
    ------
    SolverError
        If it is no tuple (A, b) or (A, b, x0).
    """
    if not isinstance(given, tuple) or len(given) not in {2, 3}:
        raise SolverError(
            f"system {index} expected a tuple (A, b) or (A, b, x0), got {type(given).__name__}"
        )
    return System(*given)
