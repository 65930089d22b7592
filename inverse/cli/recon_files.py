"""The files of `inverse recon`: checked before the work begins, named after it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from inverse.cli.files import check_file, new_image, refuse_collisions

__all__ = ["ReconFiles"]


@dataclass(frozen=True, slots=True)
class ReconFiles:
    """Everything a run reads and writes.

    Parameters
    ----------
    input, output, report, recipe, prior, calibration : Path, optional
        As the options of their names; the input is there always.
    """

    input: Path
    output: Path | None
    report: Path | None
    recipe: Path | None
    prior: Path | None
    calibration: Path | None

    def level(self, n_samples: int) -> float | None:
        """Return the level of the interval that goes beside the image; None without samples."""
        if n_samples < 2:
            return None
        from inverse.calibration import Calibration
        from inverse.posterior import LEVEL

        return Calibration.load(self.calibration).level if self.calibration else LEVEL

    def check(self, n_samples: int) -> None:
        """Refuse, before the work begins, what would overwrite another file or cannot be written.

        Parameters
        ----------
        n_samples : int
            Of several there are maps beside the image.

        Raises
        ------
        UsageError, ResourceError
        """
        from inverse.io.atomic import check_writable
        from inverse.io.targets import check_targets, targets_of

        level = self.level(n_samples)
        named = {
            "FILE": self.input,
            "--recipe": self.recipe,
            "--prior": self.prior,
            "--calibration": self.calibration,
        }
        written = {"--output": self.output, "--report": self.report}
        if self.output:
            _, *maps, sidecar = targets_of(self.output, level=level)
            written |= {"the provenance file": sidecar, **{f"the map {m.name}": m for m in maps}}
        refuse_collisions(
            {name: path for name, path in named.items() if path},
            {name: path for name, path in written.items() if path},
        )
        if self.output:
            check_targets(self.output, level=level)
        else:
            check_writable(Path("image"))  # by default it goes into the current folder
        if self.report:
            check_file(self.report, "--report")

    def target(self, n_samples: int) -> AbstractContextManager[Path]:
        """Return where the image goes: as asked, or a name that nothing has yet."""
        if self.output:
            return nullcontext(self.output)
        others = [self.report] if self.report else []
        return new_image(self.input, others, self.level(n_samples))
