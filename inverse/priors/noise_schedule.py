"""What a diffusers scheduler configuration says about a network: its prediction and noise levels.

Only that is read. How to sample (spacing, order, thresholding, `clip_sample`, which would cut off
negative real parts and Hounsfield units) is decided by the samplers here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inverse.errors import DataError
from inverse.io.untrusted import reading
from inverse.priors.diffusers_folder import read_settings
from inverse.priors.parametrisation import (
    Edm,
    FlowMatching,
    Parametrisation,
    VarianceExploding,
    VariancePreserving,
)

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DModel

__all__ = ["parametrisation_of", "read_parametrisation", "schedule_file"]

_LARGEST_TABLE = 100_000
_SCHEDULE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
    "prediction_type",
)
_EDM = ("sigma_data", "sigma_min", "sigma_max", "prediction_type")
_EXPLODING = ("sigma_min", "sigma_max")
_FLOW = ("num_train_timesteps", "shift")
# The schedulers that may be instantiated, each with the settings that reach it.
_SETTINGS = {
    "DDIMInverseScheduler": _SCHEDULE,
    "DDIMParallelScheduler": _SCHEDULE,
    "DDIMScheduler": _SCHEDULE,
    "DDPMParallelScheduler": _SCHEDULE,
    "DDPMScheduler": _SCHEDULE,
    "DEISMultistepScheduler": _SCHEDULE,
    "DPMSolverMultistepScheduler": _SCHEDULE,
    "DPMSolverSinglestepScheduler": _SCHEDULE,
    "EDMDPMSolverMultistepScheduler": _EDM,
    "EDMEulerScheduler": _EDM,
    "EulerAncestralDiscreteScheduler": _SCHEDULE,
    "EulerDiscreteScheduler": _SCHEDULE,
    "FlowMatchEulerDiscreteScheduler": _FLOW,
    "FlowMatchHeunDiscreteScheduler": _FLOW,
    "HeunDiscreteScheduler": _SCHEDULE,
    "KDPM2AncestralDiscreteScheduler": _SCHEDULE,
    "KDPM2DiscreteScheduler": _SCHEDULE,
    "LMSDiscreteScheduler": _SCHEDULE,
    "PNDMScheduler": _SCHEDULE,
    "SASolverScheduler": _SCHEDULE,
    "ScoreSdeVeScheduler": _EXPLODING,
    "UniPCMultistepScheduler": _SCHEDULE,
}


def read_parametrisation(folder: Path, network: UNet2DModel) -> Parametrisation:
    """Read what the network predicts, and at which noise levels, from the scheduler's settings.

    Parameters
    ----------
    folder : Path
        Holds ``scheduler/scheduler_config.json`` or ``scheduler_config.json``.
    network : UNet2DModel
        Its time embedding says which noise labels it can take.

    Raises
    ------
    DataError
        If there is none, its class or prediction is not known here, or it does not fit the
        network.
    """
    path = schedule_file(folder)
    settings = read_settings(path)
    with reading(path, "noise schedule"):
        return parametrisation_of(settings, network)


def schedule_file(folder: Path) -> Path:
    """Find the settings of the scheduler in a diffusers folder.

    Parameters
    ----------
    folder : Path
        As for `read_parametrisation`.

    Raises
    ------
    DataError
        If there are none.
    """
    files = [place / "scheduler_config.json" for place in (folder / "scheduler", folder)]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise DataError(
            f"{folder}: expected a folder with unet/ and scheduler/, found no "
            "scheduler/scheduler_config.json, which says what the network predicts at which noise "
            "levels; save the network as FOLDER/unet and the scheduler it was trained with as "
            "FOLDER/scheduler, each with save_pretrained"
        )
    return path


def parametrisation_of(settings: Mapping[str, Any], network: UNet2DModel) -> Parametrisation:
    """Return what a network predicts, and at which noise levels, by the settings of a scheduler.

    Parameters
    ----------
    settings : mapping
        Of a diffusers scheduler, its class under ``_class_name``. They may come from a file that
        somebody else wrote.
    network : UNet2DModel
        Its time embedding says which noise labels it can take.

    Raises
    ------
    DataError
        If the class or the prediction is not known here, or does not fit the network.
    """
    embedding = network.config["time_embedding_type"]
    parametrisation = _described(settings, fractional=embedding != "learned")
    if embedding == "fourier" and not isinstance(parametrisation, VarianceExploding):
        raise DataError("a network with Fourier features of sigma expected ScoreSdeVeScheduler")
    if embedding == "learned":
        size = network.config["num_train_timesteps"]
        if not isinstance(parametrisation, VariancePreserving):
            raise DataError("a network with a table of learned times expected a DDPM schedule")
        if len(parametrisation.alphas_cumprod) > size:
            raise DataError(f"the network knows {size} times, fewer than the schedule has")
    return parametrisation


def _described(config: Mapping[str, Any], *, fractional: bool) -> Parametrisation:
    """Let the scheduler fill in its own defaults, then keep the process that it describes."""
    import diffusers

    kind = str(config.get("_class_name"))
    if kind not in _SETTINGS:
        raise DataError(f"scheduler expected one of {', '.join(_SETTINGS)}; got {kind[:60]!r}")
    size = config.get("num_train_timesteps", 1000)
    if not (isinstance(size, int) and 3 <= size <= _LARGEST_TABLE):
        raise DataError(f"num_train_timesteps expected 3 to {_LARGEST_TABLE}")
    _refuse_other_processes(config)
    if config.get("prediction_type") == "flow_prediction":
        return FlowMatching(size)
    scheduler = getattr(diffusers, kind)
    accepted = inspect.signature(scheduler.__init__).parameters
    keys = [key for key in _SETTINGS[kind] if key in config and key in accepted]
    made = scheduler(**{key: config[key] for key in keys})
    has = made.config
    if _SETTINGS[kind] is _EDM:
        return Edm(has.sigma_data, has.sigma_min, has.sigma_max, has.prediction_type)
    if _SETTINGS[kind] is _EXPLODING:
        return VarianceExploding(has.sigma_min, has.sigma_max)
    if _SETTINGS[kind] is _FLOW:
        # A shift that depends on the image is left to the sampler, which ignores the fixed one.
        return FlowMatching(size, 1.0 if config.get("use_dynamic_shifting") else has.shift)
    table = made.alphas_cumprod.double().tolist()
    if config.get("rescale_betas_zero_snr"):
        table[-1] = 0.0  # some schedulers have 2^-24 here, which is above the entry before it
    return VariancePreserving(tuple(table), has.prediction_type, fractional)


def _refuse_other_processes(config: Mapping[str, Any]) -> None:
    """Refuse the settings that make a known scheduler another process than its name says."""
    if config.get("use_flow_sigmas") and config.get("prediction_type") != "flow_prediction":
        raise DataError("use_flow_sigmas expected prediction_type 'flow_prediction'")
    if config.get("invert_sigmas"):
        raise DataError("invert_sigmas expected false: time that runs from noise is not supported")
    if config.get("timestep_type", "discrete") != "discrete":
        raise DataError(
            "timestep_type expected 'discrete'; save EDM networks with an EDM scheduler"
        )
