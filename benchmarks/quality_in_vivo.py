"""Cross-validation on the undersampled in-vivo brain: hide samples, predict them.

10 % of the sampled points outside the calibration centre are hidden, the image is made from the
rest, and y_c = F(s_c x) is compared with the hidden samples:

    NRMSE = ||y - y_hidden|| / ||y_hidden||

    python -m benchmarks.quality_in_vivo [--pictures FOLDER]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.bart import from_bart, read
from benchmarks.measure import Table, one_thread, pictures_folder
from benchmarks.our_images import METHODS, PRIOR_METHODS, chain
from benchmarks.peers import sigpy_espirit, sigpy_l1_wavelet
from benchmarks.phantom import data_folder, fft
from benchmarks.pictures import save_grid
from benchmarks.sweep import best_of

Array = NDArray[np.complex64]
FILES = ("brain_8ch_poisson_undersampled.npz", "brain_8ch_bart_undersampled.cfl")
WEIGHTS = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2)
TUTORIAL_WEIGHT = 0.005
HIDDEN = 0.1
CENTRE = 24


def load(name: str) -> tuple[Array, NDArray[np.bool_]]:
    """Return k-space (coil, y, x), scaled to a peak coil image of about 1, and its mask (y, x)."""
    if name.endswith(".npz"):
        with np.load(data_folder() / name) as file:
            kspace = file["kspace"]
    else:
        kspace = from_bart(read(data_folder() / name))
    mask = np.abs(kspace).max(0) > 0
    return kspace / np.float32(np.abs(fft(kspace)).max()), mask


def hide(mask: NDArray[np.bool_], seed: int = 0) -> NDArray[np.bool_]:
    """Choose the sampled points to be hidden, none of them in the centre."""
    candidates = mask.copy()
    centre = tuple(slice(n // 2 - CENTRE // 2, n // 2 + CENTRE // 2) for n in mask.shape)
    candidates[centre] = False
    flat = np.flatnonzero(candidates)
    rng = np.random.default_rng(seed)
    hidden = np.zeros(mask.size, bool)
    hidden[rng.choice(flat, round(HIDDEN * flat.size), replace=False)] = True
    return hidden.reshape(mask.shape)


def prediction_error(predicted: Array, kspace: Array, hidden: NDArray[np.bool_]) -> float:
    """Return the relative error of the predicted samples at the hidden places."""
    wanted = kspace[:, hidden]
    return float(np.linalg.norm(predicted[:, hidden] - wanted) / np.linalg.norm(wanted))


def image_error(image: Array, maps: Array, kspace: Array, hidden: NDArray[np.bool_]) -> float:
    """Return the error of the samples that an image predicts through the maps."""
    return prediction_error(fft(maps * image), kspace, hidden)


def unlike(image: Array, flipped: Array) -> float:
    """Return 1 - correlation of two magnitudes of the same slice, one of them upside down.

    The second is turned about index n//2, where a centred transform has its origin.
    """
    turned = np.roll(np.flip(np.abs(flipped), 0), 1 - len(flipped) % 2, 0)
    return 1 - float(np.corrcoef(np.abs(image).ravel(), turned.ravel())[0, 1])


def main(pictures: Path | None = None) -> None:
    table = Table(
        "quality_in_vivo",
        "In-vivo brain, undersampled: NRMSE of predicted hidden samples",
        ("method", *FILES),
        f"{HIDDEN:.0%} of the samples outside the central {CENTRE} x {CENTRE} are hidden. "
        "sigpy with its own ESPIRiT maps (cropped at 0.95, its default, and not cropped); "
        "ours: no parameter. 1 is what an image of zeros would score.",
    )
    columns: dict[str, list[float]] = {}
    last: list[Array] = []
    for name in FILES:
        kspace, mask = load(name)
        hidden = hide(mask)
        data = kspace * ~hidden
        shown: dict[str, Array] = {}
        for label, crop in (("cropped maps", 0.95), ("uncropped maps", 0.0)):
            maps = sigpy_espirit(data, crop=crop)

            score = partial(image_error, maps=maps, kspace=kspace, hidden=hidden)
            best = best_of(partial(sigpy_l1_wavelet, data, maps), WEIGHTS, score)
            print(name, label, best, flush=True)
            tutorial = sigpy_l1_wavelet(data, maps, TUTORIAL_WEIGHT)
            columns.setdefault(f"sigpy L1-wavelet best weight, {label}", []).append(best.score)
            columns.setdefault(f"sigpy L1-wavelet {TUTORIAL_WEIGHT:g}, {label}", []).append(
                score(tutorial)
            )
            shown[f"sigpy L1-wavelet, {label}"] = best.image
        ours = chain(data, mask & ~hidden)
        for method in METHODS:
            shown[f"ours {method}"] = image = ours.image(method)
            error = prediction_error(ours.predict(image), kspace, hidden)
            columns.setdefault(f"ours {method}", []).append(error)
        last.append(image)
        if pictures:
            save_grid(pictures / f"in_vivo_{Path(name).suffix[1:]}.png", shown)
    for label, values in columns.items():
        table.add(label, *values)
    peer = np.min([v for label, v in columns.items() if label.startswith("sigpy")], axis=0)
    for method in ("l1_wavelet", "tv", *PRIOR_METHODS):
        for name, value, limit in zip(FILES, columns.get(f"ours {method}", ()), peer, strict=False):
            table.judge(f"{method}, {Path(name).suffix[1:]}, against sigpy's best", value, limit)
    table.judge(f"1 - correlation of the two files' images ({METHODS[-1]})", unlike(*last), 0.02)
    table.write()


if __name__ == "__main__":
    one_thread()
    main(pictures_folder())
