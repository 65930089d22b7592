"""Receiver noise: its covariance over the coils, and the transform that makes it white."""

from __future__ import annotations

import math

import torch

from operators.errors import CalibrationError, DtypeError, ShapeError

__all__ = ["noise_covariance", "whiten", "whitening_matrix"]

_SINGULAR = 1e-10


def noise_covariance(noise: torch.Tensor) -> torch.Tensor:
    """Estimate the covariance of the receiver noise from noise-only samples.

    Psi = 1/(n-1) sum_t (z_t - mean) (z_t - mean)^H

    The diagonal is the variance of whole complex samples: twice that of the real part.

    Parameters
    ----------
    noise : Tensor, (C, n), complex
        Samples acquired without excitation, at the receiver bandwidth of the k-space data.

    Returns
    -------
    Tensor, (C, C), complex128
        Psi, Hermitian, unbiased.

    Raises
    ------
    ShapeError
        If there are not more samples than coils.
    DtypeError
        If `noise` is not complex.
    CalibrationError
        If a sample is not finite.

    References
    ----------
    Kellman and McVeigh 2005, doi:10.1002/mrm.20713

    Examples
    --------
    >>> noise_covariance(torch.tensor([[1.0 + 0j, -1.0, 0.0]])).real
    tensor([[1.]], dtype=torch.float64)
    """
    _check_samples(noise, "noise")
    samples = noise.to(torch.complex128)
    samples = samples - samples.mean(-1, keepdim=True)
    return samples @ samples.mH / (noise.shape[1] - 1)


def _check_samples(samples: torch.Tensor, name: str) -> None:
    if samples.ndim != 2 or samples.shape[1] <= samples.shape[0]:
        raise ShapeError(
            f"{name} expected shape (coil, n) with more samples than coils, "
            f"got {tuple(samples.shape)}"
        )
    if not samples.dtype.is_complex:
        raise DtypeError(f"{name} must be complex, got {samples.dtype}")
    if not bool(samples.isfinite().all()):
        raise CalibrationError(f"{name} holds samples that are NaN or infinite. Remove them.")


def whitening_matrix(covariance: torch.Tensor, *, loading: float = 0.0) -> torch.Tensor:
    """Compute the coil transform after which noise is white with unit standard deviation.

    W = sqrt(2) L^-1,  Psi + loading trace(Psi)/C I = L L^H

    Then E[(W z)(W z)^H] = 2 I: real and imaginary part of every virtual channel have standard
    deviation 1 each and are independent.

    Parameters
    ----------
    covariance : Tensor, (C, C), complex
        Psi, the covariance of complex samples, see `noise_covariance`.
    loading : float
        Variance added to every channel, relative to the mean one. Above zero it admits channels
        that are dead or copies of each other, and whitens to less than unit variance.

    Returns
    -------
    Tensor, (C, C), complex128
        W, lower triangular.

    Raises
    ------
    ShapeError
        If `covariance` is not a square matrix.
    CalibrationError
        If it is not Hermitian and positive definite after loading.

    References
    ----------
    Pruessmann et al. 2001, doi:10.1002/mrm.1241, appendix B

    Examples
    --------
    >>> whitening_matrix(torch.tensor([[8.0 + 0j]])).real
    tensor([[0.5000]], dtype=torch.float64)
    """
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ShapeError(
            f"a noise covariance is a (coil, coil) matrix, got {tuple(covariance.shape)}"
        )
    psi = covariance.to(torch.complex128)
    scale = psi.diagonal().real.mean()
    if not bool(psi.isfinite().all()) or not bool(scale > 0):
        raise CalibrationError("a noise covariance must be finite with positive variances")
    if not torch.allclose(psi, psi.mH, rtol=0, atol=1e-5 * float(scale)):
        raise CalibrationError(
            "a noise covariance is Hermitian, but this matrix is not: average z z^H over samples"
        )
    psi = (psi + psi.mH) / 2 + loading * scale * torch.eye(len(psi), dtype=psi.dtype).to(psi.device)
    _check_definite(psi)
    identity = torch.eye(len(psi), dtype=psi.dtype, device=psi.device)
    lower = torch.linalg.cholesky(psi)
    inverse: torch.Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return math.sqrt(2) * inverse


def _check_definite(psi: torch.Tensor) -> None:
    """Judge the correlation matrix: a weak channel is no defect, a dead or dependent one is."""
    variance = psi.diagonal().real
    dead = torch.nonzero(variance <= _SINGULAR**2 * variance.max()).flatten().tolist()
    if dead:
        raise CalibrationError(
            f"channels {dead} carry no noise: they are switched off. Remove them from the data, "
            f"or keep them with loading=1e-6."
        )
    gain = variance.rsqrt().to(psi.dtype)
    smallest = float(torch.linalg.eigvalsh(gain[:, None] * psi * gain)[0])
    if smallest < _SINGULAR:
        raise CalibrationError(
            f"the noise covariance is singular: the smallest eigenvalue of the correlation is "
            f"{smallest:.1e}, expected more than {_SINGULAR:.0e}. Some channels depend on others: "
            f"compress the coils first, or use loading=1e-6."
        )


def whiten(kspace: torch.Tensor, matrix: torch.Tensor, *, coil_axis: int = 0) -> torch.Tensor:
    """Apply a matrix over the coils, as whitening and compression do.

    y'_v = sum_c W_vc y_c

    Parameters
    ----------
    kspace : Tensor, (..., C, ...), complex
        k-space or coil images.
    matrix : Tensor, (V, C), complex
        W; cast to the precision of `kspace`.
    coil_axis : int
        Axis of `kspace` that counts coils: 0 for (C, *grid), 1 for (slice, C, *grid).

    Returns
    -------
    Tensor, (..., V, ...), dtype of `kspace`

    Raises
    ------
    ShapeError
        If the matrix does not fit the number of coils.

    Examples
    --------
    >>> whiten(torch.ones(2, 3, dtype=torch.complex64), torch.ones(1, 2) / 2).real
    tensor([[1., 1., 1.]])
    """
    if matrix.ndim != 2 or matrix.shape[1] != kspace.shape[coil_axis]:
        raise ShapeError(
            f"a coil matrix for {kspace.shape[coil_axis]} coils must have shape "
            f"(V, {kspace.shape[coil_axis]}), got {tuple(matrix.shape)}"
        )
    mixed: torch.Tensor = torch.tensordot(matrix.to(kspace.dtype), kspace, dims=([1], [coil_axis]))
    return mixed.movedim(0, coil_axis)
