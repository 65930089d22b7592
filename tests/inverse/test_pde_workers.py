"""Workers of a data set: killed, interrupted, out of room, on a cluster; nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from inverse.errors import ResourceError, UsageError
from inverse.pde.generate import generate
from inverse.pde.parts import parts_folder
from inverse.pde.plan import Plan
from inverse.pde.verify import verify
from inverse.pde.workers import Cluster, Here, Processes

PLAN = Plan("darcy", (16, 16), 40, "spectral", chain_length=4, seed=3)
SLOW = Plan("darcy", (24, 24), 300, "jacobi", chain_length=15, tolerance=1e-8)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def no_git() -> Iterator[None]:
    """Leave the commit out of the provenance: a tree may be committed to while tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", "")
        yield


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def begin(plan: Plan, path: Path, workers: int, *options: str) -> subprocess.Popen[str]:
    """Start the command line on a plan, in a session of its own."""
    arguments = ["-n", plan.n_samples, "--grid", plan.shape[0], "--solver", plan.solver]
    arguments += ["--chain", plan.chain_length, "--seed", plan.seed, "--tol", plan.tolerance]
    arguments += ["--sort", plan.sort, "--workers", workers, "-o", path, *options]
    # Jobs that a script starts in the background inherit an interrupt that is ignored.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    call = f"{heed}; from inverse.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", call, "pde", "generate", plan.family, *map(str, arguments)],
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_until(is_so: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def n_parts(path: Path) -> int:
    return len(list(parts_folder(path).glob("chain-*.h5")))


def members(session: int) -> list[int]:
    """Return the processes of a session that are still running."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, own = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("truth") / "set.h5"
    generate(SLOW, path, runner=Here())
    return sha256(path)


def test_killed_in_one_stroke_it_goes_on_to_the_same_bytes(tmp_path: Path, truth: str) -> None:
    path = tmp_path / "set.h5"
    for n in (1, 6):
        run = begin(SLOW, path, 2)
        wait_until(lambda n=n: n_parts(path) >= n)  # type: ignore[misc]
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
        assert not path.exists()
    run = begin(SLOW, path, 4)
    _, said = run.communicate()
    assert run.returncode == 0, said
    assert sha256(path) == truth


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, number: int) -> None:
    path = tmp_path / "set.h5"
    run = begin(SLOW, path, 2)
    wait_until(lambda: n_parts(path) >= 1)
    os.kill(run.pid, number)
    run.communicate()
    wait_until(lambda: not members(run.pid), 5)


def test_an_interrupt_ends_all_within_seconds_and_says_one_line(tmp_path: Path, truth: str) -> None:
    path = tmp_path / "set.h5"
    run = begin(SLOW, path, 2)
    wait_until(lambda: n_parts(path) >= 2)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    started = time.monotonic()
    _, said = run.communicate()
    assert time.monotonic() - started < 10
    assert run.returncode == 130
    lines = [line for line in said.splitlines() if not line.startswith("solving ")]
    assert lines == ["inverse: interrupted; nothing half-written is left behind"]
    assert members(run.pid) == []
    assert generate(SLOW, path, runner=Processes(2)).n_kept > 0
    assert sha256(path) == truth


def test_a_worker_that_is_killed_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    run = begin(SLOW, path, 2)
    wait_until(lambda: n_parts(path) >= 2)
    [worker] = [pid for pid in members(run.pid) if "spawn_main" in arguments_of(pid)][:1]
    os.kill(worker, signal.SIGKILL)
    _, said = run.communicate()
    assert run.returncode == 5
    assert said.splitlines()[-1].startswith("inverse: a worker process was killed")
    assert "Traceback" not in said
    assert n_parts(path) >= 2
    assert members(run.pid) == []


def arguments_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def test_one_and_four_workers_make_the_same_bytes(tmp_path: Path) -> None:
    found = set()
    for n in (1, 4):
        generate(PLAN, tmp_path / f"{n}.h5", runner=Processes(n))
        found.add(sha256(tmp_path / f"{n}.h5"))
    assert len(found) == 1


def test_a_second_run_is_refused_while_the_first_is_at_work(tmp_path: Path, truth: str) -> None:
    path = tmp_path / "set.h5"
    run = begin(SLOW, path, 1)
    wait_until(lambda: n_parts(path) >= 1)
    with pytest.raises(UsageError, match=f"process {run.pid} is at work"):
        generate(SLOW, path, runner=Here())
    other = Plan("darcy", (8, 8), 4, "spectral")
    with pytest.raises(UsageError, match=f"process {run.pid} is at work"):
        generate(other, path, runner=Here(), overwrite=True)
    _, said = run.communicate()
    assert run.returncode == 0, said
    assert sha256(path) == truth


def test_shards_at_the_same_time_make_one_data_set(tmp_path: Path, truth: str) -> None:
    path = tmp_path / "set.h5"
    runs = [begin(SLOW, path, 1, "--shard", f"{i}/3") for i in range(3)]
    for run in runs:
        _, said = run.communicate()
        assert run.returncode == 0, said
    assert sha256(path) == truth
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_grow_is_one_line_and_parts_are_kept(tmp_path: Path) -> None:
    """A limit of file sizes between a part's and the whole's stands for a disk that fills up."""
    path, plan = tmp_path / "set.h5", replace(PLAN, shape=(32, 32))
    with largest_file(400_000):
        run = begin(plan, path, 2)
        _, said = run.communicate()
    assert run.returncode == 5
    assert said.splitlines()[-1].startswith(f"inverse: {path}: not written, File too large")
    assert "Traceback" not in said
    assert n_parts(path) == plan.n_chains
    assert generate(plan, path, runner=Here()).n_kept == plan.n_samples
    assert verify(path).is_sound


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def cluster(folder: Path, n_workers: int) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Start a Dask scheduler and workers on this machine."""
    where = folder / "scheduler.json"
    common = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    paths = os.pathsep.join(entry for entry in sys.path if entry)
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen([*module, *options, "--scheduler-file", str(where)], env=env, **common)  # type: ignore[call-overload]
    ]
    try:
        wait_until(where.exists)
        address = json.loads(where.read_text())["address"]
        module = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        workers = [
            subprocess.Popen([*module, *options], env=env, **common)  # type: ignore[call-overload]
            for _ in range(n_workers)
        ]
        started += workers
        yield address, workers
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker_loses_no_sample(tmp_path: Path, truth: str) -> None:
    pytest.importorskip("distributed")
    path = tmp_path / "set.h5"

    def kill_one(stage: str, done: int, total: int) -> None:
        del total
        if stage == "solving" and done >= 45 and workers[0].poll() is None:
            workers[0].send_signal(signal.SIGKILL)
            workers[0].wait()

    with cluster(tmp_path, 2) as (address, workers):
        made = generate(SLOW, path, runner=Cluster(address), progress=kill_one)
        assert workers[0].returncode == -signal.SIGKILL
    assert made.is_complete
    assert made.n_solved == SLOW.n_samples
    assert sha256(path) == truth


def test_an_address_where_nobody_answers_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="no Dask scheduler answers"):
        generate(PLAN, tmp_path / "set.h5", runner=Cluster("tcp://127.0.0.1:9"))


def test_workers_that_write_elsewhere_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inverse.pde import workers

    monkeypatch.setattr(workers, "_LONGEST_DELAY_S", 0.1)
    with pytest.raises(ResourceError, match="need a file system that they share"):
        workers._await(tmp_path / "chain-000000.h5")
