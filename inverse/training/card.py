"""The model card of a trained prior: what it learnt from, how, how well, and what it is not for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inverse.priors.diffusers_folder import check_name
from inverse.training.image_sets import ImageSet
from inverse.training.plan import TrainingPlan
from inverse.training.validation import N_VALIDATION_CROPS, VALIDATION_SIGMAS

__all__ = ["UNITS", "About", "TrainedOn", "model_card"]

UNITS = {
    "peak": "grey value over the 99.9th percentile of its image: peak about 1",
    "hu": "attenuation relative to water, 1 + HU / 1000: air 0, water 1",
    "none": "grey values as they were stored",
}
"""What image units mean, by the name of the scale."""


@dataclass(frozen=True, slots=True)
class About:
    """What only the person who trains a prior knows of it.

    Parameters
    ----------
    name : str
        What reports call the prior.
    licence : str
        Of the training images, and what follows for the weights.
    command : str
        That trains it again, without folders.

    Raises
    ------
    UsageError
        If the name is no printable line of at most 100 characters.
    """

    name: str = "unet"
    licence: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        check_name(self.name)  # before the training, not when its result is read


@dataclass(frozen=True, slots=True, eq=False)
class TrainedOn:
    """The two sets of images behind a prior."""

    training: ImageSet
    validation: ImageSet


def model_card(
    about: About,
    plan: TrainingPlan,
    data: TrainedOn,
    *,
    step: int,
    n_parameters: int,
    figures: Mapping[str, float],
) -> str:
    """Return the model card as Markdown.

    Parameters
    ----------
    about : About
    plan : TrainingPlan
    data : TrainedOn
    step : int
        How many steps were done.
    n_parameters : int
    figures : mapping of str to float
        From `inverse.training.validation.denoising_psnr`.
    """
    low, high = plan.noise_range
    position = ", told where in the image a pixel lies" if plan.position else ""
    facts = {
        "model": f"U-Net denoiser, {n_parameters:,} parameters, channels "
        f"{', '.join(map(str, plan.channels))}, "
        f"residual blocks a resolution: {plan.layers}{position}",
        "parametrisation": f"EDM preconditioning, sigma_data {plan.sigma_data:g}; the network's "
        f"noise label is ln(sigma) / 4",
        "image units": UNITS.get(data.training.scale, data.training.scale),
        "noise levels": f"{low:.2g} to {high:.2g} in image units (99 % of those in training)",
        "training": f"{step:,} of {plan.steps:,} steps of {plan.batch} crops of "
        f"{plan.patch} x {plan.patch} pixels; weights averaged with decay {plan.ema:g}",
        "seed": str(plan.seed),
        "command": f"`{about.command}`" if about.command else "not recorded",
        "licence of the images": about.licence or "not stated by the person who trained",
        "storage": "half precision",
    }
    psnr = [(f"{s:g}", f"{figures[f'psnr_{s:g}']:.2f}") for s in VALIDATION_SIGMAS]
    return "\n".join(
        [
            f"# {about.name}: a denoiser trained as a prior",
            "",
            *_table(("", ""), facts.items()),
            "",
            "## Images",
            "",
            *_table(("set", "file", "sha256"), [*_files("training", data.training)]),
            *_table((), [*_files("validation", data.validation)]),
            "",
            *_sets(data),
            "",
            "## Denoising",
            "",
            f"Of {N_VALIDATION_CROPS} fixed crops of the validation images, for a peak of one.",
            "",
            *_table(("noise level", "PSNR in dB"), psnr),
            "",
            "## Use and limits",
            "",
            *_LIMITS,
            "",
        ]
    )


_LIMITS = (
    "For the reconstruction of images like those above, in the same units, from measurements that",
    "determine most of what is shown. Not for diagnosis without the data-consistent residual and",
    "the posterior maps beside it: where the data say little, a prior fills in what it has seen.",
    "Other anatomy, contrast, resolution or pathology than in the training images is outside of",
    "what it knows. At noise levels outside the range above it was hardly trained.",
)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a Markdown table, or only more rows of one."""
    top = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)] if header else []
    return [*top, *(f"| {' | '.join(map(_cell, row))} |" for row in rows)]


def _cell(text: str) -> str:
    """Keep a person's text from ending the cell or the row."""
    return " ".join(text.split()).replace("|", "\\|")


def _files(role: str, images: ImageSet) -> Iterable[tuple[str, str, str]]:
    return ((role, name, f"`{digest}`") for name, digest in images.sources.items())


def _sets(data: TrainedOn) -> list[str]:
    lines = []
    for role, images in (("Training", data.training), ("Validation", data.validation)):
        note = f" ({images.note})" if images.note else ""
        lines.append(f"{role}: {len(images.images):,} images{note}.")
    return lines
