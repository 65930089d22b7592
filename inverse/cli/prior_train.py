"""`inverse prior train`: images to a diffusion prior, over as many sittings as it takes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors
from inverse.cli.files import refuse_collisions
from inverse.cli.options import parse_settings
from inverse.cli.training_run import TrainingRun
from inverse.errors import UsageError

if TYPE_CHECKING:
    from inverse.training import ImageSet, TrainingPlan

__all__ = ["Images", "ScaleName", "input_files", "say_left_out", "train"]

_MOST_NAMED = 10

Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES...",
        help="HDF5 and .npz files with the name of the array (set.h5:train), .npy, NIfTI volumes, "
        "pictures, folders of pictures.",
    ),
]
ScaleName = Annotated[
    str,
    typer.Option(
        metavar="peak|hu|none",
        help="Image units: each image by its peak, CT as 1 + HU/1000, or as stored.",
    ),
]
Validation = Annotated[
    list[str] | None,
    typer.Option(
        metavar="IMAGES",
        help="Images of other subjects; repeatable. Without it some are held out of IMAGES.",
    ),
]
Whole = Annotated[
    bool, typer.Option("--whole", help="Train on whole slices of one size, not on crops.")
]
Position = Annotated[
    bool,
    typer.Option(
        "--position",
        help="Tell the network where in the slice a crop lies: for one anatomy in one place.",
    ),
]
Licence = Annotated[str, typer.Option(help="Of the images; goes into the model card.")]
PlanSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Another setting of `inverse.training.TrainingPlan`; repeatable.",
    ),
]


def train(
    images: Images,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="The prior, its log and its state go there."
        ),
    ],
    validation: Validation = None,
    scale: ScaleName = "peak",
    steps: Annotated[int, typer.Option(min=1, help="In all; may grow later.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Crops a step.")] = 16,
    channels: Annotated[
        str, typer.Option(metavar="N,N,...", help="Of the resolutions, fine to coarse.")
    ] = "32,64,96,128",
    patch: Annotated[int, typer.Option(min=1, help="Edge of the crops in pixels.")] = 64,
    whole: Whole = False,
    position: Position = False,
    learning_rate: Annotated[float, typer.Option(help="Of AdamW.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of weights, crops and noise.")] = 0,
    settings: PlanSettings = None,
    precision: Annotated[
        str, typer.Option(metavar="bf16|fp16|no", help="Of the network's arithmetic.")
    ] = "bf16",
    cpu: Annotated[bool, typer.Option("--cpu", help="Even where there is a GPU.")] = False,
    save_every: Annotated[
        int, typer.Option(min=1, help="Steps between saves; validation runs as often.")
    ] = 500,
    name: Annotated[
        str | None, typer.Option(help="What reports call the prior; the folder's name by default.")
    ] = None,
    licence: Licence = "",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Train a diffusion prior; repeat the command to go on after an interruption."""
    with one_line_errors(debug=debug):
        _check_output([*images, *(validation or [])], output)
        from inverse.priors.diffusers_folder import check_name
        from inverse.training import About

        name = check_name(output.resolve().name if name is None else name)

        # Places are places in the whole slice, as the network meets it in a reconstruction.
        training, held = _read(images, validation, scale, keep_borders=whole or position)
        chosen = {
            "channels": _channels(channels),
            "patch": _side(training) if whole else patch,
            "position": position,
            "batch": batch,
            "steps": steps,
            "learning_rate": learning_rate,
            "seed": seed,
            "sigma_data": max(0.01, round(training.root_mean_square, 2)),
        }
        plan = _plan(chosen, parse_settings(settings))
        command = [
            *_sources(images, validation),
            *(["--scale", scale, "--precision", precision]),
            *(["--whole"] if whole else []),
            *_plan_options(plan),
        ]
        run = TrainingRun(
            training,
            held,
            plan,
            output,
            About(name, licence, shlex.join(command)),
        )
        figures = run.train(precision, save_every, cpu=cpu)
        run.show(figures, as_json=as_json)


