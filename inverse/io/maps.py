"""The maps of a posterior: what they are called, and the files beside an image that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.grid import Grid
from inverse.io import nifti

if TYPE_CHECKING:
    from inverse.posterior import Posterior

__all__ = ["facts_of", "map_paths", "members_of", "write_maps"]

_STD, _SHARE = "std", "nullspace"


def map_paths(path: Path, ending: str, level: float) -> dict[str, Path]:
    """Names of the files that hold the maps of an image, by map.

    Parameters
    ----------
    path : Path
        The image: a NIfTI file, or a folder for a DICOM series. A share or a quantile is no MR
        image, so the maps beside a series are NIfTI files.
    ending : str
        ``.nii`` or ``.nii.gz``, "" for a folder.
    level : float
        Of the interval; its ends are called after the percentiles that they stand for.

    Examples
    --------
    >>> [file.name for file in map_paths(Path("out.nii.gz"), ".nii.gz", 0.9).values()]
    ['out_std.nii.gz', 'out_q05.nii.gz', 'out_q95.nii.gz', 'out_nullspace.nii.gz']
    """
    stem = path.name[: len(path.name) - len(ending)]
    suffix = path.name[len(stem) :] or ".nii.gz"
    return {name: path.with_name(f"{stem}_{name}{suffix}") for name in _names(level)}


def write_maps(posterior: Posterior, grid: Grid, paths: Mapping[str, Path], method: str) -> None:
    """Write standard deviation, interval and null-space share as NIfTI files.

    Parameters
    ----------
    posterior : Posterior
    grid : Grid
        Of the image.
    paths : mapping of str to Path
        From `map_paths` at the level of the interval shown.
    method : str
        For the header.

    Raises
    ------
    ResourceError
        If a file cannot be written.
    """
    shown = posterior.shown
    low, high = _ends(shown.level)
    images = {
        _STD: posterior.std,
        low: shown.low,
        high: shown.high,
        _SHARE: posterior.null_space_share,
    }
    for name, path in paths.items():
        description = f"inverse {method}, {name} of the posterior, not for diagnosis"
        nifti.write(images[name].astype(np.float32), grid, path, description=description)


def members_of(posterior: Posterior) -> dict[str, NDArray[np.generic]]:
    """Arrays for a file that holds many: the samples themselves and the same maps."""
    shown = posterior.shown
    single = np.complex64 if np.iscomplexobj(posterior.samples) else np.float32
    return {
        "samples": posterior.samples.astype(single),
        "std": posterior.std.astype(np.float32),
        "interval_low": shown.low.astype(np.float32),
        "interval_high": shown.high.astype(np.float32),
        "null_space_share": posterior.null_space_share,
    }


def facts_of(posterior: Posterior) -> dict[str, object]:
    """Return what the record says of a posterior."""
    shown = posterior.shown
    return {
        "samples": len(posterior.samples),
        "dispersion": posterior.dispersion,
        "undetermined_share": posterior.undetermined_share,
        "interval_level": shown.level,
        "interval_origin": shown.origin,
        "is_calibrated": posterior.calibrated is not None,
    }


def _names(level: float) -> tuple[str, ...]:
    return (_STD, *_ends(level), _SHARE)


def _ends(level: float) -> tuple[str, str]:
    low, high = (f"q{50 * (1 + sign * level):04.1f}".removesuffix(".0") for sign in (-1, 1))
    return low, high
