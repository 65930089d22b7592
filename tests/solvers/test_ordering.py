"""Orders of fields against literal searches: greedy chains, Hilbert curves, streams, features."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray

from solvers import Ordering, Pca, SolverError, SparseProjections, order_fields
from solvers.features import features_of, principal_components
from solvers.greedy_chain import greedy_chain
from solvers.hilbert import hilbert_index, hilbert_order

Floats = NDArray[np.float64]


def _random_fields(n: int, m: int, seed: int = 1) -> Floats:
    """Gaussian random fields with covariance (-Laplace + 9)^-2 and free walls."""
    rng = np.random.default_rng(seed)
    k = np.arange(m)
    decay = 1 / (np.pi**2 * (k[:, None] ** 2 + k**2) + 9)
    return scipy.fft.idctn(rng.normal(size=(n, m, m)) * decay, axes=(1, 2), norm="ortho") * m


def _few_parameters(n: int, m: int, n_modes: int) -> Floats:
    rng = np.random.default_rng(2)
    modes = _random_fields(n_modes, m, seed=3)
    weights = rng.normal(size=(n, n_modes)) * np.linspace(1, 0.5, n_modes)
    return np.tensordot(weights, modes, axes=1)


def _literal_greedy(fields: Floats) -> list[int]:
    """The algorithm of the paper, word by word."""
    order, left = [0], list(range(1, len(fields)))
    while left:
        distances = [float(np.sqrt(((fields[j] - fields[order[-1]]) ** 2).sum())) for j in left]
        order.append(left.pop(distances.index(min(distances))))
    return order


def _literal_hilbert(cell: list[int], n_bits: int) -> int:
    """Skilling 2004, AxestoTranspose for one point, then the transpose read bit by bit."""
    x, n, q = list(cell), len(cell), 1 << (n_bits - 1)
    while q > 1:
        for i in range(n):
            if x[i] & q:
                x[0] ^= q - 1
            else:
                t = (x[0] ^ x[i]) & (q - 1)
                x[0], x[i] = x[0] ^ t, x[i] ^ t
        q >>= 1
    for i in range(1, n):
        x[i] ^= x[i - 1]
    t, q = 0, 1 << (n_bits - 1)
    while q > 1:
        t ^= (q - 1) if x[-1] & q else 0
        q >>= 1
    x = [value ^ t for value in x]
    return int("".join(str(v >> b & 1) for b in range(n_bits - 1, -1, -1) for v in x), 2)


class TestHilbert:
    @pytest.mark.parametrize(("n_axes", "n_bits"), [(1, 5), (2, 1), (2, 5), (3, 3), (4, 2), (5, 2)])
    def test_visits_every_cell_and_steps_to_a_neighbour(self, n_axes: int, n_bits: int) -> None:
        cells = np.stack(np.indices((2**n_bits,) * n_axes), axis=-1).reshape(-1, n_axes)
        index = hilbert_index(cells, n_bits)
        assert sorted(index.tolist()) == list(range(2 ** (n_bits * n_axes)))
        steps = np.abs(np.diff(cells[np.argsort(index)], axis=0)).sum(axis=1)
        assert (steps == 1).all()

    @pytest.mark.parametrize(("n_axes", "n_bits"), [(1, 20), (2, 20), (3, 20), (3, 21), (7, 9)])
    def test_is_the_literal_transform(self, n_axes: int, n_bits: int) -> None:
        cells = np.random.default_rng(5).integers(0, 2**n_bits, (100, n_axes))
        expected = [_literal_hilbert(cell, n_bits) for cell in cells.tolist()]
        assert hilbert_index(cells, n_bits).tolist() == expected

    def test_order_ignores_shift_and_scale(self) -> None:
        points = np.random.default_rng(6).integers(0, 1000, (300, 3)).astype(float)
        order = hilbert_order(points)
        assert sorted(order.tolist()) == list(range(300))
        np.testing.assert_array_equal(hilbert_order(8 * points + 16), order)

    def test_equal_points_keep_their_order(self) -> None:
        assert hilbert_order(np.full((5, 3), 0.3)).tolist() == list(range(5))

    def test_messages(self) -> None:
        with pytest.raises(SolverError, match="n_bits expected 1 to 21 for 3 axes, got 22"):
            hilbert_index(np.zeros((1, 3), np.int64), 22)
        with pytest.raises(SolverError, match="cells expected numbers 0 to 3, got 0 to 4"):
            hilbert_index(np.array([[0, 4]]), 2)


class TestGreedy:
    @pytest.mark.parametrize("shape", [(60, 5), (120, 9, 8), (40, 3, 3, 5), (200, 40), (50, 400)])
    @pytest.mark.parametrize("decay", [0.0, 0.4])
    def test_is_the_chain_of_the_paper(self, shape: tuple[int, ...], decay: float) -> None:
        rng = np.random.default_rng(sum(shape))
        fields = rng.normal(size=shape) * np.exp(-decay * np.arange(shape[-1]))
        order = order_fields(fields, method="greedy", features=None, chain_length=None)
        assert order.permutation.tolist() == _literal_greedy(fields)
        assert order.permutation.dtype == np.int64

    @pytest.mark.parametrize("length", [3, 60])
    def test_ties_go_to_the_first(self, length: int) -> None:
        """Integer fields: distances are exact, and many are equal."""
        rng = np.random.default_rng(8)
        fields = np.zeros((80, length))
        fields[:, :3] = rng.integers(0, 3, (80, 3))
        assert greedy_chain(fields).tolist() == _literal_greedy(fields)

    def test_far_from_the_origin(self) -> None:
        """Distances are differences of fields, not of their norms, which would cancel."""
        fields = 1e7 + np.random.default_rng(9).normal(size=(60, 100))
        assert greedy_chain(fields).tolist() == _literal_greedy(fields)

    def test_single_precision_fields(self) -> None:
        fields = np.random.default_rng(10).normal(size=(100, 64)).astype(np.float32)
        assert greedy_chain(fields).tolist() == _literal_greedy(fields.astype(np.float64))

    def test_few_points(self) -> None:
        assert greedy_chain(np.zeros((0, 3))).tolist() == []
        assert greedy_chain(np.zeros((1, 50))).tolist() == [0]
        assert greedy_chain(np.zeros((2, 50))).tolist() == [0, 1]


class TestFeatures:
    def test_components_are_those_of_the_covariance(self) -> None:
        fields = _random_fields(500, 16).reshape(500, -1)
        values, vectors = np.linalg.eigh(np.cov(fields.T))
        leading = vectors[:, ::-1][:, :8]
        components = principal_components(fields, 8)
        np.testing.assert_allclose(components @ components.T, np.eye(8), atol=1e-12)
        captured = np.trace(components @ np.cov(fields.T) @ components.T)
        assert captured >= 0.999 * values[::-1][:8].sum()
        assert np.linalg.norm(components[0] @ leading[:, 0]) >= 0.9999

    def test_scores_are_the_fields_seen_along_the_components(self) -> None:
        fields = _random_fields(300, 12)
        scores = features_of(fields, Pca(4))
        exact = fields.reshape(300, -1) @ principal_components(fields.reshape(300, -1), 4).T
        np.testing.assert_allclose(scores, exact, atol=2e-3 * np.abs(exact).max())

    def test_signs_do_not_depend_on_the_order_of_samples(self) -> None:
        fields = _random_fields(400, 12).reshape(400, -1)
        shuffled = fields[np.random.default_rng(0).permutation(400)]
        ours, theirs = principal_components(fields, 3), principal_components(shuffled, 3)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)

    def test_sparse_projections_keep_distances_on_average(self) -> None:
        rng = np.random.default_rng(3)
        x, y = rng.normal(size=(2, 400))
        squares = []
        for seed in range(200):
            project = SparseProjections(16, seed=seed).fit(x[None])
            squares.append(float(((project(x[None]) - project(y[None])) ** 2).sum()))
        assert np.mean(squares) == pytest.approx(((x - y) ** 2).sum(), rel=0.1)
        assert np.std(squares) <= 0.6 * np.mean(squares)

    def test_a_function_sees_the_fields_as_they_are(self) -> None:
        fields = np.random.default_rng(4).normal(size=(50, 4, 4)) * (1 + 1j)
        order = order_fields(
            fields,
            method="greedy",
            features=lambda block: np.abs(block).mean(axis=(1, 2))[:, None],
            chain_length=None,
        )
        means = np.abs(fields).mean(axis=(1, 2))
        assert order.permutation.tolist() == _literal_greedy(means[:, None])

    def test_complex_fields_are_pairs_of_reals(self) -> None:
        rng = np.random.default_rng(5)
        fields = rng.normal(size=(40, 6)) + 1j * rng.normal(size=(40, 6))
        order = order_fields(fields, method="greedy", features=None, chain_length=None)
        pairs = np.concatenate([fields.real, fields.imag], axis=1)
        assert order.permutation.tolist() == _literal_greedy(pairs)


class TestOrder:
    @pytest.mark.parametrize("method", ["hilbert", "curve", "greedy"])
    def test_is_a_permutation_and_always_the_same(self, method: str) -> None:
        fields = _random_fields(230, 8)
        first, second = (order_fields(fields, method=method, chain_length=100) for _ in range(2))
        assert sorted(first.permutation.tolist()) == list(range(230))
        np.testing.assert_array_equal(first.permutation, second.permutation)
        assert first.chain_starts.tolist() == [0, 100, 200]
        assert [len(chain) for chain in first.chains()] == [100, 100, 30]
        np.testing.assert_array_equal(first.permutation[first.ranks()], np.arange(230))

    def test_chains_are_the_curve_sorted_greedily(self) -> None:
        fields = _random_fields(90, 8)
        points = features_of(fields, Pca())
        order = order_fields(fields, chain_length=40)
        curve = order_fields(fields, method="curve", chain_length=40)
        assert curve.permutation.tolist() == hilbert_order(points[:, :3]).tolist()
        for chain, given in zip(order.chains(), curve.chains(), strict=True):
            assert chain.tolist() == given[_literal_greedy(points[given])].tolist()

    def test_hops_are_mean_distances(self) -> None:
        fields = _random_fields(80, 6)
        order = order_fields(fields, chain_length=30)
        flat = fields.reshape(80, -1)
        hops = np.concatenate(
            [np.linalg.norm(np.diff(flat[chain], axis=0), axis=1) for chain in order.chains()]
        )
        pairs = np.linalg.norm(flat[:, None] - flat, axis=2)[np.triu_indices(80, 1)]
        assert order.mean_hop == pytest.approx(hops.mean(), rel=1e-12)
        assert order.random_hop == pytest.approx(pairs.mean(), rel=1e-12)
        assert order.gain == pytest.approx(hops.mean() / pairs.mean(), rel=1e-12)
        assert order.hop_space == "fields"

    def test_random_hop_of_many_fields_is_close(self) -> None:
        fields = _random_fields(1500, 6).reshape(1500, -1)
        pairs = np.linalg.norm(fields[:300, None] - fields[300:600], axis=2)
        assert order_fields(fields).random_hop == pytest.approx(pairs.mean(), rel=0.05)

    @pytest.mark.parametrize(
        "fields", [_random_fields(4000, 32), _few_parameters(4000, 32, 3)], ids=["full", "few"]
    )
    def test_is_nearly_as_good_as_the_greedy_chain(self, fields: Floats) -> None:
        exact = order_fields(fields, method="greedy", features=None, chain_length=None)
        reduced = order_fields(fields, method="greedy", chain_length=None)
        default = order_fields(fields)
        assert exact.gain <= 0.5
        assert reduced.mean_hop <= 1.1 * exact.mean_hop
        assert default.mean_hop <= 1.1 * exact.mean_hop

    def test_equal_fields_keep_their_order(self) -> None:
        order = order_fields(np.ones((7, 4)))
        assert order.permutation.tolist() == list(range(7))
        assert order.mean_hop == order.random_hop == 0.0
        assert np.isnan(order.gain)

    def test_one_field(self) -> None:
        order = order_fields(np.ones((1, 4, 4)))
        assert order.permutation.tolist() == order.chain_starts.tolist() == [0]


class TestStream:
    def test_gives_the_order_of_the_array(self) -> None:
        fields = _random_fields(700, 8).astype(np.float32)
        stream = (fields[start : start + 90] for start in range(0, 700, 90))
        for features in (Pca(), SparseProjections(), None):
            kwargs = {"features": features, "chain_length": 200}
            if features is not None:
                stream = (fields[start : start + 90] for start in range(0, 700, 90))
            else:
                stream = iter([fields[:300], fields[300:]])
            found, expected = order_fields(stream, **kwargs), order_fields(fields, **kwargs)
            np.testing.assert_array_equal(found.permutation, expected.permutation)
            assert found.hop_space == ("features" if features else "fields")
            assert found.gain == pytest.approx(expected.gain, rel=0.3)

    def test_memory_is_that_of_the_features(self) -> None:
        """Twenty thousand fields of 64 x 64: 655 MB in all."""
        modes = _random_fields(30, 64, seed=4).reshape(30, -1)

        def blocks() -> Iterator[Floats]:
            rng = np.random.default_rng(1)
            for _ in range(40):
                yield (rng.normal(size=(500, 30)) @ modes).reshape(500, 64, 64)

        tracemalloc.start()
        try:
            order = order_fields(blocks(), features=Pca(n_samples=2000))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(order.permutation) == 20_000
        assert peak <= 200e6

    def test_reads_a_memory_map(self, tmp_path: Path) -> None:
        fields = _random_fields(300, 8)
        np.save(tmp_path / "fields.npy", fields)
        mapped = np.load(tmp_path / "fields.npy", mmap_mode="r")
        expected = order_fields(fields, chain_length=100).permutation
        np.testing.assert_array_equal(order_fields(mapped, chain_length=100).permutation, expected)


def test_does_not_depend_on_the_number_of_threads() -> None:
    script = (
        "import numpy as np, hashlib; from solvers import order_fields;"
        "f = np.random.default_rng(0).normal(size=(3000, 40)) @ "
        "np.random.default_rng(1).normal(size=(40, 900));"
        "f = np.round(f, 6);"
        "print(hashlib.sha256(order_fields(f).permutation.tobytes()).hexdigest(),"
        "hashlib.sha256(order_fields(f[:800], method='greedy', features=None)"
        ".permutation.tobytes()).hexdigest())"
    )
    found = set()
    for threads in ("1", "2"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | dict.fromkeys(names, threads),
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(done.stdout)
    assert len(found) == 1


class TestMessages:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (np.zeros((0, 3)), "fields expected at least one field"),
            (np.zeros((3, 0)), "fields expected at least one field of at least one number"),
            (iter([]), "fields expected at least one field"),
            (np.array([[0.0], [np.nan], [1.0]]), "got NaN or infinity in field 1"),
            (iter([np.zeros((2, 3)), np.full((2, 3), np.inf)]), "got NaN or infinity in field 2"),
            (iter([np.zeros((2, 3)), np.zeros((2, 4))]), "expected 3 numbers each, got 4 from fi"),
            (np.array([["a"], ["b"]]), "fields expected arrays of numbers"),
        ],
    )
    def test_fields(self, fields: object, message: str) -> None:
        with pytest.raises(SolverError, match=message):
            order_fields(fields)

    def test_arguments(self) -> None:
        fields = np.eye(4)
        for kwargs, message in (
            ({"method": "best"}, "method expected one of hilbert, curve, greedy, got 'best'"),
            ({"chain_length": 0}, "chain_length expected a number >= 1, got 0"),
            ({"n_axes": 0}, "n_axes expected a number >= 1, got 0"),
            ({"features": lambda block: block[:2]}, "features expected a function that returns"),
        ):
            with pytest.raises(SolverError, match=message):
                order_fields(fields, **kwargs)
        with pytest.raises(SolverError, match="n_components expected a number >= 1, got 0"):
            Pca(0)
        with pytest.raises(SolverError, match="n_projections expected a number >= 1, got -1"):
            SparseProjections(-1)

    def test_orderings(self) -> None:
        for permutation, starts, message in (
            ([0, 0, 2], [0], "permutation expected every number from 0 to 2 once"),
            ([0, 1, 2], [1], "chain_starts expected 0 and then larger numbers"),
            ([0, 1, 2], [0, 0], "chain_starts expected 0 and then larger numbers"),
            ([0, 1, 2], [0, 3], "chain_starts expected numbers below 3, got 3"),
        ):
            with pytest.raises(SolverError, match=message):
                Ordering(np.array(permutation), np.array(starts))
