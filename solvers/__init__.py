"""How a linear map is inverted: Krylov and first-order solvers for any Array-API library."""

from solvers.cg import Discrepancy, cg
from solvers.errors import SolverError
from solvers.least_squares import cgls
from solvers.linear_map import LinearMap
from solvers.power_iteration import Eigenpair, power_iteration
from solvers.solution import Solution, Status
from solvers.vectors import Vectors, vectors_of

__suite__ = "inverse-suite"

__all__ = [
    "Discrepancy",
    "Eigenpair",
    "LinearMap",
    "Solution",
    "SolverError",
    "Status",
    "Vectors",
    "cg",
    "cgls",
    "power_iteration",
    "vectors_of",
]
