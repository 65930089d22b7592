"""DDS against its budget: calls of the network and conjugate-gradient iterations a step.

    python -m benchmarks.diffusion_curves [--prior PRIOR] [--quick]

Slices x one mask, R = 4, noise 0.01, from raw k-space; no weight given. The last rows are the
published settings (`preset="dds-paper"`): pure noise at the start, gamma = 1, five iterations.
"""

from __future__ import annotations

from benchmarks.diffusion_oracles import RATES, rate_sweep
from benchmarks.diffusion_runs import Score, judge_gain, mean_score, parse_options, run_method
from benchmarks.measure import Table, one_thread
from benchmarks.our_images import chain

STEPS = (19, 49, 99)
CG: tuple[int | str, ...] = (1, 2, 5, 10, "adaptive")
TOLERATED = -0.1  # dB


def main() -> None:
    options = parse_options(__doc__)
    settings = [s for s in rate_sweep(quick=options.quick) if s.seed == 0 and s.rate == RATES[0]]
    settings, steps = (settings[:1], STEPS[:1]) if options.quick else (settings, STEPS)
    scores: dict[tuple[int, int | str], list[Score]] = {}
    for setting in settings:
        case = setting.case()
        problem = chain(case.kspace, case.mask, case.noise_scan).problem
        for n in steps:
            for m in CG:
                asked: dict[str, object] = {"steps": n, "cg_iterations": m}
                _, score = run_method(problem, case.truth, "dds", options.prior, **asked)
                scores.setdefault((n, m), []).append(score)
                print(setting, n, m, score, flush=True)
            asked = {"steps": n, "preset": "dds-paper"}
            _, score = run_method(problem, case.truth, "dds", options.prior, **asked)
            scores.setdefault((n, "dds-paper"), []).append(score)
            print(setting, n, "dds-paper", score, flush=True)
    table = Table(
        "diffusion_curves",
        f"DDS against calls of the network and CG iterations a step, R = {RATES[0]:g}",
        ("NFE", *(f"M = {m}" for m in CG), "dds-paper", *(f"A, M = {m}" for m in CG)),
        f"PSNR in dB, then applications of A^H A. Means over slices "
        f"{[s.slice_index for s in settings]}, one mask, one draw; prior {options.prior.name}.",
    )
    mean = {key: mean_score(every) for key, every in scores.items()}
    for n in steps:
        row = [mean[n, m] for m in CG]
        table.add(
            n,
            *(score.psnr for score in row),
            mean[n, "dds-paper"].psnr,
            *(score.n_operator for score in row),
        )
        best = max(mean[n, m].psnr for m in CG if m != "adaptive")
        gain = mean[n, "adaptive"].psnr - best
        judge_gain(table, f"NFE {n}: adaptive over the best fixed M", gain, TOLERATED)
    if options.quick:
        print(table.markdown())
    else:
        table.write()


if __name__ == "__main__":
    one_thread()
    main()
