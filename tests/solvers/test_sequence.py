"""Sequences of systems: original order, lazy making, chains of their own, nothing hidden."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import torch
from numpy.typing import NDArray

from solvers import (
    LazySystems,
    Ordering,
    RecycleSpace,
    Solution,
    SolverError,
    Status,
    System,
    UnconvergedWarning,
    cg,
    gcrodr,
    gmres,
    order_fields,
    solve_sequence,
)

Floats = NDArray[np.float64]
Sparse = scipy.sparse.csr_array


def _laplacian(m: int) -> Sparse:
    line = scipy.sparse.diags_array(
        [-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], offsets=[-1, 0, 1]
    )
    eye = scipy.sparse.eye_array(m)
    return scipy.sparse.csr_array(scipy.sparse.kron(line, eye) + scipy.sparse.kron(eye, line))


def _family(n: int = 12, m: int = 12) -> tuple[list[tuple[Sparse, Floats]], Floats]:
    """Laplacians scaled by smooth fields that depend on one number."""
    rng = np.random.default_rng(4)
    knobs = rng.uniform(0, 1, n)
    x = np.linspace(0, 3, m * m)
    parameters = np.exp(knobs[:, None] * np.sin(x))
    systems = [
        (scipy.sparse.csr_array(_laplacian(m) * a), np.ones(m * m) + k)
        for a, k in zip(parameters, knobs, strict=True)
    ]
    return systems, parameters


def _residuals(systems: list[tuple[Sparse, Floats]], solutions: tuple[Floats, ...]) -> list[float]:
    return [
        float(np.linalg.norm(b - A @ x) / np.linalg.norm(b))
        for (A, b), x in zip(systems, solutions, strict=True)
    ]


class TestOrder:
    @pytest.mark.parametrize("order", [None, "auto", "given"])
    def test_solutions_come_in_the_order_given(self, order: str | None) -> None:
        systems, parameters = _family()
        permutation = np.random.default_rng(0).permutation(12)
        given = Ordering(permutation, np.array([0, 5]))
        result = solve_sequence(
            systems,
            order=given if order == "given" else order,
            parameters=parameters,
            rtol=1e-9,
        )
        assert max(_residuals(systems, result.solutions)) <= 1.01e-9
        assert [record.index for record in result.records] == list(range(12))
        expected = {
            None: np.arange(12),
            "auto": order_fields(parameters).permutation,
            "given": permutation,
        }[order]
        solved = sorted(result.records, key=lambda record: record.position)
        assert [record.index for record in solved] == expected.tolist()
        assert [record.chain for record in solved] == (
            [0] * 5 + [1] * 7 if order == "given" else [0] * 12
        )

    def test_systems_are_made_one_by_one_when_their_turn_comes(self) -> None:
        systems, parameters = _family(6)
        events: list[tuple[str, int]] = []

        def make(index: int) -> tuple[Sparse, Floats]:
            events.append(("made", index))
            return systems[index]

        result = solve_sequence(
            LazySystems(6, make),
            order="auto",
            parameters=parameters,
            on_solution=lambda index, _: events.append(("solved", index)),
        )
        order = result.order.permutation.tolist()
        assert events == [(what, i) for i in order for what in ("made", "solved")]
        assert result.solutions == ()
        assert len(result.records) == 6

    def test_an_iterable_is_solved_as_it_comes(self) -> None:
        systems, _ = _family(4)
        result = solve_sequence(iter(systems), rtol=1e-8)
        assert max(_residuals(systems, result.solutions)) <= 1.01e-8
        assert result.order is None

    def test_no_systems(self) -> None:
        result = solve_sequence([])
        assert result.solutions == result.records == ()
        assert result.converged


class TestRecords:
    def test_tell_what_each_solve_did(self) -> None:
        systems, _ = _family(3)
        calls: list[int] = []

        def counting(A: Sparse, b: Floats, **options: object) -> Solution:
            calls.clear()
            return gmres(lambda x: calls.append(1) or A @ x, b, **options)

        seen: list[int] = []
        result = solve_sequence(
            systems, solver=counting, rtol=1e-7, on_solution=lambda *_: seen.append(len(calls))
        )
        for record, n_calls, (A, b) in zip(result.records, seen, systems, strict=True):
            alone = gmres(A, b, rtol=1e-7)
            assert record.status is Status.CONVERGED
            assert record.iterations == alone.iterations[0]
            assert record.n_operator == alone.n_operator == n_calls
            assert record.residual_norm == alone.residual_norm[0]
            assert record.relative_residual == alone.relative_residual[0] <= 1e-7
            assert record.recycle_dim == 0
            assert record.delta is None
            assert record.seconds > 0
        assert result.n_operator == sum(record.n_operator for record in result.records)

    def test_no_system_is_silently_unconverged(self) -> None:
        systems, _ = _family(4)
        with pytest.warns(
            UnconvergedWarning,
            match=r"4 of 4 systems did not converge, the first of them number 0 \(MAX_ITERATIONS",
        ):
            result = solve_sequence(systems, solver=cg, maxiter=3)
        assert not result.converged
        assert result.unconverged == (0, 1, 2, 3)

    def test_a_bad_system_harms_no_other(self) -> None:
        systems, parameters = _family(6)
        systems[2] = (systems[2][0], np.full(144, np.nan))
        space = RecycleSpace(6)
        with pytest.warns(UnconvergedWarning, match="1 of 6 systems did not converge.* number 2"):
            result = solve_sequence(
                systems, order="auto", parameters=parameters, recycle=space, rtol=1e-8
            )
        assert result.unconverged == (2,)
        assert np.isnan(result.solutions[2]).all()
        good = [i for i in range(6) if i != 2]
        found = _residuals([systems[i] for i in good], tuple(result.solutions[i] for i in good))
        assert max(found) <= 1.01e-8

    def test_errors_name_the_system(self) -> None:
        systems = [(np.eye(3), np.ones(3)), (np.eye(4), np.ones(3))]
        with pytest.raises(SolverError, match="A has 4 columns") as caught:
            solve_sequence(systems)
        assert caught.value.__notes__ == ["in system 1 of the sequence"]


class TestRecycling:
    def test_saves_applications(self) -> None:
        systems, parameters = _family(10, 20)
        solver = partial(gcrodr, m=25, k=12)
        space = RecycleSpace(12)
        with_space = solve_sequence(
            systems,
            order="auto",
            parameters=parameters,
            recycle=space,
            solver=solver,
            rtol=1e-8,
        )
        without = solve_sequence(systems, solver=solver, rtol=1e-8)
        assert with_space.n_operator < 0.9 * without.n_operator
        solved = sorted(with_space.records, key=lambda record: record.position)
        assert [record.recycle_dim for record in solved] == [0] + [12] * 9

    def test_each_chain_is_what_it_is_alone(self) -> None:
        systems, parameters = _family(12)
        order = order_fields(parameters, chain_length=4)
        whole = solve_sequence(systems, order=order, recycle=RecycleSpace(6), rtol=1e-8)
        for chain in order.chains():
            alone = solve_sequence([systems[i] for i in chain], recycle=RecycleSpace(6), rtol=1e-8)
            for index, x in zip(chain, alone.solutions, strict=True):
                np.testing.assert_array_equal(whole.solutions[index], x)

    def test_delta_is_the_angle_to_the_wanted_space(self) -> None:
        systems, _ = _family(4, 8)

        def smallest(A: Sparse) -> Floats:
            values, vectors = scipy.linalg.eig(A.toarray())
            return np.real(vectors[:, np.argsort(np.abs(values))[:3]])

        spaces: list[Floats] = []
        space = RecycleSpace(6)
        result = solve_sequence(
            systems,
            recycle=space,
            solver=partial(gcrodr, m=20, k=6),
            rtol=1e-10,
            on_solution=lambda *_: spaces.append(space.columns()),
            invariant_space=smallest,
        )
        assert result.records[0].delta is None
        for i in (1, 2, 3):
            A = systems[i][0]
            c, q = np.linalg.qr(A @ spaces[i - 1])[0], np.linalg.qr(smallest(A))[0]
            cosines = np.linalg.svd(c.T @ q, compute_uv=False)
            delta = np.sqrt(1 - cosines.min() ** 2)
            assert result.records[i].delta == pytest.approx(delta, abs=1e-7)
            assert 0 < delta < 0.9


class TestPreset:
    def test_skr_is_greedy_gcrodr_from_zero(self) -> None:
        systems, parameters = _family(8, 20)
        result = solve_sequence(
            [(A, b, np.full(400, 7.0)) for A, b in systems],
            preset="skr",
            parameters=parameters,
            rtol=1e-8,
        )
        order, left = [0], list(range(1, 8))
        while left:
            distances = [np.linalg.norm(parameters[j] - parameters[order[-1]]) for j in left]
            order.append(left.pop(int(np.argmin(distances))))
        assert result.order.permutation.tolist() == order
        assert result.order.chain_starts.tolist() == [0]
        space = RecycleSpace(20, target="smallest")
        for i in order:
            expected = gcrodr(*systems[i], m=40, k=20, recycle=space, rtol=1e-8)
            np.testing.assert_array_equal(result.solutions[i], expected.x)
            assert result.records[i].n_operator == expected.n_operator
        assert max(_residuals(systems, result.solutions)) <= 1.01e-8

    def test_takes_a_preconditioner(self) -> None:
        systems, parameters = _family(4)
        made: list[float] = []

        class Diagonal:
            def __init__(self, A: Sparse) -> None:
                self.update(A)

            def update(self, A: Sparse) -> bool:
                self.inverse = 1 / A.diagonal()
                made.append(self.inverse[0])
                return True

            def forward(self, r: Floats) -> Floats:
                return self.inverse * r

        result = solve_sequence(
            systems, preset="skr", parameters=parameters, preconditioner=Diagonal, rtol=1e-8
        )
        assert max(_residuals(systems, result.solutions)) <= 1.01e-8
        order = result.order.permutation
        assert made == [1 / systems[i][0].diagonal()[0] for i in order]
        assert all(record.is_preconditioner_new for record in result.records)

    def test_is_all_or_nothing(self) -> None:
        systems, parameters = _family(2)
        for kwargs in (
            {},
            {"parameters": parameters, "order": "auto"},
            {"parameters": parameters, "solver": gmres},
            {"parameters": parameters, "recycle": RecycleSpace(3)},
        ):
            with pytest.raises(SolverError, match="preset='skr' sets order, recycle and solver"):
                solve_sequence(systems, preset="skr", **kwargs)
        with pytest.raises(SolverError, match="preset expected 'skr' or None, got 'fast'"):
            solve_sequence(systems, preset="fast", parameters=parameters)


class _Lagged:
    """The inverse of an earlier operator, renewed when the last solve took too long."""

    def __init__(self, A: Sparse, patience: int = 7) -> None:
        self.patience, self.n_applied, self.n_made = patience, 0, 0
        self._make(A)

    def _make(self, A: Sparse) -> None:
        self.inverse = np.linalg.inv(A.toarray())
        self.n_made += 1

    def forward(self, r: Floats) -> Floats:
        self.n_applied += 1
        return self.inverse @ r

    def update(self, A: Sparse) -> bool:
        is_stale, self.n_applied = self.n_applied > self.patience, 0
        if is_stale:
            self._make(A)
        return is_stale


class TestPreconditioner:
    def test_an_object_is_kept_and_updated(self) -> None:
        systems, parameters = _family(12)
        shared = _Lagged(systems[0][0])
        result = solve_sequence(
            systems, order="auto", parameters=parameters, preconditioner=shared, rtol=1e-8
        )
        assert max(_residuals(systems, result.solutions)) <= 1.01e-8
        renewed = [record.is_preconditioner_new for record in result.records]
        assert sum(renewed) == shared.n_made - 1
        assert 0 < sum(renewed) < 12

    def test_sorting_saves_renewals(self) -> None:
        systems, parameters = _family(40)
        counts = []
        for order in (None, "auto"):
            result = solve_sequence(
                systems, order=order, parameters=parameters, preconditioner=_Lagged, rtol=1e-8
            )
            counts.append(sum(record.is_preconditioner_new for record in result.records))
        assert counts[1] <= 0.6 * counts[0]

    def test_a_function_makes_one_a_chain(self) -> None:
        systems, parameters = _family(9)
        order = order_fields(parameters, chain_length=3)
        made: list[_Lagged] = []

        def make(A: Sparse) -> _Lagged:
            made.append(_Lagged(A, patience=1000))
            return made[-1]

        result = solve_sequence(systems, order=order, preconditioner=make, rtol=1e-8)
        assert len(made) == 3
        new = [record.is_preconditioner_new for record in result.records]
        assert np.flatnonzero(new).tolist() == sorted(order.permutation[order.chain_starts])
        for chain in order.chains():
            alone = solve_sequence(
                [systems[i] for i in chain],
                preconditioner=partial(_Lagged, patience=1000),
                rtol=1e-8,
            )
            for index, x in zip(chain, alone.solutions, strict=True):
                np.testing.assert_array_equal(result.solutions[index], x)


class TestArguments:
    def test_a_start_is_used(self) -> None:
        systems, _ = _family(2)
        exact = [np.linalg.solve(A.toarray(), b) for A, b in systems]
        starts = [System(A, b, x) for (A, b), x in zip(systems, exact, strict=True)]
        result = solve_sequence(starts, rtol=1e-8)
        assert [record.iterations for record in result.records] == [0, 0]

    def test_solver_takes_the_tolerances(self) -> None:
        options: dict[str, object] = {}

        def solver(A: Sparse, b: Floats, **given: object) -> Solution:
            options.update(given)
            return gmres(A, b)

        systems, _ = _family(1)
        solve_sequence(systems, solver=solver, rtol=1e-3, atol=1e-2, maxiter=99)
        assert options == {"x0": None, "M": None, "rtol": 1e-3, "atol": 1e-2, "maxiter": 99}

    def test_other_libraries(self, library: SimpleNamespace) -> None:
        A = library.array(np.diag(np.arange(1.0, 21.0)))
        systems = [(A, library.array(np.full(20, float(i)))) for i in (1, 2, 3)]
        solver: Callable[..., Solution] = cg
        result = solve_sequence(systems, solver=solver, rtol=1e-10)
        for i, x in enumerate(result.solutions):
            np.testing.assert_allclose(library.numpy(x), (i + 1) / np.arange(1.0, 21.0), rtol=1e-8)

    def test_delta_of_torch_operators(self) -> None:
        A = torch.diag(torch.arange(1.0, 61.0, dtype=torch.float64))
        ones = torch.ones(60, dtype=torch.float64)
        result = solve_sequence(
            [(A, ones), (A, 2 * ones)],
            recycle=RecycleSpace(4),
            solver=partial(gcrodr, m=10, k=4),
            rtol=1e-10,
            invariant_space=lambda _: np.eye(60)[:, :1],
        )
        assert result.converged
        assert 0 <= result.records[1].delta < 0.5

    def test_messages(self) -> None:
        systems, parameters = _family(3)
        one_long = Ordering(np.arange(4), np.array([0]))
        batched = [(np.eye(2), np.ones((3, 2)))]
        for call, message in (
            (lambda: solve_sequence(systems, order="auto"), "sorts the parameters .*: pass param"),
            (lambda: solve_sequence(systems, order=one_long), "order expected 3 systems, got one"),
            (
                lambda: solve_sequence(iter(systems), order="auto", parameters=parameters),
                "an order needs systems .* expected a list or LazySystems, got list_iterator",
            ),
            (lambda: solve_sequence([np.eye(2)]), r"system 0 expected a tuple \(A, b\) or"),
            (
                lambda: solve_sequence(batched, solver=partial(gmres, n_batch_axes=1)),
                "solvers of one system, got 3 at once",
            ),
        ):
            with pytest.raises(SolverError, match=message):
                call()

    def test_lazy_systems_have_an_end(self) -> None:
        systems = LazySystems(2, lambda i: (np.eye(2), np.full(2, float(i))))
        assert [b.tolist() for _, b, _ in systems] == [[0.0, 0.0], [1.0, 1.0]]
        with pytest.raises(IndexError):
            systems[2]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert solve_sequence(systems).converged
