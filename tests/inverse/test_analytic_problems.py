"""The bed that samplers are measured on: operators, priors, and exact samples as a check."""

from __future__ import annotations

import math

import pytest
import torch

from inverse.priors import Prior
from tests.inverse.analytic_problems import (
    EDGE,
    MEASUREMENTS,
    MODELS,
    AnalyticProblem,
    MixturePrior,
    draw_problem,
    score,
)

F64 = torch.float64


def exact_draws(found: AnalyticProblem, n: int) -> torch.Tensor:
    return found.exact_samples(n, torch.Generator().manual_seed(9))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_exact_samples_score_as_they_must(model: str, measurement: str) -> None:
    """Within four standard errors: 2000 samples of 2 images, and 100 samples of 60."""
    few = draw_problem(model, measurement, 2, seed=1)
    found = score(few, exact_draws(few, 2000))
    assert found.mean_error < 0.05
    assert found.std_ratio == pytest.approx(1, abs=0.02)
    assert found.mass == pytest.approx(0.9, abs=0.005)
    many = draw_problem(model, measurement, 60, seed=2)
    assert score(many, exact_draws(many, 100)).coverage == pytest.approx(0.9, abs=0.03)


def test_wrong_samples_are_found_out() -> None:
    found = draw_problem("molrg", "random", 40, seed=3)
    samples = exact_draws(found, 200)
    mean, std = samples.mean(0), samples.std(0)
    shifted = score(found, samples + std)
    assert shifted.mean_error == pytest.approx(1, abs=0.1)
    assert shifted.coverage < 0.8
    narrow = score(found, mean + 0.5 * (samples - mean))
    assert narrow.std_ratio == pytest.approx(0.5, abs=0.02)
    assert narrow.mass < 0.65
    assert narrow.coverage < 0.65
    # Right mean and spread everywhere, but uniform instead of the posterior's shape.
    uniform = torch.rand(samples.shape, generator=torch.Generator().manual_seed(4), dtype=F64)
    boxed = score(found, mean + std * math.sqrt(12) * (uniform - 0.5))
    assert boxed.std_ratio == pytest.approx(1, abs=0.05)
    assert boxed.mass < 0.885


@pytest.mark.parametrize("measurement", MEASUREMENTS)
def test_operators_are_their_matrices(measurement: str) -> None:
    found = draw_problem("gaussian", measurement, 3, seed=5)
    A, matrix = found.problem.operator, MEASUREMENTS[measurement]()
    draw = torch.Generator().manual_seed(6)
    x = torch.randn(A.domain.shape, generator=draw, dtype=F64)
    y = torch.randn(A.range.shape, generator=draw, dtype=F64)
    torch.testing.assert_close(A(x), torch.stack([matrix @ image.reshape(-1) for image in x]))
    assert float((A(x) * y).sum()) == pytest.approx(float((x * A.adjoint(y)).sum()), rel=1e-12)
    assert float(torch.linalg.matrix_norm(matrix, 2)) == pytest.approx(1, rel=1e-6)


def test_fourier_rows_are_orthonormal_and_hold_the_mean() -> None:
    rows = MEASUREMENTS["fourier"]()
    torch.testing.assert_close(rows @ rows.T, torch.eye(24, dtype=F64))
    assert any(torch.allclose(row, torch.full_like(row, 1 / EDGE)) for row in rows)


def test_the_mixture_leaves_components_open_and_the_gaussian_is_one() -> None:
    assert draw_problem("molrg", "random", 60, seed=7).ambiguity > 0.1
    assert draw_problem("gaussian", "random", 2, seed=7).ambiguity == 0


def test_the_prior_denoises_images_as_the_mixture_denoises_vectors() -> None:
    prior = MixturePrior(MODELS["molrg"]())
    assert isinstance(prior, Prior)
    x = prior.mixture.sample(6, torch.Generator().manual_seed(8))
    images = prior.denoise(x.reshape(2, 3, EDGE, EDGE), 0.3)
    torch.testing.assert_close(images.reshape(6, -1), prior.mixture.denoise(x, 0.3))
    assert prior.calls == [0.3]
