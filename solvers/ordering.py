"""In which order to solve many similar systems, so that each is close to the one before.

A solver that carries something on - a recycled space, a preconditioner, a start - gains by it. The
systems are told apart by the fields that made them, for instance their coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.features import Features, Pca, features_of
from solvers.field_stream import Fields, array_of, rows_of
from solvers.greedy_chain import greedy_chain
from solvers.hilbert import hilbert_order

__all__ = ["Ordering", "order_fields"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_METHODS = ("hilbert", "curve", "greedy")
_N_PAIRS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Ordering:
    """An order of systems, cut into chains that can be solved independently of each other.

    Parameters
    ----------
    permutation : (n,), int64
        permutation[i] is the system to solve as number i.
    chain_starts : (n_chains,), int64
        Where in the permutation each chain begins; the first is 0.
    mean_hop : float
        Mean distance of a field from the one before it in its chain; NaN where it is not known.
    random_hop : float
        The same for a random order.
    hop_space : "fields" or "features"
        What the distances are of: fields that came in a stream are gone when their order is known.

    Raises
    ------
    SolverError
        If this is no permutation, or its chains do not begin at 0 and increase.

    Examples
    --------
    >>> order = Ordering(np.array([2, 0, 1]), np.array([0, 2]))
    >>> [chain.tolist() for chain in order.chains()], order.ranks().tolist()
    ([[2, 0], [1]], [1, 2, 0])
    """

    permutation: Indices = field(repr=False)
    chain_starts: Indices = field(repr=False)
    mean_hop: float = float("nan")
    random_hop: float = float("nan")
    hop_space: Literal["fields", "features"] = "fields"

    def __post_init__(self) -> None:
        n = len(self.permutation)
        if not np.array_equal(np.sort(self.permutation), np.arange(n)):
            raise SolverError(f"permutation expected every number from 0 to {n - 1} once, got not")
        starts = np.asarray(self.chain_starts)
        if n and (not len(starts) or starts[0] != 0 or (np.diff(starts) < 1).any()):
            raise SolverError(f"chain_starts expected 0 and then larger numbers, got {starts}")
        if len(starts) and starts[-1] > max(n - 1, 0):
            raise SolverError(f"chain_starts expected numbers below {n}, got {starts[-1]}")

    @property
    def gain(self) -> float:
        """`mean_hop` / `random_hop`: 1 when the order is no better than none."""
        return self.mean_hop / self.random_hop if self.random_hop > 0 else float("nan")

    def chains(self) -> Iterator[Indices]:
        """Yield the systems of each chain in their order."""
        yield from np.split(self.permutation, self.chain_starts[1:])

    def ranks(self) -> Indices:
        """Return the inverse permutation: as which number each system is solved."""
        return np.argsort(self.permutation)


def order_fields(
    fields: Fields,
    *,
    method: str = "hilbert",
    features: Features | None = Pca(),  # noqa: B008 -- frozen
    chain_length: int | None = 1000,
    n_axes: int = 3,
) -> Ordering:
    """Sort fields so that each is close to the one before it.

    Parameters
    ----------
    fields : array (n, *field), or an iterable of blocks (n_block, *field)
        What makes the systems differ, real or complex, in units that weigh alike. A stream is read
        once and never held: memory is that of the features and of half a gigabyte at most.
    method : "hilbert", "curve" or "greedy"
        "hilbert" follows a Hilbert curve through the first `n_axes` features, cuts it into chains
        and sorts each greedily by all features: O(n), nearly as good as one greedy chain.
        "curve" leaves the chains as the curve gave them. "greedy" is one greedy chain through all
        the features from field 0 on, in O(n^2); cut into chains only afterwards.
    features : `Pca`, `SparseProjections`, function or None
        What the fields are compared by. A function is given blocks (n, *field) and returns
        (n, n_features). None compares the fields themselves, which must then fit into memory:
        with "greedy" this is the order of Wang et al.
    chain_length : int or None
        Length of the chains, the last being shorter; None for one chain.
    n_axes : int
        Features that the curve goes through, the most important first.

    Returns
    -------
    Ordering
        The same for the same fields, whatever the number of threads.

    Raises
    ------
    SolverError
        If the fields are unusable or an argument is out of range.

    References
    ----------
    Wang, Hao et al. 2024, arXiv 2401.09516, section 4 and appendix E.2.

    Examples
    --------
    >>> angles = np.random.default_rng(0).uniform(0, 6, 200)
    >>> fields = np.cos(angles[:, None] + np.arange(30))
    >>> order = order_fields(fields, chain_length=50)
    >>> len(order.chain_starts), order.gain < 0.1
    (4, True)
    """
    if method not in _METHODS:
        raise SolverError(f"method expected one of {', '.join(_METHODS)}, got {method!r}")
    for name, value in (("chain_length", chain_length), ("n_axes", n_axes)):
        if value is not None and value < 1:
            raise SolverError(f"{name} expected a number >= 1, got {value}")
    points = features_of(fields, features)
    length = len(points) if chain_length is None else chain_length
    starts = np.arange(0, len(points), length)
    permutation = _sorted(points, method, starts, n_axes)
    array = array_of(fields)
    measured = points if array is None or features is None else array
    return Ordering(
        permutation,
        starts,
        mean_hop=_mean_hop(measured, permutation, starts),
        random_hop=_random_hop(measured),
        hop_space="fields" if features is None or array is not None else "features",
    )


def _sorted(points: Floats, method: str, starts: Indices, n_axes: int) -> Indices:
    if method == "greedy":
        return greedy_chain(points)
    curve = hilbert_order(points[:, : min(n_axes, 31)])
    if method == "curve":
        return curve
    chains = np.split(curve, starts[1:])
    return np.concatenate([chain[greedy_chain(points[chain])] for chain in chains])


def _distances(array: NDArray[Any], first: Indices, second: Indices) -> Floats:
    """Compute the Euclidean distances of pairs of fields, some megabytes at a time."""
    each = max(1, int(np.prod(array.shape[1:], dtype=np.int64)) * array.dtype.itemsize)
    n_parts = 1 + len(first) * each // 2**24
    parts = []
    for i, j in zip(np.array_split(first, n_parts), np.array_split(second, n_parts), strict=True):
        difference = rows_of(_taken(array, i)).astype(np.float64) - rows_of(_taken(array, j))
        parts.append(np.sqrt(np.einsum("ij,ij->i", difference, difference)))
    return np.concatenate(parts)


def _taken(array: NDArray[Any], indices: Indices) -> NDArray[Any]:
    """Return some fields; a data set of a file wants its indices increasing and each once."""
    unique, inverse = np.unique(indices, return_inverse=True)
    return np.asarray(array[unique])[inverse]


def _mean_hop(array: NDArray[Any], permutation: Indices, starts: Indices) -> float:
    """Compute the mean distance of neighbours in a chain; 0 where there are none."""
    is_first = np.zeros(len(permutation), dtype=np.bool_)
    is_first[starts] = True
    second = np.flatnonzero(~is_first)
    if second.size == 0:
        return 0.0
    return float(_distances(array, permutation[second - 1], permutation[second]).mean())


def _random_hop(array: NDArray[Any]) -> float:
    """Estimate the mean distance of two different fields from all pairs, or some thousand."""
    n = len(array)
    if n < 2:
        return 0.0
    rng = np.random.default_rng(0)
    if n * (n - 1) // 2 <= _N_PAIRS:
        first, second = np.triu_indices(n, 1)
    else:
        first = rng.integers(0, n, _N_PAIRS)
        second = (first + rng.integers(1, n, _N_PAIRS)) % n
    return float(_distances(array, first, second).mean())
