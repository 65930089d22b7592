"""Strategies by Krylov iterations with a preconditioner made anew for every batch."""

from __future__ import annotations

from inverse.pde.strategies import Answer, cache_batch, has_form, is_definite, krylov, strategy
from operators.pde import DiffusionForm, LinearSystems, StencilOperator
from solvers.preconditioners import Jacobi, SpectralLaplacian

__all__ = ["JacobiKrylov", "SpectralKrylov"]


class _Batched:
    """What the strategies here have in common: they learn nothing from sample to sample."""

    wants_order = False

    def batch(self, n_unknowns: int) -> int:
        """Return how many samples it wants at a time."""
        return cache_batch(n_unknowns)


def _form_of(systems: LinearSystems) -> DiffusionForm:
    if systems.form is None:
        raise ValueError("expected systems with a diffusion form")
    return systems.form


@strategy("spectral", has_form)
class SpectralKrylov(_Batched):
    """The fast inverse of a constant-coefficient operator, scaled by a^-1/2: for smooth media."""

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve all systems of the batch together."""
        form = _form_of(systems)
        M = SpectralLaplacian.of_diffusion(
            form.a, form.spacing, c=form.c, boundary=form.boundary, centring=form.centring
        )
        return krylov(systems, tolerance, M)


def _has_diagonal(systems: LinearSystems) -> bool:
    """Indefinite systems without any diffusion form are left to factorisations."""
    operator = systems.operator
    may_converge = is_definite(systems) or has_form(systems)
    has_diagonal = isinstance(operator, StencilOperator) and bool((operator.diagonal() != 0).all())
    return may_converge and has_diagonal


@strategy("jacobi", _has_diagonal)
class JacobiKrylov(_Batched):
    """The diagonal: the baseline that everything else has to beat."""

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        """Solve all systems of the batch together."""
        operator = systems.operator
        if not isinstance(operator, StencilOperator):
            raise TypeError(f"expected a StencilOperator, got {operator!r}")
        return krylov(systems, tolerance, Jacobi(diagonal=operator.diagonal()))
