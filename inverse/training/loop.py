"""The training loop: an EDM denoiser on image crops, resumable to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from inverse.errors import ConvergenceError, ResourceError, UsageError
from inverse.io.atomic import check_writable
from inverse.training.card import About, TrainedOn, model_card
from inverse.training.checkpoint import Checkpoint
from inverse.training.crops import Batch, batches, large_images
from inverse.training.image_sets import ImageSet
from inverse.training.lock import training_lock
from inverse.training.network import build_network, predict, with_weights
from inverse.training.plan import TrainingPlan
from inverse.training.validation import denoising_psnr
from inverse.training.writing import write_prior

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["PRECISIONS", "PRIOR", "STATE", "train"]

STATE = "state.safetensors"
PRIOR = "prior"
PRECISIONS = ("bf16", "fp16", "no")

Progress = Callable[[int, int, dict[str, float]], None]


def train(
    images: ImageSet,
    validation: ImageSet,
    plan: TrainingPlan,
    folder: Path,
    *,
    about: About | None = None,
    save_every: int = 500,
    mixed_precision: str = "bf16",
    cpu: bool = False,
    progress: Progress | None = None,
    after_step: Callable[[int], bool] | None = None,
) -> dict[str, float]:
    """Train a prior and leave it in `folder` as a diffusers pipeline.

    The loss is the squared error of the denoised crop, weighted by
    (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 (Karras et al. 2022, eq. 8). A folder that holds
    an unfinished run is taken up where it stopped; on one device the result is then the same to
    the bit as that of a run that was never stopped.

    Parameters
    ----------
    images, validation : ImageSet
        Of different subjects.
    plan : TrainingPlan
    folder : Path
        Gets ``state.safetensors`` (to resume), ``logs`` (TensorBoard) and ``prior`` (the result,
        written at every save).
    about : About, optional
        Name, licence and command for the model card.
    save_every : int
        Steps between saves; validation runs as often.
    mixed_precision : {"bf16", "fp16", "no"}
        Of the network's arithmetic; weights, loss and moments stay in float32.
    cpu : bool
        Stay on the CPU even where there is a GPU.
    progress : function, optional
        Called as progress(step, steps, figures) after each save.
    after_step : function, optional
        Called as after_step(steps done) after each step. Where it returns true, a run of one
        process saves its state and ends there.

    Returns
    -------
    dict
        The last validation figures: denoising PSNR in dB by noise level.

    Raises
    ------
    UsageError
        If the folder holds a run with another plan, licence or images, a prior of another origin,
        or a run that is still going on; if the precision does not fit the device, or the processes
        cannot share a batch evenly.
    DataError
        If no image is as large as a crop.
    ConvergenceError
        If the loss is no longer finite.
    ResourceError
        If the packages for training are missing, or the folder cannot be written.
    """
    _check(mixed_precision, cpu, save_every)
    check_writable(folder)
    folder.mkdir(exist_ok=True)
    with ExitStack() as held, _accelerator(folder, mixed_precision, cpu) as accelerator:
        if plan.batch % accelerator.num_processes:
            raise UsageError(
                f"batch expected a multiple of the {accelerator.num_processes} processes, got "
                f"{plan.batch}"
            )
        if accelerator.is_main_process:
            held.enter_context(training_lock(folder))
        run = _Run(accelerator, plan, TrainedOn(images, validation), folder, about or About())
        done = run.resume()
        figures: dict[str, float] = {}
        losses: list[torch.Tensor] = []
        for step, batch in enumerate(run.batches(done), done):
            losses.append(run.step(step, batch))
            is_last = step + 1 == plan.steps
            is_stopped = after_step is not None and after_step(step + 1) and run.is_alone
            if not (is_last or is_stopped) and (step + 1) % save_every:
                continue
            loss = _mean(losses, step)
            if is_stopped and not is_last:
                run.save(step + 1)
                break
            figures = run.publish(step + 1, loss)
            if progress is not None and accelerator.is_main_process:
                progress(step + 1, plan.steps, {"loss": loss, **figures})
        # A run that was finished before has nothing left to do but to say how good it is.
        return run.publish(done, None) if done == plan.steps else figures


def _mean(losses: list[torch.Tensor], step: int) -> float:
    """Empty a list of losses and return their mean: the only wait for the device in the loop."""
    loss = float(torch.stack(losses).double().mean())
    losses.clear()
    if not loss < float("inf"):
        raise ConvergenceError(
            f"the loss was no longer finite before step {step + 1}; lower the learning rate, or "
            f"check the scale of the images"
        )
    return loss


def _check(mixed_precision: str, cpu: bool, save_every: int) -> None:
    for name in ("accelerate", "tensorboard"):
        if find_spec(name) is None:
            raise ResourceError(
                f"training needs the package {name}: pip install 'inverse-suite[train]'"
            )
    if mixed_precision not in PRECISIONS:
        raise UsageError(f"precision expected {', '.join(PRECISIONS)}, got '{mixed_precision}'")
    if mixed_precision == "fp16" and (cpu or not torch.cuda.is_available()):
        raise UsageError("precision fp16 expected a GPU; choose bf16 or no on a processor")
    if save_every < 1:
        raise UsageError(f"save_every expected a positive integer, got {save_every}")


@contextmanager
def _accelerator(folder: Path, mixed_precision: str, cpu: bool) -> Iterator[Accelerator]:
    """Set up devices and the log; afterwards leave the process as it was.

    Accelerate keeps its choice of device and precision in the process: without the reset, a
    second run could not choose otherwise.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, is_initialized

    is_ours = not is_initialized()
    accelerator = Accelerator(
        mixed_precision=mixed_precision, cpu=cpu, log_with="tensorboard", project_dir=folder
    )
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            yield accelerator
        accelerator.wait_for_everyone()
    finally:
        accelerator.end_training()
        if is_ours:
            AcceleratorState._reset_state(reset_partial_state=True)


class _Run:
    """One training run: its network, its optimizer and where they are kept."""

    def __init__(
        self,
        accelerator: Accelerator,
        plan: TrainingPlan,
        data: TrainedOn,
        folder: Path,
        about: About,
    ) -> None:
        network = build_network(plan)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = torch.optim.AdamW(network.parameters(), plan.learning_rate)
        self._accelerator = accelerator
        self._plan = plan
        self._data = data
        self._folder = folder
        self._about = about
        self._network, self._optimizer = accelerator.prepare(network, optimizer)
        bare: torch.nn.Module = accelerator.unwrap_model(self._network)
        self._weights: list[torch.Tensor] = list(bare.parameters())
        self._average = [weight.detach().clone() for weight in self._weights]
        self._state = Checkpoint(bare, self._average, self._optimizer.optimizer, accelerator.scaler)

    def resume(self) -> int:
        """Take up what the folder holds, and return how many steps were done."""
        path = self._folder / STATE
        fingerprint = self._data.training.fingerprint
        for images in (self._data.training, self._data.validation):
            large_images(images, self._plan)
        if path.is_file():
            done = self._state.load(path, self._plan, fingerprint, self._about.licence)
        else:
            self._refuse_foreign_prior()
            done = 0
            self.save(done)
        self._accelerator.init_trackers("logs")
        return done

    def _refuse_foreign_prior(self) -> None:
        """Refuse a folder whose prior has no state beside it: that is not ours to replace."""
        if (self._folder / PRIOR).exists():
            raise UsageError(
                f"the folder holds a '{PRIOR}' but no training run; it would be replaced; choose "
                f"another folder"
            )

    @property
    def is_alone(self) -> bool:
        """Whether this is the only process."""
        return bool(self._accelerator.num_processes == 1)

    def batches(self, done: int) -> Iterator[Batch]:
        """Return the batches of the steps after `done`, on the device."""
        device = self._accelerator.device
        part, n_parts = self._accelerator.process_index, self._accelerator.num_processes
        steps = range(done, self._plan.steps)
        for batch in batches(self._data.training, self._plan, steps, part, n_parts):
            if device.type == "cuda":  # from pinned memory the copy does not hold up the loop
                clean, sigma, noise = (t.pin_memory().to(device, non_blocking=True) for t in batch)
                yield clean, sigma, noise
            else:
                yield batch

    def step(self, step: int, batch: Batch) -> torch.Tensor:
        """Take one step and return its loss, still on the device."""
        plan, accelerator = self._plan, self._accelerator
        for group in self._optimizer.param_groups:
            group["lr"] = plan.rate(step)
        clean, sigma, noise = batch
        noisy = clean.clone()
        noisy[:, :1] += sigma[:, None, None, None] * noise
        weight = (sigma**2 + plan.sigma_data**2) / (sigma * plan.sigma_data) ** 2
        with accelerator.autocast():
            denoised = predict(self._network, noisy, sigma, plan.sigma_data)
        loss = (weight * (denoised - clean[:, :1]).square().mean((1, 2, 3))).mean()
        self._optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self._weights, 1.0)
        self._optimizer.step()
        with torch.no_grad():  # else the average would remember every step's weights
            torch._foreach_lerp_(self._average, self._weights, 1 - plan.average(step))
        return loss.detach()

    def save(self, done: int) -> None:
        """Write the state after `done` steps."""
        if self._accelerator.is_main_process:
            fingerprint = self._data.training.fingerprint
            licence = self._about.licence
            self._state.save(self._folder / STATE, done, self._plan, fingerprint, licence)

    def publish(self, done: int, loss: float | None) -> dict[str, float]:
        """Measure, log and write the averaged network, then the state; return the figures."""
        plan, about, data = self._plan, self._about, self._data
        if not self._accelerator.is_main_process:
            return {}
        averaged = with_weights(plan, self._average, self._accelerator.device)
        figures = denoising_psnr(averaged, data.validation, plan, self._accelerator.device)
        n_parameters = sum(weight.numel() for weight in self._weights)
        card = model_card(about, plan, data, step=done, n_parameters=n_parameters, figures=figures)
        write_prior(
            averaged,
            plan,
            self._folder / PRIOR,
            name=about.name,
            scale=data.training.scale,
            card=card,
        )
        if loss is not None:
            self._accelerator.log({"loss": loss, "rate": plan.rate(done - 1), **figures}, step=done)
        # Last: a run killed before this repeats the steps rather than miss what they give.
        self.save(done)
        return figures
