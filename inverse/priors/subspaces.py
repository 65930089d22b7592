"""K-subspaces: cluster vectors by the low-dimensional subspace they are closest to.

    min over U_1..U_K and assignments  sum_n || x_n - U_k(n) U_k(n)^T x_n ||^2

is what training a denoiser of a mixture of low-rank Gaussians comes to when the noise is small:
its loss is this sum plus sigma^2 r for each vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from inverse.priors.evidence import Evidence, gather_evidence, leading_axes
from inverse.priors.mixture import LowRankMixture
from inverse.priors.mppca import check_sizes, update
from inverse.settings import count

__all__ = ["FittedSubspaces", "fit_subspaces", "principal_angles"]


@dataclass(frozen=True, slots=True, eq=False)
class FittedSubspaces:
    """The best of several K-subspaces fits.

    Parameters
    ----------
    mixture : LowRankMixture
        Of the clusters: their shares, subspaces, and variances inside and outside; zero means.
    residual : float
        Share of the vectors' energy outside the subspace of their cluster, 0 to 1.
    residuals : tuple of float
        That of every restart; when few reach the least, more restarts may find less.
    evidence : Evidence
        Vectors of each cluster, and whether they determine its subspace.
    """

    mixture: LowRankMixture
    residual: float
    residuals: tuple[float, ...]
    evidence: Evidence

    @property
    def reliable(self) -> bool:
        """Whether the data determine every subspace; `evidence.warnings` says what is missing."""
        return self.evidence.reliable


def fit_subspaces(
    vectors: torch.Tensor,
    *,
    n_components: int,
    rank: int,
    generator: torch.Generator,
    floor: float = 0.005,
    n_restarts: int = 10,
    n_iterations: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> FittedSubspaces:
    """Alternate between assigning vectors to subspaces and fitting subspaces to vectors.

    Both steps lower the sum above, which ends in a local minimum: the best of several starts is
    kept. A start is made of neighbourhoods: a vector, drawn in proportion to what the subspaces so
    far leave of it, and the r vectors at the smallest angles to it.

    Parameters
    ----------
    vectors : Tensor, (n, D)
        Training data, about zero.
    n_components, rank : int
        K and r.
    generator : torch.Generator
        Draws the starts.
    floor : float
        Smallest s_k of the mixture, in the units of the data.
    n_restarts : int
        Starts tried.
    n_iterations : int
        Limit for each; it ends before when no assignment changes.
    progress : function, optional
        Called as progress(done, total), after each start.

    Returns
    -------
    FittedSubspaces

    Raises
    ------
    DataError
        If there are not more vectors than components, or the rank does not fit.
    UsageError
        If the number of starts or iterations is not positive.

    References
    ----------
    Bradley and Mangasarian 2000, doi:10.1023/A:1008324625522 (the algorithm); Wang et al. 2024,
    arXiv 2409.02426, theorems 2 and 4 (why it is the training loss; N_k >= r vectors needed)
    """
    check_sizes(vectors, n_components, rank)
    count("n_restarts", n_restarts)
    count("n_iterations", n_iterations)
    energy = float(vectors.square().sum())
    best, least = None, float("inf")
    residuals = []
    for restart in range(n_restarts):
        bases = _neighbourhoods(vectors, n_components, rank, generator)
        labels, inside = _assign(vectors, bases)
        for _ in range(n_iterations):
            bases = _refit(vectors, labels, bases)
            before = labels
            labels, inside = _assign(vectors, bases)
            if torch.equal(labels, before):
                break
        residuals.append(max(0.0, 1 - inside / energy) if energy else 0.0)
        if residuals[-1] < least:
            best, least = labels, residuals[-1]
        if progress is not None:
            progress(restart + 1, n_restarts)
    assert best is not None  # noqa: S101 -- there is at least one restart
    one_hot = torch.nn.functional.one_hot(best, n_components).to(vectors.dtype)
    mixture = update(vectors, one_hot, rank, floor)
    evidence = gather_evidence(vectors, best, mixture.means, rank)
    return FittedSubspaces(mixture, least, tuple(residuals), evidence)


def _neighbourhoods(
    vectors: torch.Tensor, n_components: int, rank: int, generator: torch.Generator
) -> torch.Tensor:
    """Bases (K, D, r), each of vectors at small angles to one that the others leave out."""
    unit = torch.nn.functional.normalize(vectors, dim=1)
    left = vectors.square().sum(1)
    bases = []
    for _ in range(n_components):
        # In double precision the last of many cumulated shares is still found.
        share = left.double().clamp_min(0)
        share = share if bool(share.any()) else torch.ones_like(share)
        level = torch.rand((), generator=generator, dtype=torch.float64).to(share.device)
        seed = int(torch.searchsorted(share.cumsum(0), level * share.sum()))
        cosine = (unit @ unit[min(seed, len(unit) - 1)]).abs()
        near = cosine.topk(min(rank, len(unit))).indices
        basis = leading_axes(unit[near], rank)
        bases.append(basis)
        left = left.minimum(vectors.square().sum(1) - (vectors @ basis).square().sum(1))
    return torch.stack(bases)


def _assign(vectors: torch.Tensor, bases: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Cluster of each vector, and the energy inside all their subspaces."""
    energies = torch.stack([(vectors @ basis).square().sum(1) for basis in bases], 1)
    found = energies.max(1)
    return found.indices, float(found.values.sum())


def _refit(vectors: torch.Tensor, labels: torch.Tensor, bases: torch.Tensor) -> torch.Tensor:
    """Leading axes of every cluster; one without vectors keeps its basis."""
    rank = bases.shape[2]
    members = [vectors[labels == component] for component in range(len(bases))]
    return torch.stack(
        [
            leading_axes(part, rank) if len(part) else basis
            for part, basis in zip(members, bases, strict=True)
        ]
    )


def principal_angles(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Angles between two subspaces in degrees, smallest first.

    Parameters
    ----------
    first, second : Tensor, (D, r)
        Orthonormal bases.

    Returns
    -------
    Tensor, (r,)

    References
    ----------
    Bjorck and Golub 1973, doi:10.1090/S0025-5718-1973-0348991-3, eq. 7 and 13: angles below 45
    degrees by their sine, which rounding leaves exact where the cosine is flat.

    Examples
    --------
    >>> axes = torch.eye(3)
    >>> principal_angles(axes[:, :2], axes[:, 1:]).tolist()
    [0.0, 90.0]
    """
    shared = first.mT @ second
    cosine = torch.linalg.svdvals(shared).clamp(0, 1)
    sine = torch.linalg.svdvals(second - first @ shared).flip(0).clamp(0, 1)
    return torch.rad2deg(torch.where(cosine**2 > 0.5, sine.arcsin(), cosine.arccos()))
