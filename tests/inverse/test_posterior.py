"""The posterior against dense matrices: what was not determined, where samples disagree."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm

from inverse import Problem, UsageError, reconstruct
from inverse.grid import Grid
from inverse.methods import METHODS, samplers
from inverse.mri.simulate import Acquisition, simulate
from inverse.posterior import Posterior, dispersion, object_mask, share_of, undetermined
from inverse.reconstruction import Diagnostics, finish
from operators import LinearOperator, Space

NOISE = 0.05


class Dense(LinearOperator):
    """One matrix for each of n slices of 3 by 4 pixels."""

    def __init__(self, matrices: torch.Tensor) -> None:
        n, m, _ = matrices.shape
        super().__init__(
            Space((n, 3, 4), matrices.dtype, ("slice", "y", "x")),
            Space((n, m), matrices.dtype, ("slice", "sample")),
        )
        self.matrices = matrices

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nij,...nj->...ni", self.matrices, x.flatten(-2))

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nij,...ni->...nj", self.matrices.conj(), y).unflatten(-1, (3, 4))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Dense:
        return Dense(self.matrices.to(device, dtype))


def draw(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def problem_of(matrices: torch.Tensor, noise: float = NOISE) -> Problem:
    operator = Dense(matrices)
    n, m, _ = matrices.shape
    data = torch.zeros(n, m, dtype=matrices.dtype)
    return Problem(operator, data, noise, m, Grid((n, 3, 4), (1, 1, 1)), n_batch_axes=1)


def with_gains(*gains: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Return a 12 by 12 matrix of random singular vectors with these singular values."""
    left, right = (torch.linalg.qr(draw(12, 12, dtype=dtype, seed=s))[0] for s in (1, 2))
    padded = torch.zeros(12, dtype=torch.float64)
    padded[: len(gains)] = torch.tensor(gains)
    return left @ torch.diag(padded).to(dtype) @ right.mH


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_undetermined_part_is_that_of_a_dense_inverse(dtype: torch.dtype) -> None:
    gains = [[2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.01], [1.0, 0.3, 0.3, 0.03]]
    matrices = torch.stack([with_gains(*each, dtype=dtype) for each in gains])
    problem = problem_of(matrices)
    x = torch.stack([draw(3, 4, dtype=dtype, seed=3), 5 * draw(3, 4, dtype=dtype, seed=4)])
    found, n_operator = undetermined(problem, x)
    assert n_operator > 0
    for index, (matrix, image) in enumerate(zip(matrices, x, strict=True)):
        # The mean square of real components, each slice by itself.
        parts = torch.view_as_real(image) if image.is_complex() else image
        delta = NOISE**2 / float(parts.square().mean())
        normal = matrix.mH @ matrix
        identity = torch.eye(12, dtype=dtype)
        kept = torch.linalg.solve(normal + delta * identity, normal @ image.ravel())
        wanted = image.ravel() - kept
        error = (found[index].ravel() - wanted).norm() / image.norm()
        assert error <= 0.01  # what undetermined promises


def test_the_undetermined_part_of_a_projection_is_its_null_space() -> None:
    matrix = with_gains(*[1.0] * 7)[None]
    problem = problem_of(matrix, noise=1e-3)
    x = draw(1, 3, 4, seed=5)
    exact = x.ravel() - torch.linalg.pinv(matrix[0], rtol=1e-6) @ (matrix[0] @ x.ravel())
    found, _ = undetermined(problem, x)
    assert float((found.ravel() - exact).norm()) <= 2e-5 * float(x.norm())


def test_all_or_nothing_is_undetermined() -> None:
    full, half = with_gains(*[1.0] * 12)[None], with_gains(*[1.0] * 6)[None]
    x = draw(1, 3, 4, seed=6)
    assert float(undetermined(problem_of(full, 1e-3), x)[0].norm() / x.norm()) <= 1e-5
    basis = torch.linalg.svd(half[0])[2][6:]  # of the null space
    inside = (basis.mH @ draw(6, seed=7)).reshape(1, 3, 4)
    found, _ = undetermined(problem_of(half), inside)
    torch.testing.assert_close(found, inside, atol=0.01, rtol=0)
    nothing, _ = undetermined(problem_of(half), torch.zeros_like(inside))
    assert float(nothing.abs().max()) == 0


