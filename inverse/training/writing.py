"""A trained prior on disk: a diffusers folder with a model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from inverse.io.atomic import replacing_folder
from inverse.priors.weight_files import saving_network
from inverse.training.card import UNITS
from inverse.training.network import build_network
from inverse.training.plan import TrainingPlan

__all__ = ["write_prior"]

_SMALLEST_SIGMA = 0.002


def write_prior(
    network: torch.nn.Module,
    plan: TrainingPlan,
    folder: Path,
    *,
    name: str = "unet",
    scale: str = "none",
    card: str = "",
) -> None:
    """Write a folder that `inverse.load_prior` and diffusers read.

    ``unet`` holds the weights in half precision, ``scheduler`` the EDM settings, ``prior.json``
    name and units, ``README.md`` the model card.

    Parameters
    ----------
    network : Module
        Of `inverse.training.network.build_network`.
    plan : TrainingPlan
    folder : Path
        Replaced whole.
    name : str
        What reports call the prior.
    scale : str
        Key of `inverse.training.image_sets.SCALES` that made image units of grey values.
    card : str
        From `inverse.training.card.model_card`.

    Raises
    ------
    ResourceError
        If it cannot be written; what was there is kept.
    """
    from diffusers import EDMEulerScheduler

    half: Any = build_network(plan)  # diffusers is not typed
    half.load_state_dict(network.state_dict())
    scheduler: Any = EDMEulerScheduler(  # type: ignore[no-untyped-call]
        sigma_min=_SMALLEST_SIGMA, sigma_max=plan.noise_range[1], sigma_data=plan.sigma_data
    )
    about = {"name": name, "units": UNITS.get(scale, scale), "scale": 1.0, "offset": 0.0}
    with torch.no_grad(), replacing_folder(folder) as temporary:
        unet = temporary / "unet"
        with saving_network(unet):
            # half(), because to(float16) of diffusers advises loading the network in that type.
            half.half().save_pretrained(unet, variant="fp16")
        scheduler.save_pretrained(temporary / "scheduler")
        (temporary / "prior.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        (temporary / "README.md").write_text(card, encoding="utf-8")
