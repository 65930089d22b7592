"""Proximal maps against their definition, Moreau's identity and closed forms."""

from __future__ import annotations

from collections.abc import Callable

import array_api_strict
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from solvers.errors import SolverError
from solvers.low_rank import LocallyLowRank, NuclearNorm
from solvers.proximal import (
    L1,
    GroupL1,
    Proximal,
    Scheduled,
    SquaredDistance,
    conjugate_prox,
    soft_threshold,
)
from solvers.vectors import Array
from solvers.wavelet_l1 import WaveletL1, random_shifts
from solvers.wavelets import DaubechiesTransform

SHAPE = (3, 6, 10)  # batch or frame, y, x
LIBRARIES = {"numpy": np.asarray, "torch": torch.as_tensor, "strict": array_api_strict.asarray}
HAAR = DaubechiesTransform(2, 1, levels=2)
NORMS: dict[str, Proximal] = {
    "L1": L1(0.7, ndim=3),
    "GroupL1": GroupL1(0.7),
    "WaveletL1": WaveletL1(0.7, HAAR, shifts=((1, 2),)),
    "WaveletL1 with coarse band": WaveletL1(0.7, HAAR, keep_coarse=False),
    "NuclearNorm": NuclearNorm(0.7, 1, 2),
    "LocallyLowRank": LocallyLowRank(0.7, (4, 4), shifts=((1, 3),)),
}
AVERAGED = WaveletL1(0.7, HAAR, shifts=((0, 0), (1, 0), (2, 3)), average=True)
norms = pytest.mark.parametrize("g", NORMS.values(), ids=NORMS.keys())


def random_complex(shape: tuple[int, ...], seed: int = 0) -> Array:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(shape) + 1j * generator.standard_normal(shape)


def total(g: Proximal, x: Array) -> float:
    return float(np.sum(np.asarray(g.value(x))))


@norms
def test_prox_minimises_its_objective(g: Proximal) -> None:
    x, step = random_complex(SHAPE), 0.6
    u = g.prox(x, step)
    best = step * total(g, u) + 0.5 * np.linalg.norm(u - x) ** 2
    for seed in range(20):
        for size in (1e-3, 1e-1, 1.0):
            other = u + size * random_complex(SHAPE, seed)
            worse = step * total(g, other) + 0.5 * np.linalg.norm(other - x) ** 2
            # The objective is strongly convex with modulus one.
            assert worse >= best + 0.5 * np.linalg.norm(other - u) ** 2 - 1e-10


@norms
def test_the_residual_is_a_subgradient(g: Proximal) -> None:
    # For a norm, q in step dg(u) iff <q, u> = step g(u) and g's dual norm of q is at most step,
    # that is, prox(q) = 0.
    x, step = random_complex(SHAPE), 0.6
    u = g.prox(x, step)
    q = x - u
    assert np.vdot(u, q).real == pytest.approx(step * total(g, u), rel=1e-12)
    assert np.abs(g.prox(q, step)).max() <= 1e-12


@norms
@given(seed=st.integers(0, 10**6), step=st.floats(1e-3, 1e3))
def test_prox_is_firmly_nonexpansive(g: Proximal, seed: int, step: float) -> None:
    x, y = random_complex(SHAPE, seed), 3 * random_complex(SHAPE, seed + 1)
    difference = g.prox(x, step) - g.prox(y, step)
    assert np.linalg.norm(difference) ** 2 <= np.vdot(difference, x - y).real + 1e-10


def test_the_averaged_map_is_firmly_nonexpansive() -> None:
    for seed in range(20):
        x, y = random_complex(SHAPE, seed), random_complex(SHAPE, seed + 100)
        difference = AVERAGED.prox(x, 0.6) - AVERAGED.prox(y, 0.6)
        assert np.linalg.norm(difference) ** 2 <= np.vdot(difference, x - y).real + 1e-12


