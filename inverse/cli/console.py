"""What commands share in talking to a person: errors in one line, progress, tables, JSON."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from inverse.errors import InverseError

__all__ = [
    "AsJson",
    "Debug",
    "one_line_errors",
    "progress",
    "say_error",
    "show_facts",
    "show_json",
    "show_table",
]

AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on standard output, nothing else.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

_INTERNAL = 1
_RESOURCES = 5
_INTERRUPTED = 130

Report = Callable[[str, int, int], None]


def say_error(message: str) -> None:
    """Print one line on standard error."""
    line = " ".join(message.split())
    print(f"inverse: {line}", file=sys.stderr)


@contextmanager
def one_line_errors(*, debug: bool) -> Iterator[None]:
    """Turn what goes wrong in a command into one line and an exit code.

    Parameters
    ----------
    debug : bool
        Print the traceback before the line.

    Raises
    ------
    typer.Exit
        With the exit code of the error.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - nothing escapes as a traceback
        if debug:
            traceback.print_exc()
        message, code = _message_and_code(error)
        say_error(message)
        raise typer.Exit(code) from None


def _message_and_code(error: BaseException) -> tuple[str, int]:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; nothing half-written is left behind", _INTERRUPTED
    if isinstance(error, InverseError):
        return str(error), error.exit_code
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; close other programs or use a device with more", _RESOURCES
    if isinstance(error, OSError):
        return f"{error.strerror or type(error).__name__}: the system refused it", _RESOURCES
    if type(error).__module__.partition(".")[0] in {"operators", "solvers"}:
        return str(error), InverseError.exit_code
    name = type(error).__name__
    return f"internal error ({name}: {error}); run again with --debug and report it", _INTERNAL


@contextmanager
def progress() -> Iterator[Report]:
    """Show progress on standard error: a bar on a terminal, else a line a quarter.

    Yields
    ------
    callable
        Called as report(stage, done, total).
    """
    if not sys.stderr.isatty():
        with _plain_lines() as lines:
            yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield report


@contextmanager
def _plain_lines() -> Iterator[Report]:
    """One line when a stage begins, one as each further quarter of it is done, and its end."""
    quarters: dict[str, int] = {}
    unsaid: dict[str, str] = {}

    def report(stage: str, done: int, total: int) -> None:
        unsaid[stage] = f"{stage} {done}/{total}"
        quarter = 4 * done // max(total, 1)
        if stage not in quarters or quarter > quarters[stage]:
            quarters[stage] = quarter
            print(unsaid.pop(stage), file=sys.stderr, flush=True)

    try:
        yield report
    finally:
        for line in unsaid.values():
            print(line, file=sys.stderr, flush=True)


def show_json(value: Mapping[str, object]) -> None:
    """Print one JSON object."""
    from inverse.provenance import json_ready

    print(json.dumps(json_ready(value), indent=2, ensure_ascii=False))


def show_facts(facts: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name, _ in facts), default=0)
    for name, value in facts:
        print(f"{name:<{width}}  {value}")


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column reads from the left, numbers from the right."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        first, *numbers = (f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        print("  ".join([f"{first.strip():<{widths[0]}}", *numbers]).rstrip())
