"""A prior from any denoiser that can be called."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from inverse.errors import UsageError

__all__ = ["CallablePrior"]


@dataclass(frozen=True, slots=True, eq=False)
class CallablePrior:
    """A function D(x, sigma) = E[x0 | x0 + sigma n = x] with what samplers need to know about it.

    Parameters
    ----------
    function : callable
        Takes images (*batch, y, x), with two channels (*batch, 2, y, x), and the standard
        deviation of their noise in image units; returns an image of the same shape. It gets
        tensors on the device of the problem and moves its own weights there.
    name : str
        What the report calls it.
    n_channels : int
        1 for real images, 2 for the real and the imaginary part of complex ones together.
    max_shift : int
        See `inverse.priors.Prior`.
    largest_sigma : float
        Noise level above which the function is not to be trusted.

    Raises
    ------
    UsageError
        If an argument is out of range; from `denoise`, if the function returns no tensor or
        changes the shape.

    Examples
    --------
    >>> wiener = CallablePrior(lambda x, sigma: x / (1 + sigma**2), name="white")
    >>> wiener.denoise(torch.ones(2, 2), 1.0)
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """

    function: Callable[[torch.Tensor, float], torch.Tensor]
    name: str = "callable"
    n_channels: int = 1
    max_shift: int = 0
    largest_sigma: float = math.inf

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise UsageError(
                f"CallablePrior expected a function of an image and a noise level, got "
                f"{type(self.function).__name__}"
            )
        if self.n_channels not in (1, 2):
            raise UsageError(f"n_channels expected 1 or 2, got {self.n_channels}")
        if self.max_shift < 0 or not self.largest_sigma > 0:
            raise UsageError(
                f"expected max_shift >= 0 and largest_sigma > 0, got {self.max_shift} and "
                f"{self.largest_sigma}"
            )

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x], as the function gives it.

        Parameters
        ----------
        x : Tensor, (*batch, y, x) or (*batch, 2, y, x)
        sigma : float

        Returns
        -------
        Tensor, as x
        """
        clean: object = self.function(x, sigma)
        if not isinstance(clean, torch.Tensor):
            raise UsageError(
                f"the denoiser '{self.name}' expected to return a torch.Tensor, got "
                f"{type(clean).__name__}; of an array, torch.from_numpy(array).to(x) makes one"
            )
        if clean.shape != x.shape:
            raise UsageError(
                f"the denoiser '{self.name}' expected to return shape {tuple(x.shape)}, "
                f"got {tuple(clean.shape)}"
            )
        return clean

    def to(self, device: torch.device | str) -> CallablePrior:  # noqa: ARG002 - of the protocol
        """Return the prior itself: the function follows its argument."""
        return self
