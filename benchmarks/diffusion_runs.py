"""One run of a method on one case, scored: what the benchmarks of diffusion priors share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import inverse
from benchmarks.diffusion_oracles import add_cache_option
from benchmarks.measure import Table, cpu_seconds
from benchmarks.semi_real import psnr
from inverse import Problem
from inverse.priors import Prior, load_prior

__all__ = [
    "COLUMNS",
    "Options",
    "Score",
    "judge_gain",
    "judge_share",
    "mean_score",
    "parse_options",
    "run_method",
    "score_image",
]

Array = NDArray[np.complex64]


@dataclass(frozen=True, slots=True)
class Score:
    """How good an image is and what it cost.

    Parameters
    ----------
    psnr : float
        dB, magnitude, peak = largest magnitude of the truth.
    ssim : float
        Of the magnitude, Gaussian window of 1.5 pixels, the same peak.
    nrmse : float
        ||  |x| - |truth|  || / ||truth||, no scale fitted.
    n_denoiser, n_operator, seconds : float
        Calls of the prior, applications of A^H A, CPU seconds of one thread.
    """

    psnr: float
    ssim: float
    nrmse: float
    n_denoiser: float = 0.0
    n_operator: float = 0.0
    seconds: float = 0.0

    def cells(self) -> tuple[float, ...]:
        """Return the figures in the order of `COLUMNS`."""
        costs = (self.n_denoiser, self.n_operator, self.seconds)
        return (self.psnr, self.ssim, self.nrmse, *costs)


COLUMNS = ("PSNR", "SSIM", "NRMSE", "NFE", "A", "CPU s")


def mean_score(scores: Sequence[Score]) -> Score:
    """Average every figure."""
    return Score(*np.mean([score.cells() for score in scores], axis=0).tolist())


def score_image(
    image: NDArray[np.generic],
    truth: NDArray[np.generic],
    *,
    n_denoiser: float = 0.0,
    n_operator: float = 0.0,
    seconds: float = 0.0,
) -> Score:
    """Compare an image with the truth, both (y, x); nothing is fitted to the truth."""
    from skimage.metrics import structural_similarity

    found, wanted = np.abs(image).astype(float), np.abs(truth).astype(float)
    similarity = structural_similarity(  # type: ignore[no-untyped-call]
        found, wanted, data_range=wanted.max(), gaussian_weights=True, use_sample_covariance=False
    )
    error = float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
    return Score(psnr(image, truth), float(similarity), error, n_denoiser, n_operator, seconds)


def run_method(
    problem: Problem,
    truth: Array,
    method: str,
    prior: Prior | None = None,
    **settings: object,
) -> tuple[Array, Score]:
    """Reconstruct through the public call and score the first slice.

    Parameters
    ----------
    problem : Problem
    truth : (y, x), complex64
    method : str
        A name in `inverse.methods.METHODS`.
    prior : Prior, optional
        For methods that take one.
    **settings
        Of the method; none in the tables that claim that none is needed.
    """
    started = cpu_seconds()
    found = inverse.reconstruct(problem, method=method, prior=prior, **settings)  # type: ignore[arg-type]
    seconds = cpu_seconds() - started
    image = found.image[0]
    spent = found.diagnostics
    return image, score_image(
        image,
        truth,
        n_denoiser=spent.n_denoiser,
        n_operator=spent.n_operator,
        seconds=seconds,
    )


def judge_gain(table: Table, what: str, gain: float, wanted: float) -> None:
    """Record whether a gain in dB is at least the wanted one."""
    verdict = "met" if gain >= wanted else f"MISSED by {wanted - gain:.2f} dB"
    table.verdicts.append(f"{what}: {gain:+.2f} dB, target >= {wanted:+.2f} dB: {verdict}")


def judge_share(table: Table, what: str, share: float, limit: float) -> None:
    """Record whether a share of somebody's cost is at most the limit."""
    verdict = "met" if share <= limit else "MISSED"
    table.verdicts.append(f"{what}: {share:.2f}, target <= {limit:.2f}: {verdict}")


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """What a benchmark of diffusion priors is called with."""

    prior: Prior
    cache: Path
    quick: bool
    pictures: Path | None
    parts: tuple[str, ...]


def parse_options(
    about: str | None, parts: tuple[str, ...] = (), default: tuple[str, ...] | None = None
) -> Options:
    """Read the command line.

    Parameters
    ----------
    about : str, optional
        The module's docstring.
    parts : tuple of str
        Parts of the benchmark that can be named to run only them.
    default : tuple of str, optional
        What runs when none is named; all of them by default.
    """
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=about, formatter_class=formatter)
    parser.add_argument("--prior", default="brain", help="name, file or folder of the prior")
    parser.add_argument("--quick", action="store_true", help="a few slices only, no result written")
    parser.add_argument("--pictures", type=Path, help="write pictures of the images here")
    add_cache_option(parser)
    if parts:
        shown = "all" if default is None else ", ".join(default)
        parser.add_argument("parts", nargs="*", help=f"of {', '.join(parts)}; default: {shown}")
    given = parser.parse_args()
    chosen = tuple(getattr(given, "parts", ())) or default or parts
    if unknown := set(chosen) - set(parts):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; known are {', '.join(parts)}")
    return Options(load_prior(given.prior), given.cache, given.quick, given.pictures, chosen)
