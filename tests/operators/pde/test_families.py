"""What every family promises, whatever it solves."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve

from operators import ParameterError, Tag
from operators.pde import FAMILIES, Family, Grid, LinearSystems, make_family
from operators.pde.family import Parameters

NAMES = sorted(FAMILIES)
SHAPES = {2: (14, 12), 3: (7, 6, 5)}
SMALL_SETTINGS = {  # so that a coarse grid resolves what is drawn
    "helmholtz": {"wave_number": 4.0},
}
LARGE_SHAPES = {"skr_thermal": (17, 13)}


def small(name: str, ndim: int = 2) -> tuple[Family, Grid]:
    """A family on a small grid of so many axes; skips those that have no such problem."""
    settings = {
        key: value
        for key, value in SMALL_SETTINGS.get(name, {}).items()
        if key in inspect.signature(FAMILIES[name]).parameters
    }
    family = make_family(name, **settings)
    try:
        return family, family.grid(LARGE_SHAPES.get(name, SHAPES[ndim]))
    except ParameterError as refusal:
        if ndim == 2:
            raise
        pytest.skip(str(refusal))


def draw(family: Family, grid: Grid, index: int) -> dict[str, np.ndarray]:
    sequence = np.random.SeedSequence(7, spawn_key=(index,))
    return family.draw(grid, np.random.default_rng(sequence))


def stack(samples: list[dict[str, np.ndarray]]) -> Parameters:
    return {name: np.stack([one[name] for one in samples]) for name in samples[0]}


def solved(systems: LinearSystems) -> torch.Tensor:
    rows = [
        spsolve(systems.matrix(i).tocsc(), b.numpy().ravel()) for i, b in enumerate(systems.rhs)
    ]
    return torch.from_numpy(np.stack(rows)).reshape(systems.rhs.shape)


def residual(systems: LinearSystems, u: torch.Tensor) -> float:
    missing = systems.rhs - systems.operator(u)
    return float(torch.linalg.vector_norm(missing) / torch.linalg.vector_norm(systems.rhs))


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_march_solves_what_it_says(name: str, ndim: int) -> None:
    """`matrix` and `operator` are the same, at every step and in the last sample too."""
    family, grid = small(name, ndim)
    parameters = stack([draw(family, grid, i) for i in range(3)])
    state = family.initial(grid, parameters)
    assert (state is None) == (family.n_steps == 1)
    for step in range(min(family.n_steps, 3)):
        systems = family.systems(grid, parameters, state, step)
        assert systems.rhs.shape[0] == 3
        assert systems.rhs.dtype in {torch.float64, torch.complex128}
        assert systems.operator.domain.dtype == systems.rhs.dtype
        assert torch.isfinite(torch.view_as_real(systems.rhs.to(torch.complex128))).all()
        u = solved(systems)
        assert residual(systems, u) < 1e-10
        assert float(u.abs().max()) > 0
        assert torch.equal(systems.from_grid(systems.on_grid(u)), u)
        if state is not None:
            assert u.shape == state.shape
        state = u


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_tags_hold(name: str, ndim: int) -> None:
    family, grid = small(name, ndim)
    parameters = stack([draw(family, grid, 0)])
    systems = family.systems(grid, parameters, family.initial(grid, parameters))
    matrix = systems.matrix(0)
    if Tag.SELF_ADJOINT in systems.operator.tags:
        assert abs(matrix - matrix.conj().T).max() <= 1e-12 * abs(matrix).max()
    if Tag.POSITIVE_SEMIDEFINITE in systems.operator.tags:
        eigenvalues = np.linalg.eigvalsh(matrix.toarray())
        assert eigenvalues.min() > -1e-12 * eigenvalues.max()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_samples(name: str) -> None:
    family, grid = small(name)
    samples = [draw(family, grid, i) for i in range(3)]
    together = stack(samples)
    state = family.initial(grid, together)
    systems = family.systems(grid, together, state)
    for i, one in enumerate(samples):
        parameters = stack([one])
        own = family.initial(grid, parameters)
        alone = family.systems(grid, parameters, own)
        assert (systems.matrix(i) != alone.matrix(0)).nnz == 0
        # Products of many samples at once may be summed in another order.
        torch.testing.assert_close(systems.rhs[i : i + 1], alone.rhs, rtol=1e-12, atol=1e-12)
        if own is not None:
            assert torch.equal(state[i : i + 1], own)


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_draw_is_a_function_of_the_generator(name: str, ndim: int) -> None:
    family, grid = small(name, ndim)
    first, other = draw(family, grid, 4), draw(family, grid, 5)
    draw(family, grid, 6)
    again = draw(small(name, ndim)[0], grid, 4)
    assert list(first) == [quantity.name for quantity in family.parameters]
    for key, array in first.items():
        assert array.dtype == np.float64
        assert np.isfinite(array).all()
        assert np.array_equal(array, again[key])
    assert any(not np.array_equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_not_written_to(name: str) -> None:
    family, grid = small(name)
    parameters = stack([draw(family, grid, 0)])
    drawn = {key: array.copy() for key, array in parameters.items()}
    state = family.initial(grid, parameters)
    kept = None if state is None else state.clone()
    systems = family.systems(grid, parameters, state)
    again = family.systems(grid, parameters, state)
    assert torch.equal(systems.rhs, again.rhs)
    for key, array in parameters.items():
        assert np.array_equal(array, drawn[key])
    if state is not None:
        assert torch.equal(state, kept)


@pytest.mark.parametrize("name", NAMES)
def test_form_fits_the_unknown(name: str) -> None:
    family, grid = small(name)
    parameters = stack([draw(family, grid, i) for i in range(2)])
    systems = family.systems(grid, parameters, family.initial(grid, parameters))
    form = systems.form
    if form is None:
        return
    unknown = tuple(systems.rhs.shape[1:])
    assert form.a.shape[0] in {1, 2}
    assert unknown[len(unknown) - grid.ndim :] == tuple(form.a.shape[-grid.ndim :])
    assert float(form.a.min()) > 0
    assert len(form.spacing) == len(form.boundary) == grid.ndim
    assert form.centring in {"cells", "nodes"}


@pytest.mark.parametrize("name", NAMES)
def test_provenance_is_complete(name: str) -> None:
    family, _ = small(name)
    assert family.name == name
    for line in (family.equation, family.boundary, family.stencil):
        assert line.strip()
        assert "\n" not in line
    for quantity in (*family.parameters, family.unknown):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", quantity.name)
        assert quantity.symbol
        assert quantity.unit
    assert family.n_steps >= 1
    assert FAMILIES[name].__doc__


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_the_fields(name: str) -> None:
    """So that a family can be rebuilt from what a file says of it."""
    family, _ = small(name)
    settings = dataclasses.asdict(family)
    assert make_family(name, **settings) == family
    assert all(
        isinstance(value, str | float | int | bool | tuple | None) for value in settings.values()
    )
    for setting in settings:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(family, setting, settings[setting])


@pytest.mark.parametrize("name", NAMES)
def test_refuses_four_axes(name: str) -> None:
    with pytest.raises(ParameterError, match="expected"):
        make_family(name).grid((8, 8, 8, 8))


def test_refuses_unknown_families_and_settings() -> None:
    with pytest.raises(ParameterError, match=r"no family 'darcyy'; there are .*darcy"):
        make_family("darcyy")
    with pytest.raises(ParameterError, match=r"family 'darcy'.*permeability"):
        make_family("darcy", permeability=1.0)


def test_there_are_the_families_that_the_documentation_names() -> None:
    assert {
        "darcy",
        "darcy-two-phase",
        "darcy-fno",
        "darcy-pdebench",
        "poisson",
        "heat",
        "heat-transient",
        "skr_darcy",
        "skr_poisson",
        "skr_thermal",
        "skr_helmholtz",
    } <= set(FAMILIES)