def test_the_share_is_between_zero_and_one_and_has_no_nan() -> None:
    part, whole = np.array([0, 0, 1, 3, 1e-30, 2j]), np.array([0, 1, 2, 1, 0, 4])
    np.testing.assert_allclose(share_of(part, whole), [0, 0, 0.5, 1, 1, 0.5])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_dispersion_of_a_gaussian_posterior_is_the_root_mean_leverage(dtype: torch.dtype) -> None:
    """Exact samples of the posterior for a white prior of variance 1 in each component."""
    matrix = with_gains(2.0, 1.0, 0.2, 0.05, dtype=dtype)
    covariance = torch.linalg.inv(matrix.mH @ matrix / NOISE**2 + torch.eye(12, dtype=dtype))
    factor = torch.linalg.cholesky(covariance)
    unit = draw(1000, 12, dtype=dtype, seed=8) * (2**0.5 if dtype.is_complex else 1)
    samples = 3 + (unit @ factor.mT).reshape(1000, 1, 3, 4)
    leverage = torch.diag(matrix @ covariance @ matrix.mH).real / NOISE**2
    assert float(leverage.max()) < 1
    wanted = float(leverage.mean().sqrt())
    assert dispersion(problem_of(matrix[None]), samples) == pytest.approx(wanted, rel=0.04)


def test_dispersion_without_noise_and_of_one_sample() -> None:
    problem = problem_of(with_gains(1.0)[None], noise=0.0)
    samples = draw(3, 1, 3, 4, seed=9)
    assert math.isnan(dispersion(problem, samples))
    with pytest.raises(UsageError, match="at least 2 samples, got 1; raise n_samples"):
        dispersion(problem, samples[:1])


def posterior_of(samples: np.ndarray) -> Posterior:
    return Posterior(samples, np.zeros(samples.shape[1:], np.float32), 0.0)


def test_quantiles_hold_one_more_draw_as_often_as_they_say() -> None:
    """With 19 samples the 5th and 95th percentile are the outermost; more beyond is not known."""
    generator = np.random.default_rng(10)
    draws = generator.exponential(size=(20, 1, 200, 200)).astype(np.float32)
    truth, samples = draws[0], posterior_of(draws[1:])
    interval = samples.interval(0.9)
    inside = (interval.low <= truth) & (truth <= interval.high)
    assert inside.mean() == pytest.approx(0.9, abs=3 * (0.09 / truth.size) ** 0.5)
    few = posterior_of(draws[1:9])
    np.testing.assert_array_equal(few.quantile(0.05), few.samples.min(0))
    assert "8 samples, not calibrated" in few.shown.origin
    for level, message in ((0.0, "level expected a number > 0"), (1.0, "> 0 and < 1, got 1")):
        with pytest.raises(UsageError, match=message):
            samples.interval(level)
    with pytest.raises(UsageError, match="level expected a number >= 0 and <= 1"):
        samples.quantile(1.5)


def test_complex_samples_are_looked_at_as_magnitudes() -> None:
    turn = np.exp(1j * np.array([0.0, 0.5, 1.0]))[:, None, None, None]
    same = posterior_of(2 * turn * np.ones((3, 1, 2, 2)))
    np.testing.assert_allclose(same.std, 0, atol=1e-7)
    np.testing.assert_allclose(same.quantile(0.3), 2)
    np.testing.assert_allclose(same.estimate, abs(2 * turn.mean()))
    real = posterior_of(np.array([-1.0, 1.0, 3.0]).reshape(3, 1, 1, 1))
    assert real.estimate.item() == 1
    assert real.std.item() == 2


def test_the_object_is_what_is_bright_over_more_than_a_pixel() -> None:
    image = np.zeros((2, 40, 40), complex)
    image[0, 10:30, 10:30] = 1j
    image[1, 5, 5] = 1  # a spike is smoothed below a tenth
    mask = object_mask(image)
    assert mask[0, 10:30, 10:30].all()
    assert not mask[0, :6].any()
    assert not mask[1].any()
    assert not object_mask(np.zeros((1, 8, 8))).any()


