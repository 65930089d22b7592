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
    """Yield what samples are sorted by, (n, features) in blocks: every random field, flattened."""
    names = [quantity.name for quantity in plan.equation.parameters]
    for start in range(0, plan.n_samples, _FEATURE_BLOCK):
        indices = range(start, min(start + _FEATURE_BLOCK, plan.n_samples))
        drawn = draw(plan, indices)
        yield np.concatenate([drawn[name].reshape(len(indices), -1) for name in names], axis=1)
