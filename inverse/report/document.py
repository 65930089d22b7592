"""The report as one self-contained page: facts gathered here, laid out by the template."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from inverse.errors import DataError
from inverse.metrics import Comparison, compare
from inverse.provenance import json_ready, versions
from inverse.reconstruction import Reconstruction
from inverse.report import pictures
from inverse.report.charts import convergence_curve, gauge_position
from inverse.report.orientation import Hanging, hang
from inverse.report.png import data_address
from inverse.report.references import citations
from inverse.report.uncertainty import Uncertainty, coloured, ramp, uncertainty_of
from inverse.report.viewer import Viewer, viewer_of
from inverse.report.words import (
    history_label,
    image_kind,
    label_of,
    residual_verdict,
    title_of,
    viewer_hints,
)

__all__ = ["render", "write_report"]

_SCALE_BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)
_SCALE_BAR_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class Picture:
    """A still picture with its caption; a wide one fills the page, the others stand in a row.

    A map has the meaning of its brightest colour, to be written at the end of its scale.
    """

    title: str
    caption: str
    address: str
    is_wide: bool = False
    brightest: str = ""


def write_report(reconstruction: Reconstruction, path: Path) -> Path:
    """Write the report of a reconstruction as one HTML file that needs nothing else.

    Parameters
    ----------
    reconstruction : Reconstruction
    path : Path
        Replaced whole, or left as it was.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ResourceError
        If the file cannot be written.
    """
    from inverse.io.atomic import replacing

    page = render(reconstruction)
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def render(reconstruction: Reconstruction) -> str:
    """Return the report of a reconstruction as HTML text.

    Parameters
    ----------
    reconstruction : Reconstruction

    Returns
    -------
    str
        A whole page; every value in it is escaped, and its content policy forbids all but the
        page's own style, script and pictures.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = resources.files("inverse.report")
    style, script, template = (
        folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.css", "report.js", "report.html")
    )
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.from_string(template).render(
        _facts(reconstruction),
        style=Markup(style),  # noqa: S704 - our own files, not input
        script=Markup(script),  # noqa: S704
        script_hash=Markup(script_hash),  # noqa: S704
    )


