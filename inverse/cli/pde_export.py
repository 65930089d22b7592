"""`inverse pde export`: a data set as neural-operator libraries read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, show_facts, show_json

__all__ = ["export"]


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="Of `inverse pde generate`.")],
    *,
    to: Annotated[
        str, typer.Option(metavar="neuraloperator|pdebench|the-well", help="Who is to read it.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A folder; for pdebench a file in .hdf5."
        ),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write a data set in single precision and sample order; refused if a sample is not solved."""
    with one_line_errors(debug=debug):
        from inverse.pde.export import TARGETS
        from inverse.pde.export import export as write
        from inverse.pde.store import open_data_set

        with open_data_set(file) as data:
            written = write(data, to, output, overwrite=overwrite)
            n, grid = len(data), data.plan.grid.shape
        if as_json:
            show_json({"to": to, "samples": n, "grid": grid, "files": [str(f) for f in written]})
            return
        show_facts(
            [
                ("samples", f"{n} on a grid {' x '.join(map(str, grid))}, float32"),
                *(("wrote", str(path)) for path in written),
                ("read by", TARGETS[to].reads),
            ]
        )
