"""`reconstruct`: choose a method, run it, and record how the image was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from inverse.errors import ConvergenceError, UsageError
from inverse.methods import Progress, check_settings, find, settings_of, takes_prior
from inverse.mri.prior_choice import choose_prior
from inverse.priors import Prior, load_prior
from inverse.priors.base import AUTO, BUILT_IN, EMBEDDED, is_installed
from inverse.problem import Problem
from inverse.provenance import Recipe, record, sha256_of_file, sha256_of_folder
from inverse.reconstruction import Reconstruction
from operators.mri import Sense

__all__ = ["choose", "reconstruct"]

_FULLY_SAMPLED = 1.05
_INSIDE = "acceleration inside the acquired extent"


def choose(problem: Problem, *, several: bool = False) -> tuple[str, str]:
    """Return the method for a problem and the reason, in words.

    Parameters
    ----------
    problem : Problem
    several : bool
        Whether samples of the posterior are wanted, not one image.
    """
    if several:
        return (
            "pnp_dm",
            "several samples were asked for, and those of pnp_dm come closest to the posterior",
        )
    if float(str(problem.notes.get(_INSIDE, "inf"))) <= _FULLY_SAMPLED:
        return "cg_sense", "nothing is missing within what was acquired: the data need no prior"
    return (
        "pnp_hqs",
        f"{_fold(problem)} a prior fills in what least squares cannot, "
        f"with a weight set by the measured noise",
    )


def _fold(problem: Problem) -> str:
    acceleration = problem.notes.get("acceleration")
    return f"{float(str(acceleration)):.1f}-fold undersampled:" if acceleration else "undersampled:"


def reconstruct(
    problem: Problem,
    method: str = "auto",
    *,
    prior: str | Path | Prior | None = None,
    seed: int | Sequence[int] = 0,
    progress: Progress | None = None,
    **settings: object,
) -> Reconstruction:
    """Solve a problem with a method.

    Parameters
    ----------
    problem : Problem
        From `KSpace.prepare`.
    method : str
        "auto" or a name in `inverse.methods.METHODS`.
    prior : str, path or Prior, optional
        "natural", "brain" or "ct" inside the package, a prior's file or folder, an object with
        `denoise`, or "auto": of those that suit the problem, the one that best predicts samples
        hidden from it (`inverse.mri.prior_choice`). The default is "auto" for the method "auto" and
        "natural" for all others.
    seed : int or sequence of int
        Of everything random. One for each independent system (slice) of the problem gives each the
        image that it would get alone with that seed; only methods with a prior take several.
    progress : function, optional
        Called as progress(stage, done, total).
    **settings
        Keyword arguments of the method.

    Returns
    -------
    Reconstruction
        With its provenance.

    Raises
    ------
    UsageError
        If the method, a setting or the prior does not exist.
    ConvergenceError
        If the image came out with NaN or infinity.
    """
    name, why = method, "as asked"
    if method == AUTO:
        several = settings.get("n_samples", 1) != 1
        name, why = choose(problem, several=several)
        if not several:  # one sample is one image, which is what the method chosen here gives
            settings.pop("n_samples", None)
    function = find(name)
    check_settings(name, settings)
    loaded, label = None, None
    if takes_prior(name) and (prior == AUTO or (prior is None and method == AUTO)):
        loaded, because = _suitable_prior(problem, progress)
        label, why = loaded.name, f"{why}; {because}"
    elif takes_prior(name):
        loaded, label = load_prior(prior), _prior_label(prior)
    elif prior is not None:
        raise UsageError(f"{name} takes no prior; leave it out, or choose pnp_hqs or dds")
    found = function(
        problem, loaded, generator=_generators(name, seed), progress=progress, **settings
    )
    if not np.isfinite(found.image).all():
        raise ConvergenceError(f"{name} returned an image with NaN or infinity")
    seconds = {**problem.seconds, **found.diagnostics.seconds}
    recipe = Recipe(
        method=name,
        prior=label,
        maps=int(problem.recipe.get("maps", 1)),  # type: ignore[call-overload]
        n_virtual_coils=problem.recipe.get("n_virtual_coils"),  # type: ignore[arg-type]
        select=problem.origin.get("select", {}),  # type: ignore[arg-type]
        seed=int(seed) if isinstance(seed, int | np.integer) else [int(each) for each in seed],
        device=str(problem.data.device),
        threads=torch.get_num_threads(),
        settings=_to_repeat(name, found.settings, settings),
    )
    made = record(
        recipe,
        inputs=problem.origin,
        preparation=problem.notes,
        image=found.image,
        seconds=seconds,
    )
    return replace(
        found,
        diagnostics=replace(found.diagnostics, seconds=seconds),
        provenance={**made, "acquisition": dict(problem.acquisition), "why": why},
    )


def _suitable_prior(problem: Problem, progress: Progress | None) -> tuple[Prior, str]:
    """Return the prior inside the package that suits a problem, and why."""
    trusted = load_prior(EMBEDDED)
    if not isinstance(problem.operator, Sense) or not is_installed("brain"):
        return trusted, f"prior '{EMBEDDED}': no other is made for such data"
    choice = choose_prior(problem, [trusted, load_prior("brain")], progress)
    return choice.prior, choice.why


def _generators(name: str, seed: int | Sequence[int]) -> torch.Generator | list[torch.Generator]:
    if isinstance(seed, int | np.integer):
        return torch.Generator().manual_seed(int(seed))
    if not takes_prior(name):
        raise UsageError(f"seed: {name} expected one number, got {len(seed)}; give it one")
    return [torch.Generator().manual_seed(int(each)) for each in seed]


def _to_repeat(
    name: str, used: Mapping[str, object], asked: Mapping[str, object]
) -> dict[str, object]:
    """Return settings that repeat a run: those used, and above them those that were asked for.

    What was asked for decides, because a method may record what became of it: noise levels beyond
    what the prior knows are left out, and fewer levels asked for would lie elsewhere.
    """
    given = settings_of(name)
    return {**{key: value for key, value in used.items() if key in given}, **asked}


def _prior_label(prior: str | Path | Prior | None) -> str:
    """Name a prior so that the run can be repeated: by its name, or its file's or folder's hash."""
    if prior is None:
        return EMBEDDED
    if isinstance(prior, str) and prior in BUILT_IN:
        return prior
    if isinstance(prior, str | Path):
        path = Path(prior)
        digest = sha256_of_folder(path) if path.is_dir() else sha256_of_file(path)
        return f"sha256:{digest}"
    return prior.name
