"""The folder of the parts of a data set: its plan, and who works there."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from inverse.errors import DataError, UsageError
from inverse.io.atomic import replacing
from inverse.io.untrusted import reading
from inverse.pde.plan import Plan

__all__ = ["agreed_plan", "begin", "parts_folder", "plan_in", "turn"]


def parts_folder(path: Path) -> Path:
    """Return where the parts of a data set lie until it is whole."""
    return path.with_name(path.name + ".parts")


def plan_in(folder: Path) -> Plan | None:
    """Return the plan that a parts folder was begun with; None if there is none.

    Raises
    ------
    DataError
        If the plan is damaged.
    """
    file = folder / "plan.json"
    if not file.exists():
        return None
    with reading(file, "plan"):
        text = file.read_text()
    try:
        return Plan.from_json(text)
    except DataError as error:
        raise DataError(
            f"{file}: damaged, {error}; remove it and run the same command again, parts are kept"
        ) from error


def begin(plan: Plan, path: Path, shard: tuple[int, int], *, overwrite: bool) -> Path:
    """Make the folder of the parts with the plan in it, or find the one that is there.

    Raises
    ------
    UsageError
        If parts of another plan are there, and may not be replaced or are being made.
    DataError
        If the plan that is there is damaged.
    """
    folder = parts_folder(path)
    before = plan_in(folder)
    if before is not None and before != plan:
        if not overwrite or shard[1] > 1:
            raise _mixed(folder, before, plan)
        _refuse_if_busy(folder)
        shutil.rmtree(folder)
    _claim(folder, plan)
    before = plan_in(folder)
    if before != plan:
        raise _mixed(folder, before, plan)
    return folder


def agreed_plan(plan: Plan, path: Path) -> Plan:
    """Return the plan that a data set was begun with if only solver and order differ, else `plan`.

    Tasks of an array job that start together may each time the solvers and choose differently: the
    first one to come here decides for all.
    """
    folder = parts_folder(path)
    _claim(folder, plan)
    begun = plan_in(folder)
    if begun is not None and begun == replace(plan, solver=begun.solver, sort=begun.sort):
        return begun
    return plan


@contextmanager
def turn(file: Path, *, waits: bool = False) -> Iterator[None]:
    """Keep others out while the block runs, by a lock that ends with its process.

    Parameters
    ----------
    file : Path
        Holds the number of the process at work. It stays, unlocked, after the block.
    waits : bool
        Wait for the others rather than refuse.

    Raises
    ------
    UsageError
        If another process is at work and `waits` is false. Where the file system knows no locks
        nobody is refused: parts are renamed into place, and two runs only do the work twice.
    """
    import fcntl

    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
        except BlockingIOError:
            who = os.read(handle, 32).decode("ascii", "replace") or "another"
            raise UsageError(
                f"{file.parent}: process {who} is at work on this data set; wait for it, "
                f"or divide the work by --shard"
            ) from None
        except OSError as error:
            if error.errno not in {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}:
                raise
        with suppress(OSError):  # only for the message above; the disk may be full
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode("ascii"))
        yield
    finally:
        os.close(handle)


def _claim(folder: Path, plan: Plan) -> None:
    """Write the plan if none is there, in one step: of several tasks one is the first."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: expected a folder for the parts, got a file; move it away")
    folder.mkdir(exist_ok=True)
    file = folder / "plan.json"
    if file.exists():
        return
    own = folder / f"plan-{secrets.token_hex(6)}.json"
    with replacing(own) as part:
        part.write_text(plan.to_json())
    try:
        os.link(own, file)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)


def _refuse_if_busy(folder: Path) -> None:
    for lock in folder.glob("*.lock"):
        with turn(lock):
            pass


def _mixed(folder: Path, before: Plan | None, plan: Plan) -> UsageError:
    old = {} if before is None else json.loads(before.to_json())
    new = json.loads(plan.to_json())
    difference = ", ".join(
        f"{k} {old.get(k)} there, {v} now" for k, v in new.items() if old.get(k) != v
    )
    return UsageError(
        f"{folder}: holds parts of another data set ({difference}); "
        f"repeat that command to finish it, or --overwrite it, which no --shard can"
    )
