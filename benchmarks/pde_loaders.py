r"""Exports of PDE data sets read by the libraries they are for, every value compared.

    python -m benchmarks.pde_loaders [--pdebench CHECKOUT]

neuraloperator and The Well come into the environment of the benchmarks by

    .venv-bench/bin/pip install --no-deps neuraloperator==2.0.0 the_well==1.2.0 fsspec==2024.10.0 \
        tensorly tensorly-torch zencfg configmypy ruamel.yaml opt-einsum einops

PDEBench has no installable version for this Python: name a checkout of it to have its loader run;
without one its row says so.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Table, one_thread
from inverse.pde.export import export
from inverse.pde.generate import generate
from inverse.pde.plan import Plan
from inverse.pde.store import open_data_set
from inverse.pde.workers import Here

N = 20
Pairs = Iterator[tuple[NDArray[np.generic], NDArray[np.generic]]]
"""What a library loaded, and what the data set holds in its place."""


def made(folder: Path, plan: Plan) -> Path:
    path = folder / f"{plan.family}-{plan.shape[0]}.h5"
    if not path.exists():
        generate(plan, path, runner=Here())
    return path


def exported(folder: Path, plan: Plan, target: str, to: Path) -> dict[str, NDArray[np.generic]]:
    """Export a data set; return what is in it, read without the package."""
    path = made(folder, plan)
    with open_data_set(path) as data:
        export(data, target, to)
    with h5py.File(path) as file:
        master = {name: values[()] for name, values in file["parameters"].items()}
        return master | {"solution": file["solution"][()]}


def darcy_dataset(folder: Path) -> Pairs:
    """Train at 64, test at 64 and 32, from one folder."""
    from neuralop.data.datasets.darcy import DarcyDataset

    sets = {
        n: exported(folder, Plan("darcy", (n, n), N, "direct"), "neuraloperator", folder / "darcy")
        for n in (32, 64)
    }
    with redirect_stdout(StringIO()):
        found = DarcyDataset(
            folder / "darcy", 16, [4, 4], 4, [4, 4], 64, test_resolutions=[64, 32], download=False
        )
    for i in range(16):
        yield found.train_db[i]["x"].numpy()[0], sets[64]["conductivity"][i]
        yield found.train_db[i]["y"].numpy()[0], sets[64]["solution"][i]
    for n in (32, 64):
        for i in range(4):
            yield found.test_dbs[n][i]["y"].numpy()[0], sets[n]["solution"][16 + i]


def pt_dataset_channels(folder: Path) -> Pairs:
    """Read two input fields, and a complex output."""
    from neuralop.data.datasets.pt_dataset import PTDataset

    heat = exported(folder, Plan("heat", (32, 32), N, "direct"), "neuraloperator", folder / "pt")
    plan = Plan("helmholtz", (48, 48), N, "direct", tolerance=1e-9)
    waves = exported(folder, plan, "neuraloperator", folder / "pt")
    with redirect_stdout(StringIO()):
        of_heat, of_waves = (
            PTDataset(folder / "pt", name, 16, [4], 4, [4], n, [n], channels_squeezed=False)
            for name, n in (("heat", 32), ("helmholtz", 48))
        )
    for i in range(16):
        x = np.stack([heat["conductivity"][i], heat["source"][i]])
        yield of_heat.train_db[i]["x"].numpy(), x
        yield of_heat.train_db[i]["y"].numpy(), heat["solution"][i][None]
        u = waves["solution"][i]
        yield of_waves.train_db[i]["y"].numpy(), np.stack([u.real, u.imag])


def well_steady(folder: Path) -> Pairs:
    """Read a coefficient as a constant field, the solution at one time."""
    from the_well.data import WellDataset

    plan = Plan("darcy", (32, 32), N, "direct")
    master = exported(folder, plan, "the-well", folder / "steady")
    first = 0
    for part, n in (("train", 16), ("valid", 2), ("test", 2)):
        found = WellDataset(
            path=str(folder / "steady"), well_split_name=part, n_steps_input=1, n_steps_output=0
        )
        assert len(found) == n
        for i in range(n):
            yield found[i]["input_fields"].numpy()[0, ..., 0], master["solution"][first + i]
            yield found[i]["constant_fields"].numpy()[..., 0], master["conductivity"][first + i]
        first += n


def well_march(folder: Path) -> Pairs:
    """Read two species in time, every window of two states."""
    from the_well.data import WellDataset

    plan = Plan("gray-scott", (24, 24), N, "one-lu", {"n_steps": 10})
    master = exported(folder, plan, "the-well", folder / "march")
    found = WellDataset(path=str(folder / "march"), well_split_name="train")
    assert len(found) == 16 * 10
    for i in range(len(found)):
        sample, step = divmod(i, 10)
        for key, t in (("input_fields", step), ("output_fields", step + 1)):
            yield found[i][key].numpy()[0], np.moveaxis(master["solution"][sample, t], 0, -1)


def pdebench(folder: Path, loader: ModuleType) -> Pairs:
    """Read coefficient and solution with x before y, the first tenth for the test."""
    plan = Plan("darcy", (24, 32), N, "direct")
    master = exported(folder, plan, "pdebench", folder / "darcy.hdf5")
    kind = getattr(loader, "FNODatasetSingle", None) or loader.FNODataset
    first = 0
    for is_test in (True, False):
        found = kind(
            "darcy.hdf5", saved_folder=f"{folder}/", initial_step=1, if_test=is_test, test_ratio=0.1
        )
        for i in range(len(found)):
            x, pair, _ = (np.asarray(part) for part in found[i])
            yield x[:, :, 0, 0], master["conductivity"][first + i].T
            yield pair[:, :, 1, 0], master["solution"][first + i].T
        first += len(found)


def compare(pairs: Pairs) -> tuple[int, str]:
    """Count the values that differ from the data set's in single precision."""
    n_arrays = n_different = 0
    for found, wanted in pairs:
        assert found.dtype == np.float32, found.dtype
        assert found.shape == wanted.shape, (found.shape, wanted.shape)
        n_arrays += 1
        n_different += int((found != wanted.astype(np.float32)).sum())
    return n_different, f"{n_arrays} arrays"


