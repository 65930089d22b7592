"""Writing weights: the errors that the safetensors library has are those of the disk."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from inverse.priors.weight_files import saving_network, write_tensors


def test_tensors_of_any_layout_and_texts_come_back(tmp_path: Path) -> None:
    kernel = torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    tensors = {"kernel": kernel, "step": torch.tensor(7.0), "half": torch.ones(3).half()}
    write_tensors(tmp_path / "w.safetensors", tensors, {"name": "w"})
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        assert file.metadata() == {"name": "w"}
        for key, value in tensors.items():
            found = file.get_tensor(key)
            assert found.dtype == value.dtype
            assert torch.equal(found, value)


def test_texts_stand_in_order_and_other_readers_take_the_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    texts = {f"{n:02}": "x" * n for n in reversed(range(20))} | {"name": 'ä "quoted"'}
    write_tensors(path, {"one": torch.ones(3), "two": torch.zeros(2, 2)}, texts)
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    assert n_header % 8 == 0
    assert list(json.loads(content[8 : 8 + n_header])["__metadata__"]) == sorted(texts)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == texts
        assert torch.equal(file.get_tensor("one"), torch.ones(3))
        assert torch.equal(file.get_tensor("two"), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("Error while serializing: I/O error: No space left on device (os error 28)", errno.ENOSPC),
        ("Error while serializing: something else", None),
    ],
)
def test_the_library_s_error_is_that_of_the_system(
    tmp_path: Path, text: str, number: int | None
) -> None:
    with pytest.raises(OSError, match="while serializing") as caught, saving_network(tmp_path):
        raise SafetensorError(text)
    assert caught.value.errno == number


def test_weights_get_the_permissions_of_their_configuration(tmp_path: Path) -> None:
    config, weights = tmp_path / "config.json", tmp_path / "w.safetensors"
    with saving_network(tmp_path):
        config.write_text("{}")
        config.chmod(0o640)
        save_file({"a": torch.ones(1)}, weights)
        weights.chmod(0o600)
    assert weights.stat().st_mode == config.stat().st_mode
