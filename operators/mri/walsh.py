"""Adaptive combination: coil maps from the local covariance of coil images."""

from __future__ import annotations

import torch

from operators.errors import DtypeError, ShapeError
from operators.mri.eigenmaps import leading_eigenvectors
from operators.mri.phase_reference import rotate_phase, virtual_coil

__all__ = ["walsh"]

_CHUNK = 2**14


def walsh(images: torch.Tensor, *, window: int = 7) -> torch.Tensor:
    """Estimate coil maps as leading eigenvectors of the smoothed local coil covariance.

    R(r) = sum_{q in window(r)} x(q) x(q)^H,  R s = l_1 s

    The simple choice where calibration data are too few for ESPIRiT; it knows nothing of
    k-space and gives maps, of noise, outside the object too.

    Parameters
    ----------
    images : Tensor, (C, *grid), complex
        Coil images in 2-D or 3-D, of low resolution (from calibration data) or full.
    window : int
        Odd width of the averaging box on every axis, in voxels; at the border the box is cut.

    Returns
    -------
    Tensor, (C, *grid), dtype of `images`
        Maps of unit norm over coils, zero where all images are; phase relative to one
        virtual coil (see `virtual_coil`).

    Raises
    ------
    ShapeError
        If `images` is not (C, y, x) or (C, z, y, x), or `window` is not odd.
    DtypeError
        If `images` is not complex.

    References
    ----------
    Walsh et al. 2000, doi:10.1002/(SICI)1522-2594(200005)43:5<682::AID-MRM10>3.0.CO;2-G, eq. 9

    Examples
    --------
    >>> walsh(torch.ones(4, 8, 8, dtype=torch.complex64))[0, 0, 0].real
    tensor(0.5000)
    """
    if images.ndim not in {3, 4}:
        raise ShapeError(
            f"walsh expected images (coil, y, x) or (coil, z, y, x), got {tuple(images.shape)}"
        )
    if window < 1 or window % 2 == 0:
        raise ShapeError(f"walsh expected an odd window of at least 1 voxel, got {window}")
    if not images.dtype.is_complex:
        raise DtypeError(f"walsh expected complex images, got {images.dtype}")
    covariance = _local_covariance(images, window)
    csm = torch.cat([leading_eigenvectors(part, 1)[0][..., 0] for part in covariance.split(_CHUNK)])
    return rotate_phase(csm.T.reshape(images.shape), virtual_coil(images), coil_axis=0)


def _local_covariance(images: torch.Tensor, window: int) -> torch.Tensor:
    """R as (voxel, C, C), one row of coils at a time to bound the temporary memory."""
    n_coils = len(images)
    covariance = images.new_empty(images[0].numel(), n_coils, n_coils)
    for row in range(n_coils):
        products = images[row] * images[row:].conj()
        smooth = _box_sum(products, window).flatten(1)
        covariance[:, row, row:] = smooth.T
        covariance[:, row:, row] = smooth.mH
    return covariance


def _box_sum(stack: torch.Tensor, window: int) -> torch.Tensor:
    """Sum over a box about each voxel, on every axis but the first.

    Shifted sums, unlike differences of a running sum, do not cancel where the image is dark.
    """
    half = window // 2
    for axis in range(1, stack.ndim):
        total = stack.clone()
        for shift in range(1, min(half, stack.shape[axis] - 1) + 1):
            kept = stack.shape[axis] - shift
            total.narrow(axis, 0, kept).add_(stack.narrow(axis, shift, kept))
            total.narrow(axis, shift, kept).add_(stack.narrow(axis, 0, kept))
        stack = total
    return stack
