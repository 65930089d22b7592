"""Calibration: known factors, coverage on images it has not seen, and what it is refused for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from inverse.calibrating import calibrate
from inverse.calibration import Calibration
from inverse.conditions import Conditions
from inverse.errors import DataError, UsageError
from inverse.grid import Grid
from inverse.posterior import Interval, Posterior
from inverse.reconstruction import Diagnostics, Reconstruction

Images = NDArray[np.generic]


def spread_image(shape: tuple[int, ...], seed: int) -> Images:
    """A standard deviation for each voxel, between 0.5 and 2."""
    return np.random.default_rng(seed).uniform(0.5, 2, shape)


def reconstruction(std: Images, *, centre: float = 50.0, **changed: object) -> Reconstruction:
    """Two real samples whose mean is `centre` and whose standard deviation is `std`."""
    samples = np.stack([centre + std / 2**0.5, centre - std / 2**0.5])
    shape = (std.shape[0], std.shape[1], std.shape[2])
    made = Reconstruction(
        image=samples.mean(0).astype(np.complex64),
        grid=Grid(shape, (1, 1, 1)),
        method="pnp_dm",
        settings={"steps": 20, "sigma_min": 0.01, "prior": "natural"},
        diagnostics=Diagnostics(noise_to_peak=0.02),
        baseline=np.zeros(shape, np.complex64),
        provenance={"preparation": {"acceleration": 4.0}, "recipe": {"prior": "natural"}},
        posterior=Posterior(samples, np.zeros(shape, np.float32), 0.8),
    )
    return replace(made, **changed)


def with_truth(seed: int, factor: float, shape: tuple[int, ...] = (4, 32, 32)) -> Reconstruction:
    """The error is Gaussian with `factor` times the claimed standard deviation."""
    std = spread_image(shape, seed)
    error = factor * std * np.random.default_rng(100 + seed).standard_normal(shape)
    return reconstruction(std, reference=50 + error)


@pytest.mark.parametrize(("level", "factor"), [(0.9, 2.0), (0.9, 0.5), (0.5, 1.0)])
def test_the_factor_of_gaussian_errors_is_known(level: float, factor: float) -> None:
    found = calibrate([with_truth(seed, factor) for seed in range(4)], level=level)
    quantile = norm.ppf((1 + level) / 2)
    # The spread of a sample quantile: sqrt(p (1 - p) / n) / density, of |N(0, 1)|.
    error = (level * (1 - level) / found.n_pixels) ** 0.5 / (2 * norm.pdf(quantile))
    assert found.factor == pytest.approx(factor * quantile, abs=4 * factor * error)
    assert found.n_slices == 16
    assert found.n_pixels == 4 * 4 * 32 * 32
    assert found.coverage_before == pytest.approx(2 * norm.cdf(0.5**0.5 / factor) - 1, abs=0.01)


def test_intervals_hold_the_truth_of_images_not_seen() -> None:
    found = calibrate([with_truth(seed, 1.7) for seed in range(3)])
    n_held_out = 5 * 4 * 32 * 32
    held = [within(found.apply(with_truth(seed, 1.7))) for seed in range(10, 15)]
    bound = 4 * (0.09 * (1 / n_held_out + 1 / found.n_pixels)) ** 0.5
    assert np.mean(held) == pytest.approx(0.9, abs=bound)
    assert found.coverage_after == pytest.approx(0.9, abs=bound)
    assert len(found.coverage_of_slices) == 12
    assert np.mean(found.coverage_of_slices) == pytest.approx(found.coverage_after, abs=1e-9)


def within(found: Reconstruction) -> float:
    assert found.posterior is not None
    assert found.reference is not None
    interval = found.posterior.shown
    return float(((interval.low <= found.reference) & (found.reference <= interval.high)).mean())


def test_few_voxels_take_the_finite_sample_quantile() -> None:
    """ceil((n + 1) level) of the ordered scores; and on average that holds for one voxel more."""
    generator = np.random.default_rng(3)
    mask = np.zeros((2, 4, 8), bool)
    mask[0, :2, :5] = mask[1, :2, :5] = True
    mask[1, 0, 0] = False  # 19 voxels
    n_held = 0
    for _ in range(400):
        std = generator.uniform(0.5, 2, mask.shape)
        scores = np.abs(generator.standard_normal(mask.shape)) ** 3
        found = calibrate([reconstruction(std)], [50 + std * scores], level=0.6, masks=[mask])
        assert found.factor == pytest.approx(np.sort(scores[mask])[12 - 1])
        n_held += np.abs(generator.standard_normal()) ** 3 <= found.factor
    assert n_held / 400 == pytest.approx(12 / 20, abs=4 * (0.24 / 400) ** 0.5)


def test_each_slice_is_judged_by_the_others() -> None:
    """One slice of four errs ten times as much: it alone is not covered by the others' factor."""
    std = np.ones((4, 32, 32))
    error = np.random.default_rng(5).standard_normal(std.shape) * [[[1]], [[1]], [[1]], [[10]]]
    found = calibrate([reconstruction(std)], [50 + error])
    assert found.coverage_of_slices[3] == pytest.approx(2 * norm.cdf(0.1645) - 1, abs=0.04)
    assert min(found.coverage_of_slices[:3]) > 0.99


