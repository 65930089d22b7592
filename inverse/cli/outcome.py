"""What `inverse recon` says of a finished run, to a person or to a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inverse.cli.console import show_facts

if TYPE_CHECKING:
    from inverse.reconstruction import Reconstruction

__all__ = ["Written", "show", "summary"]


@dataclass(frozen=True, slots=True)
class Written:
    """What a run did to the disk.

    Parameters
    ----------
    files : tuple of Path
        Written.
    removed : tuple of Path
        Of the image that was replaced, and gone with it.
    left : tuple of Path
        Beside the image, and not of it.
    """

    files: tuple[Path, ...]
    removed: tuple[Path, ...] = ()
    left: tuple[Path, ...] = ()


def summary(result: Reconstruction, written: Written, seconds: float) -> dict[str, object]:
    """Return what a machine wants to know of a run."""
    from inverse.io.maps import facts_of

    diagnostics, posterior = result.diagnostics, result.posterior
    return {
        "method": result.method,
        "why": result.provenance.get("why"),
        "residual_to_noise": diagnostics.residual_to_noise,
        "noise_std": diagnostics.noise_std,
        "status": diagnostics.status,
        "iterations": diagnostics.iterations,
        "posterior": None if posterior is None else facts_of(posterior),
        "seconds": dict(diagnostics.seconds),
        "seconds_total": seconds,
        "geometry": _geometry(result),
        "warnings": list(diagnostics.warnings),
        "files": [str(path) for path in written.files],
        "removed": [str(path) for path in written.removed],
        "left": [str(path) for path in written.left],
    }


def show(result: Reconstruction, written: Written, seconds: float) -> None:
    """Print what a person wants to know of a run."""
    from inverse.report.uncertainty import uncertainty_of
    from inverse.report.words import image_kind, residual_verdict, title_of

    diagnostics = result.diagnostics
    verdict = residual_verdict(diagnostics.residual_to_noise)
    why = result.provenance.get("why")
    open_parts: tuple[str, ...] = ()
    if result.posterior is not None:
        uncertainty = uncertainty_of(result.posterior)
        open_parts = (uncertainty.headline, *uncertainty.sentences[1:])
    show_facts(
        [
            ("method", f"{title_of(result.method)}{f' ({why})' if why else ''}"),
            ("residual", f"{verdict.headline} {verdict.meaning}"),
            *(("posterior", sentence) for sentence in open_parts),
            ("geometry", _geometry(result)),
            ("time", f"{seconds:.1f} s, reading and writing included"),
            *(("note", sentence) for sentence in image_kind(result)),
            *(("warning", sentence) for sentence in diagnostics.warnings),
            *(("wrote", str(path)) for path in written.files),
            *(("removed", f"{path}, of the image that was replaced") for path in written.removed),
            *(("left", f"{path}, which is not of this image") for path in written.left),
        ]
    )


def _geometry(result: Reconstruction) -> str:
    return "assumed" if result.grid.is_nominal else "from the file"
