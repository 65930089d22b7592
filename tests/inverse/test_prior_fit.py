"""Fitting: subspaces are found when there are samples enough, as the theory says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from inverse.errors import DataError
from inverse.priors import LowRankMixture
from inverse.priors.fit import fit_mixture, sample_patches


def planted(d: int, r: int, k: int) -> LowRankMixture:
    draw = torch.Generator().manual_seed(0)
    bases = torch.linalg.qr(torch.randn(k, d, r, generator=draw)).Q
    return LowRankMixture(
        torch.full((k,), -np.log(k)),
        torch.zeros(k, d),
        bases.contiguous(),
        torch.ones(k, r),
        torch.full((k,), 1e-6),
    )


def largest_angle_deg(found: LowRankMixture, truth: LowRankMixture) -> float:
    """Worst principal angle between each true subspace and the nearest found one."""
    overlap = torch.einsum("kdr,jds->kjrs", truth.bases, found.bases)
    cosine = torch.linalg.svdvals(overlap)[..., -1]
    return float(torch.rad2deg(torch.arccos(cosine.amax(1).min().clamp(max=1.0))))


@pytest.mark.parametrize(("per_subspace", "is_found"), [(24, True), (4, False)])
def test_subspaces_need_as_many_samples_as_dimensions(per_subspace: int, *, is_found: bool) -> None:
    """The phase transition of Wang et al. 2024: N_k >= d recovers, N_k < d cannot."""
    truth = planted(d=48, r=6, k=3)
    x = truth.sample(3 * per_subspace, torch.Generator().manual_seed(1))
    angles = [
        largest_angle_deg(
            fit_mixture(
                x, n_components=3, rank=6, generator=torch.Generator().manual_seed(s), floor=0.01
            ).mixture,
            truth,
        )
        for s in range(4)
    ]
    assert (min(angles) < 5.0) == is_found, angles


def test_likelihood_never_falls() -> None:
    x = planted(d=16, r=3, k=4).sample(2000, torch.Generator().manual_seed(2))
    draw = torch.Generator().manual_seed(3)
    history = fit_mixture(x, n_components=4, rank=3, generator=draw, floor=1e-4).log_likelihood
    assert all(b >= a - 1e-3 for a, b in pairwise(history)), history


def test_patches_are_mean_free_and_reproducible() -> None:
    image = np.random.default_rng(0).random((40, 30))
    first = sample_patches([image], 8, 500, np.random.default_rng(1))
    again = sample_patches([image], 8, 500, np.random.default_rng(1))
    assert first.shape == (500, 64)
    assert float(first.mean(1).abs().max()) < 1e-6
    assert torch.equal(first, again)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="larger than 8x8"):
        sample_patches([np.zeros((8, 20))], 8, 10, np.random.default_rng(0))
    with pytest.raises(DataError, match="needs more than 5"):
        fit_mixture(torch.zeros(5, 8), n_components=5, rank=2, generator=torch.Generator())
