"""Exports of data sets: what other libraries find in them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from inverse.errors import DataError, ResourceError, UsageError
from inverse.pde.components import input_components, solution_components, times_of
from inverse.pde.export import TARGETS, export
from inverse.pde.generate import generate
from inverse.pde.plan import Plan
from inverse.pde.store import open_data_set
from inverse.pde.workers import Here

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Master:
    """What is in the file, read without the package."""

    path: Path
    solution: NDArray[np.generic]
    parameters: dict[str, NDArray[np.float64]]


Make = Callable[..., Master]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def generated(family: str, shape: tuple[int, ...], n: int = 12, **settings: object) -> Master:
        path = tmp_path / f"{family}.h5"
        generate(Plan(family, shape, n, "direct", settings), path, runner=Here(), overwrite=True)
        with h5py.File(path) as file:
            parameters = {name: values[()] for name, values in file["parameters"].items()}
            return Master(path, file["solution"][()], parameters)

    return generated


def exported(master: Master, target: str, path: Path, *, overwrite: bool = False) -> list[Path]:
    with open_data_set(master.path) as data:
        return export(data, target, path, overwrite=overwrite)


def loaded(file: Path) -> dict[str, object]:
    found: dict[str, object] = torch.load(file, weights_only=True)
    return found


def single(values: NDArray[np.generic]) -> Floats:
    return np.asarray(values, dtype=np.float32)


def read_as_pdebench(file: Path, *, is_test: bool, stride: int = 1) -> tuple[Floats, Floats]:
    """Read as PDEBench describes its layout: (samples, x, y, [coefficient, solution]), (x, y, 2).

    The first tenth of the samples in file order is the test set.
    """
    assert file.name.endswith(".hdf5")
    with h5py.File(file) as found:
        u, nu = found["tensor"][...], found["nu"][...]
        assert (u.ndim, nu.ndim, u.shape[1]) == (4, 3, 1)
        pairs = np.stack([nu, u[:, 0]], axis=-1)[:, ::stride, ::stride]
        x, y = found["x-coordinate"][::stride], found["y-coordinate"][::stride]
    n_test = int(len(pairs) * 0.1)
    rows = slice(0, n_test) if is_test else slice(n_test, None)
    return pairs[rows], np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)


def read_as_the_well(file: Path, sample: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Read one sample as The Well's specification describes it: varying and constant quantities."""
    varying, constant = {}, {}
    with h5py.File(file) as found:
        sizes = [len(found["dimensions"][d]) for d in found["dimensions"].attrs["spatial_dims"]]
        assert found.attrs["n_spatial_dims"] == len(sizes)
        n_times = len(found["dimensions"]["time"])
        for group in ("t0_fields", "t1_fields", "t2_fields", "scalars"):
            for name in found[group].attrs["field_names"]:
                array = found[group][name]
                assert array.attrs["sample_varying"]
                assert len(array) == found.attrs["n_trajectories"]
                if group != "scalars":
                    assert array.attrs["dim_varying"].tolist() == [True] * len(sizes)
                    assert list(array.shape[-len(sizes) :]) == sizes
                if array.attrs["time_varying"]:
                    assert array.shape[1] == n_times
                    varying[name] = array[sample]
                else:
                    constant[name] = array[sample]
    return varying, constant


def test_neuraloperator_finds_every_sample_in_order(make: Make, tmp_path: Path) -> None:
    master = make("darcy", (8, 8), n=20)
    files = exported(master, "neuraloperator", tmp_path / "out")
    assert [file.name for file in files] == ["darcy_train_8.pt", "darcy_test_8.pt"]
    train, test = loaded(files[0]), loaded(files[1])
    for key, values in (("x", master.parameters["conductivity"]), ("y", master.solution)):
        assert (train[key].dtype, train[key].shape) == (torch.float32, (16, 8, 8))
        together = np.concatenate([train[key].numpy(), test[key].numpy()])
        np.testing.assert_array_equal(together, single(values))
    assert train["channels_squeezed"] is True


def test_neuraloperator_gets_a_channel_for_each_quantity(make: Make, tmp_path: Path) -> None:
    heat = make("heat", (8, 8))
    found = loaded(exported(heat, "neuraloperator", tmp_path / "out")[0])
    assert found["channels_squeezed"] is False
    assert found["x_channels"] == ["conductivity", "source"]
    np.testing.assert_array_equal(found["x"][:, 1], single(heat.parameters["source"][:10]))
    assert found["y"].shape == (10, 1, 8, 8)
    waves = make("helmholtz", (32, 32), n=3, position="random")
    found = loaded(exported(waves, "neuraloperator", tmp_path / "out")[0])
    assert found["y_channels"] == ["pressure_real", "pressure_imag"]
    np.testing.assert_array_equal(found["y"][:, 1], single(waves.solution[:2].imag))
    position = waves.parameters["source_position"]
    assert found["x_channels"][1:] == ["source_position_y", "source_position_x"]
    np.testing.assert_array_equal(found["x"][1, 2], np.full((32, 32), single(position[1, 1])))


