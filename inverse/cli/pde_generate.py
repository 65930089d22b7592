"""`inverse pde generate`: a family of differential equations to a verified data set."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inverse.cli.console import (
    AsJson,
    Debug,
    one_line_errors,
    progress,
    show_facts,
    show_json,
    show_table,
)
from inverse.cli.options import parse_settings
from inverse.errors import ConvergenceError, UsageError

if TYPE_CHECKING:
    from inverse.pde.generate import Made
    from inverse.pde.pilot import Trial
    from inverse.pde.plan import Plan
    from inverse.pde.workers import Runner

__all__ = ["generate"]

_DEFAULTS: dict[str, object] = {
    "n": 100,
    "grid": "64x64",
    "solver": "auto",
    "tol": 1e-10,
    "seed": 0,
    "sort": "auto",
    "chain": 0,
    "set": {},
}


def generate(
    family: Annotated[
        str | None,
        typer.Argument(metavar="FAMILY", help="`inverse pde families` lists them."),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.h5", help="The data set to write.")
    ],
    n: Annotated[int | None, typer.Option("-n", help="Samples.  [default: 100]")] = None,
    grid: Annotated[
        str | None,
        typer.Option(metavar="N|NxM|NxMxK", help="Points along y, x or z, y, x.  [default: 64]"),
    ] = None,
    solver: Annotated[
        str | None,
        typer.Option(help="A name of `inverse pde solvers`, or auto: a pilot chooses."),
    ] = None,
    tol: Annotated[
        float | None,
        typer.Option(help="Largest relative residual of any sample.  [default: 1e-10]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all samples' seeds.")] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="auto|none|greedy|hilbert", help="Order of solving."),
    ] = None,
    chain: Annotated[
        int | None, typer.Option(help="Samples a chain, the unit of resuming; 0 chooses.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the family; repeatable."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="The same options from a file; those here prevail."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, one thread each.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="A Dask cluster instead.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="i/n", help="Only every n-th chain from i (0..n-1): array jobs."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Generate a data set; repeat the command to go on after an interruption.

    The file holds parameters and solutions in double precision, in sample order, with a record a
    sample. Its bytes depend on the family, n, grid, solver, tolerance, seed, sort and chain alone.
    """
    with one_line_errors(debug=debug):
        given = {
            "family": family,
            "n": n,
            "grid": grid,
            "solver": solver,
            "tol": tol,
            "seed": seed,
            "sort": sort,
            "chain": chain,
            "set": parse_settings(settings) or None,
        }
        asked = _DEFAULTS | _read_config(config) | {k: v for k, v in given.items() if v is not None}
        if asked.get("family") is None:
            raise UsageError("which FAMILY? `inverse pde families` lists them")
        part = _parse_shard(shard)
        from inverse.pde.generate import check_target
        from inverse.pde.generate import generate as make

        check_target(output, overwrite=overwrite)
        with progress() as report:
            plan, trials = _plan(asked, output, report)
            made = make(
                plan,
                output,
                runner=_runner(workers, scheduler),
                shard=part,
                overwrite=overwrite,
                progress=report,
            )
        _show(plan, made, trials, as_json=as_json)
        if made.unconverged:
            raise ConvergenceError(
                f"{output}: {len(made.unconverged)} of {plan.n_samples} samples did not reach "
                f"{plan.tolerance:g} by any solver and are NaN in the file, sample "
                f"{made.unconverged[0]} first"
            )


def _read_config(file: Path | None) -> dict[str, object]:
    if file is None:
        return {}
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: no readable TOML ({error})") from error
    unknown = set(found) - set(_DEFAULTS) - {"family"}
    if unknown:
        raise UsageError(
            f"{file}: unknown {', '.join(sorted(unknown))}; "
            f"there are family, {', '.join(_DEFAULTS)}"
        )
    return found


