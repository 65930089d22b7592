"""Families of partial differential equations with random parameters, and their discretisations."""

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
from operators.pde.grid import Grid
from operators.pde.sparse import SparseOperator
from operators.pde.stencil import StencilOperator

__all__ = [
    "FAMILIES",
    "Boundary",
    "DiffusionForm",
    "Family",
    "Grid",
    "LinearSystems",
    "Quantity",
    "SparseOperator",
    "StencilOperator",
    "diffusion_form",
    "diffusion_operator",
    "face_coefficients",
    "make_family",
    "wall_source",
]
