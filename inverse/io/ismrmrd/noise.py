"""Noise scans, scaled to what they say about one sample of k-space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.io.ismrmrd.records import Records, samples_of

__all__ = ["dwell_time_us", "scaled_noise", "uneven_noise"]


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

    because the variance of noise is proportional to the receiver bandwidth 1 / dwell. Where the
    number of averages varies, this is the root mean square over the samples; see `uneven_noise`.

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
    averaged = _mean_variance(counts)
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


def uneven_noise(counts: NDArray[np.uint16]) -> tuple[str, ...]:
    """Warn where samples are means of different numbers of measurements.

    One noise level describes all samples; that of a sample averaged n times is off by
    1 / sqrt(n mean(1 / averages)).

    Parameters
    ----------
    counts : (slice, z, y, x), uint16
        Averages of each sample, 0 where nothing was measured.

    Returns
    -------
    tuple of str
        Empty when all samples were averaged alike.

    Examples
    --------
    >>> uneven_noise(np.array([2, 2, 0], np.uint16))
    ()
    """
    found = counts[counts > 0]
    fewest, most = int(found.min()), int(found.max())
    if fewest == most:
        return ()
    low, high = (float((n * _mean_variance(counts)) ** -0.5) for n in (most, fewest))
    return (
        f"Noise varies over k-space: lines were averaged unequally, {fewest} to {most} times. One "
        f"noise level is used for all; the true one is {low:.2f} to {high:.2f} times as high.",
    )


def _mean_variance(counts: NDArray[np.uint16]) -> float:
    """Mean over the samples of the noise variance, that of a single measurement being 1."""
    return float(np.mean(1.0 / counts[counts > 0]))
