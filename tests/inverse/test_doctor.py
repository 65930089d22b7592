from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from inverse import environment
from inverse.cli import main
from inverse.environment import Finding, examine, impostors

OURS = {name: ["inverse-suite"] for name in ("operators", "solvers", "inverse")}


def problems(findings: list[Finding]) -> list[str]:
    return [f"{f.subject}: {f.message}" for f in findings if f.level == "problem"]


def test_a_sound_installation_has_no_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    assert not left.value.code
    out = capsys.readouterr().out
    assert torch.__version__ in out
    assert "PROBLEM" not in out
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["problems"] == 0
    places = [e["message"] for e in found["findings"] if e["subject"] == "inverse"]
    assert places in (["<checkout>/inverse"], ["<site-packages>/inverse"])
    subjects = {entry["subject"] for entry in found["findings"]}
    assert {"python", "operators", "solvers", "inverse", "torch", "disk", "memory"} <= subjects


def test_the_home_folder_is_not_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(environment.__file__).resolve().parents[2]
    monkeypatch.setattr(Path, "home", lambda: root)
    shown = "\n".join(f.message for f in examine(tmp_path) if f.subject == "inverse")
    assert shown.startswith("~/")
    assert str(root) not in shown


def test_a_distribution_of_the_same_name_is_an_impostor(tmp_path: Path) -> None:
    providers = {**OURS, "inverse": ["inverse-suite", "inverse"], "operators": ["operators"]}
    found = problems(list(impostors(tmp_path, providers)))
    assert len(found) == 2
    assert "the distribution operators installs a package of this name too" in found[0]
    assert "pip uninstall inverse, then reinstall inverse-suite" in found[1]


def test_a_file_of_the_same_name_in_the_folder_is_an_impostor(tmp_path: Path) -> None:
    (tmp_path / "operators.py").touch()
    (tmp_path / "solvers").mkdir()
    (tmp_path / "solvers" / "__init__.py").touch()
    found = problems(list(impostors(tmp_path, OURS)))
    assert [text.split(" in the")[0] for text in found] == [
        "operators: operators.py",
        f"solvers: {Path('solvers', '__init__.py')}",
    ]
    checkout = Path(environment.__file__).resolve().parents[1]
    assert problems(list(impostors(checkout, OURS))) == []


def test_code_imported_from_elsewhere_is_an_impostor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda _: Elsewhere)
    found = problems(list(impostors(tmp_path, OURS)))
    assert len(found) == 3
    assert all("other code has this name" in text for text in found)


def test_the_doctor_finds_a_file_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "solvers.py").touch()
    code = (
        f"import sys; sys.path[:] = [p for p in sys.path if p]; sys.path.append({str(_root())!r})"
    )
    command = [
        sys.executable,
        "-P",
        "-c",
        f"{code}; from inverse.cli import main; main(['doctor'])",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 5
    assert "PROBLEM  solvers" in done.stdout


def _root() -> Path:
    return Path(environment.__file__).resolve().parents[1]


def test_missing_readers_and_wrong_torch_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "pydicom":
            raise metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    found = problems(examine(tmp_path))
    assert found == [
        "pydicom: missing, DICOM needs it; pip install pydicom",
        "torch: 2.9.1, tested from 2.10 to 2.14; pip install a tested one",
    ]


def test_a_full_disk_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nearly:
        free = 2**20

    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: Nearly)
    assert problems(examine(tmp_path)) == ["disk: 0.0 GiB free in the current folder"]


@pytest.mark.gpu
def test_every_gpu_is_listed(tmp_path: Path) -> None:
    subjects = {f.subject for f in examine(tmp_path)}
    assert {f"cuda:{i}" for i in range(torch.cuda.device_count())} <= subjects
