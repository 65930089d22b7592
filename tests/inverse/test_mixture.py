"""The mixture of low-rank Gaussians against brute-force Bayes in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from inverse.errors import DataError
from inverse.priors import LowRankMixture


def make_mixture(
    d: int = 6, k: int = 3, r: int = 2, *, seed: int = 0, floor: float = 0.05
) -> LowRankMixture:
    draw = torch.Generator().manual_seed(seed)
    bases = torch.linalg.qr(torch.randn(k, d, r, generator=draw, dtype=torch.float64)).Q
    return LowRankMixture(
        log_weights=torch.randn(k, generator=draw, dtype=torch.float64).log_softmax(0),
        means=0.3 * torch.randn(k, d, generator=draw, dtype=torch.float64),
        bases=bases.contiguous(),
        variances=torch.rand(k, r, generator=draw, dtype=torch.float64) + 0.2,
        floors=torch.full((k,), floor**2, dtype=torch.float64),
    )


def dense_covariances(mixture: LowRankMixture) -> torch.Tensor:
    eye = torch.eye(mixture.dimension, dtype=torch.float64)
    low_rank = mixture.bases @ torch.diag_embed(mixture.variances) @ mixture.bases.mT
    return low_rank + mixture.floors[:, None, None] * eye


def bayes(
    mixture: LowRankMixture, x: torch.Tensor, sigma: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """log p, posterior mean and covariance from dense matrices, one vector at a time."""
    prior = dense_covariances(mixture)
    eye = torch.eye(mixture.dimension, dtype=torch.float64)
    noisy = [
        torch.distributions.MultivariateNormal(mean, cov + sigma**2 * eye)
        for mean, cov in zip(mixture.means, prior, strict=True)
    ]
    joint = torch.stack([component.log_prob(x) for component in noisy], 1) + mixture.log_weights
    w = joint.softmax(1)
    gains = prior @ torch.linalg.inv(prior + sigma**2 * eye)
    means = mixture.means + torch.einsum("kij,nkj->nki", gains, x[:, None] - mixture.means)
    mean = torch.einsum("nk,nki->ni", w, means)
    second = torch.einsum("nk,kij->nij", w, prior - gains @ prior)
    second = second + torch.einsum("nk,nki,nkj->nij", w, means, means)
    return joint.logsumexp(1), mean, second - mean[:, :, None] * mean[:, None, :]


@pytest.mark.parametrize("sigma", [0.01, 0.2, 3.0])
@pytest.mark.parametrize(("d", "k", "r"), [(6, 3, 2), (5, 1, 1), (20, 6, 7)])
def test_density_mean_and_covariance_are_those_of_bayes(
    d: int, k: int, r: int, sigma: float
) -> None:
    mixture = make_mixture(d, k, r)
    x = torch.randn(50, d, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    log_p, mean, covariance = bayes(mixture, x, sigma)
    torch.testing.assert_close(mixture.log_density(x, sigma), log_p, rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(mixture.denoise(x, sigma), mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(mixture.covariance(x, sigma), covariance, rtol=0, atol=1e-6)


def test_the_dense_truth_is_that_of_numerical_integration() -> None:
    """Bayes by SciPy's densities on a grid of the plane, without any formula for Gaussians."""
    mixture, sigma = make_mixture(d=2, k=3, r=1, floor=0.15), 0.25
    axis = np.linspace(-4.5, 4.5, 1201)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    prior = sum(
        float(log_weight.exp()) * multivariate_normal(mean.numpy(), cov.numpy()).pdf(grid)
        for log_weight, mean, cov in zip(
            mixture.log_weights, mixture.means, dense_covariances(mixture), strict=True
        )
    )
    noise = norm(scale=sigma)
    for x in (np.array([0.2, -0.4]), np.array([1.5, 0.7])):
        joint = prior * noise.pdf(x[0] - grid[..., 0]) * noise.pdf(x[1] - grid[..., 1])
        cell = (axis[1] - axis[0]) ** 2
        evidence = joint.sum() * cell
        mean = np.einsum("ij,ijd->d", joint, grid) * cell / evidence
        offset = grid - mean
        covariance = np.einsum("ij,ijd,ije->de", joint, offset, offset) * cell / evidence
        row = torch.tensor(x)[None]
        assert float(mixture.log_density(row, sigma)) == pytest.approx(np.log(evidence), abs=1e-6)
        np.testing.assert_allclose(mixture.denoise(row, sigma)[0], mean, atol=1e-6)
        np.testing.assert_allclose(mixture.covariance(row, sigma)[0], covariance, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_score_is_the_gradient_of_the_log_density(sigma: float) -> None:
    mixture, step = make_mixture(), 1e-5
    x = torch.randn(10, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    score = mixture.score(x, sigma)
    for axis in range(6):
        shift = torch.zeros(6, dtype=torch.float64)
        shift[axis] = step
        difference = mixture.log_density(x + shift, sigma) - mixture.log_density(x - shift, sigma)
        torch.testing.assert_close(score[:, axis], difference / (2 * step), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_covariance_is_sigma_squared_times_the_jacobian_of_the_mean(sigma: float) -> None:
    mixture = make_mixture()
    rows = torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for x in rows.split(1):
        jacobian = torch.autograd.functional.jacobian(lambda v: mixture.denoise(v, sigma), x)
        covariance = mixture.covariance(x, sigma)[0]
        torch.testing.assert_close(sigma**2 * jacobian[0, :, 0, :], covariance, rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.05, 0.4, 0.99])
def test_the_formula_of_the_paper_is_a_special_case(gamma: float) -> None:
    """Wang et al. 2024, eq. 6, written as there: x_t = s x0 + gamma n, mu = 0, L = 1, s_k = 0."""
    d, k, r, s = 12, 4, 3, math.sqrt(1 - gamma**2)
    draw = torch.Generator().manual_seed(7)
    bases = torch.linalg.qr(torch.randn(k, d, r, generator=draw, dtype=torch.float64)).Q
    paper = LowRankMixture(
        torch.full((k,), -math.log(k), dtype=torch.float64),
        torch.zeros(k, d, dtype=torch.float64),
        bases,
        torch.ones(k, r, dtype=torch.float64),
        torch.zeros(k, dtype=torch.float64),
    )
    x_t = torch.randn(30, d, generator=draw, dtype=torch.float64)
    phi = s**2 / (2 * gamma**2 * (s**2 + gamma**2))
    inside = torch.einsum("kdr,nd->nkr", bases, x_t)
    w = torch.softmax(phi * inside.square().sum(2), dim=1)
    expected = s / (s**2 + gamma**2) * torch.einsum("nk,kdr,nkr->nd", w, bases, inside)
    # The variance-exploding form: x_t / s = x0 + (gamma / s) n.
    found = paper.denoise(x_t / s, gamma / s)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(paper.responsibilities(x_t / s, gamma / s), w, rtol=0, atol=1e-6)
    score = (s * expected - x_t) / gamma**2  # of p(x_t), which is that of x_t / s divided by s
    torch.testing.assert_close(paper.score(x_t / s, gamma / s) / s, score, rtol=1e-9, atol=1e-6)


def test_dense_covariances_are_those_of_the_samples() -> None:
    mixture = make_mixture(k=1)
    x = mixture.sample(200_000, torch.Generator().manual_seed(8))
    torch.testing.assert_close(torch.cov(x.T), mixture.covariances()[0], rtol=0, atol=0.02)


@given(st.floats(0.05, 5.0))
def test_denoiser_contracts_towards_a_single_component(sigma: float) -> None:
    """One component is a linear Wiener filter: no direction is amplified."""
    mixture = make_mixture(k=1)
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    before = (x - mixture.means).norm(dim=1)
    after = (mixture.denoise(x, sigma) - mixture.means).norm(dim=1)
    assert bool((after <= before * (1 + 1e-12)).all())


def test_denoising_lowers_the_error_by_what_the_covariance_says() -> None:
    mixture, sigma, n = make_mixture(), 0.4, 20_000
    draw = torch.Generator().manual_seed(5)
    clean = mixture.sample(n, draw)
    noisy = clean + sigma * torch.randn(n, 6, generator=draw, dtype=torch.float64)
    measured = (mixture.denoise(noisy, sigma) - clean).square().sum(1).mean()
    predicted = mixture.covariance(noisy, sigma).diagonal(dim1=1, dim2=2).sum(1).mean()
    assert float(measured) == pytest.approx(float(predicted), rel=0.03)


def test_single_precision_agrees_with_double() -> None:
    mixture = make_mixture(d=64, k=8, r=16)
    x = mixture.sample(100, torch.Generator().manual_seed(6))
    single = mixture.to(dtype=torch.float32).denoise(x.float(), 0.1)
    torch.testing.assert_close(single.double(), mixture.denoise(x, 0.1), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(3, 5, dtype=torch.float64)}, r"bases expected shape \(3, 5, 2\)"),
        ({"floors": torch.full((3,), -1.0, dtype=torch.float64)}, "must not be negative"),
        ({"log_weights": torch.full((3,), math.nan)}, "log_weights holds NaN"),
    ],
)
def test_inconsistent_mixtures_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    good = make_mixture()
    parts = {
        name: getattr(good, name)
        for name in ("log_weights", "means", "bases", "variances", "floors")
    }
    with pytest.raises(DataError, match=message):
        LowRankMixture(**(parts | change))
