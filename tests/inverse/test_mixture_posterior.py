"""The exact posterior of a mixture against quadrature, importance sampling and conditioning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import kstest, multivariate_normal, norm

from inverse.errors import DataError, UsageError
from inverse.priors import LowRankMixture
from inverse.priors.mixture_posterior import GaussianMixture, posterior

F64 = torch.float64


def plane_mixture() -> LowRankMixture:
    """Three overlapping lines of the plane, so that quadrature sees all of it."""
    angles = torch.tensor([0.2, 1.3, 2.5], dtype=F64)
    return LowRankMixture(
        log_weights=torch.tensor([0.2, 0.5, 0.3], dtype=F64).log(),
        means=torch.tensor([[0.3, -0.2], [-0.4, 0.1], [0.0, 0.5]], dtype=F64),
        bases=torch.stack([angles.cos(), angles.sin()], 1)[:, :, None],
        variances=torch.tensor([[0.5], [0.3], [0.8]], dtype=F64),
        floors=torch.tensor([0.02, 0.05, 0.03], dtype=F64),
    )


def plane_posterior() -> GaussianMixture:
    """One noisy projection of a point of the plane: bimodal."""
    A, y = torch.tensor([[0.8, -0.6]], dtype=F64), torch.tensor([0.35], dtype=F64)
    return posterior(plane_mixture(), A, y, 0.2)


def random_mixture(d: int = 7, k: int = 3, r: int = 2) -> LowRankMixture:
    draw = torch.Generator().manual_seed(0)
    return LowRankMixture(
        log_weights=torch.randn(k, generator=draw, dtype=F64).log_softmax(0),
        means=torch.randn(k, d, generator=draw, dtype=F64),
        bases=torch.linalg.qr(torch.randn(k, d, r, generator=draw, dtype=F64)).Q,
        variances=torch.rand(k, r, generator=draw, dtype=F64) + 0.5,
        floors=torch.rand(k, generator=draw, dtype=F64) + 0.05,
    )


def test_in_the_plane_it_is_what_quadrature_finds() -> None:
    """Prior density times likelihood on a fine grid, by SciPy's densities, then normalised."""
    mixture = plane_mixture()
    a, y, noise = np.array([0.8, -0.6]), 0.35, 0.2  # those of plane_posterior
    axis = np.linspace(-7, 7, 1401)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    density = np.zeros(points.shape[:2])
    for k in range(3):
        u, length = mixture.bases[k].numpy(), float(mixture.variances[k, 0])
        covariance = length * u @ u.T + float(mixture.floors[k]) * np.eye(2)
        gaussian = multivariate_normal(mixture.means[k].numpy(), covariance)
        density += float(mixture.log_weights[k].exp()) * gaussian.pdf(points)
    density *= norm.pdf(y, points @ a, noise)
    density /= density.sum()
    mean = np.einsum("ij,ijd->d", density, points)
    offset = points - mean
    covariance = np.einsum("ij,ijd,ije->de", density, offset, offset)

    exact = plane_posterior()
    np.testing.assert_allclose(exact.mean, mean, atol=1e-9)
    np.testing.assert_allclose(exact.covariance, covariance, atol=1e-9)
    edges = torch.tensor(axis + (axis[1] - axis[0]) / 2)  # a cumulative sum ends half a step on
    below = np.stack([density.sum(1).cumsum(), density.sum(0).cumsum()], -1)
    np.testing.assert_allclose(exact.cdf(edges[:, None].expand(-1, 2)), below, atol=1e-4)


def test_it_is_prior_times_likelihood_by_importance_sampling() -> None:
    mixture, draw = random_mixture(), torch.Generator().manual_seed(1)
    A = torch.randn(3, 7, generator=draw, dtype=F64)
    y, noise = torch.randn(3, generator=draw, dtype=F64), 0.9
    x = mixture.sample(400_000, draw)
    log_w = -0.5 * ((y - x @ A.T) / noise).square().sum(1)
    w = log_w.softmax(0)
    effective = 1 / float(w.square().sum())
    exact = posterior(mixture, A, y, noise)
    mean = w @ x
    assert effective > 5_000
    tolerance = 5 * exact.std / effective**0.5
    assert bool(((mean - exact.mean).abs() < tolerance).all())
    spread = torch.einsum("n,nd,ne->de", w, x - mean, x - mean)
    torch.testing.assert_close(spread, exact.covariance, rtol=0, atol=0.1)


def test_one_component_is_the_conditioning_formula() -> None:
    """p(x | y) from the joint covariance of (x, y), one Schur complement, written out in NumPy."""
    mixture, draw = random_mixture(k=1), torch.Generator().manual_seed(2)
    A = torch.randn(4, 7, generator=draw, dtype=F64).numpy()
    y, noise = torch.randn(4, generator=draw, dtype=F64).numpy(), 0.3
    u, length = mixture.bases[0].numpy(), mixture.variances[0].numpy()
    prior = u @ np.diag(length) @ u.T + float(mixture.floors[0]) * np.eye(7)
    joint = np.block([[prior, prior @ A.T], [A @ prior, A @ prior @ A.T + noise**2 * np.eye(4)]])
    gain = joint[:7, 7:] @ np.linalg.inv(joint[7:, 7:])
    mu = mixture.means[0].numpy()
    exact = posterior(mixture, torch.tensor(A), torch.tensor(y), noise)
    np.testing.assert_allclose(exact.means[0], mu + gain @ (y - A @ mu), atol=1e-10)
    np.testing.assert_allclose(exact.covariances[0], prior - gain @ joint[7:, :7], atol=1e-10)


