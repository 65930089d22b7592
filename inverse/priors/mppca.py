"""Expectation maximisation for a mixture of low-rank Gaussians (probabilistic PCA)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from inverse.errors import DataError
from inverse.priors.evidence import Evidence, gather_evidence
from inverse.priors.mixture import LowRankMixture

__all__ = ["FittedMixture", "check_sizes", "fit_mixture", "most_likely", "update"]

_BLOCK = 16384


@dataclass(frozen=True, slots=True, eq=False)
class FittedMixture:
    """A mixture and how its fit went.

    Parameters
    ----------
    mixture : LowRankMixture
    log_likelihood : tuple of float
        Mean log-density of the training vectors (nats each) before each of the last updates.
    evidence : Evidence
        Vectors of each component, and whether they determine its subspace.
    """

    mixture: LowRankMixture
    log_likelihood: tuple[float, ...]
    evidence: Evidence

    @property
    def reliable(self) -> bool:
        """Whether the data determine every subspace; `evidence.warnings` says what is missing."""
        return self.evidence.reliable


def fit_mixture(
    vectors: torch.Tensor,
    *,
    n_components: int,
    rank: int,
    generator: torch.Generator,
    floor: float = 0.005,
    n_sweeps: int = 12,
    n_annealed: int = 30,
    with_means: bool = False,
    start: LowRankMixture | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FittedMixture:
    """Maximise the likelihood of a mixture of probabilistic principal components.

    E: w_nk = P(component k | x_n).  M: mu_k = sum_n w_nk x_n / sum_n w_nk (or 0),
    C_k = sum_n w_nk (x_n - mu_k)(x_n - mu_k)^T / sum_n w_nk, whose leading eigenvectors are U_k and
    whose other eigenvalues average to s_k^2.

    Parameters
    ----------
    vectors : Tensor, (n, D)
        Training data.
    n_components, rank : int
        K and r.
    generator : torch.Generator
        Chooses the vectors that the components start from.
    floor : float
        Smallest s_k, in the units of the data; keeps flat patches from collapsing a component.
    n_sweeps : int
        Updates at the end.
    n_annealed : int
        Updates before, as if the vectors carried noise that falls from twice their size by 15 %
        a time: coarse structure settles first. With few vectors a component it decides whether
        the subspaces are found; with a thousand times as many as components it can be left out.
    with_means : bool
        Whether the components have means of their own; mean-free patches, whose negative is as
        likely, need none.
    start : LowRankMixture, optional
        Where to start from instead, at once and without annealing: with few vectors, the mixture
        that `fit_subspaces` found.
    progress : function, optional
        Called as progress(done, total).

    Returns
    -------
    FittedMixture

    Raises
    ------
    DataError
        If there are not more vectors than components, or the rank does not fit.

    References
    ----------
    Tipping and Bishop 1999, doi:10.1162/089976699300016728, appendix C; without means the start is
    one step of K-subspaces, to which Wang et al. 2024 (arXiv 2409.02426, theorem 2) reduce the
    training loss.
    """
    check_sizes(vectors, n_components, rank)
    likelihood: list[float] = []
    if start is not None:
        mixture, n_annealed = start, 0
    else:
        choose = _nearest_vector if with_means else _nearest_line
        weights = choose(vectors, n_components, generator)
        mixture = update(vectors, weights, rank, floor, with_means=with_means)
    size = float(vectors.square().mean().sqrt())
    levels = [2 * size * 0.85**sweep for sweep in range(n_annealed)] + [0.0] * n_sweeps
    for done, sigma in enumerate(levels):
        joint = torch.cat([mixture.log_joint(part, sigma) for part in vectors.split(_BLOCK)])
        evidence = torch.logsumexp(joint, 1)
        if sigma == 0:
            likelihood.append(float(evidence.mean()))
        weights = (joint - evidence[:, None]).exp()
        mixture = update(vectors, weights, rank, floor, with_means=with_means)
        if progress is not None:
            progress(done + 1, len(levels))
    labels = most_likely(mixture, vectors)
    evidence_found = gather_evidence(vectors, labels, mixture.means, rank)
    return FittedMixture(mixture, tuple(likelihood), evidence_found)


def check_sizes(vectors: torch.Tensor, n_components: int, rank: int) -> None:
    """Refuse a fit that is not one.

    Raises
    ------
    DataError
        If there are not more vectors than components, or the rank does not fit.
    """
    n, d = vectors.shape
    if n_components < 1 or n <= n_components or not 1 <= rank < d:
        raise DataError(
            f"fitting {n_components} components of rank {rank} needs more than {n_components} "
            f"vectors longer than {rank}, got shape {(n, d)}"
        )


def most_likely(mixture: LowRankMixture, vectors: torch.Tensor) -> torch.Tensor:
    """Component of largest responsibility without noise, (n,), for vectors (n, D)."""
    return torch.cat([mixture.log_joint(part, 0.0).argmax(1) for part in vectors.split(_BLOCK)])


def _nearest_line(
    vectors: torch.Tensor, n_components: int, generator: torch.Generator
) -> torch.Tensor:
    """Assign each vector to the random training vector whose line it is closest to."""
    chosen = torch.randperm(len(vectors), generator=generator)[:n_components]
    lines = torch.nn.functional.normalize(vectors[chosen], dim=1)
    labels = torch.cat([(part @ lines.T).abs().argmax(1) for part in vectors.split(_BLOCK)])
    return torch.nn.functional.one_hot(labels, n_components).to(vectors.dtype)


def _nearest_vector(
    vectors: torch.Tensor, n_components: int, generator: torch.Generator
) -> torch.Tensor:
    """Assign each vector to the closest of some training vectors, which are far from each other.

    Each is drawn in proportion to its squared distance from those before (k-means++).
    """
    first = int(torch.randint(len(vectors), (), generator=generator))
    squared = (vectors - vectors[first]).square().sum(1)
    labels = torch.zeros(len(vectors), dtype=torch.int64, device=vectors.device)
    for component in range(1, n_components):
        # Copies of one vector are at no distance from each other; then any will do.
        share = squared if bool(squared.any()) else torch.ones_like(squared)
        chosen = int(torch.searchsorted(share.cumsum(0), _uniform(share, generator)))
        distance = (vectors - vectors[min(chosen, len(vectors) - 1)]).square().sum(1)
        labels[distance < squared] = component
        squared = squared.minimum(distance)
    return torch.nn.functional.one_hot(labels, n_components).to(vectors.dtype)


def _uniform(share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Draw uniformly from 0 to the sum of the shares."""
    return torch.rand((), generator=generator, dtype=share.dtype).to(share.device) * share.sum()


