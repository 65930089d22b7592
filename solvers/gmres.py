"""Restarted GMRES for any square system."""

from __future__ import annotations

from solvers.arnoldi import Settings, run_restarted
from solvers.errors import SolverError
from solvers.linear_map import Applicable, LinearMap
from solvers.scaling import Callback
from solvers.solution import Solution
from solvers.stopping import Limits
from solvers.vectors import Array, vectors_of

__all__ = ["gmres"]


def gmres(  # noqa: PLR0913 -- the arguments of the linear system, then those of its stop
    A: Applicable,
    b: Array,
    *,
    x0: Array | None = None,
    M: Applicable | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    maxiter: int | None = None,
    n_batch_axes: int = 0,
    restart: int = 40,
    flexible: bool = False,
    check_every: int = 1,
    callback: Callback | None = None,
) -> Solution:
    """Solve A x = b for any invertible A by restarted, right-preconditioned GMRES.

    r = b - A x,  A M V_j = V_(j+1) H_j with V_1 = r / ||r|| (Arnoldi); then
        y = argmin || ||r|| e1 - H_j y ||,  x += M V_j y

    for every system of the batch by itself, starting again from the new residual after `restart`
    steps. The preconditioner stands on the right, so the residual that is minimised and tested is
    b - A x itself. Scaling, stopping and honesty are those of `solvers.cg`: ||r|| <= max(rtol
    ||b||, atol), recomputed when the recurrence claims it.

    Parameters
    ----------
    A : function, matrix or operator
        x -> A x on (*batch, *unknown), see `solvers.linear_map.LinearMap`.
    b : array, (*batch, *unknown)
        Right-hand sides, single or double, real or complex; NumPy, torch, CuPy or another
        Array-API library. It sets the precision, the device and the dtype of x.
    x0 : array, (*batch, *unknown), optional
        Start; zero if not given.
    M : function, matrix or operator, optional
        Preconditioner z = M r close to A^-1.
    rtol, atol : float
        Tolerances of the residual norm of each system.
    maxiter : int, optional
        Largest number of steps (not of cycles); ten times the length of the unknown if not given.
    n_batch_axes : int
        How many leading axes of b count independent systems.
    restart : int
        Steps of a cycle; memory is restart + 1 vectors, twice that when `flexible`.
    flexible : bool
        Allow a preconditioner that is itself an iteration and changes from step to step. Also
        saves the application of M that ends each cycle.
    check_every : int
        Steps between stopping tests, each of which waits for the device. The result does not
        depend on it.
    callback : function, optional
        Called as callback(iteration, x) after every step, with a copy of the iterate; costs a
        combination of the basis (and an application of M unless `flexible`) each time.

    Returns
    -------
    Solution
        BREAKDOWN when the Krylov space is exhausted without a solution (a singular A);
        STAGNATION also when a whole cycle brings nothing: raise `restart` or precondition.

    Raises
    ------
    SolverError
        If the arguments do not fit together.

    References
    ----------
    Saad and Schultz 1986, doi:10.1137/0907058; Saad 1993, doi:10.1137/0914028 (flexible).

    Examples
    --------
    >>> import numpy as np
    >>> solution = gmres(np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([2.0, 3.0]))
    >>> solution.x.round(12).tolist(), solution.status[0].name, solution.iterations
    ([-3.0, 2.0], 'CONVERGED', (2,))
    """
    if restart < 1:
        raise SolverError(f"restart expected a number of steps >= 1, got {restart}")
    v = vectors_of(b, n_batch_axes)
    limits = Limits(rtol, atol, 10 * v.size if maxiter is None else maxiter, check_every)
    apply = LinearMap(A, name="A", batch_shape=v.batch_shape, result_like=b)
    precondition = None
    if M is not None:
        precondition = LinearMap(M, name="M", batch_shape=v.batch_shape, result_like=b)
    settings = Settings(limits, restart, flexible, callback)
    return run_restarted(v, b, x0, apply, precondition, settings, None)
