"""The theory of the mixture of low-rank Gaussians, checked: exact formulas, phase transition.

    python -m benchmarks.molrg_theory

Exactness: the denoiser against Bayes with dense covariances, the score against the finite
difference of log p, the covariance against sigma^2 times the Jacobian; double precision.

Phase transition: vectors of K = 3 subspaces of dimension d = 6 in D = 48 dimensions, N_k of each,
with a little noise. A fit is right when every subspace is found to within 5 degrees (largest
principal angle). Beside it what the fit says of itself without knowing the truth. Two minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measure import Table, one_thread
from inverse.priors import LowRankMixture
from inverse.priors.mppca import fit_mixture
from inverse.priors.subspaces import fit_subspaces, principal_angles
from tests.inverse.test_mixture import bayes, make_mixture

D, RANK, K = 48, 6, 3
PER_SUBSPACE = (2, 3, 4, 5, 6, 7, 8, 9, 12, 18, 24, 48)
NOISE = (0.001, 0.03)
SEEDS = range(20)
RIGHT_DEG = 5.0
F64 = torch.float64

Fit = Callable[[torch.Tensor, int], tuple[LowRankMixture, bool]]


def by_subspaces(x: torch.Tensor, seed: int) -> tuple[LowRankMixture, bool]:
    draw = torch.Generator().manual_seed(seed)
    found = fit_subspaces(x, n_components=K, rank=RANK, generator=draw, n_restarts=20)
    return found.mixture, found.reliable


def by_likelihood(x: torch.Tensor, seed: int) -> tuple[LowRankMixture, bool]:
    """Annealed, the most likely of four starts."""
    draw = torch.Generator().manual_seed(seed)
    fits = [fit_mixture(x, n_components=K, rank=RANK, generator=draw, floor=0.01) for _ in range(4)]
    best = max(fits, key=lambda fit: fit.log_likelihood[-1])
    return best.mixture, best.reliable


def by_both(x: torch.Tensor, seed: int) -> tuple[LowRankMixture, bool]:
    """Maximum likelihood from where K-subspaces ends."""
    start, _ = by_subspaces(x, seed)
    draw = torch.Generator().manual_seed(seed)
    found = fit_mixture(x, n_components=K, rank=RANK, generator=draw, start=start)
    return found.mixture, found.reliable


FITS: dict[str, Fit] = {
    "K-subspaces": by_subspaces,
    "EM": by_likelihood,
    "K-subspaces, then EM": by_both,
}


def planted(per_subspace: int, noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return K random bases (K, D, RANK) and as many vectors of each (N, D)."""
    draw = torch.Generator().manual_seed(seed)
    bases = torch.linalg.qr(torch.randn(K, D, RANK, generator=draw, dtype=F64)).Q
    inside = torch.randn(K, per_subspace, RANK, generator=draw, dtype=F64)
    vectors = (inside @ bases.mT).reshape(-1, D)
    return bases, vectors + noise * torch.randn(vectors.shape, generator=draw, dtype=F64)


def largest_angle(found: LowRankMixture, bases: torch.Tensor) -> float:
    """Worst over the true subspaces of the angle to the nearest found one, degrees."""
    return max(min(float(principal_angles(u, v)[-1]) for v in found.bases) for u in bases)


@dataclass(frozen=True, slots=True)
class Trial:
    """How one fit ended."""

    angle_deg: float
    reliable: bool

    @property
    def right(self) -> bool:
        """Whether every subspace was found."""
        return self.angle_deg < RIGHT_DEG


def trials(fit: Fit, per_subspace: int, noise: float) -> list[Trial]:
    found = []
    for seed in SEEDS:
        bases, x = planted(per_subspace, noise, seed)
        mixture, reliable = fit(x, seed)
        found.append(Trial(largest_angle(mixture, bases), reliable))
    return found


