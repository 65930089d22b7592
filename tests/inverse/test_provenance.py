from __future__ import annotations

import getpass
import hashlib
import json
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inverse import provenance
from inverse.errors import DataError
from inverse.provenance import (
    Recipe,
    is_record,
    json_ready,
    public_command,
    record,
    sha256_of_array,
    sha256_of_file,
)

RECIPE = Recipe("tv", prior="natural", seed=7, threads=2, settings={"weight": 0.5, "levels": 3})


def make_parts() -> dict[str, object]:
    return {
        "inputs": {"format": "ismrmrd", "sha256": ["ab" * 32]},
        "preparation": {"coils": 8, "calibration": (24, 24)},
        "image": np.arange(6, dtype=np.complex64).reshape(1, 2, 3),
        "seconds": {"solve": 1.23456},
    }


def make_record(**changed: object) -> dict[str, object]:
    return record(RECIPE, **(make_parts() | changed))


def test_a_record_holds_what_is_needed_to_run_again(tmp_path: Path) -> None:
    made = make_record()
    path = tmp_path / "out.json"
    path.write_text(json.dumps({"provenance": made}, allow_nan=False))
    assert Recipe.load(path) == RECIPE
    path.write_text(json.dumps(made))
    assert Recipe.load(path) == RECIPE
    assert made["versions"]["torch"].startswith("2.")
    assert made["versions"]["python"].startswith("3.")
    assert made["preparation"] == {"coils": 8, "calibration": [24, 24]}
    assert made["seconds"] == {"solve": 1.235}


def test_a_record_is_about_the_run_and_not_about_the_person(tmp_path: Path) -> None:
    home = Path.home()
    made = make_record(
        inputs={"file": str(tmp_path / "DOE^JANE.h5"), "note": home / "scan.h5"},
        preparation={"weights": "~/secret.npz", r"C:\Users\me": 1},
        command=public_command("recon", {"--prior": Path("/data/p.npz"), "--set": [str(home)]}),
    )
    text = json.dumps(made)
    host = socket.gethostname()
    for private in ("DOE^JANE", "secret", "Users", str(home), "/data", str(tmp_path)):
        assert private not in text
    words = text.replace('"', " ").replace("/", " ").split()
    assert host not in words
    assert getpass.getuser() not in words


def test_the_command_line_names_files_by_their_part() -> None:
    options = {
        "--output": Path("DOE/out.nii.gz"),
        "--seed": 3,
        "--prior": None,
        "--set": ["weight=0.5", "levels=2"],
        "--report": Path("./DOE.html"),
    }
    assert public_command("recon", options) == [
        "inverse", "recon", "<input 1>", "--output", "<output>", "--seed", "3",
        "--set", "weight=0.5", "--set", "levels=2", "--report", "<report>",
    ]  # fmt: skip
    assert public_command("compare", {}, n_inputs=2)[2:] == ["<input 1>", "<input 2>"]


def test_a_recipe_of_an_earlier_version_lacks_the_newer_choices(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text(json.dumps({"recipe": {"method": "tv", "seed": 2}}))
    found = Recipe.load(path)
    assert (dict(found.select), found.n_virtual_coils) == ({}, None)
    chosen = Recipe("tv", select={"repetition": 1}, n_virtual_coils=6)
    path.write_text(json.dumps(record(chosen, **make_parts())))
    assert Recipe.load(path) == chosen


def test_a_record_is_told_from_other_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for text, is_ours in (
        (json.dumps(make_record()), True),
        ('{"schema": "inverse-suite provenance 12"}', True),
        ('{"schema": "another"}', False),
        ("{}", False),
        ("[1]", False),
        ('{"provenance": 3}', False),
    ):
        path.write_text(text)
        assert is_record(path) is is_ours
    assert not is_record(tmp_path / "absent.json")
    with pytest.raises(DataError, match="there is no such file"):
        Recipe.load(tmp_path / "absent.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    )
)
def test_json_ready_makes_strict_json(value: object) -> None:
    plain = json_ready(value)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_json_ready_shortens_large_arrays() -> None:
    small, large = np.arange(4.0), np.arange(65)
    assert json_ready(small) == [0.0, 1.0, 2.0, 3.0]
    assert json_ready(large) == {"shape": [65], "sha256": sha256_of_array(large)}
    assert json_ready(complex(1, 2)) == "(1+2j)"


def test_hashes_are_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"inverse")
    assert sha256_of_file(path) == hashlib.sha256(b"inverse").hexdigest()
    x = np.arange(4, dtype=np.float32)
    assert sha256_of_array(x) == hashlib.sha256(b"(4,) <f4" + x.tobytes()).hexdigest()
    assert sha256_of_array(x) != sha256_of_array(x.reshape(2, 2))
    assert sha256_of_array(np.asfortranarray(x.reshape(2, 2))) == sha256_of_array(x.reshape(2, 2))


def test_commit_is_that_of_the_checkout_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = provenance.commit()
    in_checkout = (Path(provenance.__file__).parent.parent / ".git").exists()
    assert (found is not None) == in_checkout
    if found is not None:
        assert len(found.removesuffix("-dirty")) == 40
    monkeypatch.setattr(provenance.shutil, "which", lambda _: None)
    assert provenance.commit() is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"recipe": 3}', '{"recipe": {}}', "[" * 9999]
)
def test_a_recipe_is_read_from_a_record_only(tmp_path: Path, text: str) -> None:
    path = tmp_path / "DOE.json"
    path.write_text(text)
    with pytest.raises(DataError, match="expected a provenance file") as caught:
        Recipe.load(path)
    assert "DOE" not in str(caught.value)
