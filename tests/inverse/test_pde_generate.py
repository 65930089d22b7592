"""Data sets of differential equations: right, whole, the same bytes however they are made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve

from inverse.errors import DataError, ResourceError, UsageError
from inverse.pde.chain import solve_samples
from inverse.pde.drawing import draw
from inverse.pde.generate import generate, parts_folder
from inverse.pde.plan import Plan
from inverse.pde.solving import STRATEGIES
from inverse.pde.store import open_data_set
from inverse.pde.strategies import Answer
from inverse.pde.verify import verify
from inverse.pde.workers import Here, Processes, Task
from operators.pde import LinearSystems

PLAN = Plan("darcy", (12, 12), 22, "spectral", chain_length=5, seed=7)
MARCH = Plan("heat-transient", (8, 8), 4, "direct", chain_length=3)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Stops:
    """Dies after so many chains, as a killed run does."""

    after: int

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        for i, done in enumerate(Here().run(plan, tasks)):
            if i == self.after:
                raise KeyboardInterrupt
            yield done


@dataclass(frozen=True)
class Backwards:
    """Solves the last chain first."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Iterator[tuple[int, float]]:
        return Here().run(plan, tasks[::-1])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    path = tmp_path / "set.h5"
    generate(PLAN, path, runner=Here())
    return path


def test_samples_solve_the_equation_of_their_parameters(made: Path) -> None:
    with open_data_set(made) as data:
        samples = data.rows(0, len(data))
    family, grid = PLAN.equation, PLAN.grid
    for i in range(PLAN.n_samples):
        own = draw(PLAN, [i])
        np.testing.assert_array_equal(samples.parameters["conductivity"][i], own["conductivity"][0])
        systems = family.systems(grid, own)
        exact = spsolve(systems.matrix(0).tocsc(), systems.rhs[0].numpy().ravel())
        error = np.linalg.norm(samples.solution[i].ravel() - exact) / np.linalg.norm(exact)
        assert error < 1e-8
    assert samples.records["converged"].all()
    assert (samples.records["relative_residual"] <= 1e-10).all()


def test_a_march_begins_with_its_initial_state_and_every_step_is_solved(tmp_path: Path) -> None:
    generate(MARCH, tmp_path / "set.h5", runner=Here())
    assert verify(tmp_path / "set.h5").is_sound
    with open_data_set(tmp_path / "set.h5") as data:
        assert data.solution_shape[0] == MARCH.equation.n_steps + 1
        samples = data.rows(1, 2)
    initial = MARCH.equation.initial(MARCH.grid, draw(MARCH, [1]))
    assert initial is not None
    np.testing.assert_array_equal(samples.solution[0, 0], initial[0].numpy())


def test_draws_do_not_depend_on_how_many_there_are_or_on_their_company() -> None:
    more = replace(PLAN, n_samples=100, chain_length=50, solver="direct", tolerance=1e-4)
    alone, together = draw(PLAN, [13]), draw(more, [2, 13, 5])
    np.testing.assert_array_equal(alone["conductivity"][0], together["conductivity"][1])
    assert not np.array_equal(together["conductivity"][0], together["conductivity"][1])
    other = draw(replace(PLAN, seed=8), [13])
    assert not np.array_equal(alone["conductivity"], other["conductivity"])


@pytest.mark.slow
def test_bytes_do_not_depend_on_the_workers(made: Path, tmp_path: Path) -> None:
    generate(PLAN, tmp_path / "two.h5", runner=Processes(2))
    generate(PLAN, tmp_path / "backwards.h5", runner=Backwards())
    assert sha256(made) == sha256(tmp_path / "two.h5") == sha256(tmp_path / "backwards.h5")


