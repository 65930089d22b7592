"""The Lanczos process of a Hermitian map, and its tridiagonal matrix made triangular."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from solvers.vectors import Array, Scalars, Vectors

__all__ = ["Column", "Lanczos", "Nullity", "Triangle"]


@dataclass(slots=True)
class Lanczos:
    """Preconditioned Lanczos vectors p_j with z_j = M p_j and <p_i, z_j> = 1 if i = j, else 0.

    gamma_{j+1} p_{j+1} = A z_j - delta_j p_j - gamma_j p_{j-1},  delta_j = <z_j, A z_j>

    Parameters
    ----------
    v : Vectors
    A, M : function
        Hermitian, and Hermitian positive definite or None.
    r : array, (*batch, *unknown)
        Start, p_1 = r / sqrt(<r, M r>); not overwritten.

    Attributes
    ----------
    rho : scalars
        gamma_{j+1}^2 = <p, M p> of the vector last found, before it was normalised.
    gamma : scalars
        gamma_j of the vector `p`.

    References
    ----------
    Paige and Saunders 1975, doi:10.1137/0712047, section 2; Elman, Silvester and Wathen 2014,
    doi:10.1093/acprof:oso/9780199678792.001.0001, algorithm 4.1.
    """

    v: Vectors
    A: Callable[[Array], Array]
    M: Callable[[Array], Array] | None
    r: Array
    rho: Scalars = field(init=False)
    gamma: Scalars = field(init=False)
    p: Array = field(init=False)
    z: Array = field(init=False)
    p_old: Array = field(init=False)
    _zero: Scalars = field(init=False)

    def __post_init__(self) -> None:
        v = self.v
        self._zero = v.scalars_of(0.0)
        self.p_old = v.zeros()
        self.p, self.r = v.copy(self.r), None
        self.z = self.p if self.M is None else self.M(self.p)
        self.rho = v.dot(self.p, self.z)
        self.gamma = v.scalars.sqrt(v.where(self.rho < 0, self._zero, self.rho))
        self._normalise(self.rho > 0, self.gamma)

    def extend(self) -> Scalars:
        """Find the next vector, whose square is then `rho`, and return delta_j."""
        v = self.v
        q = self.A(self.z)
        delta = v.dot(self.z, q)
        following = v.axpy(-delta, self.p, v.xpby(q, -self.gamma, self.p_old))
        self.p_old, self.p = self.p, following
        self.z = following if self.M is None else self.M(following)
        self.rho = v.dot(following, self.z)
        return delta

    def advance(self, going: Scalars, gamma: Scalars) -> None:
        """Normalise the vector just found; those of systems that are not `going` become zero."""
        self._normalise(going, gamma)
        self.gamma = gamma

    def clear(self, systems: Scalars) -> None:
        """Keep the NaN of failed systems out of all that follows."""
        self.p = self.v.fill(systems, 0.0, self.p)
        self.z = self.p if self.M is None else self.v.fill(systems, 0.0, self.z)

    def _normalise(self, going: Scalars, gamma: Scalars) -> None:
        factor = self.v.where(going, 1.0 / gamma, self._zero)
        if self.M is None:
            self.p = self.z = self.v.scale(factor, self.p)
            return
        self.z = self.v.scale(factor, self.v.copy(self.z))  # M may have returned its argument
        self.p = self.v.scale(factor, self.p)


class Column(NamedTuple):
    """One column of the triangular factor, and the rotation (c, s) that made it."""

    above2: Scalars
    above: Scalars
    pivot: Scalars
    c: Scalars
    s: Scalars


@dataclass(slots=True)
class Triangle:
    """The tridiagonal matrix made triangular, column by column, by Givens rotations.

    Attributes
    ----------
    norm2 : scalars
        Largest squared column norm so far, a lower bound of ||A||^2.
    pivot_old, pivot : scalars
        The last two diagonal entries.
    """

    v: Vectors
    norm2: Scalars = field(init=False)
    pivot_old: Scalars = field(init=False)
    pivot: Scalars = field(init=False)
    _zero: Scalars = field(init=False)
    _one: Scalars = field(init=False)
    _rotations: tuple[Scalars, Scalars, Scalars, Scalars] = field(init=False)

    def __post_init__(self) -> None:
        self._zero, self._one = self.v.scalars_of(0.0), self.v.scalars_of(1.0)
        self.norm2 = self._zero
        self.pivot_old = self.pivot = self._one
        self._rotations = (self._one, self._zero, self._one, self._zero)

    def column(self, gamma: Scalars, delta: Scalars, gamma_new: Scalars) -> tuple[Column, Scalars]:
        """Rotate the column (gamma, delta, gamma_new); also return ||A r||^2 / ||r||^2.

        r is the residual before this step is taken, both norms are those of the process.
        """
        c_old, s_old, c, s = self._rotations
        square = gamma_new * gamma_new
        above2 = s_old * gamma
        above = s * delta + c_old * c * gamma
        bar = c * delta - c_old * s * gamma
        pivot = self.v.scalars.sqrt(bar * bar + square)
        total = above2 * above2 + above * above + bar * bar + square
        self.norm2 = self.v.where(total > self.norm2, total, self.norm2)
        column = Column(above2, above, pivot, bar / pivot, gamma_new / pivot)
        return column, bar * bar + c * c * square

    def advance(self, accepted: Scalars, column: Column) -> None:
        """Go on to the next column; a refused one leaves numbers that harm nothing."""
        where = self.v.where
        _, _, c, s = self._rotations
        self._rotations = (
            c,
            s,
            where(accepted, column.c, self._one),
            where(accepted, column.s, self._zero),
        )
        self.pivot_old, self.pivot = self.pivot, where(accepted, column.pivot, self._one)


@dataclass(slots=True)
class Nullity:
    """Watches for a residual that A sends to zero, where a further step would leave for infinity.

    In exact arithmetic ||A r|| / (||A|| ||r||) reaches zero when b is out of the range of A. In
    rounding it falls to a fraction of sqrt(eps), rarely only to eps^0.425, and then rises again
    with no gain in ||r||, while x grows along the null space. A nearly singular A shows the same
    fall, but when the ratio rises again ||r|| has fallen.
    """

    v: Vectors
    least: Scalars = field(init=False)
    square: Scalars = field(init=False)

    def __post_init__(self) -> None:
        self.least = self.square = self.v.scalars_of(float("inf"))

    def is_near(self, gradient2: Scalars, square: Scalars, floor: Scalars) -> Scalars:
        """Tell from ||A r||^2 / ||r||^2, ||r||^2 and floor = eps ||A||^2 before a step."""
        is_low = self.least <= self.v.eps**-0.15 * floor
        has_risen = is_low & (gradient2 > 64.0 * self.least)
        in_vain = square > 0.25 * self.square
        is_less = gradient2 < self.least
        self.least = self.v.where(is_less, gradient2, self.least)
        self.square = self.v.where(is_less, square, self.square)
        return (gradient2 > 0) & ((gradient2 <= floor / 16.0) | (has_risen & in_vain))
