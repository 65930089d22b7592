"""Network priors: folders read as diffusers wrote them, sizes, layouts, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file, save_file

from inverse.errors import DataError, UsageError
from inverse.priors import Prior, UNetPrior, load_prior
from inverse.priors.parametrisation import (
    Edm,
    FlowMatching,
    VarianceExploding,
    VariancePreserving,
)

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

Folder = Callable[..., Path]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def network(in_channels: int = 1, out_channels: int = 1, **more: object) -> UNet2DModel:
    from diffusers import UNet2DModel

    settings: dict[str, object] = {
        "sample_size": 16,
        "layers_per_block": 1,
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("DownBlock2D",) * 3,
        "up_block_types": ("UpBlock2D",) * 3,
        "add_attention": False,
        "norm_num_groups": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet2DModel(
            in_channels=in_channels, out_channels=out_channels, **{**settings, **more}
        ).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a network and a scheduler with diffusers' own `save_pretrained`."""

    def write(
        net: UNet2DModel | None = None,
        scheduler: str = "EDMEulerScheduler",
        /,
        name: str = "p",
        **settings: object,
    ) -> Path:
        import diffusers

        target = tmp_path / name
        (net or network()).save_pretrained(target / "unet")
        getattr(diffusers, scheduler)(**settings).save_pretrained(target / "scheduler")
        return target

    return write


