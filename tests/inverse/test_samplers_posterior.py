"""The samplers that aim at the posterior, against closed forms and literal second versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from inverse.errors import UsageError
from inverse.grid import Grid
from inverse.methods import METHODS
from inverse.priors import LowRankMixture
from inverse.priors.mixture_posterior import posterior
from inverse.problem import Problem
from inverse.samplers import daps, dps, mbir, pigdm, pnp_dm
from inverse.samplers.guidance import residual_gradient
from inverse.samplers.reverse_diffusion import ReverseStep, inner_levels, reverse_diffusion
from inverse.samplers.run import Run, State
from inverse.samplers.split import exact_split, root_of_remainder, squared_norm
from inverse.samplers.streams import Streams
from operators import LinearOperator, Space

F64 = torch.float64
SHAPE = (3, 4)
D = 12
NOISE = 0.1
MANY = 4000


class Dense(LinearOperator):
    """A matrix on images of 3 by 4 pixels."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__(
            Space(SHAPE, matrix.dtype, ("y", "x")),
            Space((len(matrix),), matrix.dtype, ("sample",)),
        )
        self.matrix = matrix

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-2) @ self.matrix.mT

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return (y @ self.matrix.conj()).unflatten(-1, SHAPE)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Dense:
        return Dense(self.matrix.to(device, dtype))


class GaussianPrior:
    """N(mean, covariance) over flattened images and its exact denoiser."""

    name = "gaussian"
    n_channels = 1
    max_shift = 0
    largest_sigma = math.inf

    def __init__(self, mean: torch.Tensor, covariance: torch.Tensor) -> None:
        self.mean, self.covariance = mean, covariance

    def gain(self, sigma: float) -> torch.Tensor:
        return self.covariance @ torch.linalg.inv(self.covariance + sigma**2 * torch.eye(D))

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        flat = self.mean + (x.flatten(-2) - self.mean) @ self.gain(sigma).mT
        return flat.unflatten(-1, SHAPE)

    def to(self, device: torch.device | str) -> GaussianPrior:
        del device
        return self


class MixturePrior(GaussianPrior):
    """A mixture over flattened images."""

    name = "mixture"

    def __init__(self, mixture: LowRankMixture) -> None:
        self.mixture = mixture

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return self.mixture.denoise(x.reshape(-1, D), sigma).reshape(x.shape)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def white_prior(deviation: float = 0.25) -> GaussianPrior:
    return GaussianPrior(torch.full((D,), 0.5, dtype=F64), deviation**2 * torch.eye(D, dtype=F64))


def smooth_prior() -> GaussianPrior:
    away = torch.arange(D, dtype=F64)[:, None] - torch.arange(D, dtype=F64)
    covariance = 0.0625 * torch.exp(-(away**2) / 4) + 0.0004 * torch.eye(D, dtype=F64)
    return GaussianPrior(torch.linspace(0.3, 0.7, D, dtype=F64), covariance)


def random_matrix(m: int = 7, dtype: torch.dtype = F64) -> torch.Tensor:
    matrix = torch.randn(m, D, generator=seeded(1), dtype=dtype)
    return matrix / torch.linalg.matrix_norm(matrix, 2)


def kept_pixels() -> torch.Tensor:
    return torch.eye(D, dtype=F64)[[0, 2, 3, 5, 8, 11]]


def problem_of(matrix: torch.Tensor, noise_std: float = NOISE) -> Problem:
    truth = torch.linspace(0.2, 1.0, D, dtype=F64).to(matrix.dtype)
    noise = torch.randn(len(matrix), generator=seeded(2), dtype=matrix.dtype)
    return Problem(
        operator=Dense(matrix),
        data=matrix @ truth + noise_std * noise,
        noise_std=noise_std,
        n_samples=len(matrix),
        grid=Grid((1, *SHAPE), (1.0, 1.0, 1.0)),
    )


