"""Whether intervals hold the truth: calibrated on some validation slices, checked on others.

    python -m benchmarks.uncertainty [--prior PRIOR] [--quick] [METHOD ...]

Neighbouring slices may show the same person, so the two sets come from parts of the validation set
that lie at least 25 slices apart within a class of images. R = 4, noise 0.01, from raw k-space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import inverse
from benchmarks.diffusion_oracles import NOISE, RATES
from benchmarks.diffusion_runs import Options, parse_options
from benchmarks.measure import Table, cpu_seconds, one_thread
from benchmarks.our_images import chain
from benchmarks.semi_real import make_case
from inverse import Reconstruction
from inverse.calibrating import calibrate
from inverse.calibration import Calibration

# Three classes of images: 0-63, 64-116, 117-178.
CALIBRATION: tuple[int, ...] = (5, 20, 68, 82, 120, 132)
TEST: tuple[int, ...] = (45, 60, 107, 114, 160, 175)
METHODS = ("dds", "diffpir", "pnp_dm", "daps", "pigdm")
DEFAULT = ("dds",)  # diffpir with all noise fresh, its default, is the same
SAMPLES = 8
LEVEL = 0.9
LOWEST, HIGHEST = 0.88, 0.92
LEAST_CORRELATION = 0.4

Truth = NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Coverage:
    """What intervals of one set of slices held.

    Parameters
    ----------
    before, after : float
        Share of the object's pixels whose truth lies in the samples' own interval, and in the
        calibrated one.
    by_slice : tuple of float
        `after`, slice by slice.
    correlation : float
        Of |truth - estimate| with the standard deviation, over all pixels of the object.
    """

    before: float
    after: float
    by_slice: tuple[float, ...]
    correlation: float


def reconstruct_all(
    slices: tuple[int, ...], method: str, n_samples: int, options: Options
) -> list[tuple[Reconstruction, Truth]]:
    """Draw samples for each slice, from raw k-space."""
    found = []
    for index in slices:
        case = make_case(index, 0, RATES[0], NOISE)
        problem = chain(case.kspace, case.mask, case.noise_scan).problem
        made = inverse.reconstruct(
            problem, method=method, prior=options.prior, seed=0, n_samples=n_samples
        )
        found.append((made, case.truth[None]))
        print(method, index, made, flush=True)
    return found


def coverage(calibration: Calibration, found: list[tuple[Reconstruction, Truth]]) -> Coverage:
    """Count on slices that the calibration has not seen; written without its own counting."""
    held_before, held_after, errors, spreads = [], [], [], []
    for made, truth in found:
        posterior = made.posterior
        assert posterior is not None
        inside, wanted = posterior.inside, np.abs(truth)
        own = posterior.interval(LEVEL)
        low, high = calibration.interval(made)
        held_before.append(((own.low <= wanted) & (wanted <= own.high))[inside])
        held_after.append(((low <= wanted) & (wanted <= high))[inside])
        errors.append(np.abs(wanted - posterior.estimate)[inside])
        spreads.append(posterior.std[inside])
    correlation = np.corrcoef(np.concatenate(errors), np.concatenate(spreads))[0, 1]
    return Coverage(
        before=float(np.concatenate(held_before).mean()),
        after=float(np.concatenate(held_after).mean()),
        by_slice=tuple(float(held.mean()) for held in held_after),
        correlation=float(correlation),
    )


def judge(table: Table, method: str, found: Coverage) -> None:
    inside = LOWEST <= found.after <= HIGHEST
    table.verdicts.append(
        f"{method}: coverage {found.after:.1%}, target {LOWEST:.0%}..{HIGHEST:.0%}: "
        + ("met" if inside else "MISSED")
    )
    table.verdicts.append(
        f"{method}: correlation {found.correlation:.2f}, target >= {LEAST_CORRELATION}: "
        + ("met" if found.correlation >= LEAST_CORRELATION else "MISSED")
    )


def main() -> None:
    options = parse_options(__doc__, METHODS, DEFAULT)
    calibration_slices, test_slices, n_samples = CALIBRATION, TEST, SAMPLES
    if options.quick:
        calibration_slices, test_slices, n_samples = CALIBRATION[1::2], TEST[1::4], 4
    table = Table(
        "uncertainty",
        f"Intervals of {LEVEL:.0%}: how many pixels of the object they hold",
        ("method", "factor", "before", "after", "after, by slice", "correlation", "CPU s a slice"),
        f"Calibrated on slices {calibration_slices}, checked on slices {test_slices}, "
        f"{n_samples} samples each, prior {options.prior.name}; R = {RATES[0]:g}, noise {NOISE:g}, "
        f"from raw k-space. before: the samples' own quantiles; after: calibrated. correlation: of "
        f"|error| with the standard deviation, over the pixels of the object.",
    )
    for method in options.parts:
        started = cpu_seconds()
        for_calibration = reconstruct_all(calibration_slices, method, n_samples, options)
        made, truths = zip(*for_calibration, strict=True)
        calibration = calibrate(made, truths, level=LEVEL)
        tested = reconstruct_all(test_slices, method, n_samples, options)
        found = coverage(calibration, tested)
        seconds = (cpu_seconds() - started) / (len(calibration_slices) + len(test_slices))
        by_slice = ", ".join(f"{share:.3f}" for share in found.by_slice)
        cells = (calibration.factor, found.before, found.after, by_slice, found.correlation)
        table.add(method, *cells, seconds)
        judge(table, method, found)
    if options.quick:
        print(table.markdown())
    else:
        table.write()


if __name__ == "__main__":
    one_thread()
    main()
