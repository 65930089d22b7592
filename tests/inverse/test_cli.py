from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

import inverse
from inverse.cli import announcing, app, console, main
from inverse.cli.files import new_image
from inverse.cli.options import Method
from inverse.errors import ConvergenceError, DataError, ResourceError, UsageError
from inverse.grid import Grid
from inverse.io import ismrmrd, nifti, read_image
from inverse.methods import METHODS, find
from inverse.mri.simulate import Acquisition, simulate
from inverse.provenance import sha256_of_file
from inverse.reloading import load_reconstruction
from operators import ShapeError

COMMANDS = ("recon", "info", "simulate", "prior", "compare", "calibrate", "demo", "doctor")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


def in_a_process(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from inverse.cli import main; main()", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, **options
    )


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small scan in the current folder."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[-1:1:48j, -1:1:40j]
    image = ((x**2 + y**2 < 0.7) + 0.5 * (np.abs(x) + np.abs(y) < 0.5)).astype(np.float32)[None]
    acquisition = Acquisition(n_coils=4, acceleration=2, n_calibration=16, noise=0.01)
    ismrmrd.write(simulate(image, acquisition, grid=Grid((1, 48, 40), (5, 2, 2))), Path("scan.h5"))
    return Path("scan.h5")


def test_every_command_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in COMMANDS:
        assert command in out
        assert run(capsys, command, "--help")[0] == 0


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["recon", "--nonsense"]])
def test_help_version_and_usage_errors_are_quick(arguments: list[str]) -> None:
    # Processor time: the wall clock measures what else the machine does.
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = in_a_process(*arguments)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode == (2 if "--nonsense" in arguments else 0)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) <= 0.5


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import sys, inverse.cli.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "numpy", "scipy", "h5py", "nibabel", "pydicom", "jinja2", "PIL"}


def test_the_names_of_methods_are_those_of_the_table() -> None:
    find("zero_filled")
    assert {str(name) for name in Method} == {"auto", *METHODS}


def test_method_names_complete_in_the_shell() -> None:
    environment = {
        **os.environ,
        "_INVERSE_COMPLETE": "complete_bash",
        "COMP_WORDS": "inverse recon --method pn",
        "COMP_CWORD": "3",
    }
    done = in_a_process(env=environment)
    assert done.stdout.split() == ["pnp_hqs", "pnp_dm"]


def test_recon_writes_image_provenance_and_report(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capsys, "recon", raw, "-o", "a.nii.gz", "--method", "cg_sense", "--report", "a.html"
    )
    assert code == 0
    assert "CG-SENSE" in out
    assert "times their noise" in out
    assert "a.html" in out
    assert "geometry  from the file" in out
    assert "s, reading and writing included" in out
    image, grid = read_image("a.nii.gz")
    assert image.shape == (1, 48, 40)
    assert grid.spacing_mm == pytest.approx((5, 2, 2))
    record = json.loads(Path("a.nii.gz.json").read_text())
    assert record["recipe"]["method"] == "cg_sense"
    assert "<title>" in Path("a.html").read_text()
    assert "cg_sense" in err


