"""Primal-dual splitting: f(x) + g(x) + h(K x) without solving any linear system."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from solvers.errors import SolverError
from solvers.linear_map import Applicable, LinearMap, adjoint_of
from solvers.progress import Balance, Progress, add_scaled, as_factor, norms
from solvers.proximal import Proximal, conjugate_prox
from solvers.scaling import Callback, per_system
from solvers.smooth import Smooth
from solvers.solution import Solution
from solvers.stopping import Floats, Limits
from solvers.vectors import Array, Vectors, vectors_of

__all__ = ["pdhg"]


def pdhg(  # noqa: PLR0913 -- the four parts of the objective, then the steps and the stop
    K: Applicable,
    h: Proximal,
    x0: Array,
    *,
    norm: ArrayLike,
    KH: Applicable | None = None,
    f: Smooth | None = None,
    lipschitz: ArrayLike = 0.0,
    g: Proximal | None = None,
    ratio: ArrayLike | None = None,
    adaptive: bool = False,
    rtol: float = 1e-4,
    maxiter: int = 500,
    n_batch_axes: int = 0,
    callback: Callback | None = None,
) -> Solution:
    """Minimise f(x) + g(x) + h(K x) by the primal-dual hybrid gradient method.

    x+ = prox_{tau g}(x - tau (grad f(x) + K^H y));   y+ = prox_{sigma h*}(y + sigma K (2 x+ - x))

    with sigma = r / ||K|| and 1 / tau = L / 2 + r ||K||, at the border of what converges for every
    r > 0. Without f this is Chambolle and Pock's method, with f Condat's and Vu's.

    At the solution grad f(x) + p + K^H y = 0 with p a subgradient of g (stationarity) and K x = q
    with y a subgradient of h at q (feasibility). The iteration yields such p and q exactly, so both
    residuals are true at every iterate. Each is taken relative to the largest norm that one of its
    terms has had; a system stops when both are within rtol.

    Parameters
    ----------
    K : operator, matrix or function
        From x to (*batch, *range); a function needs `KH`.
    h, g : Proximal
        Simple functions of K x and of x; without g there is none.
    x0 : array, (*batch, *unknown)
        Start; not overwritten. The dual starts at zero.
    norm : float or (*batch,), > 0
        ||K||, or a little more: 2 sqrt(d) for differences along d axes.
    KH : operator, matrix or function, optional
        The adjoint, where K does not know it.
    f : Smooth, optional
        E.g. `solvers.LeastSquares`: the data term, so that its operator needs no inverse.
    lipschitz : float or (*batch,)
        Lipschitz constant L of grad f.
    ratio : float or (*batch,), > 0, optional
        Start of r, ideally the size of the dual solution over that of K x. By default
        L / (2 ||K||), where both terms of 1 / tau are equal; 1 without f.
    adaptive : bool
        Move r by ever smaller factors to where both residuals are equally small. Of use where the
        ratio is a guess, as without f; otherwise seldom better than the default ratio. r stays
        above L / (4 ||K||): a smaller one slows the dual and no longer speeds up the primal.
    rtol, maxiter, n_batch_axes, callback
        As for `solvers.fista`; maxiter >= 1.

    Returns
    -------
    Solution
        `residual_norm` is the stationarity residual, `relative_residual` the larger of both
        relative ones, `history` the latter by iteration; `n_operator` counts applications of K, of
        K^H and gradients of f together.

    Raises
    ------
    SolverError
        If an argument is out of range.

    References
    ----------
    Chambolle & Pock 2011, doi:10.1007/s10851-010-0251-1, algorithm 1; Condat 2013,
    doi:10.1007/s10957-012-0245-9, algorithm 3.1 and theorem 3.1; Goldstein et al. 2013,
    arXiv:1305.0546 (residuals and balancing).

    Examples
    --------
    Total variation denoising of two pixels, 1/2 ||x - (0, 4)||^2 + |x_2 - x_1|:

    >>> from solvers.proximal import L1, SquaredDistance
    >>> D, noisy = np.array([[-1.0, 1.0]]), np.array([0.0, 4.0])
    >>> pdhg(D, L1(1.0), noisy, g=SquaredDistance(noisy), norm=1.5, rtol=1e-9).x.round(6).tolist()
    [1.0, 3.0]
    """
    v = vectors_of(x0, n_batch_axes)
    bounds = _positive(v, norm, "norm"), per_system(v, lipschitz, "lipschitz")
    usual = bounds[1] / (2 * bounds[0])
    start = np.where(usual > 0, usual, 1.0) if ratio is None else _positive(v, ratio, "ratio")
    progress = Progress(v, Limits(rtol, 0.0, maxiter, 1), callback)
    if maxiter < 1:
        raise SolverError(f"pdhg expected maxiter >= 1, got {maxiter}")
    with v.quiet():
        terms = _Terms(v, f, g, h, K, adjoint_of(K) if KH is None else KH)
        x = _iterate(terms, progress, Balance(start, floor=usual / 2), bounds, x0, adaptive)
        return progress.solution(x, terms.n_operator)


def _positive(v: Vectors, value: ArrayLike, name: str) -> Floats:
    numbers = per_system(v, value, name)
    if not (numbers > 0).all():
        raise SolverError(f"pdhg expected {name} > 0, got {numbers.tolist()}")
    return numbers


@dataclass(frozen=True, slots=True, eq=False)
class _Point:
    """A primal-dual pair with its images, each computed once."""

    x: Array
    y: Array
    Kx: Array
    slope: Array  # grad f(x) + K^H y
    size: Floats  # the larger norm of its two terms


class _Terms:
    """The objective, and the step from one point to the next with its residuals."""

    def __init__(
        self,
        v: Vectors,
        f: Smooth | None,
        g: Proximal | None,
        h: Proximal,
        K: Applicable,
        KH: Applicable,
    ) -> None:
        self.v, self.f, self.g, self.h = v, f, g, h
        self.K = LinearMap(K, name="K", batch_shape=v.batch_shape)
        self.KH = LinearMap(KH, name="K^H", batch_shape=v.batch_shape)
        self.n_gradients = 0

    @property
    def n_operator(self) -> int:
        return self.K.count + self.KH.count + self.n_gradients

    def start(self, x0: Array) -> _Point:
        x = self.v.copy(x0)
        Kx = self.K(x)
        return self._point(x, 0 * Kx, Kx)

    def _point(self, x: Array, y: Array, Kx: Array) -> _Point:
        slope = self.KH(y)
        size = norms(self.v, slope)
        if self.f is not None:
            gradient = self.f.gradient(x)
            self.n_gradients += 1
            slope = slope + gradient
            size = np.maximum(size, norms(self.v, gradient))
        return _Point(x, y, Kx, slope, size)

    def step(self, at: _Point, tau: Floats, sigma: Floats) -> tuple[_Point, Floats, Floats]:
        """Return the next point, norms of the two residuals, and of their largest terms."""
        v, w = self.v, vectors_of(at.Kx, self.v.n_batch_axes)
        t, s = as_factor(v, tau, at.x), as_factor(w, sigma, at.Kx)
        x = add_scaled(at.x, -t, at.slope)
        if self.g is not None:
            x = self.g.prox(x, t)
        Kx = self.K(x)
        y = conjugate_prox(self.h, add_scaled(at.y, s, 2.0 * Kx - at.Kx), s)
        new = self._point(x, y, Kx)
        q = 2.0 * Kx - at.Kx + (at.y - y) / s
        stationarity, size = new.slope, new.size
        if self.g is not None:
            p = (at.x - x) / t - at.slope
            stationarity, size = stationarity + p, np.maximum(size, norms(v, p))
        residuals = np.stack([norms(v, stationarity), norms(w, Kx - q)])
        sizes = np.stack([size, np.maximum(norms(w, Kx), norms(w, q))])
        return new, residuals, sizes


def _iterate(
    terms: _Terms,
    progress: Progress,
    balance: Balance,
    bounds: tuple[Floats, Floats],
    x0: Array,
    adaptive: bool,
) -> Array:
    norm, lipschitz = bounds
    point = terms.start(x0)
    largest = np.stack([point.size, np.zeros_like(point.size)])
    while progress.goes_on:
        sigma = balance.weight / norm
        tau = 1 / (lipschitz / 2 + balance.weight * norm)
        new, residuals, sizes = terms.step(point, tau, sigma)
        largest = np.fmax(largest, sizes)
        relative = residuals / np.where(largest > 0, largest, 1.0)
        worst = relative.max(axis=0)
        taken = progress.take(worst)
        point = replace(new, x=progress.keep(taken, new.x, point.x))
        progress.record(taken, residuals[0], worst)
        progress.report(point.x)
        if adaptive:
            balance.move(relative[0], relative[1])
    return point.x
