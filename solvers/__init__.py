"""How a linear map is inverted: Krylov and first-order solvers for any Array-API library."""

from solvers.admm import CgUpdate, Update, admm
from solvers.block_cg import block_cg
from solvers.cg import Discrepancy, cg
from solvers.errors import SolverError
from solvers.features import Pca, SparseProjections
from solvers.fista import fista
from solvers.gcrodr import gcrodr
from solvers.gmres import gmres
from solvers.least_squares import cgls
from solvers.linear_map import LinearMap
from solvers.low_rank import LocallyLowRank, NuclearNorm
from solvers.minres import minres
from solvers.ordering import Ordering, order_fields
from solvers.pdhg import pdhg
from solvers.power_iteration import Eigenpair, power_iteration
from solvers.preconditioners import (
    AlgebraicMultigrid,
    Factorised,
    IncompleteCholesky,
    IncompleteLU,
    Jacobi,
    Multigrid,
    Preconditioner,
    SpectralLaplacian,
    Ssor,
    Stencil,
    ThresholdLU,
    diffusion_stencil,
)
from solvers.proximal import (
    L1,
    GroupL1,
    Proximal,
    Scheduled,
    SquaredDistance,
    conjugate_prox,
    soft_threshold,
)
from solvers.recycle import RecycleSpace, principal_angle
from solvers.sequence import solve_sequence
from solvers.sequence_result import Record, SequenceResult, UnconvergedWarning
from solvers.smooth import LeastSquares, Smooth
from solvers.solution import Solution, Status
from solvers.systems import LazySystems, System
from solvers.total_variation import TotalVariation
from solvers.vectors import Vectors, vectors_of
from solvers.wavelet_l1 import WaveletL1, random_shifts
from solvers.wavelets import DaubechiesTransform, daubechies_filter

__suite__ = "inverse-suite"

__all__ = [
    "L1",
    "AlgebraicMultigrid",
    "CgUpdate",
    "DaubechiesTransform",
    "Discrepancy",
    "Eigenpair",
    "Factorised",
    "GroupL1",
    "IncompleteCholesky",
    "IncompleteLU",
    "Jacobi",
    "LazySystems",
    "LeastSquares",
    "LinearMap",
    "LocallyLowRank",
    "Multigrid",
    "NuclearNorm",
    "Ordering",
    "Pca",
    "Preconditioner",
    "Proximal",
    "Record",
    "RecycleSpace",
    "Scheduled",
    "SequenceResult",
    "Smooth",
    "Solution",
    "SolverError",
    "SparseProjections",
    "SpectralLaplacian",
    "SquaredDistance",
    "Ssor",
    "Status",
    "Stencil",
    "System",
    "ThresholdLU",
    "TotalVariation",
    "UnconvergedWarning",
    "Update",
    "Vectors",
    "WaveletL1",
    "admm",
    "block_cg",
    "cg",
    "cgls",
    "conjugate_prox",
    "daubechies_filter",
    "diffusion_stencil",
    "fista",
    "gcrodr",
    "gmres",
    "minres",
    "order_fields",
    "pdhg",
    "power_iteration",
    "principal_angle",
    "random_shifts",
    "soft_threshold",
    "solve_sequence",
    "vectors_of",
]