def test_where_the_spread_says_where_the_error_is() -> None:
    std = np.where(np.arange(32) < 16, 1.0, 3.0) * np.ones((2, 32, 32))
    signs = np.random.default_rng(6).choice([-1, 1], std.shape)
    exact = calibrate([reconstruction(std)], [50 + std * signs])
    assert exact.error_correlation == pytest.approx(1)
    assert exact.factor == pytest.approx(1)
    assert exact.verdict.startswith("The spread shows, in part, where the errors are")
    blind = calibrate([reconstruction(std)], [50 + signs])
    assert blind.error_correlation == 0
    assert blind.verdict.startswith("The spread does not show where the errors are, only how large")
    assert "correlated by 0.00" in blind.verdict
    shown = blind.apply(reconstruction(std)).posterior
    assert shown is not None
    assert shown.shown.verdict == blind.verdict


@pytest.mark.parametrize(("correlation", "shows"), [(0.2, True), (0.19, False), (-0.6, False)])
def test_the_verdict_changes_at_a_fifth(correlation: float, shows: bool) -> None:
    found = replace(calibrate([with_truth(0, 1.0)]), error_correlation=correlation)
    assert found.spread_shows_where is shows
    assert ("does not show" in found.verdict) is not shows


def test_samples_that_agree_by_chance_do_not_promise_certainty() -> None:
    std = np.ones((2, 32, 32))
    std[:, ::4] = 1e-9
    error = np.random.default_rng(7).standard_normal(std.shape)
    found = calibrate([reconstruction(std)], [50 + error], level=0.9)
    low, high = found.interval(reconstruction(std))
    assert (high - low).min() >= 0.19 * found.factor  # the floor is a tenth of the median
    with pytest.raises(DataError, match="expected samples that differ"):
        calibrate([reconstruction(np.zeros((2, 32, 32)))], [50 + error])


def test_magnitudes_are_compared_and_stay_positive() -> None:
    turn = np.exp(0.3j)
    dark = reconstruction(np.ones((2, 32, 32)), centre=1.0)
    assert dark.posterior is not None
    samples = (dark.posterior.samples + 1) * turn
    complex_one = replace(dark, posterior=replace(dark.posterior, samples=samples))
    truth = (2 + np.random.default_rng(8).standard_normal((2, 32, 32)) * 3) * turn
    found = calibrate([complex_one], [truth])
    low, high = found.interval(complex_one)
    assert low.min() == 0
    inside = (low <= np.abs(truth)) & (np.abs(truth) <= high)
    assert inside.mean() == pytest.approx(0.9, abs=0.001)


