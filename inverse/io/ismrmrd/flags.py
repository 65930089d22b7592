"""The acquisition flags of ISMRMRD: which lines are used, which are left out, which are refused.

Bit k of the flag word is flag k + 1. Reference: ismrmrd/constants.h of the ISMRMRD standard, 1.x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError

__all__ = ["CALIBRATION", "NOISE", "REVERSE", "Kinds", "sort_by_kind"]

NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = 19, 20, 21, 22

_SKIPPED = {
    23: "ACQ_IS_NAVIGATION_DATA",
    24: "ACQ_IS_PHASECORR_DATA",
    26: "ACQ_IS_HPFEEDBACK_DATA",
    27: "ACQ_IS_DUMMYSCAN_DATA",
    28: "ACQ_IS_RTFEEDBACK_DATA",
    29: "ACQ_IS_SURFACECOILCORRECTIONSCAN_DATA",
    30: "ACQ_IS_PHASE_STABILIZATION_REFERENCE",
    31: "ACQ_IS_PHASE_STABILIZATION",
}
_USED = {
    **dict.fromkeys(range(1, 19), "ACQ_FIRST_OR_LAST_OF_A_LOOP"),
    NOISE: "ACQ_IS_NOISE_MEASUREMENT",
    CALIBRATION: "ACQ_IS_PARALLEL_CALIBRATION",
    CALIBRATION_AND_IMAGING: "ACQ_IS_PARALLEL_CALIBRATION_AND_IMAGING",
    REVERSE: "ACQ_IS_REVERSE",
    25: "ACQ_LAST_IN_MEASUREMENT",
    **{k: f"ACQ_USER{k - 56}" for k in range(57, 65)},
}
_REFUSED = {k: f"ACQ_COMPRESSION{k - 52}" for k in range(53, 57)}


@dataclass(frozen=True, slots=True)
class Kinds:
    """Acquisitions by what they are for; every field holds indices into the file.

    Parameters
    ----------
    imaging : (n,), int
        Lines of k-space.
    calibration : (n,), int
        Lines that only calibrate parallel imaging.
    noise : (n,), int
        Noise-only samples.
    seen : dict of str to int
        How many acquisitions carry each flag that says what they are.
    skipped : dict of str to int
        How many were left out, by flag.
    """

    imaging: NDArray[np.intp]
    calibration: NDArray[np.intp]
    noise: NDArray[np.intp]
    seen: dict[str, int]
    skipped: dict[str, int]


def has(flags: NDArray[np.uint64], flag: int) -> NDArray[np.bool_]:
    """(n,) True where the flag is set."""
    return np.asarray(flags >> np.uint64(flag - 1) & np.uint64(1), dtype=bool)


def sort_by_kind(flags: NDArray[np.uint64]) -> Kinds:
    """Sort acquisitions by their flags.

    Parameters
    ----------
    flags : (n,), uint64

    Raises
    ------
    DataError
        If one carries a flag that changes what its samples mean and is not supported; the
        message names the flag.

    Examples
    --------
    >>> sort_by_kind(np.array([0, 1 << 18, 1 << 22], dtype=np.uint64)).imaging.tolist()
    [0]
    """
    counts = {flag: int(has(flags, flag).sum()) for flag in range(1, 65)}
    for flag, count in counts.items():
        if count and flag not in _USED and flag not in _SKIPPED:
            name = _REFUSED.get(flag, f"number {flag}, which the standard does not define")
            raise DataError(
                f"{count} acquisitions carry the unsupported flag {name}; "
                f"convert the file without it"
            )
    skipped = np.zeros(len(flags), dtype=bool)
    for flag in _SKIPPED:
        skipped |= has(flags, flag)
    noise = has(flags, NOISE) & ~skipped
    calibration = has(flags, CALIBRATION) & ~has(flags, CALIBRATION_AND_IMAGING)
    calibration &= ~skipped & ~noise
    named = {**_USED, **_SKIPPED}
    return Kinds(
        imaging=np.flatnonzero(~(skipped | noise | calibration)),
        calibration=np.flatnonzero(calibration),
        noise=np.flatnonzero(noise),
        seen={named[f]: n for f, n in counts.items() if n and f > 18},
        skipped={_SKIPPED[f]: counts[f] for f in _SKIPPED if counts[f]},
    )
