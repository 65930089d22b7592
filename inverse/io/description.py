"""`describe`: what a file holds, as plain numbers and words and nothing about the patient."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from inverse.errors import ResourceError
from inverse.grid import Grid
from inverse.io import bart, fastmri, ismrmrd, npz
from inverse.io.detect import Format, detect
from inverse.io.images import read_image
from inverse.io.loading import KSPACE_READERS, load
from inverse.io.sampling import calibration_shape
from inverse.io.selection import Select
from inverse.io.untrusted import DEFAULT_MAX_MEMORY, reading
from inverse.mri.kspace import KSpace

__all__ = ["describe"]


class _Survey(Protocol):
    def __call__(self, path: Path, *, max_memory: int) -> dict[str, object]: ...


_SURVEYS: dict[Format, _Survey] = {
    Format.ISMRMRD: ismrmrd.survey,
    Format.FASTMRI: fastmri.survey,
    Format.BART: bart.survey,
    Format.NPZ: npz.survey,
}


def describe(
    path: str | Path,
    *,
    max_memory: int = DEFAULT_MAX_MEMORY,
    select: Select | None = None,
) -> dict[str, object]:
    """Say what a file holds.

    Of a file with several repetitions, contrasts ... the first or the selected one is described
    and the numbers of the others are listed under "counters".

    Parameters
    ----------
    path : str or Path
        A k-space or image file of any format that is read.
    max_memory : int
        Bytes that its arrays may take.
    select : mapping of str to int, optional
        Which of several repetitions, contrasts ... is described, as for `load`.

    Returns
    -------
    dict
        JSON-ready: "format" and for k-space "kind", "matrix", "image_matrix", "spacing_mm",
        "field_of_view_mm", "coils", "slices", "acceleration", "calibration_region",
        "noise_samples", "geometry", "acquisition", "notes", "warnings" and what the format
        has besides ("flags", "counters", ...).

    Raises
    ------
    DataError
        If the file is missing, damaged or of no known format.
    """
    path = Path(path)
    kind = detect(path)
    if kind not in KSPACE_READERS:
        return _image_facts(path, kind, max_memory)
    with reading(path, f"{kind} file"):
        facts = _SURVEYS[kind](path, max_memory=max_memory)
    counters = facts.get("counters")
    first: dict[str, int] = {}
    if isinstance(counters, dict):
        first = {n: v[0] for n, v in counters.items() if n not in {"slice", "average", "segment"}}
    try:
        kspace = load(path, max_memory=max_memory, select={**first, **(select or {})})
    except ResourceError as error:
        return {"format": str(kind), "kind": "k-space", **facts, "notes": [str(error)]}
    return {"format": str(kind), **_kspace_facts(kspace), **facts}


def _kspace_facts(kspace: KSpace) -> dict[str, object]:
    grid = kspace.grid
    image = kspace.recon_shape or grid.shape
    region = calibration_shape(kspace.mask)
    return {
        "kind": "k-space",
        "matrix": list(grid.shape),
        "image_matrix": list(image),
        "spacing_mm": list(grid.spacing_mm),
        "field_of_view_mm": [n * d for n, d in zip(image, grid.spacing_mm, strict=True)],
        "coils": kspace.n_coils,
        "slices": grid.shape[0],
        "is_3d": kspace.is_3d,
        "acceleration": kspace.acceleration,
        "calibration_region": list(region),
        "noise_samples": 0 if kspace.noise is None else int(kspace.noise.shape[1]),
        "reference": kspace.reference_kind,
        "geometry": _geometry(grid),
        "acquisition": dict(kspace.acquisition),
        "sha256": kspace.origin["sha256"],
        "notes": kspace.origin["notes"],
        "warnings": list(kspace.warnings),
    }


def _geometry(grid: Grid) -> dict[str, object]:
    return {
        "is_nominal": grid.is_nominal,
        "centre_mm_lps": list(grid.centre_mm),
        "x_direction_lps": list(grid.x_direction),
        "y_direction_lps": list(grid.y_direction),
        "z_direction_lps": list(grid.z_direction),
    }


def _image_facts(path: Path, kind: Format, max_memory: int) -> dict[str, object]:
    image, grid = read_image(path, max_memory=max_memory)
    facts: dict[str, object] = {
        "format": str(kind),
        "kind": "image",
        "matrix": list(image.shape),
        "is_complex": image.dtype.kind == "c",
    }
    if grid is not None:
        facts |= {"spacing_mm": list(grid.spacing_mm), "geometry": _geometry(grid)}
    return facts
