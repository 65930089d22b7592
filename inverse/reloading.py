"""`load_reconstruction`: a saved result, with its samples, back into a reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.grid import Grid
from inverse.io import read_image
from inverse.io.detect import Format, detect
from inverse.io.result import read_members
from inverse.io.targets import sidecar_of
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, reading
from inverse.posterior import Interval, Posterior
from inverse.provenance import load_record, sha256_of_file
from inverse.reconstruction import Diagnostics, Reconstruction

__all__ = ["load_reconstruction"]

_MEMBERS = ("baseline", "samples", "interval_low", "interval_high", "null_space_share")
_KEPT_APART = ("method", "settings", "diagnostics", "posterior", "output")


def load_reconstruction(
    path: str | Path, *, max_memory: int = DEFAULT_MAX_MEMORY
) -> Reconstruction:
    """Read a reconstruction that was saved as ``.h5`` or ``.npz``, with its record beside it.

    What the report shows of the preparation (coil maps, mask) and a reference are not saved.

    Parameters
    ----------
    path : str or Path
    max_memory : int
        Bytes that its arrays may take.

    Returns
    -------
    Reconstruction
        With its posterior if it has one.

    Raises
    ------
    UsageError
        If the file is of another format: NIfTI and DICOM hold no samples.
    DataError
        If the file or its record is missing or damaged, or the record is another file's.
    """
    path = Path(path)
    if detect(path) not in {Format.RESULT_H5, Format.RESULT_NPZ}:
        raise UsageError(
            f"{path}: expected a result with its samples (.h5 or .npz), got another format; save "
            f"the reconstruction as one of these"
        )
    image, grid = read_image(path, max_memory=max_memory)
    arrays = read_members(path, _MEMBERS, max_memory=max_memory)
    sidecar = sidecar_of(path)
    record = load_record(sidecar)
    with reading(sidecar, "record"):
        _check_digest(record, path)
        return Reconstruction(
            image=image.astype(np.complex64),
            grid=grid or _nominal(image),
            method=str(record["method"]),
            settings=_mapping(record, "settings"),
            diagnostics=_diagnostics(_mapping(record, "diagnostics")),
            baseline=arrays.get("baseline", np.zeros_like(image)).astype(np.complex64),
            provenance={name: fact for name, fact in record.items() if name not in _KEPT_APART},
            posterior=_posterior(arrays, _mapping(record, "posterior")),
        )


def _check_digest(record: Mapping[str, object], path: Path) -> None:
    digests = _mapping(record, "output").get("sha256")
    if not isinstance(digests, list) or sha256_of_file(path) not in digests:
        raise DataError(
            f"expected the record that was written with {path.name}, got another file's: one of "
            f"the two was replaced"
        )


def _mapping(record: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = record.get(key, {})
    if not isinstance(found, Mapping):
        raise TypeError
    return found


def _nominal(image: NDArray[np.generic]) -> Grid:
    nz, ny, nx = image.shape
    return Grid((nz, ny, nx), (1.0, 1.0, 1.0), is_nominal=True)


def _diagnostics(facts: Mapping[str, object]) -> Diagnostics:
    warnings = facts.get("warnings", [])
    return Diagnostics(
        residual_std=float(str(facts.get("residual_std", "nan"))),
        noise_std=float(str(facts.get("noise_std", "nan"))),
        status=str(facts.get("status", "")),
        iterations=int(str(facts.get("iterations", 0))),
        n_operator=int(str(facts.get("n_operator", 0))),
        n_denoiser=int(str(facts.get("n_denoiser", 0))),
        warnings=tuple(map(str, warnings)) if isinstance(warnings, list) else (),
        noise_to_peak=float(str(facts.get("noise_to_peak", "nan"))),
    )


def _posterior(
    arrays: Mapping[str, NDArray[np.generic]], facts: Mapping[str, object]
) -> Posterior | None:
    if "samples" not in arrays:
        return None
    found = Posterior(
        arrays["samples"],
        arrays["null_space_share"].astype(np.float32),
        float(str(facts["dispersion"])),
    )
    if not facts["is_calibrated"]:
        return found
    low, high = (arrays[name].astype(np.float32) for name in ("interval_low", "interval_high"))
    level, origin = float(str(facts["interval_level"])), str(facts["interval_origin"])
    return found.with_interval(Interval(level, low, high, origin))
