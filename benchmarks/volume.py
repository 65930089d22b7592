"""3-D Cartesian CG-SENSE, 96^3, 8 birdcage coils, Poisson-disc R = 6, 15 iterations: CPU time.

The volume is a real T1 template at 2.5 mm with a smooth synthetic phase and white noise.

    python -m benchmarks.volume
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Contender, Table, one_thread, race, relative_error
from benchmarks.ours import our_cg
from benchmarks.peers import bart_pics, mirtorch_cg, sigpy_cg
from benchmarks.phantom import data_folder, fft, nrmse, unit_norm

SIZE = 96
ITERATIONS = 15
WEIGHT = 1e-3
NOISE_STD = 0.01
AGREEMENT = 1e-3


def template() -> NDArray[np.complex64]:
    """Return the T1 template as (z, y, x), 96^3 at 2.5 mm, largest magnitude 1, smooth phase."""
    import nibabel
    from scipy.ndimage import zoom

    image = nibabel.load(data_folder() / "mni152_t1.nii.gz").get_fdata().transpose(2, 1, 0)
    small = np.clip(zoom(image, 1 / 2.5, order=1), 0, None)
    missing = [SIZE - n for n in small.shape]
    volume = np.pad(small, [(m // 2, m - m // 2) for m in missing])
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, SIZE)] * 3, indexing="ij")
    phase = 0.8 * x + 0.5 * y**2 - 0.6 * z * y
    return (volume / volume.max() * np.exp(1j * phase)).astype(np.complex64)


def main() -> None:
    from sigpy.mri import birdcage_maps, poisson

    image = template()
    maps = unit_norm(birdcage_maps((8, SIZE, SIZE, SIZE)).astype(np.complex64))
    disc = np.abs(poisson((SIZE, SIZE), 6, calib=(8, 8), seed=0)) > 0
    mask = disc[:, :, None]
    rng = np.random.default_rng(0)
    noise = NOISE_STD * (rng.standard_normal((2, *maps.shape)).astype(np.float32))
    data = ((fft(maps * image, 3) + noise[0] + 1j * noise[1]) * mask).astype(np.complex64)
    bart_options = ("-l2", "-r", str(WEIGHT), "-i", str(ITERATIONS), "-w", "1")
    timings = race(
        [
            Contender("ours", lambda: our_cg(data, maps, mask, WEIGHT, ITERATIONS)),
            Contender("sigpy", lambda: sigpy_cg(data, maps, WEIGHT, ITERATIONS)),
            Contender("MIRTorch", lambda: mirtorch_cg(data, maps, mask, WEIGHT, ITERATIONS)),
            Contender("BART", lambda: bart_pics(data, maps, *bart_options)),
        ],
        repeats=2,
    )
    ours = timings["ours"]
    table = Table(
        "volume",
        f"3-D CG-SENSE, {SIZE}^3, 8 coils, Poisson-disc R = {mask.size / mask.sum():.2f}, "
        f"{ITERATIONS} iterations",
        ("tool", "CPU s", "ours / tool", "difference from sigpy", "NRMSE"),
        f"Simulated from a real T1 template, lambda {WEIGHT:g} for all, set-up included. "
        "BART pays for a process and its files.",
    )
    inside = np.abs(image) > 0.1
    for name, timing in timings.items():
        difference = relative_error(timing.answer, timings["sigpy"].answer)
        shown = f"{difference:.1e}" + ("" if difference <= AGREEMENT else " (ANOTHER ANSWER)")
        error = nrmse(timing.answer, image, inside)
        table.add(name, timing.seconds, ours.seconds / timing.seconds, shown, error)
    table.judge("CPU time over sigpy's", ours.seconds / timings["sigpy"].seconds, 0.35)
    table.judge("CPU time over BART's", ours.seconds / timings["BART"].seconds, 0.2)
    table.write({"seconds": {name: timing.all_seconds for name, timing in timings.items()}})


if __name__ == "__main__":
    one_thread()
    main()