def images(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_ddpm_folder_denoises_as_diffusers_does(
    folder: Folder, schedule: str, prediction: str
) -> None:
    """x0 of the loaded prior = pred_original_sample of DDIM, although the folder says to clip."""
    from diffusers import DDIMScheduler, UNet2DModel

    settings = {"beta_schedule": schedule, "prediction_type": prediction}
    loud = network()
    torch.nn.init.normal_(loud.conv_out.weight)
    path = folder(loud, "DDIMScheduler", **settings, clip_sample=True)
    prior = load_prior(path)
    assert prior.name == "p"

    net = UNet2DModel.from_pretrained(path / "unet", local_files_only=True)
    scheduler = DDIMScheduler(**settings, clip_sample=False)
    scheduler.set_timesteps(1000)
    for time in (20, 400):
        a = scheduler.alphas_cumprod[time].double()
        x = 3 * images(2, 16, 16)
        x_t = (a.sqrt() * x).float()[:, None]
        with torch.no_grad():
            output = net(x_t, time).sample
        theirs = scheduler.step(output, time, x_t).pred_original_sample[:, 0]
        ours = prior.denoise(x, float(((1 - a) / a).sqrt()))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        assert float(ours.abs().max()) > 1.5  # else clipping would not have shown


@pytest.mark.parametrize("scheduler", ["PNDMScheduler", "DPMSolverMultistepScheduler"])
def test_other_schedulers_of_the_same_process_change_nothing(
    folder: Folder, scheduler: str
) -> None:
    x = images(16, 16)
    schedule = {"trained_betas": torch.linspace(1e-3, 5e-2, 100).tolist()}
    ours = UNetPrior.load(folder(None, scheduler, name="a", **schedule, num_train_timesteps=100))
    ddpm = UNetPrior.load(folder(None, "DDPMScheduler", name="b", **schedule))
    assert torch.equal(ours.denoise(x, 0.3), ddpm.denoise(x, 0.3))
    assert ours.largest_sigma == pytest.approx(
        math.sqrt(1 / math.prod(1 - b for b in schedule["trained_betas"]) - 1), rel=1e-5
    )


def test_edm_folder_in_half_precision_denoises_as_diffusers_does(folder: Folder) -> None:
    from diffusers import EDMEulerScheduler, UNet2DModel

    net = network().half()
    path = folder(network(), sigma_data=0.3, sigma_max=5.0)
    (path / "unet" / WEIGHTS).unlink()
    net.save_pretrained(path / "unet", variant="fp16")
    prior = UNetPrior.load(path)
    assert prior.parametrisation == Edm(0.3, 0.002, 5.0)
    assert prior.largest_sigma == 5.0
    assert prior.smallest_sigma == 0.002
    assert prior.network.dtype == torch.float32

    scheduler = EDMEulerScheduler(sigma_data=0.3)
    net = UNet2DModel.from_pretrained(path / "unet", variant="fp16", local_files_only=True).float()
    x, sigma = images(1, 1, 16, 16), torch.tensor(0.1)
    with torch.no_grad():
        label = scheduler.precondition_noise(sigma)
        output = net(scheduler.precondition_inputs(x, sigma), label).sample
    theirs = scheduler.precondition_outputs(x, output, sigma)
    torch.testing.assert_close(prior.denoise(x, 0.1), theirs, rtol=1e-5, atol=1e-5)


def test_score_network_follows_diffusers_convention(folder: Folder) -> None:
    """ScoreSdeVePipeline calls net(x, sigma); Tweedie: x0 = x + sigma^2 score."""
    net = network(time_embedding_type="fourier")
    prior = UNetPrior.load(folder(net, "ScoreSdeVeScheduler", sigma_max=50.0))
    assert prior.parametrisation == VarianceExploding(0.01, 50.0)
    x = images(1, 1, 16, 16)
    with torch.no_grad():
        theirs = x + 0.25 * net(x, torch.tensor([0.5])).sample
    torch.testing.assert_close(prior.denoise(x, 0.5), theirs, rtol=1e-5, atol=1e-5)


def test_flow_folders(folder: Folder) -> None:
    path = folder(None, "FlowMatchEulerDiscreteScheduler", shift=3.0)
    prior = UNetPrior.load(path)
    assert prior.parametrisation == FlowMatching(1000, 3.0)
    x = images(1, 1, 16, 16)
    with torch.no_grad():  # sigma = 1 is half way: s = 1/2, label 500
        theirs = x / 2 - prior.network(x / 2, torch.tensor([500.0])).sample / 2
    torch.testing.assert_close(prior.denoise(x, 1.0), theirs, rtol=1e-5, atol=1e-5)
    edit(path / "scheduler" / "scheduler_config.json", invert_sigmas=True)
    with pytest.raises(DataError, match="time that runs from noise is not supported"):
        UNetPrior.load(path)
    other = folder(
        None,
        "DPMSolverMultistepScheduler",
        name="other",
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
    )
    assert UNetPrior.load(other).parametrisation == FlowMatching(1000)


def test_times_between_integers_reach_the_network(folder: Folder) -> None:
    """A Python number would be cut to an integer by diffusers, and denoise would have steps."""
    prior = UNetPrior.load(folder(None, "DDPMScheduler"), dtype=torch.float64)
    assert isinstance(prior.parametrisation, VariancePreserving)
    a = prior.parametrisation.alphas_cumprod
    low, high = (math.sqrt((1 - a[t]) / a[t]) for t in (300, 301))
    x = images(1, 16, 16, dtype=torch.float64)
    at = prior.parametrisation.coefficients(math.sqrt(low * high))
    assert at.label == pytest.approx(300.5)
    with torch.no_grad():
        whole = prior.network((at.scale * x)[None], torch.tensor([300.0])).sample[0]
        half = prior.network((at.scale * x)[None], torch.tensor([300.5])).sample[0]
    assert not torch.allclose(whole, half, atol=1e-9)
    torch.testing.assert_close(prior.denoise(x, math.sqrt(low * high)), x + at.out * half)


def test_learned_times_are_looked_up(folder: Folder) -> None:
    net = network(time_embedding_type="learned", num_train_timesteps=1000)
    path = folder(net, "DDPMScheduler")
    prior = UNetPrior.load(path)
    x = images(1, 1, 16, 16)
    at = prior.parametrisation.coefficients(0.3)
    with torch.no_grad():
        output = net(at.scale * x, torch.tensor([round(at.label)])).sample
    torch.testing.assert_close(prior.denoise(x, 0.3), x + at.out * output, rtol=1e-5, atol=1e-5)
    edit(path / "scheduler" / "scheduler_config.json", num_train_timesteps=2000)
    with pytest.raises(DataError, match="the network knows 1000 times, fewer than the schedule"):
        UNetPrior.load(path)


def test_scale_and_offset_of_the_card(folder: Folder) -> None:
    """Trained on -1..1: E[x0|x] = (E[u0|u] + 1) / 2 with u = 2 x - 1 and twice the noise."""
    path = folder()
    plain = UNetPrior.load(path)
    card = {"scale": 2, "offset": -1, "name": "knee", "units": "1"}
    (path / "prior.json").write_text(json.dumps(card))
    prior = UNetPrior.load(path)
    assert (prior.name, prior.units) == ("knee", "1")
    assert prior.largest_sigma == plain.largest_sigma / 2
    x = images(16, 16)
    expected = (plain.denoise(2 * x - 1, 0.2) + 1) / 2
    torch.testing.assert_close(prior.denoise(x, 0.1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ('{"scale": 0}', "expected a positive scale"),
        ('{"scale": NaN}', "expected a positive scale"),
        ('{"scale": 1' + "0" * 400 + "}", "the scale or offset is"),
        ('{"offset": "much"}', "the scale or offset is"),
        ('{"name": "a\\nb"}', "expected a line of at most 100 characters"),
        ("[1]", "expected a JSON object, got list"),
        ("{", "the JSON is truncated"),
        ("[" * 100_000, "the JSON is truncated"),
    ],
)
def test_odd_cards_are_refused(folder: Folder, card: str, message: str) -> None:
    path = folder()
    (path / "prior.json").write_text(card)
    with pytest.raises(DataError, match=message):
        UNetPrior.load(path)


@pytest.mark.parametrize("shape", [(16, 16), (13, 18), (1, 5), (2, 3, 9, 12)])
def test_any_size_and_batch(folder: Folder, shape: tuple[int, ...]) -> None:
    prior = UNetPrior.load(folder())
    x = images(*shape)
    out = prior.denoise(x, 0.1)
    assert out.shape == x.shape
    singles = [prior.denoise(image, 0.1) for image in x.reshape(-1, *shape[-2:])]
    torch.testing.assert_close(out, torch.stack(singles).reshape(shape), rtol=0, atol=1e-6)


def test_sizes_are_made_up_by_mirroring(folder: Folder) -> None:
    prior = UNetPrior.load(folder())
    x = images(14, 13)
    mirrored = torch.cat([x, x[[12, 11]]])
    mirrored = torch.cat([mirrored, mirrored[:, [11, 10, 9]]], 1)
    assert mirrored.shape == (16, 16)
    expected = prior.denoise(mirrored, 0.1)[:14, :13]
    torch.testing.assert_close(prior.denoise(x, 0.1), expected, rtol=0, atol=1e-6)


def test_blocks_that_bound_memory_change_nothing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = UNetPrior.load(folder())
    x = images(5, 16, 16)
    whole = prior.denoise(x, 0.1)
    sizes: list[int] = []
    prior.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    monkeypatch.setitem(sys.modules["inverse.priors.unet"]._BLOCK_BYTES, "cpu", 2 * 16 * 16 * 8 * 4)
    torch.testing.assert_close(prior.denoise(x, 0.1), whole, rtol=0, atol=1e-6)
    assert sizes == [2, 2, 1]


def test_variances_are_left_aside(folder: Folder) -> None:
    """Doubling the outputs of the same network adds variances that the prior must not read."""
    path, net = folder(), network(1, 2)
    tensors = load_file(path / "unet" / WEIGHTS)
    half = {"conv_out.weight", "conv_out.bias"}
    net.load_state_dict({k: torch.cat([v, 9 + v]) if k in half else v for k, v in tensors.items()})
    both = UNetPrior.load(folder(net, name="both"))
    assert both.n_channels == 1
    x = images(16, 16)
    torch.testing.assert_close(both.denoise(x, 0.1), UNetPrior.load(path).denoise(x, 0.1))


def test_positions_are_those_of_the_whole_image(folder: Folder) -> None:
    prior = UNetPrior.load(folder(network(3, 1)))
    assert (prior.n_channels, prior.max_shift) == (1, 0)
    seen: list[torch.Tensor] = []
    prior.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    prior.denoise(images(2, 9, 12), 0.1)
    y, x = seen[0][1, 1:]
    assert seen[0].shape == (2, 3, 12, 12)
    torch.testing.assert_close(x[0], torch.linspace(-1, 1, 12))
    torch.testing.assert_close(y[:9, 0], torch.linspace(-1, 1, 9))
    torch.testing.assert_close(y[9:, 0], 1 + torch.arange(1, 4) * 0.25)  # goes on below the edge
    assert torch.equal(x[0], x[5])
    assert torch.equal(y[:, 0], y[:, 5])


def test_positions_agree_with_those_of_training(folder: Folder) -> None:
    """The crop that training draws from an image of crop size has the positions of that image."""
    import numpy as np

    from inverse.training.crops import draw_batch
    from inverse.training.image_sets import ImageSet
    from inverse.training.plan import TrainingPlan

    plan = TrainingPlan(patch=16, batch=4, position=True)
    clean, _, _ = draw_batch(ImageSet((np.ones((16, 16), np.float32),), {}, "none"), plan, 0, 0, 1)
    prior = UNetPrior.load(folder(network(3, 1)))
    seen: list[torch.Tensor] = []
    prior.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    prior.denoise(images(16, 16), 0.1)
    straight = [crop for crop in clean if crop[2, 0, 0] < 0]  # not mirrored
    assert straight
    torch.testing.assert_close(seen[0][0, 1:], straight[0][1:])


def test_denoiser_is_differentiable_in_the_image_only(folder: Folder) -> None:
    prior = UNetPrior.load(folder(), dtype=torch.float64)
    x = images(6, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: prior.denoise(v, 0.3), (x,))
    assert not any(p.requires_grad for p in prior.network.parameters())
    assert not prior.denoise(x.detach(), 0.3).requires_grad


def test_double_precision_images_keep_theirs(folder: Folder) -> None:
    """At small noise nearly all of the result is the image itself: that part is not rounded."""
    x = images(16, 16, dtype=torch.float64)
    single = UNetPrior.load(folder()).denoise(x, 0.002)
    double = UNetPrior.load(folder(name="d"), dtype=torch.float64).denoise(x, 0.002)
    assert single.dtype == torch.float64
    assert float((single - double).abs().max()) < 1e-8


def test_autocast_is_near(folder: Folder) -> None:
    path, x = folder(), images(32, 32)
    exact = UNetPrior.load(path).denoise(x, 0.1)
    rounded = UNetPrior.load(path, autocast=True).denoise(x, 0.1)
    assert rounded.dtype == torch.float32
    assert 0 < float((rounded - exact).square().mean().sqrt()) < 0.01 * 0.1


def test_moving_leaves_the_original(folder: Folder) -> None:
    prior = UNetPrior.load(folder())
    assert isinstance(prior, Prior)
    assert prior.to("cpu") is prior
    assert prior.to(torch.device("cpu")) is prior
    moved = prior.to("meta")
    assert moved.network.device.type == "meta"
    assert prior.network.device.type == "cpu"
    assert (
        prior.n_parameters == moved.n_parameters == sum(p.numel() for p in network().parameters())
    )


@pytest.mark.gpu
def test_on_a_gpu(folder: Folder) -> None:
    prior = UNetPrior.load(folder())
    x = images(3, 15, 17)
    on_gpu = prior.to("cuda").denoise(x.cuda(), 0.1).cpu()
    torch.testing.assert_close(on_gpu, prior.denoise(x, 0.1), rtol=0, atol=1e-3)


def test_wrong_images_and_noise_levels_are_refused(folder: Folder) -> None:
    prior = UNetPrior.load(folder())
    with pytest.raises(UsageError, match="expected real images of shape"):
        prior.denoise(images(8, 8).to(torch.complex64), 0.1)
    with pytest.raises(UsageError, match="sigma expected a noise level of 0 or more, got nan"):
        prior.denoise(images(8, 8), math.nan)
    with pytest.raises(UsageError, match="sigma expected a noise level of 0 or more, got -1"):
        prior.denoise(images(8, 8), -1.0)
    pair = UNetPrior.load(folder(network(2, 2), name="pair"))
    with pytest.raises(UsageError, match=r"shape \(\*batch, 2, y, x\), got torch.float32 of"):
        pair.denoise(images(8, 8), 0.1)


def test_the_folder_may_be_unet_itself_or_hold_all_side_by_side(folder: Folder) -> None:
    """The scale must not be lost on the way: the result would be wrong without a word."""
    path, x = folder(), images(16, 16)
    (path / "prior.json").write_text('{"scale": 2, "offset": -1, "name": "knee"}')
    expected = load_prior(path).denoise(x, 0.1)
    inside = load_prior(path / "unet")
    assert inside.name == "knee"
    assert torch.equal(inside.denoise(x, 0.1), expected)
    (path / "scheduler" / "scheduler_config.json").rename(path / "scheduler_config.json")
    for file in (path / "unet").iterdir():
        file.rename(path / file.name)
    (path / "unet").rmdir()
    assert torch.equal(load_prior(path).denoise(x, 0.1), expected)


def test_old_names_of_attention_are_understood(folder: Folder) -> None:
    net = network(
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"), add_attention=True
    )
    path = folder(net)
    x = images(16, 16)
    expected = load_prior(path).denoise(x, 0.1)
    weights = path / "unet" / WEIGHTS
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(weights)
    for new, name in old.items():
        tensors = {key.replace(f".{new}.", f".{name}."): v for key, v in tensors.items()}
    assert "mid_block.attentions.0.query.weight" in tensors
    save_file(tensors, weights)
    assert torch.equal(load_prior(path).denoise(x, 0.1), expected)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("unet", {"_class_name": "UNet2DConditionModel"}, "expected a network of class UNet2DM"),
        ("unet", {"_class_name": None}, "expected a network of class UNet2DModel"),
        ("unet", {"block_out_channels": [8, 16, 2**20]}, "the weights do not fit config.json"),
        ("unet", {"block_out_channels": [8, 16, 2**30]}, "network configuration is truncated"),
        ("unet", {"down_block_types": ["SkipDownBlock2D"] * 3}, "network configuration is trunca"),
        ("unet", {"block_out_channels": [8] * 500}, "a list of at most 12 numbers"),
        ("unet", {"block_out_channels": "many"}, "a list of at most 12 numbers"),
        ("unet", {"block_out_channels": [0, 0, 0]}, "network configuration is truncated or dam"),
        ("unet", {"layers_per_block": 10**9}, "layers_per_block expected 1 to 32"),
        ("unet", {"down_block_types": ["os.system"] * 3}, "network configuration is truncated"),
        ("unet", {"num_class_embeds": 10}, "needs a class label"),
        ("unet", {"in_channels": 3}, "the weights do not fit config.json in 1 of"),
        ("scheduler", {"_class_name": "subprocess.Popen"}, "scheduler expected one of DDIM"),
        ("scheduler", {"_class_name": ["EDMEulerScheduler"]}, "scheduler expected one of DDIM"),
        ("scheduler", {"prediction_type": "sample"}, "expected 'epsilon' or 'v_prediction'"),
        ("scheduler", {"sigma_data": "x"}, "the noise schedule is truncated or damaged"),
        ("scheduler", {"sigma_max": 1e-9}, "expected 0 < sigma_min < sigma_max"),
        ("scheduler", {"num_train_timesteps": 10**12}, "num_train_timesteps expected 3 to"),
        ("scheduler", {"timestep_type": "continuous"}, "save EDM networks with an EDM scheduler"),
        ("scheduler", {"use_flow_sigmas": True}, "expected prediction_type 'flow_prediction'"),
    ],
)
def test_hostile_settings_are_refused(
    folder: Folder, file: str, changes: dict[str, object], message: str
) -> None:
    path = folder()
    name = "config.json" if file == "unet" else "scheduler_config.json"
    edit(path / file / name, **changes)
    with pytest.raises(DataError, match=message) as caught:
        load_prior(path)
    assert "\n" not in str(caught.value)


