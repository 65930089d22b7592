"""The choice of a prior: what is hidden, and that the better prediction of it wins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inverse import KSpace, Problem, reconstruct
from inverse.mri.prior_choice import PriorChoice, choose_prior, hide_samples
from inverse.mri.simulate import Acquisition, simulate
from operators import Sense

N = 64


def image() -> NDArray[np.float32]:
    y, x = np.mgrid[-1 : 1 : N * 1j, -1 : 1 : N * 1j]
    shapes = 0.8 * (x**2 + y**2 < 0.7) + 0.2 * (np.abs(x) + np.abs(y) < 0.4)
    return np.asarray(shapes[None], np.float32)


def kspace(acceleration: float) -> KSpace:
    acquisition = Acquisition(n_coils=4, acceleration=acceleration, noise=0.005, seed=2)
    return simulate(image(), acquisition)


def masked(mask: NDArray[np.bool_]) -> Problem:
    """A scan of the points of a mask (ky, kx)."""
    full = kspace(1.0)
    samples = full.samples * mask
    return replace(full, samples=samples, mask=mask[None].copy()).prepare()


def sampled(problem: Problem) -> NDArray[np.bool_]:
    assert isinstance(problem.operator, Sense)
    return np.asarray(problem.operator.mask.expand(1, N, N)[0].numpy(), bool)


@pytest.fixture(scope="module")
def scan() -> Problem:
    return kspace(2.0).prepare()


class Blend:
    """Moves any image a part of the way to one that it holds for the truth."""

    n_channels = 1
    max_shift = 0
    largest_sigma = math.inf

    def __init__(self, name: str, believed: NDArray[np.floating]) -> None:
        self.name = name
        self.believed = torch.from_numpy(np.asarray(believed, np.float32))

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        del sigma
        real = torch.tensor([1.0, 0.0])[:, None, None, None, None]  # the part without phase
        return (0.2 * x + 0.8 * real * self.believed).expand_as(x)

    def to(self, device: torch.device | str) -> Blend:
        del device
        return self


def test_whole_lines_are_hidden_outside_the_centre(scan: Problem) -> None:
    reduced, hidden = hide_samples(scan, np.random.default_rng(0))
    before, after = sampled(scan), sampled(reduced)
    gone: NDArray[np.bool_] = before & ~after
    assert not (after & ~before).any()
    lines = np.asarray(gone.any(1))
    assert (gone == lines[:, None]).all()
    assert not lines[N // 2 - 12 : N // 2 + 12].any()
    outside = before[:, 0].copy()
    outside[N // 2 - 12 : N // 2 + 12] = False
    assert lines.sum() == max(1, round(0.1 * outside.sum()))
    # The data say the same as the mask, and so does the count.
    assert np.array_equal(np.broadcast_to(hidden.numpy().reshape(-1, 1), gone.shape), gone)
    kept = np.broadcast_to(after, reduced.data.shape)
    assert not reduced.data.numpy()[~kept].any()
    assert np.array_equal(reduced.data.numpy()[kept], scan.data.numpy()[kept])
    assert reduced.n_components.item() == pytest.approx(2 * kept.sum(), abs=2)


def test_points_are_hidden_where_the_mask_has_two_dimensions() -> None:
    mask = np.random.default_rng(1).random((N, N)) < 0.5
    mask[N // 2 - 12 : N // 2 + 12, N // 2 - 12 : N // 2 + 12] = True
    whole = masked(mask)
    reduced, _ = hide_samples(whole, np.random.default_rng(0))
    gone = sampled(whole) & ~sampled(reduced)
    outside = mask.copy()
    outside[N // 2 - 12 : N // 2 + 12, N // 2 - 12 : N // 2 + 12] = False
    assert gone.sum() == round(0.1 * outside.sum())
    assert not (gone & ~outside).any()


def test_the_prior_that_predicts_better_is_chosen(scan: Problem) -> None:
    assert scan.intensity is not None
    seen = scan.intensity > 0
    truth = np.where(seen, image() / (scan.scale * np.where(seen, scan.intensity, 1)), 0)
    right, wrong = Blend("right", truth), Blend("wrong", truth * (np.arange(N) % 7 > 2))
    for priors in ([right, wrong], [wrong, right]):
        found = choose_prior(scan, priors)
        assert found.prior is right
        assert found.errors["right"] < 0.9 * found.errors["wrong"]
        assert "'right': error of predicted hidden samples" in found.why


def test_a_tie_goes_to_the_trusted_one(scan: Problem) -> None:
    one, same = Blend("one", image()), Blend("same", image())
    found = choose_prior(scan, [one, same])
    assert found.prior is one
    assert "a tie within 2 % with same" in found.why
    assert choose_prior(scan, [same, one]).prior is same


@pytest.mark.parametrize(("other", "is_tie"), [(0.2404, True), (0.236, True), (0.2441, False)])
def test_a_tie_is_what_lies_within_two_percent(other: float, is_tie: bool) -> None:
    chosen = Blend("natural", image())
    why = PriorChoice(chosen, {"natural": 0.239, "brain": other}).why
    assert f"natural 0.239, brain {other:.3f}" in why
    assert ("the data do not tell them apart" in why) == is_tie


@pytest.mark.parametrize("kind", ["full", "centre"])
def test_the_trusted_one_is_taken_where_nothing_can_be_hidden(kind: str) -> None:
    mask = np.ones((N, N), bool)
    if kind == "centre":
        mask[: N // 2 - 12] = mask[N // 2 + 12 :] = False
    problem = masked(mask)
    trusted, other = Blend("trusted", 0 * image()), Blend("other", image())
    found = choose_prior(problem, [trusted, other])
    assert found.prior is trusted
    assert found.errors == {}
    assert "no sample outside the centre to compare priors by" in found.why
    auto = reconstruct(problem, "pnp_hqs", prior="auto", steps=2)
    assert "no sample outside the centre" in str(auto.provenance["why"])