@norms
@given(exponent=st.floats(-8, 8), phase=st.floats(0, 6.28))
def test_prox_is_equivariant_to_scale_and_phase(g: Proximal, exponent: float, phase: float) -> None:
    x, s = random_complex(SHAPE), 10.0**exponent
    rotated = s * np.exp(1j * phase) * x
    expected = s * np.exp(1j * phase) * g.prox(x, 0.6)
    assert np.abs(g.prox(rotated, s * 0.6) - expected).max() <= 1e-12 * s
    assert total(g, rotated) == pytest.approx(s * total(g, x), rel=1e-12)


@norms
@pytest.mark.parametrize("library", ["torch", "strict"])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_every_library_gives_the_same(g: Proximal, library: str, dtype: str) -> None:
    x = random_complex(SHAPE)
    x = (x if dtype.startswith("complex") else x.real).astype(dtype)
    result = g.prox(LIBRARIES[library](x), 0.6)
    tolerance = 1e-5 if dtype in {"float32", "complex64"} else 1e-12
    assert result.dtype == LIBRARIES[library](x).dtype
    assert np.abs(np.asarray(result) - g.prox(x.astype("complex128"), 0.6)).max() <= tolerance
    value = np.sum(np.asarray(g.value(LIBRARIES[library](x))))
    assert value == pytest.approx(total(g, x), rel=1e-5)


@norms
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_nan_stays_visible(g: Proximal, library: str) -> None:
    x = random_complex(SHAPE)
    x[0, 1, 2] = np.nan
    assert np.isnan(np.asarray(g.prox(LIBRARIES[library](x), 0.6))).any()
    assert np.isnan(np.asarray(g.value(LIBRARIES[library](x)))).any()


@norms
def test_a_batch_equals_its_systems_with_their_own_steps(g: Proximal) -> None:
    x = random_complex((2, *SHAPE))
    steps = np.asarray([0.2, 1.5])
    together = g.prox(x, steps.reshape(2, 1, 1, 1))
    for i in range(2):
        assert np.allclose(together[i], g.prox(x[i], float(steps[i])), atol=1e-14)
        assert total(g, x[i]) == pytest.approx(float(np.sum(g.value(x)[i])), rel=1e-13)


def test_soft_threshold_of_zero_is_zero() -> None:
    assert soft_threshold(np.zeros(3, complex), 0.0).tolist() == [0, 0, 0]
    assert soft_threshold(torch.zeros(3), 0.5).tolist() == [0, 0, 0]


@pytest.mark.parametrize("g", [L1(0.4), SquaredDistance(np.full(5, 0.3), 2.0)])
def test_prox_equals_a_general_minimiser(g: Proximal) -> None:
    x = np.random.default_rng(3).standard_normal(5)

    def objective(u: Array) -> float:
        return 0.8 * total(g, u) + 0.5 * float(np.sum((u - x) ** 2))

    found = minimize(objective, x, method="Powell", options={"xtol": 1e-10, "ftol": 1e-14})
    assert np.allclose(g.prox(x, 0.8), found.x, atol=1e-6)


def test_moreau_identity_gives_projections_onto_dual_balls() -> None:
    y = 2 * random_complex((4, 7))
    projected = conjugate_prox(L1(0.5), y, 0.3)
    assert np.allclose(projected, y / np.maximum(1, np.abs(y) / 0.5))
    groups = random_complex((2, 4, 7))
    magnitude = np.linalg.norm(groups, axis=0)
    projected = conjugate_prox(GroupL1(0.5), groups, 3.0)
    assert np.allclose(projected, groups / np.maximum(1, magnitude / 0.5))


def test_nuclear_norm_shortens_known_singular_values() -> None:
    u, _ = np.linalg.qr(random_complex((5, 3), 1))
    v, _ = np.linalg.qr(random_complex((8, 3), 2))
    x = (u * np.asarray([4.0, 1.0, 0.2])) @ v.conj().T
    expected = (u * np.asarray([3.5, 0.5, 0.0])) @ v.conj().T
    assert np.allclose(NuclearNorm(1.0).prox(x, 0.5), expected)
    assert float(NuclearNorm(2.0).value(x)) == pytest.approx(10.4)


