from __future__ import annotations

from pathlib import Path

import pytest

from xttsreg import places


def test_the_home_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XTTSREG_HOME", str(tmp_path))
    assert places.default_store() == tmp_path / "store"
    assert places.default_runs() == tmp_path / "runs"
    assert places.user_catalog() == tmp_path / "catalog"


def test_a_tilde_is_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XTTSREG_HOME", "~/x")
    assert places.home() == tmp_path / "x"


@pytest.mark.parametrize("value", [None, ""])
def test_without_it_the_system_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str | None
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XTTSREG_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("XTTSREG_HOME", value)
    assert places.home().name == "xttsreg"
    assert places.home().is_relative_to(tmp_path)


@pytest.mark.parametrize(("name", "file"), [("registry", "xtts_v2"), ("bundles", "xtts_v2")])
def test_built_in_data_is_there(name: str, file: str) -> None:
    assert (places.builtin(name) / f"{file}.toml").is_file()
