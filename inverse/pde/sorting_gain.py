"""What sorting the samples of a data set buys: shorter hops, and fewer iterations if any."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.pde.chain import one_thread
from inverse.pde.chains import order_of
from inverse.pde.strategies import MAXITER, is_definite
from solvers import Solution, cg
from solvers.gcrodr import gcrodr
from solvers.gmres import gmres
from solvers.preconditioners import Factorised, Jacobi
from solvers.recycle import RecycleSpace

if TYPE_CHECKING:
    from inverse.pde.plan import Plan
    from inverse.pde.store import DataSet
    from operators.pde import LinearSystems
    from operators.pde.sparse import SparseMatrix

__all__ = ["LEARNERS", "SOLVERS", "ChainRun", "Hops", "hops", "run_chain", "sorted_order"]

_N_PAIRS = 1024


class _Solver(Protocol):
    """Solves one system after another and learns from them."""

    def solve(
        self, matrix: SparseMatrix, b: NDArray[Any], *, definite: bool, rtol: float
    ) -> Solution:
        """Solve the next system."""
        ...

    @property
    def note(self) -> str:
        """What there is to say of the chain."""
        ...


@dataclass(frozen=True, slots=True)
class Hops:
    """Mean Euclidean distance of the parameters of samples that follow one another.

    Parameters
    ----------
    in_file : float
        In the order of the file, which is that of independent draws.
    in_order : float
        In the sorted order.
    """

    in_file: float
    in_order: float

    @property
    def ratio(self) -> float:
        """`in_order` / `in_file`: 1 when sorting brings nothing together."""
        return self.in_order / self.in_file if self.in_file > 0 else 1.0


@dataclass(frozen=True, slots=True)
class ChainRun:
    """What a solver took for a chain of samples, means a sample.

    Parameters
    ----------
    iterations : float
    n_operator : float
        Applications of the matrix, those that bring a recycled space to it included.
    milliseconds : float
        Processor time of the solves; matrices are assembled outside it.
    n_converged : int
    n_samples : int
    note : str
        Factorisations made, or whether the recycled space gave itself up.
    """

    iterations: float
    n_operator: float
    milliseconds: float
    n_converged: int
    n_samples: int
    note: str


def sorted_order(plan: Plan, method: str, chain_length: int) -> NDArray[np.int64]:
    """Return the order in which `generate` would solve a plan's samples in sorted chains.

    Parameters
    ----------
    plan : Plan
    method : {"hilbert", "greedy"}
    chain_length : int
        Samples a chain; each chain begins at a multiple of it.

    Raises
    ------
    UsageError
        If the method is none of these.
    """
    if method not in {"hilbert", "greedy"}:
        raise UsageError(f"an order expected hilbert or greedy, got {method!r}")
    return order_of(replace(plan, sort=method, chain_length=chain_length))


def hops(data: DataSet, order: NDArray[np.int64]) -> Hops:
    """Measure mean hops between the stored parameters, over a thousand pairs evenly spread.

    Raises
    ------
    UsageError
        If there is only one sample.
    """
    n = len(data)
    if n < 2:
        raise UsageError(f"{data.path}: sorting needs two samples or more, got one")
    pairs = np.unique(np.linspace(0, n - 2, min(n - 1, _N_PAIRS)).round().astype(np.int64))
    found = [
        float(np.mean([_distance(data, int(order[i]), int(order[i + 1])) for i in pairs]))
        for order in (np.arange(n), order)
    ]
    return Hops(*found)


def _distance(data: DataSet, i: int, j: int) -> float:
    one, other = data.rows(i, i + 1), data.rows(j, j + 1)
    squares = [
        float(np.sum((one.parameters[name] - other.parameters[name]) ** 2))
        for name in one.parameters
    ]
    return float(np.sqrt(sum(squares)))


def run_chain(data: DataSet, indices: Sequence[int], solver: str) -> ChainRun:
    """Solve samples of a data set one after another, and count.

    Parameters
    ----------
    data : DataSet
        Of a march in time the first step is solved.
    indices : sequence of int
        In the order of solving.
    solver : str
        One of `SOLVERS`.

    Raises
    ------
    UsageError
        If there is no such solver.
    """
    if solver not in SOLVERS:
        raise UsageError(f"no solver {solver!r} for chains; there are {', '.join(SOLVERS)}")
    learner = SOLVERS[solver]()
    iterations, n_operator, n_converged, seconds = 0, 0, 0, 0.0
    with one_thread():
        for systems in _systems(data, indices):
            matrix, b = systems.matrix(0), systems.rhs[0].numpy().ravel()
            definite = is_definite(systems)
            started = time.process_time()
            found = learner.solve(matrix, b, definite=definite, rtol=data.plan.tolerance)
            seconds += time.process_time() - started
            iterations += int(np.sum(found.iterations))
            n_operator += found.n_operator
            n_converged += found.converged
    n = len(indices)
    return ChainRun(iterations / n, n_operator / n, 1e3 * seconds / n, n_converged, n, learner.note)


def _systems(data: DataSet, indices: Sequence[int]) -> Iterator[LinearSystems]:
    family, grid = data.plan.equation, data.plan.grid
    for i in indices:
        parameters = data.rows(int(i), int(i) + 1).parameters
        yield family.systems(grid, parameters, family.initial(grid, parameters), 0)


class _Factors:
    """Krylov iterations with LU factors: of each matrix, or of an earlier one until they are stale.

    Parameters
    ----------
    lag : {"lagged", "each"}
    """

    def __init__(self, lag: Literal["lagged", "each"]) -> None:
        self._lag: Literal["lagged", "each"] = lag
        self._factors: Factorised | None = None

    def solve(
        self, matrix: SparseMatrix, b: NDArray[Any], *, definite: bool, rtol: float
    ) -> Solution:
        """Solve the next system."""
        if self._factors is None:
            self._factors = Factorised(matrix, lag=self._lag)
        else:
            self._factors.update(matrix)
        solver = cg if definite else gmres
        return solver(matrix, b, M=self._factors, rtol=rtol, maxiter=MAXITER)

    @property
    def note(self) -> str:
        """How many factorisations were made."""
        n = 0 if self._factors is None else self._factors.n_factorisations
        return f"{n} factorisation{'' if n == 1 else 's'}"


class _Krylov:
    """GCRO-DR(40, 20) with the diagonal; each system from the space of the last, or alone.

    Parameters
    ----------
    recycles : bool
    """

    def __init__(self, *, recycles: bool) -> None:
        self._space = RecycleSpace(20, target="smallest") if recycles else None

    def solve(
        self, matrix: SparseMatrix, b: NDArray[Any], *, definite: bool, rtol: float
    ) -> Solution:
        """Solve the next system."""
        del definite
        M = Jacobi(matrix)
        return gcrodr(matrix, b, M=M, m=40, k=20, recycle=self._space, rtol=rtol, maxiter=MAXITER)

    @property
    def note(self) -> str:
        """Whether the space was of use to the end."""
        if self._space is None:
            return ""
        return "gave up recycling" if self._space.disabled_because else "recycled to the end"


LEARNERS = ("lagged-lu", "gcrodr")
"""Solvers that carry something from one system to the next."""

SOLVERS: dict[str, Callable[[], _Solver]] = {
    "lu-each": partial(_Factors, "each"),
    "lagged-lu": partial(_Factors, "lagged"),
    "gcrodr-alone": partial(_Krylov, recycles=False),
    "gcrodr": partial(_Krylov, recycles=True),
}
"""The learners, each after the same solver without learning."""
