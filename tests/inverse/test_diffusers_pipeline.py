"""DDSPipeline: the paper's algorithm to the letter, the library's sampler, diffusers' habits."""

from __future__ import annotations

import logging
import math
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

import inverse
from inverse.diffusers_pipeline import DDSPipeline, DDSPipelineOutput, ddim_eta
from inverse.errors import DataError, UsageError
from inverse.grid import Grid
from inverse.priors import UNetPrior, load_prior
from inverse.priors.parametrisation import VariancePreserving
from inverse.problem import Problem
from inverse.samplers import dds
from inverse.samplers.streams import Streams
from inverse.training import TrainingPlan, write_prior
from inverse.training.network import build_network
from operators import Identity, LinearOperator, Sense, Space

EDGE = 6
ALPHAS = np.cumprod(1 - np.linspace(1e-4, 2e-2, 1000))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Dense(LinearOperator):
    """A matrix on images of EDGE x EDGE pixels."""

    def __init__(self, matrix: torch.Tensor) -> None:
        super().__init__(
            Space((EDGE, EDGE), matrix.dtype, ("y", "x")),
            Space((len(matrix),), matrix.dtype, ("sample",)),
        )
        self.matrix = matrix

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-2) @ self.matrix.T

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return (y @ self.matrix.conj()).unflatten(-1, (EDGE, EDGE))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Dense:
        return Dense(self.matrix.to(device, dtype))


class GaussianNetwork(torch.nn.Module):
    """The exact eps network of images N(mean, C), told the DDPM time, in double precision."""

    dtype = torch.float64
    device = torch.device("cpu")

    def __init__(self, channels: int) -> None:
        super().__init__()
        n = channels * EDGE**2
        self.config = {
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": (1,),
            "time_embedding_type": "positional",
        }
        root = torch.randn(n, n, generator=seeded(0), dtype=torch.float64) / 8
        self.covariance = root @ root.T
        self.mean = torch.rand(n, generator=seeded(1), dtype=torch.float64)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> SimpleNamespace:
        a = ALPHAS[round(float(time[0]))]
        total = a * self.covariance + (1 - a) * torch.eye(len(self.mean), dtype=x.dtype)
        away = x.flatten(1) - math.sqrt(a) * self.mean
        eps = math.sqrt(1 - a) * torch.linalg.solve(total, away.T).T
        return SimpleNamespace(sample=eps.reshape(x.shape))


def paper(
    network: GaussianNetwork,
    matrix: torch.Tensor,
    y: torch.Tensor,
    noise: list[torch.Tensor],
    *,
    eta: float,
    gamma: float | None,
    factor: complex = 1.0,
) -> torch.Tensor:
    """Algorithm 1 in the variance-preserving form, with dense matrices; gamma None is noiseless.

    `factor` spoils the data's part of the right-hand side. x_T is noise of variance 1 - a_T, where
    the paper takes 1.
    """
    times = [750, 500, 250, 0]
    gram, back = matrix.conj().T @ matrix, matrix.conj().T @ y
    x = math.sqrt(1 - ALPHAS[times[0]]) * noise[0]
    for step, t in enumerate(times):
        a = ALPHAS[t]
        channels = torch.view_as_real(x).T if x.is_complex() else x[None]
        out = network(channels.reshape(1, -1, EDGE, EDGE), torch.tensor([float(t)])).sample[0]
        flat = out.reshape(len(channels), -1)
        eps = torch.complex(*flat) if x.is_complex() else flat[0]
        x0 = (x - math.sqrt(1 - a) * eps) / math.sqrt(a)
        left = gram if gamma is None else torch.eye(len(x), dtype=gram.dtype) + gamma * gram
        right = factor * back if gamma is None else x0 + factor * gamma * back
        x0 = textbook_cg(left, right, x0)
        if t:
            a_next = ALPHAS[times[step + 1]]
            kept = math.sqrt(1 - eta**2) * eps + (eta * noise[step + 1] if eta else 0)
            x = math.sqrt(a_next) * x0 + math.sqrt(1 - a_next) * kept
    return x0


