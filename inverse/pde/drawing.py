"""The random parameters of samples: each has a seed of its own, whoever draws it and when."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from inverse.pde.plan import Plan

__all__ = ["draw", "feature_blocks", "generator_of"]

_FEATURE_BLOCK = 1024


def generator_of(plan: Plan, index: int) -> np.random.Generator:
    """Return the random generator of one sample.

    Its stream is Philox seeded by SeedSequence(seed, spawn_key=(CRC-32 of the family, index)): the
    parameters of a sample do not depend on how many others there are, on their order or on the
    workers.
    """
    key = (zlib.crc32(plan.family.encode()), index)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(plan.seed, spawn_key=key)))


def draw(plan: Plan, indices: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Draw the parameters of some samples.

    Returns
    -------
    dict
        By name, (n, *shape of the parameter).
    """
    family, grid = plan.equation, plan.grid
    drawn = [family.draw(grid, generator_of(plan, int(i))) for i in indices]
    return {q.name: np.stack([one[q.name] for one in drawn]) for q in family.parameters}


def feature_blocks(plan: Plan) -> Iterator[NDArray[np.float64]]:
    """Yield what samples are sorted by, (n, features) in blocks: every random field, flattened.

    Each parameter is divided by its spread over the first block, so that none outweighs the others
    by its unit.
    """
    names = [quantity.name for quantity in plan.equation.parameters]
    spread: dict[str, float] = {}
    for start in range(0, plan.n_samples, _FEATURE_BLOCK):
        indices = range(start, min(start + _FEATURE_BLOCK, plan.n_samples))
        drawn = draw(plan, indices)
        if not spread:
            spread = {name: _spread(drawn[name]) for name in names}
        flat = [drawn[name].reshape(len(indices), -1) / spread[name] for name in names]
        yield np.concatenate(flat, axis=1)


def _spread(values: NDArray[np.float64]) -> float:
    """Return the root mean square distance of samples from their mean; 1 where they are equal."""
    rows = values.reshape(len(values), -1)
    distance = float(np.sqrt(np.mean(np.sum((rows - rows.mean(axis=0)) ** 2, axis=1))))
    return distance or 1.0
