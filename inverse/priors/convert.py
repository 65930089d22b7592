"""Published checkpoints of guided-diffusion (ADM) U-Nets as diffusers folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch

from inverse.errors import UsageError
from inverse.io.atomic import check_writable, replacing_folder
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, reading, sha256
from inverse.priors.adm import AdmArchitecture, read_architecture, unet_config
from inverse.priors.adm_checkpoint import check_weights, find_weights, plain_name
from inverse.priors.adm_weights import QkvOrder, convert_weights
from inverse.priors.pickled import read_pickled
from inverse.priors.weight_files import saving_network
from inverse.settings import count, number

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

__all__ = ["ConversionReport", "NoiseSchedule", "convert"]

NoiseSchedule = Literal["linear", "cosine"]

_SCHEDULES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
_WEIGHTS_FILE = Path("unet") / "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True, slots=True)
class ConversionReport:
    """What was read, what was written, and what had to be assumed.

    Parameters
    ----------
    source : str
        Name of the checkpoint, without its folder.
    source_sha256 : str
    part : str
        Where in the checkpoint the weights were, such as ``ema``; empty when it held nothing else.
    n_tensors, n_parameters : int
        Of the network in the checkpoint; every one of them was used.
    unused : tuple of str
        What else the checkpoint holds.
    target : Path
        The folder written.
    result_sha256 : str
        Of the folder's weights, ``unet/diffusion_pytorch_model.safetensors``.
    architecture : AdmArchitecture
    qkv, head_channels, schedule : str, int, str
        As given: they cannot be seen from the weights.
    """

    source: str
    source_sha256: str
    part: str
    n_tensors: int
    n_parameters: int
    unused: tuple[str, ...]
    target: Path
    result_sha256: str
    architecture: AdmArchitecture
    qkv: QkvOrder
    head_channels: int
    schedule: NoiseSchedule

    def __str__(self) -> str:
        """Return the report as lines of text."""
        net = self.architecture
        levels = [
            f"{width}{' with attention' if attends else ''}"
            for width, attends in zip(net.channels, net.attention, strict=True)
        ]
        variance = " (the second half is the variance)" if net.learns_variance else ""
        timing = "scales and shifts" if net.scale_shift else "is added"
        lines = [
            f"checkpoint: {self.source}, SHA-256 {self.source_sha256}",
            f"weights: {self.n_tensors} tensors, {self.n_parameters:,} parameters, all used"
            + (f"; taken from '{self.part}'" if self.part else ""),
            f"not used: {', '.join(self.unused) or 'nothing'}",
            f"image channels: {net.in_channels} in, {net.out_channels} out{variance}",
            f"levels: {', '.join(levels)}; {net.n_blocks} residual block(s) each",
            f"resampling: {net.resampling}; the noise level {timing}; attention in the middle",
            f"assumed, because weights do not show it: qkv order '{self.qkv}', heads of "
            f"{self.head_channels} channels, '{self.schedule}' noise schedule of 1000 steps",
            f"result: SHA-256 {self.result_sha256}",
        ]
        return "\n".join(lines)


def convert(
    source: Path,
    target: Path,
    *,
    image_size: int | None = None,
    qkv: QkvOrder = "legacy",
    head_channels: int = 64,
    schedule: NoiseSchedule = "linear",
    scale: float = 1.0,
    offset: float = 0.0,
    max_memory: int = DEFAULT_MAX_MEMORY,
) -> ConversionReport:
    """Write a guided-diffusion checkpoint as a folder that diffusers and `load_prior` read.

    The result computes the same function: every weight is used once, none is changed. The
    architecture is derived from the weights; what they cannot show is an argument. Nothing in the
    checkpoint is ever run.

    Parameters
    ----------
    source : Path
        A ``.pt`` file: a state dictionary, or one inside a dictionary. Averaged (EMA) weights are
        taken where there are both.
    target : Path
        Folder to write: new, empty, or a prior to be replaced.
    image_size : int, optional
        Side of the images the network was trained on, noted in the result.
    qkv : {"legacy", "new"}
        Order of the attention's joint projection. "legacy" is what guided-diffusion does unless
        ``use_new_attention_order`` is set, and what the networks of DDS were trained with.
    head_channels : int
        Width of an attention head, 64 in every network that guided-diffusion and DDS published.
        For one trained with a number of heads instead: the width of its attention layers over it.
    schedule : {"linear", "cosine"}
        Noise schedule of training, 1000 steps; "linear" goes from 1e-4 to 2e-2.
    scale, offset : float
        The network was trained on scale * image + offset, for images in image units; 1 and 0 for
        the networks of DDS, 2 and -1 for one trained on the range -1..1.
    max_memory : int
        Bytes that the checkpoint may take.

    Returns
    -------
    ConversionReport
        What was found; its text is also in the folder's README.

    Raises
    ------
    UsageError
        If an argument does not fit, or `target` holds something else.
    DataError
        If the file holds code, is damaged, or is no ADM U-Net that UNet2DModel can hold.
    ResourceError
        If it is too large, or the folder cannot be written.

    References
    ----------
    Dhariwal and Nichol 2021, arXiv:2105.05233; Chung, Lee and Ye 2024, arXiv:2303.05754
    """
    _check_arguments(image_size, qkv, head_channels, schedule)
    shift = {
        "scale": number("scale", scale, above=True),
        "offset": number("offset", offset, low=-1e6),
    }
    _check_target(source, target)
    content = read_pickled(source, max_memory=max_memory)
    with reading(source, "network"):
        found = find_weights(content)
        n_parameters = check_weights(source, found.weights, max_memory)
        architecture = read_architecture(found.weights)
        config = unet_config(architecture, head_channels, image_size)
        network = _network(config, found.weights, architecture, head_channels, qkv)
    digest = sha256(source)
    with replacing_folder(target) as folder:
        _write(network, architecture, schedule, folder)
        report = ConversionReport(
            source=source.name,
            source_sha256=digest,
            part=found.part,
            n_tensors=len(found.weights),
            n_parameters=n_parameters,
            unused=found.unused,
            target=target,
            result_sha256=sha256(folder / _WEIGHTS_FILE),
            architecture=architecture,
            qkv=qkv,
            head_channels=head_channels,
            schedule=schedule,
        )
        settings = {"name": plain_name(source.stem), **shift}
        (folder / "prior.json").write_text(json.dumps(settings, indent=1) + "\n")
        (folder / "README.md").write_text(_card(report))
    return report


def _check_arguments(image_size: int | None, qkv: str, head_channels: int, schedule: str) -> None:
    if image_size is not None:
        count("image_size", image_size)
    count("head_channels", head_channels)
    if qkv not in ("legacy", "new"):
        raise UsageError(f"qkv expected 'legacy' or 'new', got {qkv!r}")
    if schedule not in _SCHEDULES:
        raise UsageError(
            f"schedule expected {' or '.join(map(repr, _SCHEDULES))}, got {schedule!r}"
        )


def _check_target(source: Path, target: Path) -> None:
    """Refuse to replace anything but an empty folder or another prior."""
    check_writable(target)
    if target.exists():
        is_prior = (target / "unet" / "config.json").is_file()
        if not target.is_dir() or (any(target.iterdir()) and not is_prior):
            raise UsageError(
                f"{target}: expected a new or empty folder, or one that holds a prior, got "
                "something else; choose another name"
            )
        if target.resolve() in source.resolve().parents:
            raise UsageError(f"{target}: the checkpoint lies inside it; choose another folder")


def _network(
    config: Mapping[str, object],
    weights: Mapping[str, torch.Tensor],
    architecture: AdmArchitecture,
    head_channels: int,
    qkv: QkvOrder,
) -> UNet2DModel:
    from diffusers.models.unets.unet_2d import UNet2DModel

    with torch.device("meta"):
        network: UNet2DModel = UNet2DModel(**config)
    expected = {name: weight.shape for name, weight in network.state_dict().items()}
    converted = convert_weights(
        weights, architecture, expected, head_channels=head_channels, qkv=qkv
    )
    network.load_state_dict(converted, assign=True)
    return network.eval()


def _write(
    network: UNet2DModel, architecture: AdmArchitecture, schedule: NoiseSchedule, folder: Path
) -> None:
    """Write a `DDPMPipeline`: the network, and the noise levels it was trained on."""
    from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler = DDPMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=2e-2,
        beta_schedule=_SCHEDULES[schedule],
        variance_type="learned_range" if architecture.learns_variance else "fixed_large",
        # Clipping to -1..1 would cut off bone and the negative parts of complex images.
        clip_sample=False,
        prediction_type="epsilon",
    )
    with saving_network(folder / _WEIGHTS_FILE.parent):
        DDPMPipeline(network, scheduler).save_pretrained(folder)


def _card(report: ConversionReport) -> str:
    facts = "\n".join(f"- {line}" for line in str(report).splitlines())
    return (
        f"# {report.source}\n\nA diffusion prior, converted from a guided-diffusion checkpoint. "
        "The licence and the intended use are those of the checkpoint.\n\n"
        f"{facts}\n\nThe output of the network was not compared with that of the original code. "
        "If denoising is poor, try the other qkv order and head width.\n"
    )
