"""Timing, agreement and tables: CPU seconds of one thread, all contenders in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import bart

__all__ = [
    "Contender",
    "Table",
    "Timing",
    "environment",
    "one_thread",
    "pictures_folder",
    "race",
    "relative_error",
]

RESULTS = Path(__file__).parent / "results"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
PACKAGES = ("torch", "numpy", "scipy", "sigpy", "MIRTorch", "mrpro")


def one_thread() -> None:
    """Hold every library to one thread; restarts the script when the environment says otherwise.

    The variables are read when numpy, torch and numba are loaded, which is before any code here.
    """
    if any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 -- this very script
    import torch

    torch.set_num_threads(1)


def pictures_folder() -> Path | None:
    """Return the folder given with --pictures, if any."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path, help="write pictures of the images here")
    folder = parser.parse_args().pictures
    return None if folder is None else Path(folder)


def cpu_seconds() -> float:
    """CPU time of this process and of the children it has waited for, user and system."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to be timed: a name and a call that returns its answer."""

    name: str
    run: Callable[[], NDArray[np.generic]]


@dataclass(frozen=True, slots=True, eq=False)
class Timing:
    """Least CPU time of several runs, and the answer of the last."""

    seconds: float
    all_seconds: tuple[float, ...]
    answer: NDArray[np.generic]


def race(contenders: Sequence[Contender], repeats: int = 5, warm_up: int = 1) -> dict[str, Timing]:
    """Time the contenders in turn, round after round, so that a busy spell hits all of them.

    Parameters
    ----------
    contenders : sequence of Contender
    repeats : int
        Timed rounds; the least time counts.
    warm_up : int
        Rounds before, not counted (compilation, plans, caches).
    """
    seconds: dict[str, list[float]] = {c.name: [] for c in contenders}
    answers: dict[str, NDArray[np.generic]] = {}
    for turn in range(warm_up + repeats):
        for contender in contenders:
            start = cpu_seconds()
            answers[contender.name] = contender.run()
            elapsed = cpu_seconds() - start
            if turn >= warm_up:
                seconds[contender.name].append(elapsed)
    return {name: Timing(min(s), tuple(s), answers[name]) for name, s in seconds.items()}


def relative_error(found: NDArray[np.generic], wanted: NDArray[np.generic]) -> float:
    """||found - wanted|| / ||wanted||, no scale fitted."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def environment() -> dict[str, str]:
    """Describe the machine and the versions that a figure belongs to."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    versions["BART"] = bart.version() if bart.is_installed() else "not installed"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores, 1 used",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name", platform.machine())
    return f"{name} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"


@dataclass(slots=True)
class Table:
    """A result table that prints itself, and is written as markdown and JSON.

    Parameters
    ----------
    name : str
        File name without ending.
    title, note : str
        What was measured and how to read it.
    columns : sequence of str
        Heads; each row holds one value a column.
    """

    name: str
    title: str
    columns: Sequence[str]
    note: str = ""
    rows: list[Sequence[object]] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)

    def add(self, *values: object) -> None:
        """Append a row."""
        self.rows.append(values)

    def judge(self, what: str, value: float, limit: float) -> None:
        """Record whether `value` is within `limit` (at most)."""
        verdict = "met" if value <= limit else f"MISSED by {value / limit - 1:.1%}"
        self.verdicts.append(f"{what}: {_text(value)}, target <= {_text(limit)}: {verdict}")

    def markdown(self) -> str:
        """Return the table, the targets and the machine as markdown."""
        lines = [f"# {self.title}", "", *([self.note, ""] if self.note else [])]
        lines += ["| " + " | ".join(self.columns) + " |", "|" + " --- |" * len(self.columns)]
        lines += ["| " + " | ".join(map(_text, row)) + " |" for row in self.rows]
        lines += ["", *(f"- {verdict}" for verdict in self.verdicts), ""]
        lines += [f"- {key}: {value}" for key, value in environment().items()]
        return "\n".join(lines) + "\n"

    def write(self, extra: Mapping[str, object] | None = None) -> None:
        """Print the table and write it below benchmarks/results."""
        text = self.markdown()
        print(text)
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text(text)
        record = {
            "title": self.title,
            "columns": list(self.columns),
            "rows": [list(row) for row in self.rows],
            "targets": self.verdicts,
            "environment": environment(),
            **(extra or {}),
        }
        (RESULTS / f"{self.name}.json").write_text(json.dumps(record, indent=1, default=str) + "\n")


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
