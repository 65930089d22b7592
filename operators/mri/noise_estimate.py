"""Receiver noise from the k-space data themselves, when no noise scan was stored."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from operators.errors import CalibrationError, DtypeError, ShapeError
from operators.mri.robust_covariance import concentrated_covariance

__all__ = ["estimate_noise_covariance"]

_OUTER_SHARE = 0.05
# rings in units of the mean radius of the outermost samples
_MIDDLE_RING = (0.7, 0.9)
_INNER_RING = (0.5, 0.7)
_SAMPLES_PER_COIL = 64
_MAX_SAMPLES = 20_000
# |k|^-3 is the power of sharp edges in 2-D, the slowest decay of an object with an outline
_DECAY = (3.0, 8.0)
_MIN_NOISE_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Ring:
    """Covariance of the samples (C, n) between two radii of k-space."""

    covariance: torch.Tensor
    n_samples: int
    radius: float


def estimate_noise_covariance(kspace: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Estimate the noise covariance of the coils from the periphery of k-space.

    S(k) = Psi + A |k|^-p,  Psi = S_out - (S_in - S_out) q/(1 - q),  q = (k_in/k_out)^p

    S_out is the robust covariance (see `concentrated_covariance`) of the outermost samples, 5 % of
    all and at least 64 a coil. It holds noise and what signal reaches that far. The signal is
    extrapolated from a ring at half the radius, along the combinations of coils in which that ring
    stands significantly above S_out; the decay p is fitted to a third ring between them and held
    within 3 to 8. At most 90 % of the power of a combination is taken for signal.

    Detail that is as strong in the periphery as further inside cannot be told from noise. A noise
    scan is better.

    Parameters
    ----------
    kspace : Tensor, (C, *grid), complex
        Raw k-space, zero frequency at index n//2.
    mask : Tensor, (*grid), bool
        True where it was sampled. Samples that are zero in all coils are left out: no receiver
        measures zero.

    Returns
    -------
    Tensor, (C, C), complex128
        Covariance of complex samples, as `noise_covariance` gives; rows and columns of a channel
        that is zero throughout are zero.

    Raises
    ------
    ShapeError
        If `mask` does not have the grid of `kspace`.
    DtypeError
        If `kspace` is not complex or `mask` not boolean.
    CalibrationError
        If too few samples were acquired, or all are zero.

    Examples
    --------
    >>> rng = torch.Generator().manual_seed(0)
    >>> kspace = torch.randn(1, 64, 64, dtype=torch.complex64, generator=rng)
    >>> covariance = estimate_noise_covariance(kspace, torch.ones(64, 64, dtype=torch.bool))
    >>> bool(abs(covariance[0, 0] - 1) < 0.2)
    True
    """
    _check(kspace, mask)
    acquired = mask & (kspace != 0).any(dim=0)
    if not bool(acquired.any()):
        raise CalibrationError("expected samples that were received, got k-space of zeros only")
    samples = kspace[:, acquired]
    radius = _radius(mask)[acquired]
    live = samples.abs().median(dim=1).values > 0
    covariance = torch.zeros(*live.shape * 2, dtype=torch.complex128, device=kspace.device)
    if bool(live.any()):
        covariance[live.outer(live)] = _extrapolated(samples[live], radius).flatten()
    return covariance


def _check(kspace: torch.Tensor, mask: torch.Tensor) -> None:
    if tuple(kspace.shape[1:]) != tuple(mask.shape):
        raise ShapeError(
            f"a mask for k-space of shape {tuple(kspace.shape)} must have shape "
            f"{tuple(kspace.shape[1:])}, got {tuple(mask.shape)}"
        )
    if not kspace.dtype.is_complex or mask.dtype != torch.bool:
        raise DtypeError(
            f"expected complex k-space and a boolean mask, got {kspace.dtype} and {mask.dtype}"
        )


