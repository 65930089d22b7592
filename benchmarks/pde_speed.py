"""Speed of `solver="auto"` of the generator against peers, 200 systems a family, one thread.

For both sides the systems are drawn and assembled beforehand: ours as operators (and as matrices
where the strategy factorises), the peers' as CSR matrices. Timed is the solve with its set-up:
transforms, hierarchies, orderings, factors. What assembly costs is told in a column of its own.

    python -m benchmarks.pde_speed [--only NAME ...] [--systems N]
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.measure import RESULTS, Table, one_thread
from benchmarks.pde_peers import PEERS, Peer, System, petsc
from inverse.pde.chain import batch_for, relative_residuals
from inverse.pde.chains import order_of
from inverse.pde.drawing import draw
from inverse.pde.pilot import choose_solver, pilot
from inverse.pde.plan import Plan
from inverse.pde.solving import STRATEGIES
from inverse.pde.strategies import Strategy, is_definite
from operators.pde import LinearSystems

MARGIN = 0.9
"""The generator's strategies are asked for a little less than the tolerance; so are they here."""

PATIENCE = 2.0
"""CPU seconds that a peer may take for a family; what it has solved until then counts."""

N_PETSC = 3


@dataclass(frozen=True, slots=True)
class Case:
    """A family at a size, and what the best peer's time over ours has to be at least.

    `n` limits the systems of large ones, `against` names the peers that count (all by default) and
    `petsc` the preconditioners of PETSc's GMRES(40).
    """

    name: str
    family: str
    shape: tuple[int, ...]
    tolerance: float
    ratio: float
    n: int = 200
    settings: Mapping[str, object] = field(default_factory=dict)
    against: tuple[str, ...] = ()
    petsc: tuple[str, ...] = ()

    def plan(self, n: int) -> Plan:
        """Return what the generator would be given."""
        return Plan(self.family, self.shape, n, "direct", self.settings, tolerance=self.tolerance)


NEVER_SLOWER = 1 / 1.1
ALL_PC = ("jacobi", "sor", "ilu")
WAVES = {"wave_number": 40.0, "contrast": 0.2}

CASES = (
    Case("Darcy log-normal 64^2", "darcy", (64, 64), 1e-8, 4.0, petsc=ALL_PC),
    Case("Darcy log-normal 128^2", "darcy", (128, 128), 1e-8, 4.0, petsc=ALL_PC),
    Case("Darcy two-phase 128^2", "darcy-two-phase", (128, 128), 1e-8, 1.2, petsc=ALL_PC),
    Case("Darcy two-phase 256^2", "darcy-two-phase", (256, 256), 1e-8, 1.2, n=24),
    Case(
        "Darcy log-normal 32^3",
        "darcy",
        (32, 32, 32),
        1e-8,
        3.0,
        n=64,
        against=("SciPy CG + Jacobi",),
        petsc=ALL_PC,
    ),
    Case("Helmholtz k 40 96^2", "helmholtz", (96, 96), 1e-6, 2.0, settings=WAVES),
    Case("Poisson 64^2", "poisson", (64, 64), 1e-8, 10.0, against=("SuperLU", "PARDISO")),
    Case("convection-diffusion 64^2", "convection-diffusion", (64, 64), 1e-8, NEVER_SLOWER),
    Case("elasticity 32^2", "elasticity", (32, 32), 1e-8, NEVER_SLOWER),
    Case("heat-transient 64^2", "heat-transient", (64, 64), 1e-8, NEVER_SLOWER),
    Case("Fisher-KPP 64^2", "fisher-kpp", (64, 64), 1e-8, NEVER_SLOWER),
    Case("skr_darcy 50^2", "skr_darcy", (52, 52), 1e-8, NEVER_SLOWER),
)


