"""Converted networks compute what the originals compute, and nothing in a file is ever run."""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors import SafetensorError

from inverse.errors import DataError, InverseError, ResourceError, UsageError
from inverse.priors import load_prior
from inverse.priors.adm import AdmArchitecture, Resampling, read_architecture, unet_config
from inverse.priors.adm_weights import QkvOrder, convert_weights
from inverse.priors.convert import ConversionReport, NoiseSchedule, convert
from tests.inverse.adm_reference import Adm, AdmOptions, random_adm

State = dict[str, torch.Tensor]

# The networks of DDS, an eighth as wide: the 320 net has attention in the middle only, because
# guided-diffusion takes "attention at 16" of 320 pixels for a factor of 20, which no level has.
DDS_CT = AdmOptions(in_channels=1, out_channels=2, attention_at=(16,), head_channels=32)
DDS_MRI = AdmOptions(in_channels=2, out_channels=4, attention_at=(20,), head_channels=32)
SMALL = AdmOptions(multipliers=(1, 2), attention_at=(2,), head_channels=32)


@pytest.fixture(scope="module")
def small() -> State:
    """Weights of a small network."""
    return random_adm(SMALL).state_dict()


def saved(state: object, folder: Path) -> Path:
    torch.save(state, folder / "net.pt")
    return folder / "net.pt"


def difference(
    network: Adm, folder: Path, options: AdmOptions, size: int, **arguments: QkvOrder
) -> float:
    """Convert, read back, and compare the outputs: ||ours - theirs|| / ||theirs||."""
    convert(
        saved(network.state_dict(), folder),
        folder / "prior",
        head_channels=options.head_channels,
        **arguments,
    )
    converted = UNet2DModel.from_pretrained(folder / "prior" / "unet", local_files_only=True)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, options.in_channels, size, size, generator=generator)
    t = torch.tensor([321.0])
    with torch.no_grad():
        truth, found = network(x, t), converted(x, t).sample
    assert truth.shape == found.shape == (1, options.out_channels, size, size)
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize(
    ("multipliers", "width", "n_blocks", "attention_at", "millions"),
    [
        ((1, 2, 3, 4), 192, 3, (2, 4, 8), 296),
        ((1, 1, 2, 3, 4), 256, 2, (4, 8, 16), 422),
        ((1, 1, 2, 2, 4, 4), 256, 2, (8, 16, 32), 554),
    ],
)
def test_reference_has_the_published_numbers_of_parameters(
    multipliers: tuple[int, ...],
    width: int,
    n_blocks: int,
    attention_at: tuple[int, ...],
    millions: int,
) -> None:
    """Dhariwal and Nichol 2021, table 4: ADM at 64, 128 and 256 pixels, with 1000 classes."""
    options = AdmOptions(3, 6, width, multipliers, n_blocks, attention_at)
    with torch.device("meta"):
        n = sum(p.numel() for p in Adm(options).parameters()) + 1000 * 4 * width
    assert round(n / 1e6) == millions


@pytest.mark.parametrize(
    ("options", "size", "qkv"),
    [
        (DDS_CT, 256, "legacy"),
        (DDS_CT, 64, "new"),
        (DDS_MRI, 320, "legacy"),
        (DDS_MRI, 64, "new"),
    ],
)
def test_networks_of_dds_compute_the_same(
    tmp_path: Path, options: AdmOptions, size: int, qkv: QkvOrder
) -> None:
    options = replace(options, qkv=qkv)
    assert difference(random_adm(options), tmp_path, options, size, qkv=qkv) <= 1e-5


@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("resampling", ["resnet", "conv", "pool"])
@pytest.mark.parametrize("scale_shift", [True, False])
def test_every_switch_of_the_architecture_is_read_from_the_weights(
    tmp_path: Path, resampling: Resampling, n_blocks: int, *, scale_shift: bool
) -> None:
    options = AdmOptions(
        in_channels=n_blocks // 2 + 1,
        out_channels=n_blocks // 2 + 1,
        multipliers=(1, 2, 1),
        n_blocks=n_blocks,
        attention_at=(1, 4) if scale_shift else (2,),
        head_channels=16,
        scale_shift=scale_shift,
        resampling=resampling,
    )
    assert difference(random_adm(options), tmp_path, options, 16) <= 1e-5


