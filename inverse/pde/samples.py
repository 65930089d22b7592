"""Solved samples in memory, and what is recorded of each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECORD", "Samples", "digests_of_samples"]

RECORD = np.dtype(
    [
        ("solver", "S20"),  # the strategy that solved it
        ("attempts", "<i4"),  # strategies tried
        ("iterations", "<i4"),  # Krylov iterations of all steps; 0 when all were direct
        ("n_operator", "<i4"),  # applications of the operator, or of a factorisation
        ("relative_residual", "<f8"),  # largest ||b - A u|| / ||b|| of any step, recomputed
        ("converged", "?"),
        ("digest", "S64"),  # SHA-256 over the bytes of everything that is stored of it
    ]
)
"""One row a sample. Times are not here: they would differ from run to run."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Some samples of a data set; every array has them along its first axis.

    Parameters
    ----------
    index : (n,), int64
        Which samples of the data set these are.
    parameters : mapping of str to array
        As drawn, float64.
    solution : (n, *unknown) or (n, n_steps + 1, *unknown)
        float64 or complex128; NaN where a sample did not converge. A transient equation has its
        initial state first. Points of the rim that the unknown leaves out are there and zero.
    records : (n,), RECORD
    """

    index: NDArray[np.int64]
    parameters: Mapping[str, NDArray[np.float64]]
    solution: NDArray[np.generic]
    records: NDArray[np.void]

    def at(self, rows: slice) -> Samples:
        """Return some of them; the arrays are shared."""
        return Samples(
            self.index[rows],
            {name: values[rows] for name, values in self.parameters.items()},
            self.solution[rows],
            self.records[rows],
        )


def digests_of_samples(samples: Samples) -> list[bytes]:
    """Return the SHA-256 of everything that is stored of each sample.

    It goes over its number (little-endian, 8 bytes), its parameters in the family's order, its
    solution, and its record but for the digest itself.

    Examples
    --------
    >>> found = [
    ...     digests_of_samples(
    ...         Samples(np.arange(2), {"a": np.zeros((2, 3))}, np.full(2, u), np.zeros(2, RECORD))
    ...     )
    ...     for u in (0.0, 1.0)
    ... ]
    >>> len(found[0]), len({*found[0], *found[1]}), len(found[0][0])
    (2, 4, 64)
    """
    arrays = (*samples.parameters.values(), samples.solution)
    parts = [np.ascontiguousarray(values) for values in arrays]
    numbers = np.asarray(samples.index, dtype="<i8")
    records = np.array(samples.records, dtype=RECORD)
    records["digest"] = b""
    found = []
    for i in range(len(numbers)):
        digest = hashlib.sha256(numbers[i].tobytes())
        for part in parts:
            digest.update(part[i].tobytes())
        digest.update(records[i].tobytes())
        found.append(digest.hexdigest().encode())
    return found
