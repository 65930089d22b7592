"""A simulated multi-coil acquisition of a known image, so that a reconstruction has a truth."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.grid import Grid
from inverse.mri.coil_array import coil_maps
from inverse.mri.kspace import KSpace

__all__ = [
    "LINE_MASKS",
    "POINT_MASKS",
    "Acquisition",
    "noise_factor",
    "object_phase",
    "simulate",
]

LINE_MASKS = ("fastmri_random", "fastmri_equispaced", "gaussian_1d")
"""Whole readouts are left out; the image is acquired slice by slice."""
POINT_MASKS = ("gaussian_2d", "poisson_disc")
"""Two phase encodes are thinned out together; the image is acquired as one volume."""

_N_NOISE = 1024
_DWELL_TIME_US = 5.0
"""Of samples and noise scan alike, so that their noise is the same."""


@dataclass(frozen=True, slots=True)
class Acquisition:
    """How an acquisition is simulated.

    Parameters
    ----------
    n_coils : int
        Receive loops on a ring around the object.
    mask : str
        One of `LINE_MASKS` or `POINT_MASKS`.
    acceleration : float
        Matrix size over number of samples, calibration included.
    n_calibration : int
        Width of the fully sampled centre along each undersampled axis; "gaussian_2d" keeps the
        same share of both, and so more of the longer one.
    noise : float
        Standard deviation of the real and of the imaginary part of the noise of every coil, over
        the brightest voxel of the image.
    noise_correlation : float
        Between neighbouring coils, in [0, 1); it falls off geometrically around the ring.
    phase_rad : float
        Largest phase of the object; it varies as a random quadratic polynomial.
    seed : int
        Of the mask, the phase and the noise.

    Raises
    ------
    UsageError
        If a number is outside its range or the mask does not exist.
    """

    n_coils: int = 8
    mask: str = "fastmri_random"
    acceleration: float = 4.0
    n_calibration: int = 24
    noise: float = 0.01
    noise_correlation: float = 0.2
    phase_rad: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "n_coils": (self.n_coils, 1, 256),
            "acceleration": (self.acceleration, 1, 100),
            "n_calibration": (self.n_calibration, 0, 4096),
            "noise": (self.noise, 0, 10),
            "noise_correlation": (self.noise_correlation, 0, 0.99),
            "phase_rad": (self.phase_rad, 0, 100),
            "seed": (self.seed, 0, 2**63),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise UsageError(f"a simulation expected {name} from {low} to {high}, got {value}")
        if self.mask not in LINE_MASKS + POINT_MASKS:
            raise UsageError(
                f"a simulation expected a mask out of {', '.join(LINE_MASKS + POINT_MASKS)}, "
                f"got '{self.mask}'"
            )


def simulate(
    image: NDArray[np.generic], acquisition: Acquisition, *, grid: Grid | None = None
) -> KSpace:
    """Acquire a known image with a simulated coil array.

    y_c = P (F s_c exp(i phi) x + L n), n white

    Line masks give slices with one phase-encode axis (y), point masks one volume with two (z, y);
    x is read out. The coil maps have unit norm over the coils at each voxel, so |x| is what an
    ideal combination of them would show: the truth of the reconstruction.

    Parameters
    ----------
    image : (z, y, x), real or complex
        x, in any unit.
    acquisition : Acquisition
        Coils, sampling and noise.
    grid : Grid, optional
        Where its voxels are; 1 mm and marked as assumed when left out.

    Returns
    -------
    KSpace
        With a noise scan, |x| as its reference, and "simulation" as the source of its acquisition,
        which ISMRMRD files of it say too.

    Raises
    ------
    DataError
        If the image is not three-dimensional, not finite or zero.
    UsageError
        If the mask does not fit the image.
    """
    magnitude = np.abs(image)
    if image.ndim != 3 or not np.isfinite(magnitude).all() or not magnitude.any():
        raise DataError(
            f"a simulation expected a finite image (z, y, x) that is not zero, "
            f"got shape {image.shape}"
        )
    where = grid or Grid(_triple(image.shape), (1.0, 1.0, 1.0), is_nominal=True)
    generators = np.random.default_rng(acquisition.seed).spawn(4)
    is_volume = acquisition.mask in POINT_MASKS
    mask = _sampling_mask(image.shape, acquisition, generators[0])
    x = image * np.exp(1j * object_phase(image.shape, acquisition.phase_rad, generators[1]))
    coils = coil_maps(where, acquisition.n_coils)
    samples = _encode(coils * x, ndim=3 if is_volume else 2)
    factor = noise_factor(acquisition) * float(magnitude.max())
    noise = np.tensordot(factor, _white(samples.shape, generators[2]), axes=1)
    scan = factor @ _white((acquisition.n_coils, _N_NOISE), generators[3])
    measured = ((samples + noise) * mask).astype(np.complex64)
    return KSpace(
        samples=measured[None] if is_volume else np.ascontiguousarray(measured.swapaxes(0, 1)),
        mask=mask,
        grid=where,
        recon_shape=where.shape,
        noise=scan.astype(np.complex64) if acquisition.noise > 0 else None,
        reference=magnitude.astype(np.float32),
        reference_kind="magnitude",
        acquisition={"source": "simulation", "dwell_time_us": _DWELL_TIME_US},
        origin={"format": "simulation", "acquisition": asdict(acquisition)},
        warnings=where.warnings,
    )


def object_phase(
    shape: tuple[int, ...], largest_rad: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a quadratic polynomial of the position with the given largest absolute value.

    Parameters
    ----------
    shape : (z, y, x)
    largest_rad : float
    generator : numpy.random.Generator

    Returns
    -------
    (z, y, x), float32
        Phase in rad.
    """
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij", sparse=True)
    terms = (x, y, z, x * y, y * z, x * z, x * x, y * y, z * z)
    weights = generator.standard_normal(len(terms))
    phase = sum((w * t for w, t in zip(weights, terms, strict=True)), start=np.zeros(shape))
    return np.asarray(phase * (largest_rad / np.abs(phase).max()), dtype=np.float32)


