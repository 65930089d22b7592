"""From a measurement file to an image that can be trusted.

    m = inverse.load("scan.h5")           # the measurement
    p = m.prepare()                       # the problem  y = A x + n
    r = inverse.reconstruct(p)            # the reconstruction
    r.save("out.nii.gz"); r.report("out.html")

Names are imported when they are first used: `import inverse` costs nothing.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inverse.calibrating import calibrate
    from inverse.calibration import Calibration
    from inverse.diffusers_pipeline import DDSPipeline
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
    from inverse.posterior import Posterior
    from inverse.priors import load_prior
    from inverse.problem import Problem
    from inverse.reconstructing import reconstruct
    from inverse.reconstruction import Diagnostics, Reconstruction
    from inverse.reloading import load_reconstruction

__suite__ = "inverse-suite"
__version__ = "0.1.0"

__all__ = [
    "Calibration",
    "ConvergenceError",
    "DDSPipeline",
    "DataError",
    "Diagnostics",
    "Grid",
    "InverseError",
    "KSpace",
    "Posterior",
    "Problem",
    "Reconstruction",
    "ResourceError",
    "UsageError",
    "calibrate",
    "load",
    "load_prior",
    "load_reconstruction",
    "reconstruct",
]

_HOMES = {
    "Calibration": "inverse.calibration",
    "ConvergenceError": "inverse.errors",
    "DDSPipeline": "inverse.diffusers_pipeline",
    "DataError": "inverse.errors",
    "Diagnostics": "inverse.reconstruction",
    "Grid": "inverse.grid",
    "InverseError": "inverse.errors",
    "KSpace": "inverse.mri.kspace",
    "Posterior": "inverse.posterior",
    "Problem": "inverse.problem",
    "Reconstruction": "inverse.reconstruction",
    "ResourceError": "inverse.errors",
    "UsageError": "inverse.errors",
    "calibrate": "inverse.calibrating",
    "load": "inverse.io",
    "load_prior": "inverse.priors",
    "load_reconstruction": "inverse.reloading",
    "reconstruct": "inverse.reconstructing",
}


@cache
def _refuse_impostors() -> None:
    """Refuse other code under our siblings' names: it would fail later, and less clearly."""
    root = Path(__file__).resolve().parents[1]
    for name in ("operators", "solvers"):
        spec = find_spec(name)
        origin = spec.origin if spec else None
        if origin is None or root not in Path(origin).resolve().parents:
            raise ImportError(
                f"'{name}' is {origin or 'missing'}, expected the one of inverse-suite in {root}; "
                "rename or remove the other, or use an environment of its own"
            )


def __getattr__(name: str) -> object:
    if name in _HOMES:
        _refuse_impostors()
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'inverse' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
