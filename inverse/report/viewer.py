"""The picture data of the interactive viewer: 12-bit volumes, packed for a script to unpack."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inverse.metrics import best_scale
from inverse.reconstruction import Reconstruction
from inverse.report.orientation import Hanging
from inverse.report.uncertainty import Uncertainty

__all__ = ["Viewer", "pack", "viewer_of"]

WHITE = 4095
_BUDGET_BYTES = 3_600_000
_LARGEST_SIDE = 640
_BRIGHT_PERCENTILE = 99.8
_MAPS = ("undetermined", "width")


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the viewer shows.

    Parameters
    ----------
    layers : mapping of str to str
        Packed volumes, (slice, row, column) each, by name: "image", "baseline", "reference", and of
        a posterior "undetermined" and "width", whose level 0 is outside the object.
    shape : (n_slices, n_rows, n_columns)
        Of each layer.
    slices : tuple of int
        Index in the volume of each shown slice.
    n_slices : int
        How many slices the volume has.
    bright : int
        Level of the brightest tissue, for the first window.
    full_scale : float
        Value that level 4095 stands for, in the units of the image.
    baseline_scale, reference_scale : float
        What those layers were multiplied by to be comparable.
    stills : mapping of str to (row, column) uint8
        The middle slice of "image" and "baseline" in the first window.
    """

    layers: Mapping[str, str]
    shape: tuple[int, int, int]
    slices: tuple[int, ...]
    n_slices: int
    bright: int
    full_scale: float
    baseline_scale: float
    reference_scale: float
    stills: Mapping[str, NDArray[np.uint8]]


def viewer_of(
    reconstruction: Reconstruction, hanging: Hanging, uncertainty: Uncertainty | None = None
) -> Viewer:
    """Prepare the volumes of a reconstruction for the viewer.

    Parameters
    ----------
    reconstruction : Reconstruction
    hanging : Hanging
        How slices are turned for display.
    uncertainty : Uncertainty, optional
        Of its posterior.

    Returns
    -------
    Viewer
        With as many slices as fit into 3.6 MB, evenly chosen.
    """
    image = _magnitude(reconstruction.image)
    baseline, baseline_scale = _matched(_magnitude(reconstruction.baseline), image)
    volumes = {"image": image, "baseline": baseline}
    reference_scale = 1.0
    if reconstruction.reference is not None:
        volumes["reference"], reference_scale = _matched(
            _magnitude(reconstruction.reference), image
        )
    full_scale = float(max(image.max(), volumes.get("reference", image).max())) or 1.0
    levels = {
        name: _shrunk(hanging.apply(_levels(volume, full_scale)))
        for name, volume in volumes.items()
    }
    if uncertainty is not None:
        levels |= {
            name: _shrunk(hanging.apply(_map_levels(uncertainty.maps[name]))) for name in _MAPS
        }
    slices, layers = _within_budget(levels)
    shown = levels["image"]
    bright = int(np.percentile(shown[shown > 0], _BRIGHT_PERCENTILE)) if shown.any() else WHITE
    middle = slices[len(slices) // 2]
    return Viewer(
        layers=layers,
        shape=(len(slices), shown.shape[1], shown.shape[2]),
        slices=slices,
        n_slices=len(shown),
        bright=max(bright, 1),
        full_scale=full_scale,
        baseline_scale=baseline_scale,
        reference_scale=reference_scale,
        stills={
            name: _windowed(levels[name][middle], max(bright, 1)) for name in ("image", "baseline")
        },
    )


def pack(levels: NDArray[np.uint16]) -> str:
    """Pack levels as text: differences along rows, low bytes then high bytes, deflate, base 64.

    Parameters
    ----------
    levels : (*shape), uint16

    Examples
    --------
    >>> text = pack(np.array([5, 260], np.uint16))
    >>> list(zlib.decompress(base64.b64decode(text)))
    [5, 255, 0, 0]
    """
    flat = levels.reshape(-1).astype(np.uint16)
    difference = np.diff(flat, prepend=np.uint16(0)).astype(np.uint16)
    planes = np.concatenate([difference & 0xFF, difference >> 8]).astype(np.uint8)
    return base64.b64encode(zlib.compress(planes.tobytes(), 9)).decode("ascii")


def _windowed(levels: NDArray[np.uint16], bright: int) -> NDArray[np.uint8]:
    return np.clip(255.0 * levels / bright, 0, 255).astype(np.uint8)


def _magnitude(volume: NDArray[np.generic]) -> NDArray[np.float32]:
    magnitude = np.abs(volume).astype(np.float32)
    return np.where(np.isfinite(magnitude), magnitude, np.float32(0))


def _matched(
    volume: NDArray[np.floating], image: NDArray[np.floating]
) -> tuple[NDArray[np.floating], float]:
    scale = best_scale(volume, image, "real").real or 1.0
    return volume * scale, scale


def _levels(volume: NDArray[np.generic], full_scale: float) -> NDArray[np.uint16]:
    relative = np.asarray(volume, dtype=np.float64) / full_scale
    return np.asarray(np.clip(np.rint(relative * WHITE), 0, WHITE), dtype=np.uint16)


def _map_levels(values: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return 1 to 4095 for 0 to 1, and 0 for NaN."""
    return np.asarray(np.nan_to_num(1 + np.rint(values * (WHITE - 1)), nan=0.0), dtype=np.uint16)


def _shrunk(levels: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Average blocks of pixels until no side exceeds what a screen shows."""
    factor = -(-max(levels.shape[1:]) // _LARGEST_SIDE)
    rows, columns = (n // factor * factor for n in levels.shape[1:])
    blocks = levels[:, :rows, :columns].reshape(
        len(levels), rows // factor, factor, columns // factor, factor
    )
    return np.asarray(blocks.mean(axis=(2, 4)).round(), dtype=np.uint16)


def _within_budget(
    levels: Mapping[str, NDArray[np.uint16]],
) -> tuple[tuple[int, ...], dict[str, str]]:
    n_slices = len(levels["image"])
    middle = n_slices // 2
    one_slice = sum(len(pack(volume[middle])) for volume in levels.values())
    n_shown = min(n_slices, max(1, _BUDGET_BYTES // one_slice))
    while True:
        step = n_slices / n_shown
        slices = tuple(int((i + 0.5) * step) for i in range(n_shown))
        layers = {name: pack(volume[list(slices)]) for name, volume in levels.items()}
        size = sum(len(text) for text in layers.values())
        if size <= _BUDGET_BYTES or n_shown == 1:
            return slices, layers
        n_shown = max(1, min(n_shown - 1, n_shown * _BUDGET_BYTES // size))
