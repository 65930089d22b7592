"""`inverse demo`: the whole chain on the raw file that comes with the package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, progress, show_json, show_table

__all__ = ["demo"]


def demo(
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write.")
    ] = Path("demo-output"),
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Reconstruct a small simulated brain scan with several methods and compare with the truth."""
    with one_line_errors(debug=debug):
        from inverse.demo import STATEMENT, run

        with progress() as shown:
            outcome = run(output, progress=shown)
        files = [str(path) for path in outcome.files]
        if as_json:
            rows = [asdict(row) for row in outcome.rows]
            show_json({"statement": STATEMENT, "methods": rows, "files": files})
            return
        print(STATEMENT)
        show_table(
            ["method", "NRMSE", "PSNR dB", "SSIM", "residual / noise", "seconds"],
            [
                (
                    row.title,
                    f"{row.nrmse:.4f}",
                    f"{row.psnr_db:.2f}",
                    f"{row.ssim:.4f}",
                    f"{row.residual_to_noise:.2f}",
                    f"{row.seconds:.1f}",
                )
                for row in outcome.rows
            ],
        )
        print(f"Images, provenance and report are in {output}; open {outcome.report}")
