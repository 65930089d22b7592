"""Samplers against exact posteriors: mean, spread and intervals, in closed form.

    python -m benchmarks.sampler_calibration [--samplers dds,daps] [--set key=value] [--papers]

One thread. --papers adds the settings of each sampler's paper, some of which call the prior a
thousand times. With samplers or settings chosen, the table is printed and not written.

Eight problems of 8 by 8 pixels (two models of images, four measurements; see
tests/inverse/analytic_problems.py) whose posterior is a mixture of Gaussians that is known exactly.
The prior given to the samplers is the model itself, so that nothing but the sampler is judged.

- mean error, std ratio: 2000 samples of each of 2 images.
- coverage: 19 samples of each of 200 images drawn from the model with their data; share of true
  pixels between the least and the largest sample. That is 18 / 20 = 90 % when truth and samples
  follow one distribution, whatever it is.

- NFE, A: what one sample of one image costs.

The first row draws from the closed form: what a perfect sampler scores with as many samples.
"""

from __future__ import annotations

import argparse
import ast
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from benchmarks.measure import Table, one_thread
from inverse.methods import METHODS, check_settings, find, takes_prior
from inverse.reconstruction import Diagnostics, Reconstruction
from tests.inverse.analytic_problems import (
    MEASUREMENTS,
    MODELS,
    AnalyticProblem,
    MixturePrior,
    Scores,
    draw_problem,
    score,
)

FEW_IMAGES, MANY_SAMPLES = 2, 2000
MANY_IMAGES, FEW_SAMPLES = 200, 19
EXACT = "exact draws"
CLAIMS = ("pnp_dm",)
"""Samplers that claim the posterior, with preset="calibrated"; they are judged."""

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


def reconstruction(
    found: AnalyticProblem, name: str, settings: Settings, n_samples: int
) -> Reconstruction:
    return METHODS[name](
        found.problem,
        MixturePrior(found.mixture),
        generator=torch.Generator().manual_seed(0),
        n_samples=n_samples,
        **settings,
    )


def scored(found: AnalyticProblem, name: str, settings: Settings, n_samples: int) -> Scores:
    if name == EXACT:
        draws = found.exact_samples(n_samples, torch.Generator().manual_seed(0))
        return score(found, draws)
    posterior = reconstruction(found, name, settings, n_samples).posterior
    assert posterior is not None, f"{name} was asked for {n_samples} samples and returned none"
    return score(found, posterior.samples)


def measure(name: str, settings: Settings, model: str, measurement: str) -> Measured:
    moments = scored(draw_problem(model, measurement, FEW_IMAGES, 1), name, settings, MANY_SAMPLES)
    many = draw_problem(model, measurement, MANY_IMAGES, seed=2)
    intervals = scored(many, name, settings, FEW_SAMPLES)
    cost = Diagnostics()
    if name != EXACT:
        one = draw_problem(model, measurement, 1, seed=3)
        cost = reconstruction(one, name, settings, 1).diagnostics
    return Measured(
        model,
        measurement,
        moments.mean_error,
        moments.std_ratio,
        moments.mass,
        intervals.coverage,
        cost.n_denoiser,
        cost.n_operator,
    )


def contenders(
    only: str | None, override: Settings, *, with_papers: bool
) -> list[tuple[str, Settings]]:
    """Every sampler that draws samples, with its defaults and its paper's settings."""
    find("pnp_dm")  # looking one up fills the table of methods
    names = only.split(",") if only else sorted(name for name in METHODS if takes_prior(name))
    rows: list[tuple[str, Settings]] = [(EXACT, {})]
    for name in names:
        parameters = inspect.signature(find(name)).parameters
        if "n_samples" not in parameters:
            continue  # a point estimate
        check_settings(name, override)
        rows.append((name, override))
        if name in CLAIMS and not override:
            rows.append((name, {"preset": "calibrated"}))
        if with_papers and "preset" in parameters and not override:
            rows.append((name, {"preset": f"{name}-paper"}))
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
    parser.add_argument("--papers", action="store_true", help="also with the papers' settings")
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
    for name, settings in contenders(
        options.samplers, parsed(options.set), with_papers=options.papers
    ):
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
        if name == EXACT or (name in CLAIMS and "calibrated" in text):
            judge(table, f"{name}, {text}", rows)
        records += [{"sampler": name, "settings": text, **_record(row)} for row in rows]
        print(table.rows[-2], table.rows[-1], sep="\n", flush=True)
    if options.samplers or options.set:
        print(table.markdown())
    else:
        table.write({"problems": records})


def _record(row: Measured) -> dict[str, object]:
    return {key: getattr(row, key) for key in Measured.__slots__}


if __name__ == "__main__":
    main()