def loader_of(checkout: Path) -> ModuleType:
    """Import PDEBench's loader from its file, without the rest of PDEBench."""
    file = checkout / "pdebench/models/fno/utils.py"
    spec = importlib.util.spec_from_file_location("pdebench_loader", file)
    if spec is None or spec.loader is None or not file.exists():
        sys.exit(f"{file}: no loader of PDEBench there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(case: Callable[..., Pairs]) -> str:
    """Return what a case does, from its docstring."""
    words = (case.__doc__ or "").rstrip(".").removeprefix("Read ")
    return words[0].lower() + words[1:]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pdebench", type=Path, help="a checkout of PDEBench")
    checkout = parser.parse_args().pdebench
    table = Table(
        name="pde_loaders",
        title="Exports of PDE data sets, read by the libraries they are for",
        columns=("library", "reader", "what", "read", "values that differ"),
        note="Against the data set itself in single precision; shapes and types are equal.",
    )
    cases: list[tuple[str, str, Callable[[Path], Pairs]]] = [
        ("neuraloperator", "DarcyDataset", darcy_dataset),
        ("neuraloperator", "PTDataset", pt_dataset_channels),
        ("the_well", "WellDataset", well_steady),
        ("the_well", "WellDataset", well_march),
    ]
    with tempfile.TemporaryDirectory() as name:
        for library, reader, case in cases:
            different, read = compare(case(Path(name)))
            words = words_of(case)
            table.add(f"{library} {version(library)}", reader, words, read, different)
        words = words_of(pdebench)
        if checkout is None:
            table.add("PDEBench", "FNODatasetSingle", words, "not run: no checkout given", "-")
        else:
            different, read = compare(pdebench(Path(name), loader_of(checkout)))
            table.add("PDEBench", "FNODatasetSingle", words, read, different)
    table.write()


if __name__ == "__main__":
    one_thread()
    warnings.simplefilter("ignore", FutureWarning)
    main()
