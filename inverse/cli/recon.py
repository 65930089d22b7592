"""`inverse recon`: a raw file to an image, its provenance and its report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inverse.cli.console import (
    AsJson,
    Debug,
    one_line_errors,
    progress,
    show_facts,
    show_json,
)
from inverse.errors import UsageError

if TYPE_CHECKING:
    from inverse.provenance import Recipe
    from inverse.reconstruction import Reconstruction

__all__ = ["Method", "recon"]


class Method(StrEnum):
    """The names of `inverse.methods.METHODS`, spelled out so that completion needs no torch."""

    AUTO = "auto"
    ZERO_FILLED = "zero_filled"
    CG_SENSE = "cg_sense"
    L1_WAVELET = "l1_wavelet"
    TV = "tv"
    PNP_HQS = "pnp_hqs"
    DDS = "dds"


File = Annotated[Path, typer.Argument(help="ISMRMRD, fastMRI, BART or npz k-space.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Image: .nii.gz, .nii, .h5, .npz or a folder for DICOM. By default FILE's name with "
        ".nii.gz in the current folder, never over another file.",
    ),
]
Prior = Annotated[
    str | None, typer.Option(metavar="NAME|FILE", help="Prior of the methods that take one.")
]
Maps = Annotated[
    int, typer.Option(min=1, max=2, help="Sets of coil maps; 2 when the object is cut off.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option(min=0, help="Of every random choice.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")]
ReportFile = Annotated[Path | None, typer.Option(metavar="R.html", help="Write the report there.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; repeatable."),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN.json",
        help="Repeat a recorded run: method, prior, maps, seed and settings come from the file "
        "that was written beside its image.",
    ),
]


def recon(
    file: File,
    *,
    output: Output = None,
    method: Annotated[Method, typer.Option(help="How to reconstruct.")] = Method.AUTO,
    prior: Prior = None,
    maps: Maps = 1,
    device: Device = "cpu",
    seed: Seed = 0,
    threads: Threads = None,
    report: ReportFile = None,
    settings: Settings = None,
    recipe: RecipeFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Reconstruct an image from multi-coil k-space."""
    with one_line_errors(debug=debug):
        from inverse.io.saving import sidecar_of
        from inverse.provenance import Recipe

        asked = Recipe(str(method), prior, maps, seed, device, threads, _parsed(settings or ()))
        if recipe is not None:
            asked = Recipe.load(recipe).on(device=device, threads=threads, prior=prior)
        target = output or _free_name(file)
        sidecar_of(target)  # refuses an unknown ending before the work begins
        result = _run(file, asked)
        result = _with_command(result, {file: "<input 1>", target: "<output>", report: "<report>"})
        written = [*result.save(target), *([result.report(report)] if report else [])]
        if as_json:
            show_json(_summary(result, written))
        else:
            _show(result, written)


def _run(file: Path, asked: Recipe) -> Reconstruction:
    import inverse

    measurement = inverse.load(file)
    if asked.threads is not None:
        import torch

        torch.set_num_threads(asked.threads)
    with progress() as shown:
        problem = measurement.prepare(maps=asked.maps, device=asked.device)
        return inverse.reconstruct(
            problem,
            asked.method,
            prior=asked.prior,
            seed=asked.seed,
            progress=shown,
            **asked.settings,
        )


def _with_command(result: Reconstruction, files: Mapping[Path | None, str]) -> Reconstruction:
    """Record the command line, with files named by their part in it."""
    from inverse.provenance import public_command

    parts = {str(path): part for path, part in files.items() if path is not None}
    command = public_command(sys.argv[1:], parts)
    return replace(result, provenance={**result.provenance, "command": command})


def _parsed(texts: Iterable[str]) -> dict[str, object]:
    """Read KEY=VALUE pairs; a value is a JSON number, true, false, null or else a text."""
    found: dict[str, object] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UsageError(f"--set expected KEY=VALUE, got '{text}'")
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _free_name(file: Path) -> Path:
    """Return FILE's name with .nii.gz in the current folder, numbered if something has it."""
    stem = file.name.partition(".")[0] or "image"
    name, number = stem, 1
    while Path(f"{name}.nii.gz").exists() or Path(f"{name}.json").exists():
        number += 1
        name = f"{stem}-{number}"
    return Path(f"{name}.nii.gz")


def _summary(result: Reconstruction, written: Iterable[Path]) -> dict[str, object]:
    """Return what a machine wants to know of a run."""
    diagnostics = result.diagnostics
    return {
        "method": result.method,
        "why": result.provenance.get("why"),
        "residual_to_noise": diagnostics.residual_to_noise,
        "noise_std": diagnostics.noise_std,
        "status": diagnostics.status,
        "iterations": diagnostics.iterations,
        "seconds": dict(diagnostics.seconds),
        "warnings": list(diagnostics.warnings),
        "files": [str(path) for path in written],
    }


def _show(result: Reconstruction, written: Iterable[Path]) -> None:
    """Print what a person wants to know of a run."""
    from inverse.report.words import image_kind, residual_verdict, title_of

    diagnostics = result.diagnostics
    verdict = residual_verdict(diagnostics.residual_to_noise)
    why = result.provenance.get("why")
    show_facts(
        [
            ("method", f"{title_of(result.method)}{f' ({why})' if why else ''}"),
            ("residual", f"{verdict.headline} {verdict.meaning}"),
            ("time", f"{sum(diagnostics.seconds.values()):.1f} s"),
            *(("note", sentence) for sentence in image_kind(result)),
            *(("warning", sentence) for sentence in diagnostics.warnings),
            *(("wrote", str(path)) for path in written),
        ]
    )
