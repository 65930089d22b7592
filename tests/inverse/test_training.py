from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from scipy import stats

from inverse.errors import ConvergenceError, DataError, ResourceError, UsageError
from inverse.priors import load_prior
from inverse.training import About, ImageSet, TrainingPlan, read_images, train, write_prior
from inverse.training.card import TrainedOn, model_card
from inverse.training.checkpoint import Checkpoint, saved_step
from inverse.training.crops import batches, draw_batch
from inverse.training.network import build_network, predict
from inverse.training.validation import VALIDATION_SIGMAS

TINY = TrainingPlan(channels=(8, 16), patch=16, batch=4, steps=12, warmup=3, sigma_data=0.5)
ABOUT = About("tiny", "CC0-1.0", "inverse prior train noise.npy")
H, W = 40, 56


def noise_images(n: int = 4, side: int = 24) -> ImageSet:
    random = np.random.default_rng(0)
    images = random.uniform(0, 1, (n, side, side)).astype(np.float32)
    return ImageSet(tuple(images), {"noise": "0"}, "none")


def coordinates() -> ImageSet:
    """One image whose grey value says where it is: y W + x."""
    return ImageSet((np.arange(H * W, dtype=np.float32).reshape(H, W),), {}, "none")


def weights_of(folder: Path) -> bytes:
    return (folder / "prior/unet/diffusion_pytorch_model.fp16.safetensors").read_bytes()


