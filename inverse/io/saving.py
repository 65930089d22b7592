"""`save`: a reconstruction to the format of the name's ending, with its provenance beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError
from inverse.io import dicom, nifti, result
from inverse.io.atomic import replacing
from inverse.io.maps import facts_of, members_of, write_maps
from inverse.io.targets import check_targets, ending_of, maps_of, phase_of, sidecar_of
from inverse.provenance import SCHEMA, digests_of, json_ready, sha256_of_file

if TYPE_CHECKING:
    from inverse.reconstruction import Reconstruction

__all__ = ["save"]


def save(reconstruction: Reconstruction, path: str | Path, *, phase: bool = False) -> list[Path]:
    """Write a reconstruction and a JSON file that says how it was made.

    Of a posterior, standard deviation, interval and null-space share are written too: into the
    same file (``.h5``, ``.npz``, with the samples) or into NIfTI files beside it, NAME_std,
    NAME_q05, NAME_q95 and NAME_nullspace.

    Parameters
    ----------
    reconstruction : Reconstruction
    path : str or Path
        ``.nii``, ``.nii.gz`` (magnitude), ``.h5``, ``.npz`` (complex), or a name without ending,
        or a folder, for a DICOM series (magnitude).
    phase : bool
        Write the phase, in radians, as a second NIfTI file NAME_phase.

    Returns
    -------
    list of Path
        Every file written; the last is the JSON file, ``out.nii.gz.json`` for ``out.nii.gz``.

    Raises
    ------
    UsageError
        If the ending is none of these, if a DICOM folder holds other files, or if the name is that
        of an input of the reconstruction or of a JSON file that is not ours.
    DataError
        If the image holds values that are not finite.
    ResourceError
        If the disk is full or not writable; what was there before stays.
    """
    path = Path(path)
    if not np.isfinite(reconstruction.image).all():
        raise DataError(f"{path}: not written, the image holds values that are NaN or infinite")
    posterior = reconstruction.posterior
    level = posterior.shown.level if posterior else None
    _refuse_inputs(reconstruction, check_targets(path, phase=phase, level=level))
    ending = ending_of(path)
    facts: dict[str, object] = {}
    match ending:
        case ".nii" | ".nii.gz":
            written = _save_nifti(reconstruction, path, phase=phase)
        case "":
            written, facts = _save_dicom(reconstruction, path)
        case _:
            written = _save_complex(reconstruction, path, ending)
    if posterior and level:
        maps = maps_of(path, level)
        write_maps(posterior, reconstruction.grid, maps, reconstruction.method)
        facts |= {"maps": {name: sha256_of_file(file) for name, file in maps.items()}}
        written += maps.values()
    sidecar = sidecar_of(path)
    record = _record(reconstruction) | {
        "output": {
            "sha256": [sha256_of_file(file) for file in written],
            "shape_zyx": list(reconstruction.image.shape),
            "spacing_mm_zyx": list(reconstruction.grid.spacing_mm),
            "affine_ras_mm": reconstruction.grid.affine.tolist(),
            "geometry_is_nominal": reconstruction.grid.is_nominal,
            **facts,
        }
    }
    with replacing(sidecar) as part:
        part.write_text(json.dumps(json_ready(record), indent=2) + "\n", encoding="utf-8")
    return [*written, sidecar]


def _refuse_inputs(reconstruction: Reconstruction, targets: list[Path]) -> None:
    """Never replace what the image was made from, whatever it is called."""
    digests = digests_of(reconstruction.provenance)
    files = [t for target in targets for t in (target.iterdir() if target.is_dir() else [target])]
    for file in files:
        if digests and file.is_file() and sha256_of_file(file) in digests:
            raise UsageError(
                f"{file}: expected a name for the image, got a file that it was reconstructed "
                f"from; choose another name"
            )


def _record(reconstruction: Reconstruction) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "method": reconstruction.method,
        "settings": dict(reconstruction.settings),
        "diagnostics": _diagnostics(reconstruction),
        **({"posterior": facts_of(reconstruction.posterior)} if reconstruction.posterior else {}),
        **reconstruction.provenance,
    }


def _diagnostics(reconstruction: Reconstruction) -> dict[str, object]:
    facts = asdict(reconstruction.diagnostics)
    return {name: value for name, value in facts.items() if name not in {"history", "seconds"}}


def _save_nifti(reconstruction: Reconstruction, path: Path, *, phase: bool) -> list[Path]:
    image, grid = reconstruction.image, reconstruction.grid
    description = f"inverse {reconstruction.method}, not for diagnosis"
    nifti.write(np.abs(image), grid, path, description=description)
    if not phase:
        return [path]
    second = phase_of(path)
    nifti.write(np.angle(image), grid, second, description=f"{description}, phase in radians")
    return [path, second]


def _save_complex(reconstruction: Reconstruction, path: Path, ending: str) -> list[Path]:
    arrays: dict[str, NDArray[np.generic]] = {
        "image": reconstruction.image,
        "baseline": reconstruction.baseline,
        **(members_of(reconstruction.posterior) if reconstruction.posterior else {}),
    }
    texts = {
        "method": reconstruction.method,
        "settings": json.dumps(json_ready(reconstruction.settings)),
        "provenance": json.dumps(json_ready(_record(reconstruction))),
    }
    write = result.write_npz if ending == ".npz" else result.write_hdf5
    write(arrays, reconstruction.grid, texts, path)
    return [path]


def _save_dicom(
    reconstruction: Reconstruction, folder: Path
) -> tuple[list[Path], dict[str, object]]:
    series = dicom.Series(
        description=f"inverse {reconstruction.method} - research, not for diagnosis",
        comment=_comment(reconstruction),
        acquisition=_facts(reconstruction, "acquisition"),
    )
    magnitude = np.abs(reconstruction.image)
    factor = dicom.write(magnitude, reconstruction.grid, folder, series)
    return sorted(folder.iterdir()), {"dicom_units_per_pixel_value": factor}


def _facts(reconstruction: Reconstruction, part: str) -> Mapping[str, object]:
    facts = reconstruction.provenance.get(part)
    return facts if isinstance(facts, Mapping) else {}


def _comment(reconstruction: Reconstruction) -> str:
    """Say what a person must know who sees the image and nothing else."""
    parts = [
        "NOT FOR DIAGNOSIS.",
        f"Reconstructed from k-space by inverse-suite, method {reconstruction.method}.",
    ]
    if _facts(reconstruction, "acquisition").get("source") == "simulation":
        parts.append("Simulated data: no patient and no scanner was involved.")
    if _facts(reconstruction, "recipe").get("prior"):
        parts.append("A learned prior fills in what was not measured: detail may be generated.")
    if reconstruction.grid.is_nominal:
        parts.append("The raw file holds no patient geometry: left and right are not known.")
    return " ".join(parts)