def input_files(names: Sequence[str]) -> dict[str, Path]:
    """Return the files that names of images stand for, by the words that name them to a person."""
    found = {}
    for name in names:
        text = name if Path(name).exists() else name.rpartition(":")[0] or name
        found[f"the images {name}"] = Path(text)
    return found


def say_left_out(left_out: Sequence[str]) -> None:
    """Print which images of the files were not taken, the first of many."""
    if not left_out:
        return
    more = len(left_out) - _MOST_NAMED
    named = ", ".join([*left_out[:_MOST_NAMED], *([f"{more} more"] if more > 0 else [])])
    print(f"left out: {named}", file=sys.stderr)


def _check_output(names: Sequence[str], output: Path) -> None:
    """Refuse, before the work begins, a folder that cannot be written or would hide the images."""
    from inverse.io.atomic import check_writable

    if output.is_file():
        raise UsageError(f"--output expected the name of a folder, got the file {output}")
    parts = {f"--output ({part})": output / part for part in ("prior", "state.safetensors")}
    refuse_collisions(input_files(names), parts)
    check_writable(output)
    if output.is_dir():
        check_writable(output / "prior")


def _read(
    images: Sequence[str], validation: Sequence[str] | None, scale: str, *, keep_borders: bool
) -> tuple[ImageSet, ImageSet]:
    """Read the images, and hold some out where none are given to validate with."""
    from inverse.training import hold_out, read_images

    training = read_images(images, scale, keep_borders=keep_borders)
    if validation:
        held = read_images(validation, scale, keep_borders=keep_borders)
        shared = training.sources.items() & held.sources.items()
        if shared:
            raise UsageError(
                f"--validation expected images of other subjects, got {min(shared)[0]}, which is "
                f"trained on; leave the option out to hold some of them out"
            )
    else:
        training, held = hold_out(training)
    for left_out in dict.fromkeys((training.left_out, held.left_out)):
        say_left_out(left_out)
    print(f"{training!r} to train on, {held!r} to validate", file=sys.stderr)
    if held.note:
        print(held.note, file=sys.stderr)
    return training, held


def _channels(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--channels expected whole numbers with commas between, got '{text}'")
    return tuple(map(int, parts))


def _side(images: ImageSet) -> int:
    """Return the edge of slices that are squares of one size."""
    shapes = {image.shape for image in images.images}
    if len(shapes) > 1 or len(set(next(iter(shapes)))) > 1:
        seen = ", ".join(f"{ny}x{nx}" for ny, nx in sorted(shapes)[:4])
        raise UsageError(f"--whole expected square slices of one size, got {seen}; use --patch")
    return int(next(iter(shapes))[0])


def _plan(chosen: dict[str, object], settings: dict[str, object]) -> TrainingPlan:
    """Return the plan of the options and of what `--set` adds to them."""
    from inverse.methods import nearest
    from inverse.settings import count, number
    from inverse.training import TrainingPlan

    known = [f.name for f in fields(TrainingPlan) if f.name not in chosen] + ["sigma_data"]
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"--set has no setting '{key}'; {nearest(key, known)}")
        whole = key in {"layers", "warmup"}
        chosen[key] = count(key, value, low=0) if whole else number(key, value, low=-1e9)
    return TrainingPlan(**chosen)  # type: ignore[arg-type]  # the plan checks its values


def _sources(images: Sequence[str], validation: Sequence[str] | None) -> list[str]:
    """Put the beginning of the command together again, without folders."""
    words = ["inverse", "prior", "train", *(Path(name).name for name in images)]
    for name in validation or ():
        words += ["--validation", Path(name).name]
    return [*words, "--output", "FOLDER"]


def _plan_options(plan: TrainingPlan) -> list[str]:
    """Return the options that make a plan."""
    words: list[str] = []
    for field in fields(plan):
        value = getattr(plan, field.name)
        if field.name == "position":
            words += ["--position"] if value else []
        elif field.name == "channels":
            words += ["--channels", ",".join(map(str, value))]
        elif field.name in {"patch", "batch", "steps", "learning_rate", "seed"}:
            words += [f"--{field.name.replace('_', '-')}", str(value)]
        else:
            words += ["--set", f"{field.name}={value}"]
    return words
