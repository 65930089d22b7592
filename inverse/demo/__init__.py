"""The demonstration: a small raw file whose truth is known, reconstructed by several methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import ResourceError

if TYPE_CHECKING:
    from inverse.mri.kspace import KSpace
    from inverse.reconstruction import Reconstruction

__all__ = ["METHODS", "STATEMENT", "Outcome", "Row", "measurement", "run"]

METHODS = ("zero_filled", "cg_sense", "l1_wavelet", "tv", "auto")
STATEMENT = (
    "Simulated data: an undersampled 8-coil acquisition of one slice of the MNI ICBM152 T1 "
    "template, (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre."
)
_WHITE_PERCENTILE = 99.8


@dataclass(frozen=True, slots=True)
class Row:
    """How one method did.

    Parameters
    ----------
    title : str
        Its name as people write it.
    method : str
        Its name in the table of methods.
    nrmse, psnr_db, ssim : float
        Against the truth, as in `inverse.metrics.compare`.
    residual_to_noise : float
    seconds : float
        Wall time.
    """

    title: str
    method: str
    nrmse: float
    psnr_db: float
    ssim: float
    residual_to_noise: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demonstration found and wrote.

    Parameters
    ----------
    rows : tuple of Row
        One a method.
    files : tuple of Path
        Everything written.
    report : Path
        The report of the method chosen automatically.
    """

    rows: tuple[Row, ...]
    files: tuple[Path, ...]
    report: Path


def measurement() -> KSpace:
    """Return the raw data of the demonstration with their truth as the reference.

    Returns
    -------
    KSpace
        One slice, 8 coils, (208, 176), with a noise scan.
    """
    from inverse.io import load, read_image

    folder = resources.files("inverse.demo")
    with (
        resources.as_file(folder / "brain.h5") as raw,
        resources.as_file(folder / "truth.nii.gz") as truth,
    ):
        kspace = load(raw)
        reference, _ = read_image(truth)
    return replace(kspace, reference=reference, reference_kind="magnitude")


def run(
    folder: Path,
    *,
    methods: tuple[str, ...] = METHODS,
    progress: Callable[[str, int, int], None] | None = None,
) -> Outcome:
    """Reconstruct the demonstration's data with several methods and compare with the truth.

    Parameters
    ----------
    folder : Path
        Made if it is not there. Images, provenance, one picture and one report go into it.
    methods : tuple of str
        In the order of the table; the report is of the last.
    progress : callable, optional
        Called as progress(stage, done, total).

    Returns
    -------
    Outcome

    Raises
    ------
    ResourceError
        If the folder cannot be written.
    """
    from inverse.reconstructing import reconstruct
    from inverse.report.orientation import hang

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(f"the folder {folder} cannot be made: {error.strerror}") from error
    kspace = measurement()
    truth = np.abs(np.asarray(kspace.reference))
    problem = kspace.prepare()
    rows, files, results = [], [], []
    for method in methods:
        start = time.perf_counter()
        result = reconstruct(problem, method, progress=progress)
        rows.append(_row(method, result, truth, time.perf_counter() - start))
        files += result.save(folder / f"{result.method}.nii.gz")
        results.append(result)
    report = results[-1].report(folder / "report.html")
    upright = hang(kspace.grid)
    shown = [upright.apply(np.abs(image)) for image in (truth, *(r.image for r in results))]
    picture = _picture(folder / "comparison.png", shown)
    return Outcome(tuple(rows), (*files, picture, report), report)


def _row(method: str, result: Reconstruction, truth: NDArray[np.generic], seconds: float) -> Row:
    from inverse.metrics import compare
    from inverse.report.words import title_of

    found = compare(np.abs(result.image), truth)
    return Row(
        title=title_of(result.method) + (" (auto)" if method == "auto" else ""),
        method=result.method,
        nrmse=found.nrmse,
        psnr_db=found.psnr_db,
        ssim=found.ssim,
        residual_to_noise=result.diagnostics.residual_to_noise,
        seconds=seconds,
    )


def _picture(path: Path, images: list[NDArray[np.generic]]) -> Path:
    """Write the middle slices of magnitudes side by side, each in its own window."""
    from inverse.io.atomic import replacing
    from inverse.report.png import encode

    tiles = []
    for image in images:
        magnitude = image[len(image) // 2].astype(np.float64)
        white = float(np.percentile(magnitude, _WHITE_PERCENTILE)) or 1.0
        tiles.append((255 * np.clip(magnitude / white, 0, 1)).astype(np.uint8))
    with replacing(path) as part:
        part.write_bytes(encode(np.concatenate(tiles, axis=1)))
    return path