def _facts(reconstruction: Reconstruction) -> dict[str, object]:
    """Gather everything that the template shows, by the template's names."""
    grid, diagnostics = reconstruction.grid, reconstruction.diagnostics
    hanging = hang(grid)
    posterior = reconstruction.posterior
    uncertainty = None if posterior is None else uncertainty_of(posterior)
    viewer = viewer_of(reconstruction, hanging, uncertainty)
    found = versions()
    preparation = _mapping(reconstruction.provenance, "preparation")
    recipe = _mapping(reconstruction.provenance, "recipe")
    n_maps = recipe.get("maps")
    size_mm = [n * step for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    return {
        "title": title_of(reconstruction.method),
        "why": reconstruction.provenance.get("why"),
        "kinds": image_kind(reconstruction),
        "verdict": residual_verdict(
            diagnostics.residual_to_noise, n_maps=n_maps if isinstance(n_maps, int) else None
        ),
        "gauge": gauge_position(diagnostics.residual_to_noise),
        "diagnostics": diagnostics,
        "grid": grid,
        "size_mm": size_mm,
        "hanging": hanging,
        "hints": viewer_hints(viewer, hanging),
        "viewer": viewer,
        "viewer_data": {
            **_viewer_data(viewer, hanging.pixel_mm, has_geometry=not grid.is_nominal),
            "ramp": ramp().tolist() if uncertainty else [],
            "brightest": dict(uncertainty.brightest) if uncertainty else {},
        },
        "stills": {name: data_address(still) for name, still in viewer.stills.items()},
        "aspect": viewer.shape[2] * hanging.pixel_mm[1] / (viewer.shape[1] * hanging.pixel_mm[0]),
        "comparison": _comparison(reconstruction),
        "pictures": _pictures(reconstruction),
        "uncertainty": uncertainty,
        "maps": _maps(uncertainty, hanging) if uncertainty else [],
        "ramp_address": data_address(ramp()[None].repeat(8, 0)),
        "curve": convergence_curve(diagnostics.history),
        "history": history_label(reconstruction),
        "settings": _rows(reconstruction.settings),
        "preparation": _rows(preparation),
        "seconds": dict(diagnostics.seconds),
        "longest": max([*diagnostics.seconds.values(), 1e-9]),
        "inputs": _inputs(_mapping(reconstruction.provenance, "inputs")),
        "provenance": json.dumps(json_ready(reconstruction.provenance), indent=2),
        "citations": citations(reconstruction, found["inverse-suite"]),
        "version": found["inverse-suite"],
    }


def _viewer_data(
    viewer: Viewer, pixel_mm: tuple[float, float], *, has_geometry: bool
) -> dict[str, object]:
    width_mm = viewer.shape[2] * pixel_mm[1]
    bars = [mm for mm in _SCALE_BARS_MM if mm <= _SCALE_BAR_SHARE * width_mm]
    return {
        "shape": viewer.shape,
        "slices": viewer.slices,
        "layers": dict(viewer.layers),
        "bright": viewer.bright,
        "white": 4095,
        "bar_mm": bars[0] if bars and has_geometry else None,
        "bar_share": bars[0] / width_mm if bars and has_geometry else None,
    }


def _comparison(reconstruction: Reconstruction) -> dict[str, Comparison]:
    if reconstruction.reference is None:
        return {}
    reference = reconstruction.reference
    found = {}
    for name, image in (("image", reconstruction.image), ("baseline", reconstruction.baseline)):
        try:
            found[name] = compare(np.abs(image), np.abs(reference))
        except DataError:
            # A zero or tiny reference cannot be compared with; the rest of the report still can.
            return {}
    return found


def _pictures(reconstruction: Reconstruction) -> list[Picture]:
    details = reconstruction.details
    hanging = hang(reconstruction.grid)
    shown = []
    if "csm" in details:
        csm = details["csm"]
        tiles = {
            "magnitude": ("How strongly each coil hears each place.", pictures.coil_magnitude),
            "phase": ("One turn of colours is 360 degrees.", pictures.coil_phase),
        }
        for name, (caption, paint) in tiles.items():
            address = data_address(paint(csm, hanging))
            shown.append(Picture(f"Coil maps, {name}", caption, address, is_wide=True))
    if "mask" in details:
        mask = details["mask"].astype(bool)
        address = data_address(pictures.mask_picture(mask))
        caption = f"{100 * float(mask.mean()):.1f} % of the samples were acquired (white)."
        shown.append(Picture("Sampling of k-space", caption, address))
    if "noise_covariance" in details:
        address = data_address(pictures.noise_correlation(details["noise_covariance"]))
        caption = "Black 0, white 1. The noise was made white before the reconstruction."
        shown.append(Picture("Noise correlation of the coils", caption, address))
    return shown


_MAP_TITLES = {
    "undetermined": "Where the data did not decide",
    "width": "How wide the interval is",
    "spread": "How far the samples spread",
}
"""Of these, a posterior has the maps that show something of their own."""


def _maps(uncertainty: Uncertainty, hanging: Hanging) -> list[Picture]:
    """Return the middle slice of each map."""
    shown = []
    for name, title in _MAP_TITLES.items():
        if name not in uncertainty.maps:
            continue
        values = uncertainty.maps[name]
        middle = np.asarray(hanging.apply(values[len(values) // 2]), dtype=np.float64)
        address = data_address(coloured(middle))
        caption, brightest = uncertainty.captions[name], uncertainty.brightest[name]
        shown.append(Picture(title, caption, address, brightest=brightest))
    return shown


def _mapping(source: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = source.get(key)
    return value if isinstance(value, Mapping) else {}


def _rows(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(label_of(name), _shown(value)) for name, value in values.items()]


def _shown(value: object) -> str:
    plain = json_ready(value)
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if isinstance(plain, float):
        return f"{plain:.4g}"
    if isinstance(plain, str):
        return plain
    if isinstance(plain, list) and all(isinstance(entry, int | float) for entry in plain):
        return " x ".join(f"{entry:.4g}" for entry in plain)
    return "automatic" if plain is None else json.dumps(plain)


def _inputs(inputs: Mapping[str, object]) -> list[tuple[str, str]]:
    """Return (label, value) of the inputs: format and hash, never a name."""
    rows = [("format", _shown(inputs["format"]))] if "format" in inputs else []
    hashes = inputs.get("sha256", ())
    listed = hashes.values() if isinstance(hashes, Mapping) else hashes
    each = listed if isinstance(listed, Iterable) and not isinstance(listed, str) else [listed]
    return rows + [(f"input {i} sha256", _shown(value)) for i, value in enumerate(each, 1)]
