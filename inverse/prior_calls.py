"""How often a method will call its prior, known before the work begins."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from inverse.errors import InverseError
from inverse.grid import Grid
from inverse.methods import find, takes_prior
from inverse.priors import CallablePrior
from inverse.problem import Problem
from operators import Identity, Space

__all__ = ["prior_calls"]

_SIDE = 8
_SPREAD = 0.25


def prior_calls(
    method: str,
    settings: Mapping[str, object],
    *,
    noise_std: float = 0.01,
    largest_sigma: float = math.inf,
) -> int | None:
    """Count the calls of the prior by running the method on 8 by 8 pixels.

    How many there are follows from the settings, the noise levels that the prior knows and the
    noise of the data, and from nothing else: not from the size of the images or the operator.

    Parameters
    ----------
    method : str
        A name in `inverse.methods.METHODS`.
    settings : mapping
        Its keyword arguments.
    noise_std : float
        Of the problem at hand.
    largest_sigma : float
        Of the prior at hand.

    Returns
    -------
    int or None
        Each call takes all samples and slices at once. None where the method has no prior, or
        refuses the settings or so small a problem.

    Raises
    ------
    UsageError
        If there is no such method.

    Examples
    --------
    >>> prior_calls("dds", {"steps": 6}), prior_calls("pnp_dm", {}), prior_calls("tv", {})
    (6, 160, None)
    """
    solve = find(method)  # which enters the methods into the table
    if not takes_prior(method):
        return None
    space = Space((_SIDE, _SIDE), torch.float32, ("y", "x"))
    image = torch.linspace(0, 1, _SIDE).expand(_SIDE, _SIDE).clone()
    problem = Problem(
        Identity(space),
        image,
        noise_std=noise_std,
        n_samples=image.numel(),
        grid=Grid((1, _SIDE, _SIDE), (1, 1, 1)),
    )
    prior = CallablePrior(
        lambda x, sigma: x / (1 + (sigma / _SPREAD) ** 2), largest_sigma=largest_sigma
    )
    try:
        found = solve(problem, prior, **{**settings, "n_samples": 1})
    except (InverseError, TypeError):
        return None
    return found.diagnostics.n_denoiser
