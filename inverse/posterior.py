"""The posterior: what the data and the prior leave open, as samples and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Posterior"]


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Samples of the image given the data.

    Spread and intervals are those of what a person looks at: the magnitude of a complex image, the
    value of a real one.

    Parameters
    ----------
    samples : (n, z, y, x), complex64 or float32
        In the units of the file.
    """

    samples: NDArray[np.generic]

    def __repr__(self) -> str:
        return f"<Posterior of {len(self.samples)} samples>"

    @property
    def values(self) -> NDArray[np.floating]:
        """What is looked at: magnitudes of complex samples, real samples themselves."""
        return np.abs(self.samples) if np.iscomplexobj(self.samples) else self.samples

    @property
    def mean(self) -> NDArray[np.generic]:
        """Mean image (z, y, x), complex if the samples are."""
        return np.asarray(self.samples.mean(0))

    @property
    def std(self) -> NDArray[np.floating]:
        """Standard deviation of `values` (z, y, x)."""
        return np.asarray(self.values.std(0, ddof=1))

    def quantile(self, level: float) -> NDArray[np.floating]:
        """Quantile of `values` (z, y, x); level from 0 to 1."""
        return np.asarray(np.quantile(self.values, level, axis=0))