def exact_posterior(
    problem: Problem, prior: GaussianPrior, noise_std: float = NOISE
) -> tuple[torch.Tensor, torch.Tensor]:
    A = problem.operator.matrix  # type: ignore[attr-defined]
    precision = A.mT @ A / noise_std**2 + torch.linalg.inv(prior.covariance)
    covariance = torch.linalg.inv(precision)
    linear = A.mT @ problem.data / noise_std**2 + torch.linalg.solve(prior.covariance, prior.mean)
    return covariance @ linear, covariance


def begun(problem: Problem, prior: GaussianPrior, n_samples: int = 1) -> Run:
    return Run.begin(
        problem, prior, generator=seeded(0), n_samples=n_samples, cg_iterations="adaptive"
    )[0]


def assert_drawn_from(
    samples: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor, within: float = 0.0
) -> None:
    """Means and covariances to five standard errors, plus `within` standard deviations."""
    x = samples.reshape(len(samples), D)
    spread = covariance.diagonal().real.sqrt()
    error = 5 / math.sqrt(len(samples)) + within
    assert float(((x.mean(0) - mean).abs() / spread).max()) < error
    centred = x - x.mean(0)
    found = centred.mT @ centred.conj() / (len(x) - 1)
    assert float(((found - covariance).abs() / torch.outer(spread, spread)).max()) < 1.5 * error


def samples_of(method: Callable[..., Any], problem: Problem, prior: Any, **settings: Any) -> Any:  # noqa: ANN401
    found = method(problem, prior, generator=seeded(3), **settings)
    return torch.from_numpy(found.posterior.samples).to(F64)[:, 0]


# The reverse diffusion.


@pytest.mark.parametrize("stochastic", [True, False])
def test_reverse_steps_are_those_of_diffusers(stochastic: bool) -> None:
    from diffusers import EDMDPMSolverMultistepScheduler

    kind = "sde-dpmsolver++" if stochastic else "dpmsolver++"
    theirs = EDMDPMSolverMultistepScheduler(algorithm_type=kind, solver_type="midpoint")
    theirs.sigmas = torch.tensor([1.0, 0.6, 0.3, 0.1], dtype=F64)
    levels = theirs.sigmas.tolist()
    draw = seeded(4)
    x = torch.randn(5, generator=draw, dtype=F64)
    wanted, found, ours, outputs = x, x, ReverseStep(stochastic=stochastic), []
    for index in range(3):
        clean = torch.randn(5, generator=draw, dtype=F64)
        noise = torch.randn(5, generator=draw, dtype=F64)
        outputs.append(clean)
        theirs._step_index = index
        if index == 0:
            wanted = theirs.dpm_solver_first_order_update(clean, sample=wanted, noise=noise)
        else:
            wanted = theirs.multistep_dpm_solver_second_order_update(
                outputs[-2:], sample=wanted, noise=noise
            )
        found = ours(found, clean, levels[index], levels[index + 1], lambda n=noise: n)
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sigma", [0.05, 0.2, 0.5])
def test_the_reverse_diffusion_draws_the_conditional_of_a_gaussian(sigma: float) -> None:
    """p(x0 | x) of a Gaussian prior, in the five steps that pnp_dm takes and in many."""
    prior, draw = smooth_prior(), seeded(5)
    x = torch.linspace(0.0, 1.0, D, dtype=F64).reshape(SHAPE).expand(MANY, *SHAPE)
    gain = prior.gain(sigma)
    mean = prior.mean + gain @ (x[0].reshape(D) - prior.mean)
    covariance = sigma**2 * gain

    def noise() -> torch.Tensor:
        return torch.randn(x.shape, generator=draw, dtype=F64)

    many = reverse_diffusion(prior.denoise, x, inner_levels(sigma, 20), noise)
    assert_drawn_from(many, mean, covariance, within=0.03)
    few = reverse_diffusion(prior.denoise, x, inner_levels(sigma, 5), noise)
    assert_drawn_from(few, mean, covariance, within=0.3)


