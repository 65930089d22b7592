"""Noise scans, scaled to what they say about one sample of k-space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.ismrmrd.records import Records, samples_of

__all__ = ["dwell_time_us", "scaled_noise"]


def dwell_time_us(heads: NDArray[np.void]) -> float:
    """Median time per sample, 0 where the file does not say."""
    dwell = float(np.median(heads["sample_time_us"]))
    return dwell if np.isfinite(dwell) and dwell > 0 else 0.0


def scaled_noise(
    records: Records,
    found: NDArray[np.intp],
    rows: NDArray[np.intp],
    counts: NDArray[np.uint16],
    *,
    bandwidth: float,
) -> tuple[NDArray[np.complex64] | None, list[str]]:
    """Read noise scans and scale them to one averaged sample of k-space.

    scale^2 = (dwell_noise / dwell_scan) / bandwidth * mean(1 / averages)

    because the variance of noise is proportional to the receiver bandwidth 1 / dwell.

    Parameters
    ----------
    records : Records
    found, rows : (n,), int
        Noise acquisitions and imaging lines.
    counts : (slice, z, y, x), uint16
        Averages of each sample.
    bandwidth : float
        Relative noise bandwidth of the receiver.

    Returns
    -------
    noise : (coil, n), complex64, or None
        None without a noise scan of the same coils.
    notes : list of str

    Raises
    ------
    DataError
        If a sample is not finite.

    References
    ----------
    Kellman and McVeigh 2005, doi:10.1002/mrm.20713
    """
    if not found.size:
        return None, []
    n_coils = records.heads[rows[0]]["active_channels"]
    heads = records.heads[found]
    if (heads["active_channels"] != n_coils).any():
        return None, ["the noise scan has another number of channels; it was not used"]
    dwell = dwell_time_us(records.heads[rows])
    own = np.maximum(heads["sample_time_us"].astype(float), 0.0)
    is_known = bool(dwell > 0 and np.isfinite(own).all() and (own > 0).all())
    averaged = float(np.mean(1.0 / counts[counts > 0]))
    scale = {
        int(row): float(np.sqrt((own[i] / dwell if is_known else 1.0) / bandwidth * averaged))
        for i, row in enumerate(found)
    }
    parts = [line * np.float32(scale[row]) for row, line in samples_of(records, found)]
    noise = np.concatenate(parts, axis=1)
    if not np.isfinite(noise).all():
        raise DataError(f"{records.path}: the noise scan holds samples that are NaN or infinite")
    notes = [f"noise scaled by {np.mean(list(scale.values())):.4g} to the bandwidth of the scan"]
    if not is_known:
        notes.append("sample_time_us is missing; noise taken to be at the bandwidth of the scan")
    return noise.astype(np.complex64, copy=False), notes
