"""Oracle weights: the best a peer can do when somebody who knows the truth picks its weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Best", "best_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Best:
    """The best image of a sweep; `at_edge` when a wider sweep could be better."""

    image: NDArray[np.generic]
    weight: float
    score: float
    at_edge: bool

    def __str__(self) -> str:
        return f"{self.score:.4g} @ {self.weight:g}" + (" (edge of sweep)" if self.at_edge else "")


def best_of(
    reconstruct: Callable[[float], NDArray[np.generic]],
    weights: Sequence[float],
    score: Callable[[NDArray[np.generic]], float],
    *,
    largest: bool = False,
) -> Best:
    """Find the weight with the least (or largest) score, walking uphill from the middle one.

    The walk ends where both neighbours are worse: quality has one optimum along a weight.

    Parameters
    ----------
    reconstruct : function
        weight -> image.
    weights : sequence of float
        The ladder of weights, ascending.
    score : function
        image -> figure of merit.
    largest : bool
        Whether large scores are good.
    """
    sign = 1.0 if largest else -1.0
    tried: dict[int, tuple[float, NDArray[np.generic]]] = {}

    def merit(rung: int) -> float:
        if rung not in tried:
            image = reconstruct(weights[rung])
            tried[rung] = (score(image), image)
        return sign * tried[rung][0]

    here = len(weights) // 2
    while True:
        near = [rung for rung in (here - 1, here, here + 1) if 0 <= rung < len(weights)]
        best = max(near, key=merit)
        if best == here:
            break
        here = best
    value, image = tried[here]
    return Best(image, weights[here], value, here in {0, len(weights) - 1})
