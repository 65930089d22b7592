"""The MRI measurement: Cartesian multi-coil k-space as it was in the file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid

if TYPE_CHECKING:
    from inverse.problem import Problem

__all__ = ["KSpace"]


@dataclass(frozen=True, slots=True, eq=False)
class KSpace:
    """Cartesian multi-coil k-space with its sampling, geometry and noise.

    k-space is centred: the zero frequency is at index n//2 of every axis, so that a centred
    orthonormal FFT of it is the coil images.

    Parameters
    ----------
    samples : (slice, coil, *grid), complex64
        Raw samples, zero where nothing was acquired; grid is (y, x) for slices, (z, y, x) for one
        volume (then slice is 1). x is the readout. Averages have been averaged.
    mask : (1 or slice, *grid), bool
        True where a sample was acquired; 1 when all slices share it.
    grid : Grid
        Geometry of the *encoded* matrix (readout oversampling included); grid.shape is
        (slice, y, x) or (z, y, x).
    recon_shape : (nz, ny, nx), optional
        Size that the scanner meant the image to have; the image is cropped to it about its centre.
        At most the size of `grid`, which is also the default.
    noise : (coil, n), complex64, optional
        Noise-only samples, scaled to the receiver bandwidth of `samples`.
    reference : (z, y, x), optional
        Ground truth stored in the file (simulations, fastMRI), on the cropped grid.
    reference_kind : {"magnitude", "complex", "rss"}, optional
        What `reference` is.
    acquisition : dict
        Allow-listed facts for the output headers, never a name, date or identifier: field_t,
        echo_time_ms, repetition_time_ms, flip_angle_deg, inversion_time_ms, ...
    origin : dict
        Where it came from: format, sha256 of each file, reader notes ("averaged 2 repetitions").
    warnings : tuple of str
        What a person should know before an image of these samples is trusted.

    Raises
    ------
    DataError
        If shapes disagree, samples are not complex64, one is not finite or lies outside the mask,
        or nothing was sampled.
    """

    samples: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    grid: Grid
    recon_shape: tuple[int, int, int] | None = None
    noise: NDArray[np.complex64] | None = None
    reference: NDArray[np.generic] | None = None
    reference_kind: str | None = None
    acquisition: dict[str, float | str] = field(default_factory=dict)
    origin: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_samples()

    def _check_shapes(self) -> None:
        spatial = self.samples.shape[2:]
        if self.samples.ndim not in {4, 5} or (self.samples.ndim == 5 and len(self.samples) != 1):
            raise DataError(
                f"k-space expected shape (slice, coil, y, x) or (1, coil, z, y, x), "
                f"got {self.samples.shape}"
            )
        if self.mask.shape[1:] != spatial or self.mask.shape[0] not in {1, len(self.samples)}:
            raise DataError(
                f"k-space of shape {self.samples.shape} expected a mask of shape "
                f"(1 or {len(self.samples)}, {', '.join(map(str, spatial))}), got {self.mask.shape}"
            )
        volume = spatial if self.is_3d else (len(self.samples), *spatial)
        if self.grid.shape != volume:
            raise DataError(f"k-space expected a grid of {volume} voxels, got {self.grid.shape}")
        if self.noise is not None and (self.noise.ndim != 2 or len(self.noise) != self.n_coils):
            raise DataError(f"noise expected shape ({self.n_coils}, n), got {self.noise.shape}")
        wanted = volume if self.recon_shape is None else tuple(self.recon_shape)
        if len(wanted) != 3 or any(not 1 <= w <= n for w, n in zip(wanted, volume, strict=True)):
            raise DataError(
                f"recon_shape expected three sizes from 1 to those of the encoded grid {volume}, "
                f"got {wanted}; an image is cropped, never padded"
            )
        if self.reference is not None and self.reference.shape != wanted:
            raise DataError(
                f"the reference expected the shape {wanted} of the cropped grid, "
                f"got {self.reference.shape}"
            )

    def _check_samples(self) -> None:
        if self.samples.dtype != np.complex64:
            raise DataError(
                f"k-space expected complex64 samples, got {self.samples.dtype}; "
                f"convert them with samples.astype(numpy.complex64)"
            )
        if self.mask.dtype != np.bool_:
            raise DataError(
                f"k-space expected a mask of booleans, got {self.mask.dtype}; "
                f"convert it with mask.astype(bool)"
            )
        if not self.mask.any():
            raise DataError("k-space expected at least one sample, the mask is empty")
        bad = ~np.isfinite(self.samples)
        if bad.any():
            first = tuple(int(i) for i in np.argwhere(bad)[0])
            raise DataError(
                f"k-space holds {int(bad.sum())} samples that are NaN or infinite, "
                f"the first at [slice, coil, ...] = {first}"
            )
        for index, one in enumerate(self.samples):
            # A stray sample would count as measured data that no image can explain.
            if one[:, ~self.mask[min(index, len(self.mask) - 1)]].any():
                raise DataError(
                    f"k-space expected zeros where the mask says not sampled, got other values in "
                    f"slice {index}; pass samples * mask[:, None], or the mask of all samples"
                )

    def __repr__(self) -> str:
        size = " x ".join(str(n) for n in self.grid.shape)
        return f"<KSpace {size}, {self.n_coils} coils, R = {self.acceleration:.2f}>"

    @property
    def is_3d(self) -> bool:
        """True for one volume with two phase-encode axes, False for slices."""
        return self.samples.ndim == 5

    @property
    def n_slices(self) -> int:
        """Number of slices that are encoded separately (1 for a volume)."""
        return int(self.samples.shape[0])

    @property
    def n_coils(self) -> int:
        """Number of receive channels."""
        return int(self.samples.shape[1])

    @property
    def acceleration(self) -> float:
        """Matrix size over number of samples."""
        return float(self.mask.size / self.mask.sum())

    def prepare(
        self,
        *,
        maps: int = 1,
        device: str = "cpu",
        n_virtual_coils: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> Problem:
        """Build the problem y = A x + n; see `inverse.mri.prepare.prepare`."""
        from inverse.mri.prepare import prepare

        return prepare(
            self, maps=maps, device=device, n_virtual_coils=n_virtual_coils, progress=progress
        )
