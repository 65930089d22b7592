"""Conformal calibration: intervals that hold the truth as often as they say, by what they missed.

A sampler's spread is only as right as its prior and its approximations. On slices whose truth is
known one number can be measured: how many standard deviations wide an interval must be to hold the
truth in, say, 90 % of the object's voxels. It serves slices like those, and no others.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inverse.conditions import Conditions, acceleration_in
from inverse.errors import DataError, UsageError
from inverse.posterior import Interval, Posterior
from inverse.problem import Problem
from inverse.provenance import json_ready
from inverse.reconstruction import Reconstruction

__all__ = ["Calibration", "posterior_of", "spread_of"]

SCHEMA = "inverse-suite calibration 1"

_FLOOR = 0.1
_INFORMATIVE = 0.2


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns the spread of samples into intervals of known coverage.

    |truth - estimate| <= factor max(std, floor),  floor = 0.1 median of std inside the object

    Parameters
    ----------
    level : float
        Share of the object's voxels that the interval should hold.
    factor : float
        Half the width of the interval in standard deviations of the samples.
    coverage_before : float
        Share of the truth within the quantiles of the samples at the same level.
    coverage_after : float
        Share within the calibrated intervals, each slice with the factor of all others.
    coverage_of_slices : tuple of float
        The same slice by slice: how much one new slice may differ.
    error_correlation : float
        Correlation of |truth - estimate| with the standard deviation over the voxels; below 0.2
        the spread does not show where the errors are, see `verdict`.
    n_slices, n_pixels : int
        What it was measured on.
    conditions : Conditions
        How those images were made.

    Notes
    -----
    The promise holds for slices that are exchangeable with those it was measured on: the same
    anatomy, scanner and protocol, drawn in the same way. Whether they are cannot be checked here;
    method, prior, samples, settings, acceleration and noise are. Voxels of one slice err together,
    so one new slice may lie well off the level: see `coverage_of_slices`.

    References
    ----------
    Lei et al. 2018, doi:10.1080/01621459.2017.1307116, algorithm 2 and section 5.2 (split conformal
    prediction with locally weighted residuals)
    """

    level: float
    factor: float
    coverage_before: float
    coverage_after: float
    coverage_of_slices: tuple[float, ...]
    error_correlation: float
    n_slices: int
    n_pixels: int
    conditions: Conditions

    @property
    def spread_shows_where(self) -> bool:
        """Whether errors were larger where samples spread more: a correlation of 0.2 or more."""
        return self.error_correlation >= _INFORMATIVE

    @property
    def verdict(self) -> str:
        """What the spread of the samples is worth, in a sentence."""
        figure = (
            f"error and spread were correlated by {self.error_correlation:.2f}, where 1 is in step "
            f"and less than {_INFORMATIVE:g} next to nothing"
        )
        if self.spread_shows_where:
            return f"The spread shows, in part, where the errors are: {figure}."
        return (
            f"The spread does not show where the errors are, only how large they are on average: "
            f"{figure}."
        )

    def interval(
        self, reconstruction: Reconstruction
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Lower and upper image between which the truth lies in `level` of the object's voxels.

        Parameters
        ----------
        reconstruction : Reconstruction
            With samples, made under the conditions of the calibration.

        Returns
        -------
        low, high : (z, y, x), float32
            Not below 0 where magnitudes are looked at.

        Raises
        ------
        UsageError
            If it has no samples, or was made under other conditions.
        """
        posterior = posterior_of(reconstruction)
        self.conditions.refuse_others(Conditions.of(reconstruction))
        half = self.factor * spread_of(posterior)
        low, high = posterior.estimate - half, posterior.estimate + half
        if np.iscomplexobj(posterior.samples):
            low = np.maximum(low, 0)
        return low.astype(np.float32), high.astype(np.float32)

    def apply(self, reconstruction: Reconstruction) -> Reconstruction:
        """Return the reconstruction with the calibrated interval, which files and reports show.

        Raises
        ------
        UsageError
            As `interval`.
        """
        low, high = self.interval(reconstruction)
        posterior = posterior_of(reconstruction)
        origin = f"calibrated on {self.n_slices} slices whose truth was known"
        interval = Interval(self.level, low, high, origin, self.verdict)
        return replace(reconstruction, posterior=posterior.with_interval(interval))

    def check_problem(self, problem: Problem) -> None:
        """Refuse a problem whose images the calibration does not serve, before they are made.

        Raises
        ------
        UsageError
            If its acceleration or its noise is another.
        """
        here = Conditions(acceleration=acceleration_in(problem.notes), noise=problem.noise_std)
        self.conditions.refuse_others(here)

    def save(self, path: str | Path) -> Path:
        """Write the calibration as JSON and return its path.

        Raises
        ------
        ResourceError
            If the file cannot be written; what was there before stays.
        """
        from inverse.io.atomic import replacing

        facts = json_ready({"schema": SCHEMA, **asdict(self)})
        with replacing(Path(path)) as part:
            part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read what `save` wrote.

        Raises
        ------
        DataError
            If the file is missing, damaged or no calibration of this version.
        """
        from inverse.io.untrusted import existing_file, reading

        path = existing_file(Path(path))
        with reading(path, "calibration"):
            facts = json.loads(path.read_text(encoding="utf-8"))
            schema = facts.pop("schema", None) if isinstance(facts, dict) else None
            if schema != SCHEMA:
                raise DataError(
                    f"expected a calibration ('{SCHEMA}'), got {schema or 'another file'}; make "
                    f"one with `inverse calibrate`"
                )
            return _from_facts(facts)


def posterior_of(reconstruction: Reconstruction) -> Posterior:
    """Return the samples of a reconstruction.

    Raises
    ------
    UsageError
        If it has none.
    """
    if reconstruction.posterior is None:
        raise UsageError(
            f"a calibration expected a reconstruction with samples, got one image by "
            f"{reconstruction.method}; draw several with n_samples (--samples)"
        )
    return reconstruction.posterior


def spread_of(posterior: Posterior) -> NDArray[np.floating]:
    """Return max(std, floor): a few samples may agree by chance.

    Raises
    ------
    DataError
        If the samples do not differ.
    """
    std = posterior.std
    inside = std[posterior.inside]
    floor = _FLOOR * float(np.median(inside)) if inside.size else 0.0
    if not floor > 0:
        raise DataError(
            "a calibration expected samples that differ, most voxels of the object do not vary "
            "at all; use a method that samples"
        )
    return np.asarray(np.maximum(std, floor))


def _from_facts(facts: Mapping[str, object]) -> Calibration:
    """Build a calibration from what JSON held; whatever is wrong with it raises."""
    known = dict(facts)
    conditions = known.pop("conditions")
    coverage = known.pop("coverage_of_slices")
    if not isinstance(conditions, Mapping) or not isinstance(coverage, list):
        raise TypeError
    n_slices, n_pixels = (int(str(known.pop(name))) for name in ("n_slices", "n_pixels"))
    numbers = {name: float(str(value)) for name, value in known.items()}
    if not (0 < numbers["level"] < 1 and 0 <= numbers["factor"] < math.inf):
        raise ValueError
    return Calibration(
        **numbers,
        n_slices=n_slices,
        n_pixels=n_pixels,
        coverage_of_slices=tuple(float(share) for share in coverage),
        conditions=Conditions.from_facts(conditions),
    )
