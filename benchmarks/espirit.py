"""ESPIRiT, 8 coils, 256 x 256, 24 x 24 calibration samples, kernel 6, one map: CPU time, residual.

residual = ||(1 - s s^H) c|| / ||c|| over the object: coil-image energy that the maps cannot hold.

    python -m benchmarks.espirit
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Contender, Table, one_thread, race
from benchmarks.ours import our_espirit
from benchmarks.peers import sigpy_espirit
from benchmarks.phantom import bart_maps, coil_images, phantom_kspace, support, unit_norm


def residual(maps: NDArray[np.complex64], images: NDArray[np.complex64]) -> float:
    inside = support(images)
    maps, images = unit_norm(maps)[:, inside], images[:, inside]
    outside_span = images - maps * (maps.conj() * images).sum(0)
    return float(np.linalg.norm(outside_span) / np.linalg.norm(images))


def main() -> None:
    kspace, images = phantom_kspace(), coil_images()
    timings = race(
        [
            Contender("ours", lambda: our_espirit(kspace)),
            Contender("sigpy", lambda: sigpy_espirit(kspace)),
            Contender("BART", lambda: bart_maps(kspace)),
        ],
        repeats=5,
    )
    table = Table(
        "espirit",
        "ESPIRiT, 8 x 256 x 256, 24 x 24 calibration, kernel 6, one map",
        ("tool", "CPU s", "ours / tool", "residual"),
        "Real phantom. BART pays for a process and its files.",
    )
    ours = timings["ours"].seconds
    residuals = {name: residual(timing.answer, images) for name, timing in timings.items()}
    for name, timing in timings.items():
        table.add(name, timing.seconds, ours / timing.seconds, residuals[name])
    table.judge("CPU time over sigpy's", ours / timings["sigpy"].seconds, 0.2)
    table.judge("stretch: CPU time over BART's", ours / timings["BART"].seconds, 1.0)
    table.judge("residual over BART's", residuals["ours"] / residuals["BART"], 1.01)
    table.write({"seconds": {name: timing.all_seconds for name, timing in timings.items()}})


if __name__ == "__main__":
    one_thread()
    main()
