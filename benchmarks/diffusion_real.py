"""Diffusion priors on real k-space: the phantom at R3 and R4, the brain by hidden samples.

The network has seen neither a phantom nor these scanners. It must not be worse than L1-wavelet,
which knows nothing at all, or `auto`, which chooses the prior itself, must notice and say so.

    python -m benchmarks.diffusion_real [--prior PRIOR] [--quick] [phantom] [brain]
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import inverse
from benchmarks.diffusion_runs import Options, parse_options
from benchmarks.measure import Table, cpu_seconds, one_thread
from benchmarks.our_images import Chain, chain
from benchmarks.phantom import coil_images, line_mask, nrmse, phantom_kspace, support
from benchmarks.pictures import save_grid
from benchmarks.quality_in_vivo import FILES, hide, load, prediction_error
from benchmarks.quality_phantom import MASKS
from inverse.priors import Prior, load_prior

Array = NDArray[np.complex64]

FLOOR = "l1_wavelet"
PLAIN = ("zero_filled", "cg_sense", FLOOR, "tv")
SAMPLERS = ("pnp_hqs", "diffpir", "dds")
QUICK = ("pnp_hqs",)
JUDGED = ("auto", "pnp_hqs, network")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one method on one measurement: its error, its cost, why it was chosen."""

    error: float
    seconds: float
    why: str


def contenders(options: Options) -> dict[str, tuple[str, Prior | None]]:
    """Return label -> (method, prior)."""
    samplers = QUICK if options.quick else SAMPLERS
    found: dict[str, tuple[str, Prior | None]] = {name: (name, None) for name in PLAIN}
    natural = load_prior("natural")
    found |= {f"{name}, natural": (name, natural) for name in samplers}
    found |= {f"{name}, network": (name, options.prior) for name in samplers}
    return found | {"auto": ("auto", None)}


def run(
    made: Chain, options: Options, score: Callable[[Array], float], shown: dict[str, Array]
) -> dict[str, Outcome]:
    """Run everybody on one measurement."""
    found = {}
    for label, (method, prior) in contenders(options).items():
        started = cpu_seconds()
        done = inverse.reconstruct(made.problem, method=method, prior=prior, seed=0)
        seconds = cpu_seconds() - started
        shown[label] = done.image[0]
        found[label] = Outcome(score(shown[label]), seconds, str(done.provenance["why"]))
        print(label, found[label], flush=True)
    return found


def phantom(options: Options) -> list[dict[str, Outcome]]:
    """Errors against the fully sampled phantom, by mask."""
    images = coil_images()
    inside = support(images)
    found = []
    for name in MASKS:
        mask = line_mask(name)
        made = chain(phantom_kspace() * mask, mask)
        reference = (made.csm.conj() * images).sum(0)
        shown: dict[str, Array] = {}
        score = partial(nrmse, reference=reference, inside=inside)
        found.append(run(made, options, score, shown))
        if options.pictures:
            save_grid(options.pictures / f"diffusion_phantom_{name}.png", shown, reference)
    return found


def brain(options: Options) -> list[dict[str, Outcome]]:
    """Errors of predicted hidden samples, by file."""
    found = []
    for name in FILES:
        kspace, mask = load(name)
        hidden = hide(mask)
        made = chain(kspace * ~hidden, mask & ~hidden)

        def error(
            image: Array, made: Chain = made, k: Array = kspace, h: NDArray[np.bool_] = hidden
        ) -> float:
            return prediction_error(made.predict(image), k, h)

        shown: dict[str, Array] = {}
        found.append(run(made, options, error, shown))
        if options.pictures:
            save_grid(options.pictures / f"diffusion_brain_{Path(name).suffix[1:]}.png", shown)
    return found


PARTS = {"phantom": (phantom, MASKS), "brain": (brain, FILES)}


def main() -> None:
    options = parse_options(__doc__, tuple(PARTS))
    table = Table(
        "diffusion_real",
        "Diffusion priors on real k-space",
        (
            "method",
            *(f"{part} {name}" for part in options.parts for name in PARTS[part][1]),
            "CPU s",
        ),
        f"phantom: NRMSE against the fully sampled image, inside the object; brain: NRMSE of "
        f"hidden samples (quality_phantom, quality_in_vivo). No setting given. 'natural': the "
        f"patch prior, 'network': {options.prior.name}. CPU seconds: mean over the columns.",
    )
    columns = [column for part in options.parts for column in PARTS[part][0](options)]
    names = [name for part in options.parts for name in PARTS[part][1]]
    for label in columns[0]:
        errors = [column[label].error for column in columns]
        table.add(label, *errors, float(np.mean([column[label].seconds for column in columns])))
    for label in JUDGED:
        for name, column in zip(names, columns, strict=True):
            what = f"{label}, {name}, against {FLOOR}"
            table.judge(what, column[label].error, column[FLOOR].error)
    for name, column in zip(names, columns, strict=True):
        table.verdicts.append(f"auto on {name}: {column['auto'].why}")
    if options.quick:
        print(table.markdown())
    else:
        table.write()


if __name__ == "__main__":
    one_thread()
    main()
