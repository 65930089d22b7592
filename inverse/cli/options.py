"""The options of `inverse recon` and `inverse info`, and what can be said of them at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from inverse.errors import ResourceError, UsageError

__all__ = [
    "CalibrationFile",
    "Device",
    "File",
    "Maps",
    "Method",
    "MethodName",
    "Output",
    "Prior",
    "RecipeFile",
    "ReportFile",
    "Samples",
    "Seed",
    "Select",
    "Settings",
    "Threads",
    "check_device",
    "check_method",
    "parse_select",
    "parse_settings",
    "prior_file",
]


class Method(StrEnum):
    """The names of `inverse.methods.METHODS`, spelled out so that completion needs no torch."""

    AUTO = "auto"
    ZERO_FILLED = "zero_filled"
    CG_SENSE = "cg_sense"
    L1_WAVELET = "l1_wavelet"
    TV = "tv"
    PNP_HQS = "pnp_hqs"
    DDS = "dds"
    DIFFPIR = "diffpir"
    DDNM = "ddnm"
    DDRM = "ddrm"
    RED_DIFF = "red_diff"
    DPS = "dps"
    PIGDM = "pigdm"
    DAPS = "daps"
    PNP_DM = "pnp_dm"
    MBIR = "mbir"


def _complete_method(incomplete: str) -> list[str]:
    return [str(method) for method in Method if method.startswith(incomplete)]


File = Annotated[Path, typer.Argument(help="ISMRMRD, fastMRI, BART or npz k-space.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Image: .nii.gz, .nii, .h5, .npz or a folder for DICOM. By default FILE's name with "
        ".nii.gz in the current folder, never over another file.",
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        help="Prior of the methods that take one: natural, brain, ct, auto or a file.",
    ),
]
Maps = Annotated[
    int, typer.Option(min=1, max=2, help="Sets of coil maps; 2 when the object is cut off.")
]
MethodName = Annotated[
    str,
    typer.Option(
        metavar=f"[{'|'.join(Method)}]", help="How to reconstruct.", autocompletion=_complete_method
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        min=2,
        metavar="N",
        help="Draw N images and write their mean, standard deviation, 90 % interval and the share "
        "that the data did not determine; for the methods that sample.",
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="C.json",
        help="Calibrate the interval by what `inverse calibrate` wrote.",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
Seed = Annotated[int, typer.Option(min=0, help="Of every random choice.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")]
ReportFile = Annotated[Path | None, typer.Option(metavar="R.html", help="Write the report there.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; repeatable."),
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN.json",
        help="Repeat a recorded run: method, prior, maps, seed, selection and settings come from "
        "the file that was written beside its image, e.g. out.nii.gz.json.",
    ),
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="KEY=INDEX",
        help="Which repetition, contrast, slice ... of a file with several; repeatable.",
    ),
]


def check_method(name: str) -> None:
    """Refuse a name that no method has.

    Raises
    ------
    UsageError
        With the nearest one.
    """
    names = [str(method) for method in Method]
    if name not in names:
        from inverse.methods import nearest

        raise UsageError(f"there is no method '{name}'; {nearest(name, names)}")


def check_device(name: str) -> None:
    """Refuse what torch would refuse only after the file has been read, and in many lines.

    Raises
    ------
    UsageError
        If it is no device.
    ResourceError
        If the machine has no such device.
    """
    kind, _, index = name.partition(":")
    if kind not in {"cpu", "cuda"} or (name != kind and not index.isdecimal()):
        raise UsageError(f"--device expected cpu, cuda or cuda:N, got '{name}'")
    if kind == "cpu":
        return
    import torch

    found = torch.cuda.device_count()
    if int(index or 0) >= found:
        raise ResourceError(
            f"--device {name} expected a GPU that torch can use, found {found or 'none'}; "
            f"choose another or cpu"
        )


def prior_file(prior: str | None) -> Path | None:
    """Return the file or folder of a prior, None for one inside the package.

    Raises
    ------
    UsageError
        If there is no such file or folder.
    """
    from inverse.priors.base import AUTO, BUILT_IN

    known = (AUTO, *BUILT_IN)
    if prior is None or prior in known:
        return None
    if not Path(prior).exists():
        names = ", ".join(f"'{name}'" for name in known)
        raise UsageError(
            f"--prior expected {names}, a file or a folder; there is no such file: {prior}"
        )
    return Path(prior)


def parse_settings(texts: Iterable[str] | None) -> dict[str, object]:
    """Read KEY=VALUE pairs; a value is a JSON number, true, false, null or else a text."""
    found: dict[str, object] = {}
    for key, value in _key_values(texts, "--set"):
        try:
            found[key] = json.loads(value)
        except ValueError:
            found[key] = value
    return found


def _key_values(texts: Iterable[str] | None, option: str) -> Iterator[tuple[str, str]]:
    """Split KEY=VALUE texts; the option is for the message."""
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise UsageError(f"{option} expected KEY=VALUE, got '{text}'")
        yield key, value


def parse_select(texts: Iterable[str] | None) -> dict[str, int]:
    """Read what `--select` was given, as `inverse.load` takes it.

    Raises
    ------
    UsageError
        If an index is no whole number.
    """
    found = {}
    for key, value in _key_values(texts, "--select"):
        if not value.isdecimal():
            raise UsageError(f"--select {key} expected an index of 0 or more, got '{value}'")
        found[key] = int(value)
    return found
