"""Data sets of differential equations: right, whole, the same bytes however they are made."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from scipy.sparse.linalg import spsolve

from inverse.errors import DataError, ResourceError, UsageError
from inverse.pde.chain import solve_samples
from inverse.pde.drawing import draw, feature_blocks
from inverse.pde.generate import generate
from inverse.pde.parts import agreed_plan, parts_folder, plan_in
from inverse.pde.plan import Plan
from inverse.pde.solving import STRATEGIES
from inverse.pde.store import open_data_set
from inverse.pde.strategies import Answer
from inverse.pde.verify import stored_residuals, verify
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

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[tuple[int, float], None, None]:
        for i, done in enumerate(Here().run(plan, tasks)):
            if i == self.after:
                raise KeyboardInterrupt
            yield done


@dataclass(frozen=True)
class Backwards:
    """Solves the last chain first."""

    def run(self, plan: Plan, tasks: Sequence[Task]) -> Generator[tuple[int, float], None, None]:
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


def test_solutions_lie_on_the_whole_grid_and_a_rim_that_is_not_zero_is_found(
    tmp_path: Path,
) -> None:
    path = tmp_path / "set.h5"
    generate(Plan("darcy-fno", (9, 9), 3, "direct"), path, runner=Here())
    assert verify(path).is_sound
    with h5py.File(path, "r+") as file:
        assert file["solution"].shape == file["parameters/conductivity"].shape == (3, 9, 9)
        assert not file["solution"][:, 0].any()
        assert file["solution"][:, 1:-1, 1:-1].all()
        file["solution"][1, 0, 4] = 1e-30
    assert verify(path).above_tolerance == (1,)


def test_another_start_of_a_march_is_found(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    still = replace(MARCH, settings={"n_steps": 1})
    generate(still, path, runner=Here())
    with h5py.File(path, "r+") as file:
        file["solution"][2, 0] += 1.0
    assert verify(path).above_tolerance == (2,)


@pytest.mark.parametrize("value", [-1.0, np.nan, 0.0])
@pytest.mark.parametrize("sample", [0, 17])
def test_a_parameter_that_the_equation_does_not_take_is_laid_to_its_sample(
    made: Path, sample: int, value: float
) -> None:
    with h5py.File(made, "r+") as file:
        file["parameters/conductivity"][sample, 1, 2] = value
    found = verify(made)
    assert found.above_tolerance == found.changed == (sample,)


@pytest.mark.parametrize("name", ["iterations", "solver", "relative_residual", "attempts"])
def test_a_changed_record_is_found(made: Path, name: str) -> None:
    with h5py.File(made, "r+") as file:
        records = file["records"][()]
        records[name][5] = {"solver": b"direct"}.get(name, 77)
        file["records"][...] = records
    assert verify(made).changed == (5,)


def test_two_samples_that_changed_places_are_found(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        for name in ("parameters/conductivity", "solution", "records"):
            values = file[name][()]
            values[[3, 4]] = values[[4, 3]]
            file[name][...] = values
    assert verify(made).changed == (3, 4)


def _replace_plan(file: h5py.File, **changes: object) -> None:
    """Store another plan, with a provenance that goes with it."""
    plan = json.loads(file.attrs["plan"]) | changes
    text = json.dumps(plan, sort_keys=True)
    provenance = json.loads(file.attrs["provenance"])
    provenance["plan_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    file.attrs["plan"] = np.bytes_(text.encode())
    file.attrs["provenance"] = np.bytes_(json.dumps(provenance).encode())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "nonsense"}, "no plan that is possible in this version.*nonsense"),
        ({"settings": {"nonsense": 1}}, "no plan that is possible in this version"),
        ({"settings": {"alpha": "wide"}}, r"set\.h5"),
        ({"settings": {"alpha": -1.0}}, "no plan that is possible in this version"),
        ({"settings": [1, 2]}, "no plan"),
        ({"shape": [100_000, 100_000]}, "does not go with"),
        ({"shape": [12, 13]}, r"set\.h5"),
        ({"shape": [12, 12, 12, 12]}, "no plan"),
        ({"shape": [2**40, 2]}, "no plan"),
        ({"shape": "12"}, "no plan"),
        ({"n_samples": 23}, "expected 23 samples"),
        ({"n_samples": 10**30}, "no plan"),
        ({"n_samples": True}, "no plan"),
        ({"tolerance": None}, "no plan"),
        ({"tolerance": 7.0}, "no plan"),
        ({"chain_length": 0}, "no plan"),
        ({"seed": -1}, "no plan"),
    ],
)
def test_a_hostile_plan_is_one_line(made: Path, changes: dict[str, object], message: str) -> None:
    with h5py.File(made, "r+") as file:
        _replace_plan(file, **changes)
    with pytest.raises(DataError, match=message):
        verify(made)


def test_a_plan_that_is_not_the_provenances_is_refused(made: Path) -> None:
    with h5py.File(made, "r+") as file:
        text = json.loads(file.attrs["plan"]) | {"tolerance": 1e-2}
        file.attrs["plan"] = np.bytes_(json.dumps(text, sort_keys=True).encode())
    with pytest.raises(DataError, match="not the one that its provenance names"):
        verify(made)


def _external_link(file: h5py.File) -> None:
    del file["solution"]
    file["solution"] = h5py.ExternalLink("/etc/passwd", "x")


def _soft_link(file: h5py.File) -> None:
    del file["solution"]
    file["solution"] = h5py.SoftLink("/parameters/conductivity")


def _linked_group(file: h5py.File) -> None:
    file.move("parameters", "elsewhere")
    file["parameters"] = h5py.SoftLink("/elsewhere")


def _external_storage(file: h5py.File) -> None:
    del file["solution"]
    size = 22 * 12 * 12 * 8
    outside = [("/etc/passwd", 0, size)]
    file.create_dataset("solution", (22, 12, 12), "f8", external=outside)


def _huge_shape(file: h5py.File) -> None:
    del file["solution"]
    file.create_dataset("solution", (22, 2**20, 2**20), "f8", chunks=(1, 64, 64))


def _single_precision(file: h5py.File) -> None:
    values = file["solution"][()]
    del file["solution"]
    file["solution"] = values.astype("f4")


def _other_shape(file: h5py.File) -> None:
    values = file["solution"][()]
    del file["solution"]
    file["solution"] = values[:, :6]


def _other_records(file: h5py.File) -> None:
    del file["records"]
    file["records"] = np.zeros(22, [("solver", "S20")])


def _no_provenance(file: h5py.File) -> None:
    del file.attrs["provenance"]


def _text_of_any_length(file: h5py.File) -> None:
    file.attrs["plan"] = "a string of variable length"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_link, "is a link"),
        (_soft_link, "is a link"),
        (_linked_group, "is a link"),
        (_external_storage, "kept in other files"),
        (_huge_shape, "declares"),
        (_single_precision, "expected double precision"),
        (_other_shape, r"expected \(12, 12\) a sample, got \(6, 12\)"),
        (_other_records, "unknown layout"),
        (_no_provenance, "provenance"),
        (_text_of_any_length, "fixed length"),
    ],
)
def test_a_hostile_file_is_one_line(
    made: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(made, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        verify(made)


def test_errors_of_whoever_reads_are_not_laid_to_the_file(made: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_data_set(made):
        _ = 1 // 0


def test_a_part_of_other_samples_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "again.h5"
    with pytest.raises(KeyboardInterrupt):
        generate(PLAN, path, runner=Stops(2))
    first, second = sorted(parts_folder(path).glob("chain-*.h5"))[:2]
    shutil.copy(first, second)
    with pytest.raises(DataError, match=r"chain-000001\.h5: damaged"):
        generate(PLAN, path, runner=Here())


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"family": 1}'])
def test_a_damaged_plan_names_its_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "set.h5"
    with pytest.raises(KeyboardInterrupt):
        generate(PLAN, path, runner=Stops(1))
    plan = parts_folder(path) / "plan.json"
    plan.write_bytes(text)
    with pytest.raises(DataError, match=r"plan\.json"):
        generate(PLAN, path, runner=Here())
    plan.unlink()
    assert generate(PLAN, path, runner=Here()).n_kept > 0


@pytest.mark.parametrize("content", [b"", b"nonsense", None, np.zeros(22), np.zeros(22, np.int64)])
def test_a_damaged_order_names_its_file(tmp_path: Path, content: object) -> None:
    path, plan = tmp_path / "set.h5", replace(PLAN, sort="hilbert")
    with pytest.raises(KeyboardInterrupt):
        generate(plan, path, runner=Stops(1))
    order = parts_folder(path) / "order.npy"
    if isinstance(content, np.ndarray):
        np.save(order, content)
    else:
        order.write_bytes(order.read_bytes()[:-9] if content is None else bytes(content))
    with pytest.raises(DataError, match=r"order\.npy: damaged"):
        generate(plan, path, runner=Here())
    order.unlink()
    assert generate(plan, path, runner=Here()).is_complete


def test_tasks_that_chose_different_solvers_agree_on_the_first(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    other = replace(PLAN, solver="direct", sort="hilbert")
    assert agreed_plan(PLAN, path) == PLAN
    assert agreed_plan(other, path) == PLAN
    foreign = replace(other, seed=8)
    assert agreed_plan(foreign, path) == foreign
    assert plan_in(parts_folder(path)) == PLAN


def test_who_comes_too_late_finds_the_data_set_made(tmp_path: Path) -> None:
    """Another task puts the data set together while this one still works, and removes the parts."""
    path = tmp_path / "set.h5"

    @dataclass(frozen=True)
    class Late:
        def run(
            self, plan: Plan, tasks: Sequence[Task]
        ) -> Generator[tuple[int, float], None, None]:
            generate(plan, path, runner=Here(), shard=(0, 1))
            yield from Here().run(plan, tasks)

    found = generate(PLAN, path, runner=Late(), shard=(1, 2))
    assert found.is_complete
    assert verify(path).is_sound
    assert not parts_folder(path).exists()


def test_array_jobs_do_not_remove_parts_of_another_plan(tmp_path: Path) -> None:
    path = tmp_path / "set.h5"
    with pytest.raises(KeyboardInterrupt):
        generate(PLAN, path, runner=Stops(1))
    other = replace(PLAN, seed=8)
    with pytest.raises(UsageError, match="which no --shard can"):
        generate(other, path, runner=Here(), shard=(0, 2), overwrite=True)
    assert generate(other, path, runner=Here(), overwrite=True).n_kept == 0


def test_a_disk_without_room_is_found_out_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int, start: int, length: int) -> None:
        del handle, start
        if length > 2**19:
            raise OSError(errno.ENOSPC, "No space left on device")

    path, plan = tmp_path / "set.h5", replace(PLAN, shape=(64, 64), n_samples=16, chain_length=4)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ResourceError, match=r"set\.h5: not written, No space left.*free some"):
        generate(plan, path, runner=Here())
    monkeypatch.undo()
    assert not path.exists()
    assert generate(plan, path, runner=Here()).n_kept == plan.n_samples


def test_read_only_arrays_can_be_checked(made: Path) -> None:
    with open_data_set(made) as data:
        samples = data.rows(0, 3)
    for array in (*samples.parameters.values(), samples.solution):
        array.flags.writeable = False
    assert (stored_residuals(PLAN, samples) <= 1e-10).all()


def test_no_parameter_outweighs_the_others_by_its_unit() -> None:
    plan = Plan("heat", (8, 8), 40, "direct")
    (features,) = feature_blocks(plan)
    medium, source = features[:, :64], features[:, 64:]
    for part in (medium, source):
        assert np.isclose(np.sum(np.var(part, axis=0)), 1.0)
