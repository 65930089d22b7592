"""Which prior suits the data: each predicts samples that were hidden from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from inverse.methods import Progress
from inverse.priors import Prior
from inverse.problem import Problem
from operators.mri import Sense

__all__ = ["PriorChoice", "choose_prior", "hide_samples"]

_HIDDEN = 0.1
_CENTRE = 24  # k-space samples along an edge that are never hidden: they carry the contrast
_STEPS = 12
_TIE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class PriorChoice:
    """The prior that predicts the data best.

    Parameters
    ----------
    prior : Prior
    errors : mapping of str to float
        Relative error of the hidden samples by the prior's name, sqrt(sum |y - A x|^2 / sum |y|^2);
        empty if there were none to hide.
    """

    prior: Prior
    errors: dict[str, float]

    @property
    def why(self) -> str:
        """The choice in words."""
        if not self.errors:
            return f"prior '{self.prior.name}': no sample outside the centre to compare priors by"
        figures = ", ".join(f"{name} {error:.3f}" for name, error in self.errors.items())
        chosen = f"prior '{self.prior.name}': error of predicted hidden samples {figures}"
        best = self.errors[self.prior.name]
        tied = [
            name
            for name, error in self.errors.items()
            if name != self.prior.name and abs(error - best) <= _TIE * max(error, best)
        ]
        if not tied:
            return chosen
        return (
            f"{chosen}, a tie within {100 * _TIE:.0f} % with {' and '.join(tied)}: the data do not "
            f"tell them apart, and the one listed first is taken"
        )


def choose_prior(
    problem: Problem, priors: Sequence[Prior], progress: Progress | None = None
) -> PriorChoice:
    """Reconstruct without a tenth of the samples under each prior and compare them with the data.

    A prior that was learned from other anatomy, contrast or resolution gives itself away here,
    without any ground truth. One slice is tried, that with the most signal. A later prior is
    chosen only if it beats the earlier ones by 2 %.

    Parameters
    ----------
    problem : Problem
        Cartesian MRI: its operator is a `Sense`.
    priors : sequence of Prior
        The trusted one first.
    progress : function, optional
        Called as progress("choosing a prior", done, total).

    Returns
    -------
    PriorChoice
        The trusted prior where nothing can be hidden: data sampled in full or in their centre only.
    """
    from inverse.samplers.pnp_hqs import pnp_hqs

    whole = _strongest_slice(problem)
    training, hidden = hide_samples(whole, np.random.default_rng(0))
    energy = float(whole.norms(torch.where(hidden, whole.data, 0)).item())
    if energy == 0:
        return PriorChoice(priors[0], {})
    errors = {}
    for done, prior in enumerate(priors):
        images: list[torch.Tensor] = []
        pnp_hqs(
            training,
            prior,
            steps=_STEPS,
            callback=lambda state, kept=images: kept.append(state.estimate),  # type: ignore[misc]
        )
        missed = torch.where(hidden, whole.data - whole.operator(images[-1][0]), 0)
        errors[prior.name] = float(whole.norms(missed).item()) / energy
        if progress is not None:
            progress("choosing a prior", done + 1, len(priors))
    best = priors[0]
    for prior in priors[1:]:
        if errors[prior.name] < (1 - _TIE) * errors[best.name]:
            best = prior
    return PriorChoice(best, errors)


def hide_samples(problem: Problem, random: np.random.Generator) -> tuple[Problem, torch.Tensor]:
    """Take a tenth of the samples out of a problem of one slice.

    Whole lines where whole lines were sampled, single points where the mask has two dimensions;
    none within the centre, and none at all where the mask does not change along any axis.

    Parameters
    ----------
    problem : Problem
        Its operator is a `Sense` over one slice.
    random : numpy.random.Generator

    Returns
    -------
    Problem
        Without them.
    Tensor, broadcasting to problem.data, bool
        True where samples were hidden.
    """
    operator = _sense(problem)
    mask = operator.mask.reshape(operator.mask.shape[-operator.grid_ndim :]).cpu().numpy()
    # Along the readout a mask repeats itself: what is hidden must too, and it then costs as little.
    moving = [axis for axis in range(mask.ndim) if (mask != mask.take([0], axis)).any()]
    lines = mask[tuple(slice(None) if a in moving else slice(1) for a in range(mask.ndim))]
    candidates = lines.copy()
    centre = [slice(n // 2 - _CENTRE // 2, n // 2 + _CENTRE // 2) for n in mask.shape]
    candidates[tuple(centre[a] if a in moving else slice(None) for a in range(mask.ndim))] = False
    places = np.flatnonzero(candidates)
    n_hidden = min(len(places), max(1, round(_HIDDEN * len(places))))
    taken = np.zeros(lines.size, bool)
    taken[random.choice(places, n_hidden, replace=False)] = True
    hidden = torch.from_numpy(taken.reshape(lines.shape)).to(operator.device)
    kept = torch.from_numpy(lines).to(operator.device) & ~hidden
    n_samples = int(problem.n_components.item()) // 2
    share = float(kept.sum()) / float(lines.sum())
    reduced = replace(
        problem,
        operator=Sense(
            operator.csm, kept.expand(mask.shape), grid_ndim=operator.grid_ndim, soft=operator.soft
        ),
        data=torch.where(hidden, 0, problem.data),
        n_samples=round(n_samples * share),
    )
    return reduced, hidden


def _sense(problem: Problem) -> Sense:
    operator = problem.operator
    if not isinstance(operator, Sense):
        raise TypeError(f"expected a problem of Cartesian MRI, got {operator!r}")
    return operator


def _strongest_slice(problem: Problem) -> Problem:
    """Cut out the slice with the largest data; a problem of one system stays as it is."""
    operator = _sense(problem)
    lead = math.prod(problem.data.shape[: problem.n_batch_axes])
    if problem.n_batch_axes != 1 or lead == 1:
        return problem
    index = int(problem.norms(problem.data).argmax())
    mask = operator.mask
    if mask.ndim > operator.grid_ndim and mask.shape[0] > 1:
        mask = mask[index]
    else:
        mask = mask.reshape(mask.shape[-operator.grid_ndim :])
    each = np.broadcast_to(np.asarray(problem.n_samples), (lead,))
    return replace(
        problem,
        operator=Sense(
            operator.csm[index : index + 1],
            mask,
            grid_ndim=operator.grid_ndim,
            soft=operator.soft,
        ),
        data=problem.data[index : index + 1],
        n_samples=int(each[index]),
        grid=replace(problem.grid, shape=(1, *problem.grid.shape[1:])),
        intensity=None if problem.intensity is None else problem.intensity[index : index + 1],
    )
