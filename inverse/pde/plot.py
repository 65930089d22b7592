"""Pictures of samples: parameters and solutions side by side, with units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure
    from matplotlib.tri import Triangulation

    from inverse.pde.plan import Plan
    from inverse.pde.store import DataSet
    from operators.pde import Grid

__all__ = ["MOST_SAMPLES", "draw_samples", "plot"]

MOST_SAMPLES = 16
_N_TIMES = 4
_WIDTH, _HEIGHT = 3.4, 3.0  # of a panel, in inches


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    """One picture of a sample: values on the grid, at points of a mesh, or a table of numbers."""

    title: str
    unit: str
    values: NDArray[np.float64]
    triangulation: Triangulation | None = None
    remark: str = ""

    @property
    def words(self) -> str:
        """Title, unit and remark."""
        unit = "" if self.unit in {"", "1"} else f" [{self.unit}]"
        return f"{self.title}{unit}{self.remark}"


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
    figure = Figure(figsize=(_WIDTH * n_columns, _HEIGHT * len(rows) + 0.4), layout="constrained")
    figure.suptitle(f"{plan.family}: {plan.equation.equation}", fontsize=10)
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    for samples, panels, row in zip(blocks, rows, axes, strict=True):
        for panel, axis in zip(panels, row, strict=True):
            _draw(plan.grid, panel, axis)
        words = f"sample {samples.index[0]}"
        if not samples.records["converged"][0]:
            words += ", not converged"
        row[0].set_title(f"{words}\n{row[0].get_title()}", fontsize=9)
    return figure


def _panels(plan: Plan, samples: Samples) -> list[_Panel]:
    march = is_march(plan, samples)
    inputs = input_components(plan, samples)
    inputs = [c for c in inputs if not (march and c.quantity == "initial")]
    panels = [_Panel(_title(c), c.unit, c.values[0]) for c in inputs if c.values.ndim > 1]
    numbers = [c for c in inputs if c.values.ndim == 1]
    if numbers:
        lines = [f"{c.symbol} = {c.values[0]:.4g} {c.unit}".removesuffix(" 1") for c in numbers]
        panels.append(_Panel("\n".join(lines), "", np.empty(0)))
    if hasattr(plan.equation, "mesh"):
        return [*panels, _on_mesh(plan, samples)]
    for component in solution_components(plan, samples):
        if not component.name.endswith("_imag"):
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
        _Panel(_title(component), component.unit, states[i], remark=f", t = {times[i]:.3g} s")
        for i in shown
    ]


def _on_mesh(plan: Plan, samples: Samples) -> _Panel:
    """Return the solution at the points of a family's mesh, without triangles of given values."""
    from matplotlib.tri import Triangulation

    mesh, unknown = plan.equation.mesh(plan.grid)  # type: ignore[attr-defined]
    renumbered = np.full(len(mesh.points), -1)
    renumbered[unknown] = np.arange(len(unknown))
    triangles = renumbered[mesh.triangles]
    y, x = mesh.points[unknown].T
    quantity = plan.equation.unknown
    return _Panel(
        f"{quantity.name} {quantity.symbol}",
        quantity.unit,
        np.asarray(samples.solution[0], dtype=np.float64),
        Triangulation(x, y, triangles[(triangles >= 0).all(axis=1)]),
    )


def _title(component: Component) -> str:
    return f"{component.quantity.replace('_', ' ')} {component.symbol}"


def _draw(grid: Grid, panel: _Panel, axis: Axes) -> None:
    values = panel.values
    if values.size == 0:
        axis.axis("off")
        axis.text(0.5, 0.5, panel.title, ha="center", va="center", transform=axis.transAxes)
        return
    axis.set_title(panel.words, fontsize=9)
    if panel.triangulation is None and values.shape == grid.shape and grid.ndim == 1:
        axis.plot(grid.points(0), values)
        axis.set(xlabel="x [m]")
        return
    figure = axis.get_figure()
    if figure is None:
        raise RuntimeError("expected axes of a figure")
    figure.colorbar(_image(grid, panel, axis), ax=axis, fraction=0.046, pad=0.04)


def _image(grid: Grid, panel: _Panel, axis: Axes) -> ScalarMappable:
    """Draw a plane, the middle plane of a volume, a mesh, or the rows of any other array."""
    values = panel.values
    if panel.triangulation is None and values.shape != grid.shape:
        return axis.imshow(np.atleast_2d(values), aspect="auto")
    axis.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")
    if panel.triangulation is not None:
        return axis.tripcolor(panel.triangulation, values, shading="gouraud")
    if grid.ndim == 3:
        values = values[grid.shape[0] // 2]
        axis.set_title(f"{panel.words}, middle z", fontsize=9)
    height, width = grid.lengths[-2:]
    return axis.imshow(values, origin="lower", extent=(0.0, width, 0.0, height))
