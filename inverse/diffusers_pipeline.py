"""The sampler `dds` as a diffusers pipeline, for people who live there.

Importing this module imports diffusers, which takes seconds; `inverse.DDSPipeline` does it when the
name is first used.
"""

# Without `from __future__ import annotations`: diffusers looks for classes in the signature.
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import diffusers
import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils.outputs import BaseOutput
from diffusers.utils.pil_utils import numpy_to_pil
from numpy.typing import NDArray
from PIL.Image import Image

from inverse.batched_problem import batched_problem
from inverse.errors import UsageError
from inverse.io.atomic import replacing
from inverse.priors import UNetPrior, load_prior
from inverse.priors.base import BUILT_IN, weights_of
from inverse.priors.diffusers_folder import pipeline_folder, read_card, read_settings
from inverse.priors.noise_schedule import parametrisation_of, schedule_file
from inverse.priors.weight_files import saving_network
from inverse.reconstruction import Diagnostics
from inverse.samplers import dds
from inverse.samplers.run import CgIterations, State, one_of
from inverse.settings import count, number
from operators import LinearOperator

__all__ = ["DDSPipeline", "DDSPipelineOutput", "ddim_eta"]

_CARD = "prior.json"
_SEEDS = 2**62
_SHOWN = ("estimate", "x")  # to callbacks

StepEnd = Callable[
    ["DDSPipeline", int, float, dict[str, torch.Tensor]], Mapping[str, torch.Tensor] | None
]
Images = torch.Tensor | NDArray[np.generic] | list[Image]


def ddim_eta(dds_eta: float, alpha: float, alpha_next: float) -> float:
    """Convert the eta of DDS into the eta of a DDIM scheduler for the same step.

    From a = alpha to a' = alpha_next, less noisy, both add noise n to the estimate:
        DDS:   eta sqrt(1 - a') n
        DDIM:  eta_ddim sqrt((1 - a') / (1 - a)) sqrt(1 - a / a') n
    so that
        eta_ddim = eta sqrt( a' (1 - a) / (a' - a) )

    and then the noise that is kept, sqrt(1 - a' - std^2) eps, is the same too. It is larger than
    eta, differs from step to step, and may exceed 1 where steps are short. With eta = 1 nothing is
    kept, and rounding may let `DDIMScheduler.step` take the root of a negative number, which gives
    NaN; 0.999 avoids it.

    Parameters
    ----------
    dds_eta : float
        Share of fresh noise, 0 to 1, as `inverse.samplers.dds` and `DDSPipeline` take it.
    alpha, alpha_next : float
        a_t of this time and of the next (`alphas_cumprod`), 0 <= alpha < alpha_next <= 1.

    Returns
    -------
    float
        What `DDIMScheduler.step` takes as ``eta``.

    Raises
    ------
    UsageError
        If a number is out of range.

    References
    ----------
    Chung, Lee and Ye 2024, arXiv 2303.05754, algorithm 1; Song, Meng and Ermon 2021,
    arXiv 2010.02502, eq. 12 and 16

    Examples
    --------
    >>> round(ddim_eta(0.5, alpha=0.2, alpha_next=0.8), 3)
    0.516
    """
    eta = number("dds_eta", dds_eta, high=1.0)
    a = number("alpha", alpha, high=1.0)
    following = number("alpha_next", alpha_next, high=1.0)
    if a >= following:
        raise UsageError(
            f"alpha_next expected more than alpha = {a:g}, got {following:g}: a step goes to less "
            "noise"
        )
    return eta * math.sqrt(following * (1 - a) / (following - a))


@dataclass
class DDSPipelineOutput(BaseOutput):
    """What `DDSPipeline` returns; also a mapping, as all outputs of diffusers.

    Parameters
    ----------
    images : Tensor or array, (*batch, *operator.domain.shape), or list of PIL images
        Mean of the samples, in the units of the measurement's images.
    std : as images, or None
        Standard deviation of the samples, of their magnitude if they are complex; None for one.
    samples : Tensor or array, (num_samples, *batch, *operator.domain.shape), or list of PIL images
        Independent draws; a list goes through the batch first, then the samples.
    diagnostics : Diagnostics
        Residual against the noise level, counts of operator and network calls, warnings.
    """

    images: Images
    std: Images | None
    samples: Images
    diagnostics: Diagnostics