def test_the_probability_flow_is_one_image_and_no_draw() -> None:
    prior, sigma = white_prior(), 0.2
    x = torch.linspace(0.0, 1.0, D, dtype=F64).reshape(SHAPE)
    levels = [float(s) for s in np.geomspace(sigma, 1e-4, 200)]
    found = reverse_diffusion(prior.denoise, x, levels, None)
    shrunk = 0.25 / math.hypot(0.25, sigma)  # of a Gaussian: dx / x = sigma dsigma / (c + sigma^2)
    assert torch.allclose(found, 0.5 + shrunk * (x - 0.5), atol=1e-4)


def test_inner_levels_fall_from_sigma() -> None:
    assert inner_levels(0.3, 1) == [0.3]
    assert np.allclose(np.sqrt(inner_levels(0.3, 4)), np.linspace(0.3**0.5, 0.06**0.5, 4))


# Draws given the data.


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
@pytest.mark.parametrize("deviation", [0.02, 0.5])
def test_draw_has_the_moments_of_the_gaussian(dtype: torch.dtype, deviation: float) -> None:
    A = random_matrix(dtype=dtype)
    problem = problem_of(A)
    run = begun(problem, white_prior(), MANY)
    z = torch.linspace(1.0, 0.0, D, dtype=F64).reshape(SHAPE).to(dtype)
    found = run.draw(z.expand(MANY, *SHAPE), deviation)
    eye = torch.eye(D, dtype=dtype)
    covariance = torch.linalg.inv(A.mH @ A / NOISE**2 + eye / deviation**2)
    mean = covariance @ (A.mH @ problem.data / NOISE**2 + z.reshape(D) / deviation**2)
    parts = 2 if dtype.is_complex else 1  # a unit real and a unit imaginary part
    assert_drawn_from(found, mean, parts * covariance, within=0.01)


@pytest.mark.parametrize("noise_std", [1e-2, 1e-3, 1e-4])
def test_draws_fill_the_null_space_however_good_the_data_are(noise_std: float) -> None:
    """Where A says nothing x is z + r n2; what it sees is fixed to within the noise."""
    A, deviation = random_matrix(), 0.25
    problem = problem_of(A, noise_std)
    z = torch.linspace(1.0, 0.0, D, dtype=F64).reshape(SHAPE)
    found = begun(problem, white_prior(), MANY).draw(z.expand(MANY, *SHAPE), deviation)
    found = found.reshape(MANY, D)
    null = torch.linalg.svd(A)[2][len(A) :]
    spread = ((found - z.reshape(D)) @ null.mT).std(0) / deviation
    assert float((spread - 1).abs().max()) < 5 / math.sqrt(2 * MANY)
    normal = A.mT @ A + (noise_std / deviation) ** 2 * torch.eye(D, dtype=F64)
    leverage = torch.diag(A @ torch.linalg.inv(normal) @ A.mT)
    seen = (found @ A.mT).std(0) / (noise_std * leverage.sqrt())
    assert float((seen - 1).abs().max()) < 5 / math.sqrt(2 * MANY) + 0.01


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_the_exact_split_is_the_conditional_of_its_model(dtype: torch.dtype) -> None:
    """z given x and y in z = x + rho n, y = A z + e, e ~ N(0, s^2 - rho^2 A A^H), densely."""
    A = random_matrix(dtype=dtype)
    problem = problem_of(A)
    run = begun(problem, white_prior(), MANY)
    bound = squared_norm(run)
    rho = NOISE / math.sqrt(bound)
    x = torch.linspace(1.0, 0.0, D, dtype=F64).reshape(SHAPE).to(dtype)
    found = exact_split(run, x.expand(MANY, *SHAPE), rho, bound)
    S = NOISE**2 * torch.eye(len(A), dtype=dtype) - rho**2 * A @ A.mH
    gain = rho**2 * A.mH @ torch.linalg.inv(rho**2 * A @ A.mH + S)
    mean = x.reshape(D) + gain @ (problem.data - A @ x.reshape(D))
    covariance = rho**2 * (torch.eye(D, dtype=dtype) - gain @ A)
    parts = 2 if dtype.is_complex else 1
    assert_drawn_from(found, mean, parts * covariance, within=0.03)


