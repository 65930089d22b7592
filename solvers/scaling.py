"""Units in which no square over- or underflows: each system divided by a power of two.

The division is exact, so a solver run on the scaled systems gives the same answer, to the last bit,
for b and for 2^k b, and the same to rounding for any other factor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solvers.errors import SolverError
from solvers.solution import Solution, Status
from solvers.stopping import Floats, Mask, Outcome
from solvers.vectors import Array, Vectors

__all__ = ["Callback", "ScaledData", "per_system"]

Callback = Callable[[int, Array], None]
"""Called as callback(iteration, x) with a copy of the iterate (*batch, *unknown)."""


def per_system(v: Vectors, value: ArrayLike, name: str) -> Floats:
    """Return one float a system from one number or one a system (*batch,).

    Raises
    ------
    SolverError
        If the shape is neither, or a number is negative or not finite.

    Examples
    --------
    >>> from solvers.vectors import vectors_of
    >>> per_system(vectors_of(np.zeros((2, 3)), 1), 0.5, "noise_norm").tolist()
    [0.5, 0.5]
    """
    numbers = np.asarray(value, dtype=np.float64)
    if numbers.shape not in {(), v.batch_shape}:
        raise SolverError(
            f"{name} expected one number or one a system {v.batch_shape}, got {numbers.shape}"
        )
    if not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise SolverError(f"{name} expected finite numbers >= 0, got {numbers.tolist()}")
    return np.array(np.broadcast_to(numbers, v.batch_shape)).reshape(-1)


@dataclass(slots=True)
class ScaledData:
    """The right-hand sides (or data) of a solve, scaled, with the unusable systems set to zero.

    Parameters
    ----------
    v : Vectors
        Of `b`.
    b : array, (*batch, *range)
        As the caller gave it; never overwritten.

    Attributes
    ----------
    scale : (n_systems,)
        Power of two that each system was divided by.
    is_bad : (n_systems,)
        Where `b`, or a start given to `start`, holds NaN or infinity.
    """

    v: Vectors
    b: Array
    scale: Floats = field(init=False)
    is_bad: Mask = field(init=False)

    def __post_init__(self) -> None:
        peak = self.v.peak(self.b)
        self.scale = self.v.binary_scale_of(peak)
        self.is_bad = ~np.isfinite(peak)

    def right_hand_side(self) -> Array:
        """Return a new copy of b in scaled units."""
        scaled = self.v.scale(self.v.scalars_of(1.0 / self.scale), self.v.copy(self.b))
        return _cleared(self.v, self.is_bad, scaled)

    def start(self, v: Vectors, x0: Array, is_trivial: Mask) -> Array:
        """Return x0 in scaled units; zero where it is not finite or the answer `is_trivial`.

        Raises
        ------
        SolverError
            If x0 has another shape or dtype than the unknown.
        """
        if tuple(x0.shape) != v.shape or x0.dtype != v.dtype:
            raise SolverError(
                f"x0 expected shape {v.shape} and {v.dtype}, got {tuple(x0.shape)} and {x0.dtype}"
            )
        self.is_bad = self.is_bad | ~np.isfinite(v.peak(x0))
        scaled = v.scale(v.scalars_of(1.0 / self.scale), v.copy(x0))
        return _cleared(v, self.is_bad | is_trivial, scaled)

    def reporter(self, v: Vectors, callback: Callback | None) -> Callback | None:
        """Return the caller's callback for iterates in scaled units."""
        if callback is None:
            return None
        scale = v.scalars_of(self.scale)
        return lambda iteration, x: callback(iteration, v.scale(scale, v.copy(x)))

    def solution(
        self,
        v: Vectors,
        out: Outcome,
        residual_at_zero: Floats,
        *,
        has_misfit: bool,
        n_operator: int,
        n_preconditioner: int = 0,
    ) -> Solution:
        """Return the outcome in the caller's units."""
        status = [
            Status.NON_FINITE_INPUT if bad else reason
            for bad, reason in zip(self.is_bad, out.status, strict=True)
        ]
        unusable = np.array([reason is Status.NON_FINITE_INPUT for reason in status])
        x = v.scale(v.scalars_of(self.scale), out.x)
        if unusable.any():
            x = v.fill(v.scalars_of(unusable), float("nan"), x)
        residual = np.where(unusable, np.nan, out.found.residual)
        relative = residual / np.where(residual_at_zero > 0, residual_at_zero, 1.0)
        misfit = np.where(unusable, np.nan, out.found.misfit) * self.scale
        return Solution(
            x=x,
            status=tuple(reason for reason in status if reason is not None),
            iterations=tuple(out.iterations.tolist()),
            residual_norm=tuple((residual * self.scale).tolist()),
            relative_residual=tuple(relative.tolist()),
            history=tuple(
                tuple((np.array(norms) * factor).tolist())
                for norms, factor in zip(out.history, self.scale, strict=True)
            ),
            n_operator=n_operator,
            n_preconditioner=n_preconditioner,
            data_residual_norm=tuple(misfit.tolist()) if has_misfit else (),
        )


def _cleared(v: Vectors, systems: NDArray[np.bool_], x: Array) -> Array:
    return v.fill(v.scalars_of(systems), 0.0, x) if systems.any() else x
