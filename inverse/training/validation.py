"""How well a network denoises images that it was not trained on."""

from __future__ import annotations

from dataclasses import replace

import torch

from inverse.training.crops import draw_batch
from inverse.training.image_sets import ImageSet
from inverse.training.network import predict
from inverse.training.plan import TrainingPlan

__all__ = ["N_VALIDATION_CROPS", "VALIDATION_SIGMAS", "denoising_psnr"]

VALIDATION_SIGMAS = (0.02, 0.05, 0.1, 0.2)
"""Noise levels of the validation, in image units."""

N_VALIDATION_CROPS = 32


def denoising_psnr(
    network: torch.nn.Module, validation: ImageSet, plan: TrainingPlan, device: torch.device
) -> dict[str, float]:
    """Denoise fixed crops of the validation images at fixed noise levels.

    Parameters
    ----------
    network : Module
        Of `build_network`.
    validation : ImageSet
    plan : TrainingPlan
        The crops are drawn with its patch size.
    device : device
        Where the network is.

    Returns
    -------
    dict of str to float
        ``psnr_0.05`` and so on, in dB for a peak of one.

    Raises
    ------
    DataError
        If no validation image is as large as a crop.
    """
    fixed = replace(plan, batch=N_VALIDATION_CROPS, seed=1, gain=0.0)
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
