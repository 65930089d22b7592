"""`inverse calibrate`: how wide intervals must be to hold the truth, from results with a truth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, show_facts, show_json
from inverse.cli.files import check_file, refuse_collisions
from inverse.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from inverse.calibration import Calibration
    from inverse.reconstruction import Reconstruction

__all__ = ["calibrate"]


def calibrate(
    results: Annotated[
        list[Path],
        typer.Argument(
            metavar="RESULT...", help="Reconstructions with samples, as .h5 or .npz, made alike."
        ),
    ],
    *,
    truth: Annotated[
        list[Path],
        typer.Option(metavar="IMAGE", help="The truth of each result, in the same order."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="C.json", help="Where to write.")
    ],
    level: Annotated[
        float, typer.Option(help="Share of the object's voxels that intervals should hold.")
    ] = 0.9,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure how wide the intervals of a sampler must be to hold the truth."""
    with one_line_errors(debug=debug):
        named = {f"RESULT {i}": path for i, path in enumerate(results, 1)}
        named |= {f"--truth {i}": path for i, path in enumerate(truth, 1)}
        refuse_collisions(named, {"--output": output})
        check_file(output, "--output", (".json",))
        if len(truth) != len(results):
            raise UsageError(
                f"--truth expected one image for each of the {len(results)} results, got "
                f"{len(truth)}; give them in the same order"
            )
        from inverse.calibrating import calibrate as measure
        from inverse.reloading import load_reconstruction

        found = [load_reconstruction(path) for path in results]
        truths = [_read_truth(path, each) for path, each in zip(truth, found, strict=True)]
        calibration = measure(found, truths, level=level)
        calibration.save(output)
        if as_json:
            told = {
                "spread_shows_where": calibration.spread_shows_where,
                "verdict": calibration.verdict,
                "file": str(output),
            }
            show_json({**asdict(calibration), **told})
        else:
            show_facts(_facts(calibration, output))


def _read_truth(path: Path, found: Reconstruction) -> NDArray[np.generic]:
    from inverse.io import read_image
    from inverse.metrics import compare

    image, grid = read_image(path)
    same = compare(found.image, image, grid=found.grid, reference_grid=grid)
    if same.is_same_place is False:
        raise DataError(
            f"{path}: expected the truth in the place of its result, got an image "
            f"{same.geometry_mm:.3g} mm away; give truths in the order of the results"
        )
    return image


def _facts(found: Calibration, output: Path) -> list[tuple[str, str]]:
    worst, best = min(found.coverage_of_slices), max(found.coverage_of_slices)
    return [
        ("measured on", f"{found.n_pixels} voxels of the object in {found.n_slices} slices"),
        ("factor", f"{found.factor:.3f} standard deviations to either side"),
        (
            "coverage",
            f"{100 * found.coverage_before:.1f} % by the samples alone, "
            f"{100 * found.coverage_after:.1f} % calibrated on other slices; "
            f"wanted {100 * found.level:g} %",
        ),
        ("by slice", f"from {100 * worst:.1f} to {100 * best:.1f} %"),
        ("spread", found.verdict),
        (
            "holds for",
            "slices like these: same anatomy, scanner and protocol, made by the same settings",
        ),
        ("wrote", str(output)),
    ]
