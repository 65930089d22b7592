"""The lock of a training folder: one run at a time, whatever an earlier one left."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inverse.errors import UsageError
from inverse.training import ImageSet, TrainingPlan, train
from inverse.training.lock import LOCK, training_lock

HOLD = """
import sys
from pathlib import Path
from inverse.training.lock import training_lock
with training_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
RACE = """
import sys, time
from pathlib import Path
from inverse.training.lock import training_lock
print("ready", flush=True)
sys.stdin.readline()
try:
    with training_lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.readline()
except Exception as error:
    print(type(error).__name__, flush=True)
"""


def started(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of the folder."""
    process = started(HOLD, tmp_path)
    with process:
        assert line(process) == "held"
        yield process
        process.kill()


def test_a_second_run_is_refused_until_the_first_is_gone(
    tmp_path: Path, held: subprocess.Popen[str]
) -> None:
    images = ImageSet((np.ones((24, 24), np.float32),) * 2, {"a": "0"}, "none")
    plan = TrainingPlan(channels=(8,), patch=8, batch=2, steps=1, warmup=0)
    with pytest.raises(UsageError, match=f"nothing is training in, .* process {held.pid} is"):
        train(images, images, plan, tmp_path, cpu=True)
    assert not (tmp_path / "state.safetensors").exists()
    assert (tmp_path / LOCK).read_text() == str(held.pid)
    held.kill()
    held.wait()
    assert (tmp_path / LOCK).exists()  # nobody took it away
    train(images, images, plan, tmp_path, cpu=True)
    assert (tmp_path / "state.safetensors").exists()
    assert not (tmp_path / LOCK).exists()


def test_a_lock_is_given_back_after_an_error_and_another_s_is_not(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), training_lock(tmp_path):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with training_lock(tmp_path):
        with pytest.raises(UsageError, match=f"process {os.getpid()} is"), training_lock(tmp_path):
            pass
        (tmp_path / LOCK).write_text("1")
    assert (tmp_path / LOCK).read_text() == "1"


def test_a_lock_that_names_nobody_is_respected(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("")
    refused = pytest.raises(UsageError, match=r"another process is; .* remove training\.lock")
    with refused, training_lock(tmp_path):
        pass


def test_of_several_that_find_a_stale_lock_one_gets_it(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / LOCK).write_text(str(gone.pid))
    runs = [started(RACE, tmp_path) for _ in range(4)]
    assert [line(process) for process in runs] == ["ready"] * 4
    for process in runs:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert sorted(line(process) for process in runs) == ["UsageError"] * 3 + ["held"]
    for process in runs:
        process.communicate("\n")
    assert not list(tmp_path.iterdir())
