"""`inverse pde`: every command, and one line with an exit code for everything that goes wrong."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from inverse.cli import main
from inverse.pde.solving import STRATEGIES
from operators.pde import FAMILIES

SET = ("generate", "darcy", "-n", 12, "--grid", "8x10", "--solver", "direct", "--chain", 3)
SET += ("-o", "set.h5")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["pde", *(str(argument) for argument in arguments)])
    printed = capsys.readouterr()
    return int(left.value.code or 0), printed.out, printed.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Run what must fail; return its code and its one line, progress left out."""
    code, _, err = run(capsys, *arguments)
    lines = [line for line in err.splitlines() if line.startswith("inverse: ")]
    assert len(lines) == 1, err
    assert err.splitlines()[-1] == lines[0]
    assert "Traceback" not in err
    return code, lines[0]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def made(capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(capsys, *SET)[0] == 0
    return Path("set.h5")


def test_generate_writes_a_set_that_verifies(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "verify", made)
    assert code == 0
    assert "samples" in out
    code, out, _ = run(capsys, "verify", made, "--json")
    found = json.loads(out)
    assert (found["is_sound"], found["n_samples"], found["changed"]) == (True, 12, [])
    with h5py.File(made) as file:
        assert file["solution"].shape == (12, 8, 10)
    assert not Path("set.h5.parts").exists()


def test_generate_says_what_it_chose(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "generate", "poisson", "-n", 4, "--grid", 8, "-o", "p.h5", "--json")
    found = json.loads(out)
    assert (code, found["n_solved"], found["is_complete"]) == (0, 4, True)
    trials = {
        trial["solver"]: trial["milliseconds"] for trial in found["pilot"] if trial["converged"]
    }
    assert found["solver"] == min(trials, key=lambda name: trials[name])
    code, out, _ = run(capsys, "generate", "poisson", "-n", 4, "--grid", 8, "-o", "q.h5")
    assert "pilot" in out
    assert "q.h5" in out


def test_options_come_from_a_file_and_those_of_the_command_prevail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("set.toml").write_text(
        'family = "darcy"\nn = 3\ngrid = "6x7"\nsolver = "direct"\n[set]\nwalls = "mixed"\n'
    )
    assert run(capsys, "generate", "--config", "set.toml", "-n", 5, "-o", "a.h5")[0] == 0
    with h5py.File("a.h5") as file:
        plan = json.loads(file.attrs["plan"])
        assert file["solution"].shape == (5, 6, 7)
    assert plan["settings"] == {"walls": "mixed"}


def test_the_shards_of_an_array_job_make_one_file(capsys: pytest.CaptureFixture[str]) -> None:
    one = [*SET[:-1], "whole.h5"]
    assert run(capsys, *one)[0] == 0
    code, out, _ = run(capsys, *SET, "--shard", "1/2")
    assert code == 0
    assert "chains are missing" in out
    assert not Path("set.h5").exists()
    assert run(capsys, *SET, "--shard", "0/2")[0] == 0
    assert Path("set.h5").read_bytes() == Path("whole.h5").read_bytes()


def test_a_changed_value_is_found_with_code_3(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(made, "r+") as file:
        file["solution"][7, 2, 3] += 1e-6
    code, line = refused(capsys, "verify", made)
    assert (code, line) == (3, "inverse: set.h5: samples 7 are above the tolerance")


def test_families_and_solvers_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "families", "--json")
    assert (code, set(json.loads(out))) == (0, set(FAMILIES))
    code, out, _ = run(capsys, "families")
    assert "-div(a grad u) = f" in out
    code, out, _ = run(capsys, "solvers", "--json")
    assert (code, set(json.loads(out))) == (0, {"auto", *STRATEGIES})
    code, out, _ = run(capsys, "solvers")
    assert "SuperLU" in out


def test_export_names_the_files_it_wrote(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "export", made, "--to", "pdebench", "-o", "x.hdf5")
    assert code == 0
    assert "12 on a grid 8 x 10, float32" in out
    code, out, _ = run(capsys, "export", made, "--to", "the-well", "-o", "well", "--json")
    files = [Path(name) for name in json.loads(out)["files"]]
    assert (code, len(files)) == (0, 3)
    assert all(h5py.is_hdf5(file) for file in [*files, Path("x.hdf5")])


def test_plot_writes_a_picture(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "plot", made, "-o", "p.png", "--samples", "11, 0")[0] == 0
    assert Path("p.png").read_bytes().startswith(b"\x89PNG")


def test_sort_counts_in_both_orders_and_leaves_the_file_alone(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made.read_bytes()
    code, out, _ = run(capsys, "sort", made, "--chain", 5)
    assert code == 0
    assert "mean hop, hilbert" in out
    code, out, _ = run(capsys, "sort", made, "--chain", 5, "--method", "greedy", "--json")
    found = json.loads(out)
    kinds = [(run["solver"], run["order"]) for run in found["chains"]]
    assert ("gcrodr", "file") in kinds
    assert ("gcrodr", "greedy") in kinds
    assert {(run["n_samples"], run["n_converged"]) for run in found["chains"]} == {(5, 5)}
    assert found["mean_hop_sorted"] < found["mean_hop_file"]
    assert made.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--grid", "0"), "--grid expected N, NxM or NxMxK with 2 or more points, got '0'"),
        (("--grid", "8x"), "--grid expected"),
        (("--grid", "8x8x8x8"), "--grid expected"),
        (("-n", "0"), "the number of samples expected 1 or more"),
        (("--tol", "1e-30"), "what double precision can reach"),
        (("--seed", "-1"), "the seed expected 0 or more"),
        (("--solver", "magic"), "no solver 'magic'; there are auto, "),
        (("--sort", "magic"), "sort expected one of"),
        (("--shard", "2/2"), "--shard expected i/n with 0 <= i < n, got '2/2'"),
        (("--shard", "1"), "--shard expected i/n"),
        (("--set", "colour=red"), "colour"),
        (("--set", "walls=soft"), "soft"),
        (("--config", "none.toml"), "none.toml: no readable TOML"),
        (("--workers", "0"), "--workers"),
    ],
)
def test_what_generate_cannot_do_is_refused_before_any_work(
    change: tuple[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, line = refused(capsys, *SET, *change)
    assert code == 2
    assert message in line
    assert not list(Path.cwd().iterdir())


def test_unknown_families_are_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refused(capsys, "generate", "magic", "--grid", 8, "-o", "a.h5")
    assert code == 2
    assert all(name in line for name in FAMILIES)
    code, line = refused(capsys, "generate", "-o", "a.h5")
    assert (code, "which FAMILY?" in line) == (2, True)
    Path("bad.toml").write_text("samples = 3")
    code, line = refused(capsys, "generate", "darcy", "--config", "bad.toml", "-o", "a.h5")
    assert (code, "unknown samples; there are family" in line) == (2, True)


def test_a_set_that_is_there_is_kept_unless_it_may_be_replaced(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = made.read_bytes()
    code, line = refused(capsys, *SET, "--seed", 1)
    assert (code, "is there already" in line) == (2, True)
    assert made.read_bytes() == before
    assert run(capsys, *SET, "--seed", 1, "--overwrite")[0] == 0
    assert made.read_bytes() != before


def test_a_missing_folder_has_code_5(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = refused(capsys, *SET[:-1], "no/set.h5")
    assert (code, "not written" in line) == (5, True)


def on_a_small_disk(*arguments: object, n_bytes: int) -> subprocess.CompletedProcess[str]:
    """Run in a process that cannot write files larger than so many bytes."""

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    command = [sys.executable, "-c", "from inverse.cli import main; main()", "pde"]
    return subprocess.run(
        [*command, *(str(argument) for argument in arguments)],
        preexec_fn=small_files, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_a_full_disk_has_code_5_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    command = (*SET, "--grid", 24)
    assert run(capsys, *command, "--shard", "1/2")[0] == 0
    done = on_a_small_disk(*command, n_bytes=20_000)
    assert (done.returncode, done.stdout) == (5, "")
    assert [line[:9] for line in done.stderr.splitlines()] == ["inverse: "]
    assert not Path("set.h5").exists()
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert "6 solved, 6 found from an earlier run" in out


@pytest.mark.parametrize(
    ("target", "out"), [("pdebench", "x.hdf5"), ("the-well", "well"), ("neuraloperator", "no")]
)
def test_a_full_disk_leaves_no_part_of_an_export(
    target: str, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, *SET, "--grid", 24)[0] == 0
    done = on_a_small_disk("export", "set.h5", "--to", target, "-o", out, n_bytes=20_000)
    assert (done.returncode, done.stdout) == (5, "")
    assert [line[:9] for line in done.stderr.splitlines()] == ["inverse: "]
    assert [path.name for path in Path.cwd().rglob("*") if path.is_file()] == ["set.h5"]


def test_a_corrupt_part_has_code_3_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, *SET, "--shard", "0/2")[0] == 0
    part = sorted(Path("set.h5.parts").glob("chain-*.h5"))[0]
    part.write_bytes(part.read_bytes()[:900])
    code, line = refused(capsys, *SET)
    assert code == 3
    assert part.name in line
    part.unlink()
    assert run(capsys, *SET)[0] == 0


def test_unconverged_samples_have_code_4_and_are_not_exported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from inverse.pde import chain

    monkeypatch.setattr(
        chain, "relative_residuals", lambda _, x: np.full(len(x), 1.0, dtype=np.float64)
    )
    code, line = refused(capsys, *SET)
    assert code == 4
    assert "12 of 12 samples did not reach 1e-10 by any solver and are NaN in the file" in line
    code, line = refused(capsys, "export", "set.h5", "--to", "the-well", "-o", "well")
    assert (code, "sample 0 did not converge" in line) == (3, True)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("export", "set.h5", "--to", "magic", "-o", "x"), 2, "no export to 'magic'"),
        (("export", "set.h5", "--to", "pdebench", "-o", "x.h5"), 2, "expected one in .hdf5"),
        (("export", "set.h5", "--to", "neuraloperator", "-o", "x"), 2, "one resolution"),
        (("export", "set.h5", "--to", "the-well", "-o", "no/x"), 5, "not written"),
        (("export", "none.h5", "--to", "the-well", "-o", "x"), 3, "there is no such file"),
        (("plot", "set.h5", "-o", "x.jpg"), 2, "ends in .png"),
        (("plot", "set.h5", "-o", "no/x.png"), 5, "not written"),
        (("plot", "set.h5", "-o", "x.png", "--samples", "0,12"), 2, "samples are 0 to 11, got 12"),
        (("plot", "set.h5", "-o", "x.png", "--samples", "a"), 2, "--samples expected numbers"),
        (("plot", "text.png", "-o", "text.png"), 2, "would be overwritten"),
        (("sort", "set.h5", "--method", "none"), 2, "expected hilbert or greedy"),
        (("sort", "text.png"), 3, "text.png"),
        (("verify", "text.png"), 3, "text.png"),
        (("verify", "none.h5"), 3, "there is no such file"),
    ],
)
def test_what_cannot_be_done_with_a_set_is_one_line(
    command: tuple[str, ...],
    code: int,
    message: str,
    made: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("text.png").write_text("no data set")
    before = made.read_bytes()
    found, line = refused(capsys, *command)
    assert (found, message in line) == (code, True), line
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["set.h5", "text.png"]
    assert made.read_bytes() == before
