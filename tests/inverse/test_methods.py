"""Methods: better than the baseline, honest about the residual, reproducible."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import inverse
from inverse import ConvergenceError, Problem, Reconstruction, UsageError, reconstruct
from inverse.methods import METHODS, find, takes_prior
from inverse.mri.simulate import Acquisition, simulate
from inverse.reconstructing import choose
from operators import Identity, Space

SHAPE = (1, 64, 64)
ITERATIVE = ("cg_sense", "l1_wavelet", "tv", "pnp_hqs", "dds")


def shapes_image() -> NDArray[np.float32]:
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[1:]), indexing="ij")
    image = 0.8 * ((y / 0.85) ** 2 + (x / 0.7) ** 2 < 1)
    image = image - 0.3 * ((y - 0.2) ** 2 + (x + 0.2) ** 2 < 0.06)
    image = image + 0.2 * (np.abs(y + 0.35) + np.abs(x - 0.1) < 0.2)
    return image[None].astype(np.float32)


@pytest.fixture(scope="module")
def problem() -> Problem:
    acquisition = Acquisition(n_coils=6, acceleration=3.0, n_calibration=16, noise=0.01, seed=1)
    return simulate(shapes_image(), acquisition).prepare()


def error(result: Reconstruction) -> float:
    truth = shapes_image()
    inside = truth > 0
    return float(
        np.linalg.norm((np.abs(result.image) - truth)[inside]) / np.linalg.norm(truth[inside])
    )


def test_order_of_merit(problem: Problem) -> None:
    errors = {name: error(reconstruct(problem, name)) for name in ("zero_filled", *ITERATIVE)}
    assert errors["cg_sense"] < errors["zero_filled"]
    assert max(errors["l1_wavelet"], errors["tv"]) < errors["cg_sense"]
    assert errors["pnp_hqs"] < 0.8 * errors["cg_sense"]


@pytest.mark.parametrize("name", ITERATIVE)
def test_residual_is_that_of_the_noise(problem: Problem, name: str) -> None:
    found = reconstruct(problem, name)
    # Six coils, a third of the lines: half as many unknowns as samples can be fitted to noise.
    assert np.sqrt(0.5) < found.diagnostics.residual_to_noise < 1.15
    assert found.diagnostics.noise_std == pytest.approx(problem.noise_std * problem.scale)


@pytest.mark.parametrize("name", ITERATIVE)
def test_same_seed_same_bytes_and_scale_does_not_matter(problem: Problem, name: str) -> None:
    first = reconstruct(problem, name, seed=0)
    again = reconstruct(problem, name, seed=0)
    assert first.image.tobytes() == again.image.tobytes()


@pytest.mark.parametrize("name", ITERATIVE)
@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_units_of_the_file_do_not_matter(name: str, factor: float) -> None:
    """From raw samples to image: what is multiplied before comes out multiplied."""
    kspace = simulate(shapes_image(), Acquisition(n_coils=4, acceleration=2.0, n_calibration=16))
    assert kspace.noise is not None
    scaled = replace(
        kspace,
        samples=(factor * kspace.samples).astype(np.complex64),
        noise=(factor * kspace.noise).astype(np.complex64),
    )
    quick = {"steps": 4} if takes_prior(name) else {}
    here = reconstruct(kspace.prepare(), name, **quick).image  # type: ignore[arg-type]
    there = reconstruct(scaled.prepare(), name, **quick).image / factor  # type: ignore[arg-type]
    assert np.linalg.norm(there - here) <= 1e-3 * np.linalg.norm(here)


@pytest.mark.parametrize("name", ["cg_sense", "l1_wavelet", "tv", "pnp_hqs"])
def test_slices_do_not_know_of_each_other(name: str) -> None:
    stack = np.concatenate([shapes_image(), 0.9 * shapes_image()[:, ::-1]])
    acquisition = Acquisition(n_coils=4, acceleration=2.0, n_calibration=16, noise=0.01)
    kspace = simulate(stack, acquisition)
    both = kspace.prepare()
    assert isinstance(both.n_samples, tuple)
    together = reconstruct(both, name).image
    for index in range(2):
        operator = type(
            both.operator
        )(  # the same maps and scale, one slice
            torch.from_numpy(both.details["csm"][index : index + 1, 0]),
            torch.from_numpy(both.details["mask"][0]),
        )
        alone = replace(
            both,
            operator=operator,
            data=both.data[index : index + 1],
            n_samples=both.n_samples[index],
            grid=both.grid.crop((1, *SHAPE[1:])),
            intensity=None if both.intensity is None else both.intensity[index : index + 1],
        )
        single = reconstruct(alone, name).image[0]
        assert np.abs(single - together[index]).max() <= 1e-5 * np.abs(together).max()


def test_zero_filled_is_the_adjoint(problem: Problem) -> None:
    found = reconstruct(problem, "zero_filled")
    assert found.image.tobytes() == found.baseline.tobytes()


@pytest.mark.parametrize("noise", [0.002, 0.01, 0.04])
@pytest.mark.parametrize("acceleration", [2.0, 3.0])
def test_cg_stops_close_to_the_best_iteration(noise: float, acceleration: float) -> None:
    """The truth is not used, and yet no iteration is much better, whatever the noise."""
    acquisition = Acquisition(
        n_coils=6, acceleration=acceleration, n_calibration=16, noise=noise, seed=2
    )
    here = simulate(shapes_image(), acquisition).prepare()
    chosen = error(reconstruct(here, "cg_sense"))
    best = min(error(reconstruct(here, "cg_sense", iterations=k)) for k in range(1, 25))
    assert chosen <= 1.15 * best


def test_cg_on_a_fully_sampled_scan_converges_at_once() -> None:
    """One iteration solves it; looking for a later one must not lose the image."""
    full = simulate(shapes_image(), Acquisition(n_coils=4, acceleration=1.0, noise=0.001))
    found = reconstruct(full.prepare(), "cg_sense")
    assert error(found) < 0.01


def test_each_slice_has_its_own_sampling_and_stop() -> None:
    """Two slices, sampled differently: together they are what each is alone."""
    scans = [
        simulate(shapes_image(), Acquisition(n_coils=4, acceleration=r, n_calibration=16, seed=s))
        for r, s in ((1.2, 0), (3.0, 1))
    ]
    assert scans[0].noise is not None
    pair = replace(
        scans[0],
        samples=np.concatenate([scan.samples for scan in scans]),
        mask=np.concatenate([scan.mask for scan in scans]),
        grid=scans[0].grid.crop((2, *SHAPE[1:])),
        recon_shape=(2, *SHAPE[1:]),
        reference=None,
    ).prepare()
    counts = [int(scan.mask.sum()) * 4 for scan in scans]
    assert pair.n_samples == tuple(counts)
    assert pair.n_components.tolist() == [2 * count for count in counts]
    together = reconstruct(pair, "cg_sense").image
    for index, scan in enumerate(scans):
        alone = reconstruct(replace(scan, noise=scans[0].noise).prepare(), "cg_sense").image[0]
        assert np.linalg.norm(alone - together[index]) <= 0.02 * np.linalg.norm(alone)


def test_unexplained_data_are_warned_of(problem: Problem) -> None:
    found = reconstruct(problem, "cg_sense", iterations=1)
    assert found.diagnostics.residual_to_noise > 1.15
    assert "explains the data only to" in found.diagnostics.warnings[-1]
    good = reconstruct(problem, "tv").diagnostics.warnings
    assert not [warning for warning in good if "explains the data" in warning]


def test_auto_chooses_and_says_why(problem: Problem) -> None:
    assert choose(problem)[0] == "pnp_hqs"
    part = shapes_image()
    full = simulate(part, Acquisition(n_coils=4, acceleration=1.0))
    assert choose(full.prepare())[0] == "cg_sense"
    mask = full.mask.copy()
    mask[:, 56:] = False  # 7/8 partial Fourier: nothing inside is missing
    partial = replace(full, samples=full.samples * mask[:, None], mask=mask)
    assert choose(partial.prepare())[0] == "cg_sense"
    found = reconstruct(problem)
    assert found.method == "pnp_hqs"
    assert "3.0-fold undersampled" in str(found.provenance["why"])


def test_one_sample_is_one_image(problem: Problem) -> None:
    found = reconstruct(problem, n_samples=1, prior="natural", steps=3)
    assert found.method == "pnp_hqs"
    assert found.posterior is None
    with pytest.raises(UsageError, match="pnp_hqs gives one image and draws no samples"):
        reconstruct(problem, "pnp_hqs", n_samples=1)


def test_seeds_of_numpy_are_seeds(problem: Problem) -> None:
    seeds = (3, np.int64(3), [3], np.array([3]))
    found = [reconstruct(problem, "dds", steps=3, seed=seed) for seed in seeds]  # type: ignore[arg-type]
    assert len({each.image.tobytes() for each in found}) == 1
    assert [each.provenance["recipe"]["seed"] for each in found] == [3, 3, [3], [3]]  # type: ignore[index]


@pytest.mark.parametrize("name", ["cg_sense", "l1_wavelet", "pnp_hqs"])
def test_recorded_recipe_repeats_the_run(name: str) -> None:
    stack = np.concatenate([shapes_image(), 0.3 * shapes_image()])
    kspace = simulate(stack, Acquisition(n_coils=6, acceleration=2.0, n_calibration=16))
    asked = {"steps": 4} if name == "pnp_hqs" else {}
    first = reconstruct(kspace.prepare(n_virtual_coils=4), name, seed=3, **asked)  # type: ignore[arg-type]
    recipe = first.provenance["recipe"]
    assert isinstance(recipe, dict)
    problem = kspace.prepare(maps=recipe["maps"], n_virtual_coils=recipe["n_virtual_coils"])
    again = reconstruct(
        problem, recipe["method"], prior=recipe["prior"], seed=recipe["seed"], **recipe["settings"]
    )
    assert first.image.tobytes() == again.image.tobytes()


def test_every_method_has_the_same_signature() -> None:
    find("tv")
    for name, method in METHODS.items():
        parameters = list(inspect.signature(method).parameters.values())
        assert [p.name for p in parameters[:2]] == ["problem", "prior"], name
        assert {"generator", "progress"} <= {p.name for p in parameters[2:]}, name
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters[2:]), name
    assert {name for name in METHODS if takes_prior(name)} == set(inverse.samplers.__all__)


def test_progress_reaches_the_end(problem: Problem) -> None:
    for name in ITERATIVE:
        seen: list[tuple[str, int, int]] = []
        reconstruct(problem, name, progress=lambda *step, seen=seen: seen.append(step))
        done = [step[1] for step in seen]
        assert {step[0] for step in seen} == {"sampling" if takes_prior(name) else name}
        assert done == sorted(set(done)), name
        assert done[0] == 1
        assert done[-1] <= seen[-1][2]
        assert name == "tv" or done[-1] == seen[-1][2]  # tv may converge before


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("ddz", {}, "no method 'ddz'; did you mean 'dds'"),
        ("tv", {"wieght": 1.0}, "tv has no setting 'wieght'; did you mean 'weight'"),
        ("tv", {"weight": -1.0}, "weight expected a number >= 0, got -1.0"),
        ("cg_sense", {"iterations": 0}, "iterations expected an integer >= 1, got 0"),
        ("cg_sense", {"weight": float("nan")}, "weight expected a number >= 0"),
        ("cg_sense", {"prior": "natural"}, "cg_sense takes no prior"),
        ("dds", {"eta": 2.0}, "eta expected a number >= 0 and <= 1, got 2.0"),
        ("pnp_hqs", {"steps": 1}, "steps expected an integer >= 2, got 1"),
        ("pnp_hqs", {"steps": 2.5}, "steps expected an integer >= 2, got 2.5"),
        ("pnp_hqs", {"weight": -1}, "weight expected a number >= 0, got -1"),
        ("pnp_hqs", {"cg_iterations": 0}, "cg_iterations expected an integer >= 1, got 0"),
        ("pnp_hqs", {"sigma_max": "big"}, "sigma_max expected a number > 0, got 'big'"),
        ("pnp_hqs", {"sigma_min": 5}, "sigma_min expected less than sigma_max"),
        ("l1_wavelet", {"iterations": -1}, "iterations expected an integer >= 1, got -1"),
        ("tv", {"weight": True}, "weight expected a number >= 0, got True"),
        ("pnp_hqs", {"sigma_min": -1.0}, "sigma_min expected a number >= 0"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    problem: Problem, method: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        reconstruct(problem, method, **settings)  # type: ignore[arg-type]


def test_an_image_with_nan_is_not_returned(problem: Problem) -> None:
    broken = replace(problem, data=torch.full_like(problem.data, float("nan")))
    with pytest.raises(ConvergenceError, match="NaN or infinity"):
        reconstruct(broken, "zero_filled")


def test_priors_work_on_real_images_and_any_operator() -> None:
    """Denoising is the inverse problem with the identity: the prior alone must help."""
    truth = torch.from_numpy(shapes_image())
    space = Space(SHAPE, torch.float32, ("slice", "y", "x"))
    draw = torch.Generator().manual_seed(0)
    noisy = truth + 0.1 * torch.randn(truth.shape, generator=draw)
    problem = Problem(
        operator=Identity(space),
        data=noisy,
        noise_std=0.1,
        n_samples=truth.numel(),
        grid=inverse.Grid(SHAPE, (1.0, 1.0, 1.0)),
        n_batch_axes=1,
    )
    found = reconstruct(problem, "pnp_hqs", sigma_max=0.2, steps=8)
    before = float((noisy - truth).square().mean())
    after = float(np.square(np.abs(found.image) - truth.numpy()).mean())
    assert after < 0.5 * before


def test_objects_print_as_one_line(problem: Problem) -> None:
    found = reconstruct(problem, "zero_filled")
    assert repr(found).startswith("<Reconstruction zero_filled 1 x 64 x 64, residual ")
    assert "\n" not in repr(problem)
    assert not [w for w in found.diagnostics.warnings if "explains the data" in w]


def test_noise_of_other_data_is_warned_of(problem: Problem) -> None:
    found = reconstruct(replace(problem, noise_std=5 * problem.noise_std), "cg_sense", iterations=5)
    assert "the noise was overestimated" in found.diagnostics.warnings[-1]
