"""What sorting and recycling save on the published problems, and on waves: applications of A.

Every application counts: the images of the recycled space under each new operator, the residual
recomputed at the end, the first system of a sequence. Each case writes its own table, row by row:

    python -m benchmarks.skr darcy-2500 darcy-10000 helmholtz-0.2-modes delta ratios
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Table, one_thread
from operators.pde import make_family
from solvers import (
    Ordering,
    RecycleSpace,
    SequenceResult,
    UnconvergedWarning,
    gcrodr,
    gmres,
    order_fields,
    solve_sequence,
)
from solvers.preconditioners import Factorised, IncompleteLU, Jacobi
from solvers.sequence import Making

CAP = 10_000
"""Largest number of steps of GMRES(40), as published."""

MOST_STEPS = 1000
"""Largest number of steps of a solver on waves."""

Matrix: TypeAlias = Any
"""A sparse array of SciPy, which has no types."""

restarted = partial(gmres, restart=40)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Systems of a family, and the fields that they are sorted by."""

    systems: list[tuple[Matrix, NDArray[np.generic]]]
    fields: NDArray[np.float64]

    @property
    def n(self) -> int:
        """Number of unknowns."""
        return int(self.systems[0][1].size)


def drawn(
    name: str, shape: tuple[int, int], n_systems: int, field: str, **settings: object
) -> Drawn:
    """Draw systems with seeds 0, 1, ...; `field` names the parameter to sort by."""
    family = make_family(name, **settings)
    grid = family.grid(shape)
    samples = [family.draw(grid, np.random.default_rng(i)) for i in range(n_systems)]
    parameters = {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
    made = family.systems(grid, parameters)
    systems = [(made.matrix(i), made.rhs[i].numpy().ravel()) for i in range(n_systems)]
    return Drawn(systems, parameters[field])


def timed(run: Callable[[], SequenceResult]) -> tuple[SequenceResult, NDArray[np.int64], float]:
    """Return the result, the applications of A for each system and CPU milliseconds a system."""
    start = time.process_time()
    result = run()
    counts = np.array([record.n_operator for record in result.records])
    return result, counts, 1e3 * (time.process_time() - start) / len(counts)


def published(sequence: Drawn, rtol: float, M: Making | None = None) -> SequenceResult:
    """Sort and recycle as published."""
    return solve_sequence(
        sequence.systems, preset="skr", parameters=sequence.fields, preconditioner=M, rtol=rtol
    )


def darcy(side: int, n_systems: int, n_gmres: int, limit: float) -> None:
    """Measure the problem called Darcy to 1e-5 without a preconditioner."""
    sequence = drawn("skr_darcy", (side, side), n_systems, "coefficient")
    n, systems, rtol = sequence.n, sequence.systems, 1e-5
    table = Table(
        name=f"skr.darcy-{n}" + ("" if n_systems > n_gmres else "-few"),
        title=f"skr_darcy, n = {n}, to {rtol:g} without a preconditioner: applications of A",
        columns=("solver", "systems", "mean", "median", "most", "unconverged", "CPU ms a system"),
        note=f"GMRES(40) is stopped at {CAP} steps: where some are unconverged its figures are "
        "lower bounds. Published for 100 systems: GMRES(40) 3983 (n = 2500) and 9375 (n = 10000), "
        "sorted and recycled 183 and 682. The ratios are of the systems that both solved.",
    )
    deflated = partial(gcrodr, m=40, k=20)
    runs: dict[str, Callable[[], SequenceResult]] = {
        'GCRO-DR(40, 20), preset="skr"': partial(published, sequence, rtol),
        "GMRES(40)": lambda: solve_sequence(
            systems[:n_gmres], solver=restarted, rtol=rtol, maxiter=CAP
        ),
        "GCRO-DR(40, 20), unsorted": lambda: solve_sequence(
            systems, recycle=RecycleSpace(20, gives_up=False), solver=deflated, rtol=rtol
        ),
        "GCRO-DR(40, 20), nothing recycled": lambda: solve_sequence(
            systems, solver=deflated, rtol=rtol
        ),
    }
    counts = {}
    for name, run in runs.items():
        result, counts[name], milliseconds = timed(run)
        mean, median, most = map(float, _summary(counts[name]))
        missed = len(result.unconverged)
        table.add(name, len(counts[name]), mean, median, most, missed, milliseconds)
        if len(counts) == 1:
            table.judge("sorted and recycled, mean", mean, limit)
        table.write()
    ours, theirs = next(iter(counts.values()))[:n_gmres], counts["GMRES(40)"]
    for what, of in (("mean", np.mean), ("median", np.median)):
        table.judge(f"sorted over GMRES(40), {what}", float(of(ours) / of(theirs)), 1 / 6)
    table.write()


def _summary(counts: NDArray[np.int64]) -> tuple[Any, Any, Any]:
    return counts.mean(), np.median(counts), counts.max()


def helmholtz(contrast: float, medium: str, n_systems: int) -> None:
    """Measure waves of k_0 = 50, 12 points a wavelength, both orders on the same systems."""
    table = Table(
        name=f"skr.helmholtz-{contrast:g}-{medium}",
        title=f"Helmholtz, k_0 = 50, contrast {contrast:g}, 96 x 96, Sommerfeld walls, to 1e-6",
        columns=("medium", "solver", "order", "hop", "applications", "factorisations", "missed"),
        note=f"{n_systems} systems, the same in every order; applications of A a system. Shared: "
        "one LU of the mean of k^2 preconditions all. Lagged: an LU made anew when the last solve "
        "took more than 12 applications of it. Hop: mean distance of neighbours over that of a "
        "random order. GCRO-DR(40, 15) counts 15 applications a system for its space. "
        f"Missed: not solved within {MOST_STEPS} steps, whose applications count all the same.",
    )
    deflated = partial(gcrodr, m=40, k=15)
    settings = {"wave_number": 50.0, "contrast": contrast, "medium": medium}
    sequence = drawn("helmholtz", (96, 96), n_systems, "wave_number", **settings)
    squares, systems = sequence.fields**2, sequence.systems
    family = make_family("helmholtz", **settings)
    mean = family.systems(
        family.grid((96, 96)), {"wave_number": np.sqrt(squares.mean(axis=0))[None]}
    ).matrix(0)
    orders: dict[str, Ordering | None] = {
        "as drawn": None,
        "greedy": order_fields(squares, method="greedy", features=None, chain_length=None),
    }
    recycled: dict[str, float] = {}
    shared = Factorised(mean, lag="shared")
    plain = partial(solve_sequence, systems, rtol=1e-6, maxiter=MOST_STEPS)
    solvers: list[tuple[str, Sequence[str], Callable[..., SequenceResult]]] = [
        (
            "GCRO-DR(40, 15), shared LU",
            list(orders),
            partial(plain, solver=deflated, preconditioner=shared),
        ),
        ("GMRES(40), lagged LU", list(orders), partial(plain, preconditioner=_lagged)),
        ("GMRES(40), shared LU", ["as drawn"], partial(plain, preconditioner=shared)),
    ]
    for solver, wanted, run in solvers:
        for name in wanted:
            is_recycled = solver.startswith("GCRO")
            space = {"recycle": RecycleSpace(15, gives_up=False)} if is_recycled else {}
            order = orders[name]
            result, counts, _ = timed(partial(run, order=order, **space))
            made = sum(record.is_preconditioner_new for record in result.records)
            hop = 1.0 if order is None else order.gain
            mean_count, missed = float(counts.mean()), len(result.unconverged)
            table.add(medium, solver, name, hop, mean_count, made or "1 for all", missed)
            if is_recycled:
                recycled[name] = mean_count
            table.write()
    table.judge(f"{medium}: sorted over unsorted", recycled["greedy"] / recycled["as drawn"], 0.85)
    table.write()


def _lagged(A: Matrix) -> Factorised:
    return Factorised(A, lag="lagged", refactor_after=12)


def smallest_eigenspace(A: Matrix) -> NDArray[np.float64]:
    """Return an orthonormal basis of the invariant space of the 20 smallest eigenvalues."""
    from scipy.sparse.linalg import eigs

    vectors = eigs(A.tocsc().astype(np.float64), k=20, sigma=0.0)[1]
    # Real and imaginary parts span what the conjugate pairs of a real matrix do.
    return np.asarray(np.linalg.svd(np.hstack([vectors.real, vectors.imag]))[0][:, :20])


def delta(n_systems: int) -> None:
    """Measure how far the recycled space is from the invariant one, sorted and unsorted."""
    sequence = drawn("skr_darcy", (34, 34), n_systems, "coefficient")
    greedy = order_fields(sequence.fields, method="greedy", features=None, chain_length=None)
    table = Table(
        name="skr.delta",
        title=f"skr_darcy, n = {sequence.n}, to 1e-8 without a preconditioner: delta",
        columns=("order", "systems", "hop", "delta", "largest delta", "applications"),
        note="delta is the sine of the largest angle from the invariant space of the 20 smallest "
        "eigenvalues to A U, mean over all systems but the first. Published (n = 10000, SOR, "
        "1e-8): 0.90 sorted, 0.95 unsorted, with 9 % fewer iterations sorted.",
    )
    means = []
    for name, order in (("greedy", greedy), ("as drawn", None)):
        result, counts, _ = timed(
            partial(
                solve_sequence,
                sequence.systems,
                order=order,
                recycle=RecycleSpace(20, gives_up=False),
                solver=partial(gcrodr, m=40, k=20),
                rtol=1e-8,
                invariant_space=smallest_eigenspace,
            )
        )
        angles = np.array([r.delta for r in result.records if r.delta is not None])
        means.append(float(angles.mean()))
        hop = 1.0 if order is None else order.gain
        applications = float(counts.mean())
        table.add(name, len(counts), hop, means[-1], float(angles.max()), applications)
        table.write()
    table.judge("delta, sorted over unsorted", means[0] / means[1], 1.0)
    table.write()


PROBLEMS = (
    ("skr_darcy", (52, 52), "coefficient", 1e-8, "6400", ("2.70/19.1", "3.09/22.9", "3.70/17.2")),
    (
        "skr_helmholtz",
        (52, 52),
        "coefficient",
        1e-7,
        "10000",
        ("6.47/13.7", "7.96/18.1", "6.34/28.0"),
    ),
    ("skr_thermal", (66, 42), "sides", 1e-8, "11063", ("5.35/23.6", "3.06/13.5", "2.69/11.1")),
    ("skr_poisson", (52, 52), "chebyshev", 1e-8, "71313", ("1.74/6.3", "1.75/6.3", "1.30/4.9")),
)
"""Problem, points an axis, what sorts it, tolerance, published size and time/iteration ratios."""


def ratios(n_systems: int) -> None:
    """Measure what the published table does: GMRES(40) over sorted GCRO-DR, one preconditioner."""
    table = Table(
        name="skr.ratios",
        title="GMRES(40) over sorted, recycled GCRO-DR(40, 20), with the same preconditioner",
        columns=(
            *("problem", "n", "tolerance", "M", "GMRES(40)", "capped", "ours"),
            *("applications ratio", "CPU ratio", "published n", "published time/iterations"),
        ),
        note=f"{n_systems} systems a line; mean applications of A a system, images of the space "
        f"and first system included. GMRES(40) is stopped at {CAP} steps: where some are capped "
        "the ratio is a lower bound. The published ratios are of larger systems, 100 of them, wall "
        "time of PETSc on many processes, the images not counted. M is on the right; ILU is "
        "ILU(0). thermal and poisson have one matrix for all systems: one factorisation is the "
        "right solver for them.",
    )
    for name, shape, field, rtol, size, headline in PROBLEMS:
        sequence = drawn(name, shape, n_systems, field)
        for (label, M), figure in zip(
            (("none", None), ("Jacobi", Jacobi), ("ILU", IncompleteLU)), headline, strict=True
        ):
            _, ours, our_time = timed(partial(published, sequence, rtol, M))
            result, theirs, their_time = timed(
                partial(
                    solve_sequence,
                    sequence.systems,
                    solver=restarted,
                    preconditioner=M,
                    rtol=rtol,
                    maxiter=CAP,
                )
            )
            table.add(
                *(name, sequence.n, f"{rtol:g}", label, float(theirs.mean())),
                *(len(result.unconverged), float(ours.mean())),
                *(float(theirs.mean() / ours.mean()), their_time / our_time, size, figure),
            )
            table.write()


CASES: dict[str, Callable[[], None]] = {
    "darcy-2500": partial(darcy, 52, 40, 10, 225.0),
    "darcy-10000": partial(darcy, 102, 40, 4, 700.0),
    "darcy-10000-few": partial(darcy, 102, 4, 4, 700.0),
    "helmholtz-0.2-modes": partial(helmholtz, 0.2, "modes", 60),
    "helmholtz-0.2-random": partial(helmholtz, 0.2, "random", 60),
    "helmholtz-0.4-modes": partial(helmholtz, 0.4, "modes", 30),
    "helmholtz-0.4-random": partial(helmholtz, 0.4, "random", 30),
    "helmholtz-0.8-modes": partial(helmholtz, 0.8, "modes", 12),
    "helmholtz-0.8-random": partial(helmholtz, 0.8, "random", 12),
    "delta": partial(delta, 20),
    "ratios": partial(ratios, 4),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=list(CASES))
    warnings.simplefilter("ignore", UnconvergedWarning)
    for case in parser.parse_args().cases:
        CASES[case]()


if __name__ == "__main__":
    one_thread()
    main()
