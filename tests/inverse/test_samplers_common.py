"""What every sampler promises: samples, systems and seeds do not depend on each other."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from inverse import Problem, Reconstruction, UsageError
from inverse.grid import Grid
from inverse.methods import METHODS, find, settings_of, takes_prior
from inverse.samplers.run import State
from operators import LinearOperator, Sense, Space
from solvers import RecycleSpace

find("dds")  # fills the table
SAMPLERS = sorted(name for name in METHODS if takes_prior(name))
STOCHASTIC = [
    name for name in SAMPLERS if "n_samples" in inspect.signature(METHODS[name]).parameters
]
KINDS = ["real", "complex", "MRI"]
EDGE = 8
N_DATA = 36
STEPS = 4
EVERY = (0, 1, 2, 3)


class Matrix(LinearOperator):
    """A matrix on each of the images of a stack, which are independent systems.

    Parameters
    ----------
    matrix : Tensor, (m, y * x)
    shape : (z, y, x)
    """

    def __init__(self, matrix: torch.Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__(
            Space(shape, matrix.dtype, ("z", "y", "x")),
            Space((shape[0], len(matrix)), matrix.dtype, ("z", "sample")),
        )
        self.matrix = matrix

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-2) @ self.matrix.mT

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return (y @ self.matrix.conj()).unflatten(-1, self.domain.shape[1:])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Matrix:
        return Matrix(self.matrix.to(device, dtype), self.domain.shape)  # type: ignore[arg-type]


class Shrink:
    """A prior N(0.5, 0.3^2) for each pixel by itself and its exact denoiser; it notes its calls."""

    name = "pixels"
    n_channels = 1
    max_shift = 0
    largest_sigma = float("inf")

    def __init__(self) -> None:
        self.calls = 0

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        self.calls += 1
        return 0.5 + (x - 0.5) * 0.3**2 / (0.3**2 + sigma**2)

    def to(self, device: torch.device | str) -> Shrink:
        del device
        return self


def matrix_of(kind: str) -> torch.Tensor:
    """N_DATA samples of EDGE^2 unknowns; double, as products round by the size of the batch."""
    dtype = torch.complex128 if kind == "complex" else torch.float64
    return torch.randn(N_DATA, EDGE**2, generator=seeded(0), dtype=dtype) / EDGE


def truth() -> torch.Tensor:
    """Four images."""
    return torch.rand(4, EDGE, EDGE, generator=seeded(1), dtype=torch.float64)


def problem_of(kind: str, systems: Sequence[int] = EVERY) -> Problem:
    """Some of four systems, whose data do not depend on which of them are asked for."""
    chosen, n = list(systems), len(systems)
    operator: LinearOperator
    if kind == "MRI":  # single precision, one coil of constant modulus
        phase = torch.rand(4, 1, EDGE, EDGE, generator=seeded(2))
        mask = torch.arange(EDGE)[:, None] % 2 == 0
        operator = Sense(torch.polar(torch.ones_like(phase), phase)[chosen], mask)
        mask_of_noise = mask
    else:
        operator = Matrix(matrix_of(kind), (n, EDGE, EDGE))
        mask_of_noise = torch.ones((), dtype=torch.bool)
    space = operator.range
    noise = torch.randn(4, *space.shape[1:], generator=seeded(3), dtype=space.dtype)
    clean = operator(truth()[chosen].to(operator.domain.dtype))
    return Problem(
        operator=operator,
        data=clean + 0.02 * noise[chosen] * mask_of_noise,
        noise_std=0.02,
        n_samples=EDGE**2 // 2 if kind == "MRI" else N_DATA,
        grid=Grid((n, EDGE, EDGE), (1.0, 1.0, 1.0)),
        n_batch_axes=1,
    )


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(name: str, problem: Problem, **settings: Any) -> Reconstruction:  # noqa: ANN401
    return METHODS[name](problem, Shrink(), steps=STEPS, **settings)


def samples_of(result: Reconstruction) -> np.ndarray:
    assert result.posterior is not None
    return result.posterior.samples


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    return bool(np.abs(found - wanted).max() <= 1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_four_samples_are_four_times_one(name: str, kind: str) -> None:
    problem = problem_of(kind, [0])
    together = samples_of(run(name, problem, generator=seeded(5), n_samples=4))
    source = seeded(5)
    for sample in together:
        assert close(run(name, problem, generator=source).image, sample)
    assert not np.array_equal(together[0], together[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_four_systems_are_four_runs(name: str, kind: str) -> None:
    problem = problem_of(kind)
    together = run(name, problem, generator=[seeded(n) for n in range(4)]).image
    for index in range(4):
        alone = run(name, problem_of(kind, [index]), generator=seeded(index)).image[0]
        assert close(together[index], alone)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STOCHASTIC)
def test_samples_of_systems_are_samples_of_each(name: str, kind: str) -> None:
    problem = problem_of(kind, [0, 1])
    together = samples_of(run(name, problem, generator=[seeded(0), seeded(1)], n_samples=3))
    for index in range(2):
        alone = run(name, problem_of(kind, [index]), generator=seeded(index), n_samples=3)
        assert close(together[:, index], samples_of(alone)[:, 0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_bytes(name: str, kind: str) -> None:
    problem = problem_of(kind, [0, 1])
    first, again = (run(name, problem, generator=seeded(0)).image for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert run(name, problem).image.tobytes() == first.tobytes()  # without one, seed 0


@pytest.mark.parametrize("name", STOCHASTIC)
def test_seeds_differ_and_zero_is_one(name: str) -> None:
    problem = problem_of("real", [0])
    images = [run(name, problem, generator=seeded(seed)).image for seed in (0, 1, 2)]
    assert not any(np.array_equal(images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_global_random_state_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    run(name, problem_of("real", [0]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", SAMPLERS)
def test_progress_and_callback_see_every_step(name: str) -> None:
    states: list[State] = []
    done: list[tuple[int, int]] = []
    problem = problem_of("complex", [0])
    prior = Shrink()
    result = METHODS[name](
        problem,
        prior,
        steps=STEPS,
        callback=states.append,
        progress=lambda _stage, n, of: done.append((n, of)),
    )
    assert [state.index for state in states] == list(range(len(states)))
    assert len(states) >= STEPS
    assert done[-1][0] == done[-1][1]
    assert result.diagnostics.n_denoiser == prior.calls
    assert np.allclose(states[-1].estimate[0].numpy(), result.image, atol=1e-6)
    # What a callback was shown stays as it was shown.
    assert len({state.x.data_ptr() for state in states}) == len(states)


@pytest.mark.parametrize("name", SAMPLERS)
def test_settings_of_a_result_repeat_it(name: str) -> None:
    """What a reconstruction says that it ran with gives the same image."""
    problem = problem_of("real", [0])
    first = run(name, problem)
    known = settings_of(name)
    settings = {key: value for key, value in first.settings.items() if key in known}
    assert {"steps", "sigma_max"} <= settings.keys()
    again = METHODS[name](problem, Shrink(), **settings)
    assert close(again.image, first.image)


class ShrinkToOne(Shrink):
    """Knows nothing of noise levels above 1."""

    largest_sigma = 1.0


@pytest.mark.parametrize("name", [name for name in SAMPLERS if "preset" in settings_of(name)])
def test_published_settings_repeat_though_the_prior_lacks_levels(name: str) -> None:
    """The steps that were asked for are recorded, not those that the prior left."""
    problem, prior, preset = problem_of("real", [0]), ShrinkToOne(), f"{name}-paper"
    first = METHODS[name](problem, prior, preset=preset, steps=12)
    assert first.settings["steps"] == 12
    known = settings_of(name)
    settings = {key: value for key, value in first.settings.items() if key in known}
    assert close(METHODS[name](problem, prior, **settings).image, first.image)


def test_dds_and_diffpir_are_one_sampler_at_their_defaults() -> None:
    """They differ in which noise they keep, and keep none."""
    problem = problem_of("complex", [0, 1])
    images = [run(name, problem, n_samples=3).image for name in ("dds", "diffpir")]
    assert images[0].tobytes() == images[1].tobytes()
    keeping = [run("dds", problem, eta=0.5).image, run("diffpir", problem, zeta=0.25).image]
    assert not np.array_equal(keeping[0], keeping[1])


@pytest.mark.parametrize(
    "name", [name for name in SAMPLERS if "cg_iterations" in settings_of(name)]
)
def test_no_iterations_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cg_iterations expected an integer >= 1, got 0"):
        run(name, problem_of("real", [0]), cg_iterations=0)


def test_numbers_of_numpy_are_numbers() -> None:
    problem = problem_of("real", [0])
    wanted = METHODS["dds"](problem, Shrink(), steps=3, weight=0.5)
    found = METHODS["dds"](problem, Shrink(), steps=np.int64(3), weight=np.float32(0.5))
    assert found.image.tobytes() == wanted.image.tobytes()
    assert found.settings == wanted.settings


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_prior_helps(name: str) -> None:
    """28 of 64 unknowns are not seen: at its own settings each is better than least squares."""
    problem = problem_of("real")
    n = {"n_samples": 8} if name in STOCHASTIC else {}
    found = METHODS[name](problem, Shrink(), **n).image
    least_squares = METHODS["cg_sense"](problem).image
    assert error(found) < 0.8 * error(least_squares)


def error(image: np.ndarray) -> float:
    return float(np.linalg.norm(image - truth().numpy()))


@pytest.mark.parametrize("name", ["dds", "diffpir", "mbir", "pnp_hqs"])
def test_recycling_reaches_tight_data_steps_with_fewer_iterations(name: str) -> None:
    problem = problem_of("complex")
    plain = run(name, problem, cg_iterations=60)
    none = run(name, problem, cg_iterations=60, recycle=0)
    recycled = run(name, problem, cg_iterations=60, recycle=30)
    few = run(name, problem, cg_iterations=6, recycle=30)
    cut_off = run(name, problem, cg_iterations=6)
    assert np.array_equal(plain.image, none.image)
    assert error_of(recycled, plain) < 1e-3
    assert error_of(few, plain) < 0.8 * error_of(cut_off, plain)
    assert recycled.settings["recycle"] == 30
    assert "recycle" not in plain.settings


def error_of(found: Reconstruction, wanted: Reconstruction) -> float:
    return float(np.linalg.norm(found.image - wanted.image) / np.linalg.norm(wanted.image))


def test_cg_sense_recycles_between_reconstructions_where_it_is_told_how_far_to_go() -> None:
    problem = problem_of("MRI")
    cg_sense = METHODS["cg_sense"]
    space = RecycleSpace(20, target="largest", same_operator=True)
    settings = {"weight": 1e-3, "iterations": 40}
    plain = cg_sense(problem, **settings)
    first = cg_sense(problem, recycle=space, **settings)
    again = cg_sense(problem, recycle=space, **settings)
    assert np.array_equal(first.image, plain.image)
    assert error_of(again, plain) < 1e-5
    assert again.diagnostics.n_operator < first.diagnostics.n_operator
    with pytest.raises(UsageError, match="would change the image"):
        cg_sense(problem, recycle=space)
