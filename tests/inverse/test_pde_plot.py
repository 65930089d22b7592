"""Pictures of samples: what is drawn, where, and in which units."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from inverse.errors import ResourceError, UsageError
from inverse.pde.chain import solve_samples
from inverse.pde.generate import generate
from inverse.pde.plan import Plan
from inverse.pde.plot import draw_samples, plot
from inverse.pde.samples import Samples
from inverse.pde.store import open_data_set
from inverse.pde.workers import Here


def panels_of(plan: Plan, samples: Samples) -> list[Axes]:
    """The panels of one sample, without colour bars."""
    figure = draw_samples(plan, [samples])
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def drawn(family: str, shape: tuple[int, ...], **settings: object) -> tuple[Samples, list[Axes]]:
    plan = Plan(family, shape, 1, "direct", settings)
    samples = solve_samples(plan, [0])
    return samples, panels_of(plan, samples)


def titles(axes: list[Axes]) -> list[str]:
    return [axis.get_title() for axis in axes]


def test_a_steady_sample_is_drawn_with_units_and_the_first_row_below() -> None:
    samples, axes = drawn("darcy", (6, 9))
    assert titles(axes) == ["sample 0\nconductivity a [m/s]", "head u [m]"]
    shown = axes[1].images[0]
    np.testing.assert_array_equal(shown.get_array(), samples.solution[0])
    assert (shown.origin, shown.get_extent()) == ("lower", [0.0, 1.0, 0.0, 1.0])
    assert (axes[0].get_xlabel(), axes[0].get_ylabel()) == ("x [m]", "y [m]")


def test_a_march_is_drawn_at_a_few_times_from_first_to_last() -> None:
    samples, axes = drawn("heat-transient", (6, 6), n_steps=9, duration=900.0)
    assert titles(axes)[2:] == [f"temperature T [K], t = {t} s" for t in (0, 300, 600, 900)]
    for axis, i in zip(axes[2:], (0, 3, 6, 9), strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), samples.solution[0, i])


def test_a_complex_solution_is_drawn_by_its_real_part() -> None:
    samples, axes = drawn("helmholtz", (32, 32), position="random")
    assert titles(axes)[2] == "pressure Re u [Pa]"
    np.testing.assert_array_equal(axes[2].images[0].get_array(), samples.solution[0].real)
    position = samples.parameters["source_position"][0]
    assert f"x_s_y = {position[0]:.4g} m" in axes[1].texts[0].get_text()


def test_a_volume_is_drawn_by_its_middle_slice_and_vectors_by_component() -> None:
    samples, axes = drawn("elasticity", (5, 3, 4))
    assert titles(axes)[1:] == [f"displacement u_{a} [m], middle z" for a in "zyx"]
    np.testing.assert_array_equal(axes[3].images[0].get_array(), samples.solution[0, 2, 2])


def test_a_line_is_drawn_as_a_curve() -> None:
    samples, axes = drawn("fisher-kpp", (16,), n_steps=2)
    x, y = axes[-1].lines[0].get_data()
    np.testing.assert_allclose(x, (np.arange(16) + 0.5) * (x[1] - x[0]))
    np.testing.assert_array_equal(y, samples.solution[0, 2])


def test_a_solution_on_a_mesh_is_drawn_at_the_points_of_the_mesh() -> None:
    samples, axes = drawn("skr_thermal", (33, 21))
    [mesh] = axes[1].collections
    np.testing.assert_array_equal(mesh.get_array(), samples.solution[0])
    assert axes[1].dataLim.y1 == pytest.approx(1.6)
    assert axes[1].dataLim.x0 > 0  # the left side is given, not solved for
    assert axes[0].texts[0].get_text().startswith("T = ")


def test_a_sample_that_did_not_converge_says_so() -> None:
    plan = Plan("darcy", (6, 6), 1, "direct")
    samples = solve_samples(plan, [0])
    samples.records["converged"] = False
    samples.solution[:] = np.nan
    assert titles(panels_of(plan, samples))[0].startswith("sample 0, not converged\n")


def test_the_picture_has_a_row_for_each_sample(tmp_path: Path) -> None:
    generate(Plan("darcy", (6, 6), 4, "direct"), tmp_path / "set.h5", runner=Here())
    sizes = []
    with open_data_set(tmp_path / "set.h5") as data:
        for indices in ([0], [3, 1, 2]):
            with Image.open(plot(data, indices, tmp_path / "p.png")) as picture:
                sizes.append(picture.size)
                assert np.ptp(np.asarray(picture.convert("L"))) > 100
        with pytest.raises(UsageError, match="samples are 0 to 3, got 4"):
            plot(data, [4], tmp_path / "q.png")
        with pytest.raises(UsageError, match="expected 1 to 16 samples, got 0"):
            plot(data, [], tmp_path / "q.png")
        with pytest.raises(ResourceError, match="not written"):
            plot(data, [0], tmp_path / "no" / "q.png")
    assert not (tmp_path / "q.png").exists()
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > 2 * sizes[0][1]


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan("darcy", (6, 6), 1, "direct")
    samples = solve_samples(plan, [0])
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError, match=r"pip install 'inverse-suite\[plot\]'"):
        draw_samples(plan, [samples])
