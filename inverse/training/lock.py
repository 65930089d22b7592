"""One training run in a folder at a time: a file that names the process at work there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inverse.errors import UsageError

__all__ = ["LOCK", "training_lock"]

LOCK = "training.lock"
_ATTEMPTS = 8  # each loses to another process that starts at the same instant


@contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """Keep other training runs out of a folder while the block runs.

    The file ``training.lock`` holds the number of this process. It is made in one step, so that of
    two runs that start together one is refused; that of a process that is gone is taken over.

    Parameters
    ----------
    folder : Path
        Is there, and can be written.

    Raises
    ------
    UsageError
        If a process of this machine is training there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     with training_lock(Path(name)):
    ...         held = (Path(name) / LOCK).read_text() == str(os.getpid())
    ...     held, (Path(name) / LOCK).exists()
    (True, False)
    """
    path = folder / LOCK
    _take(path)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            if _owner(path) == os.getpid():
                path.unlink()


def _take(path: Path) -> None:
    for _ in range(_ATTEMPTS):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _clear(path)
            continue
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        return
    raise _refusal(path, None)


def _clear(path: Path) -> None:
    """Take the lock of a process that is gone out of the way; refuse that of one at work."""
    with suppress(FileNotFoundError):  # given back meanwhile, or taken out of the way by another
        owner = _owner(path)
        if _is_alive(owner):
            raise _refusal(path, owner)
        # Renamed, then looked at again: meanwhile another run may have done the same and begun.
        aside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        path.rename(aside)
        owner = _owner(aside)
        if _is_alive(owner):
            with suppress(FileExistsError):
                os.link(aside, path)
            aside.unlink()
            raise _refusal(path, owner)
        aside.unlink()


def _owner(path: Path) -> int | None:
    """Return the process that a lock names, None if it names none."""
    try:
        return int(path.read_text(encoding="ascii"))
    except ValueError:
        return None


def _is_alive(process: int | None) -> bool:
    """Whether a process runs; taken to be so for a lock that names none, being just written."""
    if process is None:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # of another user, for one
    return True


def _refusal(path: Path, process: int | None) -> UsageError:
    who = "another process" if process is None else f"process {process}"
    return UsageError(
        f"{path.parent}: expected a folder that nothing is training in, got one where {who} is; "
        f"wait for it, or choose another folder; if none is, remove {path.name}"
    )
