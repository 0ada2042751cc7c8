"""Reader of configs: strict, with every mistake reported at once and in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from detkit.config.dump import flow
from detkit.config.names import find_config
from detkit.config.overrides import apply_overrides
from detkit.config.problems import KeyPath, Problem, raise_all
from detkit.config.schema import Config
from detkit.config.strict_yaml import Document, read_yaml
from detkit.config.translate import translate
from detkit.errors import UserError
from detkit.spec import mapping_of, with_lists, with_tuples


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a config file.

    Args:
        name: path of a YAML file, or the short name of a shipped config.
        overrides: changes such as "train.epochs=3", checked like the file.

    Raises:
        UserError: If the file is missing or anything in it is wrong; one line for each mistake, with its
            place, what was allowed and what came.
    """
    file = find_config(name)
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file in UTF-8 (byte {error.start})") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}") from error
    return parse_config(text, str(file), overrides)


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
    return _checked(Document(with_lists(mapping_of(config))), "config", changes)


def parse_config(text: str, source: str = "config", overrides: Sequence[str] = ()) -> Config:
    """Return the config that a YAML text describes.

    Args:
        text: the content of a config file.
        source: what messages call it.
        overrides: changes such as "train.epochs=3".

    Raises:
        UserError: If anything in it is wrong.
    """
    document = read_yaml(text, source)
    if not isinstance(document.value, dict):
        what = "is empty" if document.value is None else "holds no keys"
        raise UserError(f"{source}: {what}; a config begins with version: 1 (detkit init writes one)")
    return _checked(document, source, overrides)


def _checked(document: Document, source: str, overrides: Sequence[str]) -> Config:
    apply_overrides(document, overrides)
    config, problems = _validate(document.value)
    raise_all([*document.problems, *problems], document.places, source)
    assert config is not None
    return config


def _validate(value: Any) -> tuple[Config | None, list[Problem]]:
    try:
        return Config.model_validate(with_tuples(value)), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems = translate(errors)
    unknown = [p.path for p, e in zip(problems, errors, strict=False) if e["type"] == "extra_forbidden"]
    if len(unknown) == len(errors):
        # Whether parts go together is only looked at when each of them is right: look again without
        # the keys that nobody knows.
        problems += _validate(_without(value, unknown))[1]
    return None, problems


def _without(value: Any, paths: Sequence[KeyPath], here: KeyPath = ()) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if (*here, key) not in paths}
        return {key: _without(item, paths, (*here, key)) for key, item in kept.items()}
    if isinstance(value, list):
        return [_without(item, paths, (*here, index)) for index, item in enumerate(value)]
    return value
