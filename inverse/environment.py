"""The machine and the installation as they are: versions, devices, impostors, known problems."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

__all__ = ["Finding", "examine", "shown"]

_DISTRIBUTION = "inverse-suite"
_OURS = ("operators", "solvers", "inverse")
_READERS = {"nibabel": "NIfTI", "pydicom": "DICOM", "jinja2": "the report"}
_OLDEST_TORCH, _NEWEST_TORCH = (2, 10), (2, 14)
_LITTLE_MEMORY_GIB, _LITTLE_DISK_GIB = 2.0, 1.0
_ROUND_TRIP = 1e-5

Level = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    level : {"ok", "note", "problem"}
    subject : str
        What was looked at.
    message : str
        What was found and, for a problem, what to do.
    """

    level: Level
    subject: str
    message: str


def examine(folder: Path | None = None) -> list[Finding]:
    """Look at everything that has been seen to go wrong.

    Parameters
    ----------
    folder : Path, optional
        Where the person works; the current folder when left out.

    Returns
    -------
    list of Finding
        Home folders are written as ``~``.
    """
    here = folder or Path.cwd()
    return [
        *_installation(),
        *impostors(here, metadata.packages_distributions()),
        *_readers(),
        *_torch(),
        *_resources(here),
    ]


def _installation() -> Iterator[Finding]:
    yield Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}")
    try:
        yield Finding("ok", _DISTRIBUTION, metadata.version(_DISTRIBUTION))
    except metadata.PackageNotFoundError:
        yield Finding("note", _DISTRIBUTION, "runs from a folder; it is not installed")


def impostors(here: Path, providers: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Look for other code under the names of our packages.

    Parameters
    ----------
    here : Path
        A file or package of that name in this folder wins over the installed one.
    providers : mapping of str to list of str
        Which distributions install each import name, as `importlib.metadata` tells.

    Yields
    ------
    Finding
    """
    root = Path(__file__).resolve().parent.parent
    for name in _OURS:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        if origin is None or root not in origin.parents:
            where = "nowhere" if origin is None else shown(origin)
            yield Finding(
                "problem",
                name,
                f"expected below {shown(root)}, found {where}: other code has this name; "
                "remove it or use an environment of its own",
            )
        else:
            yield Finding("ok", name, shown(origin.parent))
        others = sorted(set(providers.get(name, ())) - {_DISTRIBUTION})
        if others:
            yield Finding(
                "problem",
                name,
                f"the distribution {', '.join(others)} installs a package of this name too; "
                f"pip uninstall {' '.join(others)}, then reinstall {_DISTRIBUTION}",
            )
        for rival in (here / f"{name}.py", here / name / "__init__.py"):
            if rival.is_file() and root not in rival.resolve().parents:
                yield Finding(
                    "problem",
                    name,
                    f"{rival.relative_to(here)} in the current folder hides our package from "
                    "Python started here; rename it or work elsewhere",
                )


def _readers() -> Iterator[Finding]:
    for name, purpose in _READERS.items():
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("problem", name, f"missing, {purpose} needs it; pip install {name}")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("problem", "torch", f"cannot be imported ({error}); pip install torch")
        return
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if _OLDEST_TORCH <= version < _NEWEST_TORCH:
        yield Finding("ok", "torch", f"{torch.__version__}, {torch.get_num_threads()} threads")
    else:
        wanted = f"{_OLDEST_TORCH[0]}.{_OLDEST_TORCH[1]} to {_NEWEST_TORCH[0]}.{_NEWEST_TORCH[1]}"
        yield Finding(
            "problem",
            "torch",
            f"{torch.__version__}, tested from {wanted}; pip install a tested one",
        )
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if available and torch.get_num_threads() > available:
        yield Finding(
            "note", "threads", f"torch uses more than the {available} cores given; use --threads"
        )
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.complex64)
    apart = float((torch.fft.ifft2(torch.fft.fft2(x)) - x).abs().max())
    level: Level = "ok" if apart < _ROUND_TRIP else "problem"
    yield Finding(level, "fourier", f"a transform and back is within {apart:.1e}")
    yield from _devices()


def _devices() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            memory = facts.total_memory / 2**30
            yield Finding("ok", f"cuda:{index}", f"{facts.name}, {memory:.0f} GiB")
    elif torch.version.cuda is not None:
        yield Finding(
            "note", "gpu", "torch was built for CUDA but finds no device; the CPU is used"
        )
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "note", "gpu", "there is an NVIDIA driver, but this torch is built for the CPU only"
        )
    else:
        yield Finding("ok", "gpu", "none; the CPU is used")
    if sys.platform == "darwin" and torch.backends.mps.is_available():
        yield Finding("note", "mps", "not used: complex numbers are not reliable on it")


def _resources(here: Path) -> Iterator[Finding]:
    disk = shutil.disk_usage(here).free / 2**30
    enough: Level = "ok" if disk > _LITTLE_DISK_GIB else "problem"
    yield Finding(enough, "disk", f"{disk:.1f} GiB free in the current folder")
    if not os.access(here, os.W_OK):
        yield Finding("problem", "disk", "the current folder cannot be written; change to another")
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return
    level: Level = "ok" if memory > _LITTLE_MEMORY_GIB else "note"
    yield Finding(level, "memory", f"{memory:.1f} GiB")


def shown(path: Path) -> str:
    """Return a path with the home folder written as ``~``."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)
