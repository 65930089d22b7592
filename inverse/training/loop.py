"""The training loop: an EDM denoiser on image crops, resumable to the bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from inverse.errors import ConvergenceError
from inverse.io.atomic import replacing_folder
from inverse.training.checkpoint import Checkpoint
from inverse.training.crops import draw_batch
from inverse.training.image_sets import ImageSet
from inverse.training.plan import TrainingPlan

if TYPE_CHECKING:
    from accelerate import Accelerator
    from diffusers import UNet2DModel

__all__ = ["VALIDATION_SIGMAS", "build_network", "denoising_psnr", "train", "write_prior"]

VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2)
_STATE = "state.safetensors"
_VALIDATION_CROPS = 32


def build_network(plan: TrainingPlan) -> UNet2DModel:
    """Return the network of a plan with seeded random weights.

    A convolutional U-Net without attention: what a crop teaches then holds for an image of any
    size.

    Parameters
    ----------
    plan : TrainingPlan
    """
    from diffusers import UNet2DModel

    n = len(plan.channels)
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        network: UNet2DModel = UNet2DModel(
            sample_size=plan.patch,
            in_channels=3 if plan.position else 1,
            out_channels=1,
            layers_per_block=plan.layers,
            block_out_channels=plan.channels,
            down_block_types=("DownBlock2D",) * n,
            up_block_types=("UpBlock2D",) * n,
            add_attention=False,
            norm_num_groups=8,
        )
    return network


def predict(
    network: torch.nn.Module, noisy: torch.Tensor, sigma: torch.Tensor, sigma_data: float
) -> torch.Tensor:
    """Denoise with EDM preconditioning (Karras et al. 2022, eq. 7 and table 1).

    D(x) = c_skip x + c_out F(c_in x; ln(sigma) / 4)

    Parameters
    ----------
    network : Module
        F, a diffusers UNet2DModel.
    noisy : Tensor, (n, c, y, x)
        Channels after the first are positions and pass unscaled.
    sigma : Tensor, (n,)
    sigma_data : float

    Returns
    -------
    Tensor, (n, 1, y, x)
    """
    total = (sigma**2 + sigma_data**2)[:, None, None, None]
    level = sigma[:, None, None, None]
    image = noisy[:, :1]
    inputs = torch.cat([image / total.sqrt(), noisy[:, 1:]], 1)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    residual: torch.Tensor = network(inputs, sigma.log() / 4).sample
    return sigma_data**2 / total * image + level * sigma_data / total.sqrt() * residual.float()


def train(
    images: ImageSet,
    validation: ImageSet,
    plan: TrainingPlan,
    folder: Path,
    *,
    save_every: int = 500,
    mixed_precision: str = "bf16",
    cpu: bool = False,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> dict[str, float]:
    """Train a prior and leave it in `folder` as a diffusers pipeline.

    The loss is the squared error of the denoised crop, weighted by
    (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 (Karras et al. 2022, eq. 8). A folder that holds
    an unfinished run is taken up where it stopped; on one device the result is then the same to
    the bit as that of a run that was never stopped.

    Parameters
    ----------
    images, validation : ImageSet
        Of different subjects.
    plan : TrainingPlan
    folder : Path
        Gets ``state.safetensors`` (to resume), ``logs`` (TensorBoard) and ``prior`` (the result,
        written at every save).
    save_every : int
        Steps between saves; validation runs as often.
    mixed_precision : {"bf16", "fp16", "no"}
        Of the network's arithmetic.
    cpu : bool
        Stay on the CPU even where there is a GPU.
    progress : function, optional
        Called as progress(step, steps, figures) after each save.

    Returns
    -------
    dict
        The last validation figures: denoising PSNR in dB by noise level.

    Raises
    ------
    UsageError
        If the folder holds a run with another plan or other images.
    DataError
        If no image is as large as a crop.
    ConvergenceError
        If the loss is no longer finite.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(
        mixed_precision=mixed_precision, cpu=cpu, log_with="tensorboard", project_dir=folder
    )
    network, optimizer = accelerator.prepare(*_fresh(plan))
    bare: UNet2DModel = accelerator.unwrap_model(network)
    average = [p.detach().clone() for p in bare.parameters()]
    state = Checkpoint(bare, average, optimizer.optimizer)
    path = folder / _STATE
    done = state.load(path, plan, images.fingerprint) if path.is_file() else 0
    accelerator.init_trackers("logs")
    figures: dict[str, float] = {}
    losses: list[float] = []
    for step in range(done, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        losses.append(_step(accelerator, network, optimizer, images, plan, step))
        torch._foreach_lerp_(average, list(bare.parameters()), 1 - plan.average(step))
        if (step + 1) % save_every and step + 1 < plan.steps:
            continue
        loss = sum(losses) / len(losses)
        if not loss < float("inf"):
            raise ConvergenceError(f"the loss was no longer finite before step {step + 1}")
        if accelerator.is_main_process:
            state.save(path, step + 1, plan, images.fingerprint)
            averaged = _averaged(bare, average, plan)
            write_prior(averaged, plan, folder / "prior")
            figures = denoising_psnr(averaged, validation, plan, accelerator.device)
            accelerator.log({"loss": loss, "rate": plan.rate(step), **figures}, step=step + 1)
            if progress is not None:
                progress(step + 1, plan.steps, {"loss": loss, **figures})
        losses.clear()
    accelerator.end_training()
    return figures


def _fresh(plan: TrainingPlan) -> tuple[UNet2DModel, torch.optim.Optimizer]:
    network = build_network(plan).to(memory_format=torch.channels_last)
    return network, torch.optim.AdamW(network.parameters(), plan.learning_rate)


def _step(
    accelerator: Accelerator,
    network: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    images: ImageSet,
    plan: TrainingPlan,
    step: int,
) -> float:
    """Take one step and return its loss."""
    part = accelerator.process_index
    batch = draw_batch(images, plan, step, part, accelerator.num_processes)
    clean, sigma, noise = (tensor.to(accelerator.device) for tensor in batch)
    noisy = clean.clone()
    noisy[:, :1] += sigma[:, None, None, None] * noise
    weight = (sigma**2 + plan.sigma_data**2) / (sigma * plan.sigma_data) ** 2
    with accelerator.autocast():
        denoised = predict(network, noisy, sigma, plan.sigma_data)
    loss = (weight * (denoised - clean[:, :1]).square().mean((1, 2, 3))).mean()
    optimizer.zero_grad()
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _averaged(network: UNet2DModel, average: list[torch.Tensor], plan: TrainingPlan) -> UNet2DModel:
    copy = build_network(plan).to(network.device)
    with torch.no_grad():
        for parameter, value in zip(copy.parameters(), average, strict=True):
            parameter.copy_(value)
    return copy


def write_prior(network: UNet2DModel, plan: TrainingPlan, folder: Path) -> None:
    """Write a diffusers folder: ``unet`` in half precision, ``scheduler`` with the EDM settings.

    Parameters
    ----------
    network : UNet2DModel
    plan : TrainingPlan
    folder : Path
        Replaced whole.
    """
    from diffusers import EDMEulerScheduler

    with replacing_folder(folder) as temporary:
        half = build_network(plan)
        half.load_state_dict(network.state_dict())
        half.to(torch.float16).save_pretrained(temporary / "unet", variant="fp16")
        EDMEulerScheduler(
            sigma_min=0.002, sigma_max=5.0, sigma_data=plan.sigma_data
        ).save_pretrained(temporary / "scheduler")


def denoising_psnr(
    network: UNet2DModel, validation: ImageSet, plan: TrainingPlan, device: torch.device
) -> dict[str, float]:
    """Denoise fixed crops of the validation images at fixed noise levels.

    Parameters
    ----------
    network : UNet2DModel
    validation : ImageSet
    plan : TrainingPlan
        The crops are drawn with its patch size.
    device : device

    Returns
    -------
    dict of str to float
        ``psnr_0.05`` and so on, in dB for a peak of one.
    """
    from dataclasses import replace

    fixed = replace(plan, batch=_VALIDATION_CROPS, seed=1, gain=0.0)
    clean, _, noise = (t.to(device) for t in draw_batch(validation, fixed, 0, 0, 1))
    figures = {}
    for sigma in VALIDATION_SIGMAS:
        noisy = clean.clone()
        noisy[:, :1] += sigma * noise
        levels = torch.full((len(clean),), sigma, device=device)
        with torch.no_grad():
            error = predict(network, noisy, levels, plan.sigma_data) - clean[:, :1]
        figures[f"psnr_{sigma:g}"] = float(-10 * error.square().mean().log10())
    return figures
