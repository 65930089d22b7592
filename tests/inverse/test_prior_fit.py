"""Fitting: likelihood never falls, means are found, cards say what was fitted and how well."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.priors import LowRankMixture, PatchPrior
from inverse.priors.evidence import Evidence, gather_evidence
from inverse.priors.fit import FITS, fit_prior, sample_patches
from inverse.priors.mppca import fit_mixture


def planted(d: int, r: int, k: int) -> LowRankMixture:
    draw = torch.Generator().manual_seed(0)
    bases = torch.linalg.qr(torch.randn(k, d, r, generator=draw)).Q
    return LowRankMixture(
        torch.full((k,), -math.log(k)),
        torch.zeros(k, d),
        bases.contiguous(),
        torch.ones(k, r),
        torch.full((k,), 1e-6),
    )


def stripes() -> list[NDArray[np.floating]]:
    """Two pictures of smooth noise along y or x: two kinds of patches, of few dimensions."""
    draw = np.random.default_rng(0)
    profile = np.cumsum(draw.normal(size=(2, 80)), axis=1)
    profile = profile / np.abs(profile).max()
    return [np.tile(profile[0], (80, 1)), np.tile(profile[1][:, None], (1, 80))]


def test_likelihood_never_falls() -> None:
    x = planted(d=16, r=3, k=4).sample(2000, torch.Generator().manual_seed(2))
    draw = torch.Generator().manual_seed(3)
    history = fit_mixture(x, n_components=4, rank=3, generator=draw, floor=1e-4).log_likelihood
    assert all(b >= a - 1e-3 for a, b in pairwise(history)), history


@pytest.mark.parametrize("seed", range(2))
def test_means_are_found_when_asked_for(seed: int) -> None:
    """Three clouds far apart: their means to within the standard error of each."""
    truth = planted(d=6, r=2, k=3)
    means = 5 * torch.eye(3, 6)
    clouds = LowRankMixture(truth.log_weights, means, truth.bases, truth.variances, truth.floors)
    x = clouds.sample(3000, torch.Generator().manual_seed(seed))
    draw = torch.Generator().manual_seed(seed)
    found = fit_mixture(x, n_components=3, rank=2, generator=draw, with_means=True)
    distance = torch.cdist(means, found.mixture.means)
    assert sorted(distance.argmin(1).tolist()) == [0, 1, 2]
    assert float(distance.amin(1).max()) < 4 * math.sqrt(2 / 1000)
    torch.testing.assert_close(
        found.mixture.log_weights.exp(), torch.full((3,), 1 / 3), atol=0.04, rtol=0
    )
    without = fit_mixture(x, n_components=3, rank=2, generator=draw)
    assert found.log_likelihood[-1] > without.log_likelihood[-1] + 1
    assert not without.mixture.means.any()


def test_copies_of_one_vector_are_no_reason_to_stop() -> None:
    x = torch.ones(20, 5)
    draw = torch.Generator().manual_seed(0)
    found = fit_mixture(x, n_components=3, rank=2, generator=draw, with_means=True)
    torch.testing.assert_close(found.mixture.means[found.mixture.log_weights.argmax()], x[0])


def test_evidence_is_leave_one_out_for_few_vectors() -> None:
    """The same by SciPy-like hand: drop each vector, take the SVD of the rest, project."""
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0] * 5 + [1] * 4)
    means = torch.full((2, 6), 0.1, dtype=torch.float64)
    found = gather_evidence(x, labels, means, rank=2)
    for k, members in enumerate((x[:5].numpy() - 0.1, x[5:].numpy() - 0.1)):
        energy = (members**2).sum()
        inside = 0.0
        for left_out in range(len(members)):
            _, _, axes = np.linalg.svd(np.delete(members, left_out, 0))
            inside += ((axes[:2] @ members[left_out]) ** 2).sum()
        values = np.linalg.svd(members, compute_uv=False)
        assert found.captured[k] == pytest.approx((values[:2] ** 2).sum() / energy, rel=1e-9)
        assert found.held_out[k] == pytest.approx(inside / energy, rel=1e-9)
    assert found.counts == (5, 4)


def test_warnings_say_which_component_lacks_what() -> None:
    assert Evidence(3, (40, 50), (0.99, 0.98), (0.98, 0.97)).reliable
    few = Evidence(3, (40, 3), (0.99, 1.0), (0.98, 0.2)).warnings
    assert len(few) == 1
    assert (
        "1 of 2 components, 7.0% of all vectors, rest on no more vectors than their rank" in few[0]
    )
    assert Evidence(3, (40, 0), (0.99, 0.0), (0.98, 0.0)).reliable, "empty: not judged"
    assert Evidence(3, (97, 3), (0.99, 1.0), (0.98, 0.2)).reliable, "not where it matters"
    unstable = Evidence(3, (40, 8), (0.99, 1.0), (0.98, 0.6)).warnings
    assert len(unstable) == 1
    assert "60% of their energy against 100%" in unstable[0]


def test_patches_are_mean_free_and_reproducible() -> None:
    image = np.random.default_rng(0).random((40, 30))
    first = sample_patches([image], 8, 500, np.random.default_rng(1))
    again = sample_patches([image], 8, 500, np.random.default_rng(1))
    assert first.shape == (500, 64)
    assert float(first.mean(1).abs().max()) < 1e-6
    assert torch.equal(first, again)


@pytest.mark.parametrize("method", FITS)
def test_a_prior_of_images_knows_them(method: str, tmp_path: Path) -> None:
    images = stripes()
    settings = {"size": 4, "n_components": 4, "rank": 3, "n_patches": 4000, "method": method}
    prior = fit_prior(images, name="stripes", data="made up", seed=1, **settings)  # type: ignore[arg-type]
    noise = np.random.default_rng(2).normal(size=images[0].shape)
    noisy = torch.from_numpy(images[0] + 0.1 * noise).float()
    error = float((prior.denoise(noisy, 0.1) - torch.from_numpy(images[0])).square().mean().sqrt())
    assert error < 0.06, "16 pixels that hold 4 numbers: noise falls to half"
    assert prior.card["data"] == "made up"
    assert prior.card["seed"] == "1"
    assert prior.card["method"] == method
    assert prior.card["patches"] == "4000"
    assert prior.card["reliable"] == "yes", prior.card["warnings"]
    assert math.isfinite(float(prior.card["log_likelihood"]))
    prior.save(tmp_path / "stripes.safetensors")
    again = PatchPrior.load(tmp_path / "stripes.safetensors")
    assert again.card["log_likelihood"] == prior.card["log_likelihood"]
    torch.testing.assert_close(
        again.denoise(noisy, 0.1), prior.denoise(noisy, 0.1), atol=5e-3, rtol=0
    )
    twice = fit_prior(images, seed=1, **settings)  # type: ignore[arg-type]
    assert torch.equal(twice.mixture.bases, prior.mixture.bases)


def test_the_log_likelihood_of_the_card_is_that_of_fresh_patches() -> None:
    images = [np.random.default_rng(0).normal(0.5, 0.2, (120, 120))]
    prior = fit_prior(images, size=3, n_components=1, rank=8, n_patches=20_000)
    fresh = sample_patches(images, 3, 20_000, np.random.default_rng(5))
    density = float(prior.mixture.log_density(fresh, 0.0).mean())
    assert float(prior.card["log_likelihood"]) == pytest.approx(density, abs=0.05)


def test_a_fit_to_too_few_patches_says_so() -> None:
    images = [np.random.default_rng(0).random((9, 9))]
    prior = fit_prior(images, size=8, n_components=4, rank=32, n_patches=60)
    assert prior.card["reliable"] == "no"
    assert "Use more data" in prior.card["warnings"]


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(DataError, match="larger than 8x8"):
        sample_patches([np.zeros((8, 20))], 8, 10, np.random.default_rng(0))
    with pytest.raises(DataError, match="needs more than 5"):
        fit_mixture(torch.zeros(5, 8), n_components=5, rank=2, generator=torch.Generator())
    with pytest.raises(DataError, match="at least one image"):
        fit_prior([])
    with pytest.raises(UsageError, match="method expected one of em, subspaces; got 'magic'"):
        fit_prior(stripes(), method="magic")
    with pytest.raises(UsageError, match="n_components expected an integer >= 1"):
        fit_prior(stripes(), n_components=0)
    with pytest.raises(DataError, match=r"components of rank 64 needs .* vectors longer than 64"):
        fit_prior(stripes(), rank=64, n_patches=500)
