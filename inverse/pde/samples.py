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
        ("digest", "S64"),  # SHA-256 over the bytes of its parameters and its solution
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
        initial state first.
    records : (n,), RECORD
    """

    index: NDArray[np.int64]
    parameters: Mapping[str, NDArray[np.float64]]
    solution: NDArray[np.generic]
    records: NDArray[np.void]


def digests_of_samples(
    parameters: Mapping[str, NDArray[np.float64]], solution: NDArray[np.generic]
) -> list[bytes]:
    """Return the SHA-256 of each sample's bytes: parameters in the mapping's order, then solution.

    Examples
    --------
    >>> found = digests_of_samples({"a": np.zeros((2, 3))}, np.ones((2, 3)))
    >>> len(found), found[0] == found[1], len(found[0])
    (2, True, 64)
    """
    parts = [np.ascontiguousarray(values) for values in (*parameters.values(), solution)]
    found = []
    for i in range(len(solution)):
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part[i].tobytes())
        found.append(digest.hexdigest().encode())
    return found
