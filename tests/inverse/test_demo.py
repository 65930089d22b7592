from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

from inverse import demo
from inverse.cli import main
from inverse.errors import ResourceError
from inverse.io import read_image


@pytest.mark.slow
def test_the_demonstration_runs_the_whole_chain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["demo", "--json"])
    assert not left.value.code
    found = json.loads(capsys.readouterr().out)
    assert "Simulated data" in found["statement"]
    rows = {row["method"]: row for row in found["methods"]}
    assert list(rows) == ["zero_filled", "cg_sense", "l1_wavelet", "tv", "pnp_hqs"]
    errors = [row["nrmse"] for row in rows.values()]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    assert rows["pnp_hqs"]["psnr_db"] > rows["zero_filled"]["psnr_db"] + 8
    assert 0.8 < rows["pnp_hqs"]["residual_to_noise"] < 1.2
    assert all(Path(name).exists() for name in found["files"])
    report = Path("demo-output/report.html").read_text(encoding="utf-8")
    assert "Simulated data" in report
    assert "Against the reference" in report
    truth = demo.measurement().reference
    image, grid = read_image("demo-output/pnp_hqs.nii.gz")
    assert image.shape == truth.shape
    assert grid.spacing_mm == pytest.approx((1, 1, 1))


def test_the_table_is_complete_when_it_is_not_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = demo.run(tmp_path, methods=("zero_filled", "cg_sense"))
    monkeypatch.setattr(demo, "run", lambda *_, **__: quick)
    with pytest.raises(SystemExit):
        main(["demo", "-o", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == demo.STATEMENT
    assert " ".join(lines[1].split()) == "method NRMSE PSNR dB SSIM residual / noise seconds"
    assert lines[3].startswith("CG-SENSE")
    assert f"{quick.rows[1].nrmse:.4f}" in lines[3]
    assert str(tmp_path / "report.html") in lines[-1]


def test_the_raw_data_are_what_their_description_says() -> None:
    kspace = demo.measurement()
    assert kspace.samples.shape == (1, 8, 208, 176)
    assert int(kspace.mask.any(-1).sum()) == 52
    assert kspace.noise.shape == (8, 1024)
    assert kspace.acquisition["source"] == "simulation"
    assert kspace.reference.max() > 0
    noise_std = float(np.std(kspace.noise.real))
    assert noise_std == pytest.approx(0.005 * kspace.reference.max(), rel=0.05)
    folder = resources.files("inverse.demo")
    description = folder.joinpath("README.md").read_text(encoding="utf-8")
    assert "Copyright (C) 1993-2004 Louis Collins" in description
    assert "Permission to use, copy, modify, and distribute" in description
    size = sum(len(folder.joinpath(name).read_bytes()) for name in ("brain.h5", "truth.nii.gz"))
    assert size < 1_200_000


@pytest.mark.realdata
def test_the_documented_command_makes_the_data_again(
    tmp_path: Path, real_mri: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = resources.files("inverse.demo")
    lines = folder.joinpath("README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    command = next(line for line in lines.splitlines() if "inverse simulate" in line).split()[1:]
    template = real_mri / "mni152_t1.nii.gz"
    assert hashlib.sha256(template.read_bytes()).hexdigest() in lines.replace("\n", "")
    paths = {"mni152_t1.nii.gz": template} | {
        name: tmp_path / name for name in ("brain.h5", "truth.nii.gz")
    }
    with pytest.raises(SystemExit) as left:
        main([str(paths.get(word, word)) for word in command])
    assert not left.value.code
    assert "simulated" in capsys.readouterr().out
    made, shipped = (read_image(p)[0] for p in (paths["truth.nii.gz"], folder / "truth.nii.gz"))
    np.testing.assert_array_equal(made, shipped)
    from inverse.io import load

    made_raw, shipped_raw = load(paths["brain.h5"]), demo.measurement()
    np.testing.assert_array_equal(made_raw.mask, shipped_raw.mask)
    peak = np.abs(shipped_raw.samples).max()
    np.testing.assert_allclose(made_raw.samples, shipped_raw.samples, atol=1e-5 * peak)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(ResourceError, match="cannot be made"):
        demo.run(tmp_path / "taken" / "deeper")
