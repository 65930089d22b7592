"""`inverse info`: what a file holds, without reading more of it than that needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from pathlib import Path
from typing import Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, show_facts, show_json
from inverse.cli.options import Select, parse_select

__all__ = ["info"]


def info(
    file: Annotated[Path, typer.Argument(help="Raw data or an image.")],
    *,
    select: Select = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show what a file holds: format, matrix, coils, acceleration, geometry."""
    with one_line_errors(debug=debug):
        from inverse.io import describe

        found = describe(file, select=parse_select(select))
        if as_json:
            show_json(found)
        else:
            show_facts(list(_flat(found)))


def _flat(facts: Mapping[str, object], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in facts.items():
        if value is None or (isinstance(value, Sized) and not len(value)):
            continue  # JSON has every key; a person wants to know what there is
        name = f"{above}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name} ")
        elif isinstance(value, list | tuple):
            separator = " x " if all(isinstance(entry, int) for entry in value) else ", "
            yield name, separator.join(_shown(entry) for entry in value)
        else:
            yield name, _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
