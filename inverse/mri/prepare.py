"""From k-space to a problem: remove oversampling, whiten, compress, calibrate, scale."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.mri.kspace import KSpace
from inverse.problem import Problem
from operators import OperatorError
from operators.fourier import fft_centred, ifft_centred
from operators.mri import (
    Sense,
    compress,
    espirit,
    estimate_noise_covariance,
    find_calibration_region,
    noise_covariance,
    walsh,
    whiten,
    whitening_matrix,
)

__all__ = ["prepare"]

_CALIBRATION_WIDTH = 24
_KERNEL = 6
_SMALLEST_KERNEL = 3
_MANY_COILS = 16
_ENERGY_KEPT = 0.9995
_PEAK_QUANTILE = 0.995


@dataclass(slots=True)
class _Channels:
    """k-space on its way: samples, the matrix back to the raw channels, and what was done."""

    samples: torch.Tensor  # (slice, V, *grid)
    to_raw: torch.Tensor  # (C, V): these channels to the raw ones
    covariance: torch.Tensor  # (C, C)
    notes: dict[str, object] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def prepare(
    kspace: KSpace,
    *,
    maps: int = 1,
    device: torch.device | str = "cpu",
    n_virtual_coils: int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Problem:
    """Build the problem y = A x + n of a Cartesian multi-coil measurement.

    1. Readout oversampling is cut off.
    2. Channels are whitened with the noise scan, or with the noise found in the periphery of
       k-space. From here on noise has unit standard deviation in real and imaginary part.
    3. More than 16 channels are compressed, so that 99.95 % of the energy stays.
    4. ESPIRiT finds the coil maps of each slice in the fully sampled centre.
    5. Data are divided by the peak of the zero-filled image.

    Parameters
    ----------
    kspace : KSpace
    maps : {1, 2}
        Sets of coil maps; 2 where the object is larger than the field of view.
    device : torch.device or str
        Where the problem lives.
    n_virtual_coils : int, optional
        Compress to this many channels.
    progress : function, optional
        Called as progress("calibrate", slices done, slices).

    Returns
    -------
    Problem
        x is (slice, [map,] y, x) with independent slices, or ([map,] z, y, x) for a volume.

    Raises
    ------
    DataError
        If the centre of k-space is not sampled densely enough to calibrate, or holds no signal.
    UsageError
        If an argument is out of range or the device does not exist.
    """
    started = time.perf_counter()
    if maps not in {1, 2}:
        raise UsageError(f"maps expected 1 or 2, got {maps}")
    cropped = _without_oversampling(kspace)
    try:
        samples = _tensor(cropped.samples).to(device)
        mask = _tensor(cropped.mask).to(device)
    except (RuntimeError, AssertionError) as error:  # torch's own words name the driver's trouble
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{device}' cannot be used: {reason}") from error
    try:
        channels = _whitened(samples, mask, cropped.noise)
        channels = _compressed(channels, n_virtual_coils)
        csm = _calibrated(channels, mask, maps, progress)
    except OperatorError as error:
        raise DataError(f"calibration failed: {error}") from error
    operator, data = _encoding(csm, mask, channels.samples, maps, is_3d=kspace.is_3d)
    scale = _peak(operator.adjoint(data))
    n_sampled = mask.flatten(1).sum(1) * channels.samples.shape[1]
    n_samples = tuple(n_sampled.expand(len(samples)).tolist())
    grid = cropped.grid if kspace.recon_shape is None else cropped.grid.crop(kspace.recon_shape)
    return Problem(
        operator=operator,
        data=data / scale,
        noise_std=1 / scale,
        n_samples=n_samples[0] if kspace.is_3d else n_samples,
        grid=grid,
        n_batch_axes=0 if kspace.is_3d else 1,
        scale=scale,
        reference=kspace.reference,
        details={
            "csm": csm.cpu().numpy(),
            "mask": cropped.mask,
            "noise_covariance": channels.covariance.cpu().numpy(),
        },
        notes={
            "acceleration": round(cropped.acceleration, 3),
            "acceleration inside the acquired extent": round(_inner_acceleration(cropped.mask), 3),
            "channels": kspace.n_coils,
            **({"oversampling": "readout cropped"} if cropped is not kspace else {}),
            **channels.notes,
        },
        intensity=_intensity(csm, channels.to_raw),
        origin=kspace.origin,
        acquisition=kspace.acquisition,
        recipe={"maps": maps, "device": str(device), "n_virtual_coils": n_virtual_coils},
        seconds={"prepare": time.perf_counter() - started},
        warnings=(*kspace.warnings, *channels.warnings),
    )


def _tensor(array: NDArray[np.generic]) -> torch.Tensor:
    """Share memory with an array, unless it is read-only, which a tensor cannot be."""
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _without_oversampling(kspace: KSpace) -> KSpace:
    """Cut the readout, which is sampled fully, to the width the image is meant to have."""
    wanted = kspace.grid.shape[-1] if kspace.recon_shape is None else kspace.recon_shape[-1]
    width = kspace.grid.shape[-1]
    line = np.any(kspace.mask, axis=-1, keepdims=True)
    if wanted >= width or not (kspace.mask == line).all():
        return kspace
    start = width // 2 - wanted // 2
    hybrid = ifft_centred(_tensor(kspace.samples), (-1,))[..., start : start + wanted]
    samples = fft_centred(hybrid, (-1,)).numpy()
    mask = np.ascontiguousarray(kspace.mask[..., :wanted])
    shape = (*kspace.grid.shape[:2], wanted)
    return KSpace(
        samples=np.where(mask[:, None], samples, 0).astype(np.complex64),
        mask=mask,
        grid=kspace.grid.crop(shape),
        recon_shape=kspace.recon_shape,
        noise=kspace.noise,
        reference=kspace.reference,
        reference_kind=kspace.reference_kind,
        acquisition=kspace.acquisition,
        origin=kspace.origin,
    )


def _whitened(
    samples: torch.Tensor, mask: torch.Tensor, noise: NDArray[np.complex64] | None
) -> _Channels:
    warnings: list[str] = []
    if noise is not None and noise.shape[1] > 2 * len(noise):
        covariance = noise_covariance(_tensor(noise)).to(samples.device)
        source = f"noise scan of {noise.shape[1]} samples"
    else:
        # All slices share the receivers: the middle one speaks for them.
        middle = len(samples) // 2
        covariance = estimate_noise_covariance(samples[middle], mask[min(middle, len(mask) - 1)])
        source = "estimated from the periphery of k-space"
        warnings.append(
            "No noise scan: the noise was estimated from the outer k-space, and everything that is "
            "measured against it depends on that."
        )
    live = covariance.diagonal().real > 0
    kept = torch.nonzero(live).flatten()
    if not len(kept):
        raise DataError("k-space expected at least one channel with noise, all are silent")
    matrix = whitening_matrix(covariance[kept][:, kept], loading=1e-6)
    to_raw = matrix.new_zeros(len(covariance), len(kept))
    to_raw[kept] = torch.linalg.inv(matrix)
    notes: dict[str, object] = {"noise": source}
    if len(kept) < len(covariance):
        notes["silent channels"] = [int(c) for c in torch.nonzero(~live).flatten()]
    white = whiten(samples[:, kept], matrix, coil_axis=1)
    return _Channels(white, to_raw, covariance, notes, warnings)


def _compressed(channels: _Channels, wanted: int | None) -> _Channels:
    n_coils = channels.samples.shape[1]
    if wanted is not None and not 1 <= wanted <= n_coils:
        raise UsageError(f"n_virtual_coils expected 1 to {n_coils}, got {wanted}")
    if wanted is None and n_coils <= _MANY_COILS:
        return channels
    stacked = channels.samples.movedim(1, 0)
    energy = torch.linalg.eigvalsh(_gram(stacked)).flip(0).clamp_min(0).cumsum(0)
    enough = int((energy < _ENERGY_KEPT * energy[-1]).sum()) + 1
    found = compress(stacked, min(max(enough, 8), n_coils) if wanted is None else wanted)
    note = f"{found.matrix.shape[0]} virtual channels, {found.energy_kept:.2%} of the energy"
    return _Channels(
        found.kspace.movedim(0, 1),
        channels.to_raw @ found.matrix.mH.to(channels.to_raw.dtype),
        channels.covariance,
        {**channels.notes, "compression": note},
        channels.warnings,
    )


def _gram(stacked: torch.Tensor) -> torch.Tensor:
    flat = stacked.flatten(1)
    return flat @ flat.mH


def _calibrated(
    channels: _Channels,
    mask: torch.Tensor,
    maps: int,
    progress: Callable[[str, int, int], None] | None,
) -> torch.Tensor:
    """(slice, M, V, *grid) coil maps of unit norm."""
    samples = channels.samples
    grid = tuple(samples.shape[2:])
    if samples.shape[1] == 1:
        channels.notes["maps"] = "one channel, taken as uniform"
        return samples.new_ones((len(samples), 1, 1, *grid))
    found = []
    for index, one in enumerate(samples):
        sampled = mask[min(index, len(mask) - 1)]
        region = find_calibration_region(sampled, max_width=_CALIBRATION_WIDTH)
        centre = one[(slice(None), *region)]
        kernel = min(_KERNEL, min(centre.shape[1:]) // 2)
        if index == 0:
            _note_maps(channels, tuple(centre.shape[1:]), kernel, maps)
        if kernel >= _SMALLEST_KERNEL:
            found.append(espirit(centre, grid, n_maps=maps, kernel=kernel, noise_std=1.0).csm)
        elif maps == 1:
            found.append(walsh(_low_resolution(one, region))[None])
        else:
            raise DataError(
                f"two sets of maps expected at least {2 * _SMALLEST_KERNEL} calibration samples "
                f"on every axis, got {tuple(centre.shape[1:])}; use one set"
            )
        if progress is not None:
            progress("calibrate", index + 1, len(samples))
    return torch.stack(found)


def _note_maps(channels: _Channels, region: tuple[int, ...], kernel: int, maps: int) -> None:
    size = "x".join(str(n) for n in region)
    sets = f"{maps} set{'s' if maps > 1 else ''}"
    way = f"ESPIRiT, {sets}, {kernel}-wide kernel" if kernel >= _SMALLEST_KERNEL else "Walsh"
    channels.notes["maps"] = f"{way}, {size} calibration samples"
    if kernel < _KERNEL:
        channels.warnings.append(
            f"Only {size} calibration samples: coil maps are rough, aliasing may remain."
        )


def _low_resolution(samples: torch.Tensor, region: tuple[slice, ...]) -> torch.Tensor:
    """(V, *grid) coil images of the calibration region alone."""
    centre = torch.zeros_like(samples)
    centre[(slice(None), *region)] = samples[(slice(None), *region)]
    return ifft_centred(centre, tuple(range(1, samples.ndim)))


def _encoding(
    csm: torch.Tensor, mask: torch.Tensor, samples: torch.Tensor, maps: int, *, is_3d: bool
) -> tuple[Sense, torch.Tensor]:
    soft = maps > 1
    coil_maps = csm if soft else csm[:, 0]
    if is_3d:
        return Sense(coil_maps[0], mask[0], grid_ndim=3, soft=soft), samples[0]
    return Sense(coil_maps, mask if len(mask) > 1 else mask[0], soft=soft), samples


def _peak(image: torch.Tensor) -> float:
    """Brightest of the slices' 99.5 % quantiles: the object's level, wherever it lies."""
    slices = image.abs().reshape(-1, image.shape[-2] * image.shape[-1])
    peak = max(float(torch.quantile(one, _PEAK_QUANTILE)) for one in slices)
    if not peak > 0:
        raise DataError("calibration found no signal above the noise: the image is zero everywhere")
    return peak


def _inner_acceleration(mask: NDArray[np.bool_]) -> float:
    """Undersampling within the ellipse that the acquired samples reach to.

    Partial Fourier, zero padding and elliptical shutters leave k-space empty at its edge; that
    costs resolution, but nothing inside has to be filled in.
    """
    reached = np.asarray(mask.any(0), dtype=bool)
    inside = np.zeros(reached.shape)
    for axis, n in enumerate(reached.shape):
        found = np.flatnonzero(np.moveaxis(reached, axis, 0).reshape(n, -1).any(1))
        middle, half = (found[0] + found[-1]) / 2, (found[-1] - found[0] + 1) / 2
        shape = [n if a == axis else 1 for a in range(reached.ndim)]
        inside = inside + (((np.arange(n) - middle) / half) ** 2).reshape(shape)
    within = inside <= 1
    return float(within.sum() * len(mask) / max(int((mask & within).sum()), 1))


def _intensity(csm: torch.Tensor, to_raw: torch.Tensor) -> NDArray[np.floating]:
    """Norm over the raw channels of what the maps say, (slice or z, y, x).

    Maps have unit norm over whitened channels, whose unit is the noise. Raw channels of different
    gain would weigh the image by where the quiet ones are; this undoes it.
    """
    raw = whiten(csm[:, 0], to_raw, coil_axis=1)
    norm = torch.linalg.vector_norm(raw, dim=1)
    return np.asarray(norm.reshape(-1, *norm.shape[-2:]).cpu().numpy())
