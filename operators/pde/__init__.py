"""Families of partial differential equations with random parameters, and their discretisations."""

from operators.pde.darcy import Darcy, DarcyPDEBench, DarcyTwoPhase
from operators.pde.darcy_fno import DarcyFNO
from operators.pde.diffusion import (
    diffusion_form,
    diffusion_operator,
    face_coefficients,
    wall_source,
)
from operators.pde.family import (
    FAMILIES,
    Boundary,
    DiffusionForm,
    Family,
    LinearSystems,
    Quantity,
    make_family,
)
from operators.pde.fields import GaussianField, Matern, PowerLaw
from operators.pde.grid import Grid
from operators.pde.heat import Heat, HeatTransient
from operators.pde.poisson import Poisson
from operators.pde.sparse import SparseOperator
from operators.pde.stencil import StencilOperator

__all__ = [
    "FAMILIES",
    "Boundary",
    "Darcy",
    "DarcyFNO",
    "DarcyPDEBench",
    "DarcyTwoPhase",
    "DiffusionForm",
    "Family",
    "GaussianField",
    "Grid",
    "Heat",
    "HeatTransient",
    "LinearSystems",
    "Matern",
    "Poisson",
    "PowerLaw",
    "Quantity",
    "SparseOperator",
    "StencilOperator",
    "diffusion_form",
    "diffusion_operator",
    "face_coefficients",
    "make_family",
    "wall_source",
]
