"""Families of partial differential equations with random parameters, and their discretisations."""

from operators.pde.convection_diffusion import ConvectionDiffusion
from operators.pde.darcy import Darcy, DarcyPDEBench, DarcyTwoPhase
from operators.pde.darcy_fno import DarcyFNO
from operators.pde.diffusion import (
    diffusion_form,
    diffusion_operator,
    face_coefficients,
    wall_source,
)
from operators.pde.elasticity import Elasticity
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
from operators.pde.fisher_kpp import FisherKpp
from operators.pde.grid import Grid
from operators.pde.heat import Heat, HeatTransient
from operators.pde.helmholtz import Helmholtz
from operators.pde.poisson import Poisson
from operators.pde.reaction_diffusion import FitzHughNagumo, GrayScott
from operators.pde.skr import SKRDarcy, SKRHelmholtz
from operators.pde.skr_mesh import SKRPoisson, SKRThermal
from operators.pde.sparse import SparseOperator
from operators.pde.stencil import StencilOperator

__all__ = [
    "FAMILIES",
    "Boundary",
    "ConvectionDiffusion",
    "Darcy",
    "DarcyFNO",
    "DarcyPDEBench",
    "DarcyTwoPhase",
    "DiffusionForm",
    "Elasticity",
    "Family",
    "FisherKpp",
    "FitzHughNagumo",
    "GaussianField",
    "GrayScott",
    "Grid",
    "Heat",
    "HeatTransient",
    "Helmholtz",
    "LinearSystems",
    "Matern",
    "Poisson",
    "PowerLaw",
    "Quantity",
    "SKRDarcy",
    "SKRHelmholtz",
    "SKRPoisson",
    "SKRThermal",
    "SparseOperator",
    "StencilOperator",
    "diffusion_form",
    "diffusion_operator",
    "face_coefficients",
    "make_family",
    "wall_source",
]
