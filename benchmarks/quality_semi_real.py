"""Semi-real slices at R = 4: PSNR of ours without a weight, peers with the weight an oracle picks.

Validation slices x ESPIRiT maps of the phantom x measured noise covariance, noise 0.01 of the
maximum. Everyone gets the whitened data and the true maps, so that only the reconstruction differs;
the last rows run the whole chain from raw k-space and a noise scan (maps estimated).

    python -m benchmarks.quality_semi_real [--pictures FOLDER]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import inverse
from benchmarks.measure import Table, one_thread, pictures_folder
from benchmarks.our_images import METHODS, PRIOR_METHODS, case_problem, chain, our_tv
from benchmarks.peers import bart_pics, sigpy_cg, sigpy_l1_wavelet, sigpy_tv
from benchmarks.pictures import save_grid
from benchmarks.semi_real import Case, make_case, psnr
from benchmarks.sweep import Best, best_of

SLICES = (12, 60, 96, 144)
SEEDS = (0, 1, 2)
ACCELERATION = 4.0
LINEAR = (1e-3, 3e-3, 1e-2, 3e-2, 0.1)
SPARSE = (1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1.2e-2, 2e-2)
BART_SPARSE = (5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3, 1.2e-2, 2e-2)
BART_TV = ("-i", "100", "-u", "0.1", "-w", "1")
CHAIN = ("l1_wavelet", "pnp_hqs")


def peers(case: Case) -> dict[str, Best]:
    """Reconstruct with every peer at the weight that the truth picks."""
    data, maps = case.whitened()
    sweep = partial(best_of, score=partial(psnr, truth=case.truth), largest=True)

    def bart_l1(weight: float) -> NDArray[np.complex64]:
        return bart_pics(data, maps, "-l1", "-r", str(weight), "-i", "100", "-e", "-w", "1")

    def bart_tv(weight: float) -> NDArray[np.complex64]:
        return bart_pics(data, maps, *BART_TV, "-R", f"T:3:0:{weight}")

    return {
        "sigpy CG, oracle": sweep(partial(sigpy_cg, data, maps, iterations=30), LINEAR),
        "sigpy L1-wavelet, oracle": sweep(partial(sigpy_l1_wavelet, data, maps), SPARSE),
        "sigpy TV, oracle": sweep(partial(sigpy_tv, data, maps), SPARSE),
        "BART L1-wavelet, oracle": sweep(bart_l1, BART_SPARSE),
        "BART TV, oracle": sweep(bart_tv, BART_SPARSE),
        "our TV, oracle": sweep(partial(our_tv, case), BART_SPARSE),
    }


def main(pictures: Path | None = None) -> None:
    table = Table(
        "quality_semi_real",
        f"Semi-real slices, R = {ACCELERATION:g}, PSNR in dB",
        ("method", "mean", "least", *(f"slice {s}" for s in SLICES)),
        f"Mean over {len(SEEDS)} masks (seeds {SEEDS}) for each slice; peak = largest magnitude of "
        "the truth. 'oracle': best weight of a sweep on each case. Ours: no weight given, except "
        "where 'oracle' says so. sigpy's TV stops after its default of 100 iterations, short of "
        "convergence; BART's ADMM converges. 'chain': from raw k-space and a noise scan, maps "
        "estimated.",
    )
    scores: dict[str, list[float]] = {}
    edges: set[str] = set()
    for index in SLICES:
        for seed in SEEDS:
            case = make_case(index, seed, ACCELERATION)
            swept = peers(case)
            edges |= {f"{name} at {best.weight:g}" for name, best in swept.items() if best.at_edge}
            shown = {name: best.image for name, best in swept.items()}
            problem = case_problem(case)
            for method in METHODS:
                found = inverse.reconstruct(problem, method=method, seed=0)
                shown[f"ours {method}"] = found.image[0]
            whole = chain(case.kspace, case.mask, case.noise_scan)
            shown |= {f"ours {method}, chain": whole.image(method) for method in CHAIN}
            for name, image in shown.items():
                scores.setdefault(name, []).append(psnr(image, case.truth))
            print(case.name, {name: round(s[-1], 2) for name, s in scores.items()}, flush=True)
            if pictures and seed == SEEDS[0]:
                save_grid(pictures / f"semi_real_{index}.png", shown, case.truth)
    for name, values in scores.items():
        by_slice = np.reshape(values, (len(SLICES), len(SEEDS))).mean(1)
        table.add(name, float(np.mean(values)), min(values), *(float(v) for v in by_slice))
    oracle = max(float(np.mean(v)) for name, v in scores.items() if "TV, oracle" in name)
    for method in PRIOR_METHODS:
        if values := scores.get(f"ours {method}"):
            gain = float(np.mean(values)) - oracle
            verdict = "met" if gain >= 0 else "MISSED"
            table.verdicts.append(f"{method} over the best oracle TV: {gain:+.2f} dB: {verdict}")
    table.verdicts.extend(f"sweep ended at its edge: {edge}" for edge in sorted(edges))
    table.write({"psnr": scores, "slices": SLICES, "seeds": SEEDS})


if __name__ == "__main__":
    one_thread()
    main(pictures_folder())
