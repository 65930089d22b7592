"""From a measurement file to an image that can be trusted.

    m = inverse.load("scan.h5")           # the measurement
    p = m.prepare()                       # the problem  y = A x + n
    r = inverse.reconstruct(p)            # the reconstruction
    r.save("out.nii.gz"); r.report("out.html")

Names are imported when they are first used: `import inverse` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inverse.errors import (
        ConvergenceError,
        DataError,
        InverseError,
        ResourceError,
        UsageError,
    )
    from inverse.grid import Grid
    from inverse.io import load
    from inverse.mri.kspace import KSpace
    from inverse.priors import load_prior
    from inverse.problem import Problem
    from inverse.reconstructing import reconstruct
    from inverse.reconstruction import Diagnostics, Reconstruction

__suite__ = "inverse-suite"
__version__ = "0.1.0"

__all__ = [
    "ConvergenceError",
    "DataError",
    "Diagnostics",
    "Grid",
    "InverseError",
    "KSpace",
    "Problem",
    "Reconstruction",
    "ResourceError",
    "UsageError",
    "load",
    "load_prior",
    "reconstruct",
]

_HOMES = {
    "ConvergenceError": "inverse.errors",
    "DataError": "inverse.errors",
    "Diagnostics": "inverse.reconstruction",
    "Grid": "inverse.grid",
    "InverseError": "inverse.errors",
    "KSpace": "inverse.mri.kspace",
    "Problem": "inverse.problem",
    "Reconstruction": "inverse.reconstruction",
    "ResourceError": "inverse.errors",
    "UsageError": "inverse.errors",
    "load": "inverse.io",
    "load_prior": "inverse.priors",
    "reconstruct": "inverse.reconstructing",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'inverse' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
