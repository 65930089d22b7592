"""Strategies by Krylov iterations with a preconditioner made anew for every batch."""

from __future__ import annotations

import torch

from inverse.pde.strategies import MAXITER, Answer, has_form, is_definite, krylov, strategy
from operators.pde import DiffusionForm, LinearSystems, StencilOperator
from solvers.preconditioners import Jacobi, Multigrid, SinglePrecision, SpectralLaplacian
from solvers.stencil_cg import stencil_cg

__all__ = ["JacobiKrylov", "MultigridKrylov", "SpectralKrylov"]


def _form_of(systems: LinearSystems) -> DiffusionForm:
    if systems.form is None:
        raise ValueError("expected systems with a diffusion form")
    return systems.form


@strategy("spectral", has_form)
class SpectralKrylov:
    """The fast inverse of a constant-coefficient operator, scaled by a^-1/2: for smooth media."""

    learns = False

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve all systems of the batch together."""
        form = _form_of(systems)
        M = SpectralLaplacian.of_diffusion(
            form.a, form.spacing, c=form.c, boundary=form.boundary, centring=form.centring
        )
        return krylov(systems, tolerance, SinglePrecision(M))


def _is_diffusion(systems: LinearSystems) -> bool:
    is_stencil = isinstance(systems.operator, StencilOperator)
    return is_stencil and has_form(systems) and is_definite(systems)


@strategy("multigrid", _is_diffusion)
class MultigridKrylov:
    """Multigrid cycles on the matrices themselves: for media that jump, and large grids."""

    learns = False

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve all systems of the batch together."""
        return krylov(systems, tolerance, Multigrid(systems.operator))


def _has_diagonal(systems: LinearSystems) -> bool:
    """Indefinite systems without any diffusion form are left to factorisations."""
    operator = systems.operator
    may_converge = is_definite(systems) or has_form(systems)
    has_diagonal = isinstance(operator, StencilOperator) and bool((operator.diagonal() != 0).all())
    return may_converge and has_diagonal


@strategy("jacobi", _has_diagonal)
class JacobiKrylov:
    """The diagonal: the baseline that everything else has to beat, and enough for short steps."""

    learns = False

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve one system after another where they are definite, else all together."""
        operator = systems.operator
        if not isinstance(operator, StencilOperator):
            raise TypeError(f"expected a StencilOperator, got {operator!r}")
        if not is_definite(systems) or operator.domain.dtype.is_complex:
            return krylov(systems, tolerance, Jacobi(diagonal=operator.diagonal()))
        x, iterations = stencil_cg(operator, systems.rhs.numpy(), rtol=tolerance, maxiter=MAXITER)
        return Answer(torch.from_numpy(x), iterations, iterations + 1)
