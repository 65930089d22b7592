"""`reconstruct`: choose a method, run it, and record how the image was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from inverse.errors import ConvergenceError, UsageError
from inverse.methods import Progress, check_settings, find, settings_of, takes_prior
from inverse.priors import Prior, load_prior
from inverse.priors.base import EMBEDDED
from inverse.problem import Problem
from inverse.provenance import Recipe, record, sha256_of_file
from inverse.reconstruction import Reconstruction

__all__ = ["choose", "reconstruct"]

_FULLY_SAMPLED = 1.05
_INSIDE = "acceleration inside the acquired extent"


def choose(problem: Problem) -> tuple[str, str]:
    """Return the method for a problem and the reason, in words.

    Parameters
    ----------
    problem : Problem
    """
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
        "natural" (the default), "brain" or "ct" inside the package, a prior's file or folder, or an
        object with `denoise`.
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
    name, why = (method, "as asked") if method != "auto" else choose(problem)
    function = find(name)
    check_settings(name, settings)
    loaded = None
    if takes_prior(name):
        loaded = load_prior(prior)
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
        prior=_prior_label(prior) if loaded is not None else None,
        maps=int(problem.recipe.get("maps", 1)),  # type: ignore[call-overload]
        n_virtual_coils=problem.recipe.get("n_virtual_coils"),  # type: ignore[arg-type]
        select=problem.origin.get("select", {}),  # type: ignore[arg-type]
        seed=seed if isinstance(seed, int) else list(seed),
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


def _generators(name: str, seed: int | Sequence[int]) -> torch.Generator | list[torch.Generator]:
    if isinstance(seed, int):
        return torch.Generator().manual_seed(seed)
    if not takes_prior(name):
        raise UsageError(f"seed: {name} expected one number, got {len(seed)}; give it one")
    return [torch.Generator().manual_seed(each) for each in seed]


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
    """Name a prior so that the run can be repeated: by its name, or its file's hash."""
    if prior is None:
        return EMBEDDED
    if isinstance(prior, str | Path):
        return EMBEDDED if prior == EMBEDDED else f"sha256:{sha256_of_file(Path(prior))}"
    return prior.name
