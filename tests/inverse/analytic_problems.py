"""Inverse problems of 8 by 8 pixels whose posterior is known exactly, to measure samplers on.

Two models of images, four ways to measure them. The unknown and the data are drawn from the model,
so the truth is one draw of the exact posterior, and an interval that holds 90 % of the posterior
holds the truth in 90 % of the problems.

- "gaussian": a smooth Gaussian process about a bump.
- "molrg": four low-rank Gaussians with neighbouring means, of which the data leave several open.

- "random": 24 Gaussian projections.       - "inpainting": half of the pixels.
- "blur": every pixel, smeared.            - "fourier": 24 of 64 real Fourier (Hartley) samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.grid import Grid
from inverse.priors import LowRankMixture
from inverse.priors.mixture_posterior import GaussianMixture, posterior
from inverse.problem import Problem
from operators import LinearOperator, Space

__all__ = [
    "MEASUREMENTS",
    "MODELS",
    "AnalyticProblem",
    "DenseOperator",
    "MixturePrior",
    "Scores",
    "draw_problem",
    "score",
]

EDGE = 8
NOISE_STD = 0.05
INTERVAL = (0.05, 0.95)
F64 = torch.float64


class DenseOperator(LinearOperator):
    """The same real matrix for each of n images, which are independent systems.

    Parameters
    ----------
    matrix : Tensor, (m, EDGE^2), real
    n_images : int
    """

    def __init__(self, matrix: torch.Tensor, n_images: int) -> None:
        super().__init__(
            Space((n_images, EDGE, EDGE), matrix.dtype, ("z", "y", "x")),
            Space((n_images, len(matrix)), matrix.dtype, ("z", "sample")),
            device=matrix.device,
        )
        self.matrix = matrix

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(-2) @ self.matrix.T

    def _adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return (y @ self.matrix).unflatten(-1, (EDGE, EDGE))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> DenseOperator:
        """Return the operator on another device or at another precision."""
        return DenseOperator(self.matrix.to(device, dtype), self.domain.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class MixturePrior:
    """A mixture of whole images as a prior: the exact denoiser at every noise level."""

    mixture: LowRankMixture
    name: str = "exact mixture"
    n_channels: int = 1
    max_shift: int = 0
    largest_sigma: float = math.inf
    calls: list[float] = field(default_factory=list)

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """E[x0 | x] for real x of shape (*batch, y, x); notes that it was called, and at what."""
        self.calls.append(sigma)
        flat = self.mixture.to(dtype=x.dtype).denoise(x.reshape(-1, EDGE**2), sigma)
        return flat.reshape(x.shape)

    def to(self, device: torch.device | str) -> MixturePrior:
        """Return the prior on another device."""
        return MixturePrior(self.mixture.to(device), self.name, calls=self.calls)


@dataclass(frozen=True, slots=True, eq=False)
class AnalyticProblem:
    """Images and data drawn from a model, and the exact posterior of each.

    Parameters
    ----------
    mixture : LowRankMixture
        The model of images.
    problem : Problem
        Its slices are the images.
    truth : Tensor, (n, D)
    exact : tuple of GaussianMixture
        One for each image.
    """

    mixture: LowRankMixture
    problem: Problem
    truth: torch.Tensor
    exact: tuple[GaussianMixture, ...]

    @property
    def ambiguity(self) -> float:
        """Mean probability that the most likely component is not the one: 0 is unimodal."""
        return 1 - float(np.mean([float(each.weights.max()) for each in self.exact]))

    def exact_samples(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Draw n images from each exact posterior, (n, n_images, D)."""
        return torch.stack([each.sample(n, generator) for each in self.exact], 1)


def _kernel(along: float, across: float, angle_deg: float = 0.0) -> torch.Tensor:
    """Squared-exponential covariance of unit variance between pixels, lengths in pixels."""
    y, x = np.meshgrid(np.arange(EDGE), np.arange(EDGE), indexing="ij")
    angle = math.radians(angle_deg)
    u = (math.cos(angle) * x + math.sin(angle) * y).ravel() / along
    v = (math.cos(angle) * y - math.sin(angle) * x).ravel() / across
    squared = (u[:, None] - u) ** 2 + (v[:, None] - v) ** 2
    return torch.from_numpy(np.exp(-squared / 2))


def _bump() -> torch.Tensor:
    axis = torch.linspace(-1, 1, EDGE, dtype=F64)
    return (0.6 * torch.exp(-(axis[:, None].square() + axis.square()))).reshape(-1)


def gaussian_model() -> LowRankMixture:
    """N(bump, 0.25^2 kernel + 0.01^2 I): one component of full rank."""
    values, axes = torch.linalg.eigh(0.25**2 * _kernel(1.5, 1.5))
    return LowRankMixture(
        torch.zeros(1, dtype=F64),
        _bump()[None],
        axes[None],
        values.clamp_min(0)[None],
        torch.full((1,), 0.01**2, dtype=F64),
    )


def molrg_model() -> LowRankMixture:
    """Four components: smooth along one of four directions, rank 8, and noise-like texture."""
    draw = torch.Generator().manual_seed(0)
    bases, variances, means = [], [], []
    shift = torch.linalg.cholesky(_kernel(2.5, 2.5) + 1e-8 * torch.eye(EDGE**2, dtype=F64))
    for angle in (0.0, 45.0, 90.0, 135.0):
        values, axes = torch.linalg.eigh(_kernel(2.5, 1.2, angle))
        bases.append(axes[:, -8:].flip(1))
        variances.append(0.2**2 * values[-8:].flip(0))
        means.append(_bump() + 0.08 * shift @ torch.randn(EDGE**2, generator=draw, dtype=F64))
    return LowRankMixture(
        torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=F64).log(),
        torch.stack(means),
        torch.stack(bases).contiguous(),
        torch.stack(variances),
        torch.full((4,), 0.1**2, dtype=F64),
    )


