"""Semi-real cases: real slices seen through measured coils with measured noise, truth known.

y = M (F (s_c x exp(i phi)) + n),  n ~ CN with the measured covariance between coils

x is a magnitude slice, s the ESPIRiT maps of the real phantom, phi a smooth random phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.phantom import bart_maps, data_folder, fft, phantom_kspace

__all__ = ["Case", "make_case", "n_slices", "phase_encode_mask", "psnr", "smooth_phase"]

SIZE = 256


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An undersampled acquisition with known truth.

    Parameters
    ----------
    kspace : (8, 256, 256), complex64
        Raw (not whitened) samples, zero where not sampled; centred, orthonormal.
    mask : (256, 1), bool
        Phase-encode lines that were sampled; broadcasts over x.
    csm : (8, 256, 256), complex64
        True maps, norm 1 over coils.
    truth : (256, 256), complex64
        True image, largest magnitude 1.
    noise_covariance : (8, 8), complex64
        E[n n^H] of a raw complex sample; its mean diagonal is 2 noise_std^2.
    noise_std : float
        Root mean square over coils of the std of the real (or imaginary) part of a sample.
    noise_scan : (8, n), complex64
        Noise-only samples of the same receiver.
    name : str
        Slice, mask and rate, for tables.
    """

    kspace: NDArray[np.complex64]
    mask: NDArray[np.bool_]
    csm: NDArray[np.complex64]
    truth: NDArray[np.complex64]
    noise_covariance: NDArray[np.complex64]
    noise_std: float
    noise_scan: NDArray[np.complex64]
    name: str

    def whitened(self) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
        """Return k-space and maps after whitening, noise std `noise_std` in every channel.

        The maps are W s: no longer of norm 1, and still exact for the whitened data.
        """
        lower = np.linalg.cholesky(self.noise_covariance.astype(complex) / 2)
        whitener = self.noise_std * np.linalg.inv(lower)
        apply = lambda a: np.tensordot(whitener, a, 1).astype(np.complex64)  # noqa: E731
        return apply(self.kspace), apply(self.csm)


def n_slices() -> int:
    """Return how many validation slices there are."""
    with h5py.File(data_folder() / "brain_slices_256.h5") as file:
        return int(file["val"].shape[0])


def _slice(index: int) -> NDArray[np.float32]:
    with h5py.File(data_folder() / "brain_slices_256.h5") as file:
        image = file["val"][index].astype(np.float32)
    return image / image.max()


@cache
def _true_maps() -> NDArray[np.complex64]:
    return bart_maps(phantom_kspace())


@cache
def _unit_covariance(name: str) -> NDArray[np.complex128]:
    with np.load(data_folder() / "noise_cov_8ch.npz") as file:
        covariance = file[name]
    return covariance / np.trace(covariance).real * len(covariance)


def smooth_phase(rng: np.random.Generator, size: int = SIZE) -> NDArray[np.float64]:
    """Random phase in radians: a quadratic polynomial plus low harmonics, |phi| up to about 3."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij")
    terms = [np.ones_like(x), x, y, x * y, x**2 - y**2, x**2 + y**2]
    terms += [np.cos(np.pi * x), np.sin(np.pi * y), np.sin(np.pi * (x + y))]
    weights = rng.normal(0, 0.5, len(terms))
    weights[0] = rng.uniform(-np.pi, np.pi)
    return np.tensordot(weights, np.stack(terms), 1)


def phase_encode_mask(
    rng: np.random.Generator, acceleration: float, centre_fraction: float = 0.08, size: int = SIZE
) -> NDArray[np.bool_]:
    """Lines drawn uniformly without replacement beside a full centre; exactly size/R of them."""
    n_centre = round(centre_fraction * size)
    start = size // 2 - n_centre // 2
    mask = np.zeros(size, bool)
    mask[start : start + n_centre] = True
    n_more = max(round(size / acceleration) - n_centre, 0)
    mask[rng.choice(np.flatnonzero(~mask), n_more, replace=False)] = True
    return mask[:, None]


def make_case(
    slice_index: int,
    mask_seed: int = 0,
    acceleration: float = 4.0,
    noise: float = 0.01,
    *,
    covariance: str = "normal",
    centre_fraction: float = 0.08,
) -> Case:
    """Build the case of one validation slice and one mask.

    Parameters
    ----------
    slice_index : int
        Index into the validation slices.
    mask_seed : int
        Seed of mask, phase and noise (each from its own child stream).
    acceleration : float
        R, matrix lines over sampled lines.
    noise : float
        Standard deviation of real and imaginary part each, relative to the image maximum.
    covariance : {"normal", "broken"}
        Which measured receiver.
    centre_fraction : float
        Fully sampled centre, as a fraction of all lines.

    Examples
    --------
    >>> case = make_case(3, mask_seed=1, acceleration=4)  # doctest: +SKIP
    >>> case.kspace.shape  # doctest: +SKIP
    (8, 256, 256)
    """
    streams = np.random.SeedSequence([slice_index, mask_seed]).spawn(3)
    for_mask, for_phase, for_noise = map(np.random.default_rng, streams)
    mask = phase_encode_mask(for_mask, acceleration, centre_fraction)
    truth = (_slice(slice_index) * np.exp(1j * smooth_phase(for_phase))).astype(np.complex64)
    csm = _true_maps()

    sigma = 2 * noise**2 * _unit_covariance(covariance)
    colour = np.linalg.cholesky(sigma)

    def draw(*shape: int) -> NDArray[np.complex64]:
        white = for_noise.standard_normal((2, 8, *shape)) / np.sqrt(2)
        return np.tensordot(colour, white[0] + 1j * white[1], 1).astype(np.complex64)

    kspace = (fft(csm * truth) + draw(SIZE, SIZE)) * mask
    return Case(
        kspace=kspace.astype(np.complex64),
        mask=mask,
        csm=csm,
        truth=truth,
        noise_covariance=sigma.astype(np.complex64),
        noise_std=noise,
        noise_scan=draw(4096),
        name=f"val{slice_index} seed{mask_seed} R{acceleration:g}",
    )


def psnr(image: NDArray[np.generic], truth: NDArray[np.generic]) -> float:
    """PSNR of the magnitude in dB; the peak is the largest magnitude of the truth."""
    error = np.abs(image).astype(float) - np.abs(truth)
    return float(20 * np.log10(np.abs(truth).max() / np.sqrt(np.mean(error**2))))
