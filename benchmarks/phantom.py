"""The real multi-coil data that every benchmark shares, read without the package under test."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.bart import bart, from_bart, to_bart

__all__ = [
    "bart_maps",
    "coil_images",
    "data_folder",
    "fft",
    "ifft",
    "line_mask",
    "nrmse",
    "phantom_kspace",
    "support",
    "unit_norm",
]


def data_folder() -> Path:
    """Return the folder of developers' MRI data: $INVERSE_DATA/mri, or beside the repository."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    root = Path(os.environ.get("INVERSE_DATA", beside))
    return root / "mri" if (root / "mri").is_dir() else root


def fft(image: NDArray[np.generic], ndim: int = 2) -> NDArray[np.complex64]:
    """Centred orthonormal FFT over the last `ndim` axes."""
    axes = tuple(range(-ndim, 0))
    spectrum = np.fft.fftn(np.fft.ifftshift(image, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(spectrum, axes=axes).astype(np.complex64)


def ifft(kspace: NDArray[np.generic], ndim: int = 2) -> NDArray[np.complex64]:
    """Inverse of `fft`."""
    axes = tuple(range(-ndim, 0))
    image = np.fft.ifftn(np.fft.ifftshift(kspace, axes=axes), axes=axes, norm="ortho")
    return np.fft.fftshift(image, axes=axes).astype(np.complex64)


@cache
def phantom_kspace() -> NDArray[np.complex64]:
    """Return the fully sampled real phantom, (8, 256, 256) = (coil, y, x), peak coil image 1."""
    with h5py.File(data_folder() / "phantom_8ch_full_ismrmrd.h5") as file:
        lines = file["dataset/data"][()]
    kspace = np.zeros((8, 256, 256), np.complex64)
    for line in lines:
        samples = line["data"].view(np.complex64).reshape(8, 256)
        kspace[:, line["head"]["idx"]["kspace_encode_step_1"]] = samples
    return kspace


def coil_images() -> NDArray[np.complex64]:
    """Return the phantom's coil images, (8, 256, 256)."""
    return ifft(phantom_kspace())


def line_mask(name: str) -> NDArray[np.bool_]:
    """Return the stored phase-encode mask "R3" or "R4" as (256, 1), to broadcast over x."""
    with np.load(data_folder() / "masks_256.npz") as masks:
        return np.asarray(masks[name], bool)[:, None]


def unit_norm(maps: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Scale maps (coil, *grid) to norm 1 over coils; where all are 0 they stay 0."""
    norm = np.linalg.norm(maps, axis=0, keepdims=True)
    return np.divide(maps, norm, out=np.zeros_like(maps), where=norm > 0)


def bart_maps(
    kspace: NDArray[np.complex64], calibration: int = 24, n_maps: int = 1
) -> NDArray[np.complex64]:
    """ESPIRiT maps of BART without cropping, unit norm: ([map,] coil, [z,] y, x)."""
    size = str(calibration)
    command = ("ecalib", "-m", str(n_maps), "-c", "0", "-k", "6", "-r", size, to_bart(kspace))
    (maps,) = bart(*command)
    return from_bart(maps) if n_maps > 1 else unit_norm(from_bart(maps))


def support(images: NDArray[np.complex64]) -> NDArray[np.bool_]:
    """Where the root sum of squares over coils exceeds 10 % of its maximum."""
    rss = np.linalg.norm(images, axis=0)
    return np.asarray(rss > 0.1 * rss.max())


def nrmse(
    image: NDArray[np.generic], reference: NDArray[np.generic], inside: NDArray[np.bool_]
) -> float:
    """Min over complex a of ||a x - ref|| / ||ref||, inside the support."""
    x, ref = image[inside].astype(complex), reference[inside].astype(complex)
    energy = np.vdot(x, x).real
    a = np.vdot(x, ref) / energy if energy > 0 else 0.0
    return float(np.linalg.norm(a * x - ref) / np.linalg.norm(ref))
