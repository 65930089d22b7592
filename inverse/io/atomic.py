"""Files that are either whole or not there: written beside the target, flushed, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inverse.errors import ResourceError

__all__ = ["check_writable", "replacing", "replacing_folder"]

_STALE_AFTER_S = 86400.0


def _temporary(target: Path) -> Path:
    """Return a new name beside the target; leftovers of runs killed over a day ago are removed."""
    # A digest, because the target's own name may be as long as the file system allows.
    stem = f".{hashlib.sha256(target.name.encode(errors='surrogateescape')).hexdigest()[:12]}"
    for stale in target.parent.glob(f"{stem}.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - stale.stat().st_mtime > _STALE_AFTER_S:
                _remove(stale)
    return target.parent / f"{stem}.{secrets.token_hex(6)}.part"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refusal(target: Path, error: OSError | RuntimeError) -> ResourceError:
    code = getattr(error, "errno", None)
    reason = os.strerror(code) if code else "the library could not write it"
    advice = "free some space" if code == errno.ENOSPC else "choose a folder that can be written"
    return ResourceError(f"{target}: not written, {reason}; what was there is kept; {advice}")


def check_writable(target: Path) -> None:
    """Find out before the work begins what would keep `target` from being written after it.

    Parameters
    ----------
    target : Path
        A file or folder, there already or not.

    Raises
    ------
    ResourceError
        If its folder is missing or cannot be written, or its name is too long.
    """
    folder = target.parent
    code = None
    try:
        target.lstat()
    except FileNotFoundError:
        code = None if folder.is_dir() else errno.ENOENT
    except OSError as error:
        code = error.errno
    if code is None and not os.access(folder, os.W_OK | os.X_OK):
        code = errno.EACCES
    if code is not None:
        raise _refusal(target, OSError(code, ""))


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a temporary name to write to; it becomes `target` when the block ends without error.

    Parameters
    ----------
    target : Path
        Replaced in one step; kept as it was if anything fails, the disk included.

    Yields
    ------
    Path
        A name in the same folder.

    Raises
    ------
    ResourceError
        If the disk is full or the folder cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(Path(folder) / "a.txt") as part:
    ...         _ = part.write_text("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    part = _temporary(target)
    try:
        yield part
        _flush(part)
        part.replace(target)
        _flush(target.parent)
    except (OSError, RuntimeError) as error:
        if isinstance(error, ResourceError):
            raise
        raise _refusal(target, error) from error
    finally:
        _remove(part)


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; it becomes `target` when the block ends without error.

    Parameters
    ----------
    target : Path
        A folder, new or to be replaced as a whole. It is missing for an instant when an old one
        is exchanged, never half full.

    Yields
    ------
    Path
        An empty folder beside the target.

    Raises
    ------
    ResourceError
        If the disk is full or the parent folder cannot be written.
    """
    part, old = _temporary(target), _temporary(target)
    try:
        part.mkdir()
        yield part
        for file in part.rglob("*"):
            _flush(file)
        _flush(part)
        if target.exists():
            target.replace(old)
        try:
            part.replace(target)
        except OSError:
            if old.exists():
                old.replace(target)
            raise
        _flush(target.parent)
    except (OSError, RuntimeError) as error:
        if isinstance(error, ResourceError):
            raise
        raise _refusal(target, error) from error
    finally:
        _remove(part)
        _remove(old)
