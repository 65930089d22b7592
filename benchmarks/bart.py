"""Calling BART as a person would: files in, one process, files out."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["bart", "from_bart", "is_installed", "read", "to_bart", "version"]

COIL_DIM = 3


def is_installed() -> bool:
    """Whether the `bart` command is on the path."""
    return shutil.which("bart") is not None


def version() -> str:
    """Return what `bart version` says."""
    done = subprocess.run(["bart", "version"], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _write(path: Path, array: NDArray[np.complex64]) -> None:
    path.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))


def read(path: Path) -> NDArray[np.complex64]:
    """Read a .cfl with its .hdr, all of BART's dimensions."""
    shape = tuple(int(n) for n in path.with_suffix(".hdr").read_text().splitlines()[1].split())
    return np.fromfile(path.with_suffix(".cfl"), np.complex64).reshape(shape, order="F")


def to_bart(coils: NDArray[np.generic]) -> NDArray[np.complex64]:
    """Reorder (coil, [z,] y, x) to BART's (x, y, z, coil)."""
    volume = coils if coils.ndim == 4 else coils[:, None]
    return np.ascontiguousarray(volume.transpose(3, 2, 1, 0)).astype(np.complex64)


def from_bart(array: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Reorder BART's (x, y, z, coil, map) to (map, coil, z, y, x) without axes of size 1."""
    padded = array.reshape(array.shape + (1,) * (5 - array.ndim)) if array.ndim < 5 else array
    first_five = padded.reshape(padded.shape[:5])
    return np.squeeze(first_five.transpose(4, 3, 2, 1, 0))


def bart(*command: str | NDArray[np.generic], n_outputs: int = 1) -> list[NDArray[np.complex64]]:
    """Run one BART command; array arguments become .cfl files, outputs are read back.

    Parameters
    ----------
    command : str or array
        The tool, its options and its inputs, in order; outputs are appended.
    n_outputs : int
        How many files the tool writes.

    Returns
    -------
    list of array
        Outputs with all of BART's dimensions.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = []
        for i, word in enumerate(command):
            if isinstance(word, str):
                words.append(word)
            else:
                path = Path(folder) / f"in{i}"
                _write(path, np.asarray(word))
                words.append(str(path))
        outputs = [Path(folder) / f"out{i}" for i in range(n_outputs)]
        subprocess.run(
            ["bart", *words, *map(str, outputs)], check=True, capture_output=True, text=True
        )
        return [read(path) for path in outputs]