def _parse_shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal()) or not int(i) < int(n):
        raise UsageError(f"--shard expected i/n with 0 <= i < n, got '{text}'")
    return int(i), int(n)


def parse_grid(text: object) -> tuple[int, ...]:
    """Read 64, 64x64 or 32x32x32; one number is a square.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    parts = str(text).lower().split("x")
    if not 1 <= len(parts) <= 3 or not all(p.isdecimal() and int(p) > 1 for p in parts):
        raise UsageError(f"--grid expected N, NxM or NxMxK with 2 or more points, got '{text}'")
    sizes = tuple(int(p) for p in parts)
    return sizes * 2 if len(sizes) == 1 else sizes


def _plan(asked: Mapping[str, object], output: Path, report: object) -> tuple[Plan, list[Trial]]:
    """Return the plan; that of parts which are there already if it is what is asked for."""
    from inverse.pde.parts import agreed_plan, parts_folder, plan_in
    from inverse.pde.pilot import choose_solver, pilot
    from inverse.pde.plan import Plan
    from inverse.pde.solving import STRATEGIES

    solver, sort = str(asked["solver"]), str(asked["sort"])
    if solver != "auto" and solver not in STRATEGIES:
        raise UsageError(f"no solver {solver!r}; there are auto, {', '.join(STRATEGIES)}")
    plan = Plan(
        family=str(asked["family"]),
        shape=parse_grid(asked["grid"]),
        n_samples=int(str(asked["n"])),
        solver="direct" if solver == "auto" else solver,
        settings=asked["set"],  # type: ignore[arg-type]
        seed=int(str(asked["seed"])),
        tolerance=float(str(asked["tol"])),
        sort="none" if sort == "auto" else sort,
        chain_length=int(str(asked["chain"])),
    )
    trials: list[Trial] = []
    if solver == "auto":
        begun = plan_in(parts_folder(output))
        if begun is not None and begun == replace(plan, solver=begun.solver, sort=begun.sort):
            return begun, trials
        trials = pilot(plan, progress=report)  # type: ignore[arg-type]
        plan = replace(plan, solver=choose_solver(trials))
    if sort == "auto" and STRATEGIES[plan.solver][0]().learns:
        plan = replace(plan, sort="hilbert")
    return (agreed_plan(plan, output) if solver == "auto" else plan), trials


def _runner(workers: int, scheduler: str | None) -> Runner:
    from inverse.pde.workers import Cluster, Here, Processes

    if scheduler is not None:
        return Cluster(scheduler)
    return Here() if workers == 1 else Processes(workers)


def _show(plan: Plan, made: Made, trials: list[Trial], *, as_json: bool) -> None:
    if as_json:
        show_json(
            {
                "file": str(made.path),
                "is_complete": made.is_complete,
                "n_solved": made.n_solved,
                "n_kept": made.n_kept,
                "unconverged": list(made.unconverged),
                "solver": plan.solver,
                "sort": plan.sort,
                "milliseconds_per_sample": 1e3 * made.seconds / max(made.n_solved, 1),
                "pilot": [
                    {"solver": t.solver, "milliseconds": t.milliseconds, "converged": t.converged}
                    for t in trials
                ],
            }
        )
        return
    if trials:
        rows = [
            (
                t.solver,
                f"{t.milliseconds:.2f}",
                f"{t.iterations:.1f}",
                "" if t.converged else "did not converge",
            )
            for t in trials
        ]
        show_table(("pilot", "ms a sample", "iterations", ""), rows)
    milliseconds = 1e3 * made.seconds / max(made.n_solved, 1)
    facts = [
        ("samples", f"{made.n_solved} solved, {made.n_kept} found from an earlier run"),
        ("solver", f"{plan.solver}, {milliseconds:.2f} ms of processor time a sample"),
        ("order", plan.sort),
        (
            "written",
            str(made.path) if made.is_complete else f"{made.path}.parts (chains are missing)",
        ),
    ]
    show_facts(facts)
