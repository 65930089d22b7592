"""The command `inverse`: it parses arguments, makes the library's calls and prints."""

from __future__ import annotations

import os
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
        With 0, or 2 (usage), 3 (bad input), 4 (no usable image), 5 (resources), 130
        (interrupted).
    """
    # Threads that wait by spinning make a busy machine tens of times slower; read when torch loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from inverse.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))