def test_networks_that_do_not_fit_are_refused(folder: Folder) -> None:
    with pytest.raises(DataError, match=r"expected 1 or 2 image channels, .* got 3 inputs and 3"):
        load_prior(folder(network(3, 3)))
    fixed = network(
        block_out_channels=(32,) * 3,
        down_block_types=("KDownBlock2D",) * 3,
        up_block_types=("KUpBlock2D",) * 3,
    )
    with pytest.raises(DataError, match="blocks with fixed filters, which are not read"):
        load_prior(folder(fixed, name="k"))
    fourier = network(time_embedding_type="fourier")
    with pytest.raises(DataError, match="Fourier features of sigma expected ScoreSdeVeScheduler"):
        load_prior(folder(fourier, name="f"))
    learned = network(time_embedding_type="learned", num_train_timesteps=10)
    with pytest.raises(DataError, match="a table of learned times expected a DDPM schedule"):
        load_prior(folder(learned, name="l"))


def test_damaged_folders_are_refused(folder: Folder, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a diffusers folder with unet/config\.json"):
        load_prior(tmp_path)
    path = folder()
    weights = path / "unet" / WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="the weight file is truncated or damaged"):
        load_prior(path)
    weights.write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        load_prior(path)
    weights.write_bytes(whole)
    tensors = load_file(weights)
    save_file({**tensors, "conv_in.bias": torch.full((8,), math.nan)}, weights)
    with pytest.raises(DataError, match="the weights hold NaN or infinity"):
        load_prior(path)
    eighth = {key: value.to(torch.float8_e4m3fn) for key, value in tensors.items()}
    save_file(eighth, weights)
    assert load_prior(path).denoise(images(8, 8), 0.1).isfinite().all()
    save_file({**tensors, "stowaway": torch.ones(1)}, weights)
    with pytest.raises(DataError, match=r"do not fit config.json in 1 of .* first 'stowaway'"):
        load_prior(path)
    (path / "scheduler" / "scheduler_config.json").unlink()
    save_file(tensors, weights)
    with pytest.raises(DataError, match=r"with unet/ and scheduler/, found no sch.*FOLDER/unet"):
        load_prior(path)


