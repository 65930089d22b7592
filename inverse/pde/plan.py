"""What a data set is to be: everything that decides its bytes, before the first solve."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING

from inverse.errors import DataError, UsageError

if TYPE_CHECKING:
    from operators.pde import Family, Grid

__all__ = ["LARGEST_CHAIN", "SORTS", "Plan", "chain_length_for"]

SORTS = ("none", "greedy", "hilbert")
"""Orders in which the samples of a chain can be solved."""

SMALLEST_CHAIN, LARGEST_CHAIN = 32, 512
LARGEST_SHARD = 128 * 2**20  # bytes
_MOST_SAMPLES, _LARGEST_AXIS = 10**9, 2**20


@dataclass(frozen=True)
class Plan:
    """Everything that decides the bytes of a data set; what only decides how fast is not here.

    Parameters
    ----------
    family : str
        One of `operators.pde.FAMILIES`.
    shape : tuple of int
        Points of the grid along (z,) y, x.
    n_samples : int
        How many.
    solver : str
        One of `inverse.pde.strategies.STRATEGIES`.
    settings : mapping
        Fields of the family.
    seed : int
        Root of every sample's own seed.
    tolerance : float
        Largest relative residual ||b - A u|| / ||b|| of any system.
    sort : {"none", "greedy", "hilbert"}
        Order of the samples inside the chains; the file is in sample order in any case.
    chain_length : int
        Samples solved one after another by one worker, which may learn from each other. It is the
        unit of work and of resuming; 0 chooses one from the size of a sample.

    Raises
    ------
    UsageError
        If a number is out of range or the family, its settings or the grid are not possible.

    Examples
    --------
    >>> plan = Plan("poisson", (16, 16), 40, solver="direct")
    >>> plan.chain_length, plan.n_chains, plan.digest == Plan.from_json(plan.to_json()).digest
    (32, 2, True)
    """

    family: str
    shape: tuple[int, ...]
    n_samples: int
    solver: str
    settings: Mapping[str, object] = field(default_factory=dict)
    seed: int = 0
    tolerance: float = 1e-10
    sort: str = "none"
    chain_length: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "settings", dict(self.settings))
        if not 1 <= self.n_samples <= _MOST_SAMPLES:
            raise UsageError(
                f"the number of samples expected 1 or more, to {_MOST_SAMPLES}, "
                f"got {self.n_samples}"
            )
        if not 1e-13 <= self.tolerance < 1:
            raise UsageError(
                f"the tolerance expected 1e-13 (what double precision can reach) to 1, "
                f"got {self.tolerance}"
            )
        if self.seed < 0:
            raise UsageError(f"the seed expected 0 or more, got {self.seed}")
        if self.sort not in SORTS:
            raise UsageError(f"sort expected one of {', '.join(SORTS)}, got {self.sort!r}")
        if self.chain_length < 0:
            raise UsageError(f"the chain length expected 0 or more, got {self.chain_length}")
        _ = self.grid  # refuses a family, settings and a shape that cannot be
        if self.chain_length == 0:
            length = chain_length_for(self.n_samples, self.bytes_per_sample)
            object.__setattr__(self, "chain_length", length)

    @cached_property
    def equation(self) -> Family:
        """The family with its settings."""
        from operators import ParameterError
        from operators.pde import make_family

        try:
            return make_family(self.family, **self.settings)
        except (ParameterError, TypeError) as error:
            raise UsageError(str(error)) from error

    @cached_property
    def grid(self) -> Grid:
        """The grid of a sample."""
        from operators import ParameterError

        try:
            return self.equation.grid(self.shape)
        except ParameterError as error:
            raise UsageError(f"family {self.family!r}: {error}") from error

    @cached_property
    def bytes_per_sample(self) -> int:
        """What a sample takes in the file, of the first one."""
        from inverse.pde.drawing import draw

        family, parameters = self.equation, draw(self, [0])
        state = family.initial(self.grid, parameters)
        unknown = family.systems(self.grid, parameters, state).rhs
        n_states = 1 if state is None else 1 + family.n_steps
        n_parameters = sum(values.nbytes for values in parameters.values())
        return n_parameters + n_states * unknown.numel() * unknown.element_size()

    @property
    def n_chains(self) -> int:
        """How many chains the samples are cut into."""
        return math.ceil(self.n_samples / self.chain_length)

    def to_json(self) -> str:
        """Return the plan as one line of JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote, from whatever source; nothing is drawn or allocated.

        Raises
        ------
        DataError
            If the text is no plan, or its family or settings do not exist in this version.
        """
        try:
            given = json.loads(text)
            for name, is_right in _STORED.items():
                if not is_right(given[name]):
                    raise ValueError(f"{name} is {str(given[name])[:40]}")
            return cls(**{f.name: given[f.name] for f in fields(cls)})
        except UsageError as error:
            raise DataError(f"this is no plan that is possible in this version: {error}") from error
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise DataError(f"this is no plan of a data set ({error})") from error

    @property
    def digest(self) -> str:
        """SHA-256 of the plan: two runs with the same one make the same samples."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def _is_count(value: object, largest: int) -> bool:
    return type(value) is int and 1 <= value <= largest


def _is_shape(value: object) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 3
        and all(_is_count(n, _LARGEST_AXIS) for n in value)
    )


_STORED: dict[str, Callable[[object], bool]] = {
    "family": lambda value: isinstance(value, str),
    "shape": _is_shape,
    "n_samples": lambda value: _is_count(value, _MOST_SAMPLES),
    "solver": lambda value: isinstance(value, str),
    "settings": lambda value: isinstance(value, dict),
    "seed": lambda value: type(value) is int,
    "tolerance": lambda value: type(value) is float,
    "sort": lambda value: isinstance(value, str),
    "chain_length": lambda value: _is_count(value, _MOST_SAMPLES),
}
"""What each field of a stored plan has to be."""


def chain_length_for(n_samples: int, bytes_per_sample: int) -> int:
    """Return how many samples make a chain: a sixteenth of all, 32 to 512 if they have room.

    The result does not depend on the number of workers, so that neither do the bytes.
    """
    room = max(1, LARGEST_SHARD // bytes_per_sample)
    return min(max(math.ceil(n_samples / 16), SMALLEST_CHAIN), LARGEST_CHAIN, room, n_samples)
