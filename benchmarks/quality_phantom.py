"""Quality on the real phantom, masks R3 and R4, against the fully sampled image.

NRMSE = min over complex a of ||a x - ref|| / ||ref|| where the root sum of squares exceeds 10 % of
its maximum; ref = fully sampled coil images combined with the same unit-norm maps. Maps come from
the centre of the undersampled data. Peers get the best weight of a sweep that knows ref; ours get
no parameter.

    python -m benchmarks.quality_phantom [--pictures FOLDER]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Table, one_thread, pictures_folder
from benchmarks.our_images import METHODS, PRIOR_METHODS, chain
from benchmarks.peers import bart_pics, sigpy_cg, sigpy_l1_wavelet, sigpy_tv
from benchmarks.phantom import (
    bart_maps,
    coil_images,
    ifft,
    line_mask,
    nrmse,
    phantom_kspace,
    support,
)
from benchmarks.pictures import save_grid
from benchmarks.sweep import best_of

Array = NDArray[np.complex64]
MASKS = ("R3", "R4")
LINEAR = (5e-3, 1e-2, 2e-2, 3e-2, 5e-2)
SPARSE = (1e-3, 2e-3, 3e-3, 5e-3, 7e-3, 1e-2)
VARIATION = (2e-3, 3e-3, 5e-3, 1e-2, 2e-2, 3e-2, 5e-2)
MOST_CROPPED = 1e-3
TARGETS = {"cg_sense": (0.0527, 0.0673), "l1_wavelet": (0.030, 0.037)}


def peer_sweeps(
    data: Array, maps: Array
) -> dict[str, tuple[Callable[[float], Array], tuple[float, ...]]]:
    """Return each peer as a function of its weight, with the weights to try."""

    def bart_l2(weight: float) -> Array:
        return bart_pics(data, maps, "-l2", "-r", str(weight), "-i", "30", "-w", "1")

    def bart_l1(weight: float) -> Array:
        return bart_pics(data, maps, "-l1", "-r", str(weight), "-i", "100", "-e")

    def bart_tv(weight: float) -> Array:
        return bart_pics(data, maps, "-R", f"T:3:0:{weight}", "-i", "100", "-u", "0.1")

    return {
        "sigpy CG": (partial(sigpy_cg, data, maps, iterations=30), LINEAR),
        "BART CG": (bart_l2, LINEAR),
        "sigpy L1-wavelet": (partial(sigpy_l1_wavelet, data, maps), SPARSE),
        "BART L1-wavelet": (bart_l1, SPARSE),
        "sigpy TV": (partial(sigpy_tv, data, maps), VARIATION),
        "BART TV": (bart_tv, VARIATION),
    }


def main(pictures: Path | None = None) -> None:
    images = coil_images()
    inside = support(images)
    table = Table(
        "quality_phantom",
        "Real phantom, NRMSE",
        ("method", "weight", *MASKS),
        "Peers: best of a sweep that knows the answer (weight found for each mask). "
        "Ours: no parameter.",
    )
    columns: dict[str, list[tuple[float, str]]] = {}
    for name in MASKS:
        mask = line_mask(name)
        data = phantom_kspace() * mask
        maps = bart_maps(data)
        reference = (maps.conj() * images).sum(0)
        score = partial(nrmse, reference=reference, inside=inside)
        shown = {"zero-filled": (maps.conj() * ifft(data)).sum(0)}
        columns.setdefault("zero-filled", []).append((score(shown["zero-filled"]), "-"))
        for peer, (run, weights) in peer_sweeps(data, maps).items():
            best = best_of(run, weights, score)
            columns.setdefault(peer, []).append((best.score, str(best).partition("@ ")[2]))
            shown[peer] = best.image
        ours = chain(data, mask)
        ours_reference = (ours.csm.conj() * images).sum(0)
        cropped = float((np.linalg.norm(ours.csm, axis=0) == 0)[inside].mean())
        assert cropped < MOST_CROPPED, f"maps cover all but {cropped:.2%} of the object"
        for method in METHODS:
            image = ours.image(method)
            error = nrmse(image, ours_reference, inside)
            columns.setdefault(method, []).append((error, "none"))
            shown[f"ours {method}"] = image
        if pictures:
            save_grid(pictures / f"phantom_{name}.png", shown, reference)
    for method, cells in columns.items():
        label = f"ours {method}" if method in METHODS else method
        table.add(label, ", ".join(weight for _, weight in cells), *(score for score, _ in cells))
    judge(table, {method: [score for score, _ in cells] for method, cells in columns.items()})
    table.write()


def judge(table: Table, found: dict[str, list[float]]) -> None:
    for method, limits in TARGETS.items():
        for name, value, limit in zip(MASKS, found.get(method, ()), limits, strict=False):
            table.judge(f"{method} {name}", value, limit)
    for method in PRIOR_METHODS:
        for name, value, *others in zip(
            MASKS,
            found.get(method, ()),
            found.get("cg_sense", ()),
            found.get("l1_wavelet", ()),
            strict=False,
        ):
            table.judge(f"{method} {name} below cg_sense and l1_wavelet", value, min(others))


if __name__ == "__main__":
    one_thread()
    main(pictures_folder())
