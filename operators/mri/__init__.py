"""Magnetic resonance: Cartesian encoding, sampling masks and the calibration of receive coils."""

from operators.mri.calibration_region import find_calibration_region
from operators.mri.compression import CompressedCoils, compress, compress_geometric
from operators.mri.espirit import EspiritMaps, espirit
from operators.mri.masks import fastmri_equispaced, fastmri_random, gaussian_1d, gaussian_2d
from operators.mri.noise_estimate import estimate_noise_covariance
from operators.mri.poisson_disc import poisson_disc
from operators.mri.sense import Sense
from operators.mri.walsh import walsh
from operators.mri.whitening import noise_covariance, whiten, whitening_matrix

__all__ = [
    "CompressedCoils",
    "EspiritMaps",
    "Sense",
    "compress",
    "compress_geometric",
    "espirit",
    "estimate_noise_covariance",
    "fastmri_equispaced",
    "fastmri_random",
    "find_calibration_region",
    "gaussian_1d",
    "gaussian_2d",
    "noise_covariance",
    "poisson_disc",
    "walsh",
    "whiten",
    "whitening_matrix",
]
