"""Alternating direction method of multipliers: f(x) + g(K x) by a given x-update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from solvers.cg import cg
from solvers.errors import SolverError
from solvers.linear_map import Applicable, LinearMap, adjoint_of
from solvers.progress import Balance, Progress, add_scaled, as_factor, norms
from solvers.proximal import Proximal
from solvers.scaling import Callback, per_system
from solvers.smooth import LeastSquares, Smooth
from solvers.solution import Solution
from solvers.stopping import Limits
from solvers.vectors import Array, vectors_of

__all__ = ["CgUpdate", "Update", "admm"]


class Update(Protocol):
    """The x-update of ADMM."""

    def __call__(self, target: Array, rho: float | Array, x: Array) -> Array:
        """Compute argmin_x f(x) + rho / 2 ||K x - target||^2 as a new array, starting from `x`.

        `rho` is a float, or (*batch, 1, ..., 1) with the number of axes of `x`.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CgUpdate:
    """The x-update of a least-squares f: a few steps of conjugate gradients from the last x.

    (H + rho K^H K) x = b + rho K^H target

    Parameters
    ----------
    f : LeastSquares
        Holds H and b.
    K : operator or matrix, optional
        That of ADMM; by default the identity.
    maxiter : int
        Steps of an update. Ten warm-started ones are usually as good as an exact solution.
    rtol : float
        Tolerance relative to the right-hand side.

    Examples
    --------
    >>> f = LeastSquares(np.diag([1.0, 3.0]), np.array([2.0, 4.0]))
    >>> CgUpdate(f)(np.array([0.0, 0.0]), 1.0, np.zeros(2)).round(6).tolist()
    [1.0, 1.0]
    """

    f: LeastSquares
    K: Applicable | None = None
    maxiter: int = 10
    rtol: float = 1e-10

    def __call__(self, target: Array, rho: float | Array, x: Array) -> Array:
        """Compute the update."""
        batch_shape = tuple(x.shape[: self.f.n_batch_axes])
        H = LinearMap(self.f.normal, name="normal", batch_shape=batch_shape, result_like=x)
        K, KH = _maps(self.K, None, batch_shape)

        def normal(x: Array) -> Array:
            return add_scaled(H(x), rho, KH(K(x)))

        rhs = add_scaled(self.f.rhs, rho, KH(target))
        return cg(
            normal,
            rhs,
            x0=x,
            rtol=self.rtol,
            maxiter=self.maxiter,
            n_batch_axes=self.f.n_batch_axes,
        ).x


