"""K-subspaces: found when there are vectors enough, said so when not; and why it is the loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from inverse.errors import DataError, UsageError
from inverse.priors import LowRankMixture
from inverse.priors.mppca import fit_mixture
from inverse.priors.subspaces import FittedSubspaces, fit_subspaces, principal_angles

D, R, K = 48, 6, 3
F64 = torch.float64


def planted_bases(seed: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(K, D, R, generator=draw, dtype=F64)).Q


def draw_vectors(bases: torch.Tensor, per_subspace: int, seed: int) -> torch.Tensor:
    """As many vectors of each subspace, and one per mille of noise."""
    draw = torch.Generator().manual_seed(1000 + seed)
    inside = torch.randn(K, per_subspace, R, generator=draw, dtype=F64)
    vectors = (inside @ bases.mT).reshape(-1, D)
    noise = torch.randn(vectors.shape, generator=draw, dtype=F64)
    return vectors + 1e-3 * noise


def fit(x: torch.Tensor, seed: int, n_restarts: int = 20) -> FittedSubspaces:
    draw = torch.Generator().manual_seed(seed)
    return fit_subspaces(
        x, n_components=K, rank=R, generator=draw, floor=1e-3, n_restarts=n_restarts
    )


def largest_angle_deg(found: LowRankMixture, bases: torch.Tensor) -> float:
    """Worst principal angle between a true subspace and the found one nearest to it, by SciPy."""
    worst = [
        min(
            float(np.rad2deg(scipy.linalg.subspace_angles(u.numpy(), v.numpy())[0]))
            for v in found.bases
        )
        for u in bases
    ]
    return max(worst)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_subspace", [2 * R, 4 * R])
def test_subspaces_are_found_when_there_are_vectors_enough(per_subspace: int, seed: int) -> None:
    bases = planted_bases(seed)
    x = draw_vectors(bases, per_subspace, seed)
    found = fit(x, seed)
    assert largest_angle_deg(found.mixture, bases) < 5
    assert found.reliable, found.evidence.warnings
    assert sorted(found.evidence.counts) == [per_subspace] * K
    draw = torch.Generator().manual_seed(seed)
    em = fit_mixture(x, n_components=K, rank=R, generator=draw, floor=1e-3, start=found.mixture)
    assert largest_angle_deg(em.mixture, bases) < 5
    assert em.reliable, em.evidence.warnings


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("per_subspace", [R // 2, R - 2, R])
def test_failure_is_stated_when_there_are_not(per_subspace: int, seed: int) -> None:
    """Any R vectors fit a subspace of R dimensions: no residual, and yet nothing was found."""
    bases = planted_bases(seed)
    x = draw_vectors(bases, per_subspace, seed)
    found = fit(x, seed)
    assert largest_angle_deg(found.mixture, bases) > 20
    assert found.residual < 0.005
    assert not found.reliable
    assert "Use more data" in " ".join(found.evidence.warnings)
    draw = torch.Generator().manual_seed(seed)
    em = fit_mixture(x, n_components=K, rank=R, generator=draw, floor=0.01)
    assert not em.reliable


def test_annealed_likelihood_finds_them_as_well() -> None:
    """Without the start from K-subspaces, the best of three seeds."""
    bases = planted_bases(0)
    x = draw_vectors(bases, 4 * R, 0)
    fits = [
        fit_mixture(
            x, n_components=K, rank=R, generator=torch.Generator().manual_seed(s), floor=0.01
        )
        for s in range(3)
    ]
    best = max(fits, key=lambda found: found.log_likelihood[-1])
    assert largest_angle_deg(best.mixture, bases) < 5


def test_the_best_restart_is_kept_and_the_residual_is_that_of_its_subspaces() -> None:
    x = draw_vectors(planted_bases(5), 10, 5)
    x = x + 0.2 * torch.randn(x.shape, generator=torch.Generator().manual_seed(6), dtype=F64)
    found = fit(x, 0, n_restarts=6)
    assert len(found.residuals) == 6
    assert found.residual == min(found.residuals) < max(found.residuals)
    outside = torch.stack(
        [(x - x @ basis @ basis.mT).square().sum(1) for basis in found.mixture.bases]
    )
    assert found.residual == pytest.approx(
        float(outside.amin(0).sum() / x.square().sum()), rel=1e-6
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_training_loss_is_that_of_subspace_clustering(seed: int) -> None:
    """Theorem 2 of Wang et al.: E |denoise(x + sigma n) - x|^2 = residual + sigma^2 r, small sigma.

    For any subspaces, right or wrong, by Monte Carlo over n; the paper's model: mu = 0, L = 1,
    s = 0, equal weights.
    """
    x = draw_vectors(planted_bases(seed), 20, seed)
    any_bases = planted_bases(seed + 100 * (seed % 2))
    paper = LowRankMixture(
        torch.full((K,), -math.log(K), dtype=F64),
        torch.zeros(K, D, dtype=F64),
        any_bases,
        torch.ones(K, R, dtype=F64),
        torch.zeros(K, dtype=F64),
    )
    sigma, draw = 1e-3, torch.Generator().manual_seed(seed)
    losses = [
        float((paper.denoise(x + sigma * n, sigma) - x).square().sum(1).mean())
        for n in torch.randn(50, *x.shape, generator=draw, dtype=F64)
    ]
    outside = torch.stack([(x - x @ u @ u.mT).square().sum(1) for u in any_bases])
    clustering = float(outside.amin(0).mean())
    assert np.mean(losses) == pytest.approx(clustering + sigma**2 * R, rel=0.01)


def test_clusters_make_a_mixture_of_their_shares_and_variances() -> None:
    draw = torch.Generator().manual_seed(7)
    axes = torch.linalg.qr(torch.randn(8, 8, generator=draw, dtype=F64)).Q
    large = torch.randn(300, 2, generator=draw, dtype=F64) @ (3 * axes[:, :2]).T
    small = torch.randn(100, 2, generator=draw, dtype=F64) @ axes[:, 2:4].T
    found = fit_subspaces(
        torch.cat([large, small]), n_components=2, rank=2, generator=draw, n_restarts=3
    ).mixture
    order = found.log_weights.argsort(descending=True)
    torch.testing.assert_close(
        found.log_weights[order].exp(), torch.tensor([0.75, 0.25], dtype=F64), atol=0.01, rtol=0
    )
    torch.testing.assert_close(
        found.variances[order].mean(1), torch.tensor([9.0, 1.0], dtype=F64), atol=0, rtol=0.2
    )
    assert not found.means.any()


def test_principal_angles_are_those_of_scipy() -> None:
    draw = torch.Generator().manual_seed(8)
    u, v = torch.linalg.qr(torch.randn(2, 9, 3, generator=draw, dtype=F64)).Q
    tilted = torch.linalg.qr(u + 1e-9 * v).Q
    for other in (v, tilted, u):
        expected = np.rad2deg(scipy.linalg.subspace_angles(u.numpy(), other.numpy()))[::-1]
        np.testing.assert_allclose(principal_angles(u, other), expected, rtol=1e-6, atol=1e-12)


def test_vectors_of_zeros_leave_clusters_without_variance() -> None:
    draw = torch.Generator().manual_seed(9)
    found = fit_subspaces(torch.zeros(10, 4), n_components=2, rank=2, generator=draw)
    assert found.residual == 0
    assert not found.mixture.variances.any()


def test_what_cannot_be_fitted_is_refused() -> None:
    draw = torch.Generator()
    with pytest.raises(
        DataError, match=r"needs more than 5 vectors longer than 2, got shape \(5, 8"
    ):
        fit_subspaces(torch.zeros(5, 8), n_components=5, rank=2, generator=draw)
    with pytest.raises(UsageError, match="n_restarts expected an integer >= 1"):
        fit_subspaces(torch.ones(9, 8), n_components=2, rank=2, generator=draw, n_restarts=0)
