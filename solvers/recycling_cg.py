"""Conjugate gradients that start from the directions of earlier solves.

With W^H A W = I and a start whose residual is orthogonal to W, deflated CG is plain CG whose
preconditioned residuals are made A-orthogonal to W. So nothing of the iteration changes: it is
given an operator that notes each direction p with its image A p, and a preconditioner
z = (I - W (A W)^H) M r + W W^H r, whose last term is zero but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol, final

import numpy as np
from numpy.typing import NDArray

from solvers.basis import Basis
from solvers.recycle import RecycleSpace
from solvers.ritz import ritz_space, whitening
from solvers.solution import Solution, Status
from solvers.stopping import Counts, Goal, Measure, Trace
from solvers.vectors import Array, Vectors

__all__ = ["DeflatedIteration", "RecycledDirections", "recycled"]

Apply = Callable[[Array], Array]


class Iteration(Protocol):
    """The plain iteration, as far as it is seen from here."""

    r: Array
    goal: Goal

    def measure(self, x: Array) -> Measure:
        """Recompute the residual."""
        ...

    def adopt(self, x: Array, r: Array) -> Measure:
        """Take r as the residual of x."""
        ...

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Iterate from x and its residual."""
        ...


@final
class RecycledDirections:
    """The space of a solve: W and A W, behind them the directions noted so far.

    The first `n_fixed` rows deflate; behind them the first 2 k directions of the solve are noted
    with their images. What is kept of all that is chosen at the end, so the iteration itself never
    waits for the device. With a preconditioner the choice applies M to each image.

    Parameters
    ----------
    v : Vectors
    A, M : function
        M is None without a preconditioner.
    space : RecycleSpace
        Where W comes from and what is learnt goes to.
    k : int
        Vectors to keep.
    maxiter : int
        Largest number of steps of the solve.

    References
    ----------
    Saad, Yeung, Erhel and Guyomarc'h 2000, doi:10.1137/S1064829598339761 (deflated CG); Erhel and
    Guyomarc'h 2000, doi:10.1137/S0895479897330194 (one operator, all directions); Tang, Nabben,
    Vuik and Erlangga 2009, doi:10.1007/s10915-009-9272-6 (as a preconditioner: A-DEF2).
    """

    def __init__(
        self, v: Vectors, A: Apply, M: Apply | None, space: RecycleSpace, k: int, maxiter: int
    ) -> None:
        self.v = v
        self.k = k
        self.space = space
        self.is_noting = False
        self._A = A
        self._M = M
        self._was_warm = space.starts_warm
        n_kept = min(k, space.dim) if self._was_warm else 0
        capacity = n_kept + max(1, min(2 * k, maxiter))
        self.W, self.AW = Basis(v, capacity), Basis(v, capacity)
        self.n_fixed = self.n_rows = self._adopt(n_kept)

    def _adopt(self, n: int) -> int:
        """Take n vectors of the space with their images and make them A-orthonormal."""
        if n == 0:
            return 0
        vectors: Array = self.space.kept("vectors")
        conjugate: Array = self.space.kept("conjugate_images")
        names = ("conjugate_images", "plain_images", "images")
        images: Array = next((a for a in map(self.space.kept, names) if a is not None), None)
        self.W.load(vectors[-n:, ...])
        if images is not None:
            self.AW.load(images[-n:, ...])
        else:
            for i in range(n):
                self.AW.put(i, self._A(self.W.vector(i)))
        if conjugate is not None:
            return n
        for _ in range(2):
            n = self._whiten(0, n)
        return n

    def apply(self, p: Array) -> Array:
        """Compute A p and note both."""
        q = self._A(p)
        if self.is_noting and self.n_rows < self.W.capacity:
            self.W.put(self.n_rows, p)
            self.AW.put(self.n_rows, q)
            self.n_rows += 1
        return q

    @property
    def preconditioner(self) -> Apply | None:
        """M for the plain iteration; None where there is neither M nor W."""
        return self._M if self.n_fixed == 0 else self._precondition

    def _precondition(self, r: Array) -> Array:
        """Compute (I - W (A W)^H) M r + W W^H r; the last term mends what rounding lets through."""
        z = self.v.copy(r if self._M is None else self._M(r))
        c = self.W.project(r, 0, self.n_fixed) - self.AW.project(z, 0, self.n_fixed)
        return self.W.add(c, z)

    def project(self, x: Array, r: Array, systems: NDArray[np.bool_]) -> tuple[Array, Array]:
        """Minimise the A-norm of the error over x + W: x += W W^H r, r -= A W W^H r."""
        xp = self.W.xp
        c = self.W.project(r, 0, self.n_fixed)
        c = xp.where(self.W.coefficients(systems[:, None]) != 0, c, xp.zeros_like(c))
        return self.W.add(c, x), self.AW.add(-c, r)

    def finish(self, solution: Solution) -> None:
        """Hand what was learnt to the space, and what it cost."""
        if self.space.same_operator:
            self._append()
        elif self.n_rows > self.n_fixed:
            self.n_rows = self._choose(self.n_rows, self.k)
        self.space.keep(
            self.v,
            vectors=self.W.rows[: self.n_rows, ...],
            conjugate_images=self.AW.rows[: self.n_rows, ...],
        )
        if solution.converged:
            self.space.judge(solution.n_operator, was_warm=self._was_warm)

    def _append(self) -> None:
        """Keep all directions of one operator; the older ones as Ritz vectors when too many.

        The most recent half of k stays as it is and what is older shrinks to three eighths of k,
        so the cost of the choice, k^2 / 2 inner products, is not paid after every solve.
        """
        d, n, W, AW = self.n_fixed, self.n_rows - self.n_fixed, self.W, self.AW
        if n == 0:
            return
        if d:
            overlap = W.xp.matrix_transpose(AW.products(AW.rows[:d, ...], W.rows[d : d + n, ...]))
            for block in (W, AW):
                shadow = block.combine(overlap, block.rows[:d, ...])
                block.load(block.rows[d : d + n, ...] - shadow, d)
        self.n_rows = d + self._whiten(d, n)
        if self.n_rows > self.k:
            n_recent = self.k // 2 if n < 2 * self.k else 0
            n_old = self.n_rows - n_recent
            n_chosen = self._choose(n_old, max(1, 3 * self.k // 8 if n_recent else self.k))
            for block in (W, AW):
                block.load(block.copied(n_old, self.n_rows), n_chosen)
            self.n_rows = n_chosen + n_recent

    def _choose(self, n: int, k: int) -> int:
        """Replace the first n rows by their k most wanted harmonic Ritz vectors, A-orthonormal."""
        W, AW = self.W.rows[:n, ...], self.AW.rows[:n, ...]
        grams = self._finite(self.W.host(self.W.products(W, AW)))
        images = self._finite(self.W.host(self.W.products(AW, self._preconditioned(n))))
        parts = []
        for gram, image in zip(grams, images, strict=True):
            T = whitening(gram, max(self.v.eps, 1e-10))
            parts.append(ritz_space(T.conj() @ image @ T.T, k, self.space.target).T @ T)
        return self._combine(parts, 0, n)

    def _preconditioned(self, n: int) -> Array:
        """Return M times the first n images."""
        if self._M is None:
            return self.AW.rows[:n, ...]
        found = Basis(self.v, n)
        for i in range(n):
            found.put(i, self._M(self.AW.vector(i)))
        return found.rows

    def _whiten(self, start: int, n: int) -> int:
        """Make n rows A-orthonormal and return how many remain."""
        stop = start + n
        W, AW = self.W.rows[start:stop, ...], self.AW.rows[start:stop, ...]
        grams = self._finite(self.W.host(self.W.products(W, AW)))
        return self._combine([whitening(gram, self.v.eps) for gram in grams], start, stop)

    def _finite(self, grams: NDArray[Any]) -> NDArray[Any]:
        """Empty the systems that hold a NaN, so that it cannot spread through 0 * NaN."""
        is_lost = ~np.isfinite(grams).all(axis=(1, 2))
        if is_lost.any():
            self.W.clear(is_lost)
            self.AW.clear(is_lost)
        return np.where(is_lost[:, None, None], 0.0, grams)

    def _combine(self, parts: list[NDArray[Any]], start: int, stop: int) -> int:
        """Replace rows by one combination (k_i, stop - start) a system; return the longest."""
        longest = max(len(part) for part in parts)
        stack = np.zeros((len(parts), longest, stop - start), np.result_type(*parts))
        for own, part in zip(stack, parts, strict=True):
            own[: len(part)] = part
        for block in (self.W, self.AW):
            block.load(block.combine(block.coefficients(stack), block.rows[start:stop, ...]), start)
        return longest


def recycled(
    v: Vectors, A: Apply, M: Apply | None, space: RecycleSpace, maxiter: int
) -> RecycledDirections | None:
    """Return the directions for one solve, None where the space may hold none."""
    k = min(space.capacity(v, 1 + space.same_operator), v.size)
    return RecycledDirections(v, A, M, space, k, maxiter) if k else None


@final
class DeflatedIteration:
    """Plain iteration, made orthogonal to W at every start."""

    refusal: ClassVar[Status] = Status.NOT_POSITIVE_DEFINITE

    def __init__(self, plain: Iteration, directions: RecycledDirections) -> None:
        self._plain = plain
        self._directions = directions

    def measure(self, x: Array) -> Measure:
        """Recompute the residual."""
        return self._plain.measure(x)

    def iterate(self, x: Array, budget: Counts) -> tuple[Array, Trace]:
        """Project, then iterate."""
        plain, directions = self._plain, self._directions
        if directions.n_fixed:
            x, r = directions.project(x, plain.r, budget > 0)
            found = plain.adopt(x, r)
            if all(met for met, n in zip(plain.goal.status(found), budget, strict=True) if n):
                square = directions.v.dot(r, r)
                return x, Trace([square], [square])
        directions.is_noting = True
        try:
            return plain.iterate(x, budget)
        finally:
            directions.is_noting = False
