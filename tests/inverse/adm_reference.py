"""The U-Net of guided-diffusion, written anew from its description, to check conversions against.

Dhariwal and Nichol 2021 (arXiv:2105.05233, section 3): residual blocks with group normalisation,
attention with heads, the noise level by scale and shift or by addition. Only the names of the
weights and their order in a checkpoint are those of the published files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

__all__ = ["Adm", "AdmOptions", "random_adm"]


@dataclass(frozen=True, slots=True)
class AdmOptions:
    """The switches of guided-diffusion that shape a network."""

    in_channels: int = 1
    out_channels: int = 2
    width: int = 32
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    n_blocks: int = 1
    attention_at: tuple[int, ...] = (16,)
    """Downsampling factors with attention; guided-diffusion's own option, image size over it."""
    head_channels: int = 64
    qkv: Literal["legacy", "new"] = "legacy"
    scale_shift: bool = True
    resampling: Literal["resnet", "conv", "pool"] = "resnet"


def embedding(t: torch.Tensor, width: int) -> torch.Tensor:
    """[cos(t w_k), sin(t w_k)], w_k = 10000^(-k / (width / 2))."""
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
    angles = t.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def halved(x: torch.Tensor) -> torch.Tensor:
    """Average 2 x 2 pixels."""
    return (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4


def doubled(x: torch.Tensor) -> torch.Tensor:
    """Repeat every pixel 2 x 2 times."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Halve(nn.Module):
    """Half the resolution, by averaging or by a strided convolution."""

    def __init__(self, channels: int, *, learned: bool) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1) if learned else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return halved(x) if self.op is None else self.op(x)


class Double(nn.Module):
    """Twice the resolution, with or without a convolution after it."""

    def __init__(self, channels: int, *, learned: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if learned else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return doubled(x) if self.conv is None else self.conv(doubled(x))


class Residual(nn.Module):
    """x + conv(norm(conv(norm(x)), noise level)), resampled after the first norm if asked for."""

    def __init__(self, n_in: int, n_out: int, o: AdmOptions, resample: str = "") -> None:
        super().__init__()
        self.resample = {"": nn.Identity(), "down": halved, "up": doubled}[resample]
        self.scale_shift = o.scale_shift
        n_embedding = n_out * (2 if o.scale_shift else 1)
        self.in_layers = nn.Sequential(
            nn.GroupNorm(32, n_in), nn.SiLU(), nn.Conv2d(n_in, n_out, 3, padding=1)
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * o.width, n_embedding))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, n_out), nn.SiLU(), nn.Dropout(0), nn.Conv2d(n_out, n_out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        norm, activation, first = self.in_layers
        h = first(self.resample(activation(norm(x))))
        noise = self.emb_layers(level)[:, :, None, None]
        norm, activation, _, second = self.out_layers
        if self.scale_shift:
            scale, shift = noise.tensor_split(2, dim=1)
            h = norm(h) * (1 + scale) + shift
        else:
            h = norm(h + noise)
        return self.skip_connection(self.resample(x)) + second(activation(h))


class SelfAttention(nn.Module):
    """x + projection of softmax(q^T k / sqrt(d)) v, heads of d channels."""

    def __init__(self, channels: int, o: AdmOptions) -> None:
        super().__init__()
        self.d, self.order = o.head_channels, o.qkv
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, height, width = x.shape
        rows = self.qkv(self.norm(x).reshape(n, c, -1))
        if self.order == "legacy":
            q, k, v = rows.reshape(n, c // self.d, 3, self.d, -1).unbind(2)
        else:
            q, k, v = rows.reshape(n, 3, c // self.d, self.d, -1).unbind(1)
        weight = torch.softmax(q.transpose(-1, -2) @ k / math.sqrt(self.d), dim=-1)
        attended = (v @ weight.transpose(-1, -2)).reshape(n, c, -1)
        return x + self.proj_out(attended).reshape(n, c, height, width)


class Stage(nn.Sequential):
    """Layers in a row; those that know of noise are told its level."""

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        for layer in self:
            x = layer(x, level) if isinstance(layer, Residual) else layer(x)
        return x


class Adm(nn.Module):
    """The network: ``Adm(options)(x, t)`` with x (n, in, y, x) and t (n,)."""

    def __init__(self, o: AdmOptions) -> None:
        super().__init__()
        self.width = o.width
        self.time_embed = nn.Sequential(
            nn.Linear(o.width, 4 * o.width), nn.SiLU(), nn.Linear(4 * o.width, 4 * o.width)
        )
        widths = [o.width * m for m in o.multipliers]
        last = len(widths) - 1
        c = widths[0]
        skips = [c]
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(o.in_channels, c, 3, padding=1))])
        for depth, wide in enumerate(widths):
            for _ in range(o.n_blocks):
                self.input_blocks.append(self._stage(c, wide, 2**depth, o))
                c = wide
                skips.append(c)
            if depth < last:
                self.input_blocks.append(Stage(self._resampler(c, o, "down")))
                skips.append(c)
        self.middle_block = Stage(Residual(c, c, o), SelfAttention(c, o), Residual(c, c, o))
        self.output_blocks = nn.ModuleList()
        for depth in range(last, -1, -1):
            for block in range(o.n_blocks + 1):
                stage = self._stage(c + skips.pop(), widths[depth], 2**depth, o)
                c = widths[depth]
                if depth and block == o.n_blocks:
                    stage.append(self._resampler(c, o, "up"))
                self.output_blocks.append(stage)
        self.out = nn.Sequential(
            nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, o.out_channels, 3, padding=1)
        )

    @staticmethod
    def _stage(n_in: int, n_out: int, factor: int, o: AdmOptions) -> Stage:
        attention = [SelfAttention(n_out, o)] if factor in o.attention_at else []
        return Stage(Residual(n_in, n_out, o), *attention)

    @staticmethod
    def _resampler(c: int, o: AdmOptions, way: str) -> nn.Module:
        if o.resampling == "resnet":
            return Residual(c, c, o, way)
        learned = o.resampling == "conv"
        return Halve(c, learned=learned) if way == "down" else Double(c, learned=learned)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        level = self.time_embed(embedding(t, self.width))
        h, skips = x, []
        for stage in self.input_blocks:
            h = stage(h, level)
            skips.append(h)
        h = self.middle_block(h, level)
        for stage in self.output_blocks:
            h = stage(torch.cat([h, skips.pop()], dim=1), level)
        return self.out(h)


def random_adm(options: AdmOptions, seed: int = 0) -> Adm:
    """Return the network with random weights everywhere: none is left at the zero of a fresh one.

    Biases and normalisations are random too, so that swapping any two of them shows.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Adm(options).eval()
        for name, parameter in network.named_parameters():
            gain = 1.0 if parameter.ndim < 2 else 0.0
            parameter.data += 0.2 * torch.randn_like(parameter) * gain
            if name.endswith("qkv.weight"):
                parameter.data *= 2.0  # attention that is far from uniform
    return network
