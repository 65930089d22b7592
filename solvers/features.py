"""A few numbers that tell how far fields are from one another: the features they are sorted by.

Sorting compares all fields with many others, so each is first reduced to a handful of numbers whose
distances are close to those of the fields. One pass over the fields is enough, so they may arrive
in blocks. No step leaves its order of summation to the number of threads: the same fields give the
same features, to the last bit, on one core and on sixteen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.field_stream import Fields, Rows, array_of, blocks_of, given_blocks, rows_of

__all__ = ["Features", "FittedFeatures", "Pca", "SparseProjections", "features_of"]

Floats = NDArray[np.float64]
Projection: TypeAlias = Callable[[Rows], Floats]
"""(n, length) -> (n, n_features)."""

_SAMPLE_BYTES = 2**29


@runtime_checkable
class FittedFeatures(Protocol):
    """Features that look at some of the fields first."""

    @property
    def n_samples(self) -> int:
        """How many fields to look at, at most."""
        ...

    def fit(self, sample: Rows, /) -> Projection:
        """Return the function that reduces fields to features."""
        ...


Features: TypeAlias = FittedFeatures | Callable[[NDArray[np.generic]], Floats]
"""`Pca`, `SparseProjections`, or a function of a block (n, *field) that returns (n, n_features)."""


@dataclass(frozen=True, slots=True)
class Pca:
    """The leading principal components of the fields: the best few numbers for their distances.

    x -> (c_1 . x, ..., c_k . x), c_i the eigenvectors of the largest eigenvalues of the covariance
    of a sample, by the randomised range finder with two power iterations. The mean is not taken
    off, since distances do not feel it. Components are rounded to 12 bits: the last bits of a
    factorisation depend on the number of threads, and an order of fields should not.

    Parameters
    ----------
    n_components : int
        Fewer are kept of fields that are shorter, or samples that are smaller.
    n_samples : int
        Fields to fit to, at most, and at most half a gigabyte of them: evenly spaced ones of an
        array, the first ones of a stream.
    seed : int
        Of the range finder.

    References
    ----------
    Halko, Martinsson and Tropp 2011, doi:10.1137/090771806, algorithms 4.4 and 5.1.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)[:, None] * np.array([[3.0, 4.0]])
    >>> np.abs(Pca(1).fit(x)(x[-1:])).round(3).tolist()
    [[5.0]]
    """

    n_components: int = 8
    n_samples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive("n_components", self.n_components)
        _require_positive("n_samples", self.n_samples)

    def fit(self, sample: Rows) -> Projection:
        """Find the components of (n, length)."""
        components = principal_components(sample, self.n_components, self.seed)
        ulp = 2.0 ** (np.floor(np.log2(np.abs(components).max())) - 12)
        components = np.ascontiguousarray(np.round(components / ulp) * ulp)
        # einsum sums in one order; a matrix product may not.
        return lambda x: np.einsum("ij,kj->ik", x.astype(np.float64, copy=False), components)


def principal_components(sample: Rows, n_components: int, seed: int = 0) -> Floats:
    """Compute orthonormal components (n, length), the largest variance first.

    The sign of each is such that its sum with fixed random weights is positive.
    """
    rng = np.random.default_rng(seed)
    n, length = sample.shape
    kept = min(n_components, n, length)
    width = min(kept + 8, n, length)
    mean = np.add.reduce(sample, axis=0, dtype=np.float64) / n
    basis = rng.standard_normal((length, width))
    for _ in range(3):
        left, _ = np.linalg.qr(_centred_product(sample, mean, basis))
        basis, _ = np.linalg.qr(_centred_transposed_product(sample, mean, left))
    # The sample in the basis: width numbers a field, whose covariance has the components.
    scores = _centred_product(sample, mean, basis)
    _, vectors = np.linalg.eigh(scores.T @ scores)
    components = (basis @ vectors[:, ::-1][:, :kept]).T
    signs = np.where(components @ rng.random(length) < 0, -1.0, 1.0)
    return np.asarray(components * signs[:, None])


def _parts(sample: Rows) -> Iterator[slice]:
    step = max(1, _SAMPLE_BYTES // 32 // (8 * sample.shape[1]))
    return (slice(start, start + step) for start in range(0, len(sample), step))


def _centred_product(sample: Rows, mean: Floats, right: Floats) -> Floats:
    """Compute (sample - mean) right in double precision, without a copy of the sample."""
    wide = [sample[part].astype(np.float64, copy=False) @ right for part in _parts(sample)]
    return np.concatenate(wide) - mean @ right


def _centred_transposed_product(sample: Rows, mean: Floats, left: Floats) -> Floats:
    """Compute (sample - mean)^T left."""
    total = -np.outer(mean, left.sum(axis=0))
    for part in _parts(sample):
        total += sample[part].astype(np.float64, copy=False).T @ left[part]
    return total


@dataclass(frozen=True, slots=True)
class SparseProjections:
    """Sums and differences of a few random entries: no fit, almost no cost, distances to 20 %.

    x -> sqrt(s / k) R x with entries of R +1, -1 or 0 with probabilities 1 / 2s, 1 / 2s, 1 - 1 / s
    and s = sqrt(length): ||R x - R y||^2 is ||x - y||^2 on average, with a relative error of about
    sqrt(2 / k) for k features.

    Parameters
    ----------
    n_projections : int
    seed : int

    References
    ----------
    Li, Hastie and Church 2006, Very sparse random projections, doi:10.1145/1150402.1150436; used
    by Chen et al. 2019 (FastRP), doi:10.1145/3357384.3357879.

    Examples
    --------
    >>> SparseProjections(4).fit(np.zeros((1, 100)))(np.ones((2, 100))).shape
    (2, 4)
    """

    n_projections: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        _require_positive("n_projections", self.n_projections)

    @property
    def n_samples(self) -> int:
        """One field, for its length."""
        return 1

    def fit(self, sample: Rows) -> Projection:
        """Draw the projections for the length of a field."""
        length = sample.shape[1]
        sparsity = np.sqrt(length)
        rng = np.random.default_rng(self.seed)
        draws = rng.random((self.n_projections, length)) * 2 * sparsity
        plus = [np.flatnonzero(row < 1) for row in draws]
        minus = [np.flatnonzero((row >= 1) & (row < 2)) for row in draws]
        factor = np.sqrt(sparsity / self.n_projections)

        def project(x: Rows) -> Floats:
            sums = [
                x[:, p].sum(axis=1, dtype=np.float64) - x[:, m].sum(axis=1, dtype=np.float64)
                for p, m in zip(plus, minus, strict=True)
            ]
            return np.asarray(factor * np.stack(sums, axis=1))

        return project


def features_of(fields: Fields, features: Features | None) -> Floats:
    """Reduce all fields to features, reading them once and a block at a time.

    Parameters
    ----------
    fields : Fields
        (n, *field), or blocks of that.
    features : Features or None
        None for the fields themselves.

    Returns
    -------
    (n, n_features)

    Raises
    ------
    SolverError
        If the fields are unusable, or a function returns something else than numbers, a row each.
    """
    if features is None:
        return np.concatenate([block.astype(np.float64) for block in blocks_of(fields)])
    if not isinstance(features, FittedFeatures):
        return _custom(fields, features)
    known = array_of(fields)
    if known is not None:
        project = features.fit(_sample(known, features.n_samples))
        return np.concatenate([project(block) for block in blocks_of(known)])
    stream = blocks_of(fields)
    first = _first(stream, features.n_samples)
    project = features.fit(first[0] if len(first) == 1 else np.concatenate(first))
    return np.concatenate([project(block) for block in chain(first, stream)])


def _sample(array: NDArray[np.generic], n_samples: int) -> Rows:
    """Return evenly spaced fields of an array."""
    n = len(array)
    if n == 0:
        raise SolverError("fields expected at least one field of at least one number, got none")
    wanted = min(n, n_samples, max(64, _SAMPLE_BYTES // max(1, 8 * int(np.prod(array.shape[1:])))))
    sample = rows_of(array[np.arange(wanted) * n // wanted])
    if sample.shape[1] == 0 or not np.isfinite(sample).all():
        for _ in blocks_of(array):  # says which field is at fault
            pass
    return sample


def _first(stream: Iterator[Rows], n_samples: int) -> list[Rows]:
    """Return the first blocks of a stream, in single precision, until they are enough to fit to."""
    first: list[Rows] = []
    n_fields = n_bytes = 0
    for block in stream:
        first.append(block.astype(np.float32))
        n_fields += len(block)
        n_bytes += first[-1].nbytes
        if n_fields >= n_samples or n_bytes >= _SAMPLE_BYTES:
            break
    return first


def _custom(fields: Fields, features: Callable[[NDArray[np.generic]], Floats]) -> Floats:
    found: list[Floats] = []
    for given in given_blocks(fields):
        values = rows_of(features(given))
        if len(values) != len(given) or not np.isfinite(values).all():
            raise SolverError(
                f"features expected a function that returns finite numbers ({len(given)}, "
                f"n_features) for {len(given)} fields, got {values.shape}"
            )
        found.append(values.astype(np.float64))
    if not found:
        raise SolverError("fields expected at least one field of at least one number, got none")
    return np.concatenate(found)


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise SolverError(f"{name} expected a number >= 1, got {value}")
