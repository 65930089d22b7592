"""What sorting a data set buys: hops and solver counts against a literal second count."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from inverse.errors import UsageError
from inverse.pde.generate import generate
from inverse.pde.plan import Plan
from inverse.pde.sorting_gain import LEARNERS, SOLVERS, hops, run_chain, sorted_order
from inverse.pde.store import open_data_set
from inverse.pde.workers import Here

WAVES = Plan(
    "helmholtz", (28, 28), 40, "direct", {"medium": "modes", "wave_number": 15.0}, tolerance=1e-8
)


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("waves") / "set.h5"
    generate(WAVES, path, runner=Here())
    return path


@pytest.mark.parametrize("method", ["hilbert", "greedy"])
def test_hops_are_mean_distances_of_the_stored_parameters(waves: Path, method: str) -> None:
    with open_data_set(waves) as data:
        order = sorted_order(data.plan, method, 40)
        found = hops(data, order)
    with h5py.File(waves) as file:
        k = file["parameters/wave_number"][()].reshape(40, -1)
    assert sorted(order.tolist()) == list(range(40))
    assert found.in_file == pytest.approx(np.linalg.norm(np.diff(k, axis=0), axis=1).mean())
    assert found.in_order == pytest.approx(np.linalg.norm(np.diff(k[order], axis=0), axis=1).mean())
    assert found.ratio < 0.6


def test_a_chain_in_sorted_order_takes_fewer_iterations(waves: Path) -> None:
    with open_data_set(waves) as data:
        order = sorted_order(data.plan, "greedy", 40)
        unsorted, ordered = (run_chain(data, chain, "lagged-lu") for chain in (range(40), order))
        alone = run_chain(data, range(40), "lu-each")
    assert unsorted.n_converged == ordered.n_converged == alone.n_converged == 40
    assert ordered.iterations < 0.8 * unsorted.iterations
    assert alone.note == "40 factorisations"
    assert alone.iterations <= 2
    assert ordered.note != "40 factorisations"


def test_the_first_system_of_a_chain_gains_nothing_from_recycling(waves: Path) -> None:
    with open_data_set(waves) as data:
        runs = {name: run_chain(data, [3], name) for name in SOLVERS}
    assert runs["gcrodr"].iterations == runs["gcrodr-alone"].iterations > 10
    assert runs["gcrodr"].n_operator == runs["gcrodr-alone"].n_operator
    assert (runs["gcrodr"].note, runs["gcrodr-alone"].note) == ("recycled to the end", "")
    assert set(LEARNERS) < set(SOLVERS)


def test_a_march_is_measured_by_its_first_step(tmp_path: Path) -> None:
    plan = Plan("heat-transient", (6, 6), 3, "direct", {"n_steps": 2})
    generate(plan, tmp_path / "set.h5", runner=Here())
    with open_data_set(tmp_path / "set.h5") as data:
        assert run_chain(data, [2, 0, 1], "lagged-lu").n_converged == 3


def test_what_cannot_be_sorted_is_refused(waves: Path, tmp_path: Path) -> None:
    with open_data_set(waves) as data:
        with pytest.raises(UsageError, match="expected hilbert or greedy, got 'none'"):
            sorted_order(data.plan, "none", 8)
        with pytest.raises(UsageError, match="no solver 'direct' for chains"):
            run_chain(data, [0], "direct")
    generate(Plan("darcy", (6, 6), 1, "direct"), tmp_path / "one.h5", runner=Here())
    with (
        open_data_set(tmp_path / "one.h5") as data,
        pytest.raises(UsageError, match="two samples or more"),
    ):
        hops(data, np.arange(1))
