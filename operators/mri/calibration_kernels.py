"""What the calibration data say about k-space neighbourhoods: the ESPIRiT operator's kernels."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["calibration_gram", "kernel_correlations", "signal_rank"]

_FLOOR = 1e-3
_MAX_REFINEMENTS = 10


def calibration_gram(calibration: torch.Tensor, kernel: int) -> tuple[torch.Tensor, int]:
    """Compute the Gram matrix of all k-space patches in the calibration data.

    R = sum_p a_p a_p^H,  a_p = patch of kernel^d samples of all coils at position p

    Its eigenvectors are the right singular vectors of the calibration matrix, at the cost of a
    matrix of side C kernel^d instead of one row a patch.

    Parameters
    ----------
    calibration : Tensor, (C, *region), complex
        Fully sampled centre of k-space.
    kernel : int
        Width of a patch on every axis.

    Returns
    -------
    gram : Tensor, (C*kernel**d, C*kernel**d), complex128
        R, rows ordered (coil, *offset).
    n_patches : int
        Number of positions p.

    References
    ----------
    Uecker et al. 2014, doi:10.1002/mrm.24751, eq. 4

    Examples
    --------
    >>> gram, n_patches = calibration_gram(torch.ones(2, 5, 5, dtype=torch.complex64), 3)
    >>> gram.shape, n_patches
    (torch.Size([18, 18]), 9)
    """
    ndim = calibration.ndim - 1
    # squaring halves the digits: small singular values need double precision
    patches = calibration.to(torch.complex128)
    for axis in range(1, ndim + 1):
        patches = patches.unfold(axis, kernel, 1)
    n_patches = math.prod(patches.shape[1 : 1 + ndim])
    columns = patches.movedim(0, ndim).reshape(n_patches, -1).mT
    return columns @ columns.mH, n_patches


def signal_rank(
    singular_values: torch.Tensor, n_rows: int, n_columns: int, noise_std: float | None = None
) -> int:
    """Count the singular values of a calibration matrix that stand above its noise.

    The threshold is that of Gavish and Donoho, optimal for the mean squared error of the
    truncated matrix: lambda(beta) sqrt(2 n) noise_std, with n the longer and m the shorter side,
    beta = m/n and

    lambda(beta)^2 = 2 (beta + 1) + 8 beta / (beta + 1 + sqrt(beta^2 + 14 beta + 1))

    Without a noise level, that is read from the median of the values below the threshold, which
    for white noise follows the Marchenko-Pastur law, and the split is repeated until it stands
    still. Noise that is not white has no such split: then the first one stays, and whitening the
    data beforehand is better. Values below 1e-3 of the largest are never signal, so that
    noise-free data do not promote their round-off.

    Parameters
    ----------
    singular_values : Tensor, (min(n_rows, n_columns),), real
        In descending order.
    n_rows, n_columns : int
        Shape of the calibration matrix.
    noise_std : float, optional
        Standard deviation of the real and of the imaginary part of each sample.

    Returns
    -------
    int
        Rank of the signal space, at least 1.

    References
    ----------
    Gavish and Donoho 2014, doi:10.1109/TIT.2014.2323359, eqs. 2-4

    Examples
    --------
    >>> signal_rank(torch.tensor([9.0, 5.0, 0.1, 0.1, 0.1]), 5, 100, noise_std=0.01)
    2
    """
    values = singular_values.cpu().double().numpy()
    short, long = sorted((n_rows, n_columns))

    def count(level: float) -> int:
        return int((values > _optimal_threshold(short / long) * math.sqrt(long) * level).sum())

    if noise_std is None:
        rank = _rank_above_own_noise(values, short, long, count)
    else:
        rank = count(math.sqrt(2) * noise_std)
    return max(1, min(rank, int((values > _FLOOR * values[0]).sum())))


def _rank_above_own_noise(
    values: NDArray[np.float64], short: int, long: int, count: Callable[[float], int]
) -> int:
    """Iterate to a fixed point: noise from the values beyond the rank, rank from the noise."""

    def refined(rank: int) -> int:
        if rank == short:
            return rank
        # removing `rank` signal directions leaves noise with both sides shorter by that many
        rows, columns = long - rank, short - rank
        median = math.sqrt(_marchenko_pastur_median(columns / rows) * rows)
        return count(float(np.median(values[rank:])) / median)

    first = rank = refined(0)
    for _ in range(_MAX_REFINEMENTS):
        previous, rank = rank, refined(rank)
        if rank == previous:
            return rank
    return first


def _optimal_threshold(beta: float) -> float:
    root = math.sqrt(beta * beta + 14 * beta + 1)
    return math.sqrt(2 * (beta + 1) + 8 * beta / (beta + 1 + root))


def _marchenko_pastur_median(beta: float) -> float:
    """Median of the squared singular values of a noise matrix with unit-variance columns."""
    low, high = (1 - math.sqrt(beta)) ** 2, (1 + math.sqrt(beta)) ** 2
    # x = mid - half cos(t) removes the square roots at both edges from the integrand
    angle = (np.arange(2000) + 0.5) * (math.pi / 2000)
    x = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    mass = np.cumsum(np.sin(angle) ** 2 / x)
    return float(np.interp(0.5, mass / mass[-1], x))


def kernel_correlations(
    signal_space: torch.Tensor, n_coils: int, kernel: int, ndim: int
) -> torch.Tensor:
    """Compute the correlations of the signal-space kernels over all k-space offsets.

    H_{cc'}(d) = kernel^-ndim sum_{i - j = d} (V V^H)_{(c,i),(c',j)}

    They are the Fourier coefficients of the ESPIRiT operator G(r) = sum_d H(d) exp(2 pi i d.r/N).

    Parameters
    ----------
    signal_space : Tensor, (n_coils*kernel**ndim, rank), complex
        V, orthonormal columns.
    n_coils, kernel, ndim : int
        Coils, width of a patch, axes of k-space.

    Returns
    -------
    Tensor, (*[2*kernel - 1]*ndim, n_coils, n_coils), dtype of `signal_space`
        H; offset d is at index d + kernel - 1.

    References
    ----------
    Uecker et al. 2014, doi:10.1002/mrm.24751, eqs. 10-13

    Examples
    --------
    >>> V = torch.ones(9, 1, dtype=torch.complex64) / 3
    >>> H = kernel_correlations(V, 1, 3, 2)
    >>> H.shape, round(float(H.sum().real), 6)
    (torch.Size([5, 5, 1, 1]), 1.0)
    """
    offsets = kernel**ndim
    projection = (signal_space @ signal_space.mH).reshape(n_coils, offsets, n_coils, offsets)
    # (*i, j, c, c')
    blocks = projection.permute(1, 3, 0, 2).reshape(*(kernel,) * ndim, offsets, n_coils, n_coils)
    correlations: torch.Tensor = blocks.new_zeros(*(2 * kernel - 1,) * ndim, n_coils, n_coils)
    for j, offset in enumerate(itertools.product(range(kernel), repeat=ndim)):
        window = tuple(slice(kernel - 1 - o, 2 * kernel - 1 - o) for o in offset)
        correlations[window] += blocks[(slice(None),) * ndim + (j,)]
    correlations /= kernel**ndim
    return correlations