def exactness() -> dict[str, float]:
    """Largest deviations over shapes, noise levels and 50 vectors each."""
    worst = {"denoiser": 0.0, "score": 0.0, "covariance": 0.0}
    for d, k, r in ((6, 3, 2), (20, 6, 7), (64, 4, 16)):
        mixture = make_mixture(d, k, r)
        x = torch.randn(50, d, generator=torch.Generator().manual_seed(1), dtype=F64)
        for sigma in (0.05, 0.3, 2.0):
            _, mean, _ = bayes(mixture, x, sigma)
            worst["denoiser"] = _worse(worst["denoiser"], mixture.denoise(x, sigma), mean)
            found, slope = mixture.score(x, sigma), _difference(mixture, x, sigma)
            worst["score"] = _worse(
                worst["score"], found / slope.abs().max(), slope / slope.abs().max()
            )
            jacobian = torch.autograd.functional.jacobian(
                lambda v, sigma=sigma, mixture=mixture: mixture.denoise(v, sigma), x[:1]
            )[0, :, 0, :]
            covariance = mixture.covariance(x[:1], sigma)[0]
            worst["covariance"] = _worse(worst["covariance"], sigma**2 * jacobian, covariance)
    return worst


def _worse(so_far: float, found: torch.Tensor, wanted: torch.Tensor) -> float:
    return max(so_far, float((found - wanted).abs().max()))


def _difference(mixture: LowRankMixture, x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Central difference of log p along every axis."""
    step = 1e-5
    slope = torch.empty_like(x)
    for axis in range(x.shape[1]):
        shift = torch.zeros(x.shape[1], dtype=F64)
        shift[axis] = step
        rise = mixture.log_density(x + shift, sigma) - mixture.log_density(x - shift, sigma)
        slope[:, axis] = rise / (2 * step)
    return slope


def judge_recovery(table: Table, name: str, noise: float, found: dict[int, list[Trial]]) -> None:
    """Judge the two targets: found from 4 d on, failure stated below d."""
    enough = [t for n, ts in found.items() if n >= 4 * RANK for t in ts]
    worst = max(t.angle_deg for t in enough)
    table.judge(f"{name}, noise {noise:g}, largest angle for N_k >= 4 d, degrees", worst, RIGHT_DEG)
    below = [t for n, ts in found.items() if n < RANK for t in ts]
    silent = sum(t.reliable for t in below) / len(below)
    table.judge(f"{name}, noise {noise:g}, share of failures not stated, N_k < d", silent, 0.01)


def main() -> None:
    one_thread()
    table = Table(
        "molrg_theory",
        "Mixture of low-rank Gaussians: when a fit finds the subspaces",
        (
            "noise", "N_k / d", "fit", "right", "says so", "wrong, yet not stated",
            "largest angle, median, degrees",
        ),
        f"K = {K} subspaces of d = {RANK} dimensions in D = {D}, N_k vectors of each, {len(SEEDS)} "
        f"seeds. 'right': every subspace within {RIGHT_DEG:g} degrees; 'says so': the fit calls "
        "itself reliable, by cross-validation, without the truth.",
    )  # fmt: skip
    deviations = exactness()
    for key, limit in (("denoiser", 1e-6), ("score", 1e-5), ("covariance", 1e-6)):
        kind = "relative to the largest" if key == "score" else "absolute"
        table.judge(f"exactness of the {key}, largest deviation, {kind}", deviations[key], limit)
    for noise in NOISE:
        for name, fit in FITS.items():
            found = {n: trials(fit, n, noise) for n in PER_SUBSPACE}
            for n, each in found.items():
                table.add(noise, n / RANK, name, *row(each))
            judge_recovery(table, name, noise, found)
    table.write()


def row(each: Sequence[Trial]) -> tuple[str, str, str, float]:
    angles: NDArray[np.float64] = np.array([t.angle_deg for t in each])
    return (
        f"{sum(t.right for t in each)} of {len(each)}",
        f"{sum(t.reliable for t in each)} of {len(each)}",
        f"{sum(t.reliable and not t.right for t in each)}",
        float(np.median(angles)),
    )


if __name__ == "__main__":
    main()
