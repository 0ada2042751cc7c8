"""Short names of shipped configs."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config.load import load_config
from detkit.config.names import config_names, find_config
from detkit.errors import UserError


def test_a_short_name_works_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in config_names():
        assert find_config(name).stem == name


def test_a_file_of_the_user_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = config_names()[0]
    Path(name).write_text("version: 1", encoding="utf-8")
    assert find_config(name) == Path(name)


def test_a_miss_lists_the_names(tmp_path: Path) -> None:
    name = config_names()[0]
    with pytest.raises(UserError) as caught:
        load_config(name[:-1])
    first, *listed = str(caught.value).splitlines()
    assert f'did you mean "{name}"?' in first or "did you mean" in first
    assert " ".join(line.strip() for line in listed) == ", ".join(config_names())
    with pytest.raises(UserError, match=f"the shipped config is called {name}, without ending"):
        load_config(f"{name}.yaml")
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(UserError, match=r'no such file; did you mean "mine.yaml"\?'):
        load_config(tmp_path / "mien.yaml")
    with pytest.raises(UserError, match="is a folder"):
        load_config(tmp_path)
