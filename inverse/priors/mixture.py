"""Mixture of low-rank Gaussians: exact denoiser, score, covariance and density at any noise level.

    x0 ~ sum_k pi_k N(mu_k, U_k diag(L_k) U_k^T + s_k^2 I),   x = x0 + sigma n

With v_k = s_k^2 + sigma^2 the likelihood of x under component k is Gaussian with variances
L_k + v_k inside the subspace and v_k outside, so everything below is closed form: responsibilities
w_k, the posterior mean as a Wiener filter per component, and by Tweedie's formulas the score
(E[x0|x] - x) / sigma^2 and the posterior covariance sigma^2 dE[x0|x]/dx.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from inverse.errors import DataError

__all__ = ["LowRankMixture"]

_CACHE_BYTES = 2**20  # projections of one block of rows stay in the second-level cache


@dataclass(frozen=True, slots=True, eq=False)
class LowRankMixture:
    """sum_k pi_k N(mu_k, U_k diag(L_k) U_k^T + s_k^2 I) over vectors of length D.

    Parameters
    ----------
    log_weights : (K,)
        log pi_k.
    means : (K, D)
        mu_k.
    bases : (K, D, r)
        U_k, orthonormal columns.
    variances : (K, r)
        L_k >= 0, what the subspace has above the floor.
    floors : (K,)
        s_k^2 >= 0, variance in every direction.

    Raises
    ------
    DataError
        If the shapes disagree, a number is not finite or a variance is negative.

    References
    ----------
    Wang et al. 2024, "Diffusion models learn low-dimensional distributions via subspace
    clustering", arXiv 2409.02426, eq. 6 (their case: mu = 0, L = 1, s = 0, equal weights); Tipping
    and Bishop 1999, doi:10.1162/089976699300016728 (mixture of probabilistic principal components).
    """

    log_weights: torch.Tensor
    means: torch.Tensor
    bases: torch.Tensor
    variances: torch.Tensor
    floors: torch.Tensor

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or self.variances.ndim != 2 or not self.means.numel():
            raise DataError(
                "mixture: means expected shape (K, D) and variances (K, r), none of K and D zero, "
                f"got {tuple(self.means.shape)} and {tuple(self.variances.shape)}"
            )
        k, d = self.means.shape
        rank = self.variances.shape[1]
        wanted = {
            "log_weights": (k,),
            "bases": (k, d, rank),
            "variances": (k, rank),
            "floors": (k,),
        }
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise DataError(f"mixture: {name} expected shape {shape}, got {found}")
        for name in (*wanted, "means"):
            if not bool(torch.isfinite(getattr(self, name)).all()):
                raise DataError(f"mixture: {name} holds NaN or infinity")
        if bool((self.variances < 0).any()) or bool((self.floors < 0).any()):
            raise DataError("mixture: variances and floors must not be negative")

    @property
    def dimension(self) -> int:
        """D, length of the vectors."""
        return int(self.means.shape[1])

    @property
    def n_components(self) -> int:
        """K."""
        return int(self.means.shape[0])

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> LowRankMixture:
        """Return the mixture on another device or at another precision."""
        return LowRankMixture(
            self.log_weights.to(device, dtype),
            self.means.to(device, dtype),
            self.bases.to(device, dtype),
            self.variances.to(device, dtype),
            self.floors.to(device, dtype),
        )

    def covariances(self) -> torch.Tensor:
        """U_k diag(L_k) U_k^T + s_k^2 I as dense matrices, (K, D, D)."""
        eye = torch.eye(self.dimension, dtype=self.means.dtype, device=self.means.device)
        inside = torch.einsum("kdr,kr,ker->kde", self.bases, self.variances, self.bases)
        return inside + self.floors[:, None, None] * eye

    def log_density(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """log p_sigma(x), the density of x0 + sigma n.

        Parameters
        ----------
        x : Tensor, (n, D)
        sigma : float
            Noise level; 0 is allowed when every floor is positive.

        Returns
        -------
        Tensor, (n,)
        """
        return torch.logsumexp(self.log_joint(x, sigma), dim=1)

    def responsibilities(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """P(component k | x), shape (n, K); arguments as `log_density`."""
        return torch.softmax(self.log_joint(x, sigma), dim=1)

    def denoise(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Posterior mean E[x0 | x], shape (n, D); arguments as `log_density`.

        Component k contributes mu_k + g_k (x - mu_k) + U_k (h_k - g_k) U_k^T (x - mu_k), with gains
        g_k = s_k^2 / v_k outside and h_k = (L_k + s_k^2) / (L_k + v_k) inside its subspace. Most
        responsibilities are zero to rounding, and those components are skipped.
        """
        w = self.responsibilities(x, sigma)
        outer, extra = self._gains(sigma)
        g = w * outer
        mean = g.sum(1, keepdim=True) * x + (w - g) @ self.means
        negligible = torch.finfo(w.dtype).eps
        for k in range(self.n_components):
            rows = torch.nonzero(w[:, k] > negligible).flatten()
            if len(rows):
                basis = self.bases[k]
                inside = (x[rows] - self.means[k]) @ basis * extra[k]
                mean.index_add_(0, rows, inside @ basis.T * w[rows, k, None])
        return mean

    def score(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Gradient of `log_density`, shape (n, D), by Tweedie's formula; sigma > 0."""
        return (self.denoise(x, sigma) - x) / sigma**2

    def covariance(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Posterior covariance Cov[x0 | x], shape (n, D, D); arguments as `log_density`."""
        w = self.responsibilities(x, sigma)
        outer, extra = self._gains(sigma)
        eye = torch.eye(self.dimension, dtype=x.dtype, device=x.device)
        # Within a component the covariance is sigma^2 times its gain matrix, whatever x is.
        gain = torch.einsum("kdr,kr,ker->kde", self.bases, extra, self.bases)
        gain = gain + outer[:, None, None] * eye
        centred = x[:, None, :] - self.means
        means = self.means + torch.einsum("kde,nke->nkd", gain, centred)
        mean = torch.einsum("nk,nkd->nd", w, means)
        within = sigma**2 * torch.einsum("nk,kde->nde", w, gain)
        spread = means - mean[:, None, :]
        return within + torch.einsum("nk,nkd,nke->nde", w, spread, spread)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Draw n vectors, shape (n, D), with a generator of any device."""
        d, r = self.bases.shape[1:]
        dtype, device, where = self.means.dtype, self.means.device, generator.device
        weights = self.log_weights.exp().to(where)
        k = torch.multinomial(weights, n, replacement=True, generator=generator).to(device)
        inside = torch.randn(n, r, generator=generator, dtype=dtype, device=where).to(device)
        white = torch.randn(n, d, generator=generator, dtype=dtype, device=where).to(device)
        inside *= self.variances[k].sqrt()
        white *= self.floors[k, None].sqrt()
        return self.means[k] + torch.einsum("ndr,nr->nd", self.bases[k], inside) + white

    def _gains(self, sigma: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the Wiener gain outside the subspace (K,) and what it has more inside (K, r)."""
        v = self.floors + sigma**2
        outer = self.floors / v
        inner = (self.variances + self.floors[:, None]) / (self.variances + v[:, None])
        return outer, inner - outer[:, None]

    def log_joint(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """log pi_k + log N(x; mu_k, C_k + sigma^2 I), shape (n, K); arguments as `log_density`."""
        v = self.floors + sigma**2
        total = self.variances + v[:, None]
        rank = self.variances.shape[1]
        log_det = total.log().sum(1) + (self.dimension - rank) * v.log()
        constant = self.log_weights - 0.5 * (log_det + self.dimension * math.log(2 * math.pi))
        # |x - mu|^2 / v - sum_r (1/v - 1/total_r) (u_r^T (x - mu))^2, a few rows at a time in cache
        shrink = 1 / v[:, None] - 1 / total
        rows = max(1, _CACHE_BYTES // (self.bases.shape[0] * rank * x.element_size()))
        distance = [self._distance(part, v, shrink) for part in x.split(rows)]
        return constant - 0.5 * torch.cat(distance)

    def _distance(self, x: torch.Tensor, v: torch.Tensor, shrink: torch.Tensor) -> torch.Tensor:
        """Squared Mahalanobis distance to every component, (n, K)."""
        k, d, r = self.bases.shape
        analysis = self.bases.permute(1, 0, 2).reshape(d, k * r)
        offsets = torch.einsum("kd,kdr->kr", self.means, self.bases).reshape(-1)
        inside = (x @ analysis - offsets).square_().view(-1, k, r)
        squared = x.square().sum(1, keepdim=True) - 2 * x @ self.means.T
        squared = (squared + self.means.square().sum(1)) / v
        return squared - torch.einsum("nkr,kr->nk", inside, shrink)