class DDSPipeline(DiffusionPipeline):
    """Decomposed diffusion sampling: images from measurements y = A x + n with a `UNet2DModel`.

    A shell around `inverse.samplers.dds`, which says what is computed, what it approximates and
    what differs from the paper. The operator is an argument of the call and is not saved.

    Parameters
    ----------
    unet : UNet2DModel
        Network of real images (1 channel) or of complex ones (real and imaginary part).
    scheduler : SchedulerMixin
        Says what the network predicts at which noise levels (eps, v, x0, EDM, score, flow); its
        way of sampling, such as `clip_sample`, is not used.
    scale, offset : float
        Network input = scale x + offset, for an image x in image units (peak about one). Networks
        trained on -1..1 have scale 2 and offset -1.

    Raises
    ------
    DataError
        If the scheduler is not known, or does not fit the network.

    References
    ----------
    Chung, Lee and Ye 2024, arXiv 2303.05754
    """

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            unet=unet, scheduler=scheduler
        )
        self.register_to_config(  # type: ignore[no-untyped-call]
            scale=scale, offset=offset
        )

    @classmethod
    def from_prior(cls, prior: str | Path) -> Self:
        """Read a network that `inverse.load_prior` reads.

        Parameters
        ----------
        prior : str or Path
            "brain" or "ct", which are in the package; a folder that `inverse prior train` or
            `inverse prior convert` wrote; or another diffusers folder with a network and a
            scheduler, with or without ``model_index.json``. Nothing is fetched or unpickled.

        Raises
        ------
        UsageError
            If there is no such prior, or it is no network.
        DataError
            If the folder is damaged or not supported.
        """
        loaded = load_prior(prior)
        if not isinstance(loaded, UNetPrior):
            raise UsageError(
                f"a pipeline expected a prior that is a network, got '{loaded.name}', a "
                f"{type(loaded).__name__}; inverse.reconstruct(problem, 'dds') takes it"
            )
        folder = weights_of(str(prior)) if prior in BUILT_IN else pipeline_folder(Path(prior))
        network: Any = loaded.network
        network.to(memory_format=torch.contiguous_format)  # as safetensors wants it
        return cls(network, _read_scheduler(folder), loaded.scale, loaded.offset)

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: object
    ) -> Self:
        """Read a pipeline's folder, as every pipeline of diffusers does; see `from_prior` too.

        The folder's ``prior.json`` gives `scale` and `offset`, unless they are given.

        Parameters
        ----------
        pretrained_model_name_or_path : str or Path
            With ``model_index.json``: what `save_pretrained` wrote, or the folder of another
            pipeline of a `UNet2DModel` and a scheduler.
        **kwargs
            Of `DiffusionPipeline.from_pretrained`: ``variant="fp16"`` ...
        """
        folder = Path(pretrained_model_name_or_path)
        known: dict[str, object] = {}
        if (folder / _CARD).is_file():
            card = read_card(folder)
            known = {"scale": card.scale, "offset": card.offset}
        made: Self = super().from_pretrained(pretrained_model_name_or_path, **{**known, **kwargs})
        return made

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *args: Any,  # noqa: ANN401 -- as the method that it extends
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Write the pipeline's folder, and ``prior.json``: `inverse.load_prior` reads it as well.

        Parameters
        ----------
        save_directory : str or Path
        *args, **kwargs
            Of `DiffusionPipeline.save_pretrained`: ``variant="fp16"`` names the weights so.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        card = {"scale": self.config["scale"], "offset": self.config["offset"]}
        with replacing(folder / _CARD) as part:
            part.write_text(json.dumps(card) + "\n", encoding="utf-8")
        with saving_network(folder / "unet"):
            super().save_pretrained(save_directory, *args, **kwargs)

    @property
    def prior(self) -> UNetPrior:
        """The modules as a prior, for all other samplers; the same network, not a copy."""
        settings = {**self.scheduler.config, "_class_name": type(self.scheduler).__name__}
        return UNetPrior(
            self.unet,
            parametrisation_of(settings, self.unet),
            scale=self.config["scale"],
            offset=self.config["offset"],
        )

    def __call__(  # noqa: PLR0913 -- what diffusers calls a pipeline with
        self,
        measurement: torch.Tensor,
        operator: LinearOperator,
        *,
        noise_std: float,
        num_inference_steps: int = 20,
        eta: float | None = None,
        gamma: float | str = "auto",
        cg_iterations: CgIterations | None = None,
        form: str = "noisy",
        preset: str = "measured-noise",
        num_samples: int = 1,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        callback_on_step_end: StepEnd | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("estimate",),
    ) -> DDSPipelineOutput | tuple[Images, Images | None, Images]:
        """Sample images that explain the measurement.

        Parameters
        ----------
        measurement : Tensor, (*batch, *operator.range.shape)
            y, zero where nothing was sampled, in units in which the image's peak is about one;
            elements of the batch are independent. It and the operator are taken to the pipeline's
            device.
        operator : LinearOperator
            A, of one element; its last domain axes are y and x.
        noise_std : float
            Standard deviation of the noise in y, in the real and the imaginary part each.
        num_inference_steps : int
            Calls of the network.
        eta, gamma, cg_iterations, form, preset
            As in `inverse.samplers.dds`: eta = 1, the data's weight from `noise_std`, and as many
            CG iterations as a step needs, or ``preset="dds-paper"``. `ddim_eta` converts eta.
        num_samples : int
            Independent draws for each element of the batch.
        generator : Generator or list of Generator, optional
            One; one for each element of the batch; or one for each image, (num_samples, *batch)
            flattened, each of which is then what a call with this generator alone returns. Seed 0
            by default.
        output_type : {"pt", "np", "pil"}
            Tensors or arrays, complex if the operator's domain is; or 8-bit grey pictures of the
            values, of complex images the magnitude, cut off at 0 and 1.
        return_dict : bool
            If false, the tuple (images, std, samples).
        callback_on_step_end : function, optional
            Called as f(pipeline, step, t, tensors) after each step, where t is what the network
            was told about the noise (the time of a DDPM network). It may look, not touch.
        callback_on_step_end_tensor_inputs : sequence of str
            Which tensors it gets: "estimate", the current estimate of the clean images, and "x",
            what the next step starts from; (n, elements of the batch, *operator.domain.shape).

        Returns
        -------
        DDSPipelineOutput or tuple

        Raises
        ------
        UsageError
            If the measurement is no tensor, a setting is out of range, shapes do not fit, or the
            callback returns other tensors.
        """
        _refuse_arrays(measurement)
        one_of("output_type", output_type, ("pt", "np", "pil"))
        wanted = [one_of("tensor", n, _SHOWN) for n in callback_on_step_end_tensor_inputs]
        num_samples = count("num_samples", num_samples)
        prior = self.prior
        batch = operator.range.batch_shape(measurement)
        generators, alone = _generators(generator, num_samples, math.prod(batch))
        if alone:  # every sample is a system of its own
            measurement = measurement.expand(num_samples, *measurement.shape)
        problem = batched_problem(measurement.to(self.device), operator.to(self.device), noise_std)
        estimate = torch.empty(0)

        def watch(state: State) -> None:
            nonlocal estimate
            estimate = state.estimate
            if callback_on_step_end is not None:
                t = prior.parametrisation.coefficients(prior.scale * state.sigma).label
                tensors = {name: getattr(state, name) for name in wanted}
                given = callback_on_step_end(self, state.index, t, dict(tensors)) or {}
                _refuse_changes(tensors, given)

        with torch.no_grad(), self.progress_bar(total=num_inference_steps) as bar:

            def advance(_stage: str, _done: int, total: int) -> None:
                bar.total = total  # levels that the network does not know are left out
                bar.update()

            found = dds(
                problem,
                prior,
                generator=generators,
                n_samples=1 if alone else num_samples,
                progress=advance,
                callback=watch,
                steps=num_inference_steps,
                eta=eta,
                gamma=gamma,
                cg_iterations=cg_iterations,
                form=form,
                preset=preset,
            )
        samples = estimate.reshape(num_samples, *batch, *operator.domain.shape)
        seen = samples.abs() if samples.is_complex() else samples
        std = _as_type(seen.std(0), output_type) if num_samples > 1 else None
        images = _as_type(samples.mean(0), output_type)
        drawn = _as_type(samples, output_type)
        if not return_dict:
            return images, std, drawn
        return DDSPipelineOutput(images, std, drawn, found.diagnostics)


