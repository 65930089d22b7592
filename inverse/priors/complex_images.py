"""Real priors on complex images: turn the smooth phase away, then two real channels."""

from __future__ import annotations

import torch

from inverse.priors.base import Prior
from operators.fourier import fft_centred, ifft_centred

__all__ = ["denoise_complex", "smooth_phase"]


def smooth_phase(image: torch.Tensor, width: int = 24) -> torch.Tensor:
    """Compute the unit phasor of the image's low spatial frequencies.

    Parameters
    ----------
    image : Tensor, (*batch, y, x), complex
    width : int
        Full width, in k-space samples, of the Hann window that keeps the low frequencies; about
        the width of a calibration region.

    Returns
    -------
    Tensor, as image, complex
        exp(i phase), one where the filtered image vanishes.
    """
    spectrum = fft_centred(image, (-2, -1))
    for dim in (-2, -1):
        n = spectrum.shape[dim]
        offset = torch.arange(n, device=image.device) - n // 2
        window = torch.cos(torch.pi * offset / width).square() * (offset.abs() < width / 2)
        shape = [1] * spectrum.ndim
        shape[dim] = n
        spectrum = spectrum * window.to(image.real.dtype).reshape(shape)
    phasor = torch.sgn(ifft_centred(spectrum, (-2, -1)))
    return torch.where(phasor == 0, torch.ones_like(phasor), phasor)


def denoise_complex(
    prior: Prior, image: torch.Tensor, sigma: float, phase: torch.Tensor
) -> torch.Tensor:
    """E[x0 | x] of a complex image whose real and imaginary parts carry noise sigma each.

    The image times conj(phase) is nearly real: its real part looks like the images that the prior
    knows, its imaginary part like a faint one. Both pass through the prior, so that phase which
    the smooth estimate misses survives.

    Parameters
    ----------
    prior : Prior
    image : Tensor, (*batch, y, x), complex or real
        Real images go straight to the prior.
    sigma : float
        Standard deviation of the real and of the imaginary part of the noise.
    phase : Tensor, as image
        From `smooth_phase`; not used for real images.

    Returns
    -------
    Tensor, as image
    """
    if not image.is_complex():
        return prior.denoise(image, sigma)
    turned = torch.view_as_real(image * phase.conj()).movedim(-1, 0)
    clean = prior.denoise(turned.contiguous(), sigma)
    return torch.complex(clean[0], clean[1]) * phase
