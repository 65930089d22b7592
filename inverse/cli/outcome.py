"""What `inverse recon` says of a finished run, to a person or to a machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from inverse.cli.console import show_facts

if TYPE_CHECKING:
    from inverse.reconstruction import Reconstruction

__all__ = ["show", "summary"]


def summary(result: Reconstruction, written: Iterable[Path], seconds: float) -> dict[str, object]:
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
        "files": [str(path) for path in written],
    }


def show(result: Reconstruction, written: Iterable[Path], seconds: float) -> None:
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
            *(("wrote", str(path)) for path in written),
        ]
    )


def _geometry(result: Reconstruction) -> str:
    return "assumed" if result.grid.is_nominal else "from the file"
