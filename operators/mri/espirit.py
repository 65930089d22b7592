"""ESPIRiT: coil sensitivity maps as eigenvectors of an operator learnt from calibration data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from operators.errors import CalibrationError, DtypeError, ShapeError
from operators.fourier import ifft_centred
from operators.mri.calibration_kernels import (
    calibration_gram,
    kernel_correlations,
    signal_rank,
)
from operators.mri.eigenmaps import leading_eigenvectors
from operators.mri.phase_reference import rotate_phase, virtual_coil

__all__ = ["EspiritMaps", "espirit"]

# bytes of voxel matrices worked on at once: about a cache on the host, plenty of threads elsewhere
_CHUNK_BYTES = {"cpu": 2**21}
_CHUNK_BYTES_OF_ACCELERATOR = 2**28


@dataclass(frozen=True, slots=True, eq=False)
class EspiritMaps:
    """Coil sensitivity maps with what is known of their reliability.

    Unpacks as ``csm, eigenvalues = espirit(...)``.

    Parameters
    ----------
    csm : Tensor, (M, C, *grid), complex
        Maps of unit norm over the coils, zero outside `support`, ordered by eigenvalue.
    eigenvalues : Tensor, (M, *grid), real
        In [0, 1] up to rounding; 1 where the map explains the calibration data fully, uncropped.
    crop : float
        Eigenvalue below which maps were set to zero.
    rank : int
        Dimension of the signal space of the calibration matrix.
    threshold : float
        Smallest singular value kept, relative to the largest.
    """

    csm: torch.Tensor
    eigenvalues: torch.Tensor
    crop: float
    rank: int
    threshold: float

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield self.csm
        yield self.eigenvalues

    @property
    def support(self) -> torch.Tensor:
        """(M, *grid) bool, False where the maps were cropped: leave those voxels out of metrics."""
        return self.eigenvalues >= self.crop


def espirit(
    calibration: torch.Tensor,
    shape: tuple[int, ...],
    *,
    n_maps: int = 1,
    kernel: int = 6,
    crop: float = 0.8,
    threshold: float | None = None,
    noise_std: float | None = None,
) -> EspiritMaps:
    """Estimate coil sensitivity maps from the fully sampled centre of k-space.

    G(r) s_m(r) = l_m(r) s_m(r)

    G(r), one C x C matrix a voxel, projects the coil vector of a voxel onto what the signal space
    of the calibration matrix allows; maps are its eigenvectors of eigenvalue one. G is a
    trigonometric polynomial of degree kernel - 1 and is evaluated from its coefficients.

    Parameters
    ----------
    calibration : Tensor, (C, *region), complex
        Fully sampled centre of k-space, zero frequency at index n//2; see
        `find_calibration_region`. 24 samples an axis are usual.
    shape : tuple of int
        Image grid of the maps, (y, x) or (z, y, x), of the same field of view.
    n_maps : int
        Maps a voxel; 2 where the object exceeds the field of view.
    kernel : int
        Width of the k-space kernels on every axis.
    crop : float
        Maps are zero where their eigenvalue is smaller.
    threshold : float, optional
        Smallest singular value of the signal space, relative to the largest. By default the
        noise decides (see `signal_rank`).
    noise_std : float, optional
        Standard deviation of the real and of the imaginary part of each sample, for the default
        threshold; estimated from the calibration matrix when absent.

    Returns
    -------
    EspiritMaps
        Maps whose phase is relative to one virtual coil (see `virtual_coil`).

    Raises
    ------
    ShapeError
        If `calibration` and `shape` disagree, or `n_maps` exceeds the number of coils.
    DtypeError
        If `calibration` is not complex.
    CalibrationError
        If the region is too small for the kernel, or holds no signal.

    References
    ----------
    Uecker et al. 2014, doi:10.1002/mrm.24751

    Examples
    --------
    >>> kspace = torch.randn(2, 12, 12, dtype=torch.complex64)
    >>> maps = espirit(kspace, (32, 32), kernel=4)
    >>> maps.csm.shape
    torch.Size([1, 2, 32, 32])
    """
    _check(calibration, shape, n_maps, kernel)
    n_coils, ndim = calibration.shape[0], calibration.ndim - 1
    gram, n_patches = calibration_gram(calibration, kernel)
    values, vectors = torch.linalg.eigh(gram)
    singular = values.clamp_min(0).sqrt().flip(0)[: min(n_patches, len(values))]
    if threshold is None:
        rank = signal_rank(singular, n_patches, len(values), noise_std)
    else:
        rank = int((singular >= threshold * singular[0]).sum())
    signal_space = vectors[:, -rank:]
    coefficients = kernel_correlations(signal_space, n_coils, kernel, ndim)
    csm, eigenvalues = _maps_on_grid(coefficients.to(calibration.dtype), shape, n_maps)
    low_resolution = ifft_centred(calibration, tuple(range(1, calibration.ndim)))
    csm = rotate_phase(csm, virtual_coil(low_resolution), coil_axis=1)
    csm *= (eigenvalues >= crop)[:, None]
    kept = float(singular[rank - 1] / singular[0])
    return EspiritMaps(csm, eigenvalues, crop, rank, kept)


def _check(calibration: torch.Tensor, shape: tuple[int, ...], n_maps: int, kernel: int) -> None:
    if not calibration.dtype.is_complex:
        raise DtypeError(f"calibration data must be complex k-space, got {calibration.dtype}")
    region = tuple(calibration.shape[1:])
    if len(shape) not in {2, 3} or len(region) != len(shape):
        raise ShapeError(
            f"espirit expected calibration data (coil, y, x) or (coil, z, y, x) and a grid of as "
            f"many axes, got {tuple(calibration.shape)} and {tuple(shape)}"
        )
    if any(have > want for have, want in zip(region, shape, strict=True)):
        raise ShapeError(f"the calibration region {region} exceeds the image grid {tuple(shape)}")
    if not 1 <= n_maps <= len(calibration):
        raise ShapeError(
            f"espirit can give 1 to {len(calibration)} maps for as many coils, got n_maps={n_maps}"
        )
    if min(region) < 2 * kernel:
        raise CalibrationError(
            f"a kernel of {kernel} needs at least {2 * kernel} fully sampled lines on every axis "
            f"(24 are usual), got {region}. Acquire more, use kernel={max(1, min(region) // 2)}, "
            f"or combine adaptively with walsh."
        )
    if not bool(calibration.isfinite().all()) or not bool(calibration.any()):
        raise CalibrationError("the calibration data must be finite and not all zero")


def _maps_on_grid(
    coefficients: torch.Tensor, shape: tuple[int, ...], n_maps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvectors (M, C, *grid) and eigenvalues (M, *grid) of G at every voxel."""
    n_coils = coefficients.shape[-1]
    csm = coefficients.new_empty(n_maps, n_coils, math.prod(shape))
    eigenvalues = csm.real.new_empty(n_maps, math.prod(shape))
    start = 0
    for matrices in _matrices(coefficients, shape):
        stop = start + len(matrices)
        vectors, values = leading_eigenvectors(matrices, n_maps)
        csm[..., start:stop] = vectors.permute(2, 1, 0)
        eigenvalues[:, start:stop] = values.T
        start = stop
    return csm.reshape(n_maps, n_coils, *shape), eigenvalues.reshape(n_maps, *shape)


