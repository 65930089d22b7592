"""Magnetic resonance: Cartesian encoding, sampling masks and the calibration of receive coils."""

from operators.mri.calibration_region import find_calibration_region
from operators.mri.compression import CompressedCoils, compress, compress_geometric
from operators.mri.espirit import EspiritMaps, espirit
from operators.mri.walsh import walsh
from operators.mri.whitening import noise_covariance, whiten, whitening_matrix

__all__ = [
    "CompressedCoils",
    "EspiritMaps",
    "compress",
    "compress_geometric",
    "espirit",
    "find_calibration_region",
    "noise_covariance",
    "walsh",
    "whiten",
    "whitening_matrix",
]
