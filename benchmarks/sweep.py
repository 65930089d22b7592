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
    """Reconstruct at every weight and keep the image with the least (or largest) score."""
    tried = [(score(image), w, image) for w in weights for image in [reconstruct(w)]]
    pick = max if largest else min
    value, weight, image = pick(tried, key=lambda entry: entry[0])
    return Best(image, weight, value, weight in {weights[0], weights[-1]})
