"""GCRO-DR: restarted GMRES that carries a deflation space over restarts and over systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from solvers.arnoldi import Cycle, RestartedArnoldi, Settings, run_restarted
from solvers.basis import Basis
from solvers.errors import SolverError
from solvers.linear_map import Applicable, LinearMap
from solvers.recycle import RecycleSpace
from solvers.ritz import Target, harmonic_space, whitening
from solvers.scaling import Callback
from solvers.solution import Solution
from solvers.stopping import Counts, Limits
from solvers.vectors import Array, Vectors, vectors_of

__all__ = ["gcrodr"]


def gcrodr(  # noqa: PLR0913 -- the arguments of the linear system, then those of its stop
    A: Applicable,
    b: Array,
    *,
    x0: Array | None = None,
    M: Applicable | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    maxiter: int | None = None,
    n_batch_axes: int = 0,
    m: int = 40,
    k: int = 20,
    recycle: RecycleSpace | None = None,
    check_every: int = 1,
    callback: Callback | None = None,
) -> Solution:
    """Solve A x = b for any invertible A by GMRES with a recycled space of k vectors.

    With A U = C, C^H C = I each cycle of m - k steps
        r = (I - C C^H) r,  (I - C C^H) A M V_j = V_(j+1) H_j,  B = C^H A M V_j
        y = argmin || ||r|| e1 - H_j y ||,  x += M V_j y + U (C^H r - B y)

    minimises the residual over both spaces, then keeps in U the k harmonic Ritz vectors of them all
    that `RecycleSpace.target` names. Where restarts make GMRES stagnate this repairs it; a
    `recycle` space given to one solve after the other spares each the search for the directions
    that are slow. With k = 0 this is `solvers.gmres` with restart m. Everything else is as there.

    Parameters
    ----------
    A, b, x0, rtol, atol, maxiter, n_batch_axes, check_every, callback
        As for `solvers.gmres`.
    M : function, matrix or operator, optional
        Preconditioner on the right; may change from step to step. M V is stored: m vectors more,
        and k more for the choice of the space.
    m : int
        Dimension of recycled and Krylov space together.
    k : int
        Vectors kept at a restart, < m; at most `recycle.k` and what its memory allows.
    recycle : RecycleSpace, optional
        Carried from solve to solve; changed in place. Holds vectors of the space of x, whose images
        under this A are computed anew, which costs `recycle.dim` applications, counted in
        `n_operator`. Systems of a batch each have their own.

    Returns
    -------
    Solution

    Raises
    ------
    SolverError
        If the arguments do not fit together.

    References
    ----------
    Parks, de Sturler, Mackey, Johnson and Maiti 2006, doi:10.1137/040607277, algorithm GCRO-DR;
    Carvalho, Gratton, Lago and Vasseur 2011, doi:10.1137/10082364X (flexible).

    Examples
    --------
    >>> A, space = np.diag(np.arange(1.0, 101.0)), RecycleSpace(5)
    >>> first = gcrodr(A, np.ones(100), m=15, k=5, recycle=space)
    >>> second = gcrodr(A, np.arange(100.0), m=15, k=5, recycle=space)
    >>> second.converged, second.iterations < first.iterations, space.dim
    (True, True, 5)
    """
    if not 0 <= k < m:
        raise SolverError(f"k expected 0 <= k < m = {m}, got {k}")
    v = vectors_of(b, n_batch_axes)
    limits = Limits(rtol, atol, 10 * v.size if maxiter is None else maxiter, check_every)
    apply = LinearMap(A, name="A", batch_shape=v.batch_shape, result_like=b)
    precondition = None
    if M is not None:
        precondition = LinearMap(M, name="M", batch_shape=v.batch_shape, result_like=b)
    recycling = None
    k = min(k, m - 1, v.size - 1)
    if recycle is not None:
        n_blocks = 1 + recycle.same_operator + (M is not None)
        allowed = recycle.capacity(v, n_blocks)
        k = k if recycle.disabled_because else min(k, allowed)
    if k > 0:
        recycling = _Recycling(v, k, recycle)
    settings = Settings(limits, m, True, callback)
    return run_restarted(v, b, x0, apply, precondition, settings, recycling)


@final
@dataclass(slots=True)
class _Recycling:
    """Brings a space into a solve and hands it on."""

    v: Vectors
    k: int
    space: RecycleSpace | None
    deflation: _Deflation | None = None
    was_warm: bool = False

    def start(self, method: RestartedArnoldi) -> _Deflation:
        """Bring the space to the operator of this solve: k applications, unless images are kept."""
        space = self.space
        target: Target = "smallest" if space is None else space.target
        keeps = space is not None and space.disabled_because is None
        self.deflation = _Deflation(method, self.k, target, keeps_last=keeps)
        if space is not None and space.starts_warm:
            self.was_warm = True
            self.deflation.adopt(space)
        return self.deflation

    def finish(self, solution: Solution) -> None:
        """Keep the space for the next solve and note what this one cost."""
        if self.space is None or self.deflation is None:
            return
        self.deflation.hand_to(self.space)
        if solution.converged:
            self.space.judge(solution.n_operator, was_warm=self.was_warm)


@final
class _Deflation:
    """U, and C = A U in the first rows of the Arnoldi basis; zero rows where a system has fewer.

    With a preconditioner the Ritz vectors are those of A M, which needs the preimages P of U = M P.
    They only guide the choice; after a change of M those of the last solve serve.
    """

    def __init__(
        self, method: RestartedArnoldi, k: int, target: Target, *, keeps_last: bool
    ) -> None:
        self.method = method
        self.k = k
        self.target: Target = target
        self.keeps_last = keeps_last
        self.U = Basis(method.v, k)
        self.P = self.U if method.M is None else Basis(method.v, k)
        self.dims: Counts = np.zeros(method.v.n_systems, dtype=np.int64)

    @property
    def size(self) -> int:
        """Largest number of vectors of a system."""
        return int(self.dims.max())

    def lift(self, coefficients: NDArray[Any], x: Array) -> Array:
        """Return x + U c, overwriting x."""
        return self.U.add(self.U.coefficients(coefficients), x)

    def adopt(self, space: RecycleSpace) -> None:
        """Take vectors, compute their images or take those too, and make the images orthonormal."""
        V, method = self.method.V, self.method
        vectors: Array = space.kept("vectors")
        images: Array = space.kept("images")
        images = space.kept("conjugate_images") if images is None else images
        preimages: Array = space.kept("preimages")
        n = min(space.dim, self.k)
        self.U.load(vectors[:n, ...])
        if self.P is not self.U:
            self.P.load((vectors if preimages is None else preimages)[:n, ...])
        if images is not None:
            V.load(images[:n, ...])
        else:
            for i in range(n):
                V.put(i, method.A(self.U.vector(i)))
        for _ in range(2):  # the second pass mends what the first lost to an ill-conditioned C
            grams = V.host(V.products(V.rows[:n, ...], V.rows[:n, ...]))
            is_lost = ~np.isfinite(grams).all(axis=(1, 2))
            for block in self._blocks():
                block.clear(is_lost)
            n = self._transform([whitening(gram, method.v.eps) for gram in grams], n)

    def _blocks(self) -> list[Basis]:
        return [self.method.V, self.U] + ([] if self.P is self.U else [self.P])

    def _transform(self, parts: list[NDArray[Any]], n: int) -> int:
        """Replace the first n vectors, preimages and images by combinations of them."""
        combinations = self._side_by_side(parts, n)
        for block in self._blocks():
            rows = block.rows[:n, ...]
            block.load(block.combine(block.coefficients(combinations), rows))
        return self.size

    def _side_by_side(self, parts: list[NDArray[Any]], n: int) -> NDArray[Any]:
        """Stack one combination (k_i, n) a system, with zeros where a system keeps fewer."""
        self.dims = np.array([len(part) for part in parts], dtype=np.int64)
        stack = np.zeros((len(parts), self.size, n), np.result_type(*parts))
        for own, part in zip(stack, parts, strict=True):
            own[: len(part)] = part
        return stack

    def update(self, cycle: Cycle, *, is_last: bool) -> None:
        """Parks et al. 2006, eq. 2.13: harmonic Ritz vectors of [U, Z] take the place of U."""
        if is_last and not self.keeps_last:
            return
        V, U, P = self.method.V, self.U, self.P
        old, n = cycle.n_deflated, cycle.small.n_read
        new = V.rows[old : old + n, ...]
        Z = new if self.method.Z is None else self.method.Z.rows[:n, ...]
        overlaps = V.host(V.products(V.rows[: old + n + 1, ...], P.rows[:old, ...]))
        squares = V.host(P.products(P.rows[:old, ...], P.rows[:old, ...]))
        chosen = [
            self._choose(cycle, i, overlap, np.diag(square).real)
            for i, (overlap, square) in enumerate(zip(overlaps, squares, strict=True))
        ]
        vectors = self._side_by_side([own for _, own in chosen], old + n)
        images = self._side_by_side([own for own, _ in chosen], old + n + 1)
        of_old, of_new = U.coefficients(vectors[:, :, :old]), U.coefficients(vectors[:, :, old:])
        recycled = U.combine(of_new, Z) + U.combine(of_old, U.rows[:old, ...])
        if P is not U:
            P.load(P.combine(of_new, new) + P.combine(of_old, P.rows[:old, ...]))
        U.load(recycled)
        V.load(V.combine(V.coefficients(images), V.rows[: old + n + 1, ...]))

    def _choose(
        self, cycle: Cycle, i: int, overlap: NDArray[Any], square: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return for one system the rows that combine [C, V] and [U, Z] into the new C and U."""
        small, old = cycle.small, cycle.n_deflated
        d, n = int(self.dims[i]), int(small.steps[i])
        rows = np.concatenate([np.arange(d), old + np.arange(n + 1)])
        columns = rows[:-1]
        images = np.zeros((self.k, old + small.n_read + 1), overlap.dtype)
        vectors = np.zeros((self.k, old + small.n_read), overlap.dtype)
        if small.is_lost[i]:
            return images[:0], vectors[:0]
        unit = 1.0 / np.sqrt(square[:d])
        G = np.zeros((d + n + 1, d + n), small.columns.dtype)
        G[:d, :d] = np.diag(unit)
        G[:, d:] = small.columns[i, rows, :n]
        F = np.eye(d + n + 1, d + n, dtype=overlap.dtype)
        F[:, :d] = overlap[rows, :d] * unit
        of_images, of_vectors = harmonic_space(G, F, self.k, self.target)
        n_chosen = of_images.shape[1] if n else 0
        if n_chosen == 0:  # nothing learnt: what there was stays
            images[np.arange(d), np.arange(d)] = vectors[np.arange(d), np.arange(d)] = 1.0
            return images[:d], vectors[:d]
        of_vectors[:d] *= unit[:, None]
        images[:n_chosen, rows] = of_images.T
        vectors[:n_chosen, columns] = of_vectors.T
        return images[:n_chosen], vectors[:n_chosen]

    def hand_to(self, space: RecycleSpace) -> None:
        """Give vectors of unit length, preimages and images to the space."""
        n = self.size
        U = self.U
        squares = U.host(U.products(U.rows[:n, ...], U.rows[:n, ...]))
        lengths = np.sqrt(np.einsum("sii->si", squares).real)
        is_usable = np.isfinite(lengths) & (lengths > 0)
        unit = np.where(is_usable, 1.0 / np.where(is_usable, lengths, 1.0), 0.0)
        factors = U.coefficients(unit[:, :, None] * np.eye(n))
        blocks = {"vectors": U, "images": self.method.V}
        if self.P is not U:
            blocks["preimages"] = self.P
        rows = {name: block.combine(factors, block.rows[:n, ...]) for name, block in blocks.items()}
        space.keep(self.method.v, **rows)