def _matrices(coefficients: torch.Tensor, shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
    """G(r) as (n, C, C), chunk by chunk in the order of the flattened grid."""
    *band, n_coils, _ = coefficients.shape
    waves = [_plane_waves(n, width, coefficients) for n, width in zip(shape, band, strict=True)]
    budget = _CHUNK_BYTES.get(coefficients.device.type, _CHUNK_BYTES_OF_ACCELERATOR)
    row_bytes = shape[-1] * n_coils**2 * coefficients.element_size()
    n_rows = max(1, budget // row_bytes)
    for leading in itertools.product(*(range(n) for n in shape[:-2])):
        plane = coefficients
        for wave, index in zip(waves, leading, strict=False):
            plane = torch.tensordot(wave[index], plane, dims=1)
        for rows in waves[-2].split(n_rows):
            lines = torch.tensordot(rows, plane, dims=1)  # (row, offset, C, C)
            matrices = waves[-1] @ lines.flatten(2)
            yield matrices.reshape(-1, n_coils, n_coils)


def _plane_waves(n: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """exp(2 pi i d r / n) for centred r (rows) and offsets d in [-(width//2), width//2]."""
    position = torch.arange(n, dtype=torch.float64, device=like.device) - n // 2
    offset = torch.arange(width, dtype=torch.float64, device=like.device) - width // 2
    angle = torch.outer(position, offset) * (2 * math.pi / n)
    return torch.polar(torch.ones_like(angle), angle).to(like.dtype)
