"""`inverse recon`: a raw file to an image, its provenance and its report."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from inverse.cli.announcing import announce_calls, with_estimate
from inverse.cli.console import AsJson, Debug, one_line_errors, progress, show_json
from inverse.cli.earlier_run import EarlierRun, record_report
from inverse.cli.options import (
    CalibrationFile,
    Device,
    File,
    Maps,
    MethodName,
    Output,
    Prior,
    RecipeFile,
    ReportFile,
    Samples,
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
from inverse.cli.outcome import Written, show, summary
from inverse.cli.recon_files import ReconFiles
from inverse.errors import UsageError

if TYPE_CHECKING:
    from inverse.calibration import Calibration
    from inverse.provenance import Recipe
    from inverse.reconstruction import Reconstruction

__all__ = ["recon"]


def recon(
    file: File,
    *,
    output: Output = None,
    method: MethodName = "auto",
    prior: Prior = None,
    samples: Samples = None,
    calibration: CalibrationFile = None,
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
            _with_samples(parse_settings(settings), samples),
            parse_select(select),
        )
        files = ReconFiles(file, output, report, recipe, prior_file(prior), calibration)
        check_device(device)
        files.check(_n_samples(asked))
        command = _command(asked, files)
        if recipe is not None:
            _refuse_overrides(asked)
            recorded = Recipe.load(recipe).on(device=device, threads=threads, prior=prior)
            asked = replace(recorded, select=asked.select or recorded.select)
            files.check(_n_samples(asked))
        fitted = _calibration(asked, files)
        result = _annotated(_run(file, asked, fitted), command, recipe)
        with files.target(_n_samples(asked)) as target:
            written = _write(result, target, report)
        seconds = time.perf_counter() - started
        if as_json:
            show_json(summary(result, written, seconds))
        else:
            show(result, written, seconds)


def _write(result: Reconstruction, target: Path, report: Path | None) -> Written:
    """Write everything, then remove what the run before left beside the image."""
    earlier = EarlierRun.at(target)
    files = result.save(target)
    if report is not None:
        record_report(files[-1], result.report(report))
        files.append(report)
    return Written(tuple(files), *map(tuple, earlier.clear(files)))


def _with_samples(settings: dict[str, object], samples: int | None) -> dict[str, object]:
    if samples is None:
        return settings
    if "n_samples" in settings:
        raise UsageError("--samples expected to be given alone, got --set n_samples=... as well")
    return {**settings, "n_samples": samples}


def _n_samples(asked: Recipe) -> int:
    n_samples = asked.settings.get("n_samples", 1)
    return n_samples if isinstance(n_samples, int) else 1  # the method refuses what is no number


def _command(asked: Recipe, files: ReconFiles) -> list[str]:
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
            "--calibration": files.calibration,
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
        "--samples": "n_samples" in asked.settings,
        "--set": bool({*asked.settings} - {"n_samples"}),
    }
    refused = [option for option, is_given in given.items() if is_given]
    if refused:
        raise UsageError(f"--recipe decides {', '.join(refused)}; leave it out, or the recipe")


def _calibration(asked: Recipe, files: ReconFiles) -> Calibration | None:
    """Read the calibration, and refuse it now for what is known of the image already."""
    if files.calibration is None:
        return None
    n_samples = _n_samples(asked)
    if n_samples < 2:
        raise UsageError("--calibration expected several samples to calibrate; add --samples N")
    from inverse.calibration import Calibration
    from inverse.conditions import Conditions

    found = Calibration.load(files.calibration)
    method = None if asked.method == "auto" else asked.method
    found.conditions.refuse_others(Conditions(method=method, n_samples=n_samples))
    return found


def _run(file: Path, asked: Recipe, calibration: Calibration | None) -> Reconstruction:
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
        if calibration is not None:
            calibration.check_problem(problem)
        announce_calls(problem, asked)
        result = inverse.reconstruct(
            problem,
            asked.method,
            prior=asked.prior,
            seed=asked.seed,
            progress=with_estimate(shown),
            **asked.settings,
        )
    return calibration.apply(result) if calibration is not None else result


def _annotated(result: Reconstruction, command: list[str], recipe: Path | None) -> Reconstruction:
    """Record what only the command line knows, and warn of a recipe from another scan."""
    from inverse.provenance import digests_of, load_record

    made, diagnostics = dict(result.provenance), result.diagnostics
    if recipe is not None and digests_of(load_record(recipe)) != digests_of(made):
        warning = "The recipe was recorded on another input: its steps are repeated, not its image."
        diagnostics = replace(diagnostics, warnings=(*diagnostics.warnings, warning))
    return replace(result, diagnostics=diagnostics, provenance={**made, "command": command})
