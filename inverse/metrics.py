"""How far an image is from a reference: NRMSE, PSNR, SSIM, and whether two grids are one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError
from inverse.grid import Grid

__all__ = ["Comparison", "best_scale", "compare", "nrmse", "psnr", "ssim", "support"]

Scale = Literal["complex", "real", "none"]

_SSIM_WINDOW = 7
_SSIM_K1, _SSIM_K2 = 0.01, 0.03
_SAME_PLACE_MM = 1e-3


def support(reference: NDArray[np.generic], fraction: float = 0.1) -> NDArray[np.bool_]:
    """Return where the reference is bright: |r| > fraction * max |r|.

    Parameters
    ----------
    reference : (*shape), real or complex
    fraction : float
        Of the maximum.

    Returns
    -------
    (*shape), bool

    Examples
    --------
    >>> support(np.array([0.0, 0.05, 0.5, -1.0])).tolist()
    [False, False, True, True]
    """
    magnitude = np.abs(reference)
    return np.asarray(magnitude > fraction * magnitude.max(), dtype=bool)


def best_scale(
    image: NDArray[np.generic], reference: NDArray[np.generic], kind: Scale = "complex"
) -> complex:
    """Return the factor a that minimises ||a x - r||.

    a = <x, r> / <x, x>, its real part for kind="real", 1 for kind="none"

    Parameters
    ----------
    image, reference : (*shape), real or complex
        x and r.
    kind : {"complex", "real", "none"}
        Which factors are allowed.

    Returns
    -------
    complex
        0 when the image is zero.

    Examples
    --------
    >>> best_scale(np.array([1.0, 2.0]), np.array([2j, 4j]))
    2j
    """
    if kind == "none":
        return 1.0 + 0j
    x, r = _double(image), _double(reference)
    energy = np.vdot(x, x).real
    if energy == 0:
        return 0j
    factor = complex(np.vdot(x, r) / energy)
    return factor if kind == "complex" else complex(factor.real)


def nrmse(
    image: NDArray[np.generic],
    reference: NDArray[np.generic],
    mask: NDArray[np.bool_] | None = None,
    *,
    scale: Scale = "complex",
) -> float:
    """Normalised root-mean-square error, at the best scale, inside a mask.

    min over a of ||a x - r|| / ||r||, both norms over the voxels where mask is True

    Parameters
    ----------
    image, reference : (*shape), real or complex
        x and r.
    mask : (*shape), bool, optional
        Everything when left out; `support` gives the usual object mask.
    scale : {"complex", "real", "none"}
        Which a are allowed: receivers have an arbitrary gain and phase, so "complex" is usual.

    Returns
    -------
    float
        0 for a perfect image, 1 for a zero one.

    Raises
    ------
    DataError
        If shapes differ, a value is not finite, or the reference is zero inside the mask.

    Examples
    --------
    >>> nrmse(np.array([3.0, 4.0]), np.array([3.0, 0.0]), scale="none")
    1.3333333333333333
    """
    x, r = _pair(image, reference)
    if mask is not None:
        if mask.shape != reference.shape:
            raise DataError(f"nrmse expected a mask of shape {reference.shape}, got {mask.shape}")
        x, r = x[mask], r[mask]
    norm = float(np.linalg.norm(r))
    if norm == 0:
        raise DataError("nrmse expected a reference that is not zero everywhere inside the mask")
    return float(np.linalg.norm(best_scale(x, r, scale) * x - r)) / norm


def psnr(
    image: NDArray[np.generic],
    reference: NDArray[np.generic],
    *,
    data_range: float | None = None,
) -> float:
    """Peak signal-to-noise ratio over the whole image, in dB.

    20 log10(data_range / rms(x - r)); nothing is rescaled

    Parameters
    ----------
    image, reference : (*shape), real or complex
        x and r; pass magnitudes when phases do not matter.
    data_range : float, optional
        The peak; max |r| when left out. Fix it to compare different references.

    Returns
    -------
    float
        dB; infinity for equal images.

    Raises
    ------
    DataError
        If shapes differ, a value is not finite or the data range is not positive.

    Examples
    --------
    >>> round(psnr(np.array([0.9, 0.1]), np.array([1.0, 0.0])), 9)
    20.0
    """
    x, r = _pair(image, reference)
    peak = _peak("psnr", r, data_range)
    rms = float(np.linalg.norm(x - r)) / x.size**0.5
    return float(20 * np.log10(peak / rms)) if rms > 0 else float("inf")


def ssim(
    image: NDArray[np.generic],
    reference: NDArray[np.generic],
    *,
    data_range: float | None = None,
) -> float:
    """Mean structural similarity of magnitudes, slice by slice.

    ((2 mx mr + c1)(2 cov + c2)) / ((mx^2 + mr^2 + c1)(vx + vr + c2)) in 7x7 windows of equal weight
    with unbiased variances, c1 = (0.01 range)^2, c2 = (0.03 range)^2, averaged over every window
    that lies inside its slice; the convention of scikit-image's default and of fastMRI.

    Parameters
    ----------
    image, reference : (..., y, x), real or complex
        Compared as magnitudes.
    data_range : float, optional
        The maximum of the whole reference when left out, the same for all slices.

    Returns
    -------
    float
        1 for equal images.

    Raises
    ------
    DataError
        If shapes differ, a value is not finite, or a slice is smaller than the window.

    References
    ----------
    Wang et al. 2004, doi:10.1109/TIP.2003.819861, eq. 13
    """
    from scipy.ndimage import uniform_filter

    x, r = (np.abs(v).astype(np.float64) for v in _pair(image, reference))
    if x.ndim < 2 or min(x.shape[-2:]) < _SSIM_WINDOW:
        raise DataError(f"ssim expected slices of at least 7 by 7 voxels, got shape {x.shape}")
    peak = _peak("ssim", r, data_range)
    c1, c2 = (_SSIM_K1 * peak) ** 2, (_SSIM_K2 * peak) ** 2
    size = (1,) * (x.ndim - 2) + (_SSIM_WINDOW, _SSIM_WINDOW)
    mean_x, mean_r = uniform_filter(x, size), uniform_filter(r, size)
    unbiased = _SSIM_WINDOW**2 / (_SSIM_WINDOW**2 - 1)
    var_x = unbiased * (uniform_filter(x * x, size) - mean_x**2)
    var_r = unbiased * (uniform_filter(r * r, size) - mean_r**2)
    covariance = unbiased * (uniform_filter(x * r, size) - mean_x * mean_r)
    similarity = (
        (2 * mean_x * mean_r + c1)
        * (2 * covariance + c2)
        / ((mean_x**2 + mean_r**2 + c1) * (var_x + var_r + c2))
    )
    border = _SSIM_WINDOW // 2
    return float(similarity[..., border:-border, border:-border].mean())


@dataclass(frozen=True, slots=True)
class Comparison:
    """How image A differs from reference B.

    Parameters
    ----------
    shape : tuple of int
        (z, y, x) of both.
    is_complex : bool
        True when both are complex; otherwise magnitudes were compared.
    scale : float
        |a| of the best scale: A times this is closest to B.
    nrmse, nrmse_unscaled : float
        At the best scale and as stored, inside the support of B.
    psnr_db, ssim : float
        Of magnitudes, A at the best scale, range max |B|.
    max_difference : float
        Largest |A - B| of any voxel as stored, in the units of B.
    geometry_mm : float or None
        Largest distance between equal voxels of the two grids; None when either has no geometry.
    """

    shape: tuple[int, ...]
    is_complex: bool
    scale: float
    nrmse: float
    nrmse_unscaled: float
    psnr_db: float
    ssim: float
    max_difference: float
    geometry_mm: float | None

    @property
    def is_same_place(self) -> bool | None:
        """True when no voxel is more than a micrometre off; None without geometry."""
        return None if self.geometry_mm is None else self.geometry_mm <= _SAME_PLACE_MM


def compare(
    image: NDArray[np.generic],
    reference: NDArray[np.generic],
    *,
    grid: Grid | None = None,
    reference_grid: Grid | None = None,
) -> Comparison:
    """Measure how far an image is from a reference, in value and in place.

    Parameters
    ----------
    image, reference : (z, y, x), real or complex
        Compared as they are if both are complex, else as magnitudes.
    grid, reference_grid : Grid, optional
        Where their voxels are.

    Returns
    -------
    Comparison

    Raises
    ------
    DataError
        As `nrmse`, `psnr` and `ssim`.
    """
    is_complex = bool(np.iscomplexobj(image) and np.iscomplexobj(reference))
    x, r = _pair(image, reference)
    if not is_complex:
        x, r = _double(np.abs(x)), _double(np.abs(r))
    mask = support(r)
    scale = abs(best_scale(x[mask], r[mask]))
    return Comparison(
        shape=tuple(int(n) for n in r.shape),
        is_complex=is_complex,
        scale=scale,
        nrmse=nrmse(x, r, mask),
        nrmse_unscaled=nrmse(x, r, mask, scale="none"),
        psnr_db=psnr(scale * np.abs(x), np.abs(r)),
        ssim=ssim(scale * np.abs(x), np.abs(r)),
        max_difference=float(np.abs(x - r).max()),
        geometry_mm=_distance_mm(grid, reference_grid),
    )


def _pair(
    image: NDArray[np.generic], reference: NDArray[np.generic]
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Return both in double precision, refused when they cannot be compared; real stays real."""
    if image.shape != reference.shape:
        raise DataError(
            f"a comparison expected two images of one shape, got {image.shape} and "
            f"{reference.shape}; crop or resample one of them"
        )
    for name, values in (("image", image), ("reference", reference)):
        if not np.isfinite(values.astype(np.complex128)).all():
            raise DataError(
                f"a comparison expected finite values, the {name} holds NaN or infinity"
            )
    return _double(image), _double(reference)


def _double(values: NDArray[np.generic]) -> NDArray[np.complex128]:
    dtype = np.complex128 if np.iscomplexobj(values) else np.float64
    # For the type checker, real numbers are among the complex ones.
    return cast("NDArray[np.complex128]", values.astype(dtype))


def _peak(name: str, reference: NDArray[np.generic], data_range: float | None) -> float:
    peak = float(np.abs(reference).max()) if data_range is None else float(data_range)
    if not peak > 0:
        raise DataError(f"{name} expected a data range above zero, got {peak}")
    return peak


def _distance_mm(a: Grid | None, b: Grid | None) -> float | None:
    if a is None or b is None or a.is_nominal or b.is_nominal:
        return None
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in b.shape], indexing="ij")).reshape(3, -1).T
    return float(np.linalg.norm(a.position_mm(corners) - b.position_mm(corners), axis=-1).max())
