"""A training run as a person sees it: progress, figures, Ctrl-C, and how to go on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import typer

from inverse.cli.console import progress, say_error, show_facts, show_json

if TYPE_CHECKING:
    from inverse.training import About, ImageSet, TrainingPlan

__all__ = ["TrainingRun"]

_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """What is trained, and where."""

    training: ImageSet
    held: ImageSet
    plan: TrainingPlan
    folder: Path
    about: About

    def train(self, precision: str, save_every: int, *, cpu: bool) -> dict[str, float]:
        """Train until the end; after Ctrl-C say how to go on and leave.

        Raises
        ------
        typer.Exit
            If it was interrupted.
        """
        from inverse.training import train as run

        self.folder.mkdir(exist_ok=True)
        try:
            with _interrupts() as is_interrupted, progress() as shown:

                def after_step(done: int) -> bool:
                    shown("training", done, self.plan.steps)
                    return is_interrupted()

                figures = run(
                    self.training,
                    self.held,
                    self.plan,
                    self.folder,
                    about=self.about,
                    save_every=save_every,
                    mixed_precision=precision,
                    cpu=cpu,
                    progress=_say_figures,
                    after_step=after_step,
                )
                was_left = is_interrupted() and self.n_done < self.plan.steps
        except KeyboardInterrupt:
            was_left = True
        if was_left:
            say_error(
                f"stopped; {self.n_done} of {self.plan.steps} steps are kept, and the same command "
                f"goes on from there"
            )
            raise typer.Exit(_INTERRUPTED)
        return figures

    def show(self, figures: dict[str, float], *, as_json: bool) -> None:
        """Print what was made and how good it is."""
        from inverse.training.loop import PRIOR

        prior = self.folder / PRIOR
        if as_json:
            show_json(
                {
                    "prior": str(prior),
                    "steps": self.plan.steps,
                    "training_images": len(self.training.images),
                    "validation_images": len(self.held.images),
                    "validation": self.held.note,
                    "figures": figures,
                }
            )
            return
        show_facts(
            [
                ("steps", str(self.plan.steps)),
                *(
                    (f"PSNR at {key.removeprefix('psnr_')}", f"{v:.2f} dB")
                    for key, v in figures.items()
                ),
                *([("validation", self.held.note)] if self.held.note else []),
                ("log", f"tensorboard --logdir {self.folder / 'logs'}"),
                ("wrote", f"{prior}; use it with --prior {prior}"),
            ]
        )

    @property
    def n_done(self) -> int:
        """How many steps the folder holds."""
        from inverse.training.checkpoint import saved_step
        from inverse.training.loop import STATE

        return saved_step(self.folder / STATE)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Count Ctrl-C instead of leaving at once; the second one leaves.

    Several processes would not see it at the same step; they are left at once.

    Yields
    ------
    callable
        Whether there was one.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        yield lambda: False
        return
    seen: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        del frame
        if seen:
            raise KeyboardInterrupt
        seen.append(number)
        print("stopping after this step; Ctrl-C again leaves at once", file=sys.stderr)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, before)


def _say_figures(step: int, steps: int, figures: dict[str, float]) -> None:
    told = ", ".join(
        f"{key.replace('psnr_', 'PSNR at ')} {value:.2f}" for key, value in figures.items()
    )
    print(f"step {step} of {steps}: {told}", file=sys.stderr)