@pytest.mark.parametrize("qkv", ["legacy", "new"])
def test_wrong_qkv_order_or_head_width_shows(tmp_path: Path, qkv: QkvOrder) -> None:
    network = random_adm(replace(SMALL, qkv=qkv))
    wrong: QkvOrder = "new" if qkv == "legacy" else "legacy"
    assert difference(network, tmp_path, SMALL, 16, qkv=qkv) <= 1e-5
    assert difference(network, tmp_path, SMALL, 16, qkv=wrong) >= 1e-2
    assert difference(network, tmp_path, replace(SMALL, head_channels=16), 16, qkv=qkv) >= 1e-2


@pytest.mark.parametrize(
    ("schedule", "betas"),
    [
        ("linear", np.linspace(1e-4, 2e-2, 1000)),
        (
            "cosine",  # Nichol and Dhariwal 2021, eq. 17
            1
            - np.divide(
                *(
                    np.cos((np.arange(1000) / 1000 + step + 0.008) / 1.008 * np.pi / 2) ** 2
                    for step in (1e-3, 0)
                )
            ),
        ),
    ],
)
def test_schedule_is_the_one_of_training(
    tmp_path: Path, small: State, schedule: NoiseSchedule, betas: np.ndarray
) -> None:
    convert(saved(small, tmp_path), tmp_path / "p", head_channels=32, schedule=schedule)
    scheduler = DDPMScheduler.from_pretrained(tmp_path / "p" / "scheduler", local_files_only=True)
    expected = np.cumprod(1 - np.minimum(betas, 0.999))
    np.testing.assert_allclose(scheduler.alphas_cumprod, expected, rtol=2e-4)
    assert scheduler.config.prediction_type == "epsilon"
    assert scheduler.config.clip_sample is False
    assert scheduler.config.variance_type == "learned_range"


def test_result_is_a_pipeline_of_diffusers(tmp_path: Path, small: State) -> None:
    convert(saved(small, tmp_path), tmp_path / "p", head_channels=32, image_size=8)
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "p", local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(num_inference_steps=2, output_type="np", generator=torch.manual_seed(0))
    assert drawn.images.shape == (1, 8, 8, 1)
    assert np.isfinite(drawn.images).all()


def test_result_is_a_prior(tmp_path: Path) -> None:
    """D(x; sigma) = x - sigma eps(sqrt(a) x, t), a = 1 / (1 + sigma^2), on 2 x - 1."""
    network = random_adm(SMALL)
    source = saved(network.state_dict(), tmp_path)
    convert(source, tmp_path / "p", head_channels=32, scale=2.0, offset=-1.0)
    prior = load_prior(tmp_path / "p")
    alpha = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))[100]
    sigma = float(np.sqrt((1 - alpha) / alpha))
    x = torch.rand(8, 8, generator=torch.Generator().manual_seed(2))
    inputs = 2 * x - 1
    with torch.no_grad():
        eps = network(float(np.sqrt(alpha)) * inputs[None, None], torch.tensor([100.0]))[0, 0]
        found = prior.denoise(x, sigma / 2)
    truth = (inputs - sigma * eps + 1) / 2
    assert prior.n_channels == 1
    assert prior.name == "net"
    assert float((found - truth).norm() / (truth - x).norm()) < 1e-3


def wrapped(state: State, how: str) -> dict[str, object]:
    """The ways in which training scripts save weights; the plain names are last."""
    other = {name: weight + 1 for name, weight in state.items()}
    ways: dict[str, dict[str, object]] = {
        "module": {f"module.{name}": weight for name, weight in state.items()},
        "state_dict.model": {
            "step": 7,
            "state_dict": {f"model.{name}": weight for name, weight in state.items()}
            | {"loss.scale": torch.ones(2)},
        },
        "ema": {"model": other, "ema": state, "optimizer": {"state": {}}, "step": 7},
        "model": {"args": argparse.Namespace(width=32), "model": state},
        "ema_model": {f"model.{name}": weight for name, weight in other.items()}
        | {f"ema_model.{name}": weight for name, weight in state.items()},
        "": cast("dict[str, object]", state),
    }
    return ways[how]


@pytest.mark.parametrize(
    ("how", "unused"),
    [
        ("module", ()),
        ("state_dict.model", ("step", "loss")),
        ("ema", ("model", "optimizer", "step")),
        ("model", ("args",)),
        ("ema_model", ("model",)),
        ("", ()),
    ],
)
def test_weights_are_found_where_scripts_put_them(
    tmp_path: Path, small: State, how: str, unused: tuple[str, ...]
) -> None:
    source = saved(wrapped(small, how), tmp_path)
    report = convert(source, tmp_path / "p", head_channels=32)
    plain = saved(small, tmp_path)
    expected = convert(plain, tmp_path / "q", head_channels=32)
    assert report.part == how
    assert report.unused == unused
    assert report.result_sha256 == expected.result_sha256