def test_points_left_out_on_the_rim_are_there_and_zero(make: Make, tmp_path: Path) -> None:
    master = make("darcy-fno", (9, 9))
    assert master.solution.shape == (12, 9, 9)
    y = loaded(exported(master, "neuraloperator", tmp_path / "out")[0])["y"].numpy()
    np.testing.assert_array_equal(y, single(master.solution[:10]))
    assert y.shape == (10, 9, 9)
    rim = np.ones((9, 9), bool)
    rim[1:-1, 1:-1] = False
    assert (y[:, rim] == 0).all()


def test_sets_of_two_resolutions_share_a_folder(make: Make, tmp_path: Path) -> None:
    for n in (8, 16):
        exported(make("darcy", (n, n)), "neuraloperator", tmp_path / "out")
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == [f"darcy_{part}_{n}.pt" for part in ("test", "train") for n in (16, 8)]


def test_pdebench_finds_pairs_with_x_before_y(make: Make, tmp_path: Path) -> None:
    master = make("darcy", (8, 12), n=20)
    [file] = exported(master, "pdebench", tmp_path / "darcy.hdf5")
    test, grid = read_as_pdebench(file, is_test=True)
    train, _ = read_as_pdebench(file, is_test=False)
    assert (test.shape, train.shape, grid.shape) == ((2, 12, 8, 2), (18, 12, 8, 2), (12, 8, 2))
    together = np.concatenate([test, train])
    for i, values in enumerate((master.parameters["conductivity"], master.solution)):
        np.testing.assert_array_equal(together[..., i], single(values).swapaxes(1, 2))
    x = np.diff(grid[:, 0, 0])
    np.testing.assert_allclose(x, 1 / 12, rtol=1e-5)
    coarse, _ = read_as_pdebench(file, is_test=False, stride=4)
    assert coarse.shape == (18, 3, 2, 2)


def test_pdebench_finds_a_march_on_a_line(make: Make, tmp_path: Path) -> None:
    master = make("fisher-kpp", (16,), n_steps=3, time_step=0.25)
    [file] = exported(master, "pdebench", tmp_path / "kpp.hdf5")
    with h5py.File(file) as found:
        np.testing.assert_array_equal(found["tensor"][()], single(master.solution))
        assert found["tensor"].shape == (12, 4, 16)
        assert found["t-coordinate"][()].tolist() == [0.0, 0.25, 0.5, 0.75]
        np.testing.assert_array_equal(found["nu"][()], single(master.parameters["diffusivity"]))


def test_the_well_finds_parameters_constant_and_solutions_varying(
    make: Make, tmp_path: Path
) -> None:
    master = make("heat", (8, 12), n=20)
    files = exported(master, "the-well", tmp_path / "out")
    assert [str(file.relative_to(tmp_path / "out")) for file in files] == [
        f"data/{part}/heat.hdf5" for part in ("train", "valid", "test")
    ]
    for file, sample, i in (
        (files[0], 0, 0),
        (files[0], 15, 15),
        (files[1], 1, 17),
        (files[2], 1, 19),
    ):
        varying, constant = read_as_the_well(file, sample)
        np.testing.assert_array_equal(varying["temperature"], single(master.solution[i : i + 1]))
        assert list(constant) == ["conductivity", "source"]
        for name, values in constant.items():
            np.testing.assert_array_equal(values, single(master.parameters[name][i]))


def test_the_well_finds_every_time_of_a_march(make: Make, tmp_path: Path) -> None:
    master = make("gray-scott", (8, 8), n_steps=3)
    files = exported(master, "the-well", tmp_path / "out")
    varying, constant = read_as_the_well(files[0], 4)
    assert constant == {}
    for i, name in enumerate(("concentration_u", "concentration_v")):
        np.testing.assert_array_equal(varying[name], single(master.solution[4, :, i]))
    with h5py.File(files[0]) as file:
        kinds = {group.attrs["bc_type"] for group in file["boundary_conditions"].values()}
        marked = file["boundary_conditions/x_periodic/mask"][()]
        assert file["dimensions/time"][()].tolist() == [0, 1, 2, 3]
    assert kinds == {"PERIODIC"}
    assert marked.nonzero()[0].tolist() == [0, 7]


def test_the_well_finds_numbers_as_scalars_and_vectors_by_component(
    make: Make, tmp_path: Path
) -> None:
    master = make("skr_helmholtz", (8, 8))
    _, constant = read_as_the_well(exported(master, "the-well", tmp_path / "a")[0], 3)
    assert constant["wave_number"] == single(master.parameters["wave_number"][3])
    master = make("elasticity", (4, 5))
    varying, _ = read_as_the_well(exported(master, "the-well", tmp_path / "b")[0], 3)
    assert list(varying) == ["displacement_y", "displacement_x"]
    np.testing.assert_array_equal(varying["displacement_x"][0], single(master.solution[3, 1]))


