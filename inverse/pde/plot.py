"""Pictures of samples: parameters and solutions side by side, with units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inverse.errors import UsageError
from inverse.io.atomic import replacing
from inverse.pde.components import (
    Component,
    input_components,
    is_march,
    solution_components,
    times_of,
)
from inverse.pde.samples import Samples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inverse.pde.plan import Plan
    from inverse.pde.store import DataSet

__all__ = ["MOST_SAMPLES", "draw_samples", "plot"]

MOST_SAMPLES = 16
_N_TIMES = 4
_WIDTH, _HEIGHT = 3.4, 3.0  # of a panel, in inches


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    """One picture of a sample: a plane, a line, points of a mesh, or a table of numbers."""

    title: str
    unit: str
    values: NDArray[np.float64]
    points: NDArray[np.float64] | None = None


def plot(data: DataSet, indices: Sequence[int], path: Path) -> Path:
    """Write a PNG with one row a sample: its parameters, then its solution.

    A march is shown at a few times, a complex solution by its real part, a volume by its middle
    slice.

    Parameters
    ----------
    data : DataSet
    indices : sequence of int
        Which samples, up to `MOST_SAMPLES`.
    path : Path
        Replaced when the picture is complete.

    Raises
    ------
    UsageError
        If there is no such sample, too many are asked for, or matplotlib is not installed.
    ResourceError
        If the file cannot be written.
    """
    if not 1 <= len(indices) <= MOST_SAMPLES:
        raise UsageError(f"a plot expected 1 to {MOST_SAMPLES} samples, got {len(indices)}")
    for i in indices:
        if not 0 <= i < len(data):
            raise UsageError(f"{data.path}: samples are 0 to {len(data) - 1}, got {i}")
    blocks = [data.rows(i, i + 1) for i in indices]
    figure = draw_samples(data.plan, blocks)
    with replacing(path) as part:
        figure.savefig(part, dpi=100, format="png")
    return path


def draw_samples(plan: Plan, blocks: Sequence[Samples]) -> Figure:
    """Draw samples, one row each; for notebooks.

    Parameters
    ----------
    plan : Plan
    blocks : sequence of Samples
        One sample each.

    Raises
    ------
    UsageError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "a plot needs the package matplotlib: pip install 'inverse-suite[plot]'"
        ) from error
    rows = [_panels(plan, samples) for samples in blocks]
    n_columns = len(rows[0])
    figure = Figure(figsize=(_WIDTH * n_columns, _HEIGHT * len(rows) + 0.5), layout="constrained")
    figure.suptitle(f"{plan.family}: {plan.equation.equation}", fontsize=10)
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    for samples, panels, row in zip(blocks, rows, axes, strict=True):
        for panel, axis in zip(panels, row, strict=True):
            _draw(plan, panel, axis)
        converged = "" if samples.records["converged"][0] else "\nnot converged"
        row[0].text(
            -0.35, 0.5, f"sample {samples.index[0]}{converged}",
            transform=row[0].transAxes, rotation=90, ha="center", va="center",
        )  # fmt: skip
    return figure


def _panels(plan: Plan, samples: Samples) -> list[_Panel]:
    march = is_march(plan, samples)
    inputs = input_components(plan, samples)
    fields = [c for c in inputs if not (march and c.name.startswith("initial"))]
    panels = [_Panel(_title(c), c.unit, c.values[0]) for c in fields if c.values.ndim > 1]
    numbers = [c for c in fields if c.values.ndim == 1]
    if numbers:
        text = "\n".join(f"{c.symbol} = {c.values[0]:.4g} {_unit(c.unit)}" for c in numbers)
        panels.append(_Panel(text, "", np.empty(0)))
    mesh = getattr(plan.equation, "mesh", None)
    if mesh is not None:
        points, unknown = mesh(plan.grid)
        name = f"{plan.equation.unknown.name} {plan.equation.unknown.symbol}"
        values: NDArray[Any] = samples.solution[0]
        return [
            *panels,
            _Panel(name, plan.equation.unknown.unit, values, points.points[unknown]),
        ]
    for component in solution_components(plan, samples):
        if component.name.endswith("_imag"):
            continue
        panels += _states(plan, component, march=march)
    return panels


def _states(plan: Plan, component: Component, *, march: bool) -> list[_Panel]:
    """Return a few times of a component; one for a steady equation."""
    states = component.values[0]
    if not march:
        return [_Panel(_title(component), component.unit, states[0])]
    times = times_of(plan, len(states))
    shown = np.unique(np.linspace(0, len(states) - 1, _N_TIMES).round().astype(int))
    return [
        _Panel(f"{_title(component)}, t = {times[i]:.3g}", component.unit, states[i]) for i in shown
    ]


def _title(component: Component) -> str:
    name = component.name.removesuffix("_real").replace("_", " ")
    return f"{name} {component.symbol}"


def _unit(unit: str) -> str:
    return "" if unit == "1" else unit


def _draw(plan: Plan, panel: _Panel, axis: Axes) -> None:
    grid = plan.grid
    values = panel.values
    if values.size == 0:
        axis.axis("off")
        axis.text(0.5, 0.5, panel.title, ha="center", va="center", transform=axis.transAxes)
        return
    title = panel.title
    figure = axis.get_figure()
    if figure is None:
        raise RuntimeError("expected axes of a figure")
    if panel.points is not None:
        drawn: Any = axis.scatter(
            panel.points[:, 1], panel.points[:, 0], c=values, s=8, marker="s", linewidths=0
        )
        axis.set(aspect="equal", xlabel="x [m]", ylabel="y [m]")
    elif values.shape != grid.shape:
        drawn = axis.imshow(np.atleast_2d(values), aspect="auto")
    elif grid.ndim == 1:
        axis.plot(grid.points(0), values)
        axis.set(xlabel="x [m]", ylabel=_unit(panel.unit))
        axis.set_title(title, fontsize=9)
        return
    else:
        if grid.ndim == 3:
            values = values[grid.shape[0] // 2]
            title = f"{title}, middle z"
        height, width = grid.lengths[-2:]
        drawn = axis.imshow(values, origin="lower", extent=(0.0, width, 0.0, height))
        axis.set(xlabel="x [m]", ylabel="y [m]")
    bar = figure.colorbar(drawn, ax=axis, shrink=0.85)
    bar.set_label(_unit(panel.unit))
    axis.set_title(title, fontsize=9)
