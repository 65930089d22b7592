"""`inverse pde plot` and `inverse pde sort`: what is in a data set, and what sorting it buys."""

from __future__ import annotations

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
from inverse.cli.files import check_file, refuse_collisions
from inverse.errors import UsageError

if TYPE_CHECKING:
    from inverse.pde.sorting_gain import ChainRun, Hops

__all__ = ["plot", "sort"]

DataFile = Annotated[Path, typer.Argument(metavar="FILE.h5", help="Of `inverse pde generate`.")]


def plot(
    file: DataFile,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE.png", help="The picture to write.")
    ],
    samples: Annotated[
        str, typer.Option(metavar="I,J,...", help="Which samples, one row each.")
    ] = "0,1,2",
    debug: Debug = False,
) -> None:
    """Draw parameters and solutions side by side."""
    with one_line_errors(debug=debug):
        check_file(output, "-o", (".png",))
        refuse_collisions({"FILE": file}, {"-o": output})
        from inverse.pde.plot import plot as draw
        from inverse.pde.store import open_data_set

        with open_data_set(file) as data:
            draw(data, _parse_samples(samples), output)


def _parse_samples(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--samples expected numbers such as 0,1,2, got '{text}'")
    return [int(part) for part in parts]


def sort(
    file: DataFile,
    *,
    method: Annotated[str, typer.Option(metavar="hilbert|greedy")] = "hilbert",
    chain: Annotated[int, typer.Option(min=2, help="Samples to solve in each order.")] = 64,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show how much nearer sorting brings samples, and what that saves solvers that learn.

    Solves a chain of samples twice, in the order of the file and in the sorted order, with the
    data set's tolerance. The file is not changed.
    """
    with one_line_errors(debug=debug):
        from inverse.pde.sorting_gain import LEARNERS, SOLVERS, hops, run_chain, sorted_order
        from inverse.pde.store import open_data_set

        with open_data_set(file) as data, progress() as report:
            n = min(chain, len(data))
            order = sorted_order(data.plan, method, n)
            found = hops(data, order)
            start = len(data) // n // 2 * n  # a chain in the middle, and a whole one
            start -= n if start + n > len(data) else 0
            chains = {"file": range(n), method: order[start : start + n].tolist()}
            wanted = [
                (name, words)
                for name in SOLVERS
                for words in (chains if name in LEARNERS else ("file",))
            ]
            runs: dict[tuple[str, str], ChainRun] = {}
            for name, words in wanted:
                runs[name, words] = run_chain(data, chains[words], name)
                report("solving chains", len(runs), len(wanted))
        if as_json:
            show_json(_as_json(file, method, found, runs))
        else:
            _show(method, found, runs)


def _show(method: str, found: Hops, runs: dict[tuple[str, str], ChainRun]) -> None:
    show_facts(
        [
            ("mean hop, file order", f"{found.in_file:.4g}"),
            (f"mean hop, {method}", f"{found.in_order:.4g} ({found.ratio:.2f} of the file's)"),
        ]
    )
    rows = [
        (
            name,
            words,
            f"{run.iterations:.1f}",
            f"{run.n_operator:.1f}",
            f"{run.milliseconds:.2f}",
            f"{run.n_converged}/{run.n_samples}",
            run.note,
        )
        for (name, words), run in runs.items()
    ]
    head = ("a sample, mean", "order", "iterations", "applications", "ms", "solved", "")
    show_table(head, rows)


def _as_json(
    file: Path, method: str, found: Hops, runs: dict[tuple[str, str], ChainRun]
) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "file": str(file),
        "method": method,
        "mean_hop_file": found.in_file,
        "mean_hop_sorted": found.in_order,
        "chains": [
            {"solver": name, "order": words, **asdict(run)} for (name, words), run in runs.items()
        ],
    }