def update(
    vectors: torch.Tensor,
    weights: torch.Tensor,
    rank: int,
    floor: float,
    *,
    with_means: bool = False,
) -> LowRankMixture:
    """M step: the mixture that responsibilities of (n, K) make of vectors (n, D).

    Parameters
    ----------
    vectors : Tensor, (n, D)
    weights : Tensor, (n, K)
    rank : int
    floor : float
        Smallest s_k.
    with_means : bool
    """
    d, k = vectors.shape[1], weights.shape[1]
    mass = weights.sum(0)
    means, covariance = vectors.new_zeros(k, d), vectors.new_zeros(k, d, d)
    for component in range(k):
        rows = torch.nonzero(weights[:, component] > 1e-4).flatten()
        members, shares = vectors[rows], weights[rows, component, None]
        if with_means and len(rows):
            means[component] = (members * shares).sum(0) / shares.sum()
            members = members - means[component]
        covariance[component] = (members * shares).T @ members
    # An empty component keeps a weight of one vector and only the floor.
    covariance = covariance / mass.clamp_min(1.0)[:, None, None]
    values, axes = torch.linalg.eigh(covariance)
    values, axes = values.flip(-1), axes.flip(-1)
    floors = values[:, rank:].mean(1).clamp_min(floor**2)
    return LowRankMixture(
        log_weights=((mass + 1) / (mass + 1).sum()).log(),
        means=means,
        bases=axes[:, :, :rank].contiguous(),
        variances=(values[:, :rank] - floors[:, None]).clamp_min(0),
        floors=floors,
    )
