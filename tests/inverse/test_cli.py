from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import inverse
from inverse.cli import app, console, main
from inverse.cli.recon import Method
from inverse.errors import ConvergenceError, DataError, ResourceError, UsageError
from inverse.grid import Grid
from inverse.io import ismrmrd, nifti, read_image
from inverse.methods import METHODS, find
from inverse.mri.simulate import Acquisition, simulate
from operators import ShapeError

COMMANDS = ("recon", "info", "simulate", "compare", "demo", "doctor")


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
        "COMP_WORDS": "inverse recon --method p",
        "COMP_CWORD": "3",
    }
    done = in_a_process(env=environment)
    assert done.stdout.split() == ["pnp_hqs"]


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
    image, grid = read_image("a.nii.gz")
    assert image.shape == (1, 48, 40)
    assert grid.spacing_mm == pytest.approx((5, 2, 2))
    record = json.loads(Path("a.json").read_text())
    assert record["recipe"]["method"] == "cg_sense"
    assert "<title>" in Path("a.html").read_text()
    assert "cg_sense" in err


def test_recon_alone_picks_a_free_name(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("scan.json").write_text("mine")
    for name in ("scan-2.nii.gz", "scan-3.nii.gz"):
        code, out, _ = run(capsys, "recon", raw, "--method", "zero_filled")
        assert code == 0
        assert name in out
        assert Path(name).exists()
    assert Path("scan.json").read_text() == "mine"


def test_json_is_the_only_output(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "recon", raw, "--method", "tv", "--set", "iterations=3", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["method"] == "tv"
    assert found["iterations"] == 3
    assert found["files"] == ["scan.nii.gz", "scan.json"]
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
    again = run(capsys, "recon", raw, "-o", "b.npz", "--recipe", "a.json", "--threads", "1")
    assert again[0] == 0
    a, b = (json.loads(Path(name).read_text()) for name in ("a.json", "b.json"))
    assert a["voxels_sha256"] == b["voxels_sha256"]
    assert a["recipe"] == b["recipe"]
    np.testing.assert_array_equal(read_image("a.npz")[0], read_image("b.npz")[0])


def test_the_command_line_in_the_record_names_no_file(
    raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = raw.rename("DOE_JANE.h5")
    arguments = ["recon", str(secret), "-o", "JANE.npz", "--method=zero_filled"]
    monkeypatch.setattr(sys, "argv", ["inverse", *arguments])
    assert run(capsys, *arguments)[0] == 0
    record = json.loads(Path("JANE.json").read_text())
    assert record["command"] == [
        "inverse", "recon", "<input 1>", "-o", "<output>", "--method=zero_filled",
    ]  # fmt: skip


def test_info_describes_raw_data_and_images(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", raw)
    assert code == 0
    assert "1 x 48 x 40" in out
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
        (["recon", "scan.h5", "--method", "bart"], 2, "'bart' is not one of 'auto', 'zero_filled'"),
        (["recon", "scan.h5", "--maps", "3"], 2, "Invalid value for '--maps'"),
        (["recon", "scan.h5", "--set", "weight"], 2, "--set expected KEY=VALUE, got 'weight'"),
        (["recon", "scan.h5", "--method", "tv", "--set", "weigth=1"], 2, "did you mean 'weight'?"),
        (["recon", "scan.h5", "-o", "a.xyz"], 2, "a.xyz: expected a name that ends in"),
        (["recon", "scan.h5", "--device", "warp"], 2, "device 'warp' cannot be used"),
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
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("inverse.io.describe", fail)
    found, _, err = run(capsys, "info", "x")
    assert found == code
    assert err.startswith(f"inverse: {message}")
    assert err.count("\n") == 1
    _, _, err = run(capsys, "info", "x", "--debug")
    assert "Traceback" in err


def test_an_interrupted_run_leaves_nothing(raw: Path) -> None:
    command = [sys.executable, "-c", "from inverse.cli import main; main()"]
    arguments = [
        "recon",
        str(raw),
        "-o",
        "a.nii.gz",
        "--method",
        "tv",
        "--set",
        "iterations=1000000",
    ]
    before = sorted(Path().iterdir())
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True) as process:
        try:
            first = process.stderr.readline()
            time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert first.startswith("tv")
    assert process.returncode == 130
    assert err.splitlines()[-1] == "inverse: interrupted; nothing half-written is left behind"
    assert sorted(Path().iterdir()) == before


def test_progress_is_lines_without_a_terminal_and_a_bar_with_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with console.progress() as report:
        for i in range(3):
            report("solve", i, 3)
        report("finish", 1, 1)
    assert capsys.readouterr().err == "solve (3)\nfinish\n"
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