def noise_factor(acquisition: Acquisition) -> NDArray[np.float64]:
    """Return L with L L^T = Psi, the noise covariance over the coils.

    Psi_ij = noise^2 rho^d(i, j) with d the distance around the ring

    Parameters
    ----------
    acquisition : Acquisition

    Returns
    -------
    (coil, coil)
        Lower triangular, for an image whose maximum is 1; real and imaginary part alike.
    """
    coil = np.arange(acquisition.n_coils)
    apart = np.abs(coil[:, None] - coil)
    distance = np.minimum(apart, acquisition.n_coils - apart)
    correlation = np.asarray(acquisition.noise_correlation**distance, dtype=np.float64)
    return np.asarray(acquisition.noise * np.linalg.cholesky(correlation), dtype=np.float64)


def _sampling_mask(
    shape: tuple[int, ...], acquisition: Acquisition, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw the mask, (1, y, x) for slices or (1, z, y, x) for a volume."""
    from operators import mri
    from operators.errors import ParameterError

    is_volume = acquisition.mask in POINT_MASKS
    grid = shape if is_volume else shape[1:]
    thinned = shape[:2] if is_volume else shape[1:2]
    if min(thinned) <= acquisition.n_calibration:
        raise UsageError(
            f"a simulation with {acquisition.mask} expected more than {acquisition.n_calibration} "
            f"phase encodes along each thinned axis, got {thinned}; lower n_calibration"
        )
    width, acceleration = acquisition.n_calibration, acquisition.acceleration
    try:
        if acquisition.mask == "poisson_disc":
            return mri.poisson_disc(grid, acceleration, (width, width), generator)[None]
        draw = getattr(mri, acquisition.mask)
        return np.asarray(draw(grid, acceleration, width / min(thinned), generator))[None]
    except ParameterError as error:
        raise UsageError(f"the simulation's mask: {error}") from error


def _white(shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[np.complex64]:
    pairs = generator.standard_normal((*shape, 2), dtype=np.float32)
    return pairs.view(np.complex64)[..., 0]


def _encode(images: NDArray[np.complex64], ndim: int) -> NDArray[np.complex64]:
    import torch

    from operators.fourier import fft_centred

    axes = tuple(range(-ndim, 0))
    tensor = torch.from_numpy(np.ascontiguousarray(images, dtype=np.complex64))
    return np.asarray(fft_centred(tensor, axes).numpy())


def _triple(shape: tuple[int, ...]) -> tuple[int, int, int]:
    nz, ny, nx = shape
    return nz, ny, nx
