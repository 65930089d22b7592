"""Priors: distributions of images, each known through a denoiser at any noise level."""

from inverse.priors.base import Prior, load_prior
from inverse.priors.callable_prior import CallablePrior
from inverse.priors.complex_images import denoise_complex, smooth_phase
from inverse.priors.mixture import LowRankMixture
from inverse.priors.molrg import PatchPrior
from inverse.priors.unet import UNetPrior

__all__ = [
    "CallablePrior",
    "LowRankMixture",
    "PatchPrior",
    "Prior",
    "UNetPrior",
    "denoise_complex",
    "load_prior",
    "smooth_phase",
]
