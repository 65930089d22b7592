"""Gaussian random fields against closed-form covariances and the sum of modes written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import gamma, kv

from operators import ParameterError
from operators.pde import GaussianField, Grid, Matern, PowerLaw

FIELDS = [
    (boundary, centring)
    for boundary in ("neumann", "dirichlet", "periodic")
    for centring in ("cells", "nodes")
]


def matern(r: NDArray[np.float64], length: float, nu: float) -> NDArray[np.float64]:
    s = np.sqrt(2 * nu) * np.maximum(np.abs(r), 1e-12) / length
    return 2 ** (1 - nu) / gamma(nu) * s**nu * kv(nu, s)


class Basis(np.random.Generator):
    """A generator that deals out one unit vector after another instead of noise."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))
        self.next = 0

    def standard_normal(self, size: tuple[int, ...]) -> NDArray[np.float64]:  # type: ignore[override]
        noise = np.zeros(size)
        noise.flat[self.next] = 1.0
        self.next += 1
        return noise


def exact_covariance(field: GaussianField, grid: Grid) -> NDArray[np.float64]:
    """Sum of the outer products of all responses of the sampler, (size, size)."""
    basis = Basis()
    responses = []
    while True:
        try:
            responses.append(field.sample(grid, basis).ravel())
        except IndexError:
            return np.asarray(np.transpose(responses) @ np.array(responses))


def modes(grid: Grid, boundary: str, n_modes: int) -> tuple[NDArray, NDArray]:
    """Eigenfunctions of the Laplacian on the box, (n, size), and their squared wave numbers."""
    axes = []
    for axis in range(grid.ndim):
        x, length = grid.points(axis), grid.lengths[axis]
        if boundary == "neumann":
            k = np.pi * np.arange(n_modes) / length
            phi = np.sqrt(np.where(k > 0, 2, 1) / length)[:, None] * np.cos(np.outer(k, x))
        elif boundary == "dirichlet":
            k = np.pi * np.arange(1, n_modes + 1) / length
            phi = math.sqrt(2 / length) * np.sin(np.outer(k, x))
        else:
            j = np.repeat(np.arange(n_modes), 2)[1:]
            k = 2 * np.pi * j / length
            phase = np.where(np.arange(len(j)) % 2, 0, -np.pi / 2)
            phase[0] = 0
            phi = np.sqrt(np.where(k > 0, 2, 1) / length)[:, None] * np.cos(
                np.outer(k, x) + phase[:, None]
            )
        axes.append(list(zip(k**2, phi, strict=True)))
    squared, functions = [], []
    for combination in itertools.product(*axes):
        squared.append(sum(k2 for k2, _ in combination))
        phi = combination[0][1]
        for _, factor in combination[1:]:
            phi = np.multiply.outer(phi, factor)
        functions.append(phi.ravel())
    return np.array(squared), np.array(functions)


@pytest.mark.parametrize(("boundary", "centring"), FIELDS)
@pytest.mark.parametrize("shape", [(7,), (5, 6)])
def test_covariance_is_the_sum_of_modes(boundary: str, centring: str, shape: tuple) -> None:
    grid = Grid(shape, (1.5, 0.8)[: len(shape)], centring)
    # Odd numbers of waves, so that none is alone at the Nyquist rate of the periodic axes.
    if boundary == "periodic":
        grid = Grid((7, 5)[: len(shape)] if centring == "cells" else (8, 6)[: len(shape)])
        grid = Grid(grid.shape, (1.5, 0.8)[: len(shape)], centring)
    found = exact_covariance(GaussianField(PowerLaw(1.7, 4.0), boundary), grid)
    wanted = np.zeros_like(found)
    per_axis = {
        "periodic": [(n - (centring == "nodes")) // 2 + 1 for n in grid.shape],
        "neumann": list(grid.shape),
        "dirichlet": [n - 2 * (centring == "nodes") for n in grid.shape],
    }[boundary]
    squared, functions = modes(grid, boundary, max(per_axis))
    inside = [
        index
        for index, which in enumerate(itertools.product(*_mode_numbers(boundary, per_axis)))
        if all(w < n for w, n in zip(which, per_axis, strict=True))
    ]
    for index in inside:
        density = 4.0 ** (2 * 1.7 - grid.ndim) * (squared[index] + 16.0) ** -1.7
        wanted += density * np.outer(functions[index], functions[index])
    np.testing.assert_allclose(found, wanted, atol=1e-12 * np.abs(wanted).max())


def _mode_numbers(boundary: str, per_axis: list[int]) -> list[list[int]]:
    numbers = list(range(max(per_axis)))
    if boundary == "periodic":
        numbers = [(i + 1) // 2 for i in range(2 * max(per_axis) - 1)]
    return [numbers] * len(per_axis)


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5])
@pytest.mark.parametrize(("boundary", "sign"), [("neumann", 1), ("dirichlet", -1)])
def test_matern_is_reflected_by_walls(boundary: str, sign: int, nu: float) -> None:
    """C(x, y) = sum over the images of y in both walls: the method of images in closed form."""
    grid, length = Grid((1500,), (2.0,)), 0.15
    rows = slice(5, None, 150)
    x = grid.points(0)[rows]
    field = GaussianField(Matern(length, nu), boundary)
    found = exact_covariance(field, grid)[rows, rows]
    wanted = sum(
        matern(x[:, None] - x[None, :] - 4.0 * m, length, nu)
        + sign * matern(x[:, None] + x[None, :] - 4.0 * m, length, nu)
        for m in range(-3, 4)
    )
    np.testing.assert_allclose(found, wanted, atol=5e-3 if nu == 0.5 else 1e-4)


