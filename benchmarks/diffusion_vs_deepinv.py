"""Ours against deepinv's DiffPIR and DPS: the same denoiser, the same operator, one process.

Two problems, 8 coils, R = 4, white noise of 0.01 of the maximum. In `complex` the unknown is a
complex image, of which deepinv's DiffPIR cuts off what is negative after the phase has been turned
away. In `real` the unknown is real, not negative and at most one, so that its clamping to 0..1
removes nothing that is true.

    python -m benchmarks.diffusion_vs_deepinv [--prior PRIOR] [--quick] [real] [complex]

deepinv gets the weight with the largest PSNR of a ladder on every case, ours none. Costs are those
of the one run that won.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.deepinv_peers import (
    Channels,
    CountedOperator,
    CountedPrior,
    RealUnknown,
    Spent,
    diffpir,
    dps,
)
from benchmarks.diffusion_oracles import SLICES
from benchmarks.diffusion_runs import (
    COLUMNS,
    Options,
    Score,
    judge_gain,
    judge_share,
    mean_score,
    parse_options,
    run_method,
    score_image,
)
from benchmarks.measure import Table, cpu_seconds, one_thread
from benchmarks.phantom import fft
from benchmarks.semi_real import make_case, psnr
from benchmarks.sweep import best_of
from inverse import Grid, Problem
from operators import LinearOperator
from operators.mri import Sense

RATE, NOISE = 4.0, 0.01
DIFFPIR_STEPS, DIFFPIR_WEIGHTS = 20, (0.5, 3.0, 7.0, 25.0)
DPS_STEPS = 100
DPS_WEIGHTS: dict[str, tuple[float, ...]] = {
    "norm": (0.3, 1.0, 3.0, 10.0, 30.0),
    "annealed": (0.1, 0.3, 1.0, 3.0, 10.0),
}
# With a network its calls are most of anybody's time, so a small share of the time of a sampler
# with as many calls needs fewer of them: the short run is judged by cost, both by quality.
SHORT = 6
OURS: dict[str, tuple[str, dict[str, int]]] = {
    "ours pnp_hqs": ("pnp_hqs", {}),
    f"ours pnp_hqs, {SHORT} steps": ("pnp_hqs", {"steps": SHORT}),
    "ours diffpir": ("diffpir", {}),
    "ours dds": ("dds", {}),
}
JUDGED = ("ours pnp_hqs", f"ours pnp_hqs, {SHORT} steps")
KINDS = ("real", "complex")

Solve = Callable[[Problem, CountedPrior], torch.Tensor]


def make_problem(slice_index: int, kind: str) -> tuple[Problem, NDArray[np.complex64]]:
    """Build the problem of one slice, in units where the image's maximum is one, and its truth."""
    case = make_case(slice_index, 0, RATE, NOISE)
    mask = torch.from_numpy(np.broadcast_to(case.mask, case.truth.shape).copy())
    op: LinearOperator = Sense(torch.from_numpy(case.csm)[None], mask)
    truth = np.abs(case.truth) if kind == "real" else case.truth
    rng = np.random.default_rng([slice_index, 1])
    noise = NOISE * rng.standard_normal((*case.csm.shape, 2)).astype(np.float32)
    samples = (fft(case.csm * truth) + noise.view(np.complex64)[..., 0]) * case.mask
    data = torch.from_numpy(samples.astype(np.complex64))[None]
    n_samples = int(case.mask.sum()) * samples.shape[-1] * len(samples)
    if kind == "real":
        op, data, n_samples = RealUnknown(op), torch.view_as_real(data), 2 * n_samples
    problem = Problem(
        operator=op,
        data=data,
        noise_std=NOISE,
        n_samples=n_samples,
        grid=Grid((1, *truth.shape), (1.0, 1.0, 1.0)),
        n_batch_axes=1,
    )
    return problem, truth.astype(np.complex64)


def counted(
    problem: Problem, options: Options, truth: NDArray[np.complex64], solve: Solve
) -> tuple[NDArray[np.complex64], Score]:
    """Run a solver on the problem with everything counted, and score its image."""
    spent = Spent()
    watched = replace(problem, operator=CountedOperator(problem.operator, spent))
    started = cpu_seconds()
    image = np.asarray(solve(watched, CountedPrior(options.prior, spent))[0])
    seconds = cpu_seconds() - started
    costs = {"n_denoiser": spent.n_denoiser, "n_operator": spent.n_operator, "seconds": seconds}
    return image, score_image(image, truth, **costs)


