"""DiffPIR, DDNM, DDRM and RED-diff against literal dense versions and exact posteriors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inverse import Problem, UsageError
from inverse.errors import InverseError
from inverse.grid import Grid
from inverse.samplers import ddnm, ddrm, diffpir, red_diff, svd
from inverse.samplers.run import Run, State
from inverse.samplers.schedule import vp_levels
from inverse.samplers.streams import Streams
from inverse.samplers.svd import DenseSvd, FourierSvd, svd_of
from operators import Fourier, LinearOperator, Sense
from tests.inverse.analytic_problems import EDGE, AnalyticProblem, MixturePrior, draw_problem, score
from tests.inverse.test_samplers_common import Matrix

D = EDGE**2
LEVELS = np.geomspace(0.5, 0.02, 6)
Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ConstantPrior:
    """Always returns the same image: the prior of someone who knows it already."""

    value: float
    name: str = "constant"
    n_channels: int = 1
    max_shift: int = 0
    largest_sigma: float = float("inf")

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        del sigma
        return torch.full_like(x, self.value)

    def to(self, device: torch.device | str) -> ConstantPrior:
        del device
        return self


class Recorder:
    """Keeps what a callback sees, in double precision."""

    def __init__(self) -> None:
        self.states: list[State] = []

    def __call__(self, state: State) -> None:
        self.states.append(state)

    def images(self) -> list[Array]:
        return [state.x.reshape(-1, D).numpy() for state in self.states]

    @property
    def last(self) -> Array:
        return self.states[-1].estimate.reshape(-1, D).numpy()


def matrix_of(operator: LinearOperator) -> Array:
    """The dense matrix of an operator, column by column."""
    domain = operator.domain
    columns = [
        operator(unit.reshape(domain.shape)).reshape(-1)
        for unit in torch.eye(domain.size, dtype=domain.dtype)
    ]
    return np.asarray(torch.stack(columns, 1).numpy())


def noise_of(seed: int, problem: Problem, n: int) -> list[Array]:
    """The first n images of white noise that a run with this seed draws."""
    streams = Streams(torch.Generator().manual_seed(seed), 1, problem.operator.domain.shape[0])
    like = torch.empty(1, *problem.operator.domain.shape, dtype=problem.data.dtype)
    return [streams.white_noise(like).reshape(-1, D).numpy() for _ in range(n)]


def gaussian(measurement: str, noise_std: float = 0.05) -> AnalyticProblem:
    return draw_problem("gaussian", measurement, 1, seed=4, noise_std=noise_std)


def literal_denoiser(found: AnalyticProblem, x: Array, sigma: float) -> Array:
    """m + C (C + sigma^2)^-1 (x - m), from the covariance written out."""
    mixture = found.mixture
    basis, variances = mixture.bases[0].numpy(), mixture.variances[0].numpy()
    mean, floor = mixture.means[0].numpy(), float(mixture.floors[0])
    covariance = basis @ np.diag(variances) @ basis.T + floor * np.eye(D)
    gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(D))
    return np.asarray(mean + (x - mean) @ gain.T)


class Gaussian:
    """One of the linear-Gaussian problems as NumPy arrays, and where runs on it start from."""

    def __init__(self, found: AnalyticProblem) -> None:
        problem = found.problem
        self.found = found
        self.A = matrix_of(problem.operator)
        self.y = problem.data.reshape(-1).numpy()
        self.s = problem.noise_std
        _, start = Run.begin(problem, ConstantPrior(0.0))
        self.start = start.reshape(1, D).numpy()


# --- the singular value decomposition ------------------------------------------------------------


def single_coil(modulus: float = 0.8) -> Sense:
    draw = torch.Generator().manual_seed(0)
    phase = torch.rand(1, EDGE, EDGE, generator=draw, dtype=torch.float64) * 6
    mask = torch.rand(EDGE, EDGE, generator=draw) < 0.5
    return Sense(torch.polar(torch.full_like(phase, modulus), phase)[None], mask)


def rectangular(m: int, n: int, rank: int) -> LinearOperator:
    draw = torch.Generator().manual_seed(m)
    shape = (m, rank), (rank, n)
    left, right = (torch.randn(s, generator=draw, dtype=torch.complex128) for s in shape)
    return Matrix(left @ right, (1, 1, n))


@pytest.mark.parametrize(
    "operator",
    [
        rectangular(5, 9, 5),
        rectangular(9, 5, 5),
        rectangular(6, 6, 3),
        single_coil(),
        Fourier((1, 6, 5), axes=(-2, -1), dtype=torch.complex128),
    ],
    ids=["wide", "tall", "rank deficient", "one coil", "Fourier"],
)
def test_a_decomposition_is_one(operator: LinearOperator) -> None:
    found, n = svd_of(operator), operator.domain.size
    assert isinstance(found, FourierSvd if isinstance(operator, Sense | Fourier) else DenseSvd)
    matrix = matrix_of(operator)
    want = np.zeros(n)
    want[: min(matrix.shape)] = np.linalg.svd(matrix, compute_uv=False)
    want[want < 1e-10] = 0
    assert np.allclose(np.sort(found.singular_values.flatten().numpy())[::-1], want, atol=1e-12)

    draw = torch.Generator().manual_seed(1)
    x = torch.randn(3, *operator.domain.shape, generator=draw, dtype=torch.complex128)
    c = found.image_coefficients(x)
    assert torch.allclose(found.image(c), x, atol=1e-12)
    assert torch.allclose(torch.linalg.vector_norm(c), torch.linalg.vector_norm(x))
    seen = found.singular_values > 0
    through = torch.where(seen, found.data_coefficients(operator(x)), 0)
    assert torch.allclose(through, found.singular_values * c, atol=1e-12)


def test_a_decomposition_is_where_the_data_are() -> None:
    """An operator without tensors of its own takes any device, and so must what is made of it."""
    found = svd_of(Fourier((1, 6, 5), axes=(-2, -1)), device="meta")
    assert isinstance(found, FourierSvd)
    assert {found.phase.device.type, found.singular_values.device.type} == {"meta"}


def test_negligible_singular_values_are_null() -> None:
    """Rounding must not be divided by."""
    values = svd_of(rectangular(6, 6, 3)).singular_values
    assert int((values > 0).sum()) == 3


def test_each_system_has_its_own_dense_decomposition() -> None:
    """Two slices under different maps of two coils: together they are what each is alone."""
    draw = torch.Generator().manual_seed(0)
    csm = torch.randn(2, 2, EDGE, EDGE, generator=draw, dtype=torch.complex128)
    mask = torch.rand(EDGE, EDGE, generator=draw) < 0.5
    both = svd_of(Sense(csm, mask), n_batch_axes=1)
    x = torch.randn(3, 2, EDGE, EDGE, generator=draw, dtype=torch.complex128)
    y = Sense(csm, mask)(x)
    for i in range(2):
        matrix = matrix_of(Sense(csm[i], mask))
        want = np.linalg.svd(matrix, compute_uv=False)
        assert np.allclose(both.singular_values[i].numpy(), want, atol=1e-10)
    c = both.image_coefficients(x)
    assert torch.allclose(both.image(c), x, atol=1e-12)
    through = torch.where(both.singular_values > 0, both.data_coefficients(y), 0)
    assert torch.allclose(through, both.singular_values * c, atol=1e-12)


@pytest.mark.parametrize("kind", ["two coils", "varying modulus"])
def test_operators_without_a_decomposition_are_refused(kind: str) -> None:
    csm = torch.ones(2 if kind == "two coils" else 1, 80, 80, dtype=torch.complex64)
    csm[0, :40] *= 1.5
    operator = Sense(csm, torch.ones(80, 80, dtype=torch.bool))
    with pytest.raises(
        UsageError,
        match=r"no singular value decomposition.*at most 4096 unknowns a slice.*got 6400",
    ):
        svd_of(operator)


# --- DDRM ----------------------------------------------------------------------------------------


def literal_ddrm(
    here: Gaussian, levels: Array, noise: list[Array], eta: float, eta_b: float
) -> list[Array]:
    """Kawar et al. 2022, one singular direction at a time."""
    U, d, Vt = np.linalg.svd(here.A)
    d = np.concatenate([d, np.zeros(D - len(d))])
    Uty = np.concatenate([U.T @ here.y, np.zeros(D)])
    s, images = here.s, []
    start, drawn = Vt @ here.start[0], Vt @ noise[0][0]
    xbar = np.zeros(D)
    for i in range(D):
        if d[i] > 0 and s / d[i] < levels[0]:
            xbar[i] = Uty[i] / d[i] + np.sqrt(levels[0] ** 2 - s**2 / d[i] ** 2) * drawn[i]
        else:
            xbar[i] = start[i] + levels[0] * drawn[i]
    for k, sigma in enumerate(levels):
        zbar = Vt @ literal_denoiser(here.found, (Vt.T @ xbar)[None], sigma)[0]
        following = levels[k + 1] if k + 1 < len(levels) else 0.0
        drawn = Vt @ noise[k + 1][0]
        new = np.zeros(D)
        for i in range(D):
            if d[i] == 0:
                kept = (xbar[i] - zbar[i]) / sigma
            elif following < s / d[i]:
                kept = (Uty[i] / d[i] - zbar[i]) / (s / d[i])
            else:
                mean = (1 - eta_b) * zbar[i] + eta_b * Uty[i] / d[i]
                spread = np.sqrt(following**2 - (eta_b * s / d[i]) ** 2)
                new[i] = mean + spread * drawn[i]
                continue
            new[i] = zbar[i] + np.sqrt(1 - eta**2) * following * kept + eta * following * drawn[i]
        xbar = new
        images.append((Vt.T @ xbar)[None])
    return images


@pytest.mark.parametrize("measurement", ["inpainting", "blur", "random"])
@pytest.mark.parametrize(("eta", "eta_b"), [(0.85, 1.0), (0.3, 0.6)])
def test_ddrm_is_the_equations_of_the_paper(measurement: str, eta: float, eta_b: float) -> None:
    here, seen = Gaussian(gaussian(measurement)), Recorder()
    ddrm(
        here.found.problem,
        MixturePrior(here.found.mixture),
        generator=torch.Generator().manual_seed(3),
        callback=seen,
        steps=len(LEVELS),
        sigma_max=LEVELS[0],
        sigma_min=LEVELS[-1],
        eta=eta,
        eta_b=eta_b,
    )
    noise = noise_of(3, here.found.problem, len(LEVELS) + 1)
    want = literal_ddrm(here, LEVELS, noise, eta, eta_b)
    for found, wanted in zip(seen.images(), want, strict=True):
        assert np.abs(found - wanted).max() < 1e-10
    assert np.abs(seen.last - want[-1]).max() < 1e-10


def test_ddrm_of_a_dense_matrix_and_of_masked_fourier_agree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = single_coil()
    draw = torch.Generator().manual_seed(2)
    truth = torch.rand(operator.domain.shape, generator=draw, dtype=torch.float64)
    noise = torch.randn(operator.range.shape, generator=draw, dtype=torch.complex128)
    problem = Problem(
        operator,
        operator(truth.to(torch.complex128)) + 0.02 * noise * operator.mask,
        0.02,
        int(operator.mask.sum()),
        Grid((1, EDGE, EDGE), (1.0, 1.0, 1.0)),
        n_batch_axes=1,
    )
    runs = []
    for _ in range(2):
        seen = Recorder()
        ddrm(problem, MixturePrior(gaussian("blur").mixture), callback=seen, steps=5)
        runs.append(seen.images())
        monkeypatch.setattr(svd, "_single_coil", lambda _operator: None)
    assert isinstance(svd_of(operator), DenseSvd)
    for fourier, dense in zip(*runs, strict=True):
        assert np.abs(fourier - dense).max() < 1e-10


@pytest.mark.parametrize("sampler", [ddrm, ddnm])
@pytest.mark.parametrize("measurement", ["inpainting", "random"])
def test_data_without_noise_are_reproduced(sampler: type[ddrm], measurement: str) -> None:
    here, seen = Gaussian(gaussian(measurement, noise_std=0.001)), Recorder()
    problem = replace(here.found.problem, noise_std=0.0)
    sampler(problem, MixturePrior(here.found.mixture), callback=seen, steps=4)
    residual = here.A @ seen.last[0] - here.y
    assert np.linalg.norm(residual) < 1e-5 * np.linalg.norm(here.y)


# --- DDNM ----------------------------------------------------------------------------------------


def test_ddnm_without_noise_is_the_pseudoinverse() -> None:
    """Wang et al. 2023, with the pseudoinverse written out."""
    here, seen, eta = Gaussian(gaussian("random", noise_std=0.001)), Recorder(), 0.85
    ddnm(
        replace(here.found.problem, noise_std=0.0),
        MixturePrior(here.found.mixture),
        generator=torch.Generator().manual_seed(3),
        callback=seen,
        steps=len(LEVELS),
        sigma_max=LEVELS[0],
        sigma_min=LEVELS[-1],
        eta=eta,
        cg_iterations=100,
    )
    pinv = np.linalg.pinv(here.A)
    noise = noise_of(3, here.found.problem, len(LEVELS) + 1)
    x = here.start + LEVELS[0] * noise[0]
    estimate = x
    for k, sigma in enumerate(LEVELS):
        z = literal_denoiser(here.found, x, sigma)
        estimate = z + (here.y - z @ here.A.T) @ pinv.T
        following = LEVELS[k + 1] if k + 1 < len(LEVELS) else 0.0
        eps = (x - z) / sigma
        x = estimate + following * (np.sqrt(1 - eta**2) * eps + eta * noise[k + 1])
    off_range = np.eye(D) - pinv @ here.A
    assert np.abs((seen.last - estimate) @ off_range.T).max() < 1e-6
    assert np.abs((seen.last - estimate) @ (pinv @ here.A).T).max() < 1e-6


@pytest.mark.parametrize("measurement", ["blur", "random"])
def test_the_noise_of_ddnm_is_complete(measurement: str) -> None:
    """What comes in with the data and what is added make sigma^2 in every direction."""
    here, seen, n = Gaussian(gaussian(measurement)), Recorder(), 4000
    first, following = 0.4, 0.1
    ddnm(
        here.found.problem,
        ConstantPrior(0.3),
        n_samples=n,
        callback=seen,
        steps=2,
        sigma_max=first,
        sigma_min=following,
        eta=1.0,
        cg_iterations=60,
    )
    x = seen.images()[0]
    normal = here.A.T @ here.A
    w = here.s**2 / (2 * following**2)
    B = np.linalg.inv(normal + w * np.eye(D))
    z = np.full(D, 0.3)
    mean = z + B @ here.A.T @ (here.y - here.A @ z)
    from_data = here.s**2 * B @ normal @ B
    added = following**2 * np.eye(D) - from_data
    assert np.linalg.eigvalsh(from_data).max() <= following**2 / 2 * (1 + 1e-9)
    assert np.abs(x.mean(0) - mean).max() < 5 * following / np.sqrt(n)
    assert np.abs(np.cov(x.T) - added).max() < 6 * following**2 / np.sqrt(n)


def test_ddnm_keeps_eps_only_where_the_data_say_nothing() -> None:
    """With eta = 0 the null space moves as DDIM does, and the rest gets fresh noise."""
    here = Gaussian(gaussian("inpainting"))
    runs = []
    for seed in (0, 1):
        seen = Recorder()
        ddnm(
            here.found.problem,
            ConstantPrior(0.3),
            n_samples=500,
            generator=torch.Generator().manual_seed(seed),
            callback=seen,
            steps=2,
            sigma_max=0.4,
            sigma_min=0.1,
            eta=0.0,
            cg_iterations=60,
        )
        runs.append(seen.images()[0])
    unseen = here.A.sum(0) == 0
    first = noise_first_images(here, 0.4, 500)
    ddim = 0.3 + 0.1 * (first - 0.3) / 0.4
    assert np.abs((runs[0] - ddim)[:, unseen]).max() < 1e-6
    assert np.abs((runs[0] - ddim)[:, ~unseen]).max() > 0.1


def noise_first_images(here: Gaussian, sigma: float, n: int) -> Array:
    """What a run with seed 0 starts from: least squares plus noise."""
    streams = Streams(torch.Generator().manual_seed(0), n, 1)
    drawn = streams.white_noise(torch.empty(n, 1, EDGE, EDGE, dtype=torch.float64))
    return np.asarray(here.start + sigma * drawn.reshape(n, D).numpy())


# --- DiffPIR -------------------------------------------------------------------------------------


@pytest.mark.parametrize("zeta", [0.0, 0.3, 1.0])
def test_diffpir_is_the_algorithm_of_the_paper(zeta: float) -> None:
    """Zhu et al. 2023, algorithm 1, with the data step solved by a dense matrix."""
    here, seen, weight = Gaussian(gaussian("blur")), Recorder(), 2.0
    diffpir(
        here.found.problem,
        MixturePrior(here.found.mixture),
        generator=torch.Generator().manual_seed(3),
        callback=seen,
        steps=len(LEVELS),
        sigma_max=LEVELS[0],
        sigma_min=LEVELS[-1],
        weight=weight,
        zeta=zeta,
        cg_iterations=100,
    )
    noise = noise_of(3, here.found.problem, len(LEVELS) + 1)
    x = here.start + LEVELS[0] * noise[0]
    estimate = x
    for k, sigma in enumerate(LEVELS):
        z = literal_denoiser(here.found, x, sigma)
        rho = weight * here.s**2 / sigma**2
        normal = here.A.T @ here.A + rho * np.eye(D)
        estimate = np.linalg.solve(normal, here.A.T @ here.y + rho * z[0])[None]
        eps = (x - estimate) / sigma
        following = LEVELS[k + 1] if k + 1 < len(LEVELS) else 0.0
        x = estimate + following * (np.sqrt(1 - zeta) * eps + np.sqrt(zeta) * noise[k + 1])
    assert np.abs(seen.last - estimate).max() < 1e-8


@pytest.mark.parametrize("measurement", ["random", "inpainting"])
def test_the_mean_of_diffpir_tends_to_the_posterior_mean(measurement: str) -> None:
    """With weight = zeta = 1 and slowly falling levels; its spread does not."""
    found = gaussian(measurement)
    result = diffpir(
        found.problem,
        MixturePrior(found.mixture),
        n_samples=200,
        steps=100,
        sigma_max=0.5,
        sigma_min=0.01,
        weight=1.0,
        zeta=1.0,
        cg_iterations=10,
    )
    assert result.posterior is not None
    scores = score(found, result.posterior.samples)
    assert scores.mean_error < 0.15  # in units of the posterior's std; 200 samples leave 0.05
    assert scores.std_ratio < 0.85


# --- RED-diff ------------------------------------------------------------------------------------


@pytest.mark.parametrize("measurement", ["random", "blur"])
def test_red_diff_tends_to_the_posterior_mode(measurement: str) -> None:
    found = gaussian(measurement)
    result = red_diff(
        found.problem,
        MixturePrior(found.mixture),
        n_samples=20,
        steps=200,
        sigma_max=0.5,
        sigma_min=0.01,
    )
    assert result.posterior is not None
    scores = score(found, result.posterior.samples)
    assert scores.mean_error < 0.15
    assert scores.std_ratio < 0.7  # no posterior sampling, and it says so
    assert result.diagnostics.n_denoiser == 200


def test_a_step_of_red_diff_is_adam_on_the_loss_of_the_paper() -> None:
    """Two steps by automatic differentiation of the loss, Adam written out."""
    here, seen = Gaussian(gaussian("blur")), Recorder()
    red_diff(
        here.found.problem,
        MixturePrior(here.found.mixture),
        generator=torch.Generator().manual_seed(3),
        callback=seen,
        preset="red_diff-paper",
        steps=2,
    )
    A, y = (torch.from_numpy(array) for array in (here.A, here.y))
    noise = noise_of(3, here.found.problem, 2)
    mu = torch.from_numpy(here.start[0])
    first, second = torch.zeros(D), torch.zeros(D)
    for k, sigma in enumerate(vp_levels(2)):
        mu = mu.clone().requires_grad_()
        n = torch.from_numpy(noise[k][0])
        x = mu.detach() + sigma * n
        z = torch.from_numpy(literal_denoiser(here.found, x.numpy()[None], sigma)[0])
        eps = (x - z) / sigma
        misfit = (y - A @ mu).square().sum() / 2
        loss = misfit + 0.25 * sigma * ((eps - n).detach() * mu).sum()
        (gradient,) = torch.autograd.grad(loss, mu)
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        bias = 1 - 0.9 ** (k + 1), 1 - 0.99 ** (k + 1)
        mu = (mu - 0.1 * (first / bias[0]) / ((second / bias[1]).sqrt() + 1e-8)).detach()
    assert np.abs(seen.last[0] - mu.numpy()).max() < 1e-10


# --- settings and schedules ----------------------------------------------------------------------


def test_quadratic_levels_are_those_of_the_released_schedule() -> None:
    """Index t = 999 - floor(1000 sqrt(j / (n - 1))), the last moved to 0."""
    kept = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))
    index = [min(int(np.sqrt(v)), 999) for v in np.linspace(0, 1000**2, 20)]
    times = [999 - i for i in index]
    want = [np.sqrt((1 - kept[t]) / kept[t]) for t in times]
    assert np.allclose(vp_levels(20, quadratic=True), want, rtol=1e-9)


@pytest.mark.parametrize(
    ("sampler", "preset", "want"),
    [
        (diffpir, "diffpir-paper", {"weight": 7.0, "zeta": 0.3}),
        (ddnm, "ddnm-paper", {"eta": 0.85}),
        (ddrm, "ddrm-paper", {"eta": 0.85, "eta_b": 1.0}),
        (red_diff, "red_diff-paper", {"weight": 0.25, "learning_rate": 0.1}),
    ],
)
def test_published_settings_by_name(
    sampler: type[ddrm], preset: str, want: dict[str, float]
) -> None:
    found = gaussian("inpainting")
    result = sampler(found.problem, MixturePrior(found.mixture), preset=preset, steps=3)
    assert want.items() <= result.settings.items()
    assert result.settings["preset"] == preset
    quadratic = sampler is diffpir
    assert result.settings["sigma_max"] == vp_levels(3, quadratic=quadratic)[0]


def test_published_levels_stop_where_the_prior_does() -> None:
    found, seen = gaussian("inpainting"), Recorder()
    prior = ConstantPrior(0.3, largest_sigma=1.0)
    result = diffpir(found.problem, prior, callback=seen, preset="diffpir-paper", steps=20)
    levels = [state.sigma for state in seen.states]
    assert levels == [s for s in vp_levels(20, quadratic=True) if s <= 1.0]
    assert result.diagnostics.n_denoiser == len(levels) < 20


@pytest.mark.parametrize(
    ("sampler", "settings", "message"),
    [
        (diffpir, {"preset": "paper"}, r"preset expected one of measured-noise, diffpir-paper"),
        (diffpir, {"weight": -1}, r"weight expected a number >= 0, got -1"),
        (diffpir, {"zeta": 1.5}, r"zeta expected a number >= 0 and <= 1, got 1.5"),
        (diffpir, {"steps": 1}, r"steps expected an integer >= 2"),
        (diffpir, {"cg_iterations": 0}, r"cg_iterations expected an integer >= 1"),
        (ddnm, {"eta": "no"}, r"eta expected a number"),
        (ddnm, {"form": "clean"}, r"form expected one of noisy, noiseless"),
        (ddnm, {"preset": "x"}, r"preset expected one of measured-noise, ddnm-paper"),
        (ddrm, {"eta": -0.1}, r"eta expected a number >= 0 and <= 1"),
        (ddrm, {"eta_b": 2}, r"eta_b expected a number >= 0 and <= 1, got 2"),
        (ddrm, {"preset": "x"}, r"preset expected one of measured-noise, ddrm-paper"),
        (red_diff, {"learning_rate": 0}, r"learning_rate expected a number > 0, got 0"),
        (red_diff, {"weight": float("nan")}, r"weight expected a number"),
        (red_diff, {"preset": "x"}, r"preset expected one of measured-noise, red_diff-paper"),
        (red_diff, {"n_samples": 0}, r"n_samples expected an integer >= 1, got 0"),
    ],
)
def test_settings_are_refused_by_name(
    sampler: type[ddrm], settings: dict[str, object], message: str
) -> None:
    found = gaussian("inpainting")
    with pytest.raises(InverseError, match=message):
        sampler(found.problem, MixturePrior(found.mixture), **settings)
