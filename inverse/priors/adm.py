"""The U-Net of guided-diffusion ("ADM"): its architecture, read from names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from inverse.errors import DataError, UsageError

__all__ = ["AdmArchitecture", "Resampling", "Weights", "read_architecture", "unet_config"]

Resampling = Literal["resnet", "conv", "pool"]
Weights = Mapping[str, torch.Tensor]

_GROUPS = 32
_IMAGE_CHANNELS = (1, 2)


@dataclass(frozen=True, slots=True)
class AdmArchitecture:
    """What the names and shapes of an ADM network's weights say about it.

    Parameters
    ----------
    in_channels, out_channels : int
        Of the image; out is twice in where the network also learns the variance.
    channels : tuple of int
        Width of each level, finest first.
    n_blocks : int
        Residual blocks a level on the way down.
    attention : tuple of bool
        Whether the residual blocks of each level are followed by attention. The middle always is.
    resampling : {"resnet", "conv", "pool"}
        What changes the resolution: a residual block, a convolution, or averaging of 2 x 2 pixels
        on the way down and repeating on the way up.
    scale_shift : bool
        Whether the noise level scales and shifts the second normalisation, or is added before it.
    time_channels : int
        Width of the embedding of the noise level.

    References
    ----------
    Dhariwal and Nichol 2021, arXiv:2105.05233, section 3
    """

    in_channels: int
    out_channels: int
    channels: tuple[int, ...]
    n_blocks: int
    attention: tuple[bool, ...]
    resampling: Resampling
    scale_shift: bool
    time_channels: int

    @property
    def learns_variance(self) -> bool:
        """Whether the second half of the output channels is the variance of the reverse step."""
        return self.out_channels == 2 * self.in_channels

    @property
    def attention_channels(self) -> tuple[int, ...]:
        """Widths at which there is attention, the middle included."""
        pairs = zip(self.channels, self.attention, strict=True)
        return tuple(sorted({c for c, attends in pairs if attends} | {self.channels[-1]}))


def read_architecture(weights: Weights) -> AdmArchitecture:
    """Derive the architecture from the names and shapes of the weights.

    With L levels and R residual blocks each, both ways hold L (R + 1) blocks; the levels are
    counted by what changes the resolution between them.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Under the names of guided-diffusion: ``input_blocks.0.0.weight`` and so on.

    Returns
    -------
    AdmArchitecture

    Raises
    ------
    DataError
        If they are not those of an unconditional ADM U-Net, or of one that UNet2DModel can hold.
    """
    if "label_emb.weight" in weights:
        raise DataError(
            "expected an unconditional network, got one that is told the class of the image "
            "(label_emb.weight)"
        )
    n_stages = _n_output_blocks(weights)
    resampling, n_levels = _resampling(weights, n_stages)
    if n_stages % n_levels or n_stages // n_levels < 2:
        raise DataError(
            f"expected {n_levels} levels of equally many residual blocks, "
            f"got {n_stages} output blocks in all"
        )
    stride = n_stages // n_levels
    first = [f"input_blocks.{1 + level * stride}" for level in range(n_levels)]
    channels = tuple(_size(weights, f"{name}.0.out_layers.3.weight") for name in first)
    architecture = AdmArchitecture(
        in_channels=_size(weights, "input_blocks.0.0.weight", 1),
        out_channels=_size(weights, "out.2.weight"),
        channels=channels,
        n_blocks=stride - 1,
        attention=tuple(f"{name}.1.qkv.weight" in weights for name in first),
        resampling=resampling,
        scale_shift=_size(weights, f"{first[0]}.0.emb_layers.1.weight") == 2 * channels[0],
        time_channels=_size(weights, "time_embed.0.weight"),
    )
    _check_supported(architecture, _size(weights, "time_embed.0.weight", 1))
    return architecture


def unet_config(
    architecture: AdmArchitecture, head_channels: int, image_size: int | None
) -> dict[str, object]:
    """Return the arguments of the UNet2DModel that computes the same function.

    Parameters
    ----------
    architecture : AdmArchitecture
    head_channels : int
        Width of an attention head.
    image_size : int or None
        Only noted in the result; the network takes any multiple of its coarsest pixel.

    Raises
    ------
    UsageError
        If heads of that width do not fill the attention layers.
    """
    widths = architecture.attention_channels
    if any(width % head_channels for width in widths):
        raise UsageError(
            f"head_channels expected a divisor of {', '.join(map(str, widths))}, the widths at "
            f"which the network has attention, got {head_channels}"
        )
    by_resnet = architecture.resampling == "resnet"
    plain_down, plain_up = (
        ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        if by_resnet
        else ("DownBlock2D", "UpBlock2D")
    )
    down = ["AttnDownBlock2D" if attends else plain_down for attends in architecture.attention]
    up = ["AttnUpBlock2D" if attends else plain_up for attends in architecture.attention]
    return {
        "sample_size": image_size,
        "in_channels": architecture.in_channels,
        "out_channels": architecture.out_channels,
        "time_embedding_dim": architecture.time_channels,
        "freq_shift": 0,
        "flip_sin_to_cos": True,
        "down_block_types": tuple(down),
        "up_block_types": tuple(reversed(up)),
        "block_out_channels": architecture.channels,
        "layers_per_block": architecture.n_blocks,
        "downsample_type": "resnet" if by_resnet else "conv",
        "upsample_type": "resnet" if by_resnet else "conv",
        "attention_head_dim": head_channels,
        "norm_num_groups": _GROUPS,
        # Without it UNet2DModel leaves the normalisation before the middle attention out.
        "attn_norm_num_groups": _GROUPS,
        "norm_eps": 1e-5,
        "resnet_time_scale_shift": "scale_shift" if architecture.scale_shift else "default",
    }


def _size(weights: Weights, name: str, dim: int = 0) -> int:
    if name not in weights:
        raise DataError(f"expected the weights of an ADM U-Net, but {name} is missing")
    shape = weights[name].shape
    if len(shape) < 2:
        raise DataError(f"{name} expected at least 2 axes, got shape {tuple(shape)}")
    return shape[dim]


def _block_numbers(weights: Weights, side: str) -> set[int]:
    matches = (re.match(rf"{side}\.(\d{{1,4}})\.", name) for name in weights)
    return {int(match[1]) for match in matches if match}


def _n_output_blocks(weights: Weights) -> int:
    """Count the blocks of the way up, which are as many as those of the way down."""
    numbers = _block_numbers(weights, "output_blocks")
    if not numbers:
        raise DataError(
            "expected a U-Net, got a network without output_blocks, such as a classifier"
        )
    n_input = 1 + max(_block_numbers(weights, "input_blocks"), default=-1)
    if max(numbers) + 1 != len(numbers) or n_input != len(numbers):
        raise DataError(
            f"expected as many input as output blocks, numbered from 0, got input blocks up to "
            f"{n_input - 1} and {len(numbers)} output blocks up to {max(numbers)}"
        )
    return len(numbers)


def _resampling(weights: Weights, n_stages: int) -> tuple[Resampling, int]:
    """Return what changes the resolution, and the number of levels."""
    # In an output block, member 0 is residual, 1 may be attention, and the last one resamples.
    members = r"output_blocks\.\d+\.[12]\."
    by_resnet = [n for n in weights if re.fullmatch(members + r"in_layers\.2\.weight", n)]
    by_conv = [n for n in weights if re.fullmatch(members + r"conv\.weight", n)]
    if by_resnet:
        return "resnet", 1 + len(by_resnet)
    if by_conv:
        return "conv", 1 + len(by_conv)
    # Averaging has no weights: its blocks are gaps in the numbers of the way down.
    n_gaps = n_stages - len(_block_numbers(weights, "input_blocks"))
    return "pool", 1 + n_gaps


def _check_supported(architecture: AdmArchitecture, n_frequencies: int) -> None:
    """Refuse what a UNet2DModel cannot compute."""
    n_in, n_out = architecture.in_channels, architecture.out_channels
    if n_out not in (n_in, 2 * n_in) or n_in not in _IMAGE_CHANNELS:
        raise DataError(
            "expected a network of 1 image channel, or 2 for complex images, and as many or twice "
            f"as many output channels, got {n_in} and {n_out}"
        )
    if n_frequencies != architecture.channels[0]:
        raise DataError(
            f"expected a finest level as wide as the time embedding, {n_frequencies}, "
            f"got {architecture.channels[0]}: UNet2DModel has no such network"
        )
    if any(width % _GROUPS for width in architecture.channels):
        raise DataError(
            f"expected widths that are multiples of {_GROUPS}, the number of groups of every "
            f"normalisation, got {architecture.channels}"
        )
