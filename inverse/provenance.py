"""How an image was made: inputs' hashes, versions, command, seed, settings, timings.

A record says everything that is needed to make the image again and nothing about the person who
made it or who was scanned: no user, host or file name and no path. Files are an index and a hash.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from inverse.errors import DataError, UsageError

__all__ = [
    "Recipe",
    "digests_of",
    "is_record",
    "json_ready",
    "load_record",
    "public_command",
    "record",
    "sha256_of_array",
    "sha256_of_file",
    "sha256_of_folder",
]

SCHEMA = "inverse-suite provenance 1"

_SCHEMA_NAME = SCHEMA.rstrip("0123456789")
_DISTRIBUTION = "inverse-suite"
_PACKAGES = ("torch", "numpy", "scipy", "h5py", "array-api-compat", "nibabel", "pydicom")
_LARGEST_LIST = 64
_HIDDEN = "<path>"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to run again to get the same voxels from the same inputs.

    Parameters
    ----------
    method : str
        Name of the method that ran, never "auto".
    prior : str, optional
        Name of a prior, or ``sha256:...`` of its file.
    maps : int
        Sets of coil maps.
    seed : int or sequence of int
        One, or one for each independent system.
    device : str
        Type and name, e.g. ``cpu``.
    threads : int, optional
        Of the linear algebra; sums in another order differ in the last digit.
    settings : mapping
        Every setting of the method.
    select : mapping of str to int
        Which repetition, contrast, slice ... of the file was read.
    n_virtual_coils : int, optional
        Channels that preparation was told to compress to.
    """

    method: str
    prior: str | None = None
    maps: int = 1
    seed: int | Sequence[int] = 0
    device: str = "cpu"
    threads: int | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    select: Mapping[str, int] = field(default_factory=dict)
    n_virtual_coils: int | None = None

    def on(self, *, device: str, threads: int | None, prior: str | None) -> Recipe:
        """Return the same recipe for another machine.

        Parameters
        ----------
        device, threads
            Of that machine.
        prior : str, optional
            Where the prior's file lies there, if the recipe names one by its hash.

        Raises
        ------
        UsageError
            If the recipe needs a prior's file and none is given.
        """
        chosen = prior or self.prior
        if chosen is not None and chosen.startswith("sha256:"):
            raise UsageError(
                f"the recipe expected the prior's file with {chosen}; give it with --prior FILE"
            )
        return replace(self, device=device, threads=threads, prior=chosen)

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read the recipe out of the provenance file beside an image.

        Raises
        ------
        DataError
            If the file is missing or not the record of a run.
        """
        try:
            recipe = load_record(path)["recipe"]
            if not isinstance(recipe, Mapping):
                raise TypeError
            return cls(**{f.name: recipe[f.name] for f in fields(cls) if f.name in recipe})
        except (KeyError, TypeError) as error:
            raise _no_record(error) from error


def load_record(path: Path) -> Mapping[str, object]:
    """Read the provenance file beside an image.

    Raises
    ------
    DataError
        If the file is missing or holds no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        made = found.get("provenance", found)
    except FileNotFoundError as error:
        raise DataError(
            "the recipe expected the provenance file (.json) that was written beside an image; "
            "there is no such file"
        ) from error
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise _no_record(error) from error
    if not isinstance(made, Mapping):
        raise _no_record(TypeError())
    return made


_FAULTS = {
    FileNotFoundError: "no such file",
    IsADirectoryError: "a folder",
    KeyError: "JSON that records no run",
    TypeError: "JSON that records no run",
}


def _no_record(error: Exception) -> DataError:
    return DataError(
        f"the recipe expected a provenance file (.json) as it is written beside an image, "
        f"got {_FAULTS.get(type(error), 'something else')}"
    )


def is_record(path: Path) -> bool:
    """Whether a file is a provenance file of ours, of any version."""
    try:
        return str(load_record(path).get("schema", "")).startswith(_SCHEMA_NAME)
    except DataError:
        return False


def digests_of(made: Mapping[str, object]) -> frozenset[str]:
    """Return the SHA-256 of every file that the image of a record was made from.

    Examples
    --------
    >>> sorted(digests_of({"inputs": {"format": "bart", "sha256": {"cfl": "ab", "hdr": "cd"}}}))
    ['ab', 'cd']
    """
    inputs = made.get("inputs")
    found = inputs.get("sha256") if isinstance(inputs, Mapping) else None
    values = found.values() if isinstance(found, Mapping) else found
    return frozenset(map(str, values)) if isinstance(values, Iterable) else frozenset()


