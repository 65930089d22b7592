"""What a solver refuses; slow convergence is never an error but a status."""

__all__ = ["SolverError"]


class SolverError(ValueError):
    """The arguments of a solver do not fit together."""