def test_finish_makes_the_maps_of_what_it_is_given() -> None:
    """Two slices, one measured fully and one not at all; samples that differ by a known amount."""
    matrices = torch.stack([torch.eye(12, dtype=torch.float64), torch.zeros(12, 12)])
    problem = replace(problem_of(matrices, noise=0.01), scale=4.0)
    base = 1 + draw(2, 3, 4, seed=11).abs()
    samples = base + 0.01 * draw(5, 2, 3, 4, seed=12)
    found = finish(problem, samples, method="mine", settings={}, diagnostics=Diagnostics())
    posterior = found.posterior
    assert posterior is not None
    np.testing.assert_allclose(found.image, 4 * samples.mean(0), rtol=1e-6)
    np.testing.assert_allclose(posterior.std, 4 * samples.std(0).numpy(), rtol=1e-3)
    assert posterior.null_space_share[0].max() <= 0.01
    np.testing.assert_allclose(posterior.null_space_share[1], 1, atol=0.01)
    seen = samples[:, 0].flatten(1)
    wanted = float(seen.var(0).sum() / 24) ** 0.5 / 0.01
    assert posterior.dispersion == pytest.approx(wanted, rel=1e-6)
    share = float(base[1].square().sum() / base.square().sum()) ** 0.5
    assert posterior.undetermined_share == pytest.approx(share, rel=0.03)
    assert found.diagnostics.n_operator > 5
    assert found.diagnostics.seconds["posterior_maps"] > 0
    assert finish(problem, samples[:1], method="mine", settings={}).posterior is None
    assert "5 samples" in repr(posterior)


@pytest.fixture(scope="module")
def scan() -> Problem:
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    image = 0.8 * (x**2 + y**2 < 0.7) + 0.2 * (np.abs(x) + np.abs(y) < 0.4)
    stack = np.stack([image, image[::-1] * (1 + 0.2 * x)]).astype(np.float32)
    acquisition = Acquisition(n_coils=4, acceleration=2, n_calibration=12, noise=0.01, seed=2)
    return simulate(stack, acquisition).prepare()


def test_samples_of_a_scan_agree_with_the_data_and_repeat(scan: Problem) -> None:
    found = reconstruct(scan, "dds", n_samples=3, steps=3, seed=5)
    posterior = found.posterior
    assert posterior is not None
    np.testing.assert_allclose(found.image, posterior.mean, atol=1e-5 * np.abs(found.image).max())
    assert posterior.samples.shape == (3, 2, 32, 32)
    assert 0 < posterior.dispersion < 1.5
    assert 0 <= posterior.null_space_share.min() <= posterior.null_space_share.max() <= 1
    assert found.diagnostics.noise_to_peak == scan.noise_std
    recipe = found.provenance["recipe"]
    assert isinstance(recipe, dict)
    assert recipe["settings"]["n_samples"] == 3
    repeated = json.loads(json.dumps(recipe))
    again = reconstruct(scan, "dds", seed=repeated["seed"], **repeated["settings"])
    assert again.posterior is not None
    assert again.posterior.samples.tobytes() == posterior.samples.tobytes()


def test_a_seed_for_each_slice_gives_each_what_it_would_get_alone(scan: Problem) -> None:
    both = reconstruct(scan, "dds", n_samples=2, steps=3, seed=[7, 8])
    assert both.provenance["recipe"]["seed"] == [7, 8]  # type: ignore[index]
    again = reconstruct(scan, "dds", n_samples=2, steps=3, seed=[9, 8])
    assert both.posterior is not None
    assert again.posterior is not None
    np.testing.assert_allclose(
        both.posterior.samples[:, 1], again.posterior.samples[:, 1], atol=1e-6 * both.image.max()
    )
    assert np.abs(both.posterior.samples[:, 0] - again.posterior.samples[:, 0]).max() > 0
    with pytest.raises(UsageError, match="generators expected one, or one for each of the 2"):
        reconstruct(scan, "dds", steps=3, seed=[1, 2, 3])
    with pytest.raises(UsageError, match="seed: tv expected one number, got 2"):
        reconstruct(scan, "tv", seed=[1, 2])


def test_methods_that_give_one_image_say_which_draw_samples(scan: Problem) -> None:
    with pytest.raises(UsageError, match=r"pnp_hqs gives one image and draws no samples; .* dds"):
        reconstruct(scan, "pnp_hqs", n_samples=4)
    assert "dds" in samplers()
    few = {"steps": 3, "prior_steps": 1}
    found = reconstruct(scan, "auto", n_samples=2, **few)  # type: ignore[arg-type]
    assert found.method == "pnp_dm"
    assert "several samples were asked for" in str(found.provenance["why"])
    assert not {"pnp_hqs", "tv", "cg_sense"} & set(samplers())
    assert set(samplers()) <= set(METHODS)


def test_intervals_of_many_gaussian_samples_are_those_of_the_normal_distribution() -> None:
    samples = posterior_of(np.random.default_rng(13).standard_normal((999, 1, 30, 30)))
    interval = samples.interval(0.8)
    assert float(interval.high.mean()) == pytest.approx(norm.ppf(0.9), abs=0.01)
    assert float(interval.low.mean()) == pytest.approx(norm.ppf(0.1), abs=0.01)
    assert float(samples.std.mean()) == pytest.approx(1, abs=0.01)
