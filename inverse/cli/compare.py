"""`inverse compare`: how far one image is from another, in value and in place."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, show_facts, show_json

if TYPE_CHECKING:
    from inverse.metrics import Comparison

__all__ = ["compare"]


def compare(
    image: Annotated[Path, typer.Argument(metavar="A", help="The image to judge.")],
    reference: Annotated[Path, typer.Argument(metavar="B", help="What it should be.")],
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure image A against reference B."""
    with one_line_errors(debug=debug):
        from inverse.io import read_image
        from inverse.metrics import compare as measure

        (values, grid), (truth, truth_grid) = read_image(image), read_image(reference)
        found = measure(values, truth, grid=grid, reference_grid=truth_grid)
        if as_json:
            show_json({**asdict(found), "is_same_place": found.is_same_place})
        else:
            show_facts(_facts(found))


def _facts(found: Comparison) -> list[tuple[str, str]]:
    kind = "complex" if found.is_complex else "magnitude"
    place = {None: "unknown, an image has no geometry", True: "agrees", False: "DIFFERS"}
    apart = "" if found.geometry_mm is None else f", at most {found.geometry_mm:.3g} mm apart"
    return [
        ("compared", f"{' x '.join(map(str, found.shape))} voxels (z, y, x), {kind}"),
        ("NRMSE", f"{found.nrmse:.5g} at the best scale, {found.nrmse_unscaled:.5g} as stored"),
        ("best scale", f"{found.scale:.6g}"),
        ("PSNR", f"{found.psnr_db:.2f} dB"),
        ("SSIM", f"{found.ssim:.4f}"),
        ("largest difference", f"{found.max_difference:.5g}"),
        ("geometry", place[found.is_same_place] + apart),
    ]
