"""Reader of configs: strict, with every mistake reported at once and in its place."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from detkit.config.dump import flow
from detkit.config.keys import holds
from detkit.config.problems import raise_all
from detkit.config.schema import Config
from detkit.config.translate import translate
from detkit.errors import UserError, nearest
from detkit.spec import (
    Origin,
    Spec,
    custom_parts,
    mapping_of,
    strictest_origin,
    with_lists,
    with_tuples,
)
from detkit.storage.strict_yaml import Document, KeyPath, Problem, dotted, read_yaml, read_yaml_file

_MOST_PROBLEMS = 200  # that are put into words; a file with more is no config


def config_folder() -> Path:
    """Return the folder of the shipped configs: inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """Return the short names of all shipped configs, sorted."""
    return sorted(file.stem for file in config_folder().glob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """Return the file that a path or a short name stands for.

    Args:
        name: path of a YAML file, or a name such as "faster_rcnn_resnet50_fpn_voc07".

    Raises:
        UserError: If there is neither; the message gives the nearest name and all names.
    """
    file = Path(name)
    if file.is_file():
        return file
    names = config_names()
    if str(name) in names:
        return config_folder() / f"{name}.yaml"
    if file.is_dir():
        raise UserError(
            f"{name}: is a folder; a config is a YAML file (detkit init {name} -o my.yaml writes one)"
        )
    if file.suffix in (".yaml", ".yml") or len(file.parts) > 1:
        beside = [p.name for p in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        guess = nearest(file.name, beside)
        if file.stem in names:
            guess = f"the shipped config is called {file.stem}, without ending"
        raise UserError(f"{name}: no such file" + (f"; {guess.rstrip()}" if guess else ""))
    listed = textwrap.wrap(", ".join(names), 100, initial_indent="  ", subsequent_indent="  ")
    guess = nearest(name, names)
    raise UserError(f"{name}: no such file, and no shipped config has that name; {guess}There are:", *listed)


def load_config(name: str | Path, overrides: Sequence[str] = (), *, origin: Origin | None = None) -> Config:
    """Read a config file.

    Args:
        name: path of a YAML file, or the short name of a shipped config.
        overrides: changes such as "train.epochs=3", checked like the file.
        origin: decides about code that the file names; None says that the caller vouches for it.

    Raises:
        UserError: If the file is missing or anything in it is wrong; one line for each mistake, with its
            place, what was allowed and what came.
    """
    file = find_config(name)
    return _parsed(read_yaml_file(file), str(file), overrides, origin or Origin(file, is_own=True))


def as_config(
    config: Config | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Return the config that a Python caller means.

    Args:
        config: a config; the content of a file as a mapping; or the path or the short name of a file.
        overrides: changes by key, {"train.optimizer.lr": 0.01}, or as texts, ["train.optimizer.lr=0.01"].
        settings: changes to keys of `train`, or of the config itself: {"epochs": 3, "seed": 1}.

    Raises:
        UserError: If the file is missing or anything in it is wrong.
    """
    keys = {name if name in Config.model_fields else f"train.{name}": settings[name] for name in settings}
    if isinstance(overrides, Mapping):
        overrides = [f"{key}={flow(value)}" for key, value in overrides.items()]
    changes = [*overrides, *(f"{key}={flow(value)}" for key, value in keys.items())]
    if isinstance(config, str | Path):
        return load_config(config, changes)
    if isinstance(config, Config) and not changes:
        return config
    return _checked(Document(with_lists(mapping_of(config))), "config", changes, strictest_origin(config))


def parse_config(
    text: str, source: str = "config", overrides: Sequence[str] = (), *, origin: Origin | None = None
) -> Config:
    """Return the config that a YAML text describes.

    Args:
        text: the content of a config file.
        source: what messages call it.
        overrides: changes such as "train.epochs=3".
        origin: decides about code that the text names; None says that the caller vouches for it.

    Raises:
        UserError: If anything in it is wrong.
    """
    return _parsed(read_yaml(text, source), source, overrides, origin)


def _parsed(document: Document, source: str, overrides: Sequence[str], origin: Origin | None) -> Config:
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else "holds no keys"
        raise UserError(f"{source}: {what}; a config begins with version: 1 (detkit init writes one)")
    return _checked(document, source, overrides, origin)


def _checked(document: Document, source: str, overrides: Sequence[str], origin: Origin | None) -> Config:
    _apply_overrides(document, overrides)
    config, problems = _validate(document.value)
    raise_all([*document.problems, *problems], document.places, source)
    assert config is not None
    if origin is not None:
        for part in custom_parts(config):
            part.come_from(origin)
    return config


def _apply_overrides(document: Document, overrides: Sequence[str]) -> None:
    """Change a file's content in place, and its places and problems with it; later overrides win.

    A value is read as YAML. A number in the key is an index into a list. Where the key goes through a mapping
    that the file leaves out, its default `type` is taken.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        keys = key.strip().split(".")
        if not equals or not all(keys):
            raise UserError(
                f'override "{override}": expected key.sub=value, such as train.epochs=3'
                + (" (a flag goes before or after all overrides)" if override.startswith("-") else "")
            )
        place = f"override {override}"
        given = read_yaml(text, place)
        document.problems += [Problem((*keys, *p.path), p.message, place) for p in given.problems]
        problem = _put(document, keys, given.value, place)
        if problem is not None:
            document.problems.append(problem)


def _put(document: Document, keys: list[str], value: Any, place: str) -> Problem | None:
    """Set one value; return what stands in the way, if anything."""
    node, allowed = document.value, holds(Config)
    path: KeyPath = ()
    for depth, key in enumerate(keys):
        index: str | int = key
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                return Problem(
                    (*path, key), f"expected an index below {len(node)}, or replace the whole list", place
                )
            index, allowed = int(key), holds(allowed.item) if allowed.item is not None else holds(Any)
        elif isinstance(node, dict):
            model = allowed.model_for(node)
            info = model.model_fields.get(key) if model is not None else None
            allowed = holds(info) if info is not None else holds(Any)
            if depth < len(keys) - 1 and node.get(key) is None:
                node[key] = _chosen_type(info)
        else:
            return Problem(path, f"holds {node!r}, which has no key {dotted((key,))}", place)
        path = (*path, index)
        if depth == len(keys) - 1:
            _mark(document, path, place)
            node[index] = value
            return None
        document.places.setdefault(path, place)
        node = node[index]
    return None


def _chosen_type(info: FieldInfo | None) -> dict[str, Any]:
    default = None if info is None else info.get_default(call_default_factory=True)
    return {"type": default.type} if isinstance(default, Spec) and hasattr(default, "type") else {}


def _mark(document: Document, path: KeyPath, place: str) -> None:
    """Let the override be the place of a key and of all that it holds."""
    for known in [p for p in document.places if p[: len(path)] == path]:
        del document.places[known]
    document.places[path] = place


def _validate(value: Any) -> tuple[Config | None, list[Problem]]:
    try:
        return Config.model_validate(with_tuples(value)), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems = translate(errors[:_MOST_PROBLEMS])
    if len(errors) <= _MOST_PROBLEMS and all(found["type"] == "extra_forbidden" for found in errors):
        # Whether parts go together is only looked at when each of them is right: look again without
        # the keys that nobody knows.
        problems += _validate(_without(value, {problem.path for problem in problems}))[1]
    return None, problems


def _without(value: Any, paths: Set[KeyPath], here: KeyPath = ()) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if (*here, key) not in paths}
        return {key: _without(item, paths, (*here, key)) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without(item, paths, (*here, index)) for index, item in enumerate(value)]
    return value
