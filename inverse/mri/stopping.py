"""How far to iterate: Stein's unbiased risk estimate, from the data and their noise alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from inverse.problem import Problem
from solvers import RecycleSpace, Solution, cg

__all__ = ["SEARCH_LIMIT", "EarlyStop", "least_squares", "stop_by_risk"]

SEARCH_LIMIT = 24
_STEP = 0.1
_STANDARD_ERRORS = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class EarlyStop:
    """Least-squares iterates, each slice at its own iteration.

    Parameters
    ----------
    x : Tensor, (*problem.operator.domain.shape)
    iterations : tuple of int
        Where each independent system stopped.
    risk : (iterations, systems)
        Estimated squared error of the predicted data, in noise variances, up to a constant.
    n_operator : int
        Applications of A^H A, or of A and A^H.
    """

    x: torch.Tensor
    iterations: tuple[int, ...]
    risk: NDArray[np.float64]
    n_operator: int


def least_squares(
    problem: Problem,
    weight: float,
    iterations: int,
    *,
    rhs: torch.Tensor | None = None,
    recycle: RecycleSpace | None = None,
    callback: Callable[[int, torch.Tensor], None] | None = None,
) -> Solution:
    """Run CG on (A^H A + weight I) x = A^H y, or on another right-hand side.

    Parameters
    ----------
    problem : Problem
    weight : float
    iterations : int
    rhs : Tensor, (*batch, *problem.operator.domain.shape), optional
        Further batch axes in front are further systems.
    recycle, callback : optional
        As for `solvers.cg`.
    """
    normal = problem.operator.normal
    b = problem.operator.adjoint(problem.data) if rhs is None else rhs
    more = b.ndim - len(problem.operator.domain.shape)
    return cg(
        (lambda v: torch.add(normal(v), v, alpha=weight)) if weight else normal,
        b,
        rtol=1e-6,
        maxiter=iterations,
        n_batch_axes=problem.n_batch_axes + more,
        recycle=recycle,
        callback=callback,
    )


def stop_by_risk(
    problem: Problem,
    weight: float,
    generator: torch.Generator,
    callback: Callable[[int, torch.Tensor], None] | None = None,
) -> EarlyStop:
    """Stop CG where it predicts the noise-free data best, slice by slice.

    risk_k = ||y - A x_k||^2 + 2 noise_std^2 div_k,
    div_k  = Re <A^H b, x_k(y + e b) - x_k(y)> / e,   b white, e = noise_std / 10

    The first term falls as iterations fit the data, the second grows as they fit the noise. The
    earliest iteration within two standard errors of the least risk is taken; its standard error is
    that of the energy of the noise. Costs some 75 applications of A^H A.

    Parameters
    ----------
    problem : Problem
    weight : float
        Tikhonov weight.
    generator : torch.Generator
        Draws b; on the CPU.
    callback : function, optional
        Called as callback(iteration, x).

    References
    ----------
    Stein 1981, doi:10.1214/aos/1176345632; divergence by Monte Carlo: Ramani, Blu and Unser 2008,
    doi:10.1109/TIP.2008.2001404
    """
    operator, y = problem.operator, problem.data
    probe = _probe(problem, generator)
    step = _STEP * problem.noise_std
    b, b_probe = operator.adjoint(y), operator.adjoint(probe)
    variance = problem.noise_std**2
    curve: list[NDArray[np.float64]] = []

    def follow(iteration: int, pair: torch.Tensor) -> None:
        x, moved = pair[0], pair[1]
        misfit = problem.norms(y - operator(x)) ** 2
        divergence = _inner(problem, b_probe, moved - x) / step
        curve.append(np.ravel(misfit / variance + 2 * divergence))
        if callback is not None:
            callback(iteration, x)

    both = torch.stack([b, torch.add(b, b_probe, alpha=step)])
    found = least_squares(problem, weight, SEARCH_LIMIT, rhs=both, callback=follow)
    risk = np.array(curve)
    tolerance = _STANDARD_ERRORS * np.sqrt(2.0 * problem.n_components)
    chosen = 1 + np.argmax(risk <= risk.min(0) + tolerance.ravel(), axis=0)
    x = _at(problem, weight, chosen)
    spent = 2 * found.n_operator + len(curve) + int(chosen.max()) + 2
    return EarlyStop(x, tuple(int(k) for k in chosen), risk, spent)


def _at(problem: Problem, weight: float, chosen: NDArray[np.integer]) -> torch.Tensor:
    """Iterate again and keep each system at its own iteration."""
    batch = math.prod(problem.data.shape[: problem.n_batch_axes])
    kept: dict[int, torch.Tensor] = {}

    def keep(iteration: int, x: torch.Tensor) -> None:
        for system in np.flatnonzero(chosen == iteration).tolist():
            kept[system] = x.reshape(batch, -1)[system].clone()

    found = least_squares(problem, weight, int(chosen.max()), callback=keep)
    # A system that converged first, where no callback came any more, is at its last iterate.
    last = found.x.reshape(batch, -1)
    rows = [kept.get(system, last[system]) for system in range(batch)]
    return torch.stack(rows).reshape(problem.operator.domain.shape)


def _probe(problem: Problem, generator: torch.Generator) -> torch.Tensor:
    """White noise wherever data were measured; A^H ignores the rest."""
    y = problem.data
    shape = (*y.shape, 2) if y.is_complex() else tuple(y.shape)
    noise = torch.randn(shape, generator=generator, dtype=y.real.dtype)
    return (torch.view_as_complex(noise) if y.is_complex() else noise).to(y.device)


def _inner(problem: Problem, u: torch.Tensor, v: torch.Tensor) -> NDArray[np.float64]:
    """Re <u, v> of each system, summed in double precision."""
    product = (u.conj() * v).real if u.is_complex() else u * v
    rows = product.reshape(*u.shape[: problem.n_batch_axes], -1)
    return np.asarray(rows.sum(-1, dtype=torch.float64).cpu().numpy())