def test_denoising_is_the_case_of_the_identity() -> None:
    """Two independent routes: Woodbury in the mixture's denoiser, dense matrices here."""
    mixture, sigma = random_mixture(), 0.4
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(3), dtype=F64)
    for row in x:
        exact = posterior(mixture, torch.eye(7, dtype=F64), row, sigma)
        torch.testing.assert_close(exact.mean, mixture.denoise(row[None], sigma)[0])
        torch.testing.assert_close(exact.covariance, mixture.covariance(row[None], sigma)[0])
        torch.testing.assert_close(exact.weights, mixture.responsibilities(row[None], sigma)[0])


def test_quantiles_are_the_roots_that_scipy_finds() -> None:
    exact = plane_posterior()
    wanted = (1e-12, 0.05, 0.5, 0.95)
    found = exact.quantiles(wanted)
    deviations = exact.covariances.diagonal(dim1=1, dim2=2).sqrt()
    for d in range(2):

        def below(value: float, d: int = d) -> float:
            each = norm.cdf(value, exact.means[:, d].numpy(), deviations[:, d].numpy())
            return float(exact.weights.numpy() @ each)

        for row, p in enumerate(wanted):
            root = brentq(lambda v, p=p: below(v) - p, -20, 20, xtol=1e-14)
            assert float(found[row, d]) == pytest.approx(root, abs=1e-8)


def test_samples_follow_the_distribution() -> None:
    exact = plane_posterior()
    x = exact.sample(20_000, torch.Generator().manual_seed(4))
    assert bool(((x.mean(0) - exact.mean).abs() < 5 * exact.std / 20_000**0.5).all())
    torch.testing.assert_close(torch.cov(x.T), exact.covariance, rtol=0.05, atol=0.005)
    for d in range(2):
        assert kstest(exact.cdf(x)[:, d].numpy(), "uniform").pvalue > 1e-3


@pytest.mark.gpu
def test_a_generator_of_the_processor_draws_on_a_gpu() -> None:
    axis = torch.eye(2)[:, :, None]
    prior = LowRankMixture(
        torch.tensor([0.5, 0.5]).log(), torch.zeros(2, 2), axis, torch.ones(2, 1), torch.ones(2)
    )
    A, y = torch.tensor([[1.0, 1.0]]), torch.tensor([0.8])
    draws = [
        each.sample(50, torch.Generator().manual_seed(3)) for each in (prior, prior.to("cuda"))
    ]
    assert draws[1].device.type == "cuda"
    torch.testing.assert_close(draws[1].cpu(), draws[0], rtol=0, atol=1e-4)
    exact = posterior(prior.to("cuda"), A, y, 0.1)
    drawn = exact.sample(20_000, torch.Generator().manual_seed(3))
    assert drawn.device.type == "cuda"
    torch.testing.assert_close(drawn.mean(0), exact.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(drawn.std(0), exact.std, rtol=0.03, atol=0)


def test_what_a_component_knows_exactly_is_a_step() -> None:
    sure = GaussianMixture(
        torch.tensor([0.25, 0.75], dtype=F64).log(),
        torch.tensor([[0.0], [1.0]], dtype=F64),
        torch.zeros(2, 1, 1, dtype=F64),
    )
    steps = sure.cdf(torch.tensor([[-0.1], [0.0], [0.9], [1.0]], dtype=F64))
    torch.testing.assert_close(steps[:, 0], torch.tensor([0.0, 0.25, 0.25, 1.0], dtype=F64))
    torch.testing.assert_close(
        sure.quantiles((0.2, 0.3))[:, 0], torch.tensor([0.0, 1.0], dtype=F64), atol=1e-12, rtol=0
    )


def test_what_does_not_fit_is_refused() -> None:
    mixture, row = plane_mixture(), torch.zeros(1, 2, dtype=F64)
    with pytest.raises(DataError, match=r"A of shape \(m, 2\)"):
        posterior(mixture, torch.zeros(1, 3, dtype=F64), torch.zeros(1, dtype=F64), 0.1)
    with pytest.raises(DataError, match="noise_std > 0, got 0"):
        posterior(mixture, row, torch.zeros(1, dtype=F64), 0.0)
    with pytest.raises(DataError, match=r"covariances expected shape \(1, 2, 2\)"):
        GaussianMixture(torch.zeros(1), torch.zeros(1, 2), torch.zeros(1, 2, 3))
    with pytest.raises(UsageError, match="between 0 and 1"):
        posterior(mixture, row, torch.zeros(1, dtype=F64), 0.1).quantiles((0.5, 1.0))