@pytest.mark.parametrize("centring", ["cells", "nodes"])
@pytest.mark.parametrize("shape", [(64, 64), (24, 24, 24)])
def test_periodic_matern_has_its_covariance(shape: tuple, centring: str) -> None:
    """In two and three dimensions, from one response: rows of a circulant are shifts."""
    length, nu = 0.12, 2.5
    grid = Grid(shape, (1.0,) * len(shape), centring)
    impulse = GaussianField(Matern(length, nu), "periodic").sample(grid, Basis())
    inner = impulse[tuple(slice(0, n - (centring == "nodes")) for n in shape)]
    # The response to an impulse at the origin is the root of the covariance: convolve it twice.
    found = np.fft.ifftn(np.abs(np.fft.fftn(inner)) ** 2).real
    lags = [
        np.minimum(np.arange(n), n - np.arange(n)) * h
        for n, h in zip(inner.shape, grid.spacing, strict=True)
    ]
    r = np.sqrt(sum(lag**2 for lag in np.meshgrid(*lags, indexing="ij")))
    near = r < 0.3  # the wrapped copies add little there
    np.testing.assert_allclose(found[near], matern(r, length, nu)[near], atol=0.02)
    if centring == "nodes":
        for axis in range(len(shape)):
            np.testing.assert_array_equal(impulse.take(0, axis), impulse.take(-1, axis))


def test_draws_have_the_covariance() -> None:
    """Empirical: 4000 draws of a field over 4 x 5 points, within five standard errors."""
    grid, field = Grid((4, 5)), GaussianField(PowerLaw(2.0, 3.0))
    rng = np.random.default_rng(5)
    draws = np.array([field.sample(grid, rng).ravel() for _ in range(4000)])
    wanted = exact_covariance(field, grid)
    found = draws.T @ draws / len(draws)
    spread = np.sqrt((np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / len(draws))
    assert (np.abs(found - wanted) < 5 * spread).all()
    mean_spread = np.sqrt(np.diag(wanted) / len(draws))
    assert (np.abs(draws.mean(axis=0)) < 5 * mean_spread).all()


@pytest.mark.parametrize(("boundary", "centring"), FIELDS)
@pytest.mark.parametrize("shape", [(6,), (4, 5), (3, 4, 5)])
def test_variance_is_exact(boundary: str, centring: str, shape: tuple) -> None:
    grid = Grid(shape, (1.0, 2.0, 0.5)[: len(shape)], centring)
    field = GaussianField(PowerLaw(1.5, 2.0), boundary)
    wanted = np.diag(exact_covariance(field, grid)).reshape(shape)
    np.testing.assert_allclose(field.variance(grid), wanted, rtol=1e-12, atol=1e-15)
    if boundary == "dirichlet" and centring == "nodes":
        assert field.variance(grid)[(0,) * len(shape)] == 0


@pytest.mark.parametrize(("boundary", "centring"), FIELDS)
def test_std_scales_the_average_variance(boundary: str, centring: str) -> None:
    grid = Grid((6, 7), (1.0, 2.0), centring)
    field = GaussianField(Matern(0.3), boundary, std=2.5)
    assert np.mean(field.variance(grid)) == pytest.approx(6.25, rel=1e-12)


@pytest.mark.parametrize("boundary", ["neumann", "periodic"])
def test_zero_mean_draws_sum_to_zero(boundary: str) -> None:
    grid = Grid((16, 8))
    g = GaussianField(PowerLaw(), boundary, zero_mean=True).sample(grid, np.random.default_rng(0))
    assert abs(g.mean()) < 1e-14
    with_mean = GaussianField(PowerLaw(), boundary).sample(grid, np.random.default_rng(0))
    assert np.ptp(with_mean - g) < 1e-13 < abs(with_mean.mean())


def test_refinement_keeps_the_field() -> None:
    """Smooth fields of the same law on a coarse and a fine grid have the same variance."""
    field = GaussianField(PowerLaw(alpha=4.0, tau=3.0))
    coarse = field.variance(Grid((16, 16), centring="nodes"))
    fine = field.variance(Grid((31, 31), centring="nodes"))
    np.testing.assert_allclose(fine[::2, ::2], coarse, rtol=1e-3)


def test_draw_is_a_function_of_the_generator() -> None:
    grid, field = Grid((8, 9)), GaussianField(Matern(0.2))

    def draw(*key: int) -> NDArray[np.float64]:
        return field.sample(grid, np.random.default_rng(np.random.SeedSequence(1, spawn_key=key)))

    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))
    assert np.array_equal(draw(3), draw(3))  # the tables are not written to


@given(st.sampled_from(FIELDS), st.lists(st.integers(3, 9), min_size=1, max_size=3))
def test_samples_fit_any_grid(kind: tuple[str, str], shape: list[int]) -> None:
    grid = Grid(tuple(shape), centring=kind[1])
    g = GaussianField(PowerLaw(), kind[0]).sample(grid, np.random.default_rng(0))
    assert g.shape == grid.shape
    assert np.isfinite(g).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PowerLaw(alpha=0.0), "positive alpha and tau"),
        (lambda: PowerLaw(tau=-1.0), "positive alpha and tau"),
        (lambda: Matern(0.0), "positive length and smoothness"),
        (lambda: Matern(1.0, math.inf), "positive length and smoothness"),
        (lambda: GaussianField(PowerLaw(), "robin"), "got 'robin'"),
        (lambda: GaussianField(PowerLaw(), std=0.0), "positive std, got 0"),
    ],
)
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make()