def _radius(mask: torch.Tensor) -> torch.Tensor:
    """Distance from the centre of k-space in units of each axis' length."""
    squared = torch.zeros(mask.shape, dtype=torch.float64, device=mask.device)
    for axis, n in enumerate(mask.shape):
        frequency = (torch.arange(n, device=mask.device, dtype=torch.float64) - n // 2) / n
        squared += frequency.square().reshape([n if a == axis else 1 for a in range(mask.ndim)])
    return squared.sqrt()


def _extrapolated(samples: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    """Noise covariance of live channels: that of the outermost samples less their signal."""
    n_coils, n_samples = samples.shape
    needed = _SAMPLES_PER_COIL * n_coils
    # of fewer than twice as many the outer part would reach the bright centre
    if n_samples < 2 * needed:
        raise CalibrationError(
            f"estimating the noise of {n_coils} coils from k-space needs {2 * needed} samples, got "
            f"{n_samples}. Give the noise covariance, or acquire a noise scan."
        )
    n_outer = max(needed, round(_OUTER_SHARE * n_samples))
    outer = _ring(samples, radius, radius.topk(n_outer).indices)
    rings = []
    for low, high in (_MIDDLE_RING, _INNER_RING):
        between = (radius > low * outer.radius) & (radius < high * outer.radius)
        if 2 * int(between.sum()) < needed:
            return outer.covariance
        rings.append(_ring(samples, radius, torch.nonzero(between).flatten()))
    return _without_signal(outer, *rings)


def _ring(samples: torch.Tensor, radius: torch.Tensor, index: torch.Tensor) -> _Ring:
    index = index[:: math.ceil(len(index) / _MAX_SAMPLES)]
    return _Ring(
        concentrated_covariance(samples[:, index]), len(index), float(radius[index].mean())
    )


def _without_signal(outer: _Ring, middle: _Ring, inner: _Ring) -> torch.Tensor:
    """Subtract from the outer covariance the signal that decays from the inner ring to it."""
    lower, info = torch.linalg.cholesky_ex(outer.covariance)
    if int(info) != 0:  # channels that copy each other: no directions to compare
        return outer.covariance
    power, directions = torch.linalg.eigh(_relative_to(lower, inner.covariance))
    # eigenvalues of noise against noise stay below this; half of each ring's samples count
    n_coils = len(power)
    edge = 1 + 2 * math.sqrt(2 * n_coils * (1 / outer.n_samples + 1 / inner.n_samples))
    excess = torch.where(power > edge, power - 1, torch.zeros_like(power))
    growth_middle = float(_relative_to(lower, middle.covariance).diagonal().real.sum()) - n_coils
    decay = _fit_decay(
        float(power.sum()) - n_coils,
        growth_middle,
        (outer.radius / middle.radius, outer.radius / inner.radius),
    )
    remaining = (inner.radius / outer.radius) ** decay
    noise = (1 - excess * remaining / (1 - remaining)).clamp_min(_MIN_NOISE_SHARE)
    basis = lower @ directions
    covariance: torch.Tensor = (basis * noise) @ basis.mH
    return covariance


def _relative_to(lower: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
    """L^-1 S L^-H."""
    half = torch.linalg.solve_triangular(lower, covariance, upper=False)
    relative: torch.Tensor = torch.linalg.solve_triangular(lower, half.mH, upper=False)
    return relative


def _fit_decay(growth_inner: float, growth_middle: float, inward: tuple[float, float]) -> float:
    """Solve (x_inner^p - 1)/(x_middle^p - 1) = growth_inner/growth_middle for p by bisection.

    x = k_out/k of either ring, growth = trace of its power above the outer one's.
    """
    low, high = _DECAY
    x_middle, x_inner = inward
    for _ in range(30):
        p = (low + high) / 2
        if (x_inner**p - 1) * growth_middle < growth_inner * (x_middle**p - 1):
            low = p
        else:
            high = p
    return (low + high) / 2
