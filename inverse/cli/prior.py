"""`inverse prior`: fit, convert and show priors; `inverse prior train` is in its own file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from inverse.cli.console import AsJson, Debug, one_line_errors, progress, show_facts, show_json
from inverse.cli.files import check_file, refuse_collisions
from inverse.cli.prior_train import Images, ScaleName, input_files, say_left_out, train

__all__ = ["app"]

app = typer.Typer(
    help="Train, fit, convert and show priors: what reconstruction knows of images.",
    no_args_is_help=True,
)
app.command("train")(train)


class FitMethod(StrEnum):
    """The names of `inverse.priors.fit.FITS`, spelled out so that help needs no torch."""

    EM = "em"
    SUBSPACES = "subspaces"


class QkvOrder(StrEnum):
    """The names of `inverse.priors.adm_weights.QkvOrder`."""

    LEGACY = "legacy"
    NEW = "new"


@app.command("fit")
def fit(
    images: Images,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE.safetensors",
            help="The prior; a file of that name is replaced.",
        ),
    ],
    scale: ScaleName = "peak",
    size: Annotated[int, typer.Option(min=2, help="Edge of a patch in pixels.")] = 8,
    components: Annotated[int, typer.Option(min=1, help="Gaussians of the mixture.")] = 128,
    rank: Annotated[int, typer.Option(min=1, help="Dimensions of each one's subspace.")] = 32,
    method: Annotated[
        FitMethod, typer.Option(help="Maximum likelihood, or K-subspaces.")
    ] = FitMethod.EM,
    seed: Annotated[int, typer.Option(min=0, help="Of patches and of the start.")] = 0,
    name: Annotated[str, typer.Option(help="What reports call the prior.")] = "patches",
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fit a mixture of low-rank Gaussians to the patches of images: a prior in a minute."""
    with one_line_errors(debug=debug):
        refuse_collisions(input_files(images), {"--output": output})
        check_file(output, "--output", (".safetensors",))
        from inverse.priors.description import describe_prior
        from inverse.priors.diffusers_folder import check_name
        from inverse.priors.fit import fit_prior
        from inverse.training import read_images

        found = read_images(images, scale, smallest=size + 1)
        say_left_out(found.left_out)
        if output.exists():
            print(f"{output} is there already and will be replaced", file=sys.stderr)
        with progress() as shown:
            prior = fit_prior(
                found.images,
                size=size,
                n_components=components,
                rank=rank,
                method=method.value,
                seed=seed,
                name=check_name(name),
                data=", ".join(f"{file} {digest}" for file, digest in found.sources.items()),
                progress=lambda done, total: shown("fitting", done, total),
            )
        prior.save(output)
        facts = {**describe_prior(str(output)), "images": len(found.images), "file": str(output)}
        _show(facts, as_json=as_json)


@app.command("convert")
def convert(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT.pt", help="ADM checkpoint.")],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Diffusers folder to write.")
    ],
    qkv: Annotated[
        QkvOrder, typer.Option(help="Order of the attention's projections in the checkpoint.")
    ] = QkvOrder.LEGACY,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Side of the training images; noted in the result.")
    ] = None,
    head_channels: Annotated[int, typer.Option(min=1, help="Width of an attention head.")] = 64,
    schedule: Annotated[
        str, typer.Option(metavar="linear|cosine", help="Noise schedule of the training.")
    ] = "linear",
    scale: Annotated[
        float, typer.Option(help="The network takes scale * image + offset; 2 for -1..1.")
    ] = 1.0,
    offset: Annotated[float, typer.Option(help="See --scale; -1 for -1..1.")] = 0.0,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Convert a guided-diffusion (ADM) checkpoint; nothing in it is ever run."""
    with one_line_errors(debug=debug):
        refuse_collisions({"CHECKPOINT": checkpoint}, {"--output": output})
        if schedule not in {"linear", "cosine"}:
            from inverse.errors import UsageError

            raise UsageError(f"--schedule expected linear or cosine, got '{schedule}'")
        from dataclasses import asdict

        from inverse.priors.convert import convert as convert_checkpoint

        report = convert_checkpoint(
            checkpoint,
            output,
            image_size=image_size,
            qkv=qkv.value,
            head_channels=head_channels,
            schedule="cosine" if schedule == "cosine" else "linear",
            scale=scale,
            offset=offset,
        )
        if as_json:
            show_json({**asdict(report), "target": str(report.target)})
        else:
            print(report)
            print(f"wrote: {output}; use it with --prior {output}")


@app.command("info")
def info(
    prior: Annotated[
        str | None, typer.Argument(metavar="[NAME|FILE|FOLDER]", help="Those inside by default.")
    ] = None,
    *,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Show a prior's parametrisation, sizes, noise range and card; without one, what there is."""
    with one_line_errors(debug=debug):
        from inverse.priors.description import describe_prior, shipped_priors

        if prior is not None:
            _show(describe_prior(prior), as_json=as_json)
        elif as_json:
            show_json(shipped_priors())
        else:
            show_facts(list(shipped_priors().items()))


def _show(facts: Mapping[str, object], *, as_json: bool) -> None:
    """Print facts, and the card beneath them."""
    if as_json:
        show_json(facts)
        return
    card = str(facts.get("card", ""))
    show_facts(
        [(key.replace("_", " "), _text(value)) for key, value in facts.items() if key != "card"]
    )
    if card:
        print(f"\n{card.rstrip()}")


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.5g}" if isinstance(value, float) else str(value)
