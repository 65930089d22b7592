"""Everything that decides what a training run computes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from inverse.errors import UsageError

__all__ = ["TrainingPlan"]

_RANGES = {
    "learning_rate": (1e-12, 1e3),
    "warmup": (0, 2**62),
    "cooldown": (0, 1),
    "ema": (0, 1 - 1e-12),
    "log_sigma_mean": (-20, 20),
    "log_sigma_std": (1e-3, 20),
    "sigma_data": (1e-12, 1e12),
    "gain": (0, 20),
    "seed": (0, 2**62),
}
_STDS_OF_99_PERCENT = 2.576


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Architecture, data and schedule of one training run.

    Parameters
    ----------
    channels : tuple of int
        Of each resolution, fine to coarse; each next one has half the pixels along an edge.
    layers : int
        Residual blocks a resolution.
    patch : int
        Edge of the training crops in pixels, a multiple of 2^(len(channels) - 1).
    position : bool
        Whether the network is told where a crop lies: two more input channels with y and x from
        -1 to 1 over the image (Hu et al. 2024, arXiv 2406.02462). Use it when all images show the
        same anatomy in the same place.
    batch : int
        Crops a step.
    steps : int
        Steps in all.
    learning_rate : float
        Of AdamW; constant after `warmup` steps, falling linearly to zero over the last
        `cooldown` share of the steps, so that a longer run continues a shorter one.
    ema : float
        Decay of the exponential moving average of the weights, which is what is kept.
    log_sigma_mean, log_sigma_std : float
        Noise levels are log-normal: ln sigma ~ N(mean, std^2) in image units.
    sigma_data : float
        Root mean square of the images, for the preconditioning.
    gain : float
        Images are multiplied by exp(gain * u), u uniform in [-1, 1].
    seed : int
        Of weights, crops and noise.

    Raises
    ------
    UsageError
        If a value is out of range or the patch does not fit the resolutions.

    References
    ----------
    Karras et al. 2022, arXiv 2206.00364, table 1 (EDM preconditioning and loss).

    Examples
    --------
    >>> plan = TrainingPlan(steps=1000, warmup=100, cooldown=0.5, learning_rate=1e-3)
    >>> plan.rate(0), plan.rate(499), round(plan.rate(749), 6)
    (1e-05, 0.001, 0.000502)
    """

    channels: tuple[int, ...] = (32, 64, 96, 128)
    layers: int = 1
    patch: int = 64
    position: bool = False
    batch: int = 16
    steps: int = 10_000
    learning_rate: float = 1e-3
    warmup: int = 200
    cooldown: float = 0.25
    ema: float = 0.999
    log_sigma_mean: float = -2.5
    log_sigma_std: float = 1.2
    sigma_data: float = 0.25
    gain: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("layers", "patch", "batch", "steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} expected a positive integer, got {getattr(self, name)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise UsageError(
                    f"{name} expected a number from {low:g} to {high:g}, got {getattr(self, name)}"
                )
        if not self.channels or any(n < 8 or n % 8 for n in self.channels):
            raise UsageError(f"channels expected multiples of 8, got {self.channels}")
        if self.patch % self.coarsest:
            raise UsageError(
                f"patch expected a multiple of {self.coarsest} for {len(self.channels)} "
                f"resolutions, got {self.patch}"
            )

    @property
    def coarsest(self) -> int:
        """How many fine pixels a coarsest pixel spans along an edge."""
        return int(2 ** (len(self.channels) - 1))

    @property
    def noise_range(self) -> tuple[float, float]:
        """Lowest and highest of the middle 99 % of the noise levels of the training."""
        reach = _STDS_OF_99_PERCENT * self.log_sigma_std
        return math.exp(self.log_sigma_mean - reach), math.exp(self.log_sigma_mean + reach)

    def rate(self, step: int) -> float:
        """Learning rate of a step (from 0)."""
        rise = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        tail = self.cooldown * self.steps
        fall = min(1.0, (self.steps - step) / tail) if tail else 1.0
        return self.learning_rate * rise * fall

    def average(self, step: int) -> float:
        """Decay of the moving average at a step; short at first, so that it forgets the start."""
        return min(self.ema, (1 + step) / (10 + step))