def test_pickled_weights_are_refused_and_never_opened(folder: Folder, tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Malicious:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    path = folder()
    (path / "unet" / WEIGHTS).unlink()
    with pytest.raises(DataError, match=f"expected weights in {WEIGHTS}, found none"):
        load_prior(path)
    torch.save({"conv_in.weight": Malicious()}, path / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(DataError, match="the weights are pickled, which may run code"):
        load_prior(path)
    assert not marker.exists()


def test_weights_in_parts_are_refused(folder: Folder) -> None:
    path = folder()
    weights = path / "unet" / WEIGHTS
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    with pytest.raises(DataError, match=r"expected weights in .*, one file, got several parts"):
        load_prior(path)


def test_names_and_other_objects() -> None:
    from inverse.priors.base import _WEIGHTS

    for name in ("brain", "ct"):
        if (_WEIGHTS / name).is_dir():
            assert load_prior(name).n_channels == 1
        else:
            with pytest.raises(UsageError, match=f"'{name}' is not part of this installation"):
                load_prior(name)
    with pytest.raises(UsageError, match=r"function has no .*denoise.*CallablePrior"):
        load_prior(lambda x, _: x)  # type: ignore[arg-type]


def test_package_imports_without_diffusers() -> None:
    code = "import sys, inverse.priors; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
