"""Approximate inverses that Krylov solvers take as M, and that follow a changing operator."""

from solvers.preconditioners.algebraic import AlgebraicMultigrid
from solvers.preconditioners.diffusion_stencil import Stencil, diffusion_stencil
from solvers.preconditioners.factorised import Factorised
from solvers.preconditioners.incomplete import IncompleteCholesky, IncompleteLU, ThresholdLU
from solvers.preconditioners.jacobi import Jacobi
from solvers.preconditioners.multigrid import Multigrid
from solvers.preconditioners.protocol import Preconditioner
from solvers.preconditioners.repeated_lu import RepeatedLU
from solvers.preconditioners.single_precision import SinglePrecision
from solvers.preconditioners.spectral import SpectralLaplacian
from solvers.preconditioners.ssor import Ssor

__all__ = [
    "AlgebraicMultigrid",
    "Factorised",
    "IncompleteCholesky",
    "IncompleteLU",
    "Jacobi",
    "Multigrid",
    "Preconditioner",
    "RepeatedLU",
    "SinglePrecision",
    "SpectralLaplacian",
    "Ssor",
    "Stencil",
    "ThresholdLU",
    "diffusion_stencil",
]
