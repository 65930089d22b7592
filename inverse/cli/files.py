"""Which files a command reads and writes: none of them may be another, and all can be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, combinations, count, product
from pathlib import Path

from inverse.errors import UsageError

__all__ = ["check_file", "new_image", "refuse_collisions"]


def refuse_collisions(inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> None:
    """Refuse a command that would write over what it reads, or one output over another.

    Parameters
    ----------
    inputs, outputs : mapping of str to Path
        By the words that name them to the person. Of a BART input both files count, of a folder
        everything in it.

    Raises
    ------
    UsageError
    """
    for (read, source), (written, target) in product(inputs.items(), outputs.items()):
        if any(_meet(target, file) for file in _files_of(source)):
            raise UsageError(
                f"{written} expected another file than {read}, got {target}, which would be "
                f"overwritten; choose another name"
            )
    for (first, one), (second, other) in combinations(outputs.items(), 2):
        if _meet(one, other):
            raise UsageError(
                f"{first} and {second} expected different files, got {other} for both; choose "
                f"another name"
            )


def _files_of(source: Path) -> tuple[Path, ...]:
    from inverse.io.bart import pair

    return (source, *pair(source)) if source.name else (source,)


def _meet(target: Path, file: Path) -> bool:
    """Whether two names are one file, through links too, or one lies in the other."""
    try:
        if target.samefile(file):
            return True
    except OSError:
        pass  # one of them is not there yet
    one, other = target.resolve(), file.resolve()
    return one == other or one in other.parents or other in one.parents


def check_file(path: Path, option: str, endings: Iterable[str] = ()) -> None:
    """Refuse the name of an output that could not be written, before the work begins.

    Parameters
    ----------
    path : Path
    option : str
        What the person calls it.
    endings : iterable of str, optional
        The name has one of these; any when left out.

    Raises
    ------
    UsageError
        If it is a folder or ends otherwise.
    ResourceError
        If its folder is missing or cannot be written.
    """
    from inverse.io.atomic import check_writable

    wanted = tuple(endings)
    if wanted and not path.name.lower().endswith(wanted):
        raise UsageError(f"{option} expected a name that ends in {' or '.join(wanted)}, got {path}")
    if path.is_dir():
        raise UsageError(f"{option} expected the name of a file, got the folder {path}")
    check_writable(path)


@contextmanager
def new_image(file: Path, avoid: Iterable[Path], level: float | None = None) -> Iterator[Path]:
    """Take FILE's name with .nii.gz in the current folder, numbered if something has it.

    The name is taken by making the file, so that of two runs at a time each gets its own.

    Parameters
    ----------
    file : Path
        Input.
    avoid : iterable of Path
        Other names that this run writes.
    level : float, optional
        Of the interval, if maps of a posterior go beside the image: theirs must be free too.

    Yields
    ------
    Path
        An empty file; it is removed if the block fails before it is replaced.
    """
    target = _taken_name(file.name.partition(".")[0] or "image", list(avoid), level)
    try:
        yield target
    except BaseException:
        if target.is_file() and target.stat().st_size == 0:
            target.unlink()
        raise


def _taken_name(stem: str, avoid: list[Path], level: float | None) -> Path:
    from inverse.io.targets import targets_of

    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    while True:
        target, *others = targets_of(Path(f"{next(names)}.nii.gz"), level=level)
        if any(other.exists() for other in others):
            continue
        if any(_meet(written, path) for written in (target, *others) for path in avoid):
            continue
        with suppress(FileExistsError):
            target.touch(exist_ok=False)
            return target
