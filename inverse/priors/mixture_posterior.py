"""The exact posterior of a mixture of low-rank Gaussians under linear data: again a mixture.

    x ~ sum_k pi_k N(mu_k, C_k),   y = A x + n,   n ~ N(0, s_n^2 I)

    p(x | y) = sum_k w_k N(m_k, S_k),   w_k ~ pi_k N(y; A mu_k, A C_k A^T + s_n^2 I)
    G_k = C_k A^T (A C_k A^T + s_n^2 I)^-1,   m_k = mu_k + G_k (y - A mu_k)
    S_k = (I - G_k A) C_k (I - G_k A)^T + s_n^2 G_k G_k^T

It is what a sampler is measured against: no step of it is approximate. Matrices are dense, so it is
for images of some thousand pixels at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from inverse.errors import DataError, UsageError
from inverse.priors.mixture import LowRankMixture

__all__ = ["GaussianMixture", "posterior"]

_BISECTIONS = 60  # of an interval ten deviations wide: below rounding in double precision
_REACH = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class GaussianMixture:
    """sum_k w_k N(m_k, S_k) over vectors of length D, with dense covariances.

    Parameters
    ----------
    log_weights : Tensor, (K,)
        log w_k, normalised.
    means : Tensor, (K, D)
        m_k.
    covariances : Tensor, (K, D, D)
        S_k, symmetric, positive semidefinite.

    Raises
    ------
    DataError
        If the shapes disagree.

    Examples
    --------
    >>> two = GaussianMixture(
    ...     torch.tensor([0.5, 0.5]).log(), torch.tensor([[-1.0], [1.0]]), torch.zeros(2, 1, 1)
    ... )
    >>> two.mean.tolist(), two.covariance.tolist()
    ([0.0], [[1.0]])
    """

    log_weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor

    def __post_init__(self) -> None:
        k, d = self.means.shape
        for name, wanted in (("log_weights", (k,)), ("covariances", (k, d, d))):
            found = tuple(getattr(self, name).shape)
            if found != wanted:
                raise DataError(f"Gaussian mixture: {name} expected shape {wanted}, got {found}")

    @property
    def weights(self) -> torch.Tensor:
        """w_k, (K,)."""
        return self.log_weights.exp()

    @property
    def mean(self) -> torch.Tensor:
        """sum_k w_k m_k, (D,)."""
        return self.weights @ self.means

    @property
    def covariance(self) -> torch.Tensor:
        """sum_k w_k (S_k + m_k m_k^T) - m m^T, (D, D)."""
        offset = self.means - self.mean
        between = torch.einsum("k,kd,ke->de", self.weights, offset, offset)
        return torch.einsum("k,kde->de", self.weights, self.covariances) + between

    @property
    def std(self) -> torch.Tensor:
        """Standard deviation of each element, (D,)."""
        return self.covariance.diagonal().clamp_min(0).sqrt()

    def cdf(self, values: torch.Tensor) -> torch.Tensor:
        """P(x_d <= value) of each element by itself.

        Parameters
        ----------
        values : Tensor, (..., D)

        Returns
        -------
        Tensor, as values
        """
        deviations = self.covariances.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        offset = values.unsqueeze(-2) - self.means
        # An element that a component knows exactly is a step, continuous from the right.
        step = torch.where(offset >= 0, math.inf, -math.inf)
        offset = torch.where(deviations > 0, offset / deviations, step)
        # By erfc, which keeps its relative precision in the lower tail; torch's ndtr does not.
        below = torch.special.erfc(-offset / math.sqrt(2)) / 2
        return torch.einsum("k,...kd->...d", self.weights, below)

    def quantiles(self, probabilities: Sequence[float]) -> torch.Tensor:
        """Solve P(x_d <= q) = p for each element by itself, by bisection of the distribution.

        Parameters
        ----------
        probabilities : sequence of float
            P of them, each between 0 and 1, both excluded.

        Returns
        -------
        Tensor, (P, D)

        Raises
        ------
        UsageError
            If a probability is out of range.
        """
        if not all(0 < p < 1 for p in probabilities):
            raise UsageError(f"probabilities expected between 0 and 1, got {tuple(probabilities)}")
        wanted = self.means.new_tensor(probabilities)[:, None]
        reach = _reach(min(*probabilities, *(1 - p for p in probabilities), 0.5))
        deviations = self.covariances.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()
        low = (self.means - reach * deviations).amin(0).expand(len(probabilities), -1)
        high = (self.means + reach * deviations).amax(0).expand(len(probabilities), -1)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = self.cdf(middle) >= wanted
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Draw n vectors, (n, D).

        Parameters
        ----------
        n : int
        generator : torch.Generator
            Of any device.
        """
        device, where = self.means.device, generator.device
        k = torch.multinomial(self.weights.to(where), n, replacement=True, generator=generator)
        values, axes = torch.linalg.eigh(self.covariances)
        roots = axes * values.clamp_min(0).sqrt()[:, None, :]
        shape = (n, self.means.shape[1])
        white = torch.randn(shape, generator=generator, dtype=self.means.dtype, device=where)
        k, white = k.to(device), white.to(device)
        drawn = torch.empty_like(white)
        for component in range(len(self.means)):
            rows = k == component
            drawn[rows] = self.means[component] + white[rows] @ roots[component].T
        return drawn


