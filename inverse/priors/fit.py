"""Fit a patch prior to images: expectation maximisation for a mixture of low-rank Gaussians."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.priors.mixture import LowRankMixture

__all__ = ["FittedMixture", "fit_mixture", "sample_patches"]

_BLOCK = 16384


@dataclass(frozen=True, slots=True, eq=False)
class FittedMixture:
    """A mixture and how its fit went.

    Parameters
    ----------
    mixture : LowRankMixture
    log_likelihood : tuple of float
        Mean log-density of the training vectors before each of the last updates.
    """

    mixture: LowRankMixture
    log_likelihood: tuple[float, ...]


def sample_patches(
    images: Sequence[NDArray[np.floating]],
    size: int,
    n: int,
    generator: np.random.Generator,
) -> torch.Tensor:
    """Draw mean-free patches at random places, each in one of the eight square symmetries.

    Parameters
    ----------
    images : sequence of (y, x)
        Grey values with a peak of about one; an image is drawn from in proportion to the square
        root of its area, so that large ones do not drown the rest.
    size : int
        Edge of a patch in pixels.
    n : int
        How many patches, approximately.
    generator : numpy.random.Generator

    Returns
    -------
    Tensor, (n, size^2), float32

    Raises
    ------
    DataError
        If an image is smaller than a patch or holds NaN or infinity.
    """
    share = np.sqrt([image.size for image in images])
    share /= share.sum()
    drawn = []
    for number, (image, part) in enumerate(zip(images, share, strict=True)):
        if image.ndim != 2 or min(image.shape) <= size or not np.isfinite(image).all():
            raise DataError(
                f"image {number} expected finite values of shape (y, x), larger than "
                f"{size}x{size}; got shape {image.shape}"
            )
        windows = np.lib.stride_tricks.sliding_window_view(image, (size, size))
        count = math.ceil(n * part)
        rows = generator.integers(0, windows.shape[0], count)
        columns = generator.integers(0, windows.shape[1], count)
        patches = windows[rows, columns]
        for quarter in range(4):
            patches[quarter::4] = np.rot90(patches[quarter::4], quarter, (1, 2))
        flipped = generator.random(count) < 0.5
        patches[flipped] = patches[flipped][:, ::-1]
        drawn.append(patches.reshape(count, -1))
    vectors = torch.from_numpy(np.concatenate(drawn).astype(np.float32))
    return vectors - vectors.mean(1, keepdim=True)


def fit_mixture(
    vectors: torch.Tensor,
    *,
    n_components: int,
    rank: int,
    generator: torch.Generator,
    floor: float = 0.005,
    n_sweeps: int = 12,
    n_annealed: int = 30,
    progress: Callable[[int, int], None] | None = None,
) -> FittedMixture:
    """Maximise the likelihood of a zero-mean mixture of probabilistic principal components.

    E: w_nk = P(component k | x_n).  M: C_k = sum_n w_nk x_n x_n^T / sum_n w_nk, whose leading
    eigenvectors are U_k and whose other eigenvalues average to s_k^2.

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
    Tipping and Bishop 1999, doi:10.1162/089976699300016728, appendix C; the start is one step of
    K-subspaces, to which Wang et al. 2024 (arXiv 2409.02426, theorem 2) reduce the training loss.
    """
    n, d = vectors.shape
    if n <= n_components or not 1 <= rank < d:
        raise DataError(
            f"fitting {n_components} components of rank {rank} needs more than {n_components} "
            f"vectors longer than {rank}, got shape {(n, d)}"
        )
    likelihood: list[float] = []
    mixture = _update(vectors, _start(vectors, n_components, generator), rank, floor)
    size = float(vectors.square().mean().sqrt())
    levels = [2 * size * 0.85**sweep for sweep in range(n_annealed)] + [0.0] * n_sweeps
    for done, sigma in enumerate(levels):
        joint = torch.cat([mixture.log_joint(part, sigma) for part in vectors.split(_BLOCK)])
        evidence = torch.logsumexp(joint, 1)
        if sigma == 0:
            likelihood.append(float(evidence.mean()))
        mixture = _update(vectors, (joint - evidence[:, None]).exp(), rank, floor)
        if progress is not None:
            progress(done + 1, len(levels))
    return FittedMixture(mixture, tuple(likelihood))


def _start(vectors: torch.Tensor, n_components: int, generator: torch.Generator) -> torch.Tensor:
    """Assign each vector to the random training vector whose line it is closest to."""
    chosen = torch.randperm(len(vectors), generator=generator)[:n_components]
    lines = torch.nn.functional.normalize(vectors[chosen], dim=1)
    labels = torch.cat([(part @ lines.T).abs().argmax(1) for part in vectors.split(_BLOCK)])
    return torch.nn.functional.one_hot(labels, n_components).to(vectors.dtype)


def _update(
    vectors: torch.Tensor, weights: torch.Tensor, rank: int, floor: float
) -> LowRankMixture:
    d, k = vectors.shape[1], weights.shape[1]
    mass = weights.sum(0)
    covariance = vectors.new_zeros(k, d, d)
    for component in range(k):
        rows = torch.nonzero(weights[:, component] > 1e-4).flatten()
        members = vectors[rows]
        covariance[component] = (members * weights[rows, component, None]).T @ members
    # An empty component keeps a weight of one vector and only the floor.
    covariance = covariance / mass.clamp_min(1.0)[:, None, None]
    values, axes = torch.linalg.eigh(covariance)
    values, axes = values.flip(-1), axes.flip(-1)
    floors = values[:, rank:].mean(1).clamp_min(floor**2)
    return LowRankMixture(
        log_weights=((mass + 1) / (mass + 1).sum()).log(),
        means=vectors.new_zeros(k, d),
        bases=axes[:, :, :rank].contiguous(),
        variances=(values[:, :rank] - floors[:, None]).clamp_min(0),
        floors=floors,
    )
