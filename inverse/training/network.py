"""The network of a plan, and its output as a denoised image."""

from __future__ import annotations

from typing import cast

import torch

from inverse.training.plan import TrainingPlan

__all__ = ["build_network", "predict", "with_weights"]


def build_network(plan: TrainingPlan) -> torch.nn.Module:
    """Return the network of a plan, a diffusers UNet2DModel, with seeded random weights.

    A convolutional U-Net without attention, for images of any size. Its group normalisation still
    averages over the image, so that a crop and the slice around it are not treated quite alike.

    Parameters
    ----------
    plan : TrainingPlan
    """
    from diffusers import UNet2DModel

    n = len(plan.channels)
    with torch.random.fork_rng():
        torch.manual_seed(plan.seed)
        network = UNet2DModel(  # type: ignore[no-untyped-call]
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
    return cast("torch.nn.Module", network)  # diffusers is not typed


def with_weights(
    plan: TrainingPlan, weights: list[torch.Tensor], device: torch.device
) -> torch.nn.Module:
    """Return the network of a plan with given weights, in the order of its parameters."""
    network = build_network(plan).to(device)
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), weights, strict=True):
            parameter.copy_(value)
    return network


def predict(
    network: torch.nn.Module, noisy: torch.Tensor, sigma: torch.Tensor, sigma_data: float
) -> torch.Tensor:
    """Denoise with EDM preconditioning.

    D(x) = c_skip x + c_out F(c_in x; ln(sigma) / 4)

    with c_skip = sd^2 / (sigma^2 + sd^2), c_out = sigma sd / sqrt(sigma^2 + sd^2) and
    c_in = 1 / sqrt(sigma^2 + sd^2), where sd is `sigma_data`.

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

    References
    ----------
    Karras et al. 2022, arXiv 2206.00364, eq. 7 and table 1
    """
    total = (sigma**2 + sigma_data**2)[:, None, None, None]
    level = sigma[:, None, None, None]
    image = noisy[:, :1]
    inputs = torch.cat([image / total.sqrt(), noisy[:, 1:]], 1)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    residual: torch.Tensor = network(inputs, sigma.log() / 4).sample
    return sigma_data**2 / total * image + level * sigma_data / total.sqrt() * residual.float()