@dataclass(slots=True)
class Clock:
    """CPU milliseconds a system of every block, iterations, and the largest true residual."""

    milliseconds: list[float] = field(default_factory=list)
    n_systems: int = 0
    residual: float = 0.0
    iterations: int = 0

    def add(self, seconds: float, n: int, residual: float) -> None:
        """Count n systems that took so long together."""
        self.milliseconds.append(1e3 * seconds / n)
        self.n_systems += n
        self.residual = max(self.residual, residual)

    @property
    def median(self) -> float:
        """Of the blocks."""
        return float(np.median(self.milliseconds))

    @property
    def spent(self) -> float:
        """Seconds in all, about."""
        return 1e-3 * self.n_systems * float(np.mean(self.milliseconds or [0.0]))


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Some systems for both sides, and the seconds of their assembly as operator and as CSR."""

    ours: LinearSystems
    theirs: tuple[System, ...]
    assembly: float
    matrices: float


def blocks(plan: Plan, n_systems: int, size: int, *, is_sorted: bool) -> Sequence[Block]:
    """Draw and assemble; the steps of a march are systems too, from states solved for here."""
    family = plan.equation
    n_samples = max(n_systems // family.n_steps, min(size, n_systems))
    n_steps = min(family.n_steps, math.ceil(n_systems / n_samples))
    few = replace(plan, n_samples=n_samples, sort="greedy" if is_sorted else "none")
    order = order_of(few)
    found: list[Block] = []
    for start in range(0, few.n_samples, size):
        parameters = draw(few, order[start : start + size].tolist())
        state = family.initial(plan.grid, parameters)
        for step in range(n_steps):
            began = time.process_time()
            systems = family.systems(plan.grid, parameters, state, step)
            assembled = time.process_time()
            matrices = [systems.matrix(i) for i in range(len(systems.rhs))]
            spent = (assembled - began, time.process_time() - assembled)
            theirs = tuple(
                System(A, b.numpy().ravel()) for A, b in zip(matrices, systems.rhs, strict=True)
            )
            found.append(Block(replace(systems, matrix=matrices.__getitem__), theirs, *spent))
            if n_steps > 1:
                state = STRATEGIES["direct"][0]().solve(found[-1].ours, 1e-12).x
    return found


def race(case: Case, solver: str, many: Sequence[Block], peers: Sequence[Peer]) -> dict[str, Clock]:
    """Let everyone solve block after block in turn, after a first round that does not count."""
    clocks = {name: Clock() for name in ("ours", *(peer.name for peer in peers))}
    _solve_ours(Clock(), STRATEGIES[solver][0](), many[0], case.tolerance)
    for peer in peers:
        peer.solve(many[0].theirs[0], case.tolerance)
    strategy = STRATEGIES[solver][0]()
    for block in many:
        _solve_ours(clocks["ours"], strategy, block, case.tolerance)
        for peer in peers:
            if clocks[peer.name].spent < PATIENCE:
                _solve_theirs(clocks[peer.name], peer, block, case.tolerance)
    return clocks


def _solve_ours(clock: Clock, strategy: Strategy, block: Block, tolerance: float) -> None:
    started = time.process_time()
    answer = strategy.solve(block.ours, MARGIN * tolerance)
    spent = time.process_time() - started
    residuals = relative_residuals(block.ours, answer.x)
    clock.add(spent, len(block.theirs), float(residuals.max()))
    clock.iterations += int(answer.iterations.sum())


def _solve_theirs(clock: Clock, peer: Peer, block: Block, tolerance: float) -> None:
    answers = []
    started = time.process_time()
    for system in block.theirs:
        answers.append(peer.solve(system, tolerance))
        if time.process_time() - started > PATIENCE:
            break
    spent = time.process_time() - started
    worst = max(
        float(np.linalg.norm(s.b - s.A @ x) / np.linalg.norm(s.b))
        for s, x in zip(block.theirs, answers, strict=False)
    )
    clock.add(spent, len(answers), worst)


def fitting(many: Sequence[Block]) -> list[Peer]:
    """Return the peers that can solve such systems."""
    is_complex = many[0].ours.rhs.is_complex()
    definite = is_definite(many[0].ours)
    return [
        peer
        for peer in PEERS
        if (definite or not peer.is_for_definite_only)
        and not (is_complex and peer.is_for_real_only)
    ]


def measure(case: Case, n: int, table: Table) -> None:
    """Choose a solver, race it against the peers, and enter both."""
    n = min(n, case.n)
    plan = case.plan(n)
    solver = choose_solver(pilot(plan))
    learns = STRATEGIES[solver][0]().learns
    many = blocks(plan, n, 1 if learns else batch_for(plan), is_sorted=learns)
    clocks = race(case, solver, many, fitting(many))
    ours = clocks.pop("ours")
    assembly = 1e3 * float(np.median([b.assembly / len(b.theirs) for b in many]))
    matrices = 1e3 * float(np.median([b.matrices / len(b.theirs) for b in many]))
    table.add(
        case.name,
        f"ours: {solver}",
        ours.median,
        1.0,
        ours.n_systems,
        ours.iterations / ours.n_systems,
        ours.residual,
        f"{assembly:.2g}",
    )
    for name, clock in clocks.items():
        table.add(
            case.name,
            name,
            clock.median,
            clock.median / ours.median,
            clock.n_systems,
            "",
            clock.residual,
            f"{assembly + matrices:.2g}",
        )
    solved = [name for name, clock in clocks.items() if clock.residual <= 2 * case.tolerance]
    rivals = [name for name in case.against or clocks if name in solved]
    table.judge(
        f"{case.name}: time over the best of {', '.join(rivals)}",
        ours.median / min(clocks[name].median for name in rivals),
        1 / case.ratio,
    )
    if case.petsc:
        judge_petsc(case, many, ours, table)


def judge_petsc(case: Case, many: Sequence[Block], ours: Clock, table: Table) -> None:
    """Enter PETSc's GMRES(40), a process of its own after the others, on a few of the systems."""
    few = [system for block in many for system in block.theirs][:N_PETSC]
    found = petsc(few, case.tolerance, case.petsc)
    if isinstance(found, str):
        table.verdicts.append(f"{case.name}: PETSc left out: {found}")
        return
    for name, entry in found.items():
        table.add(
            case.name,
            f"PETSc GMRES(40) + {name}",
            entry["ms"],
            entry["ms"] / ours.median,
            len(few),
            entry["iterations"],
            entry["residual"],
            "",
        )
    best = min(entry["ms"] for entry in found.values())
    table.judge(f"{case.name}: time over PETSc's best GMRES(40)", ours.median / best, 1 / 3)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="+", default=[], help="cases whose names contain this")
    parser.add_argument("--systems", type=int, default=200, help="systems a family")
    wanted = parser.parse_args()
    cases = [c for c in CASES if not wanted.only or any(word in c.name for word in wanted.only)]
    table = Table(
        "pde_speed",
        'solver="auto" against peers: CPU milliseconds a system',
        (
            "systems",
            "solver",
            "ms",
            "over ours",
            "solved",
            "iterations",
            "largest residual",
            "assembly ms",
        ),
        "Median over blocks of systems that all solve in turn; peers stop after "
        f"{PATIENCE:g} s of a family, and PETSc solves {N_PETSC} in a process of its own. Set-up "
        "is inside, assembly outside for both sides and in the last column: of our operator, and "
        "for the peers of the CSR matrix from it. Residuals are recomputed; who misses the "
        "tolerance is no rival. A family's rows are of one process, families may be of several.",
    )
    try:
        for case in cases:
            measure(case, wanted.systems, table)
            print(f"{case.name}: done", flush=True)
    finally:  # an interrupted run leaves what it has
        keep_others(table)
        table.write()


def keep_others(table: Table) -> None:
    """Add the cases of earlier runs that this one has not measured, in the order of `CASES`."""
    path = RESULTS / f"{table.name}.json"
    earlier = json.loads(path.read_text()) if path.exists() else {"rows": [], "targets": []}
    new = {str(row[0]) for row in table.rows}
    rows = [*table.rows, *(row for row in earlier["rows"] if row[0] not in new)]
    verdicts = [
        *table.verdicts,
        *(text for text in earlier["targets"] if text.split(":")[0] not in new),
    ]
    place = {case.name: i for i, case in enumerate(CASES)}
    table.rows = sorted(rows, key=lambda row: place[str(row[0])])
    table.verdicts = sorted(verdicts, key=lambda text: place[text.split(":")[0]])


if __name__ == "__main__":
    one_thread()
    main()