def _refuse_arrays(measurement: object) -> None:
    if not isinstance(measurement, torch.Tensor):
        raise UsageError(
            f"measurement expected a torch.Tensor, got {type(measurement).__name__}; of an array, "
            f"torch.from_numpy(array) makes one"
        )


def _generators(
    generator: torch.Generator | Sequence[torch.Generator] | None, n_samples: int, n_systems: int
) -> tuple[torch.Generator | list[torch.Generator] | None, bool]:
    """Return the generators on the CPU, and whether each image has its own."""
    if generator is None or isinstance(generator, torch.Generator):
        return generator and _on_cpu(generator), False
    if len(generator) not in (n_systems, n_samples * n_systems):
        raise UsageError(
            f"generator expected one, {n_systems} (one for each element of the batch) or "
            f"{n_samples * n_systems} (one for each image), got {len(generator)}"
        )
    return [_on_cpu(each) for each in generator], len(generator) != n_systems


def _on_cpu(generator: torch.Generator) -> torch.Generator:
    """Return a generator for the CPU, where all noise is drawn, seeded by one of a device."""
    device = generator.device
    if device.type == "cpu":
        return generator
    seed = torch.randint(_SEEDS, (), generator=generator, device=device)
    return torch.Generator().manual_seed(int(seed))


def _refuse_changes(
    shown: Mapping[str, torch.Tensor], returned: Mapping[str, torch.Tensor]
) -> None:
    changed = [name for name, tensor in returned.items() if tensor is not shown.get(name)]
    if changed:
        raise UsageError(
            f"callback_on_step_end returned another '{changed[0]}'; this sampler's steps can be "
            "watched, not changed: return the tensors as they came, or nothing"
        )


def _as_type(images: torch.Tensor, output_type: str) -> Images:
    if output_type == "pt":
        return images
    array = images.cpu().numpy()
    if output_type == "np":
        return np.asarray(array)
    grey = np.clip(np.abs(array) if np.iscomplexobj(array) else array, 0, 1)
    pictures: list[Image] = numpy_to_pil(  # type: ignore[no-untyped-call]
        grey.reshape(-1, *grey.shape[-2:], 1)
    )
    return pictures


def _read_scheduler(folder: Path) -> SchedulerMixin:
    """Read the scheduler of a folder whose network has been read: its class is a known one."""
    settings = read_settings(schedule_file(folder))
    kind: Any = getattr(diffusers, settings["_class_name"])
    scheduler: SchedulerMixin = kind.from_config(settings)
    return scheduler