def test_the_root_is_that_of_the_dense_matrix() -> None:
    A = random_matrix()
    eye = torch.eye(D, dtype=F64)
    values, axes = torch.linalg.eigh(eye - A.mT @ A)
    wanted = axes @ torch.diag(values.clamp_min(0).sqrt()) @ axes.mT
    for terms in (1, 8, 40):
        found = root_of_remainder(lambda v: v @ A.mT @ A, eye, 1.0, terms)
        assert float(torch.linalg.matrix_norm(found - wanted, 2)) <= 1 / (math.pi * terms)


@pytest.mark.parametrize("scale", [1e-3, 0.7, 1.0, 3.0])
def test_the_norm_is_bounded_from_above_by_a_tenth(scale: float) -> None:
    values = torch.linspace(1.0, 0.1, D, dtype=F64)
    run = begun(problem_of(scale * torch.diag(values)), white_prior())
    assert scale**2 <= squared_norm(run) <= 1.2 * scale**2
    nothing = begun(problem_of(torch.zeros(2, D, dtype=F64)), white_prior())
    assert squared_norm(nothing) == 1.0


# Whole samplers against the posterior.


def test_pnp_dm_draws_the_posterior_of_a_correlated_gaussian() -> None:
    problem, prior = problem_of(random_matrix()), smooth_prior()
    found = samples_of(pnp_dm, problem, prior, n_samples=MANY // 2, preset="calibrated")
    assert_drawn_from(found, *exact_posterior(problem, prior), within=0.05)


def test_the_usual_split_is_biased_as_its_theory_says() -> None:
    """With S = s^2 I the noise is taken to be s^2 + rho^2 where A keeps single pixels."""
    problem, prior, rho = problem_of(kept_pixels()), white_prior(), 0.15
    found = samples_of(
        pnp_dm,
        problem,
        prior,
        n_samples=MANY // 2,
        steps=30,
        settle=20,
        prior_steps=6,
        sigma_min=rho,
    )
    inflated = exact_posterior(problem, prior, math.hypot(NOISE, rho))
    assert_drawn_from(found, *inflated, within=0.05)
    _, covariance = exact_posterior(problem, prior)
    off = (found.reshape(-1, D).std(0) / covariance.diagonal().sqrt() - 1).abs().max()
    assert float(off) > 0.3


def test_pnp_dm_visits_two_modes_in_proportion() -> None:
    """Two modes .5 apart along what is hidden, which the data weigh besides the prior."""
    hidden = torch.zeros(D, dtype=F64)
    hidden[[1, 4, 6, 7]] = 0.25
    hidden[2] = 0.03  # seen, and less than the noise
    mixture = LowRankMixture(
        torch.tensor([0.4, 0.6], dtype=F64).log(),
        torch.stack([0.5 + hidden, 0.5 - hidden]),
        torch.eye(D, dtype=F64)[:, :1].expand(2, D, 1),
        torch.full((2, 1), 0.01, dtype=F64),
        torch.full((2,), 0.01, dtype=F64),
    )
    problem = problem_of(kept_pixels())
    exact = posterior(mixture, kept_pixels(), problem.data, NOISE)
    assert 0.25 < float(exact.weights[0]) < 0.75
    found = samples_of(pnp_dm, problem, MixturePrior(mixture), n_samples=1500)
    along = (found.reshape(-1, D) - 0.5) @ hidden
    share = float((along > 0).to(F64).mean())
    assert abs(share - float(exact.weights[0])) < 0.06
    assert float(((along.abs() / hidden.square().sum()) < 0.3).to(F64).mean()) < 0.05


@pytest.mark.parametrize(
    ("method", "settings"),
    [(daps, {"steps": 60}), (pigdm, {"steps": 80, "sigma_max": 5.0, "cg_iterations": 12})],
    ids=["daps", "pigdm"],
)
def test_exact_where_the_prior_is_white(method: Any, settings: dict[str, int]) -> None:  # noqa: ANN401
    """Their one approximation, a white Gaussian p(x0 | x) of known width, holds here."""
    problem, prior = problem_of(random_matrix()), white_prior()
    found = samples_of(method, problem, prior, n_samples=MANY // 2, width=0.25, **settings)
    assert_drawn_from(found, *exact_posterior(problem, prior), within=0.08)


# Guidance.


def states_of(method: Callable[..., Any], *args: Any, **settings: Any) -> list[State]:  # noqa: ANN401
    states: list[State] = []
    method(*args, callback=states.append, **settings)
    return states


@pytest.mark.parametrize(
    ("method", "matrix"), [(pigdm, random_matrix()), (dps, kept_pixels())], ids=["pigdm", "dps"]
)
def test_the_guided_denoiser_of_a_white_gaussian_is_the_conditional_mean(
    method: Any,  # noqa: ANN401
    matrix: torch.Tensor,
) -> None:
    """E[x0 | x, y]; for dps only where A A^H = I, as its docstring says."""
    problem, prior = problem_of(matrix), white_prior()
    cg = {"cg_iterations": 24} if method is pigdm else {}
    states = states_of(method, problem, prior, steps=6, width=0.25, **cg)
    assert len(states) == 6
    for before, now in pairwise(states):
        x, sigma = before.x.reshape(D), now.sigma
        A = matrix
        precision = A.mT @ A / NOISE**2 + torch.eye(D, dtype=F64) * (0.25**-2 + sigma**-2)
        linear = A.mT @ problem.data / NOISE**2 + x / sigma**2 + prior.mean / 0.25**2
        wanted = torch.linalg.solve(precision, linear)
        assert torch.allclose(now.estimate.reshape(D), wanted, atol=2e-4)


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
def test_the_gradient_of_the_residual_is_that_of_finite_differences(dtype: torch.dtype) -> None:
    problem, prior = problem_of(random_matrix(dtype=dtype)), smooth_prior()
    run = begun(problem, prior)
    x = torch.randn(1, *SHAPE, generator=seeded(6), dtype=dtype)
    _, gradient, squared = residual_gradient(run, x, 0.3)

    def loss(v: torch.Tensor) -> float:
        residual = problem.data - problem.operator.forward(run.denoise(v, 0.3))
        return float(residual.abs().square().sum())

    assert squared.shape == (1, 1, 1)
    assert float(squared) == pytest.approx(loss(x))
    step = 1e-5
    for unit in (1.0, 1j) if dtype.is_complex else (1.0,):
        for index in range(D):
            v = torch.zeros(D, dtype=dtype)
            v[index] = unit * step
            v = v.reshape(1, *SHAPE)
            slope = (loss(x + v) - loss(x - v)) / (2 * step)
            wanted = gradient.flatten()[index]
            wanted = wanted.imag if unit == 1j else wanted.real
            assert slope == pytest.approx(float(wanted), abs=1e-7)


@pytest.mark.parametrize("method", [dps, pigdm], ids=["dps", "pigdm"])
def test_a_denoiser_without_gradients_is_refused(method: Any) -> None:  # noqa: ANN401
    class Detached(GaussianPrior):
        def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
            return super().denoise(x, sigma).detach()

    white = white_prior()
    prior = Detached(white.mean, white.covariance)
    with pytest.raises(UsageError, match="'gaussian' expected a denoiser that torch can diff"):
        method(problem_of(kept_pixels()), prior, steps=2)


def noise_of(seed: int) -> Callable[[], torch.Tensor]:
    """Repeat the numbers that a run with one sample draws, in turn."""
    streams = Streams(seeded(seed), 1, 1)
    like = torch.empty(1, *SHAPE, dtype=F64)
    return lambda: streams.white_noise(like)[0].reshape(D)


def test_dps_paper_is_its_variance_preserving_algorithm() -> None:
    """Algorithm 1 of the paper as it stands, on x_t = sqrt(a_t) x, with the same noise."""
    problem, prior, zeta = problem_of(random_matrix()), smooth_prior(), 0.4
    settings = {"preset": "dps-paper", "steps": 8, "zeta": zeta}
    states = states_of(dps, problem, prior, generator=seeded(7), **settings)
    A, y, noise = random_matrix(), problem.data, noise_of(7)
    a = [1 / (1 + s.sigma**2) for s in states]
    x = math.sqrt(a[0]) * states[0].sigma * noise()
    for t, state in enumerate(states):
        sigma, following = state.sigma, (a[t + 1] if t + 1 < len(a) else 1.0)
        W = prior.gain(sigma)
        clean = prior.mean + W @ (x / math.sqrt(a[t]) - prior.mean)
        residual = y - A @ clean
        gradient = -2 / math.sqrt(a[t]) * W.mT @ A.mT @ residual
        ratio = a[t] / following  # alpha_t
        moved = (
            math.sqrt(ratio) * (1 - following) / (1 - a[t]) * x
            + math.sqrt(following) * (1 - ratio) / (1 - a[t]) * clean
        )
        if t + 1 < len(a):
            beta = (1 - following) / (1 - a[t]) * (1 - ratio)
            moved = moved + math.sqrt(beta) * noise()
        x = moved - zeta / residual.norm() * gradient
        assert torch.allclose(state.x.reshape(D) * math.sqrt(following), x, atol=1e-8)


def test_pigdm_paper_steps_are_its_algorithm() -> None:
    """x_s of the paper's algorithm 1 at eta = 1, on x_t = sqrt(a_t) x, with a dense inverse."""
    problem, prior = problem_of(random_matrix()), smooth_prior()
    settings = {"preset": "pigdm-paper", "steps": 8, "cg_iterations": 60}
    states = states_of(pigdm, problem, prior, generator=seeded(7), **settings)
    A, y, noise = random_matrix(), problem.data, noise_of(7)
    noise()
    for before, now in pairwise(states):
        sigma = now.sigma
        following = 0.0 if now is states[-1] else states[now.index + 1].sigma
        a, b = 1 / (1 + sigma**2), 1 / (1 + following**2)
        x = before.x.reshape(D) * math.sqrt(a)
        W = prior.gain(sigma)
        clean = prior.mean + W @ (x / math.sqrt(a) - prior.mean)
        r2 = 1 - a  # sigma^2 / (1 + sigma^2)
        inner = r2 * A @ A.mT + NOISE**2 * torch.eye(len(A), dtype=F64)
        g = W.mT @ A.mT @ torch.linalg.solve(inner, y - A @ clean) / math.sqrt(a)
        c1 = math.sqrt((1 - a / b) * (1 - b) / (1 - a))
        c2 = math.sqrt(max(1 - b - c1**2, 0))
        eps = (x - math.sqrt(a) * clean) / math.sqrt(1 - a)
        if now.index == 1:
            noise()  # of the first step
        wanted = math.sqrt(b) * clean + c2 * eps + math.sqrt(a * b) * r2 * g
        if following:
            wanted = wanted + c1 * noise()
        assert torch.allclose(now.x.reshape(D) * math.sqrt(b), wanted, atol=2e-4)


def test_mbir_is_its_algorithm_with_one_step_of_descent() -> None:
    """Algorithms 2 and 4 of Song et al. with a literal first step of CG after each."""
    problem, prior, snr = problem_of(random_matrix()), smooth_prior(), 0.16
    states = states_of(mbir, problem, prior, generator=seeded(7), steps=5, snr=snr)
    A, y, noise = random_matrix(), problem.data, noise_of(7)

    def descend(x: torch.Tensor, sigma: float) -> torch.Tensor:
        H = A.mT @ A + (NOISE / sigma) ** 2 * torch.eye(D, dtype=F64)
        r = A.mT @ (y - A @ x)
        return x + (r @ r) / (r @ H @ r) * r

    def score(x: torch.Tensor, sigma: float) -> torch.Tensor:
        return (prior.gain(sigma) - torch.eye(D, dtype=F64)) @ (x - prior.mean) / sigma**2

    noise()
    x = None
    for index, state in enumerate(states[:-1]):
        sigma, following = state.sigma, states[index + 1].sigma
        if x is None:  # the start is a least-squares fit: take the first step as it is
            noise(), noise()
        else:
            removed = sigma**2 - following**2
            x = x + removed * score(x, sigma) + math.sqrt(removed) * noise()
            x = descend(x, following)
            g, n = score(x, following), noise()
            length = 2 * (snr * n.norm() / g.norm()) ** 2
            x = descend(x + length * g + (2 * length).sqrt() * n, following)
            assert torch.allclose(state.x.reshape(D), x, atol=1e-9)
        x = state.x.reshape(D)


@pytest.mark.parametrize("gap", [0.05, 0.2])
def test_daps_paper_levels_are_polynomial(gap: float) -> None:
    steps = round(1 / gap)
    states = states_of(
        daps, problem_of(random_matrix()), white_prior(), preset="daps-paper", steps=steps
    )
    found = np.array([s.sigma for s in states]) ** (1 / 7)
    assert np.allclose(np.diff(found), found[1] - found[0])
    assert states[0].sigma == pytest.approx(50)
    assert states[-1].sigma == pytest.approx(0.05)


REFUSED: Sequence[tuple[str, dict[str, object], str]] = [
    ("pnp_dm", {"steps": 4, "settle": 4}, "settle expected less than steps = 4"),
    ("pnp_dm", {"prior_steps": 0}, "prior_steps expected an integer >= 1"),
    ("pnp_dm", {"preset": "paper"}, "preset expected one of measured-noise, calibrated"),
    ("daps", {"width": 0.0}, "width expected a number > 0"),
    ("daps", {"steps": 1}, "steps expected an integer >= 2"),
    ("dps", {"zeta": -1.0}, "zeta expected a number >= 0"),
    ("pigdm", {"width": "wide"}, "width expected a number > 0"),
    ("mbir", {"snr": -0.1}, "snr expected a number >= 0"),
    ("mbir", {"preset": "mbir"}, "preset expected one of measured-noise, mbir-paper"),
]


@pytest.mark.parametrize(("name", "settings", "message"), REFUSED)
def test_settings_out_of_range_are_refused(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        METHODS[name](problem_of(kept_pixels()), white_prior(), **settings)


def test_pnp_dm_paper_lets_rho_fall_by_a_tenth() -> None:
    problem = problem_of(kept_pixels())
    settings = {"preset": "pnp_dm-paper", "steps": 60, "prior_steps": 1}
    found = [s.sigma for s in states_of(pnp_dm, problem, white_prior(), **settings)]
    assert np.allclose(found, np.maximum(5 * 0.9 ** np.arange(60), 0.15))


@pytest.mark.parametrize("noise_std", [0.0, 0.8, 3.0])
def test_pnp_dm_takes_data_without_noise_and_data_of_noise(noise_std: float) -> None:
    problem = problem_of(kept_pixels(), noise_std)
    found = pnp_dm(problem, white_prior(), n_samples=4, steps=6)
    assert np.isfinite(found.image).all()
    if noise_std == 0:
        residual = problem.data - problem.operator.forward(
            torch.from_numpy(found.image[0].real).to(F64)
        )
        assert float(residual.abs().max()) < 0.05