def _random() -> torch.Tensor:
    rows = torch.randn(24, EDGE**2, generator=torch.Generator().manual_seed(1), dtype=F64)
    return rows / torch.linalg.matrix_norm(rows, 2)


def _inpainting() -> torch.Tensor:
    kept = torch.randperm(EDGE**2, generator=torch.Generator().manual_seed(2))[: EDGE**2 // 2]
    return torch.eye(EDGE**2, dtype=F64)[kept.sort().values]


def _blur() -> torch.Tensor:
    away = torch.arange(EDGE)[:, None] - torch.arange(EDGE)
    line = torch.exp(-((away + EDGE // 2) % EDGE - EDGE // 2).square().to(F64) / 2)
    line = line / line.sum(1, keepdim=True)
    return torch.kron(line, line)


def _fourier() -> torch.Tensor:
    turn = 2 * torch.pi * torch.outer(torch.arange(EDGE), torch.arange(EDGE)).to(F64) / EDGE
    line = (turn.cos() + turn.sin()) / math.sqrt(EDGE)
    frequency = torch.arange(EDGE).minimum(EDGE - torch.arange(EDGE))
    low = (frequency[:, None].maximum(frequency) <= 1).reshape(-1)
    draw = torch.Generator().manual_seed(3)
    order = torch.rand(EDGE**2, generator=draw).masked_fill(low, -1).argsort()
    return torch.kron(line, line)[order[:24].sort().values]


MODELS: dict[str, Callable[[], LowRankMixture]] = {
    "gaussian": gaussian_model,
    "molrg": molrg_model,
}
MEASUREMENTS: dict[str, Callable[[], torch.Tensor]] = {
    "random": _random,
    "inpainting": _inpainting,
    "blur": _blur,
    "fourier": _fourier,
}


def draw_problem(
    model: str, measurement: str, n_images: int, seed: int, noise_std: float = NOISE_STD
) -> AnalyticProblem:
    """Draw images from a model and data from the images.

    Parameters
    ----------
    model, measurement : str
        Keys of `MODELS` and `MEASUREMENTS`.
    n_images : int
        They become the slices of one problem.
    seed : int
    noise_std : float
    """
    mixture, matrix = MODELS[model](), MEASUREMENTS[measurement]()
    draw = torch.Generator().manual_seed(seed)
    truth = mixture.sample(n_images, draw)
    noise = torch.randn(n_images, len(matrix), generator=draw, dtype=F64)
    data = truth @ matrix.T + noise_std * noise
    problem = Problem(
        operator=DenseOperator(matrix, n_images),
        data=data,
        noise_std=noise_std,
        n_samples=len(matrix),
        grid=Grid((n_images, EDGE, EDGE), (1.0, 1.0, 1.0)),
        n_batch_axes=1,
    )
    exact = tuple(posterior(mixture, matrix, y, noise_std) for y in data)
    return AnalyticProblem(mixture, problem, truth, exact)


@dataclass(frozen=True, slots=True)
class Scores:
    """How far samples are from the exact posterior; exact samples score 0, 1, 0.9 and 0.9.

    Parameters
    ----------
    mean_error : float
        Root mean square over pixels of (mean of the samples - exact mean) / exact std. n exact
        samples score 1 / sqrt(n): 0.022 for 2000.
    std_ratio : float
        Root mean square over pixels of std of the samples / exact std.
    mass : float
        Mean over pixels of the exact probability between the samples' 5 % and 95 % quantiles.
    coverage : float
        Share of pixels whose true value is between those quantiles. Truths are draws of the model:
        over many problems it is what a user would find, bias and wrong shape included.
    """

    mean_error: float
    std_ratio: float
    mass: float
    coverage: float


def score(found: AnalyticProblem, samples: torch.Tensor | NDArray[np.generic]) -> Scores:
    """Compare samples with the exact posterior.

    Quantiles are the Weibull ones: between order statistics j of n, whose expected probability is
    exactly j / (n + 1), so that few samples do not make intervals look short.

    Parameters
    ----------
    found : AnalyticProblem
    samples : (n, n_images, D) or (n, n_images, y, x)
        Real, or complex with nothing in the imaginary part.
    """
    x = np.asarray(samples)
    x = np.real(x).astype(np.float64).reshape(*x.shape[:2], -1)
    low, high = np.quantile(x, INTERVAL, axis=0, method="weibull")
    mean = np.stack([each.mean.numpy() for each in found.exact])
    std = np.stack([each.std.numpy() for each in found.exact])
    truth = found.truth.numpy()
    return Scores(
        mean_error=_rms((x.mean(0) - mean) / std),
        std_ratio=_rms(x.std(0, ddof=1) / std),
        mass=float(np.mean(_probability(found.exact, high) - _probability(found.exact, low))),
        coverage=float(np.mean((low <= truth) & (truth <= high))),
    )


def _probability(
    exact: Sequence[GaussianMixture], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.stack(
        [each.cdf(torch.from_numpy(row)).numpy() for each, row in zip(exact, values, strict=True)]
    )


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))
