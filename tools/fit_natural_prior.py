"""Fit the prior that ships in the package to the free photographs that come with scikit-image.

    python tools/fit_natural_prior.py inverse/priors/weights/natural.safetensors

Takes some minutes on one core. The photographs are public domain or CC0, as scikit-image states in
its data documentation; only the fitted covariances are kept.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage import color, data, transform

from inverse.priors.fit import fit_prior

PHOTOGRAPHS = (
    "astronaut", "camera", "chelsea", "coffee", "coins",
    "rocket", "moon", "hubble_deep_field", "retina", "cell",
)  # fmt: skip


def photographs() -> list[NDArray[np.floating]]:
    """Return every photograph in grey at full and at half size, peak about one."""
    images = []
    for name in PHOTOGRAPHS:
        picture = np.asarray(getattr(data, name)())
        grey = color.rgb2gray(picture) if picture.ndim == 3 else picture / 255.0
        images += [grey, transform.downscale_local_mean(grey, (2, 2))]
    return images


def main(target: Path) -> None:
    prior = fit_prior(
        photographs(),
        n_patches=150_000,
        name="natural",
        data="scikit-image photographs: " + ", ".join(PHOTOGRAPHS),
        progress=lambda done, total: print(f"sweep {done} of {total}", flush=True),
    )
    prior.save(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
