"""`save`: a reconstruction to the format of the name's ending, with its provenance beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inverse.errors import DataError, UsageError
from inverse.io import dicom, nifti, result
from inverse.io.atomic import check_writable, replacing
from inverse.provenance import SCHEMA, digests_of, is_record, json_ready, sha256_of_file

if TYPE_CHECKING:
    from inverse.reconstruction import Reconstruction

__all__ = ["check_targets", "save", "sidecar_of"]

_ENDINGS = (".nii.gz", ".nii", ".hdf5", ".h5", ".npz")


def save(reconstruction: Reconstruction, path: str | Path, *, phase: bool = False) -> list[Path]:
    """Write a reconstruction and a JSON file that says how it was made.

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
    _refuse_inputs(reconstruction, check_targets(path, phase=phase))
    ending = _ending(path)
    facts: dict[str, object] = {}
    match ending:
        case ".nii" | ".nii.gz":
            written = _save_nifti(reconstruction, path, phase=phase)
        case "":
            written, facts = _save_dicom(reconstruction, path)
        case _:
            written = _save_complex(reconstruction, path, ending)
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


def check_targets(path: Path, *, phase: bool = False) -> list[Path]:
    """Return what `save` would write under a name, and refuse a name that it could not write.

    Parameters
    ----------
    path : Path
    phase : bool
        As in `save`.

    Returns
    -------
    list of Path
        The image's file or folder, the phase's if there is one, and last the provenance file.

    Raises
    ------
    UsageError
        If the ending is unknown, a DICOM folder holds other files, or a JSON file that is not a
        provenance file of ours has the name of the provenance file.
    ResourceError
        If the folder is missing or cannot be written.
    """
    ending, sidecar = _ending(path), sidecar_of(path)
    if phase and not ending.startswith(".nii"):
        raise UsageError(f"{path}: phase expected a NIfTI name; the other formats cannot split it")
    targets = [path, *([_phase_of(path)] if phase else []), sidecar]
    for target in targets:
        check_writable(target)
    if not ending:
        dicom.check_folder(path)
    if sidecar.exists() and not is_record(sidecar):
        raise UsageError(
            f"{sidecar}: expected no file or an earlier provenance file, got another file of that "
            f"name; move it or choose another output"
        )
    return targets


def sidecar_of(path: Path) -> Path:
    """Name of the provenance file: the whole name of the image and ``.json``.

    Examples
    --------
    >>> sidecar_of(Path("out.nii.gz")).name
    'out.nii.gz.json'
    """
    return path.with_name(f"{path.name}.json")


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


def _phase_of(path: Path) -> Path:
    stem = path.name[: len(path.name) - len(_ending(path))]
    return path.with_name(f"{stem}_phase{path.name.removeprefix(stem)}")


def _ending(path: Path) -> str:
    """One of the known endings, in lower case, or nothing for a DICOM folder."""
    name = path.name.lower()
    for ending in _ENDINGS:
        if name.endswith(ending) and name != ending and not path.is_dir():
            return ending
    if path.is_dir() or not path.suffix:
        return ""
    raise UsageError(
        f"{path}: expected a name that ends in {', '.join(_ENDINGS)}, "
        f"or a folder name without ending for DICOM"
    )


def _record(reconstruction: Reconstruction) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "method": reconstruction.method,
        "settings": dict(reconstruction.settings),
        **reconstruction.provenance,
    }


def _save_nifti(reconstruction: Reconstruction, path: Path, *, phase: bool) -> list[Path]:
    image, grid = reconstruction.image, reconstruction.grid
    description = f"inverse {reconstruction.method}, not for diagnosis"
    nifti.write(np.abs(image), grid, path, description=description)
    if not phase:
        return [path]
    second = _phase_of(path)
    nifti.write(np.angle(image), grid, second, description=f"{description}, phase in radians")
    return [path, second]


def _save_complex(reconstruction: Reconstruction, path: Path, ending: str) -> list[Path]:
    arrays = {"image": reconstruction.image, "baseline": reconstruction.baseline}
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