def textbook_cg(left: torch.Tensor, right: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Five iterations from x (Hestenes and Stiefel 1952)."""
    r = right - left @ x
    p = r
    for _ in range(5):
        alpha = torch.vdot(r, r) / torch.vdot(p, left @ p)
        x, after = x + alpha * p, r - alpha * (left @ p)
        p, r = after + torch.vdot(after, after) / torch.vdot(r, r) * p, after
    return x


def dense_example(
    kind: torch.dtype,
) -> tuple[GaussianNetwork, torch.Tensor, torch.Tensor]:
    matrix = torch.randn(20, EDGE**2, generator=seeded(2), dtype=kind) / 5
    y = matrix @ torch.rand(EDGE**2, generator=seeded(3), dtype=kind)
    return GaussianNetwork(2 if kind.is_complex else 1), matrix, y


@pytest.mark.parametrize("kind", [torch.float64, torch.complex128])
@pytest.mark.parametrize("form", ["noisy", "noiseless"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_sampler_is_algorithm_1_of_the_paper(kind: torch.dtype, form: str, eta: float) -> None:
    """The variance-exploding form in use, against the paper's with the same noise."""
    network, matrix, y = dense_example(kind)
    found: list[torch.Tensor] = []
    dds(
        Problem(Dense(matrix), y, 0.1, len(y), Grid((1, EDGE, EDGE), (1.0, 1.0, 1.0))),
        # Not from a scheduler, whose table is in single precision: 3e-4 off in sigma at t = 0.
        UNetPrior(network, VariancePreserving(tuple(ALPHAS), "epsilon")),
        steps=4,
        eta=eta,
        gamma=3.0,
        form=form,
        preset="dds-paper",
        generator=seeded(4),
        callback=lambda state: found.append(state.estimate),
    )
    streams, like = Streams(seeded(4), 1, 1), torch.empty(1, EDGE**2, dtype=kind)
    noise = [streams.white_noise(like)[0] for _ in range(5)]
    gamma = 3.0 if form == "noisy" else None
    expected = paper(network, matrix, y, noise, eta=eta, gamma=gamma)
    torch.testing.assert_close(found[-1].flatten(), expected, rtol=0, atol=1e-6)


def test_right_hand_side_is_the_paper_s_and_not_the_released_code_s() -> None:
    """That code adds complex A^H y to a real pair of channels, which makes (1 + i) A^H y of it."""
    network, matrix, y = dense_example(torch.complex128)
    noise = [torch.zeros(EDGE**2, dtype=torch.complex128)] * 5
    right, wrong = (
        paper(network, matrix, y, noise, eta=0.0, gamma=100.0, factor=factor)
        for factor in (1, 1 + 1j)
    )
    off = [float(torch.linalg.norm(y - matrix @ x) / torch.linalg.norm(y)) for x in (right, wrong)]
    assert off[0] < 0.1
    assert off[1] > 0.5  # so that the test above would have failed with it


@pytest.mark.parametrize("eta", [0.0, 0.15, 0.5, 0.999])
@pytest.mark.parametrize("following", [10, -1])
def test_ddim_scheduler_takes_the_paper_s_step_with_the_converted_eta(
    eta: float, following: int
) -> None:
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_end=2e-2, clip_sample=False)
    scheduler.alphas_cumprod = torch.from_numpy(ALPHAS)
    scheduler.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    scheduler.set_timesteps(50)
    time = following + 20
    x, eps, x0hat, noise = torch.randn(4, 1, 1, 8, 8, generator=seeded(5), dtype=torch.float64)
    a = float(ALPHAS[time])
    a_next = float(ALPHAS[following]) if following >= 0 else 1.0
    converted = ddim_eta(eta, a, a_next)
    theirs = scheduler.step(eps, time, x, eta=converted, variance_noise=noise)
    # DDIM knows no corrected estimate: put it in the place of the network's.
    replaced = theirs.prev_sample + math.sqrt(a_next) * (x0hat - theirs.pred_original_sample)
    kept = math.sqrt(1 - eta**2) * eps + eta * noise
    ours = math.sqrt(a_next) * x0hat + math.sqrt(1 - a_next) * kept
    torch.testing.assert_close(replaced, ours, rtol=0, atol=1e-6)