def test_components_carry_the_units_of_their_quantities(make: Make) -> None:
    with open_data_set(make("skr_thermal", (33, 21), n=2).path) as data:
        numbers = input_components(data.plan, data.rows(0, 2))
        with pytest.raises(UsageError, match="does not live on the points"):
            solution_components(data.plan, data.rows(0, 2))
    assert [(c.symbol, c.unit, c.values.shape) for c in numbers] == [
        ("T", "K", (2,)),
        ("q", "W/m^2", (2,)),
    ]
    assert times_of(Plan("heat-transient", (4, 4), 1, "direct"), 3).tolist() == [0, 1e4, 2e4]


@pytest.mark.parametrize("target", list(TARGETS))
def test_a_sample_that_did_not_converge_stops_the_export(
    target: str, make: Make, tmp_path: Path
) -> None:
    master = make("darcy", (8, 8))
    with h5py.File(master.path, "r+") as file:
        records = file["records"][()]
        records["converged"][11] = False
        file["records"][()] = records
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(DataError, match="sample 11 did not converge"):
        exported(master, target, folder / "x.hdf5" if target == "pdebench" else folder)
    assert not [file for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("value", [np.nan, 1e39])
def test_values_that_single_precision_does_not_hold_are_refused(
    value: float, target: str, make: Make, tmp_path: Path
) -> None:
    master = make("darcy", (8, 8))
    with h5py.File(master.path, "r+") as file:
        file["parameters/conductivity"][3, 4, 5] = value
    out = tmp_path / ("x.hdf5" if target == "pdebench" else "out")
    with pytest.raises(DataError, match="conductivity has values that are not finite"):
        exported(master, target, out)
    assert not out.is_file()


def test_what_is_there_is_kept_unless_it_may_be_replaced(make: Make, tmp_path: Path) -> None:
    master = make("darcy", (8, 8))
    target = tmp_path / "x.hdf5"
    target.write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        exported(master, "pdebench", target)
    assert target.read_text() == "mine"
    exported(master, "pdebench", target, overwrite=True)
    assert h5py.is_hdf5(target)
    (tmp_path / "same.hdf5").hardlink_to(master.path)
    with pytest.raises(UsageError, match="is the data set itself"):
        exported(master, "pdebench", tmp_path / "same.hdf5", overwrite=True)
    with pytest.raises(UsageError, match="name a folder"):
        exported(master, "the-well", target)
    with pytest.raises(ResourceError, match="not written"):
        exported(master, "the-well", tmp_path / "no" / "such")
    with pytest.raises(ResourceError, match="not written"):
        exported(master, "pdebench", tmp_path / "no" / "x.hdf5")


@pytest.mark.parametrize(
    ("family", "shape", "n", "target", "message"),
    [
        ("darcy", (8, 8), 12, "nonsense", "no export to 'nonsense'; there are neuraloperator"),
        ("darcy", (8, 12), 12, "neuraloperator", "one resolution"),
        ("darcy", (8, 8), 1, "neuraloperator", "got one"),
        ("heat-transient", (8, 8), 2, "neuraloperator", "a march in time"),
        ("skr_poisson", (8, 8), 2, "neuraloperator", "neither a field"),
        ("darcy", (8, 8), 2, "pdebench", "expected one in .hdf5"),
        ("darcy", (4, 4, 4), 2, "pdebench file", "steady problem on a grid"),
        ("heat", (8, 8), 2, "pdebench file", "got conductivity, source and temperature"),
        ("gray-scott", (8,), 2, "pdebench file", "concentration_u, concentration_v"),
        ("darcy", (8, 8), 9, "the-well", "10 samples or more, got 9"),
        ("skr_thermal", (33, 21), 10, "the-well", "does not live on the points"),
    ],
)
def test_sets_that_a_layout_has_no_place_for_are_refused(
    family: str,
    shape: tuple[int, ...],
    n: int,
    target: str,
    message: str,
    make: Make,
    tmp_path: Path,
) -> None:
    target, is_file, _ = target.partition(" file")
    out = tmp_path / ("x.hdf5" if is_file else "out.h5")
    with pytest.raises(UsageError, match=message):
        exported(make(family, shape, n), target, out)
    assert not out.exists()


def test_neuraloperator_itself_loads_the_export(make: Make, tmp_path: Path) -> None:
    datasets = pytest.importorskip("neuralop.data.datasets.darcy")
    master = make("darcy", (16, 16))
    exported(master, "neuraloperator", tmp_path / "out")
    found = datasets.DarcyDataset(
        tmp_path / "out", 10, [2], 2, [2], 16, test_resolutions=[16], download=False
    )
    one = found.train_db[4]
    np.testing.assert_array_equal(one["y"][0].numpy(), single(master.solution[4]))


def test_the_well_itself_loads_the_export(make: Make, tmp_path: Path) -> None:
    well = pytest.importorskip("the_well.data")
    master = make("heat-transient", (8, 12), n_steps=3)
    exported(master, "the-well", tmp_path / "out")
    found = well.WellDataset(path=str(tmp_path / "out"), well_split_name="train")
    assert len(found) == 10 * 3
    window = found[3 * 7 + 1]
    np.testing.assert_array_equal(
        window["output_fields"][0, ..., 0].numpy(), single(master.solution[7, 2])
    )