def test_recon_alone_picks_a_free_name(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("scan.nii.gz.json").write_text("mine")
    for name in ("scan-2.nii.gz", "scan-3.nii.gz"):
        code, out, _ = run(capsys, "recon", raw, "--method", "zero_filled")
        assert code == 0
        assert name in out
        assert Path(name).exists()
    assert Path("scan.nii.gz.json").read_text() == "mine"


def test_json_is_the_only_output(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recon", raw, "--method", "tv", "--set", "iterations=3", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["method"] == "tv"
    assert found["iterations"] == 3
    assert found["files"] == ["scan.nii.gz", "scan.nii.gz.json"]
    assert found["geometry"] == "from the file"
    assert found["seconds_total"] > sum(found["seconds"].values())
    assert 0.3 < found["residual_to_noise"] < 3


def test_a_recorded_run_gives_the_same_voxels(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(
        capsys,
        "recon",
        raw,
        "-o",
        "a.npz",
        "--method",
        "pnp_hqs",
        "--seed",
        "4",
        "--set",
        "steps=3",
    )
    assert first[0] == 0
    again = run(capsys, "recon", raw, "-o", "b.npz", "--recipe", "a.npz.json", "--threads", "1")
    assert again[0] == 0
    a, b = (json.loads(Path(name).read_text()) for name in ("a.npz.json", "b.npz.json"))
    assert a["voxels_sha256"] == b["voxels_sha256"]
    assert a["recipe"] == b["recipe"]
    np.testing.assert_array_equal(read_image("a.npz")[0], read_image("b.npz")[0])


@pytest.mark.parametrize(
    "arguments",
    [
        ["./DOE_JANE.npz", "-o", "out.npz"],
        ["DOE//DOE_JANE.npz", "-oDOE/out.npz"],
        ["DOE_JANE.npz", "--output=DOE/out.npz", "--report", "DOE/JANE.html"],
        ["DOE_JANE.npz", "-o", "out.npz", "--recipe", "DOE.json"],
    ],
)
def test_the_command_line_in_the_record_names_no_file(
    raw: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    Path("DOE").mkdir()
    np.savez("DOE_JANE.npz", kspace=inverse.load(raw).samples)
    Path("DOE/DOE_JANE.npz").write_bytes(Path("DOE_JANE.npz").read_bytes())
    Path("DOE.json").write_text(json.dumps({"recipe": {"method": "zero_filled"}}))
    method = [] if "--recipe" in arguments else ["--method", "zero_filled", "--seed", "2"]
    code, out, _ = run(capsys, "recon", *arguments, *method, "--json")
    assert code == 0
    record = Path(json.loads(out)["files"][1]).read_text()
    assert "DOE" not in record
    assert "JANE" not in record
    command = json.loads(record)["command"]
    assert command[:5] == ["inverse", "recon", "<input 1>", "--output", "<output>"]
    if "--recipe" in arguments:
        assert command[5:7] == ["--recipe", "<recipe>"]
    else:
        assert command[5:11] == ["--method", "zero_filled", "--maps", "1", "--seed", "2"]
    assert ("<report>" in command) == ("--report" in arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["recon", "scan.h5", "-o", "scan.h5"],
        ["recon", "scan.h5", "-o", "./absent/../scan.h5"],
        ["recon", "scan.h5", "-o", "linked.h5"],
        ["recon", "linked.h5", "-o", "scan.h5"],
        ["recon", "scan.h5", "-o", "a.nii", "--report", "scan.h5"],
        ["recon", "scan.h5", "-o", "x.nii", "--report", "x.nii"],
        ["recon", "scan.h5", "-o", "x.nii", "--report", "x.nii.json"],
        ["recon", "scan.h5", "-o", "x.nii", "--recipe", "x.nii.json"],
        ["recon", "scan.h5", "-o", "x.npz", "--prior", "x.npz"],
        ["recon", "scan.h5", "-o", "y.nii", "--samples", "2", "--report", "y_std.nii"],
        ["recon", "scan.h5", "-o", "y.nii", "--samples", "2", "--report", "y_q95.nii"],
        ["recon", "y_nullspace.nii", "-o", "y.nii", "--samples", "2"],
        ["calibrate", "x.npz", "--truth", "x.nii", "-o", "x.nii"],
        ["recon", "folder/slice_0001.dcm", "-o", "folder"],
        ["recon", "pair", "-o", "x.nii", "--report", "pair.cfl"],
        ["recon", "pair.cfl", "-o", "x.nii", "--report", "pair.hdr"],
        ["simulate", "mri", "scan.h5", "-o", "scan.h5"],
        ["simulate", "mri", "x.nii", "-o", "x.h5", "--truth", "x.nii"],
        ["simulate", "mri", "x.nii", "-o", "x.h5", "--truth", "x.h5"],
    ],
)
@pytest.mark.usefixtures("raw")
def test_nothing_that_is_read_or_written_is_overwritten(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    Path("linked.h5").symlink_to("scan.h5")
    Path("folder").mkdir()
    for name in (
        "x.nii", "x.npz", "x.nii.json", "pair.cfl", "pair.hdr", "folder/slice_0001.dcm",
        "y_nullspace.nii",
    ):  # fmt: skip
        Path(name).write_text(name)
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    code, out, err = run(capsys, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "which would be overwritten" in err or "expected different files" in err
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


def test_runs_at_the_same_time_take_different_names(tmp_path: Path, raw: Path) -> None:
    code = "from inverse.cli import main; main()"
    command = [sys.executable, "-c", code, "recon", str(raw), "--method", "zero_filled", "--json"]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    files = [json.loads(each.communicate(timeout=120)[0])["files"] for each in runs]
    assert len({tuple(names) for names in files}) == 3
    for image, sidecar in files:
        digest = sha256_of_file(tmp_path / image)
        assert json.loads((tmp_path / sidecar).read_text())["output"]["sha256"] == [digest]


def test_a_free_name_is_taken_at_once_and_given_back_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scan = Path("elsewhere/scan.h5")
    with new_image(scan, []) as first, new_image(scan, [Path("scan-2.nii.gz")]) as second:
        assert [str(first), str(second)] == ["scan.nii.gz", "scan-3.nii.gz"]
        second.write_text("image")
    first.unlink()
    second.unlink()

    def fail(text: str) -> None:
        with new_image(scan, []) as target:
            target.write_text(text)
            raise DataError("no")

    for text, left in (("", []), ("written", ["scan.nii.gz"])):
        with pytest.raises(DataError):
            fail(text)
        assert [p.name for p in tmp_path.iterdir()] == left


def test_the_file_is_not_read_before_the_outputs_are_known_to_be_writable(
    raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(inverse, "load", fail)
    for arguments, wanted in (
        (["-o", "absent/a.nii"], 5),
        (["-o", "a.nii", "--report", "absent/r.html"], 5),
        (["-o", "a.nii", "--report", "."], 2),
        (["-o", "a.xyz"], 2),
        (["--device", "tpu"], 2),
        (["--prior", "absent.safetensors"], 2),
        ([], 1),
    ):
        assert run(capsys, "recon", raw, *arguments)[0] == wanted
    monkeypatch.setattr("inverse.io.atomic.os.access", lambda _, mode: not mode & os.W_OK)
    for arguments in ([], ["-o", "a.nii"]):
        code, _, err = run(capsys, "recon", raw, *arguments)
        assert code == 5
        assert "Permission denied" in err


def write_repetitions(path: Path) -> None:
    """Write discs of two sizes as two repetitions in one file."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    parts = []
    for n in range(2):
        image = (x**2 + y**2 < 0.3 + 0.4 * n).astype(np.float32)[None]
        acquisition = Acquisition(n_coils=4, acceleration=1, n_calibration=16, seed=n)
        kspace = simulate(image, acquisition, grid=Grid((1, 32, 32), (5, 2, 2)))
        ismrmrd.write(kspace, path.with_name(f"part{n}.h5"))
        parts.append(path.with_name(f"part{n}.h5"))
    with h5py.File(parts[0]) as one, h5py.File(parts[1]) as two, h5py.File(path, "w") as both:
        rows = [file["dataset/data"][()] for file in (one, two)]
        rows[1]["head"]["idx"]["repetition"] = 1
        group = both.create_group("dataset")
        one.copy("dataset/xml", group)
        group.create_dataset("data", data=np.concatenate(rows), dtype=one["dataset/data"].dtype)


def test_one_of_several_images_is_selected_and_the_choice_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_repetitions(Path("both.h5"))
    arguments = ("recon", "both.h5", "--method", "zero_filled")
    code, _, err = run(capsys, *arguments)
    assert code == 3
    assert "repetition" in err
    for n in (0, 1):
        assert run(capsys, *arguments, "--select", f"repetition={n}", "-o", f"{n}.npz")[0] == 0
    first, second = (read_image(f"{n}.npz")[0] for n in (0, 1))
    assert np.abs(first - second).max() > 0.1 * np.abs(second).max()
    made = json.loads(Path("1.npz.json").read_text())
    assert made["recipe"]["select"] == {"repetition": 1}
    assert made["command"][-4:-2] == ["--select", "repetition=1"]
    assert run(capsys, "recon", "both.h5", "--recipe", "1.npz.json", "-o", "again.npz")[0] == 0
    np.testing.assert_array_equal(read_image("again.npz")[0], second)
    notes = []
    for n in (0, 1):
        code, out, _ = run(capsys, "info", "both.h5", "--select", f"repetition={n}", "--json")
        assert code == 0
        notes.append(json.loads(out)["notes"])
    assert notes[0] != notes[1]
    for wrong, message in (("repetition", "expected KEY=VALUE"), ("slice=-1", "an index of 0")):
        code, _, err = run(capsys, *arguments, "--select", wrong)
        assert code == 2
        assert message in err


def test_a_recipe_repeats_the_compression_of_channels(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, compressed = (
        inverse.reconstruct(inverse.load(raw).prepare(n_virtual_coils=n), "zero_filled")
        for n in (None, 2)
    )
    compressed.save("two.npz")
    assert run(capsys, "recon", raw, "-o", "again.npz", "--recipe", "two.npz.json")[0] == 0
    again = read_image("again.npz")[0]
    np.testing.assert_allclose(again, compressed.image, atol=1e-6 * np.abs(again).max())
    assert np.abs(again - plain.image).max() > 1e-4 * np.abs(again).max()


def test_a_recipe_on_another_scan_is_said_to_be_one(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "recon", raw, "-o", "a.npz", "--method", "zero_filled")[0] == 0
    kspace = inverse.load(raw)
    np.savez("other.npz", kspace=kspace.samples)
    for file, is_warned in ((raw, False), (Path("other.npz"), True)):
        code, out, _ = run(capsys, "recon", file, "-o", "b.npz", "--recipe", "a.npz.json", "--json")
        assert code == 0
        said = [w for w in json.loads(out)["warnings"] if "recorded on another input" in w]
        assert len(said) == is_warned


def test_an_assumed_place_is_said(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("plain.npz", kspace=inverse.load(raw).samples)
    code, out, _ = run(capsys, "recon", "plain.npz", "-o", "a.npz", "--method", "zero_filled")
    assert code == 0
    assert "geometry  assumed" in out


def test_what_the_matrix_cuts_off_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image = np.zeros((80, 80), np.float32)
    image[20:60, 20:60] = 1
    np.save("image.npy", image)
    arguments = ("simulate", "mri", "image.npy", "-o", "raw.h5", "--coils", "2", "--json")
    for size, wanted in ((40, []), (20, ["--matrix cuts off 50.0%"])):
        more = ("--acceleration", "2", "--calibration", "8", "--matrix", "40", str(size))
        code, out, _ = run(capsys, *arguments, *more)
        assert code == 0
        found = json.loads(out)["warnings"]
        assert [w.partition(" of the")[0] for w in found] == wanted


def test_info_describes_raw_data_and_images(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", raw)
    assert code == 0
    assert "1 x 48 x 40" in out
    assert "None" not in out
    assert all(len(line.split("  ", 1)) == 2 for line in out.splitlines())
    facts = json.loads(run(capsys, "info", raw, "--json")[1])
    assert facts["coils"] == 4
    assert facts["acceleration"] == pytest.approx(2)
    assert facts["acquisition"]["source"] == "simulation"


def test_simulate_recon_compare_form_a_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    z, y, x = np.mgrid[-1:1:5j, -1:1:60j, -1:1:50j]
    volume = (x**2 + y**2 + 0.3 * z**2 < 0.6).astype(np.float32) * (1 + 0.3 * np.cos(9 * x))
    nifti.write(volume.astype(np.float32), Grid((5, 60, 50), (4, 2, 2)), Path("image.nii.gz"))
    code, out, _ = run(
        capsys, "simulate", "mri", "image.nii.gz", "-o", "raw.h5", "--truth", "truth.nii.gz",
        "--coils", "6", "--acceleration", "2", "--calibration", "16", "--noise", "0.005",
        "--slice", "1", "--slice", "3", "--matrix", "64", "56", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["matrix"] == [2, 64, 56]
    assert json.loads(out)["simulated"] is True
    assert run(capsys, "recon", "raw.h5", "-o", "a.nii.gz", "--method", "l1_wavelet")[0] == 0
    code, out, _ = run(capsys, "compare", "a.nii.gz", "truth.nii.gz", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["is_same_place"] is True
    assert found["nrmse"] < 0.1
    assert found["scale"] == pytest.approx(1, abs=0.05)
    code, out, _ = run(capsys, "compare", "a.nii.gz", "image.nii.gz")
    assert code == 3
    assert out == ""
    assert "agrees" in run(capsys, "compare", "a.nii.gz", "truth.nii.gz")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["recon"], 2, "Missing argument"),
        (["recon", "scan.h5", "--method", "bart"], 2, "there is no method 'bart'; known are auto"),
        (["recon", "scan.h5", "--method", "hqs"], 2, "no method 'hqs'; did you mean 'pnp_hqs'?"),
        (["recon", "scan.h5", "--maps", "3"], 2, "Invalid value for '--maps'"),
        (["recon", "scan.h5", "--set", "weight"], 2, "--set expected KEY=VALUE, got 'weight'"),
        (["recon", "scan.h5", "--method", "tv", "--set", "weigth=1"], 2, "did you mean 'weight'?"),
        (["recon", "scan.h5", "-o", "a.xyz"], 2, "a.xyz: expected a name that ends in"),
        (
            ["recon", "scan.h5", "--device", "warp"],
            2,
            "--device expected cpu, cuda or cuda:N, got 'warp'",
        ),
        (["recon", "scan.h5", "--device", "cuda:"], 2, "cuda or cuda:N, got 'cuda:'"),
        (["recon", "scan.h5", "--device", "cuda:99"], 5, "expected a GPU that torch can use"),
        (["recon", "scan.h5", "--recipe", "none.json"], 3, "the recipe expected the provenance"),
        (["recon", "scan.h5", "--samples", "1"], 2, "Invalid value for '--samples'"),
        (
            ["recon", "scan.h5", "--samples", "4", "--set", "n_samples=4"],
            2,
            "--samples expected to be given alone",
        ),
        (
            ["recon", "scan.h5", "--method", "pnp_hqs", "--samples", "4"],
            2,
            "pnp_hqs gives one image and draws no samples; those that draw n_samples are",
        ),
        (
            ["recon", "scan.h5", "--calibration", "fit.json"],
            2,
            "--calibration expected several samples to calibrate; add --samples N",
        ),
        (
            ["recon", "scan.h5", "--samples", "3", "--calibration", "fit.json"],
            3,
            "fit.json: there is no such file",
        ),
        (["calibrate", "a.npz", "-o", "c.json"], 2, "Missing option '--truth'"),
        (
            ["calibrate", "a.npz", "b.npz", "--truth", "t.nii", "-o", "c.json"],
            2,
            "--truth expected one image for each of the 2 results, got 1",
        ),
        (["calibrate", "a.npz", "--truth", "t.nii", "-o", "c.nii"], 2, "ends in .json"),
        (["recon", "scan.h5", "--prior", "nope.safetensors"], 2, "there is no such file: nope"),
        (["simulate", "mri", "scan.h5", "-o", "d.nii.gz"], 2, "--output expected a name that ends"),
        (["simulate", "mri", "scan.h5", "-o", "d.h5", "--truth", "t.h5"], 2, "--truth expected"),
        (["recon", "scan.h5", "--recipe", "scan.h5"], 3, "expected a provenance file"),
        (["recon", "nothing.h5"], 3, "nothing.h5: there is no such file"),
        (["info", "empty.h5"], 3, "empty.h5"),
        (["compare", "empty.h5", "scan.h5"], 3, "empty.h5"),
        (["simulate", "mri", "empty.h5", "-o", "x.h5", "--noise", "-1"], 2, "noise from 0 to 10"),
        (["unknown"], 2, "No such command 'unknown'"),
        (
            ["recon", "scan.h5", "-o", "absent/a.nii.gz", "--method", "zero_filled"],
            5,
            "not written",
        ),
    ],
)
@pytest.mark.usefixtures("raw")
def test_mistakes_are_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    Path("empty.h5").touch()
    before = sorted(Path().iterdir())
    found, out, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("inverse: ")]
    assert (found, len(lines), out) == (code, 1, "")
    assert err.splitlines()[-1] == lines[0]
    assert message in lines[0]
    assert "Traceback" not in err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("a"), 2, "a"),
        (DataError("two\nlines"), 3, "two lines"),
        (ConvergenceError("c"), 4, "c"),
        (ResourceError("d"), 5, "d"),
        (ShapeError("e"), 2, "e"),
        (MemoryError(), 5, "out of memory"),
        (OSError(28, "No space left on device"), 5, "No space left on device"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            ZeroDivisionError("f"),
            1,
            "internal error (ZeroDivisionError: f); run again with --debug",
        ),
    ],
)
def test_every_error_has_its_code(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("inverse.io.describe", fail)
    found, _, err = run(capsys, "info", "x")
    assert found == code
    assert err.startswith(f"inverse: {message}")
    assert err.count("\n") == 1
    _, _, err = run(capsys, "info", "x", "--debug")
    assert "Traceback" in err


def test_an_interrupted_run_leaves_nothing(raw: Path) -> None:
    # Jobs that a script starts in the background inherit an interrupt that is ignored.
    heed = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{heed}; from inverse.cli import main; main()"]
    arguments = [
        "recon",
        str(raw),
        "-o",
        "a.nii.gz",
        "--method",
        "pnp_hqs",
        "--set",
        "steps=1000",
    ]
    before = sorted(Path().iterdir())
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            lines = iter(process.stderr.readline, "")
            first = next((line for line in lines if not line.startswith("calibrate")), "")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert first.startswith("sampling")
    assert process.returncode == 130
    assert err.splitlines()[-1] == "inverse: interrupted; nothing half-written is left behind"
    assert sorted(Path().iterdir()) == before


def test_progress_is_lines_without_a_terminal_and_a_bar_with_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with console.progress() as report:
        for i in range(1, 13):
            report("solve", i, 100)
        assert capsys.readouterr().err == "solve 1/100\n"
        for i in range(13, 60):
            report("solve", i, 100)
        report("finish", 1, 1)
        assert capsys.readouterr().err == "solve 25/100\nsolve 50/100\nfinish 1/1\n"
    assert capsys.readouterr().err == "solve 59/100\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with console.progress() as report:
        report("solve", 2, 3)
    assert "solve" in capsys.readouterr().err


def test_parser_errors_of_any_click_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["info"]) == 2
    assert capsys.readouterr().err == "inverse: Missing argument 'file'.\n"
    monkeypatch.setattr(console, "say_error", lambda _: None)
    assert inverse.__version__ in in_a_process("--version").stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--method", "tv"),
        ("--set", "weight=1"),
        ("--seed", "3"),
        ("--maps", "2"),
        ("--samples", "2"),
    ],
)
def test_recipe_does_not_ignore_other_options(
    raw: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert run(capsys, "recon", str(raw), "-o", "first.npz", "--method", "zero_filled")[0] == 0
    code, _, err = run(
        capsys, "recon", str(raw), "-o", "b.npz", "--recipe", "first.npz.json", option, value
    )
    assert code == 2
    assert f"--recipe decides {option}" in err


DDS = ("--method", "dds", "--set", "steps=3")
MAPS = ("std", "q05", "q95", "nullspace")


def test_samples_become_maps_beside_the_image(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, "recon", raw, "-o", "a.nii.gz", *DDS, "--samples", "3")
    assert (code, err.count("Traceback")) == (0, 0)
    assert "posterior  By root mean square, the data did not decide" in out
    assert "3 images were drawn" in out
    assert "at most 50 % of the voxels" in out
    names = ["a.nii.gz", *(f"a_{name}.nii.gz" for name in MAPS), "a.nii.gz.json"]
    assert sorted(p.name for p in Path().glob("a*")) == sorted(names)
    assert [line.split()[1] for line in out.splitlines() if line.startswith("wrote")] == names
    std, low, high, share = (read_image(f"a_{name}.nii.gz") for name in MAPS)
    image, grid = read_image("a.nii.gz")
    assert {each[1] for each in (std, low, high, share)} == {grid}
    assert (std[0] > 0).any()
    assert (low[0] <= high[0]).all()
    assert ((share[0] >= 0) & (share[0] <= 1)).all()
    record = json.loads(Path("a.nii.gz.json").read_text())
    assert record["output"]["maps"] == {n: sha256_of_file(Path(f"a_{n}.nii.gz")) for n in MAPS}
    assert record["posterior"]["samples"] == 3
    # Repeated from its record, with maps again, and without a name: beside nothing of another run.
    Path("scan_q05.nii.gz").write_text("mine")
    code, out, _ = run(capsys, "recon", raw, "--recipe", "a.nii.gz.json", "--json")
    found = json.loads(out)
    assert found["files"][:2] == ["scan-2.nii.gz", "scan-2_std.nii.gz"]
    assert found["posterior"]["dispersion"] == pytest.approx(record["posterior"]["dispersion"])
    np.testing.assert_array_equal(read_image("scan-2.nii.gz")[0], image)
    np.testing.assert_array_equal(read_image("scan-2_q95.nii.gz")[0], high[0])
    assert Path("scan_q05.nii.gz").read_text() == "mine"


def test_a_replaced_image_takes_its_maps_and_its_report_with_it(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = ("-o", "a.nii.gz", *DDS, "--samples", "2", "--report")
    assert run(capsys, "recon", raw, *sampled, "a.html")[0] == 0
    noted = json.loads(Path("a.nii.gz.json").read_text())["output"]["report"]["sha256"]
    assert noted == sha256_of_file(Path("a.html"))
    Path("copy.html").write_bytes(Path("a.html").read_bytes())
    Path("a_q05.nii.gz").write_text("mine")
    plain = ("recon", raw, "-o", "a.nii.gz", "--method", "zero_filled")
    code, out, _ = run(capsys, *plain, "--json")
    found = json.loads(out)
    assert code == 0
    gone = ["a_std.nii.gz", "a_q95.nii.gz", "a_nullspace.nii.gz", "a.html"]
    assert found["removed"] == gone
    assert found["left"] == ["a_q05.nii.gz", "copy.html"]
    assert not any(Path(name).exists() for name in gone)
    assert Path("a_q05.nii.gz").read_text() == "mine"
    assert Path("copy.html").exists()
    out = run(capsys, *plain)[1]
    assert "left      a_q05.nii.gz, which is not of this image" in out
    assert "removed" not in out


def test_a_replaced_image_keeps_what_is_written_again(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sampled = ("recon", raw, "-o", "a.nii", *DDS, "--samples", "2", "--report", "a.html", "--json")
    assert run(capsys, *sampled)[0] == 0
    found = json.loads(run(capsys, *sampled)[1])
    assert (found["removed"], found["left"]) == ([], [])
    assert all(Path(name).exists() for name in found["files"])


@pytest.mark.parametrize(
    "record",
    [
        {"output": 3, "posterior": []},
        {"output": {"sha256": 3, "report": {"sha256": 1, "bytes": "x"}}, "posterior": {}},
        {"output": {"maps": {"../mine": ""}}, "posterior": {"interval_level": 7}},
    ],
)
def test_a_strange_record_of_an_earlier_run_removes_nothing(
    raw: Path, capsys: pytest.CaptureFixture[str], record: dict[str, object]
) -> None:
    Path("a.nii.json").write_text(json.dumps({"schema": "inverse-suite provenance 1", **record}))
    Path("a_std.nii").write_text("mine")
    plain = ("recon", raw, "-o", "a.nii", "--method", "zero_filled", "--json")
    found = json.loads(run(capsys, *plain)[1])
    assert (found["removed"], found["left"]) == ([], ["a_std.nii"])


def test_the_cost_of_samples_is_said_before(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "recon", raw, "-o", "a.npz", *DDS, "--samples", "2")
    assert code == 0
    said = err.index("dds: 3 calls of the prior, each for 2 samples\n")
    assert said < err.index("sampling 1/3")
    assert "calls of the prior" not in run(capsys, "recon", raw, "-o", "a.npz", *DDS)[2]


def test_long_runs_say_how_long_they_will_take(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 104.0, 200.0, 200.5])
    monkeypatch.setattr(announcing.time, "perf_counter", lambda: next(clock))
    seen: list[tuple[str, int, int]] = []
    for _ in range(2):
        report = announcing.with_estimate(lambda *step: seen.append(step))
        for done in (1, 2, 3, 52):
            report("sampling", done, 52)
        report("another stage", 1, 1)
    assert len(seen) == 10
    assert capsys.readouterr().err == "sampling: about 3 minutes to go\n"


@pytest.mark.usefixtures("raw")
def test_results_are_calibrated_and_the_calibration_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stack = np.concatenate([np.ones((1, 48, 40)), 0.8 * np.ones((1, 48, 40))])
    stack[:, :, :10] = 0
    truth = stack.astype(np.float32)
    acquisition = Acquisition(n_coils=4, acceleration=2, n_calibration=16, noise=0.01)
    two = simulate(truth, acquisition, grid=Grid((2, 48, 40), (5, 2, 2)))
    ismrmrd.write(two, Path("two.h5"))
    nifti.write(truth, Grid((2, 48, 40), (5, 2, 2)), Path("truth.nii"))
    nifti.write(truth, Grid((2, 48, 40), (5, 2, 2), (9, 0, 0)), Path("elsewhere.nii"))
    sampled = (*DDS, "--samples", "3")
    for name in ("two.npz", "two.h5result.h5"):
        assert run(capsys, "recon", "two.h5", "-o", name, *sampled)[0] == 0
    results = ("two.npz", "two.h5result.h5", "--truth", "truth.nii", "--truth", "truth.nii")
    code, out, err = run(capsys, "calibrate", *results, "-o", "c.json", "--level", "0.8")
    assert (code, err) == (0, "")
    assert "in 4 slices" in out
    assert "wanted 80 %" in out
    again = json.loads(run(capsys, "calibrate", *results, "-o", "d.json", "--json")[1])
    assert again["conditions"]["method"] == "dds"
    assert again["n_slices"] == 4
    assert again["verdict"] in out
    assert again["spread_shows_where"] is (again["error_correlation"] >= 0.2)
    wrong = ("calibrate", "two.npz", "--truth", "elsewhere.nii", "-o", "e.json")
    code, _, err = run(capsys, *wrong)
    assert code == 3
    assert "elsewhere.nii: expected the truth in the place of its result" in err
    code, _, err = run(capsys, "calibrate", "truth.nii", "--truth", "truth.nii", "-o", "e.json")
    assert code == 2
    assert "expected a result with its samples" in err

    used = ("recon", "two.h5", "-o", "b.nii", "--calibration", "c.json")
    code, out, _ = run(capsys, *used, *sampled, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["posterior"]["is_calibrated"] is True
    assert found["posterior"]["interval_level"] == 0.8
    assert [Path(name).name for name in found["files"][2:4]] == ["b_q10.nii", "b_q90.nii"]
    low, high, std = (read_image(f"b_{name}.nii")[0] for name in ("q10", "q90", "std"))
    factor = json.loads(Path("c.json").read_text())["factor"]
    widest = np.unravel_index(std.argmax(), std.shape)
    image = read_image("b.nii")[0]
    assert high[widest] - image[widest] == pytest.approx(factor * std[widest], rel=1e-4)
    assert (low >= 0).all()
    assert (
        "calibrated on 4 slices"
        in json.loads(Path("b.nii.json").read_text())["posterior"]["interval_origin"]
    )
    for more, message in (
        (("--method", "diffpir", "--samples", "3"), "made with method dds, not diffpir"),
        ((*DDS, "--samples", "2"), "samples 3, not 2"),
        (("--method", "dds", "--set", "steps=2", "--samples", "3"), "steps 3, not 2"),
    ):
        code, _, err = run(capsys, *used, *more)
        assert code == 2
        assert message in err
    ismrmrd.write(simulate(truth, replace(acquisition, noise=0.05), grid=two.grid), Path("n.h5"))
    louder = ("recon", "n.h5", *used[2:], *sampled)
    code, _, err = run(capsys, *louder)
    assert code == 2
    assert "noise relative to the peak" in err
    assert "sampling" not in err  # refused before the work


def test_a_saved_result_is_loaded_with_its_samples(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = inverse.reconstruct(inverse.load(raw).prepare(), "dds", n_samples=2, steps=3)
    for name in ("a.npz", "a.h5"):
        assert [p.name for p in made.save(name)] == [name, f"{name}.json"]
        found = load_reconstruction(name)
        np.testing.assert_array_equal(found.image, made.image)
        np.testing.assert_array_equal(found.posterior.samples, made.posterior.samples)
        assert found.posterior.dispersion == pytest.approx(made.posterior.dispersion)
        assert found.grid == made.grid
        assert found.diagnostics.noise_std == pytest.approx(made.diagnostics.noise_std)
        assert found.provenance["recipe"] == made.provenance["recipe"]
        assert found.posterior.calibrated is None
    Path("b.npz").write_bytes(Path("a.npz").read_bytes())
    Path("b.npz.json").write_bytes(Path("a.h5.json").read_bytes())
    with pytest.raises(DataError, match="got another file's"):
        load_reconstruction("b.npz")
    plain = inverse.reconstruct(inverse.load(raw).prepare(), "zero_filled")
    plain.save("c.npz")
    assert load_reconstruction("c.npz").posterior is None
    Path("c.npz.json").unlink()
    with pytest.raises(DataError, match="there is no such file"):
        load_reconstruction("c.npz")
    assert run(capsys, "info", "a.npz")[0] == 0
