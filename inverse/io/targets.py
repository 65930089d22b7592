"""How the files of a saved reconstruction are called, and whether they can be written."""

from __future__ import annotations

from pathlib import Path

from inverse.errors import UsageError
from inverse.io import dicom
from inverse.io.atomic import check_writable
from inverse.io.maps import map_paths
from inverse.provenance import is_record

__all__ = ["check_targets", "ending_of", "maps_of", "phase_of", "sidecar_of", "targets_of"]

_ENDINGS = (".nii.gz", ".nii", ".hdf5", ".h5", ".npz")


def targets_of(path: Path, *, phase: bool = False, level: float | None = None) -> list[Path]:
    """Return what `save` would write under a name.

    Parameters
    ----------
    path : Path
    phase : bool
        As in `save`.
    level : float, optional
        Of the interval, if there is a posterior.

    Returns
    -------
    list of Path
        The image's file or folder, those of the phase and of the posterior's maps if there are any,
        and last the provenance file.

    Raises
    ------
    UsageError
        If the ending is unknown, or has no phase.

    Examples
    --------
    >>> [file.name for file in targets_of(Path("out.npz"), level=0.9)]
    ['out.npz', 'out.npz.json']
    """
    if phase and not ending_of(path).startswith(".nii"):
        raise UsageError(f"{path}: phase expected a NIfTI name; the other formats cannot split it")
    maps = maps_of(path, level).values() if level else ()
    return [path, *([phase_of(path)] if phase else []), *maps, sidecar_of(path)]


def check_targets(path: Path, *, phase: bool = False, level: float | None = None) -> list[Path]:
    """Return what `save` would write under a name, and refuse a name that it could not write.

    Parameters
    ----------
    path, phase, level
        As in `targets_of`.

    Returns
    -------
    list of Path
        As `targets_of`.

    Raises
    ------
    UsageError
        If the ending is unknown, a DICOM folder holds other files, or a JSON file that is not a
        provenance file of ours has the name of the provenance file.
    ResourceError
        If the folder is missing or cannot be written.
    """
    targets = targets_of(path, phase=phase, level=level)
    sidecar = targets[-1]
    for target in targets:
        check_writable(target)
    if not ending_of(path):
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


def maps_of(path: Path, level: float) -> dict[str, Path]:
    """Files beside the image that hold the maps of its posterior; none where it holds them."""
    ending = ending_of(path)
    return map_paths(path, ending, level) if ending in {".nii.gz", ".nii", ""} else {}


def phase_of(path: Path) -> Path:
    """Name of the phase image.

    Examples
    --------
    >>> phase_of(Path("out.nii.gz")).name
    'out_phase.nii.gz'
    """
    stem = path.name[: len(path.name) - len(ending_of(path))]
    return path.with_name(f"{stem}_phase{path.name.removeprefix(stem)}")


def ending_of(path: Path) -> str:
    """One of the known endings, in lower case, or nothing for a DICOM folder.

    Raises
    ------
    UsageError
        If it is neither.
    """
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