def admm(  # noqa: PLR0913 -- the parts of the objective, then the penalty and the stop
    f: Smooth,
    g: Proximal,
    x_update: Update,
    x0: Array,
    *,
    K: Applicable | None = None,
    KH: Applicable | None = None,
    rho: ArrayLike = 1.0,
    relaxation: float = 1.6,
    adaptive: bool = True,
    rtol: float = 1e-4,
    maxiter: int = 100,
    n_batch_axes: int = 0,
    callback: Callback | None = None,
) -> Solution:
    """Minimise f(x) + g(K x) by the scaled alternating direction method of multipliers.

    x = argmin f(x) + rho / 2 ||K x - z + u||^2;   w = a K x + (1 - a) z + u;
    z = prox_{g / rho}(w);   u = w - z

    rho u is a subgradient of g at z in every iteration, so x is optimal when
    grad f(x) + rho K^H u = 0 (stationarity) and K x = z (feasibility). Both residuals are computed
    from these equations in every iteration, whatever the x-update does. Each is taken relative to
    the largest norm that one of its terms has had; a system stops when both are within rtol.

    Parameters
    ----------
    f : Smooth
        Its gradient is used for the stationarity residual only.
    g : Proximal
        Simple function of K x.
    x_update : function
        ``x_update(target, rho, x)``, see `solvers.Update`; `solvers.CgUpdate` for least squares.
    x0 : array, (*batch, *unknown)
        Start; not overwritten. The multiplier starts at zero.
    K : operator, matrix or function, optional
        From x to (*batch, *range); a function needs `KH`. By default the identity.
    KH : operator, matrix or function, optional
        The adjoint, where K does not know it.
    rho : float or (*batch,), > 0
        Start of the penalty: curvature of f over that of ||K x||^2.
    relaxation : float, in (0, 2)
        Over-relaxation a.
    adaptive : bool
        Move rho by ever smaller factors to where both relative residuals are equally small.
    rtol, maxiter, n_batch_axes, callback
        As for `solvers.fista`; maxiter >= 1.

    Returns
    -------
    Solution
        `residual_norm` is the stationarity residual, `relative_residual` the larger of both
        relative ones, `history` the latter by iteration; `n_operator` counts applications of K, of
        K^H, gradients of f and x-updates together.

    Raises
    ------
    SolverError
        If an argument is out of range.

    References
    ----------
    Boyd et al. 2011, doi:10.1561/2200000016, eqs. 3.5-3.7, 3.19; section 3.3 for the residuals;
    Wohlberg 2017, arXiv:1704.06209 (relative residuals).

    Examples
    --------
    >>> from solvers.proximal import L1
    >>> f = LeastSquares(lambda x: 2 * x, np.array([6.0, 1.0]))
    >>> admm(f, L1(2.0), CgUpdate(f), np.zeros(2), rtol=1e-9).x.round(6).tolist()
    [2.0, 0.0]
    """
    v = vectors_of(x0, n_batch_axes)
    penalty = per_system(v, rho, "rho")
    if not (penalty > 0).all() or not 0 < relaxation < 2 or maxiter < 1:
        raise SolverError(
            f"admm expected rho > 0, 0 < relaxation < 2 and maxiter >= 1, "
            f"got {penalty.tolist()}, {relaxation} and {maxiter}"
        )
    progress = Progress(v, Limits(rtol, 0.0, maxiter, 1), callback)
    balance = Balance(penalty)
    with v.quiet():
        K_map, KH_map = _maps(K, KH, v.batch_shape)
        x = v.copy(x0)
        z = K_map(x)
        w = vectors_of(z, n_batch_axes)
        u = 0 * z
        largest = np.zeros((2, v.n_systems))
        while progress.goes_on:
            factor, factor_range = as_factor(v, balance.weight, x), as_factor(w, balance.weight, z)
            x_new = x_update(z - u, factor, x)
            Kx = K_map(x_new)
            relaxed = relaxation * Kx + (1 - relaxation) * z + u
            z = g.prox(relaxed, 1 / factor_range)
            u = relaxed - z
            gradient, pull = f.gradient(x_new), factor * KH_map(u)
            residuals = np.stack([norms(v, gradient + pull), norms(w, Kx - z)])
            sizes = [[norms(v, gradient), norms(v, pull)], [norms(w, Kx), norms(w, z)]]
            largest = np.fmax(largest, np.max(sizes, axis=1))
            relative = residuals / np.where(largest > 0, largest, 1.0)
            worst = relative.max(axis=0)
            taken = progress.take(worst)
            x = progress.keep(taken, x_new, x)
            progress.record(taken, residuals[0], worst)
            progress.report(x)
            if adaptive:
                u = u / as_factor(w, balance.move(relative[0], relative[1]), u)
        n_updates = 2 * progress.iteration  # with the gradient that each is judged by
        return progress.solution(x, K_map.count + KH_map.count + n_updates)


def _maps(
    K: Applicable | None, KH: Applicable | None, batch_shape: tuple[int, ...]
) -> tuple[LinearMap, LinearMap]:
    if K is None:
        K = KH = _identity
    adjoint = adjoint_of(K) if KH is None else KH
    return (
        LinearMap(K, name="K", batch_shape=batch_shape),
        LinearMap(adjoint, name="K^H", batch_shape=batch_shape),
    )


def _identity(x: Array) -> Array:
    return x