def test_half_precision_is_kept_to_the_bit(tmp_path: Path, small: State) -> None:
    half = {name: weight.half() for name, weight in small.items()}
    rounded = {name: weight.float() for name, weight in half.items()}
    digests = {
        convert(saved(state, tmp_path), tmp_path / "p", head_channels=32).result_sha256
        for state in (half, rounded)
    }
    assert len(digests) == 1


def test_report_says_what_was_found_and_what_assumed(tmp_path: Path, small: State) -> None:
    source = saved({"model": small, "step": 3}, tmp_path)
    report = convert(source, tmp_path / "p", head_channels=32, qkv="new", schedule="cosine")
    assert isinstance(report, ConversionReport)
    assert report.n_tensors == len(small)
    assert report.n_parameters == sum(weight.numel() for weight in small.values())
    assert report.source_sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    weights = tmp_path / "p" / "unet" / "diffusion_pytorch_model.safetensors"
    assert report.result_sha256 == hashlib.sha256(weights.read_bytes()).hexdigest()
    text = str(report)
    for part in ("32, 64 with attention", "qkv order 'new'", "heads of 32", "'cosine'", "step"):
        assert part in text
    card = (tmp_path / "p" / "README.md").read_text()
    assert all(line in card for line in text.splitlines())
    written = [file.read_text() for file in (tmp_path / "p").rglob("*.*") if file != weights]
    assert not any(str(tmp_path) in content for content in written)
    assert json.loads((tmp_path / "p" / "prior.json").read_text()) == {
        "name": "net",
        "scale": 1.0,
        "offset": 0.0,
    }


# --- files that run code when they are read


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.open, (str(self.marker), os.O_CREAT | os.O_WRONLY)


@pytest.mark.parametrize("as_archive", [True, False])
@pytest.mark.parametrize("place", ["whole", "beside", "in a weight's place"])
def test_code_in_a_checkpoint_is_refused_and_not_run(
    tmp_path: Path, small: State, place: str, *, as_archive: bool
) -> None:
    marker = tmp_path / "marker"
    payload = Payload(marker)
    contents = {"whole": payload, "beside": {"model": small, "x": payload}}
    content = contents.get(place, {**small, "out.2.bias": payload})
    source = tmp_path / "net.pt"
    torch.save(content, source, _use_new_zipfile_serialization=as_archive)
    with pytest.raises(DataError, match=r"net\.pt: .*Python object \((posix|nt)\.open\).*refused"):
        convert(source, tmp_path / "p")
    assert not marker.exists()
    assert not (tmp_path / "p").exists()
    # The payload is live: whoever trusts the file runs it.
    torch.load(source, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("protocol", [2, pickle.HIGHEST_PROTOCOL])
def test_plain_pickle_such_as_edm_networks_is_refused_and_not_run(
    tmp_path: Path, protocol: int
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "net.pkl").write_bytes(pickle.dumps({"ema": Payload(marker)}, protocol))
    with pytest.raises(DataError, match=r"plain pickle, as EDM's .*refused.*CallablePrior"):
        convert(tmp_path / "net.pkl", tmp_path / "p")
    assert not marker.exists()


# --- damaged files, and other networks


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
@pytest.mark.parametrize("as_archive", [True, False])
def test_truncated_file(tmp_path: Path, small: State, share: float, *, as_archive: bool) -> None:
    source = tmp_path / "net.pt"
    torch.save(small, source, _use_new_zipfile_serialization=as_archive)
    whole = source.read_bytes()
    source.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"net\.pt: the (file is empty|\w+ is truncated)"):
        convert(source, tmp_path / "p")


def test_other_files(tmp_path: Path) -> None:
    source = tmp_path / "net.pt"
    with pytest.raises(DataError, match="no such file"):
        convert(source, tmp_path / "p")
    source.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(DataError, match="truncated or damaged"):
        convert(source, tmp_path / "p")
    source.write_text("weights: none")
    with pytest.raises(DataError, match="truncated or damaged"):
        convert(source, tmp_path / "p")


