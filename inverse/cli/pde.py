"""`inverse pde`: data sets for neural operators, made, checked, exported and looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from inverse.cli.pde_export import export
from inverse.cli.pde_generate import generate
from inverse.cli.pde_look import plot, sort
from inverse.errors import DataError

__all__ = ["app"]

app = typer.Typer(
    help="Data sets for neural operators: generate, verify, export, sort, plot.",
    no_args_is_help=True,
)
app.command("generate")(generate)
app.command("export")(export)
app.command("plot")(plot)
app.command("sort")(sort)

DataFile = Annotated[Path, typer.Argument(metavar="FILE.h5", help="Of `inverse pde generate`.")]


@app.command("families")
def families(*, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the differential equations."""
    with one_line_errors(debug=debug):
        from operators.pde import FAMILIES, make_family

        found = {name: make_family(name) for name in sorted(FAMILIES)}
        if as_json:
            show_json(
                {n: {"equation": f.equation, "boundary": f.boundary} for n, f in found.items()}
            )
        else:
            show_table(("family", ""), [(name, f.equation) for name, f in found.items()])


@app.command("solvers")
def solvers(*, as_json: AsJson = False, debug: Debug = False) -> None:
    """List the solvers that `inverse pde generate --solver` takes."""
    with one_line_errors(debug=debug):
        from inverse.pde.solving import STRATEGIES

        words = {
            name: " ".join((make.__doc__ or "").partition("\n\n")[0].split())
            for name, (make, _) in STRATEGIES.items()
        }
        words = {"auto": "A pilot times those that can and takes the fastest.", **words}
        if as_json:
            show_json(words)
        else:
            show_facts(list(words.items()))


@app.command("verify")
def verify(file: DataFile, *, as_json: AsJson = False, debug: Debug = False) -> None:
    """Recompute every residual from the stored data; exit code 3 when one does not hold."""
    with one_line_errors(debug=debug):
        from inverse.pde.verify import verify as check

        with progress() as report:
            found = check(file, progress=report)
        counts = {
            "above the tolerance": found.above_tolerance,
            "changed since they were written": found.changed,
            "not converged": found.unconverged,
        }
        if as_json:
            show_json(
                {
                    "file": str(file),
                    "is_sound": found.is_sound,
                    "n_samples": found.n_samples,
                    "tolerance": found.tolerance,
                    "largest_residual": found.largest_residual,
                    "above_tolerance": list(found.above_tolerance),
                    "changed": list(found.changed),
                    "unconverged": list(found.unconverged),
                }
            )
        else:
            show_facts(
                [
                    ("samples", str(found.n_samples)),
                    ("largest residual", f"{found.largest_residual:.2e}"),
                    ("tolerance", f"{found.tolerance:.0e}"),
                    *((name, _listed(which)) for name, which in counts.items()),
                ]
            )
        if not found.is_sound:
            bad = next(name for name, which in counts.items() if which)
            raise DataError(f"{file}: samples {_listed(counts[bad])} are {bad}")


def _listed(samples: tuple[int, ...], shown: int = 8) -> str:
    if not samples:
        return "none"
    text = ", ".join(str(i) for i in samples[:shown])
    return text if len(samples) <= shown else f"{text} and {len(samples) - shown} more"
