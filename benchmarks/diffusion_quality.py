"""Diffusion priors on semi-real slices: PSNR, SSIM, NRMSE and cost, no weight given to ours.

Ours run the whole chain from raw k-space and a noise scan: coil maps and noise estimated. What they
are compared with gets the true maps and the true noise, and its weight from the truth.

    python -m benchmarks.diffusion_quality [--prior PRIOR] [--quick] [rates] [noise] [samplers]

`rates`: slices x masks at R = 4 and 6; `noise`: four noise levels; `samplers`: every sampler that
is registered, one mask a slice.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from benchmarks.diffusion_oracles import (
    NOISES,
    RATES,
    Setting,
    noise_sweep,
    oracles,
    rate_sweep,
)
from benchmarks.diffusion_runs import (
    COLUMNS,
    Options,
    Score,
    judge_gain,
    mean_score,
    parse_options,
    run_method,
    score_image,
)
from benchmarks.measure import Table, one_thread
from benchmarks.our_images import chain
from benchmarks.pictures import save_grid
from inverse.errors import UsageError
from inverse.methods import METHODS, find, takes_prior
from inverse.priors import Prior, load_prior

Images = dict[str, NDArray[np.generic]]
Scores = dict[str, dict[str, list[Score]]]  # by row, by group of cases

PLAIN = ("zero_filled", "cg_sense", "tv")
POINT_ESTIMATES = ("pnp_hqs",)  # what the targets are about
LIGHT = ("pnp_hqs", "diffpir", "dds")
Gains = tuple[float | None, float | None]  # dB over oracle TV, over oracle CG-SENSE
GAINS: dict[str, dict[float, Gains]] = {  # by prior and R
    "network": {4.0: (3.0, 7.0), 6.0: (2.3, None)},
    "natural": {4.0: (0.0, None), 6.0: (None, None)},
}
MOST_NFE, MOST_A = 20, 130


def contenders(options: Options, names: tuple[str, ...]) -> dict[str, tuple[str, Prior | None]]:
    """Return label -> (method, prior): plain methods, the patch prior, the network."""
    find("pnp_hqs")  # fills the table of methods
    ours: dict[str, tuple[str, Prior | None]] = {name: (name, None) for name in PLAIN}
    natural = load_prior("natural")
    ours |= {f"{name}, natural": (name, natural) for name in POINT_ESTIMATES}
    ours |= {f"{name}, network": (name, options.prior) for name in names if name in METHODS}
    return ours


def run_cases(
    settings: list[Setting],
    options: Options,
    ours: Mapping[str, tuple[str, Prior | None]],
    group: str,
) -> tuple[Scores, list[str]]:
    """Run everybody on every case; `group` names the field of the setting that rows split by.

    Returns the scores, and what was refused with its reason.
    """
    scores: Scores = {}
    refused: dict[str, str] = {}
    for setting in settings:
        case = setting.case()
        key = f"{getattr(setting, group):g}"
        shown: Images = {}
        for name, oracle in oracles(setting, case, options.cache).items():
            shown[name] = oracle.image
            found = score_image(oracle.image, case.truth, n_operator=oracle.n_operator)
            scores.setdefault(name, {}).setdefault(key, []).append(found)
        problem = chain(case.kspace, case.mask, case.noise_scan).problem
        for label, (method, prior) in ours.items():
            if label in refused:
                continue
            try:
                shown[label], score = run_method(problem, case.truth, method, prior)
            except UsageError as error:
                refused[label] = str(error)
                continue
            scores.setdefault(label, {}).setdefault(key, []).append(score)
        latest = {name: round(by[key][-1].psnr, 2) for name, by in scores.items() if key in by}
        print(setting, latest, flush=True)
        if options.pictures and setting.seed == 0:
            save_grid(options.pictures / f"{setting}.png", shown, case.truth)
    return scores, [f"{label} does not apply: {reason}" for label, reason in refused.items()]


def rates(options: Options) -> Table:
    """Slices x masks at R = 4 and R = 6."""
    settings = rate_sweep(quick=options.quick)
    scores, refused = run_cases(settings, options, contenders(options, LIGHT), "rate")
    table = Table(
        "diffusion_quality",
        "Diffusion priors on semi-real slices",
        ("method", "R", *COLUMNS, "least PSNR"),
        f"Means over {_cases(settings)} for each R; noise {settings[0].noise:g} of the maximum. "
        f"'oracle': weight (and iterations) with the largest PSNR on each case, true maps; TV has "
        f"converged. Ours: the whole chain from raw k-space, nothing given. 'natural': the patch "
        f"prior; 'network': {options.prior.name}. A: applications of A^H A; CPU seconds of one "
        f"thread.",
    )
    for rate in RATES:
        for name, by in scores.items():
            found = by[f"{rate:g}"]
            least = min(score.psnr for score in found)
            table.add(name, f"{rate:g}", *mean_score(found).cells(), least)
    _judge_rates(table, scores)
    table.verdicts.extend(refused)
    return table


def _judge_rates(table: Table, scores: Scores) -> None:
    for kind, by_rate in GAINS.items():
        for rate, (over_tv, over_cg) in by_rate.items():
            for method in POINT_ESTIMATES:
                mean = {name: mean_score(by[f"{rate:g}"]) for name, by in scores.items()}
                ours = mean[f"{method}, {kind}"]
                for oracle, wanted in (("TV, oracle", over_tv), ("CG-SENSE, oracle", over_cg)):
                    if wanted is not None:
                        what = f"{method}, {kind}, R = {rate:g}, over {oracle}"
                        judge_gain(table, what, ours.psnr - mean[oracle].psnr, wanted)
    for label in (f"{method}, {kind}" for method in POINT_ESTIMATES for kind in GAINS):
        every = [score for found in scores[label].values() for score in found]
        table.judge(f"{label}: calls of the prior", max(s.n_denoiser for s in every), MOST_NFE)
        table.judge(f"{label}: applications of A", max(s.n_operator for s in every), MOST_A)


def noise(options: Options) -> Table:
    """Four noise levels, the same call."""
    settings = noise_sweep(quick=options.quick)
    scores, refused = run_cases(settings, options, contenders(options, LIGHT), "noise")
    table = Table(
        "diffusion_noise",
        "Diffusion priors against the noise level, R = 4, PSNR in dB",
        ("method", *(f"noise {level:g}" for level in NOISES)),
        f"Means over {_cases(settings)} for each noise level (standard deviation of the real and "
        f"of the imaginary part, over the image's maximum). Otherwise as diffusion_quality.",
    )
    keys = [f"{level:g}" for level in NOISES]
    for name, by in scores.items():
        table.add(name, *(mean_score(by[key]).psnr for key in keys))
    floors = [("pnp_hqs, network", "CG-SENSE, oracle"), ("pnp_hqs, natural", "CG-SENSE, oracle")]
    floors += [("pnp_hqs, network", "TV, oracle")]
    for label, oracle in floors:
        gains = [
            mean_score(scores[label][k]).psnr - mean_score(scores[oracle][k]).psnr for k in keys
        ]
        judge_gain(table, f"{label} over {oracle}, least of the noise levels", min(gains), 0.0)
    table.verdicts.extend(refused)
    return table


def samplers(options: Options) -> Table:
    """Every registered sampler with the network, R = 4, one mask a slice."""
    settings = [s for s in rate_sweep(quick=options.quick) if s.seed == 0 and s.rate == RATES[0]]
    find("pnp_hqs")
    every = tuple(sorted(name for name in METHODS if takes_prior(name)))
    network = {f"{name}, network": (name, options.prior) for name in every}
    scores, refused = run_cases(settings, options, network, "rate")
    table = Table(
        "diffusion_samplers",
        f"Every sampler with its own settings, R = {RATES[0]:g}",
        ("method", *COLUMNS, "least PSNR"),
        f"Means over {_cases(settings)}; one draw where the method draws. Otherwise as "
        f"diffusion_quality.",
    )
    key = f"{RATES[0]:g}"
    for name, by in scores.items():
        table.add(name, *mean_score(by[key]).cells(), min(score.psnr for score in by[key]))
    table.verdicts.extend(refused)
    return table


def _cases(settings: list[Setting]) -> str:
    slices = sorted({s.slice_index for s in settings})
    seeds = sorted({s.seed for s in settings})
    return f"slices {slices} x masks {seeds}"


PARTS = {"rates": rates, "noise": noise, "samplers": samplers}


def main() -> None:
    options = parse_options(__doc__, tuple(PARTS))
    for part in options.parts:
        table = PARTS[part](options)
        if options.quick:
            print(table.markdown())
        else:
            table.write()


if __name__ == "__main__":
    one_thread()
    main()