def test_an_interrupted_run_goes_on_to_the_same_bytes(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.h5"
    for after in (1, 0):
        with pytest.raises(KeyboardInterrupt):
            generate(PLAN, path, runner=Stops(after))
        assert not path.exists()
    last = generate(PLAN, path, runner=Here())
    assert last.is_complete
    assert 0 < last.n_kept < PLAN.n_samples
    assert last.n_kept + last.n_solved == PLAN.n_samples
    assert sha256(path) == sha256(made)
    assert not parts_folder(path).exists()


def test_shards_of_an_array_job_make_the_same_bytes(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "shards.h5"
    assert not generate(PLAN, path, runner=Here(), shard=(1, 2)).is_complete
    assert not path.exists()
    assert generate(PLAN, path, runner=Here(), shard=(0, 2)).is_complete
    assert sha256(path) == sha256(made)


def test_sorted_solving_keeps_the_order_of_samples(made: Path, tmp_path: Path) -> None:
    plan = replace(PLAN, solver="lagged-lu", sort="greedy", chain_length=8)
    generate(plan, tmp_path / "sorted.h5", runner=Here())
    with open_data_set(made) as one, open_data_set(tmp_path / "sorted.h5") as other:
        a, b = one.rows(0, 22), other.rows(0, 22)
    np.testing.assert_array_equal(a.parameters["conductivity"], b.parameters["conductivity"])
    np.testing.assert_allclose(a.solution, b.solution, rtol=0, atol=1e-8 * np.abs(a.solution).max())
    assert (b.records["iterations"] > 0).any()


class Lies:
    """Returns zeros for every second system and says nothing."""

    learns = False

    def solve(self, systems: LinearSystems, tolerance: float) -> Answer:
        found = STRATEGIES["direct"][0]().solve(systems, tolerance)
        x = found.x.clone()
        x[::2] = 0
        return Answer(x, found.iterations, found.n_operator)


class Fails:
    learns = False

    def solve(self, systems: LinearSystems, _: float) -> Answer:
        n = len(systems.rhs)
        x = torch.full_like(systems.rhs, torch.nan)
        return Answer(x, np.zeros(n, np.int64), np.zeros(n, np.int64))


def test_a_failed_sample_is_solved_by_the_next_of_the_ladder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(STRATEGIES, "lies", (Lies, lambda _: True))
    found = solve_samples(replace(PLAN, solver="lies"), range(6))
    truth = solve_samples(replace(PLAN, solver="direct"), range(6))
    assert found.records["attempts"].tolist() == [2, 1, 2, 1, 2, 1]
    assert set(found.records["solver"][::2]) <= {b"multigrid", b"direct"}
    assert set(found.records["solver"][1::2]) == {b"lies"}
    np.testing.assert_allclose(found.solution, truth.solution, rtol=1e-8, atol=1e-12)


def test_a_sample_that_nothing_solves_is_nan_and_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in list(STRATEGIES):
        monkeypatch.setitem(STRATEGIES, name, (Fails, lambda _: True))
    small = replace(PLAN, n_samples=3, chain_length=2)
    found = generate(small, tmp_path / "set.h5", runner=Here())
    assert found.unconverged == (0, 1, 2)
    certificate = verify(tmp_path / "set.h5")
    assert certificate.unconverged == (0, 1, 2)
    assert not certificate.is_sound
    with open_data_set(tmp_path / "set.h5") as data:
        assert np.isnan(data.rows(0, 3).solution).all()


@pytest.mark.parametrize("name", ["solution", "parameters/conductivity"])
def test_one_changed_value_is_found(made: Path, name: str) -> None:
    assert verify(made).is_sound
    with h5py.File(made, "r+") as file:
        file[name][17, 3, 4] *= 1 + 1e-6
    found = verify(made)
    assert found.above_tolerance == (17,)
    assert found.changed == (17,)
    assert found.largest_residual > 1e-10


def test_a_change_too_small_for_the_residual_is_found_by_its_digest(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        file["solution"][2, 0, 0] = np.nextafter(file["solution"][2, 0, 0], 1)
    found = verify(made)
    assert found.above_tolerance == ()
    assert found.changed == (2,)


def test_what_is_there_is_not_replaced_unasked(made: Path) -> None:
    before = sha256(made)
    with pytest.raises(UsageError, match="is there already"):
        generate(PLAN, made, runner=Here())
    assert sha256(made) == before
    generate(replace(PLAN, seed=1), made, runner=Here(), overwrite=True)
    assert sha256(made) != before


def test_parts_of_another_plan_are_not_mixed_in(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    with pytest.raises(KeyboardInterrupt):
        generate(PLAN, path, runner=Stops(1))
    with pytest.raises(UsageError, match=r"parts of another data set .seed 7 there, 8 now."):
        generate(replace(PLAN, seed=8), path, runner=Here())
    assert generate(PLAN, path, runner=Here()).n_kept > 0


def test_a_damaged_part_is_named_and_the_others_are_kept(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "again.h5"
    with pytest.raises(KeyboardInterrupt):
        generate(PLAN, path, runner=Stops(2))
    part = sorted(parts_folder(path).glob("chain-*.h5"))[1]
    with h5py.File(part, "r+") as file:
        file["solution"][0, 0, 0] += 1e-3
    with pytest.raises(DataError, match=r"chain-000001\.h5: damaged"):
        generate(PLAN, path, runner=Here())
    part.unlink()
    assert generate(PLAN, path, runner=Here()).n_solved == 5
    assert sha256(path) == sha256(made)


def test_a_truncated_part_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    with pytest.raises(KeyboardInterrupt):
        generate(PLAN, path, runner=Stops(1))
    part = parts_folder(path) / "chain-000000.h5"
    part.write_bytes(part.read_bytes()[:700])
    with pytest.raises(DataError, match=r"chain-000000\.h5"):
        generate(PLAN, path, runner=Here())


def test_a_missing_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="not written"):
        generate(PLAN, tmp_path / "no" / "set.h5", runner=Stops(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_samples": 0}, "1 or more"),
        ({"tolerance": 1e-20}, "double precision"),
        ({"family": "nonsense"}, "no family 'nonsense'"),
        ({"settings": {"nonsense": 1}}, "nonsense"),
        ({"shape": (0, 4)}, "two or more"),
        ({"sort": "nonsense"}, "sort expected"),
    ],
)
def test_plans_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _ = replace(PLAN, **change).grid  # type: ignore[arg-type]


def test_a_file_that_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(DataError, match=r"text\.h5"):
        verify(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="expected a data set"):
        verify(tmp_path / "other.h5")
