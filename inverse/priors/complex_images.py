"""Complex images under a prior: real ones after turning the smooth phase away, or as they are."""

from __future__ import annotations

import torch

from inverse.errors import UsageError
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

    A prior of real images (`n_channels` 1): the image times conj(phase) is nearly real; its real
    part looks like the images that the prior knows, its imaginary part like a faint one. Both pass
    through the prior as two images, so that phase which the smooth estimate misses survives:

        x0 = phase (D(Re(conj(phase) x)) + i D(Im(conj(phase) x)))

    That is the posterior mean if the two parts are independent and each distributed like the
    prior's images. White noise stays white under the rotation.

    A prior of complex images (`n_channels` 2): real and imaginary part go through it together and
    as they are. Such a network has learned the phases of its training images, and turning them
    away would show it images that it does not know.

    Differentiable in `image`.

    Parameters
    ----------
    prior : Prior
    image : Tensor, (*batch, y, x), complex or real
        Real images go straight to a prior of real images.
    sigma : float
        Standard deviation of the real and of the imaginary part of the noise.
    phase : Tensor, complex
        From `smooth_phase`, of the shape of the image or one that broadcasts to it; used for
        complex images and a prior of real ones.

    Returns
    -------
    Tensor, as image

    Raises
    ------
    UsageError
        If the image is real and the prior is of complex images.
    """
    together = prior.n_channels == 2
    if not image.is_complex():
        if together:
            raise UsageError(
                f"the prior '{prior.name}' is of complex images (2 channels) and the image is "
                "real; choose a prior of real images"
            )
        return prior.denoise(image, sigma)
    turned = image if together else image * phase.conj()
    parts = torch.view_as_real(turned.resolve_conj()).movedim(-1, -3 if together else 0)
    clean = prior.denoise(parts.contiguous(), sigma)
    real, imaginary = clean.unbind(-3 if together else 0)
    joined = torch.complex(real, imaginary)
    return joined if together else joined * phase