def test_nuclear_norm_spoils_no_other_matrix_of_the_batch() -> None:
    x = random_complex((2, 3, 4))
    x[0, 0, 0] = np.inf
    result = NuclearNorm(1.0).prox(x, 0.5)
    assert np.isnan(result[0]).all()
    assert np.allclose(result[1], NuclearNorm(1.0).prox(x[1], 0.5))


def test_local_blocks_are_those_cut_by_hand() -> None:
    x = random_complex((4, 5, 7))  # borders leave blocks of one row and one column
    g = LocallyLowRank(0.5, (2, 3))
    expected = np.empty_like(x)
    for top in range(0, 5, 2):
        for left in range(0, 7, 3):
            tile = np.s_[:, top : top + 2, left : left + 3]
            expected[tile] = NuclearNorm(0.5, 1, 2).prox(x[tile], 0.9)
    assert np.allclose(g.prox(x, 0.9), expected)


def test_spinning_takes_the_shifts_in_turn() -> None:
    shifts = random_shifts(2, 4, 5, np.random.default_rng(7))
    assert shifts == random_shifts(2, 4, 5, np.random.default_rng(7))
    x = random_complex((16, 16))
    for g in (WaveletL1(0.3, shifts=shifts), LocallyLowRank(0.3, (4, 4), shifts)):
        assert isinstance(g, Scheduled)
        series = x if isinstance(g, WaveletL1) else x[None]
        turns = [g.at(k).prox(series, 1.0) for k in range(7)]
        assert np.array_equal(turns[0], turns[5])
        assert np.array_equal(turns[1], turns[6])
    by_hand = np.roll(x, shifts[1], (0, 1))
    by_hand = WaveletL1(0.3).prox(by_hand, 1.0)
    expected = np.roll(by_hand, [-s for s in shifts[1]], (0, 1))
    assert np.allclose(WaveletL1(0.3, shifts=shifts).at(1).prox(x, 1.0), expected)


def test_averaging_all_shifts_commutes_with_a_shift() -> None:
    every = tuple((i, j) for i in range(4) for j in range(4))
    g = WaveletL1(0.3, DaubechiesTransform(2, 1, levels=2), shifts=every, average=True)
    x = random_complex((16, 16))
    moved = g.prox(np.roll(x, (1, 2), (0, 1)), 1.0)
    assert np.allclose(moved, np.roll(g.prox(x, 1.0), (1, 2), (0, 1)))
    assert g.at(3) is g


def test_wavelet_prox_leaves_the_mean_alone() -> None:
    x = random_complex((16, 32)) + 3
    u = WaveletL1(100.0, DaubechiesTransform(2, 2)).prox(x, 1.0)
    assert u.mean() == pytest.approx(x.mean(), rel=1e-12)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: L1(-1.0), "L1 expected a finite weight >= 0, got -1.0"),
        (lambda: SquaredDistance(np.ones(2), float("nan")), "weight >= 0, got nan"),
        (lambda: GroupL1(1.0, axis=0), "negative axis, counted back, got 0"),
        (lambda: WaveletL1(1.0, shifts=((1,),)), "shifts of 2 integers"),
        (lambda: NuclearNorm(1.0, 0), "at least one row and one column axis, got 0 and 1"),
        (lambda: NuclearNorm(1.0).prox(np.ones(3), 1.0), r"at least 2 axes, got shape \(3,\)"),
        (lambda: LocallyLowRank(1.0, (0, 2)), "block edges >= 1"),
        (lambda: LocallyLowRank(1.0, (2, 2), ((1,),)), "shifts of 2 integers"),
        (lambda: LocallyLowRank(1.0).prox(np.ones((2, 2)), 1.0), "with 2 grid axes"),
    ],
)
def test_wrong_arguments_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(SolverError, match=message):
        build()
