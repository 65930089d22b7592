from __future__ import annotations

import json
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from inverse.cli import main, training_run
from inverse.cli.prior import FitMethod, QkvOrder
from inverse.priors import PatchPrior, load_prior
from inverse.priors.adm_weights import QkvOrder as KnownOrders
from inverse.priors.description import shipped_priors
from inverse.priors.fit import FITS
from inverse.training.checkpoint import saved_step

SMALL = ("--channels", "8,16", "--patch", "16", "--batch", "2", "--cpu", "--set", "warmup=2")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["prior", *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A set of ten pictures of noise in the current folder."""
    monkeypatch.chdir(tmp_path)
    stack = np.random.default_rng(0).uniform(0, 1, (10, 24, 24)).astype(np.float32)
    np.savez("set.npz", train=stack[:8], val=stack[8:])
    return "set.npz"


def weights_of(folder: str) -> bytes:
    return Path(folder, "prior/unet/diffusion_pytorch_model.fp16.safetensors").read_bytes()


def test_train_writes_a_prior_and_says_how_to_use_it(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capsys, "train", f"{images}:train", "-o", "mine", "--steps", 4, "--save-every", 2, *SMALL,
        "--licence", "CC0-1.0", "--scale", "none",
    )  # fmt: skip
    assert code == 0
    assert "use it with --prior mine/prior" in out
    assert "the last 1 of 8 images" in out
    assert "step 2 of 4: loss" in err
    assert "Traceback" not in err
    card = Path("mine/prior/README.md").read_text()
    assert "# mine:" in card
    assert "CC0-1.0" in card
    assert str(Path.cwd()) not in card
    assert load_prior("mine/prior").name == "mine"


def test_the_command_in_the_card_trains_the_same_weights(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(
        capsys, "train", f"./{images}:train", "--validation", f"{images}:val", "-o", "one",
        "--steps", 3, "--position", "--seed", 7, "--learning-rate", "1.2345678e-3", "--json",
        *SMALL,
    )  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert (found["training_images"], found["validation_images"]) == (8, 2)
    assert found["figures"]["psnr_0.1"] > 10
    card = Path("one/prior/README.md").read_text()
    command = next(line for line in card.splitlines() if "| command |" in line).split("`")[1]
    words = [word.replace("FOLDER", "two") for word in command.split()]
    assert words[:2] == ["inverse", "prior"]
    assert run(capsys, *words[2:], "--cpu")[0] == 0
    assert weights_of("one") == weights_of("two")


def test_whole_slices_are_as_large_as_the_images(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("train", f"{images}:train", "-o", "mine", "--steps", 1, *SMALL, "--whole")
    assert run(capsys, *arguments)[0] == 0
    assert "2 crops of 24 x 24 pixels" in Path("mine/prior/README.md").read_text()
    np.save("odd.npy", np.ones((2, 24, 26)))
    code, _, err = run(capsys, "train", "odd.npy", "-o", "x", "--whole")
    assert code == 2
    assert "--whole expected square slices of one size, got 24x26" in err


def test_after_ctrl_c_the_same_command_goes_on(
    images: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("train", f"{images}:train", "--steps", 9, "--save-every", 3, *SMALL)
    assert run(capsys, *arguments, "-o", "whole")[0] == 0
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(training_run, "_say_figures", lambda *_: signal.raise_signal(signal.SIGINT))
        code, _, err = run(capsys, *arguments, "-o", "left")
    assert code == 130
    assert "stopping after this step" in err
    assert "stopped; 4 of 9 steps are kept, and the same command goes on from there" in err
    assert saved_step(Path("left/state.safetensors")) == 4
    assert signal.getsignal(signal.SIGINT) is before
    assert run(capsys, *arguments, "-o", "left")[0] == 0
    assert weights_of("left") == weights_of("whole")


def test_a_second_ctrl_c_leaves_at_once(
    images: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def twice(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training_run, "_say_figures", twice)
    code, _, err = run(
        capsys, "train", f"{images}:train", "-o", "a", "--steps", 9, "--save-every", 3, *SMALL
    )
    assert code == 130
    assert "3 of 9 steps are kept" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.npy", "-o", "x"], 3, "there is no such file"),
        (["set.npz:nope", "-o", "x"], 2, "set.npz:NAME with one of"),
        (["set.npz:train", "-o", "set.npz"], 2, "expected the name of a folder"),
        (["set.npz:train", "-o", "a/b/c"], 5, "not written"),
        (["set.npz:train", "-o", "x", "--scale", "log"], 2, "scale expected one of"),
        (["set.npz:train", "-o", "x", "--channels", "8,b"], 2, "--channels expected whole"),
        (["set.npz:train", "-o", "x", "--channels", "9"], 2, "multiples of 8"),
        (["set.npz:train", "-o", "x", "--patch", "512"], 3, "no image is as large as a crop"),
        (["set.npz:train", "-o", "x", "--set", "emma=.9"], 2, "did you mean 'ema'?"),
        (["set.npz:train", "-o", "x", "--validation", "set.npz:train"], 2, "of other subjects"),
        (["set.npz:train", "-o", "x", "--set", "layers=1.5"], 2, "layers expected an integer"),
        (["set.npz:train", "-o", "x", "--name", "two\nlines"], 2, "expected a printable line"),
        (["set.npz:train", "-o", "x", "--set", "ema=high"], 2, "ema expected a number"),
        (["set.npz:train", "-o", "x", "--precision", "fp16", *SMALL], 2, "expected a GPU"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(
    images: str,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert images == "set.npz"
    found, _, err = run(capsys, "train", *arguments)
    assert found == code
    last = err.strip().splitlines()[-1]
    assert last.startswith("inverse: ")
    assert message in last


def test_images_are_never_overwritten(images: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path(images).rename("out/prior")
    code, _, err = run(capsys, "train", "out/prior:train", "-o", "out")
    assert code == 2
    assert "would be overwritten" in err
    code, _, err = run(capsys, "fit", "a.safetensors", "-o", "a.safetensors")
    assert code == 2
    assert "would be overwritten" in err


def test_fit_writes_a_prior_that_info_describes(
    images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(
        capsys, "fit", f"{images}:train", "-o", "mine.safetensors", "--size", 4, "--components", 3,
        "--rank", 2, "--seed", 5, "--name", "mine", "--json",
    )  # fmt: skip
    assert code == 0
    found = json.loads(out)
    assert (found["components"], found["rank"], found["patch_pixels"]) == (3, 2, 4)
    assert found["images"] == 8
    assert load_prior("mine.safetensors").name == "mine"
    first = Path("mine.safetensors").read_bytes()
    flat = np.load(images)["train"]
    flat[2] = 0.5
    np.savez("flat.npz", train=flat)
    small = ("--size", 4, "--components", 3, "--rank", 2)
    code, _, err = run(capsys, "fit", "flat.npz:train", "-o", "mine.safetensors", *small)
    assert code == 0
    assert "left out: flat.npz:train[2] (one value)" in err
    assert "mine.safetensors is there already and will be replaced" in err
    assert Path("mine.safetensors").read_bytes() != first
    again = ("fit", f"{images}:train", "-o", "again.safetensors", *small, "--seed", 5)
    code, _, err = run(capsys, *again, "--name", "mine")
    assert "replaced" not in err
    assert Path("again.safetensors").read_bytes() == first
    Path("mine.safetensors").write_bytes(first)
    code, out, _ = run(capsys, "info", "mine.safetensors")
    assert code == 0
    assert "mixture of low-rank Gaussians over patches" in out
    assert "set.npz:train" in out


def test_info_lists_and_describes_what_is_inside(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines()} == set(shipped_priors())
    code, out, _ = run(capsys, "info", "natural")
    assert code == 0
    assert "components" in out
    assert "# natural: the prior inside the package" in out
    code, _, err = run(capsys, "info", "unheard-of")
    assert code == 2
    assert "there is no prior 'unheard-of'" in err


def test_a_card_cannot_command_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = load_prior("natural")
    assert isinstance(prior, PatchPrior)
    prior.save(tmp_path / "p.safetensors")
    (tmp_path / "p.md").write_text("# mine\nsecond line \x1b[2J\x07")
    code, out, _ = run(capsys, "info", tmp_path / "p.safetensors")
    assert code == 0
    assert "# mine\nsecond line ?[2J?" in out


def test_convert_passes_its_options_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass
    class Report:
        target: Path

    asked: dict[str, object] = {}

    def noted(source: Path, target: Path, **options: object) -> Report:
        asked.update(options, source=source)
        return Report(target)

    monkeypatch.setattr("inverse.priors.convert.convert", noted)
    code, out, _ = run(
        capsys, "convert", "net.pt", "-o", tmp_path / "net", "--qkv", "new", "--scale", "2",
        "--offset", "-1", "--schedule", "cosine", "--image-size", 256, "--head-channels", 32,
    )  # fmt: skip
    assert code == 0
    assert f"use it with --prior {tmp_path / 'net'}" in out
    assert asked == {
        "source": Path("net.pt"), "qkv": "new", "scale": 2.0, "offset": -1.0,
        "schedule": "cosine", "image_size": 256, "head_channels": 32,
    }  # fmt: skip


def test_convert_refuses_what_is_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.pt").write_bytes(b"nonsense")
    code, _, err = run(capsys, "convert", "net.pt", "-o", "net")
    assert code == 3
    assert len(err.strip().splitlines()) == 1
    assert not Path("net").exists()
    code, _, err = run(capsys, "convert", "net.pt", "-o", "net", "--schedule", "quartic")
    assert code == 2
    assert "--schedule expected linear or cosine" in err


def test_the_names_of_options_are_those_of_the_library() -> None:
    assert {str(method) for method in FitMethod} == set(FITS)
    assert {str(order) for order in QkvOrder} == set(get_args(KnownOrders))
