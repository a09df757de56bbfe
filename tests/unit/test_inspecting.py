"""What ``xttsreg inspect FILE`` says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support import run_cli
from test_checkpoint import glob, inference, mapping, save, tensor, text, tup


def inspect(path: Path, home: Path) -> dict[str, object]:
    done = run_cli(["inspect", path, "--json"], home)
    assert done.code == 0, done.stderr
    value: dict[str, object] = json.loads(done.stdout)
    return value


def test_an_inference_checkpoint(home: Path, tmp_path: Path) -> None:
    found = inspect(inference(tmp_path / "model.pth"), home)
    assert found["keys"] == ["model", "config"]
    assert found["container"] == "zip"
    assert found["parts"]["gpt"] == 2  # type: ignore[index]
    assert found["part_bytes"] == {"gpt": 480}  # all of them look into one storage
    assert found["dtypes"] == ["float16", "float32"]
    assert "restore_path" in str(found["next"])
    lines = run_cli(["inspect", tmp_path / "model.pth"], home).stdout.splitlines()
    assert "keys: model, config" in lines


def test_names_of_tensors_are_not_listed_as_keys(home: Path, tmp_path: Path) -> None:
    file = save(tmp_path / "dvae.pth", mapping({"encoder.x": tensor(2), "epoch": b"K\x01"}))
    assert inspect(file, home)["keys"] == ["epoch"]


def test_foreign_classes_are_named_and_nothing_runs(home: Path, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    call = glob("os", "mkdir") + tup(text(str(mark))) + b"R"
    found = inspect(save(tmp_path / "evil.pth", mapping({"model": call})), home)
    assert str(found["meaning"]).startswith("UNSAFE")
    assert found["foreign_globals"] == ["os.mkdir"]
    assert not mark.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.ckpt", "vocab.json"])
def test_a_file_with_another_suffix_is_a_file(name: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"{}")
    found = inspect(tmp_path / name, home)
    assert found["problem"] == "a JSON file, not a checkpoint"


def test_what_is_no_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    done = run_cli(["inspect", tmp_path / "folder.pth"], home)
    assert (done.code, "is a directory" in done.error, "add NAME" in done.hint) == (2, True, True)
    done = run_cli(["inspect", tmp_path / "nowhere.pth"], home)
    assert (done.code, "no such file" in done.error) == (3, True)


def test_a_huge_empty_file_takes_no_memory(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "sparse.pth"
    with file.open("wb") as stream:
        os.truncate(stream.fileno(), 200 << 20)
    assert inspect(file, home)["problem"] == "neither a zip archive nor a pickle"
