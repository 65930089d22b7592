"""Pictures of reconstructions side by side, for the eye."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["save_grid"]

PER_ROW = 4


def save_grid(
    path: Path,
    images: Mapping[str, NDArray[np.generic]],
    truth: NDArray[np.generic] | None = None,
) -> None:
    """Write magnitudes on one grey scale, and below each its error times 5 when truth is known.

    Parameters
    ----------
    path : Path
        A .png; its folder is made.
    images : mapping of str to (y, x)
        Caption and image; each is scaled to the truth's (or the first image's) energy.
    truth : (y, x), optional
    """
    from matplotlib.figure import Figure

    anchor = np.abs(truth if truth is not None else next(iter(images.values())))
    peak = float(np.quantile(anchor, 0.998))
    scaled = {}
    for caption, image in images.items():
        magnitude = np.abs(image)
        energy = float(np.vdot(magnitude, magnitude))
        scaled[caption] = magnitude * (float(np.vdot(magnitude, anchor)) / energy)
    panels = {"truth": anchor, **scaled} if truth is not None else scaled
    rows = -(-len(panels) // PER_ROW)
    bands = 2 if truth is not None else 1
    figure = Figure(figsize=(4 * PER_ROW, 4.2 * rows * bands))
    axes = figure.subplots(rows * bands, PER_ROW, squeeze=False)
    for panel in axes.flat:
        panel.axis("off")
    for i, (caption, image) in enumerate(panels.items()):
        row, column = divmod(i, PER_ROW)
        axes[row * bands, column].imshow(image, cmap="gray", vmin=0, vmax=peak)
        axes[row * bands, column].set_title(caption)
        if truth is not None:
            below = axes[row * bands + 1, column]
            below.imshow(5 * np.abs(image - anchor), cmap="gray", vmin=0, vmax=peak)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
