"""`inverse simulate`: raw data of a known image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, show_facts, show_json
from inverse.cli.files import check_file, refuse_collisions

__all__ = ["app"]

app = typer.Typer(help="Simulate raw data of a known image.", no_args_is_help=True)

Image = Annotated[Path, typer.Argument(help="NIfTI, npz, npy, png or HDF5 image.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="RAW.h5", help="ISMRMRD file: .h5, .hdf5, .mrd.")
]
Axis = Annotated[
    str, typer.Option(metavar="z|y|x", help="Axis of the image that the slices are taken along.")
]
Slices = Annotated[
    list[int] | None,
    typer.Option("--slice", help="Index of a slice; repeatable. The middle one by default."),
]
Matrix = Annotated[
    tuple[int, int] | None,
    typer.Option(metavar="NY NX", help="Cut or pad the slices to this size; as they are else."),
]
Mask = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="fastmri_random, fastmri_equispaced or gaussian_1d (lines of slices); gaussian_2d or "
        "poisson_disc (points of a whole volume).",
    ),
]
Truth = Annotated[
    Path | None,
    typer.Option(metavar="T.nii.gz", help="Write there what a perfect reconstruction shows."),
]


@app.command("mri")
def mri(
    image: Image,
    *,
    output: Output,
    coils: Annotated[int, typer.Option(help="Receive coils.")] = 8,
    mask: Mask = "fastmri_random",
    acceleration: Annotated[float, typer.Option(help="Matrix size over samples.")] = 4.0,
    calibration: Annotated[int, typer.Option(help="Fully sampled central lines.")] = 24,
    noise: Annotated[float, typer.Option(help="Noise level over the image's maximum.")] = 0.01,
    seed: Annotated[int, typer.Option(help="Of mask, phase and noise.")] = 0,
    axis: Axis = "z",
    slices: Slices = None,
    matrix: Matrix = None,
    truth: Truth = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Simulate an undersampled multi-coil MRI acquisition and write it as ISMRMRD."""
    with one_line_errors(debug=debug):
        import numpy as np

        from inverse.io import ismrmrd, nifti, read_image
        from inverse.mri.simulate import POINT_MASKS, Acquisition, simulate
        from inverse.mri.slices import fit_matrix, take_slices

        _check_files(image, output, truth)
        acquisition = Acquisition(
            n_coils=coils,
            mask=mask,
            acceleration=acceleration,
            n_calibration=calibration,
            noise=noise,
            seed=seed,
        )
        values, grid = take_slices(*read_image(image), axis=axis, indices=slices)
        if slices is None and mask not in POINT_MASKS:
            values, grid = take_slices(values, grid, indices=[len(values) // 2])
        warnings = []
        if matrix is not None:
            n_before = np.count_nonzero(values)
            values, grid = fit_matrix(values, grid, matrix)
            if n_lost := n_before - np.count_nonzero(values):
                warnings.append(
                    f"--matrix cuts off {n_lost / n_before:.1%} of the voxels that are not zero; "
                    f"the object is no longer whole"
                )
        kspace = simulate(values, acquisition, grid=grid)
        ismrmrd.write(kspace, output)
        written = [output]
        if truth is not None:
            nifti.write(np.asarray(kspace.reference, np.float32), kspace.grid, truth)
            written.append(truth)
        facts = {
            "simulated": True,
            "matrix": list(values.shape),
            "coils": kspace.n_coils,
            "acceleration": kspace.acceleration,
            "warnings": warnings,
            "files": [str(path) for path in written],
        }
        if as_json:
            show_json(facts)
        else:
            show_facts(
                [
                    ("simulated", f"{' x '.join(map(str, values.shape))} voxels (z, y, x)"),
                    ("coils", str(kspace.n_coils)),
                    ("acceleration", f"{kspace.acceleration:.2f}"),
                    *(("warning", sentence) for sentence in warnings),
                    *(("wrote", str(path)) for path in written),
                ]
            )


def _check_files(image: Path, output: Path, truth: Path | None) -> None:
    """Refuse what would overwrite the image or cannot be written, before the work begins."""
    written = {"--output": output, **({"--truth": truth} if truth else {})}
    refuse_collisions({"IMAGE": image}, written)
    check_file(output, "--output", (".h5", ".hdf5", ".mrd"))
    if truth is not None:
        check_file(truth, "--truth", (".nii", ".nii.gz"))
