"""Whether the data determine the subspaces of a fit: a test that needs no truth.

A subspace of rank r contains any r vectors exactly, so a small residual proves nothing. What counts
is how well it explains vectors that it was not fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from inverse.errors import DataError

__all__ = ["Evidence", "gather_evidence", "leading_axes"]

_FOLDS = 24
_TOLERATED_LOSS = 0.05
_TOLERATED_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Evidence:
    """How many vectors each component rests on, and how it explains those it has not seen.

    Parameters
    ----------
    rank : int
        Dimension r of the subspaces.
    counts : tuple of int
        Vectors assigned to each component.
    captured : tuple of float
        Share of their energy (about the component's mean) inside its subspace, 0 to 1.
    held_out : tuple of float
        The same for each vector with the subspace fitted to the others (cross-validation with
        the assignment fixed; one vector at a time for up to 24 of them).
    """

    rank: int
    counts: tuple[int, ...]
    captured: tuple[float, ...]
    held_out: tuple[float, ...]

    @property
    def few(self) -> tuple[int, ...]:
        """Components of no more vectors than their rank."""
        return tuple(k for k, n in enumerate(self.counts) if 0 < n <= self.rank)

    @property
    def unstable(self) -> tuple[int, ...]:
        """Other components that lose more than 5 % of the energy on vectors not fitted.

        That is a subspace off by about 13 degrees: sin^2 = 0.05. Components without vectors, or
        with vectors of zeros, are not judged.
        """
        return tuple(
            k
            for k, (seen, unseen) in enumerate(zip(self.captured, self.held_out, strict=True))
            if self.counts[k] > self.rank and unseen < (1 - _TOLERATED_LOSS) * seen
        )

    @property
    def undetermined(self) -> float:
        """Share of all vectors that belong to either kind, 0 to 1."""
        return sum(self.counts[k] for k in (*self.few, *self.unstable)) / sum(self.counts)

    @property
    def reliable(self) -> bool:
        """Whether the components that the data determine hold 95 % of the vectors."""
        return self.undetermined <= _TOLERATED_SHARE

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with which components, in words; empty when nothing is."""
        found = []
        if self.few:
            least = min(self.counts[k] for k in self.few)
            found.append(
                f"{self._of_all(self.few)} rest on no more vectors than their rank {self.rank} "
                f"(the smallest on {least}): any such vectors fit a subspace. Use more data, or "
                f"fewer components."
            )
        if self.unstable:
            k = min(self.unstable, key=lambda k: self.held_out[k] / self.captured[k])
            found.append(
                f"{self._of_all(self.unstable)} explain new vectors worse than those fitted (at "
                f"worst {self.held_out[k]:.0%} of their energy against {self.captured[k]:.0%}): "
                f"too few vectors, or not subspaces of rank {self.rank}. Use more data, or a "
                f"lower rank."
            )
        return tuple(found)

    def _of_all(self, components: tuple[int, ...]) -> str:
        share = sum(self.counts[k] for k in components) / sum(self.counts)
        return f"{len(components)} of {len(self.counts)} components, {share:.1%} of all vectors,"


def leading_axes(vectors: torch.Tensor, rank: int) -> torch.Tensor:
    """Return the `rank` directions with most energy, (D, rank), of vectors (n, D), n >= 0."""
    axes: torch.Tensor = torch.linalg.eigh(vectors.T @ vectors).eigenvectors
    return axes[:, -rank:].flip(1)


def gather_evidence(
    vectors: torch.Tensor, labels: torch.Tensor, means: torch.Tensor, rank: int
) -> Evidence:
    """Cross-validate the subspace of each component on its own vectors.

    Parameters
    ----------
    vectors : Tensor, (n, D)
    labels : Tensor, (n,), integer
        Component of each vector.
    means : Tensor, (K, D)
        Subtracted first.
    rank : int
        r.

    Raises
    ------
    DataError
        If a label is not one of the K components.

    Examples
    --------
    Two vectors always span a plane; a third that is not in it gives the plane away.

    >>> x = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]])
    >>> found = gather_evidence(x, torch.zeros(3, dtype=torch.int64), torch.zeros(1, 4), 2)
    >>> found.held_out, found.reliable
    ((0.0,), False)
    """
    n_components = len(means)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_components:
        raise DataError(f"labels expected 0 to {n_components - 1}, got {int(labels.max())}")
    counts, captured, held_out = [], [], []
    for component in range(n_components):
        members = vectors[labels == component] - means[component]
        counts.append(len(members))
        captured.append(_share(members, members, rank))
        held_out.append(_cross_validated(members, rank))
    return Evidence(rank, tuple(counts), tuple(captured), tuple(held_out))


def _share(members: torch.Tensor, fitted: torch.Tensor, rank: int) -> float:
    """Share of the members' energy in the subspace fitted to some vectors; 0 without members."""
    total = float(members.square().sum())
    return float((members @ leading_axes(fitted, rank)).square().sum()) / total if total else 0.0


def _cross_validated(members: torch.Tensor, rank: int) -> float:
    total = float(members.square().sum())
    if not total:
        return 0.0
    folds = min(_FOLDS, len(members))
    inside = 0.0
    for fold in range(folds):
        left_out = torch.arange(len(members), device=members.device) % folds == fold
        axes = _spanned(members[~left_out], rank)
        inside += float((members[left_out] @ axes).square().sum())
    return inside / total


def _spanned(vectors: torch.Tensor, rank: int) -> torch.Tensor:
    """Leading axes, of which no more than there are vectors: the rest would be arbitrary."""
    return leading_axes(vectors, min(rank, len(vectors))) if len(vectors) else vectors.T[:, :0]
