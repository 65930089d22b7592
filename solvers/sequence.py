"""One system after the other, each helped by those before: sorted, recycled, preconditioned."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import array_api_compat
import numpy as np
from numpy.typing import NDArray

from solvers.errors import SolverError
from solvers.field_stream import Fields
from solvers.gcrodr import gcrodr
from solvers.gmres import gmres
from solvers.linear_map import LinearMap
from solvers.ordering import Ordering, order_fields
from solvers.preconditioners.protocol import Preconditioner
from solvers.recycle import RecycleSpace, principal_angle
from solvers.sequence_result import Record, SequenceResult, UnconvergedWarning
from solvers.solution import Solution
from solvers.systems import System, system_of
from solvers.vectors import Array

__all__ = ["Making", "Solver", "Systems", "solve_sequence"]

Systems: TypeAlias = Sequence[Any] | Iterable[Any]
"""`System` or tuples (A, b) or (A, b, x0), by number or as they come."""

Making: TypeAlias = Callable[[Any], Preconditioner]
"""A -> its preconditioner."""

Solver: TypeAlias = Callable[..., Solution]
"""Called as solver(A, b, x0=, M=, rtol=, atol=, maxiter=) and recycle= if there is a space."""


def solve_sequence(  # noqa: PLR0913 -- the sequence, what helps it, and the arguments of each solve
    systems: Systems,
    *,
    order: Ordering | Literal["auto"] | None = None,
    parameters: Fields | None = None,
    recycle: RecycleSpace | None = None,
    preconditioner: Preconditioner | Making | None = None,
    solver: Solver | None = None,
    preset: Literal["skr"] | None = None,
    rtol: float = 1e-6,
    atol: float = 0.0,
    maxiter: int | None = None,
    on_solution: Callable[[int, Solution], None] | None = None,
    invariant_space: Callable[[Any], NDArray[Any]] | None = None,
) -> SequenceResult:
    """Solve A_i x_i = b_i for many similar systems, in an order in which each helps the next.

    Chains are independent of each other: the recycled space, and the preconditioner if it is given
    as a function, begin anew with each, so that a chain can be solved elsewhere or again with the
    same result. Where the order and the space pay is a matter of the systems: when neighbours
    differ little and a solve takes many more iterations than the space has vectors.

    Parameters
    ----------
    systems : sequence or iterable of `System` or tuples (A, b) or (A, b, x0)
        A sequence (a list, `LazySystems`) is asked for each system when its turn comes; a plain
        iterable is solved as it comes and cannot be sorted.
    order : Ordering, "auto" or None
        "auto" sorts `parameters` by `order_fields`; None keeps the order given, as one chain.
    parameters : array (n, *field) or iterable of blocks, optional
        What makes the systems differ.
    recycle : RecycleSpace, optional
        Handed from solve to solve, emptied at the start of every chain.
    preconditioner : object or function, optional
        A preconditioner, whose `update(A)` is called before each solve; or a function A -> such an
        object (its class, for instance), called at the start of each chain.
    solver : function, optional
        `gcrodr` with a recycled space and `gmres` without, if not given; set their options by
        functools.partial.
    preset : "skr", optional
        As in Wang et al.: one greedy chain through `parameters` from system 0 on, GCRO-DR(40, 20)
        from zero, the 20 harmonic Ritz vectors of smallest magnitude, kept whether or not they pay.
        Sets order, recycle and solver, and starts from zero whatever x0 is given.
    rtol, atol, maxiter
        Of every solve.
    on_solution : function, optional
        Called as on_solution(index, solution) after each solve; the solutions are then not kept.
    invariant_space : function, optional
        A -> columns (size, k) spanning the space that the recycled one should contain, to record
        `Record.delta`; costs `recycle.dim` applications of A that are not counted.

    Returns
    -------
    SequenceResult

    Warns
    -----
    UnconvergedWarning
        If a system missed its tolerance.

    Raises
    ------
    SolverError
        If the arguments do not fit together. One that a system raises bears a note saying which.

    References
    ----------
    Wang, Hao et al. 2024, Accelerating data generation for neural operators via Krylov subspace
    recycling, arXiv 2401.09516.

    Examples
    --------
    >>> shifts = np.array([0.3, 0.1, 0.2])
    >>> systems = [(np.diag([1.0, 2.0, 3.0]) + s * np.eye(3), np.ones(3)) for s in shifts]
    >>> result = solve_sequence(systems, order="auto", parameters=shifts[:, None])
    >>> result.order.permutation.tolist(), result.solutions[1].round(3).tolist()
    ([1, 2, 0], [0.909, 0.476, 0.323])
    """
    starts_from_zero = preset is not None
    if preset is not None:
        order, recycle, solver = _skr(preset, order, recycle, solver, parameters)
    elif order == "auto":
        if parameters is None:
            raise SolverError("order='auto' sorts the parameters of the systems: pass parameters")
        order = order_fields(parameters)
    if solver is None:
        solver = gmres if recycle is None else gcrodr
    chain = _Chain(recycle, preconditioner, solver, invariant_space)
    options = {"rtol": rtol, "atol": atol, "maxiter": maxiter}
    solutions: dict[int, Array] = {}
    records: dict[int, Record] = {}
    for visit, system in _visits(systems, order):
        given = system._replace(x0=None) if starts_from_zero else system
        try:
            solution, record = chain.solve(visit, given, options)
        except SolverError as error:
            error.add_note(f"in system {visit.index} of the sequence")
            raise
        records[visit.index] = record
        if on_solution is None:
            solutions[visit.index] = solution.x
        else:
            on_solution(visit.index, solution)
    result = SequenceResult(
        tuple(solutions[i] for i in sorted(solutions)),
        tuple(records[i] for i in sorted(records)),
        order,
    )
    _warn(result)
    return result


@dataclass(frozen=True, slots=True)
class _Visit:
    """Which system is solved as number what, in which chain."""

    index: int
    position: int
    chain: int
    is_first: bool


def _skr(
    preset: str,
    order: Ordering | str | None,
    recycle: RecycleSpace | None,
    solver: Solver | None,
    parameters: Fields | None,
) -> tuple[Ordering, RecycleSpace, Solver]:
    """Return what the preset of Wang et al. stands for."""
    if preset != "skr":
        raise SolverError(f"preset expected 'skr' or None, got {preset!r}")
    if parameters is None or any(given is not None for given in (order, recycle, solver)):
        raise SolverError(
            "preset='skr' sets order, recycle and solver, and sorts by parameters: "
            "pass parameters and none of the others"
        )
    return (
        order_fields(parameters, method="greedy", features=None, chain_length=None),
        RecycleSpace(20, target="smallest", gives_up=False),
        partial(gcrodr, m=40, k=20),
    )


def _visits(systems: Systems, order: Ordering | None) -> Iterator[tuple[_Visit, System]]:
    """Yield the systems in their order, each made when it is asked for."""
    if order is None:
        for index, system in enumerate(systems):
            yield _Visit(index, index, 0, index == 0), system_of(system, index)
        return
    known: Any = systems
    if not (hasattr(known, "__getitem__") and hasattr(known, "__len__")):
        raise SolverError(
            f"an order needs systems that can be asked for by their number: expected a list or "
            f"LazySystems, got {type(systems).__name__}"
        )
    if len(order.permutation) != len(known):
        raise SolverError(
            f"order expected {len(known)} systems, got one of {len(order.permutation)}"
        )
    position = 0
    for number, chain in enumerate(order.chains()):
        for link, index in enumerate(chain.tolist()):
            yield _Visit(index, position, number, link == 0), system_of(known[index], index)
            position += 1


@dataclass(slots=True)
class _Chain:
    """What is carried from one system to the next."""

    recycle: RecycleSpace | None
    preconditioner: Preconditioner | Making | None
    solver: Solver
    invariant_space: Callable[[Any], NDArray[Any]] | None
    M: Preconditioner | None = None

    def solve(
        self, visit: _Visit, system: System, options: dict[str, Any]
    ) -> tuple[Solution, Record]:
        """Solve one system with what those before have left."""
        if visit.is_first and self.recycle is not None:
            self.recycle.reset()
        delta = self._delta(system)
        began = time.perf_counter()
        is_new = self._precondition(system.A, visit.is_first)
        extra: dict[str, Any] = {} if self.recycle is None else {"recycle": self.recycle}
        dim = 0 if self.recycle is None else self.recycle.dim
        solution = self.solver(system.A, system.b, x0=system.x0, M=self.M, **options, **extra)
        seconds = time.perf_counter() - began
        if len(solution.status) != 1:
            raise SolverError(
                f"a sequence expected solvers of one system, got {len(solution.status)} at once"
            )
        return solution, Record(
            visit.index,
            visit.position,
            visit.chain,
            solution.status[0],
            solution.iterations[0],
            solution.n_operator,
            solution.n_preconditioner,
            solution.residual_norm[0],
            solution.relative_residual[0],
            recycle_dim=dim,
            is_preconditioner_new=is_new,
            delta=delta,
            seconds=seconds,
        )

    def _precondition(self, A: Any, is_first: bool) -> bool:
        """Bring the preconditioner to the operator; say whether that was any work."""
        if self.preconditioner is None:
            return False
        # A class has `update` too, but makes its objects.
        given: Any = self.preconditioner
        if isinstance(given, type) or not hasattr(given, "update"):
            if is_first:
                self.M = given(A)
                return True
        else:
            self.M = given
        return self.M is not None and bool(self.M.update(A))

    def _delta(self, system: System) -> float | None:
        """Compute the angle between the recycled space A U and the space wanted."""
        if self.invariant_space is None or self.recycle is None or self.recycle.dim == 0:
            return None
        xp = array_api_compat.array_namespace(system.b)
        device = array_api_compat.device(system.b)
        rows = np.ascontiguousarray(self.recycle.columns().T).reshape(-1, *system.b.shape)
        vectors = xp.asarray(rows, dtype=system.b.dtype, device=device)
        image = LinearMap(system.A, name="A", batch_shape=(len(rows),))(vectors)
        if array_api_compat.is_cupy_array(image):
            image = image.get()
        elif array_api_compat.is_torch_array(image):
            image = image.detach().resolve_conj().cpu()
        columns = np.asarray(image).reshape(len(rows), -1).T
        return principal_angle(columns, self.invariant_space(system.A))


def _warn(result: SequenceResult) -> None:
    missed = [record for record in result.records if not record.converged]
    if missed:
        first = missed[0]
        warnings.warn(
            f"{len(missed)} of {len(result.records)} systems did not converge, the first of them "
            f"number {first.index} ({first.status.name}: {first.status.value}). "
            f"SequenceResult.unconverged names them.",
            UnconvergedWarning,
            stacklevel=3,
        )