def _reach(tail: float) -> float:
    """Deviations beyond which a Gaussian has less than `tail`: exp(-z^2 / 2) bounds it."""
    return max(_REACH, math.sqrt(-2 * math.log(tail)))


def posterior(
    mixture: LowRankMixture, A: torch.Tensor, y: torch.Tensor, noise_std: float
) -> GaussianMixture:
    """Condition a mixture of low-rank Gaussians on y = A x + n.

    Parameters
    ----------
    mixture : LowRankMixture
        The prior.
    A : Tensor, (m, D), real
    y : Tensor, (m,), real
    noise_std : float
        Standard deviation of each element of n; above zero.

    Returns
    -------
    GaussianMixture
        At the precision of the prior.

    Raises
    ------
    DataError
        If the shapes do not fit, or the noise level is not above zero.

    References
    ----------
    Bishop 2006, "Pattern Recognition and Machine Learning", eq. 2.113-2.117 (one component);
    the Joseph form of the covariance stays positive semidefinite under rounding.

    Examples
    --------
    A standard normal measured once with unit noise: half the datum, half the variance.

    >>> prior = LowRankMixture(
    ...     torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1), torch.ones(1)
    ... )
    >>> exact = posterior(prior, torch.ones(1, 1), torch.tensor([4.0]), 1.0)
    >>> exact.mean.tolist(), exact.covariance.tolist()
    ([2.0], [[0.5]])
    """
    d = mixture.dimension
    if A.ndim != 2 or A.shape[1] != d or tuple(y.shape) != (A.shape[0],):
        raise DataError(
            f"posterior expected A of shape (m, {d}) and y of shape (m,), "
            f"got {tuple(A.shape)} and {tuple(y.shape)}"
        )
    if not noise_std > 0 or math.isinf(noise_std):
        raise DataError(f"posterior expected a finite noise_std > 0, got {noise_std}")
    A, y = A.to(mixture.means), y.to(mixture.means)
    eye = torch.eye(d, dtype=A.dtype, device=A.device)
    prior = mixture.covariances()
    noise = noise_std**2 * torch.eye(len(y), dtype=A.dtype, device=A.device)
    factor = torch.linalg.cholesky(A @ prior @ A.T + noise)
    offset = y - mixture.means @ A.T
    gain = torch.cholesky_solve(A @ prior, factor).mT
    means = mixture.means + (gain @ offset[:, :, None]).squeeze(-1)
    left = eye - gain @ A
    covariances = left @ prior @ left.mT + noise_std**2 * gain @ gain.mT
    white = torch.linalg.solve_triangular(factor, offset[:, :, None], upper=False).squeeze(-1)
    log_det = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    constant = len(y) * math.log(2 * math.pi)
    joint = mixture.log_weights - 0.5 * (white.square().sum(1) + log_det + constant)
    return GaussianMixture(
        joint - torch.logsumexp(joint, 0), means, (covariances + covariances.mT) / 2
    )