def test_a_calibration_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = calibrate([with_truth(seed, 1.5) for seed in range(2)])
    path = found.save(tmp_path / "c.json")
    assert Calibration.load(path) == found
    assert found.conditions.settings == {"steps": 20, "sigma_min": 0.01}
    assert found.conditions.acceleration == 4.0
    assert found.conditions.noise == 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{", "calibration is truncated or damaged"),
        ("[]", "expected a calibration .*, got another file"),
        ('{"schema": "inverse-suite calibration 9"}', "got inverse-suite calibration 9; make one"),
        ('{"schema": "inverse-suite calibration 1"}', "truncated or damaged"),
    ],
)
def test_other_files_are_no_calibration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        Calibration.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", 1.0),
        ("factor", -1),
        ("factor", "inf"),
        ("n_slices", None),
        ("conditions", 3),
        ("conditions", {"noise": "0.01"}),
    ],
)
def test_a_changed_calibration_is_refused(tmp_path: Path, name: str, value: object) -> None:
    path = calibrate([with_truth(1, 1.5)]).save(tmp_path / "c.json")
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({**facts, name: value}))
    with pytest.raises(DataError, match="damaged"):
        Calibration.load(path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "dds"}, "images made with method pnp_dm, not dds"),
        ({"provenance": {"recipe": {"prior": "brain"}}}, "prior natural, not brain"),
        ({"settings": {"steps": 40}}, "steps 20, not 40"),
        ({"provenance": {"preparation": {"acceleration": 6.0}}}, "acceleration 4, not 6"),
        (
            {"diagnostics": Diagnostics(noise_to_peak=0.1)},
            "noise relative to the peak 0.02, not 0.1",
        ),
        ({"posterior": None}, "got one image by pnp_dm; draw several with n_samples"),
    ],
)
def test_a_calibration_serves_images_made_alike(changed: dict[str, object], message: str) -> None:
    found = calibrate([with_truth(1, 1.5)])
    here = with_truth(2, 1.5)
    assert isinstance(found.apply(here).posterior.calibrated, Interval)  # type: ignore[union-attr]
    with pytest.raises(UsageError, match=message):
        found.apply(replace(here, **changed))
    with pytest.raises(UsageError, match=r"made alike|expected a reconstruction with samples"):
        calibrate([here, replace(here, **changed)])


def test_more_samples_need_their_own_calibration() -> None:
    here = with_truth(2, 1.5)
    assert here.posterior is not None
    more = replace(here.posterior, samples=np.tile(here.posterior.samples, (2, 1, 1, 1)))
    with pytest.raises(UsageError, match="samples 2, not 4"):
        calibrate([with_truth(1, 1.5)]).apply(replace(here, posterior=more))


def test_what_is_not_known_yet_is_not_compared() -> None:
    made = Conditions("dds", "natural", 8, 4.0, 0.01, {"steps": 20})
    assert made.differences(Conditions()) == []
    assert made.differences(Conditions("dds", None, 8, 4.3, 0.019)) == []
    assert made.differences(Conditions(n_samples=4)) == ["samples 8, not 4"]
    first_level = Conditions(settings={"steps": 20, "sigma_max": 0.2, "sigma_min": 0.005})
    noisier = Conditions(settings={"steps": 20, "sigma_max": 0.3, "sigma_min": 0.009})
    assert first_level.differences(noisier) == []  # they follow the noise
    from_one = Conditions(settings={"steps": 20, "sigma_max": 1.0, "sigma_min": 0.005})
    assert first_level.differences(from_one) == ["sigma_max 0.2, not 1"]
    assert made.differences(replace(made, settings={"eta": 1.0})) == [
        "eta none, not 1.0",
        "steps 20, not none",
    ]


def test_arguments_that_do_not_fit_are_refused() -> None:
    one = with_truth(1, 1.5)
    assert one.reference is not None
    with pytest.raises(UsageError, match="with samples, got none"):
        calibrate([])
    with pytest.raises(UsageError, match="number 1 has no reference, give truths"):
        calibrate([replace(one, reference=None)])
    with pytest.raises(UsageError, match="a truth for each of 2 images, got 1"):
        calibrate([one, one], [one.reference])
    with pytest.raises(UsageError, match="a mask for each of 1 images, got 0"):
        calibrate([one], masks=[])
    with pytest.raises(DataError, match="truth number 1 to be finite"):
        calibrate([one], [np.where(one.reference > one.reference.min(), one.reference, np.nan)])
    with pytest.raises(DataError, match=r"number 1 on the image's grid \(4, 32, 32\), got \(1, 2"):
        calibrate([one], [np.zeros((1, 2, 2))])
    with pytest.raises(DataError, match="masks of shape"):
        calibrate([one], masks=[np.ones((1, 2, 2), bool)])
    single = with_truth(1, 1.5, (1, 32, 32))
    with pytest.raises(DataError, match="at least 2 slices with voxels of the object, got 1"):
        calibrate([single])
    few = np.zeros((4, 32, 32), bool)
    few[:, 0, 0] = True
    with pytest.raises(DataError, match=r"expected more than 3 voxels for level 0\.9"):
        calibrate([one], masks=[few])
    with pytest.raises(UsageError, match="level expected"):
        calibrate([one], level=1.0)
