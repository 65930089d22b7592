"""The best that methods without a learned prior can do: their weights chosen by the truth itself.

Total variation at the best weight of a ladder, iterated until it has converged, and CG-SENSE at the
best pair of Tikhonov weight and number of iterations, on the true maps and noise covariance. The
images are kept in a cache outside the repository, because they cost more than what is compared
with them.

    python -m benchmarks.diffusion_oracles [--cache FOLDER] [--quick]
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import inverse
from benchmarks.measure import one_thread
from benchmarks.our_images import case_problem
from benchmarks.semi_real import Case, make_case, psnr
from benchmarks.sweep import best_of
from inverse import Problem
from inverse.mri.stopping import least_squares

__all__ = ["Oracle", "Setting", "add_cache_option", "noise_sweep", "oracles", "rate_sweep"]

Array = NDArray[np.complex64]

SLICES = (12, 60, 96, 144)
SEEDS = (0, 1, 2)
RATES = (4.0, 6.0)
NOISE = 0.01
NOISES = (0.003, 0.01, 0.03, 0.1)
NOISE_SLICES = (12, 96)

TV_FACTORS = (0.03, 0.05, 0.07, 0.1, 0.14, 0.2, 0.3, 0.45, 0.65, 1.0, 1.5, 2.2, 3.3)
TV_ITERATIONS = 400  # the tolerance of 1e-3 is met before, also without noise
TIKHONOV = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3)
CG_ITERATIONS = 40
VERSION = 1  # of everything above that decides what an oracle is


@dataclass(frozen=True, slots=True)
class Setting:
    """One simulated acquisition of a validation slice; see `benchmarks.semi_real.make_case`."""

    slice_index: int
    seed: int
    rate: float
    noise: float

    def case(self) -> Case:
        """Build the acquisition."""
        return make_case(self.slice_index, self.seed, self.rate, self.noise)

    def __str__(self) -> str:
        return f"val{self.slice_index}-seed{self.seed}-R{self.rate:g}-noise{self.noise:g}"


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """The best image of a method without a learned prior.

    Parameters
    ----------
    image : (256, 256), complex64
    chosen : str
        The weight, and whether the ladder ended there.
    n_operator : int
        Applications of A^H A of the one run that won; those of the sweep are not counted.
    """

    image: Array
    chosen: str
    n_operator: int


def rate_sweep(*, quick: bool = False) -> list[Setting]:
    """Slices x masks x rates at one noise level; `quick`: two slices, one mask."""
    slices, seeds = (SLICES[1:3], SEEDS[:1]) if quick else (SLICES, SEEDS)
    return [Setting(i, seed, r, NOISE) for r in RATES for i in slices for seed in seeds]


def noise_sweep(*, quick: bool = False) -> list[Setting]:
    """Slices x noise levels at R = 4, one mask; `quick`: one slice."""
    slices = NOISE_SLICES[-1:] if quick else NOISE_SLICES
    return [Setting(i, 0, RATES[0], noise) for noise in NOISES for i in slices]


def oracles(setting: Setting, case: Case, cache: Path) -> dict[str, Oracle]:
    """Return the oracle images of a case, computed now or read from the cache.

    Parameters
    ----------
    setting : Setting
    case : Case
        What `setting.case()` returns.
    cache : Path
        Folder of earlier results.
    """
    made = {"CG-SENSE, oracle": best_cg_sense, "TV, oracle": best_tv}
    return {name: _cached(cache / f"{setting}-{name}.npz", case, run) for name, run in made.items()}


def _cached(path: Path, case: Case, run: Callable[[Case], Oracle]) -> Oracle:
    if path.is_file():
        with np.load(path) as file:
            if int(file["version"]) == VERSION and np.array_equal(file["mask"], case.mask):
                return Oracle(file["image"], str(file["chosen"]), int(file["n_operator"]))
    found = run(case)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part.npz")
    np.savez(
        temporary,
        image=found.image,
        chosen=np.array(found.chosen),
        n_operator=np.array(found.n_operator),
        mask=case.mask,
        version=np.array(VERSION),
    )
    temporary.replace(path)
    return found


def best_tv(case: Case) -> Oracle:
    """Total variation at the weight with the largest PSNR."""
    problem = case_problem(case)
    counts: dict[float, int] = {}

    def at(factor: float) -> Array:
        found = inverse.reconstruct(
            problem, method="tv", weight=factor * problem.noise_std, iterations=TV_ITERATIONS
        )
        assert "tolerance" in found.diagnostics.status, f"TV did not converge: {found.diagnostics}"
        counts[factor] = found.diagnostics.n_operator
        image: Array = found.image[0]
        return image

    best = best_of(at, TV_FACTORS, lambda image: psnr(image, case.truth), largest=True)
    edge = ", edge of the ladder" if best.at_edge else ""
    return Oracle(
        np.asarray(best.image, np.complex64),
        f"weight {best.weight:g} x noise{edge}",
        counts[best.weight],
    )


def best_cg_sense(case: Case) -> Oracle:
    """CG-SENSE at the weight and the number of iterations with the largest PSNR."""
    problem = case_problem(case)
    best: tuple[float, Oracle] = (-np.inf, Oracle(np.zeros_like(case.truth), "nothing", 0))
    for weight in TIKHONOV:
        for iteration, image in _iterates(problem, weight):
            score = psnr(image, case.truth)
            if score > best[0]:
                edge = ", the last" if iteration == CG_ITERATIONS else ""
                chosen = f"weight {weight:g}, {iteration} iterations{edge}"
                best = (score, Oracle(image, chosen, iteration + 1))
    return best[1]


def _iterates(problem: Problem, weight: float) -> list[tuple[int, Array]]:
    """Every iterate of CG on (A^H A + weight I) x = A^H y, as images in the units of the case."""
    found: list[tuple[int, Array]] = []
    factor = problem.scale if problem.intensity is None else problem.scale * problem.intensity

    def keep(iteration: int, x: torch.Tensor) -> None:
        found.append((iteration, np.asarray(x.numpy() * factor, np.complex64)[0]))

    least_squares(problem, weight, CG_ITERATIONS, callback=keep)
    return found


def add_cache_option(parser: argparse.ArgumentParser) -> None:
    """Add --cache FOLDER, by default below the user's cache folder."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument(
        "--cache",
        type=Path,
        default=home / "inverse-suite" / "benchmarks",
        help="where the oracle images are kept between runs (default: %(default)s)",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    add_cache_option(parser)
    parser.add_argument("--quick", action="store_true", help="a few slices only")
    options = parser.parse_args()
    settings = rate_sweep(quick=options.quick) + noise_sweep(quick=options.quick)
    for setting in dict.fromkeys(settings):
        case = setting.case()
        for name, found in oracles(setting, case, options.cache).items():
            print(f"{setting} {name}: {psnr(found.image, case.truth):.2f} dB, {found.chosen}")


if __name__ == "__main__":
    one_thread()
    main()