def record(
    recipe: Recipe,
    *,
    inputs: Mapping[str, object],
    preparation: Mapping[str, object],
    image: NDArray[np.generic],
    seconds: Mapping[str, float],
    command: Sequence[str] = (),
) -> dict[str, object]:
    """Return the JSON-ready record of a run.

    Parameters
    ----------
    recipe : Recipe
        What ran.
    inputs : mapping
        Where the data came from, as `KSpace.origin` has it: format, sha256 of each file, notes.
    preparation : mapping
        What preparation chose and why.
    image : (z, y, x)
        The finished voxels; their hash goes into the record.
    seconds : mapping of str to float
        Wall time by stage.
    command : sequence of str, optional
        The command line, from `public_command`.

    Returns
    -------
    dict
        Plain JSON types only.

    Examples
    --------
    >>> made = record(
    ...     Recipe("tv", seed=3), inputs={}, preparation={}, image=np.zeros((1, 2, 2)), seconds={}
    ... )
    >>> made["recipe"]["method"], made["recipe"]["seed"]
    ('tv', 3)
    """
    facts = {
        "schema": SCHEMA,
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": asdict(recipe),
        "inputs": inputs,
        "preparation": preparation,
        "voxels_sha256": sha256_of_array(image),
        "seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "command": list(command),
        "versions": versions(),
        "commit": commit(),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    return {name: json_ready(value) for name, value in facts.items()}


def versions() -> dict[str, str]:
    """Return the version of the suite, of Python and of the packages that compute."""
    found = {"python": platform.python_version()}
    for name in (_DISTRIBUTION, *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str | None:
    """Return the git commit of a checkout, ``-dirty`` when files were changed; None otherwise."""
    root = Path(__file__).resolve().parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    try:
        found = subprocess.run(  # noqa: S603 - a fixed command on our own folder
            [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


def public_command(name: str, options: Mapping[str, object], *, n_inputs: int = 1) -> list[str]:
    """Return a command line put together from what was asked, with files named by their part.

    It is not made from the words that were typed: any of them may hold a name.

    Parameters
    ----------
    name : str
        Of the command.
    options : mapping of str to object
        Values by option. None is left out, a list repeats the option, a path becomes its part.
    n_inputs : int
        How many files it was given to read.

    Examples
    --------
    >>> asked = {"--output": Path("J Doe.h5"), "--seed": 3, "--report": None, "--set": ["a=1"]}
    >>> " ".join(public_command("recon", asked))
    'inverse recon <input 1> --output <output> --seed 3 --set a=1'
    """
    shown = ["inverse", name, *(f"<input {i + 1}>" for i in range(n_inputs))]
    for option, value in options.items():
        for entry in value if isinstance(value, list | tuple) else [value]:
            part = f"<{option.lstrip('-')}>" if isinstance(entry, Path) else _public(str(entry))
            shown += [] if entry is None else [option, part]
    return shown


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_folder(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files in a folder, in hexadecimal."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{sha256_of_file(file)}  {file.relative_to(folder).as_posix()}\n" for file in files)
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def sha256_of_array(values: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's shape, dtype and values (C order), in hexadecimal."""
    digest = hashlib.sha256(f"{values.shape} {values.dtype.str}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def json_ready(value: object) -> object:
    """Return `value` in plain JSON types, without anything that says where files lie.

    Numbers that JSON cannot hold become strings, arrays of more than 64 values their shape and
    hash, paths ``<path>``.

    Examples
    --------
    >>> json_ready({"std": np.float32(0.5), "axes": (0, 1), "weights": Path("/home/me/w.npz")})
    {'std': 0.5, 'axes': [0, 1], 'weights': '<path>'}
    """
    if isinstance(value, Mapping):
        return {_public(str(key)): json_ready(entry) for key, entry in value.items()}
    if isinstance(value, np.ndarray) and value.size > _LARGEST_LIST:
        return {"shape": list(value.shape), "sha256": sha256_of_array(value)}
    if isinstance(value, np.ndarray | np.generic):
        return json_ready(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [json_ready(entry) for entry in value]
    return _json_scalar(value)


def _json_scalar(value: object) -> bool | int | float | str | None:
    if isinstance(value, Path):
        return _HIDDEN
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return _public(str(value))


def _public(text: str) -> str:
    """Return `text`, or ``<path>`` when it is an absolute path or one below a home folder."""
    return _HIDDEN if _is_location(text) else text


def _is_location(text: str) -> bool:
    is_absolute = PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute()
    return is_absolute or text.startswith("~")