def test_eta_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match=r"dds_eta expected a number >= 0 and <= 1, got 1\.5"):
        ddim_eta(1.5, 0.2, 0.8)
    with pytest.raises(UsageError, match=r"alpha_next expected more than alpha = 0\.8, got 0\.2"):
        ddim_eta(0.5, 0.8, 0.2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as training writes it, of a network whose output is not zero."""
    plan = TrainingPlan(channels=(8, 8), patch=8, sigma_data=0.3)
    path = tmp_path_factory.mktemp("trained") / "prior"
    write_prior(build_network(plan), plan, path, name="tiny")
    return path


@pytest.fixture
def pipe(folder: Path) -> DDSPipeline:
    made = DDSPipeline.from_prior(folder)
    made.set_progress_bar_config(disable=True)
    return made


def scan(*batch: int) -> tuple[torch.Tensor, Sense]:
    """Noise on the sampled half of k-space of two coils, 8 by 10 pixels."""
    csm = torch.full((2, 8, 10), 0.7, dtype=torch.complex64)
    A = Sense(csm, torch.arange(8)[:, None] % 2 == 0)
    x = torch.randn(*batch, 8, 10, generator=seeded(6), dtype=torch.complex64)
    return A(x), A


SHORT = {"noise_std": 0.05, "num_inference_steps": 3}


def test_pipeline_is_the_library_s_sampler(pipe: DDSPipeline, folder: Path) -> None:
    y, A = scan()
    found = pipe(y, A, **SHORT, num_samples=2, generator=seeded(7), eta=0.8, cg_iterations=3)
    seen: list[torch.Tensor] = []
    ours = dds(
        Problem(A, y, 0.05, 80, Grid((1, 8, 10), (1.0, 1.0, 1.0))),
        load_prior(folder),
        steps=3,
        n_samples=2,
        generator=seeded(7),
        eta=0.8,
        cg_iterations=3,
        callback=lambda state: seen.append(state.estimate),
    )
    torch.testing.assert_close(found.samples, seen[-1], rtol=1e-5, atol=1e-6)
    assert ours.posterior is not None
    np.testing.assert_allclose(found.images[None], ours.image, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.std[None], ours.posterior.std, rtol=1e-3, atol=1e-6)
    assert found.diagnostics.n_denoiser == 3
    assert found.diagnostics.residual_std == pytest.approx(ours.diagnostics.residual_std, rel=1e-4)


def test_folder_is_written_and_read_offline(
    pipe: DDSPipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_network(*_: object) -> None:
        raise AssertionError("a local folder needs no network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    y, A = scan()
    first = pipe(y, A, **SHORT).images

    DDSPipeline(pipe.unet, pipe.scheduler, scale=2.0, offset=-1.0).to(
        torch.float16, silence_dtype_warnings=True
    ).save_pretrained(tmp_path / "p", variant="fp16", safe_serialization=True)
    weights = [path.name for path in (tmp_path / "p" / "unet").iterdir()]
    assert sorted(weights) == ["config.json", "diffusion_pytorch_model.fp16.safetensors"]
    assert "operator" not in (tmp_path / "p" / "model_index.json").read_text()

    read = DDSPipeline.from_pretrained(tmp_path / "p", variant="fp16")
    assert (read.config["scale"], read.config["offset"]) == (2.0, -1.0)
    prior = load_prior(tmp_path / "p")
    assert (prior.scale, prior.offset) == (2.0, -1.0)
    x = torch.rand(8, 8, generator=seeded(8))
    torch.testing.assert_close(read.prior.denoise(x, 0.1), prior.denoise(x, 0.1))

    plain = DDSPipeline.from_pretrained(tmp_path / "p", variant="fp16", scale=1.0, offset=0.0)
    plain.set_progress_bar_config(disable=True)
    torch.testing.assert_close(plain(y, A, **SHORT).images, first)  # half precision as it was


def test_diffusers_understands_the_signature(
    pipe: DDSPipeline, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It warns of annotations that it cannot resolve to classes."""
    pipe.save_pretrained(tmp_path)
    log = logging.getLogger("diffusers.pipelines.pipeline_utils")
    log.addHandler(caplog.handler)
    DDSPipeline.from_pretrained(tmp_path)
    log.removeHandler(caplog.handler)
    assert not caplog.records


def test_folder_of_another_pipeline_keeps_its_scale(pipe: DDSPipeline, tmp_path: Path) -> None:
    """Networks converted from -1..1 say so in prior.json, beside another pipeline's index."""
    from diffusers import DDPMPipeline

    DDPMPipeline(pipe.unet, DDPMScheduler()).save_pretrained(tmp_path)
    (tmp_path / "prior.json").write_text('{"scale": 2.0, "offset": -1.0}')
    for read in (DDSPipeline.from_pretrained(tmp_path), DDSPipeline.from_prior(tmp_path)):
        assert (read.prior.scale, read.prior.offset) == (2.0, -1.0)
        assert isinstance(read.scheduler, DDPMScheduler)


def test_folder_of_the_network_itself_is_read_with_its_schedule(
    pipe: DDSPipeline, tmp_path: Path
) -> None:
    """Also where the schedule lies beside the network's folder, not in one of its own."""
    pipe.unet.save_pretrained(tmp_path / "unet")
    pipe.scheduler.save_pretrained(tmp_path)
    (tmp_path / "prior.json").write_text('{"scale": 2.0, "offset": -1.0}')
    for folder in (tmp_path, tmp_path / "unet"):
        read = DDSPipeline.from_prior(folder)
        assert (read.prior.scale, read.prior.offset) == (2.0, -1.0)
        assert isinstance(read.scheduler, type(pipe.scheduler))


def test_half_precision_network_computes_close_to_single(pipe: DDSPipeline) -> None:
    y, A = scan()
    single = pipe(y, A, **SHORT).images
    half = pipe.to(torch.bfloat16)(y, A, **SHORT).images
    assert half.dtype == torch.complex64
    assert 0 < float((half - single).abs().max()) < 0.05


def test_generators_belong_to_batch_elements_or_to_images(pipe: DDSPipeline) -> None:
    y, A = scan(2)
    alone = [pipe(y[i], A, **SHORT, generator=seeded(i)).images for i in range(2)]
    of_elements = pipe(y, A, **SHORT, generator=[seeded(0), seeded(1)])
    torch.testing.assert_close(of_elements.images, torch.stack(alone), rtol=1e-4, atol=1e-5)
    assert of_elements.samples.shape == (1, 2, 8, 10)
    assert of_elements.std is None

    both = [pipe(y, A, **SHORT, generator=[seeded(i), seeded(i + 1)]).images for i in (0, 2)]
    of_images = pipe(y, A, **SHORT, num_samples=2, generator=[seeded(i) for i in range(4)])
    torch.testing.assert_close(of_images.samples, torch.stack(both), rtol=1e-4, atol=1e-5)
    with pytest.raises(UsageError, match=r"expected one, 2 .* or 4 .*, got 3"):
        pipe(y, A, **SHORT, num_samples=2, generator=[seeded(i) for i in range(3)])


@pytest.mark.gpu
def test_generator_of_a_device_is_reproducible(pipe: DDSPipeline) -> None:
    y, A = scan()
    pipe.to("cuda")
    first, again, other = (
        pipe(y, A, **SHORT, generator=torch.Generator("cuda").manual_seed(seed)).images
        for seed in (0, 0, 1)
    )
    assert first.device.type == "cuda"
    torch.testing.assert_close(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


def test_output_types(pipe: DDSPipeline) -> None:
    y, A = scan(2)
    tensors = pipe(y, A, **SHORT, num_samples=2)
    assert isinstance(tensors, DDSPipelineOutput)
    assert tensors["images"] is tensors.images
    assert tensors.images.shape == (2, 8, 10)
    torch.testing.assert_close(tensors.images, tensors.samples.mean(0))
    torch.testing.assert_close(tensors.std, tensors.samples.abs().std(0))

    images, std, samples = pipe(y, A, **SHORT, num_samples=2, output_type="np", return_dict=False)
    np.testing.assert_array_equal(images, tensors.images.numpy())
    assert std.dtype == np.float32
    assert samples.shape == (2, 2, 8, 10)

    pictures = pipe(y, A, **SHORT, num_samples=2, output_type="pil")
    assert [len(pictures.images), len(pictures.samples)] == [2, 4]
    grey = np.clip(np.abs(images[1]), 0, 1) * 255
    np.testing.assert_allclose(np.asarray(pictures.images[1]), grey, atol=0.5)


def test_callback_watches_every_step(pipe: DDSPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    y, A = scan()
    seen: list[tuple[int, float, set[str]]] = []

    def watch(
        who: DDSPipeline, step: int, t: float, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        assert who is pipe
        seen.append((step, t, set(tensors)))
        return tensors

    call = {"callback_on_step_end": watch, "callback_on_step_end_tensor_inputs": ["x", "estimate"]}
    pipe.set_progress_bar_config(disable=False)
    pipe(y, A, **SHORT, **call)
    assert [step for step, _, _ in seen] == [0, 1, 2]
    assert all(names == {"x", "estimate"} for _, _, names in seen)
    # The label of an EDM network: ln(sigma) / 4, here from 0.2 to half the noise.
    assert [seen[0][1], seen[2][1]] == pytest.approx([math.log(s) / 4 for s in (0.2, 0.025)])
    assert "3/3" in capsys.readouterr().err

    pipe.set_progress_bar_config(disable=True)
    call["callback_on_step_end"] = lambda *args: {"x": args[-1]["x"] + 1}
    with pytest.raises(UsageError, match=r"returned another 'x'; .* watched, not changed"):
        pipe(y, A, **SHORT, **call)
    with pytest.raises(UsageError, match="expected one of estimate, x; got 'latents'"):
        pipe(y, A, **SHORT, callback_on_step_end_tensor_inputs=["latents"])


def test_wrong_calls_are_refused(pipe: DDSPipeline) -> None:
    y, A = scan()
    with pytest.raises(UsageError, match=r"shape \(\*batch, 2, 8, 10\) .* got \(8, 10\)"):
        pipe(y[0], A, **SHORT)
    with pytest.raises(UsageError, match=r"expected images \(..., y, x\)"):
        pipe(torch.ones(4), Identity(Space((4,), torch.float32, ("x",))), **SHORT)
    with pytest.raises(UsageError, match=r"measurement expected a torch\.Tensor, got ndarray"):
        pipe(y.numpy(), A, **SHORT)
    with pytest.raises(UsageError, match="noise_std expected a number >= 0"):
        pipe(y, A, noise_std=-1.0)
    with pytest.raises(UsageError, match="output_type expected one of pt, np, pil; got 'latent'"):
        pipe(y, A, **SHORT, output_type="latent")
    with pytest.raises(UsageError, match="gamma expected a number > 0"):
        pipe(y, A, **SHORT, gamma=0)
    with pytest.raises(UsageError, match="a pipeline expected a prior that is a network"):
        DDSPipeline.from_prior("natural")


def test_scheduler_that_is_not_understood_is_refused(pipe: DDSPipeline) -> None:
    from diffusers import IPNDMScheduler

    with pytest.raises(DataError, match=r"scheduler expected one of .*; got 'IPNDMScheduler'"):
        _ = DDSPipeline(pipe.unet, IPNDMScheduler()).prior


def test_network_is_shared_and_not_copied(pipe: DDSPipeline) -> None:
    assert pipe.prior.network is pipe.unet
    assert isinstance(pipe.unet, UNet2DModel)


def test_pipeline_is_named_but_diffusers_not_imported() -> None:
    assert inverse.DDSPipeline is DDSPipeline
    code = "import sys, inverse; print('DDSPipeline' in dir(inverse), 'diffusers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
