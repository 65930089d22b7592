"""The command `inverse`: it parses arguments, makes the library's calls and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process when left out.

    Raises
    ------
    SystemExit
        With 0, or 2 (usage), 3 (bad input), 4 (did not converge), 5 (resources), 130 (interrupted).
    """
    from inverse.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
