"""The sentences of the report: what the residual means, what kind of image it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from inverse.reconstruction import Reconstruction
from inverse.report.orientation import Hanging
from inverse.report.viewer import Viewer

__all__ = [
    "Verdict",
    "history_label",
    "image_kind",
    "label_of",
    "residual_verdict",
    "title_of",
    "viewer_hints",
]

_TITLES = {
    "zero_filled": "Zero-filled",
    "cg_sense": "CG-SENSE",
    "l1_wavelet": "L1-wavelet",
    "tv": "Total variation",
    "pnp_hqs": "Plug-and-play HQS",
    "dds": "Decomposed diffusion sampling",
    "diffpir": "DiffPIR",
    "ddnm": "Null-space diffusion (DDNM)",
    "ddrm": "Diffusion restoration (DDRM)",
    "red_diff": "Variational diffusion (RED-diff)",
    "dps": "Diffusion posterior sampling",
    "pigdm": "Pseudoinverse-guided diffusion",
    "daps": "Decoupled annealing (DAPS)",
    "pnp_dm": "Plug-and-play diffusion (split Gibbs)",
    "mbir": "Predictor-corrector diffusion (DiffusionMBIR)",
}
_LABELS = {
    "acceleration": "undersampled by a factor of",
    "cg_iterations": "CG iterations a step",
    "channels": "receive channels",
    "compression": "channels compressed to",
    "maps": "coil maps",
    "noise": "noise level taken from",
    "prior": "learned prior",
    "sigma_max": "noise level of the first step",
    "sigma_min": "noise level of the last step",
    "weight": "weight of the regularisation",
}
_HISTORIES = {
    "cg_sense": ("residual of the normal equations", 0),
    "l1_wavelet": ("relative length of the step still to take", 1),
    "tv": ("relative violation of the optimality conditions", 1),
}
_OF_A_PRIOR = "length of the image's change", 1
_ESTIMATED_RISK = "estimated squared error of the predicted data, in noise variances", 1
_VISIBLE_CHANGE = 0.05
_CLOSE = (0.85, 1.15)
_LIMITS = " It says nothing about what was not measured."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the residual says.

    Parameters
    ----------
    tone : {"good", "caution", "unknown"}
    headline : str
        One sentence with the number.
    meaning : str
        What follows from it.
    """

    tone: str
    headline: str
    meaning: str


def title_of(method: str) -> str:
    """Return the name of a method as people write it.

    Examples
    --------
    >>> title_of("cg_sense"), title_of("my_own")
    ('CG-SENSE', 'my own')
    """
    return _TITLES.get(method, method.replace("_", " "))


def label_of(name: str) -> str:
    """Return what a setting or a fact of the preparation is called in the report.

    Examples
    --------
    >>> label_of("sigma_min"), label_of("my_setting")
    ('noise level of the last step', 'my setting')
    """
    return _LABELS.get(name, name.replace("_", " "))


def history_label(reconstruction: Reconstruction) -> tuple[str, int]:
    """Return what the convergence curve shows and the number of its first iteration.

    Parameters
    ----------
    reconstruction : Reconstruction
    """
    is_auto = reconstruction.settings.get("iterations") == "auto"
    if reconstruction.method == "cg_sense" and is_auto and reconstruction.diagnostics.noise_std > 0:
        return _ESTIMATED_RISK
    if reconstruction.diagnostics.n_denoiser:
        return _OF_A_PRIOR
    return _HISTORIES.get(reconstruction.method, ("progress measure of the method", 1))


def viewer_hints(viewer: Viewer, hanging: Hanging) -> tuple[str, ...]:
    """Return what to know about the pictures: how to handle them and how they were made.

    Parameters
    ----------
    viewer : Viewer
    hanging : Hanging
    """
    hints = ["Drag on an image: across for the window, up and down for the level."]
    if len(viewer.slices) > 1:
        hints.append("The wheel changes the slice.")
    if len(viewer.slices) < viewer.n_slices:
        hints.append(f"{len(viewer.slices)} of {viewer.n_slices} slices are kept in this report.")
    hints.append(
        f"Shown as {hanging.plane} slices in radiological orientation."
        if hanging.plane
        else "The file holds no patient orientation; slices are shown as they are stored."
    )
    if abs(viewer.baseline_scale - 1) > _VISIBLE_CHANGE:
        hints.append(f"The zero-filled image is shown {viewer.baseline_scale:.3g} times as bright.")
    return tuple(hints)


def residual_verdict(ratio: float, *, n_maps: int | None = None) -> Verdict:
    """Say in plain words what a residual-to-noise ratio means.

    Its expectation for a least-squares image of n unknowns from m samples is sqrt(1 - n/m), not 1;
    regularisation moves it towards 1.

    Parameters
    ----------
    ratio : float
        Standard deviation of y - A x over that of the noise; NaN when the noise is unknown.
    n_maps : int, optional
        Sets of coil maps that were used, where it is known.

    Returns
    -------
    Verdict

    Examples
    --------
    >>> residual_verdict(1.03).headline
    'The image explains the data to 1.03 times their noise.'
    """
    if not math.isfinite(ratio):
        return Verdict(
            "unknown",
            "The noise level of these data is not known.",
            "Whether the image explains the data cannot be judged.",
        )
    headline = f"The image explains the data to {ratio:.2f} times their noise."
    if ratio < _CLOSE[0]:
        return Verdict(
            "caution",
            headline,
            "Either the image follows much of the noise as well, so expect grain and take the "
            "finest detail with care, or the noise was overestimated." + _LIMITS,
        )
    if ratio <= _CLOSE[1]:
        return Verdict(
            "good",
            headline,
            "What is left over is about what noise alone would leave; a little below 1 is usual, "
            "because every image fits some of the noise." + _LIMITS,
        )
    maps = (
        " If the object may be larger than the field of view, try two sets of coil maps: --maps 2."
        if n_maps == 1
        else ""
    )
    return Verdict(
        "caution",
        headline,
        "Something in the data is not in the image: aliasing that was not resolved, motion, "
        "imperfect coil maps, or a regularisation or prior that outweighs the data."
        + _LIMITS
        + maps,
    )


def image_kind(reconstruction: Reconstruction) -> tuple[str, ...]:
    """Return the sentences that must be seen before the image is believed.

    Parameters
    ----------
    reconstruction : Reconstruction

    Returns
    -------
    tuple of str
        Empty for a measured image made without a learned prior.
    """
    acquisition, recipe = (
        part if isinstance(part, Mapping) else {}
        for part in (reconstruction.provenance.get(key) for key in ("acquisition", "recipe"))
    )
    sentences = []
    if acquisition.get("source") == "simulation":
        sentences.append("Simulated data. No patient and no scanner was involved.")
    if recipe.get("prior"):
        sentences.append(
            "A learned prior took part in this image. Detail that the data do not determine comes "
            "from the prior and may not be real."
        )
    return tuple(sentences)
