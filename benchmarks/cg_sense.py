"""CG-SENSE, 8 coils, 256 x 256, phase-encode mask R = 3, 30 iterations: CPU time and agreement.

(A^H A + lambda I) x = A^H y, same maps, data, lambda and number of iterations for everyone.

    python -m benchmarks.cg_sense
"""

from __future__ import annotations

from benchmarks.measure import Contender, Table, one_thread, race, relative_error
from benchmarks.ours import our_cg
from benchmarks.peers import bart_pics, mirtorch_cg, mrpro_cg, sigpy_cg
from benchmarks.phantom import bart_maps, coil_images, line_mask, nrmse, phantom_kspace, support

WEIGHT = 1e-3
ITERATIONS = 30
AGREEMENT = 1e-3


def main() -> None:
    kspace, mask, images = phantom_kspace(), line_mask("R3"), coil_images()
    maps = bart_maps(kspace * mask)
    data = kspace * mask
    reference, inside = (maps.conj() * images).sum(0), support(images)
    bart_options = ("-l2", "-r", str(WEIGHT), "-i", str(ITERATIONS), "-w", "1")
    timings = race(
        [
            Contender("ours", lambda: our_cg(data, maps, mask, WEIGHT, ITERATIONS)),
            Contender("sigpy", lambda: sigpy_cg(data, maps, WEIGHT, ITERATIONS)),
            Contender("MIRTorch", lambda: mirtorch_cg(data, maps, mask, WEIGHT, ITERATIONS)),
            Contender("mrpro", lambda: mrpro_cg(data, maps, mask, WEIGHT, ITERATIONS)),
            Contender("BART", lambda: bart_pics(data, maps, *bart_options)),
        ],
        repeats=7,
    )
    ours = timings["ours"]
    table = Table(
        "cg_sense",
        "CG-SENSE, 8 x 256 x 256, R = 3, 30 iterations",
        ("tool", "CPU s", "ours / tool", "difference from sigpy", "NRMSE"),
        f"Real phantom, maps from BART given to all, lambda {WEIGHT:g} for all, set-up included. "
        "BART pays for a process and its files.",
    )
    for name, timing in timings.items():
        difference = relative_error(timing.answer, timings["sigpy"].answer)
        shown = f"{difference:.1e}" + ("" if difference <= AGREEMENT else " (ANOTHER ANSWER)")
        error = nrmse(timing.answer, reference, inside)
        table.add(name, timing.seconds, ours.seconds / timing.seconds, shown, error)
    best = min(timings[name].seconds for name in ("sigpy", "MIRTorch", "mrpro"))
    table.judge("CPU time over the best Python peer's", ours.seconds / best, 0.55)
    table.judge("CPU time over BART's", ours.seconds / timings["BART"].seconds, 0.25)
    table.judge(
        "difference from sigpy", relative_error(ours.answer, timings["sigpy"].answer), AGREEMENT
    )
    table.write({"seconds": {name: timing.all_seconds for name, timing in timings.items()}})


if __name__ == "__main__":
    one_thread()
    main()
