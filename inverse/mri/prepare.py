"""From k-space to a problem: remove oversampling, whiten, compress, calibrate, scale."""

from __future__ import annotations

import time
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
    whiten,
    whitening_matrix,
)

__all__ = ["prepare"]

_CALIBRATION_WIDTH = 24
_KERNEL = 6
_MANY_COILS = 16
_ENERGY_KEPT = 0.9995
_PEAK_QUANTILE = 0.995


@dataclass(slots=True)
class _Channels:
    """k-space on its way: samples, the matrix that made its channels, and what was done."""

    samples: torch.Tensor  # (slice, V, *grid)
    matrix: torch.Tensor  # (V, C): raw channels to these
    covariance: torch.Tensor  # (C, C)
    notes: dict[str, object] = field(default_factory=dict)


def prepare(
    kspace: KSpace,
    *,
    maps: int = 1,
    device: torch.device | str = "cpu",
    n_virtual_coils: int | None = None,
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
        samples = torch.from_numpy(cropped.samples).to(device)
        mask = torch.from_numpy(cropped.mask).to(device)
    except (RuntimeError, AssertionError) as error:  # torch's own words name the driver's trouble
        reason = str(error).splitlines()[0]
        raise UsageError(f"device '{device}' cannot be used: {reason}") from error
    try:
        channels = _whitened(samples, mask, cropped.noise)
        channels = _compressed(channels, n_virtual_coils)
        csm = _calibrated(channels, mask, maps)
    except OperatorError as error:
        raise DataError(f"calibration failed: {error}") from error
    operator, data = _encoding(csm, mask, channels.samples, maps, is_3d=kspace.is_3d)
    image = operator.adjoint(data)
    peak = float(torch.quantile(image.abs().flatten()[: 2**24], _PEAK_QUANTILE))
    scale = peak if peak > 0 else 1.0
    if peak == 0:
        raise DataError("k-space expected signal, got an image that is zero everywhere")
    n_sampled = int(mask.sum()) * (len(samples) if len(mask) == 1 else 1)
    grid = cropped.grid if kspace.recon_shape is None else cropped.grid.crop(kspace.recon_shape)
    return Problem(
        operator=operator,
        data=data / scale,
        noise_std=1 / scale,
        n_samples=n_sampled * channels.samples.shape[1],
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
            "channels": kspace.n_coils,
            **({"oversampling": "readout cropped"} if cropped is not kspace else {}),
            **channels.notes,
        },
        intensity=_intensity(csm, channels.matrix),
        origin=kspace.origin,
        acquisition=kspace.acquisition,
        recipe={"maps": maps, "device": str(device)},
        seconds={"prepare": time.perf_counter() - started},
    )


def _without_oversampling(kspace: KSpace) -> KSpace:
    """Cut the readout, which is sampled fully, to the width the image is meant to have."""
    wanted = kspace.grid.shape[-1] if kspace.recon_shape is None else kspace.recon_shape[-1]
    width = kspace.grid.shape[-1]
    line = np.any(kspace.mask, axis=-1, keepdims=True)
    if wanted >= width or not (kspace.mask == line).all():
        return kspace
    start = width // 2 - wanted // 2
    hybrid = ifft_centred(torch.from_numpy(kspace.samples), (-1,))[..., start : start + wanted]
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
    if noise is not None and noise.shape[1] > 2 * len(noise):
        covariance = noise_covariance(torch.from_numpy(noise)).to(samples.device)
        source = f"noise scan of {noise.shape[1]} samples"
    else:
        # All slices share the receivers: the middle one speaks for them.
        middle = len(samples) // 2
        covariance = estimate_noise_covariance(samples[middle], mask[min(middle, len(mask) - 1)])
        source = "estimated from the periphery of k-space"
    live = covariance.diagonal().real > 0
    kept = torch.nonzero(live).flatten()
    if not len(kept):
        raise DataError("k-space expected at least one channel with noise, all are silent")
    inner = whitening_matrix(covariance[kept][:, kept], loading=1e-6)
    matrix = inner.new_zeros(len(kept), len(covariance))
    matrix[:, kept] = inner
    notes: dict[str, object] = {"noise": source}
    if len(kept) < len(covariance):
        notes["silent channels"] = [int(c) for c in torch.nonzero(~live).flatten()]
    return _Channels(whiten(samples, matrix, coil_axis=1), matrix, covariance, notes)


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
        found.matrix.to(channels.matrix.dtype) @ channels.matrix,
        channels.covariance,
        {**channels.notes, "compression": note},
    )


def _gram(stacked: torch.Tensor) -> torch.Tensor:
    flat = stacked.flatten(1)
    return flat @ flat.mH


def _calibrated(channels: _Channels, mask: torch.Tensor, maps: int) -> torch.Tensor:
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
        kernel = min(_KERNEL, max(2, min(centre.shape[1:]) // 2))
        found.append(espirit(centre, grid, n_maps=maps, kernel=kernel, noise_std=1.0).csm)
        if index == 0:
            size = "x".join(str(n) for n in centre.shape[1:])
            channels.notes["maps"] = (
                f"ESPIRiT, {maps} set{'s' if maps > 1 else ''}, {kernel}-wide kernel, "
                f"{size} calibration samples"
            )
    return torch.stack(found)


def _encoding(
    csm: torch.Tensor, mask: torch.Tensor, samples: torch.Tensor, maps: int, *, is_3d: bool
) -> tuple[Sense, torch.Tensor]:
    soft = maps > 1
    coil_maps = csm if soft else csm[:, 0]
    if is_3d:
        return Sense(coil_maps[0], mask[0], grid_ndim=3, soft=soft), samples[0]
    return Sense(coil_maps, mask if len(mask) > 1 else mask[0], soft=soft), samples


def _intensity(csm: torch.Tensor, matrix: torch.Tensor) -> NDArray[np.floating]:
    """Norm over the raw channels of what the maps say: |pinv(W) s|, (slice or z, y, x).

    Maps have unit norm over whitened channels, whose unit is the noise. Raw channels of different
    gain would weigh the image by where the quiet ones are; this undoes it.
    """
    raw = whiten(csm[:, 0], torch.linalg.pinv(matrix), coil_axis=1)
    norm = torch.linalg.vector_norm(raw, dim=1)
    return np.asarray(norm.reshape(-1, *norm.shape[-2:]).cpu().numpy())