def best_of_deepinv(
    problem: Problem,
    options: Options,
    truth: NDArray[np.complex64],
    sampler: Callable[..., torch.Tensor],
    weights: tuple[float, ...],
) -> tuple[Score, str]:
    """Sweep deepinv's weight; return the score of the best and what it was."""
    channels = Channels.of(problem)
    scores: dict[float, Score] = {}

    def at(weight: float) -> NDArray[np.complex64]:
        def solve(watched: Problem, prior: CountedPrior) -> torch.Tensor:
            return sampler(watched, prior, channels, weight)

        image, scores[weight] = counted(problem, options, truth, solve)
        return image

    best = best_of(at, weights, partial(psnr, truth=truth), largest=True)
    return scores[best.weight], f"{best.weight:g}" + (" (edge)" if best.at_edge else "")


def run_case(
    slice_index: int, kind: str, options: Options
) -> tuple[dict[str, Score], dict[str, str]]:
    """Run everybody on one slice; return scores and the weights that won."""
    problem, truth = make_problem(slice_index, kind)
    scores, weights = {}, {}
    for label, (method, settings) in OURS.items():
        prior = CountedPrior(options.prior, Spent())
        spent = prior.spent
        watched = replace(problem, operator=CountedOperator(problem.operator, spent))
        _, score = run_method(watched, truth, method, prior, **settings)
        # `finish` makes the zero-filled image and the residual: not part of the method.
        assert abs(spent.n_operator - score.n_operator) <= 2, f"{label} miscounts: {spent}"
        assert spent.n_denoiser == score.n_denoiser, f"{label} miscounts: {spent}"
        scores[label] = score
        weights[label] = "none"
        print(kind, slice_index, label, score, flush=True)
    peers: dict[str, tuple[Callable[..., torch.Tensor], tuple[float, ...]]] = {
        f"deepinv DiffPIR {DIFFPIR_STEPS}": (partial(diffpir, steps=DIFFPIR_STEPS), DIFFPIR_WEIGHTS)
    }
    for guidance, ladder in DPS_WEIGHTS.items():
        run = partial(dps, steps=DPS_STEPS, guidance=guidance)
        peers[f"deepinv DPS {DPS_STEPS}, {guidance}"] = (run, ladder)
    for label, (sampler, ladder) in peers.items():
        scores[label], weights[label] = best_of_deepinv(problem, options, truth, sampler, ladder)
        print(kind, slice_index, label, weights[label], scores[label], flush=True)
    return scores, weights


def judge(table: Table, kind: str, mean: dict[str, Score]) -> None:
    diff = mean[f"deepinv DiffPIR {DIFFPIR_STEPS}"]
    best_dps = max((mean[f"deepinv DPS {DPS_STEPS}, {g}"] for g in DPS_WEIGHTS), key=_psnr)
    for label in JUDGED:
        ours, what = mean[label], f"{kind}: {label}"
        judge_gain(table, f"{what} over DiffPIR", ours.psnr - diff.psnr, 1.5)
        judge_gain(table, f"{what} over the better DPS", ours.psnr - best_dps.psnr, 1.0)
        share = ours.n_operator / diff.n_operator
        judge_share(table, f"{what}, applications of A over DiffPIR's", share, 0.35)
        judge_share(table, f"{what}, time over DiffPIR's", ours.seconds / diff.seconds, 0.35)
        judge_share(table, f"{what}, time over DPS's", ours.seconds / best_dps.seconds, 0.25)


def _psnr(score: Score) -> float:
    return score.psnr


def main() -> None:
    options = parse_options(__doc__, KINDS)
    slices = SLICES[1:2] if options.quick else SLICES[::2]
    table = Table(
        "diffusion_vs_deepinv",
        "The same denoiser and operator in ours and in deepinv 0.5",
        ("problem", "method", "weights", *COLUMNS),
        f"Means over slices {slices}. R = {RATE:g}, 8 coils, white noise {NOISE:g}; prior "
        f"{options.prior.name}. deepinv: the best weight on each case of {DIFFPIR_WEIGHTS} "
        f"(DiffPIR) and {DPS_WEIGHTS} (DPS, both forms of guidance), on a walk uphill from the "
        f"middle; ours: none, {SHORT} steps where it says so. A: applications of A^H A, forward or "
        f"adjoint alone a half; counted by the operator, as NFE by the denoiser. CPU seconds of "
        f"one thread, of the run that won.",
    )
    for kind in options.parts:
        found: dict[str, list[Score]] = {}
        chosen: dict[str, list[str]] = {}
        for index in slices:
            scores, weights = run_case(index, kind, options)
            for label, score in scores.items():
                found.setdefault(label, []).append(score)
                chosen.setdefault(label, []).append(weights[label])
        mean = {label: mean_score(every) for label, every in found.items()}
        for label, score in mean.items():
            table.add(kind, label, ", ".join(dict.fromkeys(chosen[label])), *score.cells())
        judge(table, kind, mean)
    if options.quick:
        print(table.markdown())
    else:
        table.write()


if __name__ == "__main__":
    one_thread()
    main()
