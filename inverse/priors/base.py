"""What a prior is: a denoiser at any noise level, for every sampler and every operator."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import reading

__all__ = ["AUTO", "BUILT_IN", "EMBEDDED", "Prior", "is_installed", "load_prior", "weights_of"]

EMBEDDED = "natural"
"""The prior that is used when nobody names one."""

AUTO = "auto"
"""Names the prior that suits the data; `inverse.reconstruct` finds it."""

_WEIGHTS = Path(__file__).parent / "weights"
_NETWORKS = ("brain", "ct")  # folders in `_WEIGHTS`
BUILT_IN = (EMBEDDED, *_NETWORKS)
"""The names that are no files."""

_PICKLED = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".bin"})
_PICKLED_STARTS = (b"PK\x03\x04", b"\x80")  # of torch.save today and before, of pickle


@runtime_checkable
class Prior(Protocol):
    """A distribution of images, known through its minimum mean-square-error denoiser.

    One way to say a noise level: `sigma`, the standard deviation of white Gaussian noise in image
    units (variance-exploding scale). Images have a peak of about one. A prior with another
    parametrisation (eps, v, x0, score, flow) converts inside.
    """

    @property
    def name(self) -> str:
        """What to call it in a report."""

    @property
    def n_channels(self) -> int:
        """Return 1 for a prior of real images, 2 for (real, imaginary) of a complex one."""

    @property
    def max_shift(self) -> int:
        """How far samplers roll the image at random before a call, and back after; 0 = never.

        A prior made of patches has a grid; under offsets of 0 to max_shift - 1 along y and x it
        does not show.
        """

    @property
    def largest_sigma(self) -> float:
        """Noise level above which the denoiser is not to be trusted; samplers clip to it."""

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x0 + sigma n = x], differentiable in x.

        Real images of shape (*batch, y, x), or (*batch, 2, y, x) where `n_channels` is 2.
        """

    def to(self, device: torch.device | str) -> Prior:
        """Return the prior on another device."""


def is_installed(name: str) -> bool:
    """Return whether a prior of `BUILT_IN` has its weights here."""
    return weights_of(name).exists()


def weights_of(name: str) -> Path:
    """Return the file or folder of a prior of `BUILT_IN`, whether it is there or not."""
    return _WEIGHTS / (f"{name}.safetensors" if name == EMBEDDED else name)


def load_prior(prior: str | Path | Prior | None) -> Prior:
    """Return the prior that a person named.

    The networks inside the package compute in bfloat16 where the processor has instructions for
    it, which costs less than 0.005 dB and half the time; `UNetPrior.load` decides it for others.

    Parameters
    ----------
    prior : None, "natural", "brain", "ct", path or Prior
        None and "natural" are the mixture of low-rank Gaussians inside the package, "brain" and
        "ct" the networks. A path is a ``.safetensors`` file as `inverse.priors.PatchPrior.save`
        writes it, or a diffusers folder as `inverse.priors.UNetPrior.load` reads it. A prior is
        returned as it is.

    Raises
    ------
    UsageError
        If there is no such prior, or the object has no denoiser.
    DataError
        If the file or folder is not a prior.

    Examples
    --------
    >>> load_prior("natural").n_channels
    1
    """
    from inverse.priors.molrg import PatchPrior
    from inverse.priors.unet import UNetPrior, bfloat16_is_fast

    if prior is None or prior == EMBEDDED:
        return PatchPrior.load(weights_of(EMBEDDED))
    if not isinstance(prior, str | Path):
        return _checked(prior)
    if prior in _NETWORKS:
        if not is_installed(str(prior)):
            raise UsageError(
                f"the prior '{prior}' is not part of this installation; train one with "
                f"`inverse prior train`, or use '{EMBEDDED}'"
            )
        return UNetPrior.load(weights_of(str(prior)), autocast=bfloat16_is_fast())
    path = Path(prior)
    if path.is_dir():
        return UNetPrior.load(path)
    if not path.is_file():
        names = ", ".join(f"'{name}'" for name in BUILT_IN)
        raise UsageError(f"there is no prior '{path.name}': expected {names}, a file or a folder")
    if _is_pickled(path):
        raise DataError(
            f"{path}: expected a .safetensors file or a diffusers folder, got a pickled "
            f"checkpoint; a pickle may run code when it is read. `inverse prior convert` makes a "
            f"folder of one of guided-diffusion; wrap any other network in "
            f"inverse.priors.CallablePrior"
        )
    return PatchPrior.load(path)


def _is_pickled(path: Path) -> bool:
    """Whether a file is a pickle by its name or, whatever its name, by its first bytes."""
    if path.suffix.lower() in _PICKLED:
        return True
    with reading(path, "prior"), path.open("rb") as file:
        return file.read(4).startswith(_PICKLED_STARTS)


def _checked(prior: object) -> Prior:
    """Return an object that is a prior, or say what it lacks."""
    if isinstance(prior, Prior):
        return prior
    wanted = ("name", "n_channels", "max_shift", "largest_sigma", "denoise", "to")
    missing = [name for name in wanted if not hasattr(prior, name)]
    raise UsageError(
        f"prior: {type(prior).__name__} has no {', '.join(missing)}; a function of an image and a "
        f"noise level becomes a prior as inverse.priors.CallablePrior(function)"
    )
