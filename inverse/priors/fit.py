"""Fit a patch prior to images: patches drawn from them, a mixture fitted to the patches, a card."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.priors.evidence import Evidence
from inverse.priors.mixture import LowRankMixture
from inverse.priors.molrg import PatchPrior
from inverse.priors.mppca import fit_mixture
from inverse.priors.subspaces import fit_subspaces
from inverse.settings import count

__all__ = ["FITS", "fit_prior", "sample_patches"]

_BLOCK = 16384
_N_SWEEPS = 12


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
        If an image is not larger than a patch, or holds NaN or infinity.
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
        n_drawn = math.ceil(n * part)
        rows = generator.integers(0, windows.shape[0], n_drawn)
        columns = generator.integers(0, windows.shape[1], n_drawn)
        patches = windows[rows, columns]
        for quarter in range(4):
            patches[quarter::4] = np.rot90(patches[quarter::4], quarter, (1, 2))
        flipped = generator.random(n_drawn) < 0.5
        patches[flipped] = patches[flipped][:, ::-1]
        drawn.append(patches.reshape(n_drawn, -1))
    vectors = torch.from_numpy(np.concatenate(drawn).astype(np.float32))
    return vectors - vectors.mean(1, keepdim=True)


def fit_prior(
    images: Sequence[NDArray[np.floating]],
    *,
    size: int = 8,
    n_components: int = 128,
    rank: int = 32,
    method: str = "em",
    seed: int = 0,
    n_patches: int = 60_000,
    name: str = "patches",
    data: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> PatchPrior:
    """Fit a mixture of low-rank Gaussians to mean-free patches of images.

    Parameters
    ----------
    images : sequence of (y, x)
        Grey values with a peak of about one, of any sizes above that of a patch.
    size : int
        Edge of a patch in pixels.
    n_components, rank : int
        K and r of the mixture.
    method : {"em", "subspaces"}
        Maximum likelihood (`fit_mixture`), or K-subspaces (`fit_subspaces`).
    seed : int
        Of the patches and of the start.
    n_patches : int
        Drawn from all images together.
    name : str
        What reports call the prior.
    data : str
        What the images are, for the card.
    progress : function, optional
        Called as progress(done, total).

    Returns
    -------
    PatchPrior
        Its card holds data, number of images and patches, seed, method, log-likelihood of a patch,
        vectors of the smallest component, how many patches belong to components that the data do
        not determine, and warnings (see `inverse.priors.evidence`).

    Raises
    ------
    UsageError
        If the method is unknown or a number out of range.
    DataError
        If there is no image, an image is not larger than a patch, or there are too few patches.

    Examples
    --------
    >>> image = np.sin(0.2 * np.arange(32)) * np.cos(0.3 * np.arange(32))[:, None]
    >>> prior = fit_prior([image], size=4, n_components=2, rank=3, n_patches=500)
    >>> prior.card["reliable"], prior.denoise(torch.zeros(8, 8), 0.1).shape
    ('yes', torch.Size([8, 8]))
    """
    if method not in FITS:
        raise UsageError(f"method expected one of {', '.join(FITS)}; got '{method}'")
    if not images:
        raise DataError("fitting a prior needs at least one image, got none")
    for key, value in (("n_patches", n_patches), ("rank", rank)):
        count(key, value)
    vectors = sample_patches(images, count("size", size, low=2), n_patches, _numpy(seed))
    mixture, evidence, facts = FITS[method](
        vectors, count("n_components", n_components), rank, seed, progress
    )
    card = {
        "data": data or f"{len(images)} images",
        "images": str(len(images)),
        "patches": str(len(vectors)),
        "seed": str(seed),
        "method": method,
        "n_components": str(n_components),
        "rank": str(rank),
        **facts,
        "smallest_component": str(min(evidence.counts)),
        "undetermined": f"{evidence.undetermined:.2%} of the patches",
        "reliable": "yes" if evidence.reliable else "no",
        **({"warnings": " ".join(evidence.warnings)} if evidence.warnings else {}),
    }
    return PatchPrior(mixture, size, min(4, size), name=name, card=card)


def _numpy(seed: int) -> np.random.Generator:
    return np.random.default_rng(count("seed", seed, low=0))


Fit = Callable[
    [torch.Tensor, int, int, int, Callable[[int, int], None] | None],
    tuple[LowRankMixture, Evidence, dict[str, str]],
]


def _by_likelihood(
    vectors: torch.Tensor,
    n_components: int,
    rank: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[LowRankMixture, Evidence, dict[str, str]]:
    found = fit_mixture(
        vectors,
        n_components=n_components,
        rank=rank,
        generator=torch.Generator().manual_seed(seed),
        n_sweeps=_N_SWEEPS,
        n_annealed=0,  # worth it only with few vectors for each component
        progress=progress,
    )
    return found.mixture, found.evidence, {"log_likelihood": f"{found.log_likelihood[-1]:.3f}"}


def _by_subspaces(
    vectors: torch.Tensor,
    n_components: int,
    rank: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[LowRankMixture, Evidence, dict[str, str]]:
    found = fit_subspaces(
        vectors,
        n_components=n_components,
        rank=rank,
        generator=torch.Generator().manual_seed(seed),
        n_restarts=2,
        n_iterations=_N_SWEEPS,
        progress=progress,
    )
    density = torch.cat([found.mixture.log_density(part, 0.0) for part in vectors.split(_BLOCK)])
    facts = {"log_likelihood": f"{float(density.mean()):.3f}", "residual": f"{found.residual:.4f}"}
    return found.mixture, found.evidence, facts


FITS: Mapping[str, Fit] = {"em": _by_likelihood, "subspaces": _by_subspaces}
"""How a mixture is fitted to patches, by name."""
