"""The weights of an ADM U-Net under the names and in the shapes of a diffusers UNet2DModel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch

from inverse.errors import DataError
from inverse.priors.adm import AdmArchitecture, Resampling, Weights

__all__ = ["QkvOrder", "convert_weights"]

QkvOrder = Literal["legacy", "new"]

_MAX_NAMED = 6
_RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {
    "group_norm": "norm",
    "to_q": "qkv",
    "to_k": "qkv",
    "to_v": "qkv",
    "to_out.0": "proj_out",
}


def convert_weights(
    weights: Weights,
    architecture: AdmArchitecture,
    expected: Mapping[str, torch.Size],
    *,
    head_channels: int,
    qkv: QkvOrder,
) -> dict[str, torch.Tensor]:
    """Rename and reshape the weights for the UNet2DModel of `unet_config`.

    Parameters
    ----------
    weights : mapping of str to Tensor
        All weights of the ADM network.
    architecture : AdmArchitecture
    expected : mapping of str to Size
        Names and shapes of the UNet2DModel's weights.
    head_channels : int
        Width of an attention head.
    qkv : {"legacy", "new"}
        Order of the rows of an attention layer's joint projection: (head, qkv, channel) or (qkv,
        head, channel).

    Returns
    -------
    dict of str to Tensor
        One for each expected name, float32.

    Raises
    ------
    DataError
        If a weight is missing, has another shape, or has no place; each is named.
    """
    sources = dict(_modules(architecture))
    converted: dict[str, torch.Tensor] = {}
    used: set[str] = set()
    missing, misfits = [], []
    for name, shape in expected.items():
        module, _, kind = name.rpartition(".")
        source = f"{sources[module]}.{kind}"
        if sources[module] == "":
            converted[name] = _resampling_kernel(module, kind, shape)
        elif source not in weights:
            missing.append(source)
        else:
            used.add(source)
            weight = _part(weights[source], module, head_channels, qkv)
            converted[name] = weight
            if weight.shape != shape:
                misfits.append(f"{source} {tuple(weights[source].shape)}")
    _refuse("these weights are missing", missing)
    _refuse("these have another shape than the rest of the network asks for", misfits)
    _refuse("these are unknown in an ADM U-Net", sorted(weights.keys() - used))
    return converted


def _refuse(reason: str, names: list[str]) -> None:
    if names:
        rest = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
        raise DataError(f"{reason}: {', '.join(names[:_MAX_NAMED])}{rest}")


def _modules(architecture: AdmArchitecture) -> Iterator[tuple[str, str]]:
    """Yield (name in UNet2DModel, name in ADM) of every layer that may have weights.

    The second is empty for a resampling that ADM does without weights.
    """
    yield "conv_in", "input_blocks.0.0"
    yield "time_embedding.linear_1", "time_embed.0"
    yield "time_embedding.linear_2", "time_embed.2"
    yield from _layers("mid_block.resnets.0", "middle_block.0", _RESIDUAL)
    yield from _layers("mid_block.attentions.0", "middle_block.1", _ATTENTION)
    yield from _layers("mid_block.resnets.1", "middle_block.2", _RESIDUAL)
    yield "conv_norm_out", "out.0"
    yield "conv_out", "out.2"
    n_levels, stride = len(architecture.channels), architecture.n_blocks + 1
    for level in range(n_levels):
        up = n_levels - 1 - level
        for block in range(stride):
            if block < architecture.n_blocks:
                source = f"input_blocks.{1 + level * stride + block}"
                yield from _stage(f"down_blocks.{level}", block, source)
            yield from _stage(f"up_blocks.{up}", block, f"output_blocks.{up * stride + block}")
        if level + 1 < n_levels:
            yield from _resampler(
                f"down_blocks.{level}.downsamplers.0",
                f"input_blocks.{(level + 1) * stride}.0",
                architecture.resampling,
            )
        if level > 0:
            member = 2 if architecture.attention[level] else 1
            yield from _resampler(
                f"up_blocks.{up}.upsamplers.0",
                f"output_blocks.{up * stride + architecture.n_blocks}.{member}",
                architecture.resampling,
            )


def _stage(target: str, block: int, source: str) -> Iterator[tuple[str, str]]:
    yield from _layers(f"{target}.resnets.{block}", f"{source}.0", _RESIDUAL)
    yield from _layers(f"{target}.attentions.{block}", f"{source}.1", _ATTENTION)


def _layers(target: str, source: str, names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for theirs, ours in names.items():
        yield f"{target}.{theirs}", f"{source}.{ours}"


def _resampler(target: str, source: str, kind: Resampling) -> Iterator[tuple[str, str]]:
    if kind == "resnet":
        yield from _layers(target, source, _RESIDUAL)
    elif kind == "conv":
        yield f"{target}.conv", f"{source}.{'op' if 'down' in target else 'conv'}"
    else:
        yield f"{target}.conv", ""


def _part(weight: torch.Tensor, module: str, head_channels: int, qkv: QkvOrder) -> torch.Tensor:
    """Return the weight as UNet2DModel has it: float32, attention as matrices, q, k, v apart."""
    weight = weight.to(torch.float32)
    layer = module.rpartition(".")[2]
    if "attentions" in module and weight.ndim > 2:
        weight = weight.flatten(1)
    if layer not in ("to_q", "to_k", "to_v"):
        return weight.contiguous()
    which = ("to_q", "to_k", "to_v").index(layer)
    if len(weight) % (3 * head_channels):
        return weight
    if qkv == "legacy":
        rows = weight.unflatten(0, (-1, 3, head_channels))[:, which]
    else:
        rows = weight.unflatten(0, (3, -1, head_channels))[which]
    flat: torch.Tensor = rows.flatten(0, 1)
    return flat.contiguous()


def _resampling_kernel(module: str, kind: str, shape: torch.Size) -> torch.Tensor:
    """Return the 3 x 3 convolution that averages 2 x 2 pixels, or that changes nothing.

    Down: stride 2 and a border of one put pixel 2 i under the kernel's middle and 2 i + 1 beside
    it. Up: UNet2DModel repeats pixels first, as ADM does.
    """
    weight = torch.zeros(shape)
    if kind == "weight":
        diagonal = torch.arange(shape[0])
        if "downsamplers" in module:
            weight[diagonal, diagonal, 1:, 1:] = 0.25
        else:
            weight[diagonal, diagonal, 1, 1] = 1.0
    return weight
