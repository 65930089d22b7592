"""The reverse diffusion of a prior: from noise of one level to a lower one, or to an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

__all__ = ["IMAGE_WIDTH", "ReverseStep", "inner_levels", "reverse_diffusion"]

IMAGE_WIDTH = 0.25
"""Standard deviation of images whose peak is one; the networks' sigma_data is near it."""

_LAST = 0.2
_EXPONENT = 2.0


@dataclass(slots=True, eq=False)
class ReverseStep:
    """One step of the reverse diffusion from sigma to sigma' < sigma, second order in its length.

    With D = E[x0 | x], D_- that of the step before, h = ln(sigma / sigma'), h_- likewise:
        Dbar = D + (h / 2 h_-) (D - D_-),      q = (sigma' / sigma)^2
        stochastic:        x' = q x + (1 - q) Dbar + sigma' sqrt(1 - q) n
        probability flow:  x' = sqrt(q) x + (1 - sqrt(q)) Dbar
    The first step has no D_- and takes Dbar = D, which is the ancestral step of DDPM. Continued
    in small steps from x at sigma to 0, the stochastic form draws from p(x0 | x); the flow maps x
    to one image.

    Parameters
    ----------
    stochastic : bool
    second_order : bool
        Off: Dbar = D always.

    References
    ----------
    Lu et al. 2022, arXiv 2211.01095 (SDE-DPM-Solver++(2M) and DPM-Solver++(2M), in the
    variance-exploding form); Ho et al. 2020, arXiv 2006.11239, eq. 7 (ancestral step)

    Examples
    --------
    A prior that is certain of x0 = 1: whatever the step, x - 1 shrinks with the noise.

    >>> step = ReverseStep(stochastic=False)
    >>> step(torch.tensor([3.0]), torch.tensor([1.0]), 1.0, 0.5).item()
    2.0
    """

    stochastic: bool = True
    second_order: bool = True
    _before: tuple[torch.Tensor, float] | None = field(init=False, default=None)

    def __call__(
        self,
        x: torch.Tensor,
        clean: torch.Tensor,
        sigma: float,
        following: float,
        noise: Callable[[], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return x at noise level `following`; at 0 this is `clean`.

        Parameters
        ----------
        x : Tensor
        clean : Tensor, as x
            D; with guidance by data, E[x0 | x, y].
        sigma, following : float
        noise : function, optional
            Draws n, for the stochastic form.
        """
        if following == 0:
            return clean
        ratio = following / sigma
        length = -math.log(ratio)
        target = clean
        if self.second_order and self._before is not None:
            earlier, before = self._before
            target = clean + (length / (2 * before)) * (clean - earlier)
        self._before = (clean, length)
        kept = ratio**2 if self.stochastic else ratio
        moved = kept * x + (1 - kept) * target
        if self.stochastic and noise is not None:
            moved = moved + following * math.sqrt(1 - kept) * noise()
        return moved


def inner_levels(sigma: float, steps: int) -> list[float]:
    """Noise levels of a short reverse diffusion from sigma, before the last step to 0.

    sigma_i = (sigma^(1/p) + i / (n - 1) (sigma_last^(1/p) - sigma^(1/p)))^p, with p = 2 and
    sigma_last = sigma / 5: of the exponents and ends tried for a Gaussian prior at least as wide
    as sigma these draw its conditional p(x0 | x) best with 4 to 8 second-order steps (the standard
    deviation to 1 %).

    Parameters
    ----------
    sigma : float
    steps : int
        Calls of the prior.

    References
    ----------
    Karras et al. 2022, arXiv 2206.00364, eq. 5 (there with p = 7, for a whole image from noise)

    Examples
    --------
    >>> [round(s, 2) for s in inner_levels(1.0, 3)]
    [1.0, 0.52, 0.2]
    """
    if steps == 1:
        return [sigma]
    first, last = sigma ** (1 / _EXPONENT), (_LAST * sigma) ** (1 / _EXPONENT)
    return [(first + i / (steps - 1) * (last - first)) ** _EXPONENT for i in range(steps)]


def reverse_diffusion(
    denoise: Callable[[torch.Tensor, float], torch.Tensor],
    x: torch.Tensor,
    levels: list[float],
    noise: Callable[[], torch.Tensor] | None,
) -> torch.Tensor:
    """Run the reverse diffusion from x at levels[0] to 0.

    Parameters
    ----------
    denoise : function
        D(x, sigma).
    x : Tensor
    levels : list of float
        Falling; the prior is called once at each.
    noise : function or None
        Draws white noise like x: the result is then a draw from p(x0 | x). Without, the result
        is that of the probability flow.
    """
    step = ReverseStep(stochastic=noise is not None)
    for sigma, following in zip(levels, [*levels[1:], 0.0], strict=True):
        x = step(x, denoise(x, sigma), sigma, following, noise)
    return x
