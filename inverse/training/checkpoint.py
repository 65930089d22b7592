"""The state of a training run in one file that a kill cannot tear, without pickled code."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from inverse.errors import DataError, UsageError
from inverse.io.untrusted import reading
from inverse.priors.weight_files import write_tensors
from inverse.training.plan import TrainingPlan

__all__ = ["Checkpoint", "saved_step"]

_FORMAT = "inverse-suite training state 1"
_GROWING = ("steps",)  # a run may be made longer, nothing else of its plan may change


def saved_step(path: Path) -> int:
    """Return how many steps a training state holds, 0 if there is no such file.

    Raises
    ------
    DataError
        If it is no training state, or is damaged.
    """
    from safetensors import safe_open

    if not path.is_file():
        return 0
    with reading(path, "training state"), safe_open(path, framework="pt") as file:
        return int(_about(path, file.metadata())["step"])


def _about(path: Path, metadata: dict[str, str] | None) -> dict[str, str]:
    about = dict(metadata or {})
    if about.get("format") != _FORMAT:
        raise DataError(f"{path}: expected '{_FORMAT}', got '{about.get('format')}'")
    return about


class Checkpoint:
    """Weights, their moving average and AdamW's moments, with the step they belong to.

    Parameters
    ----------
    network : Module
    average : list of Tensor
        Moving average of the parameters, in their order.
    optimizer : AdamW
    scaler : GradScaler, optional
        Of the loss, when gradients are in half precision.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        average: list[torch.Tensor],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self._network = network
        self._average = average
        self._optimizer = optimizer
        self._scaler = scaler

    def save(
        self, path: Path, step: int, plan: TrainingPlan, fingerprint: str, licence: str = ""
    ) -> None:
        """Write the state after `step` steps, atomically, with the licence of the images.

        Raises
        ------
        ResourceError
            If it cannot be written; what was there is kept.
        """
        tensors: dict[str, torch.Tensor] = {}
        for index, (parameter, average) in enumerate(
            zip(self._network.parameters(), self._average, strict=True)
        ):
            tensors[f"weight.{index}"] = parameter
            tensors[f"average.{index}"] = average
            for key, value in self._optimizer.state[parameter].items():
                tensors[f"adam.{key}.{index}"] = torch.as_tensor(value)
        about = {
            "format": _FORMAT,
            "step": str(step),
            "plan": json.dumps(asdict(plan)),
            "images": fingerprint,
            "licence": licence,
        }
        if self._scaler is not None:
            about["scaler"] = json.dumps(self._scaler.state_dict())
        write_tensors(path, tensors, about)

    def load(self, path: Path, plan: TrainingPlan, fingerprint: str, licence: str = "") -> int:
        """Restore the state from a file and return its step.

        Raises
        ------
        UsageError
            If the file belongs to another plan or other images, or to images of another licence; a
            licence may be stated later, not changed.
        DataError
            If it is no training state, or is damaged.
        """
        from safetensors import safe_open

        with reading(path, "training state"), safe_open(path, framework="pt") as file:
            about = _about(path, file.metadata())
            self._check(about, plan, fingerprint, licence)
            keys = set(file.keys())
            if self._scaler is not None and "scaler" in about:
                self._scaler.load_state_dict(json.loads(about["scaler"]))
            for index, parameter in enumerate(self._network.parameters()):
                with torch.no_grad():
                    parameter.copy_(file.get_tensor(f"weight.{index}"))
                    self._average[index].copy_(file.get_tensor(f"average.{index}"))
                moments = {
                    name: file.get_tensor(f"adam.{name}.{index}")
                    for name in ("step", "exp_avg", "exp_avg_sq")
                    if f"adam.{name}.{index}" in keys
                }
                for name, value in moments.items():
                    # AdamW counts on the CPU whatever the device of the weights. Its moments lie in
                    # memory as the weights do: other strides are other arithmetic, to the last bit.
                    on = value if name == "step" else torch.empty_like(parameter).copy_(value)
                    self._optimizer.state[parameter][name] = on
            return int(about["step"])

    @staticmethod
    def _check(about: dict[str, str], plan: TrainingPlan, fingerprint: str, licence: str) -> None:
        then, now = json.loads(about["plan"]), json.loads(json.dumps(asdict(plan)))
        changed = [key for key in now if key not in _GROWING and then.get(key) != now[key]]
        if about["images"] != fingerprint:
            changed.append("images")
        stated = about.get("licence", "")
        if stated not in ("", licence):
            changed.append(f"licence (it has --licence '{stated}')")
        if int(about["step"]) > plan.steps:
            changed.append("steps (fewer than were done)")
        if changed:
            raise UsageError(
                f"this folder holds a training run with other {', '.join(changed)}; "
                f"choose another folder, or repeat its settings to resume"
            )
