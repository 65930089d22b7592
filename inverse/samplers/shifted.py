"""Denoise a randomly shifted image, so that no grid of the prior shows."""

from __future__ import annotations

import torch

from inverse.priors import Prior, denoise_complex

__all__ = ["shifted_denoise"]

_LARGEST_SHIFT = 64


def shifted_denoise(
    prior: Prior,
    x: torch.Tensor,
    sigma: float,
    phase: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:
    """E[x0 | x] with the image rolled by a random offset before and back after.

    Parameters
    ----------
    prior : Prior
    x : Tensor, (*batch, y, x)
    sigma : float
        Noise level in image units.
    phase : Tensor, as x
        From `inverse.priors.smooth_phase`.
    generator : torch.Generator
        On the CPU, whatever the device of x: results do not depend on where they are computed.

    Returns
    -------
    Tensor, as x
    """
    offset = torch.randint(0, _LARGEST_SHIFT, (2,), generator=generator).tolist()
    back = [-n for n in offset]
    rolled, turned = (torch.roll(image, offset, (-2, -1)) for image in (x, phase))
    return torch.roll(denoise_complex(prior, rolled, sigma, turned), back, (-2, -1))