def state_of(folder: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    with safe_open(folder / "state.safetensors", framework="pt") as file:
        return dict(file.metadata()), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def assert_same_state(one: Path, other: Path) -> None:
    (about, tensors), (about_2, tensors_2) = state_of(one), state_of(other)
    assert about == about_2
    assert tensors.keys() == tensors_2.keys()
    for key, value in tensors.items():
        assert torch.equal(value, tensors_2[key]), key


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `TINY` that nothing disturbed."""
    folder = tmp_path_factory.mktemp("finished")
    train(noise_images(), noise_images(), TINY, folder, about=ABOUT, save_every=5, cpu=True)
    return folder


# --- crops ---------------------------------------------------------------------------------------


def test_positions_are_those_of_the_crop_also_when_mirrored() -> None:
    plan = replace(TINY, position=True, gain=0.0, batch=64)
    crops, _, _ = draw_batch(coordinates(), plan, 0, 0, 1)
    assert crops.shape == (64, 3, 16, 16)
    y, x = torch.div(crops[:, 0], W, rounding_mode="floor"), crops[:, 0] % W
    torch.testing.assert_close(crops[:, 1], 2 * y / (H - 1) - 1)
    is_mirrored = x[:, 0, 0] > x[:, 0, 1]
    # A mirrored crop is the crop of the mirrored image: pixel x lies at W - 1 - x there.
    place = torch.where(is_mirrored[:, None, None], W - 1 - x, x)
    torch.testing.assert_close(crops[:, 2], 2 * place / (W - 1) - 1)
    assert 16 < is_mirrored.sum() < 48
    assert (crops[:, 2].diff(dim=-1) > 0).all()


def test_crops_are_windows_in_all_eight_symmetries() -> None:
    plan = replace(TINY, gain=0.0, batch=256)
    crops, _, _ = draw_batch(coordinates(), plan, 3, 0, 1)
    corners = set()
    for (crop,) in crops:
        corner = int(crop.min())
        window = coordinates().images[0][corner // W :, corner % W :][:16, :16]
        turned = [np.rot90(m, k) for m in (window, window.T) for k in range(4)]
        found = [number for number, t in enumerate(turned) if np.array_equal(t, crop)]
        assert len(found) == 1
        corners.add(found[0])
    assert corners == set(range(8))


def test_gain_scales_grey_values_within_its_bounds() -> None:
    flat = ImageSet((np.ones((16, 16), np.float32),), {}, "none")
    crops, _, _ = draw_batch(flat, replace(TINY, gain=0.3, batch=400), 0, 0, 1)
    logs = crops[:, 0, 0, 0].log().numpy()
    assert stats.kstest(logs, "uniform", (-0.3, 0.6)).pvalue > 0.01


def test_noise_levels_are_log_normal_and_stratified() -> None:
    plan = replace(TINY, batch=16)
    sigma = torch.stack([draw_batch(noise_images(), plan, s, 0, 1)[1] for s in range(120)])
    normal = (sigma.log().numpy() - plan.log_sigma_mean) / plan.log_sigma_std
    # One of each batch, so that the values are independent.
    assert stats.kstest(normal[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(normal[:, 7], "norm").pvalue > 0.01
    shares = np.sort(np.floor(stats.norm.cdf(normal) * 16 - 1e-3), axis=1)
    assert (np.abs(shares - np.arange(16)) <= 1).all()
    order = np.argsort(normal, axis=1)
    assert not (order == order[0]).all()


def test_noise_is_white_and_standard() -> None:
    noise = torch.cat([draw_batch(noise_images(), TINY, s, 0, 1)[2] for s in range(20)])
    assert noise.shape == (80, 1, 16, 16)
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    assert abs(float((noise[..., 1:] * noise[..., :-1]).mean())) < 0.03


def test_processes_share_a_batch_and_drawing_ahead_changes_nothing() -> None:
    whole = draw_batch(noise_images(), TINY, 5, 0, 1)
    parts = [draw_batch(noise_images(), TINY, 5, part, 2) for part in range(2)]
    for index in range(3):
        shared = torch.stack([part[index] for part in parts], 1).flatten(0, 1)
        assert torch.equal(shared, whole[index])
    ahead = list(batches(noise_images(), TINY, range(4, 7), 0, 1))
    assert len(ahead) == 3
    assert torch.equal(ahead[1][0], whole[0])


def test_a_patch_that_fits_no_image_is_refused_at_once(tmp_path: Path) -> None:
    plan = replace(TINY, patch=32)
    with pytest.raises(
        DataError, match="as large as a crop of 32x32 pixels, the largest has 24x24"
    ):
        train(noise_images(), noise_images(), plan, tmp_path, cpu=True)
    with pytest.raises(DataError, match="the largest has 16x16"):
        train(noise_images(1, 40), noise_images(1, 16), plan, tmp_path, cpu=True)


# --- plan ----------------------------------------------------------------------------------------


def test_a_longer_plan_continues_a_shorter_one_until_it_cools_down() -> None:
    short = TrainingPlan(steps=1000, warmup=100, cooldown=0.25, learning_rate=0.01)
    long = replace(short, steps=3000)
    until = 750
    assert [short.rate(s) for s in range(until)] == [long.rate(s) for s in range(until)]
    assert short.rate(0) == pytest.approx(0.01 / 100)
    assert short.rate(99) == short.rate(until) == 0.01
    cooling = [short.rate(s) for s in range(until, 1000)]
    assert np.allclose(np.diff(cooling), -0.01 / 250)
    assert short.rate(999) == pytest.approx(0.01 / 250)


def test_the_average_forgets_the_start_and_then_decays_as_asked() -> None:
    plan = TrainingPlan(ema=0.99)
    assert plan.average(0) == pytest.approx(0.1)
    assert plan.average(10_000) == 0.99


def test_the_noise_range_holds_99_percent() -> None:
    low, high = TINY.noise_range
    found = stats.norm(TINY.log_sigma_mean, TINY.log_sigma_std)
    assert found.cdf(np.log(high)) - found.cdf(np.log(low)) == pytest.approx(0.99, abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"patch": 20, "channels": (8, 8, 8, 8)}, "patch expected a multiple of 8"),
        ({"channels": (12,)}, "channels expected multiples of 8"),
        ({"batch": 0}, "batch expected a positive integer, got 0"),
        ({"ema": 1.0}, "ema expected a number from 0 to"),
        ({"sigma_data": 0.0}, "sigma_data expected"),
        ({"learning_rate": float("nan")}, "learning_rate expected"),
        ({"seed": -1}, "seed expected"),
    ],
)
def test_plans_out_of_range_are_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(TINY, **changed)


# --- network -------------------------------------------------------------------------------------


def test_preconditioning_is_that_of_diffusers() -> None:
    from diffusers import EDMEulerScheduler

    network = build_network(TINY).eval()
    scheduler = EDMEulerScheduler(sigma_data=TINY.sigma_data)
    noisy = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    for sigma in (0.003, 0.1, 2.0):
        level = torch.tensor([sigma])
        with torch.no_grad():
            scaled = scheduler.precondition_inputs(noisy, sigma)
            label = scheduler.precondition_noise(level)
            raw = network(scaled, label).sample
            expected = scheduler.precondition_outputs(noisy, raw, sigma)
            found = predict(network, noisy, level, TINY.sigma_data)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert (found - noisy).abs().max() > 1e-4


def test_positions_reach_the_network_unscaled() -> None:
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, inputs: torch.Tensor, label: torch.Tensor) -> object:
            seen.append((inputs, label))
            return type("Output", (), {"sample": torch.zeros_like(inputs[:, :1])})

    noisy = torch.randn(2, 3, 4, 4)
    predict(Spy(), noisy, torch.tensor([0.1, 1.0]), 0.5)
    inputs, label = seen[0]
    assert torch.equal(inputs[:, 1:], noisy[:, 1:])
    assert inputs[1, 0, 2, 1] == pytest.approx(float(noisy[1, 0, 2, 1]) / np.sqrt(1.25), rel=1e-6)
    torch.testing.assert_close(label, torch.log(torch.tensor([0.1, 1.0])) / 4)


def test_weights_depend_on_the_seed_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (build_network(replace(TINY, seed=s)) for s in (0, 0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
    first = [next(network.parameters()) for network in (one, same, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])


# --- the loop ------------------------------------------------------------------------------------


def spectrum(side: int) -> np.ndarray:
    """Power of a periodic Gaussian field of unit variance, white noise having one."""
    f = np.fft.fftfreq(side)
    radius = np.hypot(*np.meshgrid(f, f))
    power = 1 / (1 + (radius / 0.06) ** 2) ** 2
    return power / power.mean()


def gaussian_fields(n: int, side: int, seed: int) -> np.ndarray:
    white = np.random.default_rng(seed).standard_normal((n, side, side))
    return np.fft.ifft2(np.fft.fft2(white) * np.sqrt(spectrum(side))).real.astype(np.float32)


def test_a_network_trained_on_gaussian_fields_approaches_the_wiener_filter(tmp_path: Path) -> None:
    side, sigma = 16, 0.5
    fields, held = gaussian_fields(400, side, 0), gaussian_fields(256, side, 1)
    plan = TrainingPlan(
        channels=(8, 16), patch=side, batch=16, steps=150, learning_rate=8e-3, warmup=10,
        ema=0.95, log_sigma_mean=-0.7, log_sigma_std=0.5, sigma_data=1.0, gain=0.0, cooldown=0.5,
    )  # fmt: skip
    sets = [ImageSet(tuple(some), {"fields": "0"}, "none") for some in (fields, held)]
    train(*sets, plan, tmp_path, save_every=150, mixed_precision="no", cpu=True)
    prior = load_prior(tmp_path / "prior")
    clean = torch.from_numpy(held)
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    mse = float((prior.denoise(noisy, sigma) - clean).square().mean())
    power = spectrum(side)
    least = float((power * sigma**2 / (power + sigma**2)).mean())
    assert least < 0.3 * sigma**2  # there is something to learn
    assert 0.95 * least < mse < 1.2 * least


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    plan = replace(TINY, steps=60)
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from inverse.training import *\n"
        f"images = read_images([{str(tmp_path / 'a.npy')!r}], 'none')\n"
        f"train(images, images, {plan!r}, Path({str(tmp_path / 'killed')!r}), save_every=5,\n"
        "      cpu=True, progress=lambda step, n, figures: print(step, flush=True))\n"
    )
    np.save(tmp_path / "a.npy", np.stack(noise_images().images))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert first.strip() == "5"
    assert process.returncode == -signal.SIGKILL
    images = read_images([str(tmp_path / "a.npy")], "none")
    done = saved_step(tmp_path / "killed" / "state.safetensors")
    assert 5 <= done < 60
    for folder in ("killed", "whole"):
        train(images, images, plan, tmp_path / folder, save_every=30, cpu=True)
    assert weights_of(tmp_path / "killed") == weights_of(tmp_path / "whole")
    assert_same_state(tmp_path / "killed", tmp_path / "whole")


def test_a_run_left_between_two_saves_goes_on_to_the_same_bits(
    tmp_path: Path, finished: Path
) -> None:
    images, folder = noise_images(), tmp_path / "run"
    leaving = {"about": ABOUT, "cpu": True, "after_step": lambda done: done == 7}
    assert train(images, images, TINY, folder, **leaving) == {}
    assert saved_step(folder / "state.safetensors") == 7
    assert not (folder / "prior").exists()
    train(images, images, TINY, folder, about=ABOUT, cpu=True)
    assert weights_of(folder) == weights_of(finished)
    assert_same_state(folder, finished)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "no"])
def test_a_run_left_on_a_gpu_goes_on_to_the_same_bits(tmp_path: Path, precision: str) -> None:
    images = noise_images()
    for folder, left_at in ((tmp_path / "left", 7), (tmp_path / "whole", None)):
        for stop in (left_at, None):
            train(images, images, TINY, folder, mixed_precision=precision,
                  after_step=lambda done, stop=stop: done == stop)  # fmt: skip
    assert weights_of(tmp_path / "left") == weights_of(tmp_path / "whole")
    assert_same_state(tmp_path / "left", tmp_path / "whole")


def test_a_finished_run_is_only_measured_again(finished: Path) -> None:
    before = weights_of(finished)
    figures = train(noise_images(), noise_images(), TINY, finished, about=ABOUT, cpu=True)
    assert sorted(figures) == sorted(f"psnr_{sigma:g}" for sigma in VALIDATION_SIGMAS)
    assert weights_of(finished) == before


def test_a_longer_run_goes_on_but_no_other(finished: Path, tmp_path: Path) -> None:
    images = noise_images()
    state = (finished / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(state)
    for plan, other, message in (
        (replace(TINY, batch=2), images, "other batch"),
        (replace(TINY, steps=11), images, "fewer than were done"),
        (TINY, ImageSet(images.images, {"noise": "1"}, "none"), "other images"),
    ):
        with pytest.raises(UsageError, match=message):
            train(other, images, plan, tmp_path, about=ABOUT, cpu=True)
    for licence in ("CC BY 4.0", ""):
        with pytest.raises(UsageError, match=r"other licence \(it has --licence 'CC0-1.0'\)"):
            train(images, images, TINY, tmp_path, about=replace(ABOUT, licence=licence), cpu=True)
    assert (tmp_path / "state.safetensors").read_bytes() == state
    train(images, images, replace(TINY, steps=14), tmp_path, about=ABOUT, cpu=True)
    assert saved_step(tmp_path / "state.safetensors") == 14


def test_a_foreign_prior_and_a_damaged_state_are_left_alone(tmp_path: Path, finished: Path) -> None:
    mine = tmp_path / "prior" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match="holds a 'prior' but no training run"):
        train(noise_images(), noise_images(), TINY, tmp_path, cpu=True)
    assert mine.read_text() == "mine"
    state = tmp_path / "state.safetensors"
    state.write_bytes((finished / "state.safetensors").read_bytes()[:-100])
    with pytest.raises(DataError, match="truncated or damaged"):
        train(noise_images(), noise_images(), TINY, tmp_path, cpu=True)
    write = finished / "prior/unet/diffusion_pytorch_model.fp16.safetensors"
    state.write_bytes(write.read_bytes())
    with pytest.raises(DataError, match="expected 'inverse-suite training state 1', got 'pt'"):
        saved_step(state)


@pytest.fixture
def types_of_features(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[torch.dtype]]:
    """Collects the types of what the convolutions compute."""
    seen: set[torch.dtype] = set()
    inner = torch.nn.Conv2d.forward

    def spying(self: torch.nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        made = inner(self, x)
        if torch.is_grad_enabled():
            seen.add(made.dtype)
        return made

    monkeypatch.setattr(torch.nn.Conv2d, "forward", spying)
    yield seen


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("no", torch.float32)])
def test_the_precision_is_that_of_the_arithmetic(
    tmp_path: Path,
    types_of_features: set[torch.dtype],
    precision: str,
    dtype: torch.dtype,
) -> None:
    plan = replace(TINY, steps=1)
    train(noise_images(), noise_images(), plan, tmp_path, mixed_precision=precision, cpu=True)
    assert types_of_features == {dtype}
    _, tensors = state_of(tmp_path)
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_nothing_of_a_step_is_remembered_by_autograd(tmp_path: Path) -> None:
    alive = []

    def count(done: int) -> bool:
        del done
        gc.collect()
        tensors = [t for t in gc.get_objects() if type(t) is torch.Tensor]
        alive.append(sum(t.requires_grad for t in tensors))
        return False

    train(noise_images(), noise_images(), replace(TINY, steps=3), tmp_path, cpu=True,
          after_step=count)  # fmt: skip
    assert alive == [0, 0, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mixed_precision": "fp16"}, "fp16 expected a GPU"),
        ({"mixed_precision": "int8"}, "precision expected bf16, fp16, no, got 'int8'"),
        ({"save_every": 0}, "save_every expected a positive integer"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(noise_images(), noise_images(), TINY, tmp_path, cpu=True, **settings)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_one_error_and_keeps_what_was_there(tmp_path: Path, finished: Path) -> None:
    state, prior = tmp_path / "state.safetensors", tmp_path / "prior"
    state.write_bytes((finished / "state.safetensors").read_bytes())
    network = build_network(TINY)
    average = [p.detach().clone() for p in network.parameters()]
    write_prior(network, TINY, prior)
    inside = prior / "unet/diffusion_pytorch_model.fp16.safetensors"
    before = state.read_bytes(), inside.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit then fails
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        optimizer = torch.optim.AdamW(network.parameters())
        with pytest.raises(ResourceError, match="what was there is kept"):
            Checkpoint(network, average, optimizer).save(state, 3, TINY, "images")
        with pytest.raises(ResourceError, match="what was there is kept"):
            write_prior(network, TINY, prior)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (state.read_bytes(), inside.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prior", "state.safetensors"]


def test_processes_that_cannot_share_a_batch_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate import Accelerator

    monkeypatch.setattr(Accelerator, "num_processes", property(lambda _: 3))
    with pytest.raises(UsageError, match="batch expected a multiple of the 3 processes, got 4"):
        train(noise_images(), noise_images(), TINY, tmp_path, cpu=True)


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    bright = ImageSet(tuple(1e30 * image for image in noise_images().images), {}, "none")
    with pytest.raises(ConvergenceError, match="no longer finite before step 2"):
        train(bright, noise_images(), TINY, tmp_path, save_every=2, cpu=True)
    assert saved_step(tmp_path / "state.safetensors") == 0


def test_a_restored_state_lies_in_memory_as_before(tmp_path: Path) -> None:
    """Other strides take other kernels, whose last bits differ: on a GPU the fused ones."""
    network = build_network(TINY).to(memory_format=torch.channels_last)
    images = torch.randn(2, 1, 16, 16)
    optimizer = torch.optim.AdamW(network.parameters())
    predict(network, images, torch.ones(2), 0.5).square().mean().backward()
    optimizer.step()
    average = [p.detach().clone() for p in network.parameters()]
    path = tmp_path / "state.safetensors"
    Checkpoint(network, average, optimizer).save(path, 1, TINY, "images")
    again = build_network(TINY).to(memory_format=torch.channels_last)
    other = torch.optim.AdamW(again.parameters())
    Checkpoint(again, [torch.zeros_like(a) for a in average], other).load(path, TINY, "images")
    pairs = list(zip(network.parameters(), again.parameters(), strict=True))
    assert any(p.ndim == 4 and not p.is_contiguous() for p, _ in pairs)
    for before, after in pairs:
        for key, value in optimizer.state[before].items():
            assert other.state[after][key].stride() == value.stride()
            assert torch.equal(other.state[after][key], value)


def test_names_that_could_not_be_read_back_are_refused_before_training() -> None:
    for name in ("two\nlines", "x" * 101, "\x1b[2J", " "):
        with pytest.raises(UsageError, match="printable line of at most 100 characters"):
            About(name)


def test_texts_cannot_break_the_tables_of_the_card() -> None:
    images = ImageSet(noise_images().images, {"a|b.npy": "0"}, "none")
    about = About("tiny", "two\nlines | and a bar")
    card = model_card(
        about, TINY, TrainedOn(images, images), step=1, n_parameters=1,
        figures={f"psnr_{sigma:g}": 1.0 for sigma in VALIDATION_SIGMAS},
    )  # fmt: skip
    assert "| licence of the images | two lines \\| and a bar |" in card
    assert "| training | a\\|b.npy | `0` |" in card


def test_the_scale_of_the_loss_is_part_of_the_state(tmp_path: Path) -> None:
    network = build_network(TINY)
    average = [p.detach().clone() for p in network.parameters()]
    optimizer = torch.optim.AdamW(network.parameters())
    scalers = [torch.amp.GradScaler("cpu", init_scale=scale) for scale in (512.0, 2.0)]
    path = tmp_path / "state.safetensors"
    Checkpoint(network, average, optimizer, scalers[0]).save(path, 3, TINY, "images")
    assert Checkpoint(network, average, optimizer, scalers[1]).load(path, TINY, "images") == 3
    assert scalers[1].state_dict() == scalers[0].state_dict()


# --- what is written -----------------------------------------------------------------------------


def test_the_card_says_what_was_done(finished: Path) -> None:
    card = (finished / "prior" / "README.md").read_text()
    n_parameters = sum(p.numel() for p in build_network(TINY).parameters())
    for fact in (
        "# tiny:",
        f"{n_parameters:,} parameters",
        "sigma_data 0.5",
        "grey values as they were stored",
        "12 of 12 steps of 4 crops of 16 x 16",
        "| seed | 0 |",
        "`inverse prior train noise.npy`",
        "CC0-1.0",
        "| training | noise | `0` |",
        "| validation | noise | `0` |",
        "Training: 4 images.",
        "0.0037 to 1.8",
        "Not for diagnosis",
    ):
        assert fact in card
    figures = train(noise_images(), noise_images(), TINY, finished, about=ABOUT, cpu=True)
    for sigma in VALIDATION_SIGMAS:
        assert f"| {sigma:g} | {figures[f'psnr_{sigma:g}']:.2f} |" in card
    about = json.loads((finished / "prior" / "prior.json").read_text())
    assert about["scale"] == 1
    assert about["offset"] == 0


def test_the_figures_are_those_of_the_prior_on_fresh_noise(finished: Path) -> None:
    figures = train(noise_images(), noise_images(), TINY, finished, about=ABOUT, cpu=True)
    prior = load_prior(finished / "prior")
    images = torch.from_numpy(np.stack(noise_images().images))
    generator = torch.Generator().manual_seed(3)
    for sigma in VALIDATION_SIGMAS:
        noise = torch.randn(16, *images.shape, generator=generator)
        error = prior.denoise(images + sigma * noise, sigma) - images
        psnr = -10 * float(error.square().mean().log10())
        assert figures[f"psnr_{sigma:g}"] == pytest.approx(psnr, abs=0.3)


@pytest.mark.parametrize("position", [False, True])
def test_what_is_written_is_read_back_as_the_same_denoiser(tmp_path: Path, position: bool) -> None:
    plan = replace(TINY, position=position)
    network = build_network(plan).eval()
    write_prior(network, plan, tmp_path / "prior", name="mine", scale="hu")
    prior = load_prior(tmp_path / "prior")
    assert prior.name == "mine"
    modes = {path.stat().st_mode for path in (tmp_path / "prior" / "unet").iterdir()}
    assert len(modes) == 1  # the weights can be read by whom the rest can
    assert prior.largest_sigma == pytest.approx(plan.noise_range[1])
    noisy = torch.randn(16, 20, generator=torch.Generator().manual_seed(0))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 16), torch.linspace(-1, 1, 20), indexing="ij")
    layers = torch.stack([noisy, y, x] if position else [noisy])[None]
    with torch.no_grad():
        expected = predict(network, layers, torch.tensor([0.3]), plan.sigma_data)[0, 0]
    # Half precision has 11 bits.
    torch.testing.assert_close(prior.denoise(noisy, 0.3), expected, rtol=0, atol=2e-3)


def test_diffusers_says_nothing_when_a_prior_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_prior(build_network(TINY), TINY, tmp_path / "prior")
    assert capfd.readouterr() == ("", "")


def test_tensorboard_shows_loss_rate_and_figures(finished: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(finished / "logs"))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert set(tags) == {"loss", "rate", *(f"psnr_{sigma:g}" for sigma in VALIDATION_SIGMAS)}
    assert [event.step for event in events.Scalars("loss")] == [5, 10, 12]
    rates = [event.value for event in events.Scalars("rate")]
    assert rates == pytest.approx([TINY.rate(4), TINY.rate(9), TINY.rate(11)])
