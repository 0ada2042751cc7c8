"""Whether code that a config names may run is decided where the config is read, and stays with its parts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from detkit.config.load import as_config, load_config, parse_config
from detkit.config.schema import Config
from detkit.custom import build_custom
from detkit.errors import UserError
from detkit.spec import CustomConfig, Origin, custom_parts, strictest_origin

SMALL = (Path(__file__).parent / "small.yaml").read_text(encoding="utf-8")
PART = '{type: custom, target: "%s:make", args: {x: 1}}'
MODULE = """\
from pathlib import Path
(Path(__file__).parent / "ran").touch()
def make(x):
    return x
"""


@pytest.fixture(autouse=True)
def search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])


def text(module: str) -> str:
    return SMALL.replace("{type: layer4}", f"{PART % module}\n  neck: {{type: fpn}}")


def module_in(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(MODULE)


def head(config: Config) -> CustomConfig:
    (part,) = custom_parts(config)
    return part


def foreign(file: Path, allowed: bool = False) -> Origin:
    return Origin(file, is_own=False, allowed=allowed)


def test_a_module_beside_the_users_yaml_is_found(tmp_path: Path) -> None:
    module_in(tmp_path / "mine", "beside_yaml")
    (tmp_path / "mine" / "a.yaml").write_text(text("beside_yaml"))
    assert build_custom(head(load_config(tmp_path / "mine" / "a.yaml"))) == 1


def test_the_working_directory_is_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module_in(tmp_path / "here", "in_working_directory")
    (tmp_path / "a.yaml").write_text(text("in_working_directory"))
    monkeypatch.chdir(tmp_path / "here")
    for part in (head(load_config(tmp_path / "a.yaml")), CustomConfig(target="in_working_directory:make")):
        with pytest.raises(UserError, match=r"cannot import in_working_directory.* and in PYTHONPATH"):
            build_custom(part)
    assert not (tmp_path / "here" / "ran").exists()


def test_what_python_finds_by_itself_comes_before_the_folder_of_the_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module_in(tmp_path / "installed", "found_twice")
    module_in(tmp_path / "mine", "found_twice")
    monkeypatch.syspath_prepend(str(tmp_path / "installed"))
    (tmp_path / "mine" / "a.yaml").write_text(text("found_twice"))
    build_custom(head(load_config(tmp_path / "mine" / "a.yaml")))
    assert (tmp_path / "installed" / "ran").exists()
    assert not (tmp_path / "mine" / "ran").exists()


def test_a_file_that_is_not_the_users_own_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module_in(tmp_path, "of_a_stranger")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "model.safetensors"
    config = parse_config(text("of_a_stranger"), "model", origin=foreign(file))
    with pytest.raises(UserError, match=r"model\.safetensors: .*'of_a_stranger:make'.*--allow-custom"):
        build_custom(head(config))
    assert not (tmp_path / "ran").exists()
    assert "of_a_stranger" not in sys.modules
    config = parse_config(text("of_a_stranger"), "model", origin=foreign(file, allowed=True))
    assert build_custom(head(config)) == 1
    assert capsys.readouterr().err == f"{file}: runs of_a_stranger:make\n"


def test_the_folder_of_a_foreign_file_is_not_searched(tmp_path: Path) -> None:
    module_in(tmp_path, "beside_a_model")
    origin = foreign(tmp_path / "model.safetensors", allowed=True)
    with pytest.raises(UserError, match="cannot import beside_a_model"):
        build_custom(head(parse_config(text("beside_a_model"), "model", origin=origin)))


@pytest.mark.parametrize("form", ["whole", "part of a mapping", "copy"])
def test_changes_in_python_do_not_make_foreign_code_ones_own(tmp_path: Path, form: str) -> None:
    config = parse_config(text("of_a_stranger"), "model", origin=foreign(tmp_path / "model.safetensors"))
    changed = {
        "whole": lambda: as_config(config, {"train.epochs": 3}),
        "part of a mapping": lambda: as_config({**config.as_given(), "detector": config.detector}),
        "copy": lambda: as_config(config.model_copy(deep=True), {"detector.head.args.x": 5}),
    }[form]()
    with pytest.raises(UserError, match="--allow-custom"):
        build_custom(head(changed))


def test_of_two_origins_the_stricter_one_counts(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text("beside_yaml"))
    own = load_config(tmp_path / "mine.yaml")
    theirs = parse_config(text("of_a_stranger"), "model", origin=foreign(tmp_path / "model.safetensors"))
    for mixed in ({"a": own, "b": theirs}, {"a": theirs, "b": own}):
        assert strictest_origin(mixed) == head(theirs).origin
    assert strictest_origin([own]) == head(own).origin


def test_parts_written_in_python_are_the_callers_own() -> None:
    assert build_custom(CustomConfig(target="builtins:dict", args={"x": 1})) == {"x": 1}


def test_a_name_that_a_module_lacks_is_told_with_those_it_has(tmp_path: Path) -> None:
    (tmp_path / "has_names.py").write_text(
        "def make():\n    pass\n_hidden = make\nnumber = 3\nclass Made: pass\n"
    )
    (tmp_path / "a.yaml").write_text(text("has_names").replace("has_names:make", "has_names:number"))
    with pytest.raises(UserError) as caught:
        build_custom(head(load_config(tmp_path / "a.yaml")))
    assert str(caught.value) == (
        "target 'has_names:number': has_names has no callable 'number'; it has: Made, make"
    )


def test_arguments_that_a_part_does_not_take_are_named(tmp_path: Path) -> None:
    module_in(tmp_path, "takes_x")
    (tmp_path / "a.yaml").write_text(text("takes_x"))
    with pytest.raises(UserError) as caught:
        build_custom(head(load_config(tmp_path / "a.yaml")), channels=7)
    assert str(caught.value) == (
        "target 'takes_x:make': called with channels, x: make() got an unexpected keyword argument 'channels'"
    )
