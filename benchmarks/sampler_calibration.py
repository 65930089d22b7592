"""Samplers against exact posteriors: mean, spread and intervals, in closed form.

    python -m benchmarks.sampler_calibration [--samplers dds,daps] [--set key=value] [--no-write]

Eight problems of 8 by 8 pixels (two models of images, four measurements; see
tests/inverse/analytic_problems.py) whose posterior is a mixture of Gaussians that is known exactly.
The prior given to the samplers is the model itself, so that nothing but the sampler is judged.

- mean error, std ratio: 2000 samples of each of 4 images.
- coverage: 100 samples of each of 200 images drawn from the model with their data, share of true
  pixels within the 5 % to 95 % interval of the samples.

The first row draws from the closed form: what a perfect sampler scores with as many samples.
"""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.measure import Table, one_thread
from inverse.methods import METHODS, check_settings, find, takes_prior
from tests.inverse.analytic_problems import (
    MEASUREMENTS,
    MODELS,
    AnalyticProblem,
    MixturePrior,
    draw_problem,
    score,
)

FEW_IMAGES, MANY_SAMPLES = 4, 2000
MANY_IMAGES, FEW_SAMPLES = 200, 100
EXACT = "exact draws"
PRESETS: Mapping[str, Sequence[Mapping[str, object]]] = {"dds": ({"preset": "dds-paper"},)}
"""Settings to measure besides the defaults."""

CLAIMS = ("daps", "pnp_dm")
"""Samplers whose docstring claims the posterior."""

Settings = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of one sampler on one problem."""

    model: str
    measurement: str
    mean_error: float
    std_ratio: float
    mass: float
    coverage: float
    n_denoiser: int
    n_operator: int


def drawn(
    found: AnalyticProblem, name: str, settings: Settings, n_samples: int
) -> tuple[torch.Tensor, int, int]:
    """Return samples (n, image, y, x), calls of the prior and applications of A."""
    generator = torch.Generator().manual_seed(0)
    if name == EXACT:
        return found.exact_samples(n_samples, generator), 0, 0
    result = METHODS[name](
        found.problem,
        MixturePrior(found.mixture),
        generator=generator,
        n_samples=n_samples,
        keep_samples=True,
        **settings,
    )
    counts = result.diagnostics
    samples = torch.from_numpy(np.real(result.posterior.samples))
    return samples, counts.n_denoiser, counts.n_operator


def measure(name: str, settings: Settings, model: str, measurement: str) -> Measured:
    few = draw_problem(model, measurement, FEW_IMAGES, seed=1)
    samples, n_denoiser, n_operator = drawn(few, name, settings, MANY_SAMPLES)
    moments = score(few, samples)
    many = draw_problem(model, measurement, MANY_IMAGES, seed=2)
    intervals = score(many, drawn(many, name, settings, FEW_SAMPLES)[0])
    return Measured(
        model,
        measurement,
        moments.mean_error,
        moments.std_ratio,
        moments.mass,
        intervals.coverage,
        n_denoiser,
        n_operator,
    )


def contenders(only: str | None, override: Settings) -> list[tuple[str, Settings]]:
    """Every sampler that takes a prior, with its defaults and its presets."""
    find("dds")  # importing fills the table of methods
    names = only.split(",") if only else sorted(name for name in METHODS if takes_prior(name))
    rows: list[tuple[str, Settings]] = [(EXACT, {})]
    for name in names:
        find(name)
        for settings in ({}, *PRESETS.get(name, ())):
            check_settings(name, {**settings, **override})
            rows.append((name, {**settings, **override}))
    return rows


def span(values: Sequence[float], digits: int = 2) -> str:
    """Return "least .. largest"."""
    return f"{min(values):.{digits}f} .. {max(values):.{digits}f}"


def percent(values: Sequence[float]) -> str:
    return f"{100 * min(values):.1f} .. {100 * max(values):.1f}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", help="names, separated by commas; all by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-write", action="store_true", help="print only")
    return parser.parse_args()


def parsed(pairs: Sequence[str]) -> dict[str, object]:
    """Numbers as numbers, anything else as text."""
    settings: dict[str, object] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        try:
            settings[key] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[key] = text
    return settings


def judge(table: Table, name: str, rows: Sequence[Measured]) -> None:
    worst = max(row.mean_error for row in rows)
    table.judge(f"{name}, mean error", worst, 0.05)
    away = max(abs(row.std_ratio - 1) for row in rows)
    table.judge(f"{name}, distance of the std ratio from 1", away, 0.1)
    off = max(abs(row.coverage - 0.9) for row in rows)
    table.judge(f"{name}, distance of the coverage from 90 %", 100 * off, 2.0)


def main() -> None:
    options = arguments()
    one_thread()
    table = Table(
        "sampler_calibration",
        "Samplers against exact posteriors, 8 x 8 pixels",
        (
            "sampler", "settings", "model", "mean error / std", "std ratio",
            "exact mass of the 90 % interval, %", "coverage of the truth, %", "NFE", "A",
        ),
        "Least to largest of four measurements (random, inpainting, blur, Fourier), noise 0.05, "
        f"the model itself as prior. Mean error, std ratio and mass: {MANY_SAMPLES} samples of "
        f"{FEW_IMAGES} images; coverage: {FEW_SAMPLES} samples of {MANY_IMAGES} images drawn from "
        "the model. A perfect sampler scores the first rows.",
    )  # fmt: skip
    records = []
    for name, settings in contenders(options.samplers, parsed(options.set)):
        rows = [measure(name, settings, model, how) for model in MODELS for how in MEASUREMENTS]
        text = ", ".join(f"{key}={value}" for key, value in settings.items()) or "default"
        for model in MODELS:
            mine = [row for row in rows if row.model == model]
            table.add(
                name,
                text,
                model,
                span([row.mean_error for row in mine], 3),
                span([row.std_ratio for row in mine]),
                percent([row.mass for row in mine]),
                percent([row.coverage for row in mine]),
                max(row.n_denoiser for row in mine),
                max(row.n_operator for row in mine),
            )
        if name == EXACT or name in CLAIMS:
            judge(table, name, rows)
        records += [{"sampler": name, "settings": text, **_record(row)} for row in rows]
        print(table.rows[-2], table.rows[-1], sep="\n", flush=True)
    if options.no_write:
        print(table.markdown())
    else:
        table.write({"problems": records})


def _record(row: Measured) -> dict[str, object]:
    return {key: getattr(row, key) for key in Measured.__slots__}


if __name__ == "__main__":
    main()
