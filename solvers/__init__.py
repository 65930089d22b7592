"""How a linear map is inverted: Krylov and first-order solvers for any Array-API library."""

from solvers.cg import Discrepancy, cg
from solvers.errors import SolverError
from solvers.linear_map import LinearMap
from solvers.solution import Solution, Status
from solvers.vectors import Vectors, vectors_of

__suite__ = "inverse-suite"

__all__ = [
    "Discrepancy",
    "LinearMap",
    "Solution",
    "SolverError",
    "Status",
    "Vectors",
    "cg",
    "vectors_of",
]
