"""The table of commands, and how every failure becomes one line and an exit code."""

from __future__ import annotations

from typing import Annotated

import typer

from inverse.cli import console, pde, prior, simulate
from inverse.cli.calibrate import calibrate
from inverse.cli.compare import compare
from inverse.cli.demo import demo
from inverse.cli.doctor import doctor
from inverse.cli.info import info
from inverse.cli.recon import recon

__all__ = ["app", "run"]

_SUMMARY = """From a measurement file to an image you can trust.

Exit codes: 0 done, 2 wrong usage, 3 bad input, 4 no usable image, 5 resources missing.
"""

app = typer.Typer(
    help=_SUMMARY,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("recon")(recon)
app.command("info")(info)
app.add_typer(simulate.app, name="simulate")
app.add_typer(prior.app, name="prior")
app.add_typer(pde.app, name="pde")
app.command("compare")(compare)
app.command("calibrate")(calibrate)
app.command("demo")(demo)
app.command("doctor")(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"inverse {version('inverse-suite')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and leave."
        ),
    ] = False,
) -> None:
    del version


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    command = typer.main.get_command(app)
    try:
        code = command.main(arguments, prog_name="inverse", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        console.say_error("interrupted; nothing half-written is left behind")
        return 130
    except Exception as error:
        # Usage errors of the parser, whichever copy of click this version of typer carries.
        if not hasattr(error, "format_message"):
            raise
        console.say_error(error.format_message())
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0
