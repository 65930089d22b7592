"""How an image was made, as far as a calibration depends on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from inverse.errors import UsageError
from inverse.provenance import json_ready
from inverse.reconstruction import Reconstruction

__all__ = ["Conditions", "acceleration_in"]

_T = TypeVar("_T")

_COMPARED_APART = ("prior", "n_samples")
_NOISE_LEVELS = ("sigma_min", "sigma_max")  # follow the noise of the data unless somebody sets them
_SAME_ACCELERATION = 1.1
_SAME_NOISE = 2.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """How images were made that one calibration serves; what is None is not known.

    Parameters
    ----------
    method, prior : str, optional
        A prior by its name or, from a file, its hash.
    n_samples : int, optional
        The spread of few samples is itself uncertain, so a factor serves one number of them.
    acceleration : float, optional
        Within 10 % is the same.
    noise : float, optional
        Standard deviation for a peak of one; within a factor of two is the same.
    settings : mapping
        Of the method; its first and last noise level within a factor of two, as the noise.
    """

    method: str | None = None
    prior: str | None = None
    n_samples: int | None = None
    acceleration: float | None = None
    noise: float | None = None
    settings: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, reconstruction: Reconstruction) -> Conditions:
        """Read them from a reconstruction and its record.

        Parameters
        ----------
        reconstruction : Reconstruction
        """
        recipe, preparation = (
            part if isinstance(part, Mapping) else {}
            for part in (reconstruction.provenance.get(key) for key in ("recipe", "preparation"))
        )
        used = reconstruction.settings
        prior = recipe.get("prior") or used.get("prior")
        posterior = reconstruction.posterior
        noise = reconstruction.diagnostics.noise_to_peak
        own = {name: value for name, value in used.items() if name not in _COMPARED_APART}
        plain = json_ready(own)
        return cls(
            method=reconstruction.method,
            prior=None if prior is None else str(prior),
            n_samples=None if posterior is None else len(posterior.samples),
            acceleration=acceleration_in(preparation),
            noise=noise if math.isfinite(noise) else None,
            settings=plain if isinstance(plain, dict) else {},
        )

    @classmethod
    def from_facts(cls, facts: Mapping[str, object]) -> Conditions:
        """Read them from what JSON held of them; whatever is wrong with it raises.

        Parameters
        ----------
        facts : mapping
            As `dataclasses.asdict` gives them.
        """
        settings = _optional(facts["settings"], dict)
        return cls(
            method=_optional(facts["method"], str),
            prior=_optional(facts["prior"], str),
            n_samples=_optional(facts["n_samples"], int),
            acceleration=_optional(facts["acceleration"], float),
            noise=_optional(facts["noise"], float),
            settings={} if settings is None else settings,
        )

    def differences(self, other: Conditions) -> list[str]:
        """Say what another image was made with that these do not allow.

        Parameters
        ----------
        other : Conditions

        Examples
        --------
        >>> Conditions("dds", "natural", 8, 4.0).differences(Conditions("dds", "brain", 8, 4.2))
        ['prior natural, not brain']
        """
        same = (
            ("method", self.method, other.method),
            ("prior", self.prior, other.prior),
            ("samples", self.n_samples, other.n_samples),
            *_by_name(self.settings, other.settings),
        )
        near = (
            ("acceleration", self.acceleration, other.acceleration, _SAME_ACCELERATION),
            ("noise relative to the peak", self.noise, other.noise, _SAME_NOISE),
            *(
                (name, _level(self.settings, name), _level(other.settings, name), _SAME_NOISE)
                for name in _NOISE_LEVELS
            ),
        )
        found = [
            f"{name} {ours}, not {theirs}"
            for name, ours, theirs in same
            if None not in {ours, theirs} and ours != theirs
        ]
        for name, one, two, factor in near:
            if one is not None and two is not None and max(one, two) > factor * min(one, two):
                found.append(f"{name} {one:.3g}, not {two:.3g}")
        return found

    def refuse_others(self, other: Conditions) -> None:
        """Refuse a calibration for an image that was made otherwise.

        Parameters
        ----------
        other : Conditions
            What is None in it is not compared, so that it can be asked before the image is made.

        Raises
        ------
        UsageError
            Naming what differs.
        """
        different = self.differences(other)
        if different:
            raise UsageError(
                f"the calibration expected images made with {'; '.join(different)}; calibrate on "
                f"images made like this one"
            )


def acceleration_in(notes: Mapping[str, object]) -> float | None:
    """Return the acceleration that preparation noted, if it did.

    Examples
    --------
    >>> acceleration_in({"acceleration": 4}), acceleration_in({})
    (4.0, None)
    """
    found = notes.get("acceleration")
    return float(found) if isinstance(found, int | float) else None


def _optional(value: object, kind: type[_T]) -> _T | None:
    if value is None or isinstance(value, kind):
        return value
    raise TypeError


def _level(settings: Mapping[str, object], name: str) -> float | None:
    found = settings.get(name)
    return float(found) if isinstance(found, int | float) else None


def _by_name(
    ours: Mapping[str, object], theirs: Mapping[str, object]
) -> list[tuple[str, str | None, str | None]]:
    """Pair settings as text; those of one side only are compared when both sides have any."""
    if not (ours and theirs):
        return []
    names = sorted({*ours, *theirs} - {*_NOISE_LEVELS})
    return [(name, str(ours.get(name, "none")), str(theirs.get(name, "none"))) for name in names]
