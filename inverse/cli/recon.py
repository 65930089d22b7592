"""`inverse recon`: a raw file to an image, its provenance and its report."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from inverse.cli.console import AsJson, Debug, one_line_errors, progress, show_facts, show_json
from inverse.cli.files import check_file, new_image, refuse_collisions
from inverse.cli.options import (
    Device,
    File,
    Maps,
    MethodName,
    Output,
    Prior,
    RecipeFile,
    ReportFile,
    Seed,
    Select,
    Settings,
    Threads,
    check_device,
    check_method,
    parse_select,
    parse_settings,
    prior_file,
)
from inverse.errors import UsageError

if TYPE_CHECKING:
    from inverse.provenance import Recipe
    from inverse.reconstruction import Reconstruction

__all__ = ["recon"]


def recon(
    file: File,
    *,
    output: Output = None,
    method: MethodName = "auto",
    prior: Prior = None,
    maps: Maps = 1,
    device: Device = "cpu",
    seed: Seed = 0,
    threads: Threads = None,
    report: ReportFile = None,
    settings: Settings = None,
    select: Select = None,
    recipe: RecipeFile = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Reconstruct an image from multi-coil k-space."""
    with one_line_errors(debug=debug):
        started = time.perf_counter()
        from inverse.provenance import Recipe

        check_method(method)
        asked = Recipe(
            method,
            prior,
            maps,
            seed,
            device,
            threads,
            parse_settings(settings),
            parse_select(select),
        )
        files = _Files(file, output, report, recipe, prior_file(prior))
        check_device(device)
        files.check()
        command = _command(asked, files)
        if recipe is not None:
            _refuse_overrides(asked)
            recorded = Recipe.load(recipe).on(device=device, threads=threads, prior=prior)
            asked = replace(recorded, select=asked.select or recorded.select)
        result = _annotated(_run(file, asked), command, recipe)
        with files.target() as target:
            written = [*result.save(target), *([result.report(report)] if report else [])]
        seconds = time.perf_counter() - started
        if as_json:
            show_json(_summary(result, written, seconds))
        else:
            _show(result, written, seconds)


@dataclass(frozen=True, slots=True)
class _Files:
    """Everything a run reads and writes."""

    input: Path
    output: Path | None
    report: Path | None
    recipe: Path | None
    prior: Path | None

    def check(self) -> None:
        """Refuse, before the work begins, what would overwrite another file or cannot be written.

        Raises
        ------
        UsageError, ResourceError
        """
        from inverse.io.atomic import check_writable
        from inverse.io.saving import check_targets, sidecar_of

        named = {"FILE": self.input, "--recipe": self.recipe, "--prior": self.prior}
        written = {
            "--output": self.output,
            "the provenance file": self.output and sidecar_of(self.output),
            "--report": self.report,
        }
        refuse_collisions(
            {name: path for name, path in named.items() if path},
            {name: path for name, path in written.items() if path},
        )
        if self.output:
            check_targets(self.output)
        else:
            check_writable(Path("image"))  # by default it goes into the current folder
        if self.report:
            check_file(self.report, "--report")

    def target(self) -> AbstractContextManager[Path]:
        """Return where the image goes: as asked, or a name that nothing has yet."""
        if self.output:
            return nullcontext(self.output)
        return new_image(self.input, [self.report] if self.report else [])


def _command(asked: Recipe, files: _Files) -> list[str]:
    """Put the command line together again, without the names of files."""
    from inverse.provenance import json_ready, public_command

    chosen: dict[str, object] = {
        "--method": asked.method,
        "--maps": asked.maps,
        "--seed": asked.seed,
        "--set": [f"{key}={json_ready(value)}" for key, value in asked.settings.items()],
    }
    return public_command(
        "recon",
        {
            "--output": files.output,
            **({"--recipe": files.recipe} if files.recipe else chosen),
            "--prior": files.prior or asked.prior,
            "--select": [f"{key}={value}" for key, value in asked.select.items()],
            "--device": asked.device,
            "--threads": asked.threads,
            "--report": files.report,
        },
    )


def _refuse_overrides(asked: Recipe) -> None:
    """Refuse options that the recipe decides; ignored in silence, they would mislead."""
    plain = replace(asked, method="auto", maps=1, seed=0)
    given = {
        "--method": asked.method != plain.method,
        "--maps": asked.maps != plain.maps,
        "--seed": asked.seed != plain.seed,
        "--set": bool(asked.settings),
    }
    refused = [option for option, is_given in given.items() if is_given]
    if refused:
        raise UsageError(f"--recipe decides {', '.join(refused)}; leave it out, or the recipe")


def _run(file: Path, asked: Recipe) -> Reconstruction:
    import inverse

    measurement = inverse.load(file, select=asked.select)
    if asked.threads is not None:
        import torch

        torch.set_num_threads(asked.threads)
    with progress() as shown:
        problem = measurement.prepare(
            maps=asked.maps,
            device=asked.device,
            n_virtual_coils=asked.n_virtual_coils,
            progress=shown,
        )
        return inverse.reconstruct(
            problem,
            asked.method,
            prior=asked.prior,
            seed=asked.seed,
            progress=shown,
            **asked.settings,
        )


def _annotated(result: Reconstruction, command: list[str], recipe: Path | None) -> Reconstruction:
    """Record what only the command line knows, and warn of a recipe from another scan."""
    from inverse.provenance import digests_of, load_record

    made, diagnostics = dict(result.provenance), result.diagnostics
    if recipe is not None and digests_of(load_record(recipe)) != digests_of(made):
        warning = "The recipe was recorded on another input: its steps are repeated, not its image."
        diagnostics = replace(diagnostics, warnings=(*diagnostics.warnings, warning))
    return replace(result, diagnostics=diagnostics, provenance={**made, "command": command})


def _summary(result: Reconstruction, written: Iterable[Path], seconds: float) -> dict[str, object]:
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
        "seconds_total": seconds,
        "geometry": _geometry(result),
        "warnings": list(diagnostics.warnings),
        "files": [str(path) for path in written],
    }


def _geometry(result: Reconstruction) -> str:
    return "assumed" if result.grid.is_nominal else "from the file"


def _show(result: Reconstruction, written: Iterable[Path], seconds: float) -> None:
    """Print what a person wants to know of a run."""
    from inverse.report.words import image_kind, residual_verdict, title_of

    diagnostics = result.diagnostics
    verdict = residual_verdict(diagnostics.residual_to_noise)
    why = result.provenance.get("why")
    show_facts(
        [
            ("method", f"{title_of(result.method)}{f' ({why})' if why else ''}"),
            ("residual", f"{verdict.headline} {verdict.meaning}"),
            ("geometry", _geometry(result)),
            ("time", f"{seconds:.1f} s, reading and writing included"),
            *(("note", sentence) for sentence in image_kind(result)),
            *(("warning", sentence) for sentence in diagnostics.warnings),
            *(("wrote", str(path)) for path in written),
        ]
    )
