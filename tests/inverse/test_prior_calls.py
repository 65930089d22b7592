"""What is said of the cost before a run is what the run costs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from inverse.grid import Grid
from inverse.methods import METHODS, find, samplers
from inverse.mri.simulate import Acquisition, simulate
from inverse.prior_calls import prior_calls
from inverse.priors import CallablePrior
from inverse.problem import Problem

LARGEST = 1.8


@pytest.fixture(scope="module")
def scan() -> Problem:
    torch.set_num_threads(1)
    y, x = np.mgrid[-1:1:24j, -1:1:20j]
    image = (x**2 + y**2 < 0.7).astype(np.float32)[None]
    acquisition = Acquisition(n_coils=4, acceleration=2, n_calibration=12, noise=0.01)
    return simulate(image, acquisition, grid=Grid((1, 24, 20), (1, 1, 1))).prepare()


class Counting:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        self.n += 1
        return x / (1 + 9 * sigma**2)


find("dds")


@pytest.mark.parametrize("name", [name for name in samplers() if name != "ddrm"])
@pytest.mark.parametrize("kind", ["default", "paper"])
def test_the_calls_foretold_are_those_that_are_made(scan: Problem, name: str, kind: str) -> None:
    """Counted by the denoiser itself, on a scan; parts of an image can be calls of their own."""
    settings: dict[str, object] = {"n_samples": 2}
    if kind == "paper":
        settings["preset"] = f"{name}-paper"
    if not (kind == "default" and name == "dds"):
        settings["steps"] = 5
    foretold = prior_calls(name, settings, noise_std=scan.noise_std, largest_sigma=LARGEST)
    counting = Counting()
    prior = CallablePrior(counting, largest_sigma=LARGEST)
    found = METHODS[name](scan, prior, **settings)
    assert foretold == found.diagnostics.n_denoiser
    assert counting.n % found.diagnostics.n_denoiser == 0


def test_the_first_thing_that_a_program_asks_is_answered() -> None:
    code = "from inverse.prior_calls import prior_calls; print(prior_calls('dds', {'steps': 3}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "3\n"


def test_methods_without_a_prior_and_settings_that_are_refused_have_no_count() -> None:
    assert prior_calls("cg_sense", {}) is None
    assert prior_calls("dds", {"steps": -1}) is None
    assert prior_calls("dds", {"no_such": 1}) is None
