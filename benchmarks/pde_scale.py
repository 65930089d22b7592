"""Data sets at scale: sorting, generating, killing and resuming, other workers, a Dask cluster.

    python -m benchmarks.pde_scale

Every run is a process of its own; processor time, wall time and memory are those of it and of all
its workers. Memory is the proportional set size, sampled twice a second.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import Table, one_thread
from inverse.provenance import sha256_of_file

N_FIELDS, N_SAMPLES, N_KILLED, N_BYTES = 100_000, 100_000, 20_000, 4_000
CLI = [sys.executable, "-c", "from inverse.cli import main; main()", "pde", "generate", "darcy"]
SORT = """
from inverse.pde.chains import order_of
from inverse.pde.plan import Plan
order_of(Plan("darcy", (64, 64), {n}, "lagged-lu", sort="hilbert"))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a process and its children took."""

    wall: float
    cpu: float
    gigabytes: float
    largest_part: float  # MB


def options(n: int, path: Path, *more: str) -> list[str]:
    fixed = ["--grid", "32", "--tol", "1e-8", "--solver", "spectral"]
    return [*CLI, "-n", str(n), *fixed, "-o", str(path), *more]


def start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


def measured(command: Sequence[str], parts: Path | None = None) -> Cost:
    before, started = children_cpu(), time.monotonic()
    run = start(command)
    peak, largest = 0.0, 0
    while run.poll() is None:
        peak = max(peak, session_memory(run.pid))
        if parts is not None and parts.exists():
            largest = max([largest, *(file_size(f) for f in parts.glob("chain-*.h5"))])
        time.sleep(0.5)
    assert run.returncode == 0, command
    wall = time.monotonic() - started
    return Cost(wall, children_cpu() - before, peak / 2**20, largest / 2**20)


def file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def session_memory(session: int) -> float:
    """Sum the proportional set sizes of a session's processes, kB."""
    total = 0.0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += sum(float(x.split()[1]) for x in lines if x.startswith("Pss:"))
        except OSError:
            continue
    return total


def killed(n: int, path: Path, times: int) -> int:
    """Kill a run of two workers at random times, then let it end; return how many were killed."""
    rng = np.random.default_rng(1)
    parts, hit = path.with_name(path.name + ".parts"), 0
    for _ in range(times):
        have = len(list(parts.glob("chain-*.h5")))
        run = start(options(n, path, "--workers", "2"))
        while run.poll() is None and len(list(parts.glob("chain-*.h5"))) <= have:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 2))
        hit += run.poll() is None
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    measured(options(n, path, "--workers", "2"))
    return hit


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a Dask scheduler and two workers on loopback."""
    where = folder / "scheduler.json"
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    quiet = ["--port", "0", "--no-dashboard", "--scheduler-file", str(where)]
    env = os.environ | {"PYTHONPATH": str(Path.cwd())}
    started = [subprocess.Popen([*module, *quiet], env=env, stderr=subprocess.DEVNULL)]
    try:
        while not where.exists():
            time.sleep(0.1)
        address = json.loads(where.read_text())["address"]
        module = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        quiet = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        workers = [
            subprocess.Popen([*module, *quiet], env=env, stderr=subprocess.DEVNULL)
            for _ in range(2)
        ]
        started += workers
        yield address, workers
    finally:
        for process in started:
            process.kill()
            process.wait()


def on_a_cluster_that_loses_a_worker(n: int, path: Path) -> None:
    parts = path.with_name(path.name + ".parts")
    with cluster(path.parent) as (address, workers):
        run = start(options(n, path, "--scheduler", address))
        while len(list(parts.glob("chain-*.h5"))) < 8:
            assert run.poll() is None
            time.sleep(0.02)
        workers[0].kill()
        assert run.wait() == 0


def main() -> None:
    table = Table(
        "pde_scale",
        "PDE data sets at scale",
        ("what", "wall s", "CPU s", "memory GB", "CPU ms a sample"),
        f"Two workers of one thread each, start of the processes included. The machine was shared: "
        f"its load was {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the start, so wall "
        f"times are longer than the machine needs.",
    )

    def add(what: str, cost: Cost, n: int) -> None:
        table.add(what, cost.wall, cost.cpu, cost.gigabytes, 1e3 * cost.cpu / n)

    sort = measured([sys.executable, "-c", SORT.format(n=N_FIELDS)])
    add(f"sort {N_FIELDS} fields of 64 x 64, drawing included", sort, N_FIELDS)
    table.judge("CPU seconds of sorting", sort.cpu, 60.0)
    table.judge("memory of sorting, GB", sort.gigabytes, 2.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "all.h5"
        made = measured(options(N_SAMPLES, path, "--workers", "2"), folder / "all.h5.parts")
        add(f"generate {N_SAMPLES} Darcy samples of 32 x 32 to 1e-8", made, N_SAMPLES)
        path.unlink()
        table.judge("wall seconds of generating", made.wall, 300.0)
        table.judge("CPU seconds of generating, half of them on each of 2 cores", made.cpu / 2, 300)
        table.judge("memory of generating, GB", made.gigabytes, 4.0)
        table.judge("largest part, MB", made.largest_part, 256.0)

        whole = measured(options(N_KILLED, folder / "whole.h5", "--workers", "2"))
        add(f"generate {N_KILLED}", whole, N_KILLED)
        hit = killed(N_KILLED, folder / "killed.h5", 5)
        wanted = sha256_of_file(folder / "whole.h5")
        differs = sha256_of_file(folder / "killed.h5") != wanted
        table.judge(f"bytes differ after {hit} SIGKILLs of all processes", float(differs), 0.5)

        digests = set()
        for workers in ("1", "4"):
            cost = measured(options(N_BYTES, folder / f"{workers}.h5", "--workers", workers))
            add(f"generate {N_BYTES} on {workers} workers", cost, N_BYTES)
            digests.add(sha256_of_file(folder / f"{workers}.h5"))
        on_a_cluster_that_loses_a_worker(N_BYTES, folder / "cluster.h5")
        table.judge("different files of 1 and 4 workers", float(len(digests)), 1.0)
        digests.add(sha256_of_file(folder / "cluster.h5"))
        table.judge(
            "different files of those and a Dask cluster, one of its two workers killed",
            float(len(digests)),
            1.0,
        )
    table.write()


if __name__ == "__main__":
    one_thread()
    main()
