"""What a prior is: a denoiser at any noise level, for every sampler and every operator."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from inverse.errors import UsageError

__all__ = ["Prior", "load_prior"]

EMBEDDED = "natural"


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

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x0 + sigma n = x] for real images x of shape (*batch, y, x)."""

    def to(self, device: torch.device | str) -> Prior:
        """Return the prior on another device."""


def load_prior(prior: str | Path | Prior | None) -> Prior:
    """Return the prior that a person named.

    Parameters
    ----------
    prior : None, "natural", path or Prior
        None and "natural" are the mixture of low-rank Gaussians inside the package; a path is a
        ``.safetensors`` file as `inverse.priors.PatchPrior.save` writes it; a prior is returned as
        it is.

    Raises
    ------
    UsageError
        If there is no such prior.
    DataError
        If the file is not a prior.
    """
    from inverse.priors.molrg import PatchPrior

    if isinstance(prior, Prior) and not isinstance(prior, str | Path):
        return prior
    if prior is None or prior == EMBEDDED:
        return PatchPrior.load(Path(__file__).parent / "weights" / f"{EMBEDDED}.safetensors")
    path = Path(prior)
    if not path.is_file():
        raise UsageError(f"there is no prior '{path.name}': expected '{EMBEDDED}' or a file")
    return PatchPrior.load(path)
