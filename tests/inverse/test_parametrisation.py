"""Every parametrisation is the same denoiser: closed forms, diffusers' schedulers, literal times.

Truth: for x0 ~ N(0, s^2) every network output has a closed form in its own coordinates, written
here from the definition of each process, and E[x0 | x] = s^2 x / (s^2 + sigma^2).
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from inverse.errors import DataError
from inverse.priors.noise_schedule import parametrisation_of
from inverse.priors.parametrisation import (
    Coefficients,
    Edm,
    FlowMatching,
    Parametrisation,
    VarianceExploding,
    VariancePreserving,
)

S = 0.7  # standard deviation of the images
LINEAR = tuple(np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000)).tolist())
SIGMAS = (0.02, 0.3, 1.0, 5.0)
NETWORK: Any = SimpleNamespace(config={"time_embedding_type": "positional"})


def apply(at: Coefficients, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
    return at.skip * x + at.out * output


def wiener(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return x * S**2 / (S**2 + sigma**2)


def noisy(sigma: float) -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return math.hypot(S, sigma) * torch.randn(9, generator=draw, dtype=torch.float64)


def alpha_at(time: float) -> float:
    """Cumulative product between two integer times, ln(sigma) taken to be linear."""
    sigma = [math.log(math.sqrt((1 - a) / a)) for a in LINEAR]
    low = min(int(time), len(LINEAR) - 2)
    between = math.exp(sigma[low] + (time - low) * (sigma[low + 1] - sigma[low]))
    return 1 / (1 + between**2)


def ddpm_network(prediction: str, x_t: torch.Tensor, time: float) -> torch.Tensor:
    """Conditional means given x_t = sqrt(a) x0 + sqrt(1-a) n, jointly Gaussian."""
    a = alpha_at(time)
    total = a * S**2 + 1 - a
    x0 = math.sqrt(a) * S**2 / total * x_t
    noise = math.sqrt(1 - a) / total * x_t
    return {
        "sample": x0,
        "epsilon": noise,
        "v_prediction": math.sqrt(a) * noise - math.sqrt(1 - a) * x0,
    }[prediction]


def edm_network(inputs: torch.Tensor, label: float, data: float, sign: int) -> torch.Tensor:
    """Mean of the training target (x0 - c_skip x) / c_out, given c_in x and ln(sigma) / 4."""
    sigma = math.exp(4 * label)
    x = inputs * math.sqrt(data**2 + sigma**2)
    skip = data**2 / (data**2 + sigma**2)
    out = sign * sigma * data / math.sqrt(data**2 + sigma**2)
    return (wiener(x, sigma) - skip * x) / out


def flow_network(x_s: torch.Tensor, label: float, n_times: int) -> torch.Tensor:
    """Mean of n - x0 given x_s = (1 - s) x0 + s n."""
    s = label / n_times
    total = (1 - s) ** 2 * S**2 + s**2
    return (s - (1 - s) * S**2) / total * x_s


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_ddpm_is_the_wiener_denoiser(prediction: str, sigma: float) -> None:
    at = VariancePreserving(LINEAR, prediction).coefficients(sigma)
    x = noisy(sigma)
    output = ddpm_network(prediction, at.scale * x, at.label)
    torch.testing.assert_close(apply(at, x, output), wiener(x, sigma), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize(("prediction", "sign"), [("epsilon", 1), ("v_prediction", -1)])
@pytest.mark.parametrize("data", [0.3, S])
def test_edm_is_the_wiener_denoiser(prediction: str, sign: int, data: float, sigma: float) -> None:
    at = Edm(data, 0.002, 80.0, prediction).coefficients(sigma)
    x = noisy(sigma)
    output = edm_network(at.scale * x, at.label, data, sign)
    torch.testing.assert_close(apply(at, x, output), wiener(x, sigma), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_edm_asks_for_nothing_where_the_data_are_as_assumed(sigma: float) -> None:
    """With sigma_data the images' own, c_skip x is the Wiener filter already and F vanishes."""
    at = Edm(S, 0.002, 80.0).coefficients(sigma)
    x = noisy(sigma)
    torch.testing.assert_close(at.skip * x, wiener(x, sigma), rtol=1e-12, atol=0)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_score_is_the_wiener_denoiser(sigma: float) -> None:
    at = VarianceExploding(0.01, 50.0).coefficients(sigma)
    x = noisy(sigma)
    score = -(at.scale * x) / (S**2 + at.label**2)
    torch.testing.assert_close(apply(at, x, score), wiener(x, sigma), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_is_the_wiener_denoiser(shift: float, sigma: float) -> None:
    at = FlowMatching(1000, shift).coefficients(sigma)
    x = noisy(sigma)
    output = flow_network(at.scale * x, at.label, 1000)
    torch.testing.assert_close(apply(at, x, output), wiener(x, sigma), rtol=0, atol=1e-6)


@pytest.mark.parametrize("time", [0, 1, 357, 998, 999])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("kind", ["DDIMScheduler", "DDPMScheduler"])
def test_ddpm_agrees_with_diffusers_at_integer_times(kind: str, prediction: str, time: int) -> None:
    import diffusers

    scheduler = getattr(diffusers, kind)(prediction_type=prediction, clip_sample=False)
    scheduler.set_timesteps(1000)
    alphas = scheduler.alphas_cumprod.double()
    sigma = float(((1 - alphas[time]) / alphas[time]).sqrt())
    at = VariancePreserving(tuple(alphas.tolist()), prediction).coefficients(sigma)
    assert at.label == pytest.approx(time, abs=1e-9)
    draw = torch.Generator().manual_seed(1)
    x_t, output = torch.randn(2, 1, 1, 4, 4, generator=draw, dtype=torch.float64)
    theirs = scheduler.step(output, time, x_t, generator=draw).pred_original_sample
    ours = apply(at, x_t / at.scale, output)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("sigma", SIGMAS)
def test_edm_agrees_with_diffusers(prediction: str, sigma: float) -> None:
    from diffusers import EDMEulerScheduler

    scheduler = EDMEulerScheduler(sigma_data=0.4, prediction_type=prediction)
    at = Edm(0.4, 0.002, 80.0, prediction).coefficients(sigma)
    draw = torch.Generator().manual_seed(1)
    x, output = torch.randn(2, 4, 4, generator=draw, dtype=torch.float64)
    level = torch.tensor(sigma, dtype=torch.float64)
    torch.testing.assert_close(at.scale * x, scheduler.precondition_inputs(x, level))
    assert at.label == pytest.approx(float(scheduler.precondition_noise(level)), rel=1e-12)
    theirs = scheduler.precondition_outputs(x, output, level)
    torch.testing.assert_close(apply(at, x, output), theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("s", [0.1, 0.5, 0.9])
def test_flow_agrees_with_the_last_step_of_diffusers(s: float, shift: float) -> None:
    """A step of Euler to s = 0 ends at x_s - s F, which is E[x0 | x]."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=[s])
    shifted = float(scheduler.sigmas[0])
    at = FlowMatching(1000, shift).coefficients(shifted / (1 - shifted))
    assert at.label == pytest.approx(float(scheduler.timesteps[0]), rel=1e-6)
    draw = torch.Generator().manual_seed(1)
    x_s, output = torch.randn(2, 1, 1, 4, 4, generator=draw, dtype=torch.float64)
    theirs = scheduler.step(output, scheduler.timesteps[0], x_s).prev_sample
    ours = apply(at, x_s / at.scale, output)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_flow_is_trained_where_diffusers_visits() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    for shift in (1.0, 3.0):
        visited = FlowMatchEulerDiscreteScheduler(shift=shift).sigmas.double()
        ours = FlowMatching(1000, shift)
        assert ours.sigma_min == pytest.approx(float(visited[-1] / (1 - visited[-1])), rel=1e-4)
        assert ours.sigma_max == pytest.approx(float(visited[1] / (1 - visited[1])), rel=1e-3)


def test_learned_times_are_integers_at_their_own_noise_level() -> None:
    exact = VariancePreserving(LINEAR, "epsilon")
    snapped = VariancePreserving(LINEAR, "epsilon", fractional=False)
    between = exact.coefficients(0.5)
    at = snapped.coefficients(0.5)
    assert between.label != round(between.label)
    assert at.label == round(between.label)
    a = LINEAR[int(at.label)]
    assert at.scale == pytest.approx(math.sqrt(a), rel=1e-12)
    assert at.out == pytest.approx(-math.sqrt((1 - a) / a), rel=1e-12)


def test_time_rises_with_the_noise_level() -> None:
    ddpm = VariancePreserving(LINEAR, "epsilon")
    labels = [ddpm.coefficients(s).label for s in np.geomspace(ddpm.sigma_min, 100, 300)]
    assert (np.diff(labels) > 0).all()


@pytest.mark.parametrize(
    "trained",
    [
        VariancePreserving(LINEAR, "epsilon"),
        Edm(0.5, 0.002, 80.0),
        VarianceExploding(0.01, 50.0),
        FlowMatching(1000),
    ],
    ids=lambda trained: type(trained).__name__,
)
def test_noise_outside_the_trained_range_is_clipped(trained: Parametrisation) -> None:
    low, high = trained.sigma_min, trained.sigma_max
    assert trained.coefficients(0.0) == trained.coefficients(low)
    assert trained.coefficients(low / 9) == trained.coefficients(low)
    assert trained.coefficients(math.inf) == trained.coefficients(high)
    assert trained.coefficients(low * 2) != trained.coefficients(low)


def test_zero_terminal_signal_has_no_noise_level() -> None:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(rescale_betas_zero_snr=True)
    table = tuple(scheduler.alphas_cumprod.double().tolist())
    assert table[-1] == 0
    ddpm = VariancePreserving(table, "v_prediction")
    last = table[-2]
    assert ddpm.sigma_max == pytest.approx(math.sqrt((1 - last) / last), rel=1e-9)
    assert ddpm.coefficients(math.inf).label == 998


@pytest.mark.parametrize(
    "kind", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "UniPCMultistepScheduler"]
)
def test_zero_terminal_signal_is_that_of_ddim_under_every_scheduler(kind: str) -> None:
    """Some put 2^-24 in place of the zero, more than the entry before it."""
    import diffusers

    settings = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}
    alphas = getattr(diffusers, kind)(**settings).alphas_cumprod
    assert alphas[-1] > alphas[-2]
    found, ddim = (
        parametrisation_of({**settings, "_class_name": name}, NETWORK)
        for name in (kind, "DDIMScheduler")
    )
    assert found.sigma_max == pytest.approx(ddim.sigma_max, rel=1e-6)
    for sigma in SIGMAS:
        assert found.coefficients(sigma) == pytest.approx(ddim.coefficients(sigma), rel=1e-5)


def test_a_shift_that_depends_on_the_image_is_none_of_the_schedule() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    settings = {"shift": 3.0, "use_dynamic_shifting": True}
    visited = FlowMatchEulerDiscreteScheduler(**settings).sigmas.double()
    found = parametrisation_of(
        {**settings, "_class_name": "FlowMatchEulerDiscreteScheduler"}, NETWORK
    )
    assert found.sigma_min == pytest.approx(float(visited[-1] / (1 - visited[-1])), rel=1e-4)
    assert found.sigma_max == pytest.approx(float(visited[1] / (1 - visited[1])), rel=1e-3)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(DataError, match="prediction_type expected 'epsilon', 'v_prediction' or"):
        VariancePreserving(LINEAR, "noise")
    with pytest.raises(DataError, match="expected a cumulative product that falls"):
        VariancePreserving(LINEAR[::-1], "epsilon")
    with pytest.raises(DataError, match="expected a cumulative product that falls"):
        VariancePreserving((math.nan, 0.5, 0.2), "epsilon")
    with pytest.raises(DataError, match="expected a cumulative product that falls"):
        VariancePreserving((), "epsilon")
    with pytest.raises(DataError, match="expected 0 < sigma_min < sigma_max"):
        Edm(0.5, 1.0, 0.1)
    with pytest.raises(DataError, match="sigma_data expected a positive number"):
        Edm(math.nan, 0.1, 1.0)
    with pytest.raises(DataError, match="expected 'epsilon' or 'v_prediction', got 'sample'"):
        Edm(0.5, 0.1, 1.0, "sample")
    with pytest.raises(DataError, match="expected 0 < sigma_min < sigma_max"):
        VarianceExploding(0.0, 1.0)
    with pytest.raises(DataError, match="a positive shift"):
        FlowMatching(1000, 0.0)