def rewritten(source: Path, target: Path, compression: int, **replaced: bytes) -> Path:
    """Copy an archive member by member."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for member in old.namelist():
            content = replaced.get(Path(member).name.replace(".", "_"), old.read(member))
            new.writestr(member, content)
    return target


def test_archive_that_grows_is_refused(tmp_path: Path) -> None:
    source = saved({"time_embed.0.weight": torch.zeros(4096, 4096)}, tmp_path)
    bomb = rewritten(source, tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < source.stat().st_size / 100
    with pytest.raises(DataError, match="compressed or overlapping"):
        convert(bomb, tmp_path / "p")


def test_tensor_larger_than_its_bytes(tmp_path: Path) -> None:
    state = {"time_embed.0.weight": torch.zeros(4096, 64)}
    short = rewritten(saved(state, tmp_path), tmp_path / "short.pt", zipfile.ZIP_STORED)
    with zipfile.ZipFile(short) as archive:
        name = next(n for n in archive.namelist() if n.endswith("data/0"))
    source = tmp_path / "net.pt"
    with zipfile.ZipFile(short) as old, zipfile.ZipFile(source, "w") as new:
        for member in old.namelist():
            new.writestr(member, b"1234" if member == name else old.read(member))
    with pytest.raises(DataError, match="truncated or damaged"):
        convert(source, tmp_path / "p")


def test_sizes_are_checked_before_memory_is_taken(tmp_path: Path, small: State) -> None:
    repeated = {**small, "out.2.bias": torch.zeros(1).expand(2**40)}
    with pytest.raises(ResourceError, match=r"network needs 4.1e\+03 GiB"):
        convert(saved(repeated, tmp_path), tmp_path / "p", head_channels=32)
    with pytest.raises(ResourceError, match=r"checkpoint needs .* limit is"):
        convert(saved(small, tmp_path), tmp_path / "p", max_memory=1000)


SCORE_SDE = {
    "optimizer": {},
    "model": {"module.sigmas": torch.ones(3), "module.all_modules.0.W": torch.ones(2)},
    "ema": {"decay": 0.999, "num_updates": 3, "shadow_params": [torch.ones(2)]},
    "step": 3,
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SCORE_SDE, r"score_sde.*another function.*ema\.shadow_params.*CallablePrior"),
        ({"weight": torch.ones(2), "a\x1b[2J": 3}, r"ADM.*got the names weight, a\?\?2J"),
        ({}, "got the names none"),
        ({3: torch.ones(2)}, "got the names 3"),
        ([torch.ones(2)], "dictionary of weights, got list"),
        (torch.ones(2), "dictionary of weights, got Tensor"),
        (None, "dictionary of weights, got NoneType"),
        ({"time_embed.0.weight": torch.ones(4, 4)}, "without output_blocks"),
        ({"time_embed.0.weight": 3}, "1 other entries.*time_embed.0.weight"),
    ],
)
def test_other_content_is_refused_in_one_line(
    tmp_path: Path, content: object, message: str
) -> None:
    with pytest.raises(DataError, match=rf"net\.pt: .*{message}") as caught:
        convert(saved(content, tmp_path), tmp_path / "p")
    assert str(caught.value).isprintable()


def test_two_networks_are_not_chosen_between(tmp_path: Path, small: State) -> None:
    with pytest.raises(DataError, match="expected one network, got 2"):
        convert(saved({"model": small, "other": small}, tmp_path), tmp_path / "p")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out.2.extra": torch.ones(1)}, r"unknown in an ADM U-Net: out\.2\.extra"),
        ({"out.2.bias": None}, r"missing: out\.2\.bias"),
        ({"middle_block.1.norm.weight": None}, r"missing: middle_block\.1\.norm\.weight"),
        ({"out.2.bias": torch.ones(3)}, r"another shape .*: out\.2\.bias \(3,\)"),
        ({"out.2.bias": torch.tensor([1, 2])}, r"dense tensors .*: out\.2\.bias"),
        ({"out.2.bias": torch.tensor([1.0, torch.nan])}, r"finite weights, but out\.2\.bias"),
        ({"out.2.bias": torch.ones(2).to_sparse()}, r"dense tensors .*: out\.2\.bias"),
        ({"out.2.bias": torch.ones(2, device="meta")}, r"dense tensors .*: out\.2\.bias"),
        ({"out.2.weight": torch.ones(3, 32, 3, 3)}, "1 image channel, .* got 1 and 3"),
        ({"input_blocks.0.0.weight": torch.ones(3, 3)}, "1 image channel, .* got 3 and 2"),
        ({"label_emb.weight": torch.ones(5, 128)}, "told the class"),
        ({"time_embed.0.weight": torch.ones(128, 64)}, "as wide as the time embedding, 64, got 32"),
        ({"time_embed.0.weight": torch.ones(128)}, "at least 2 axes"),
        ({"output_blocks.9.0.in_layers.0.bias": torch.ones(1)}, "5 output blocks up to 9"),
        ({"output_blocks.2.1.in_layers.2.weight": torch.ones(1)}, "3 levels of equally many"),
    ],
)
def test_other_weights_are_named(
    tmp_path: Path, small: State, change: dict[str, torch.Tensor | None], message: str
) -> None:
    state = {name: weight for name, weight in {**small, **change}.items() if weight is not None}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")  # by torch, of what the test saves
        source = saved(state, tmp_path)
    with pytest.raises(DataError, match=rf"net\.pt: .*{message}"):
        convert(source, tmp_path / "p", head_channels=32)


def test_no_weight_can_be_missing_or_added_unnoticed(small: State) -> None:
    @functools.cache
    def expected(architecture: AdmArchitecture) -> dict[str, torch.Size]:
        with torch.device("meta"):
            network = UNet2DModel(**unet_config(architecture, 32, None))
        return {name: weight.shape for name, weight in network.state_dict().items()}

    def converted(state: State) -> State:
        found = read_architecture(state)
        return convert_weights(state, found, expected(found), head_channels=32, qkv="legacy")

    assert converted(small).keys()
    for name in list(small)[::3]:
        without = {key: weight for key, weight in small.items() if key != name}
        with pytest.raises(DataError, match=r"missing|expected|another shape"):
            converted(without)
        with pytest.raises(DataError, match="unknown"):
            converted({**small, f"{name}.copy": small[name]})


def test_widths_that_cannot_be_normalised(tmp_path: Path) -> None:
    state = random_adm(replace(SMALL, attention_at=())).state_dict()
    cut = {
        name: weight[: len(weight) // 2]
        if name == "input_blocks.1.0.out_layers.3.weight"
        else weight
        for name, weight in state.items()
    }
    cut["time_embed.0.weight"] = cut["time_embed.0.weight"][:, :16]
    with pytest.raises(DataError, match=r"multiples of 32.*\(16, 64\)"):
        convert(saved(cut, tmp_path), tmp_path / "p", head_channels=32)


# --- arguments and the folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"qkv": "old"}, "qkv expected 'legacy' or 'new', got 'old'"),
        ({"schedule": "sigmoid"}, "schedule expected 'linear' or 'cosine', got 'sigmoid'"),
        ({"head_channels": 48}, "head_channels expected a divisor of 64, .* got 48"),
        ({"head_channels": 0}, "head_channels expected an integer >= 1"),
        ({"image_size": 0}, "image_size expected an integer >= 1"),
        ({"scale": 0.0}, "scale expected a number > 0"),
        ({"offset": float("nan")}, "offset expected a number"),
    ],
)
def test_arguments_are_checked(
    tmp_path: Path, small: State, arguments: dict[str, object], message: str
) -> None:
    source = saved(small, tmp_path)
    with pytest.raises(UsageError, match=message):
        convert(source, tmp_path / "p", **arguments)  # type: ignore[arg-type]


def test_a_folder_with_other_things_is_kept(tmp_path: Path, small: State) -> None:
    source = saved(small, tmp_path)
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        convert(source, tmp_path, head_channels=32)
    with pytest.raises(UsageError, match="expected a new or empty folder"):
        convert(source, source, head_channels=32)
    with pytest.raises(ResourceError, match="No such file"):
        convert(source, tmp_path / "none" / "p", head_channels=32)
    assert [file.name for file in tmp_path.iterdir()] == ["net.pt"]


def test_a_full_disk_is_one_line_and_keeps_the_old_prior(
    tmp_path: Path, small: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = saved(small, tmp_path), tmp_path / "p"
    convert(source, target, head_channels=32)
    weights = target / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(ResourceError, match=r"No space left .* is kept; free some space"):
        convert(source, target, head_channels=32)
    assert weights.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.pt", "p"]


def test_an_old_prior_is_replaced_by_a_whole_one_only(tmp_path: Path, small: State) -> None:
    target = tmp_path / "p"
    target.mkdir()
    convert(saved(small, tmp_path), target, head_channels=32)
    old = (target / "README.md").read_text()
    inside = saved(small, target)
    with pytest.raises(UsageError, match="the checkpoint lies inside it"):
        convert(inside, target, head_channels=32)
    inside.unlink()
    with pytest.raises(InverseError, match=r"unknown.*out\.2\.x"):
        convert(saved({**small} | {"out.2.x": torch.ones(1)}, tmp_path), target, head_channels=32)
    assert (target / "README.md").read_text() == old
    convert(saved({"model": small}, tmp_path), target, head_channels=32)
    assert (target / "README.md").read_text() != old
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.pt", "p"]
