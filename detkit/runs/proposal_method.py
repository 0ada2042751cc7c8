"""The method that `detkit propose` runs: one of detkit.proposals, or the RPN of a model file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from detkit.errors import UserError
from detkit.proposals.builder import METHOD_VERSIONS, build_proposer, parameters_of
from detkit.proposals.config import AnyProposerConfig
from detkit.proposals.proposals import Proposer
from detkit.spec import Spec, tagged, with_tuples
from detkit.storage.content_keys import digests_of_files
from detkit.storage.strict_yaml import read_yaml

_SPECS: dict[str, type[Spec]] = tagged(AnyProposerConfig)
_MODEL = ".safetensors"


@dataclass(frozen=True)
class Method:
    """A method of finding proposals.

    Attributes:
        name: of the method, or the model file.
        parameters: all of them, so that the same ones give the same boxes.
        build: takes the number of threads for one image and returns the method.
        by_model: whether it is a network, which looks at one image at a time.
    """

    name: str
    parameters: dict[str, Any]
    build: Callable[[int], Proposer]
    by_model: bool = False


def find_method(
    name: str, overrides: Sequence[str], device: str = "auto", *, allow_custom: bool = False
) -> Method:
    """Return the method of a name, with its parameters changed.

    Args:
        name: selective_search, edge_boxes, sliding_window, or a model.safetensors of a Faster R-CNN.
        overrides: such as "mode=quality"; a model has max_boxes alone.
        device: where a model runs.
        allow_custom: let a model file run code that it names.

    Raises:
        UserError: there is no such method, or it has no such parameter.
    """
    if name not in _SPECS and Path(name).suffix != _MODEL:
        raise UserError(
            f"{name}: METHOD is one of {', '.join(_SPECS)}, or the model.safetensors of a Faster R-CNN"
        )
    values = _values(overrides, _SPECS.get(name))
    if name not in _SPECS:
        return _by_model(Path(name), values, device, allow_custom)
    try:
        spec: Any = _SPECS[name].model_validate({"type": name, **values})
    except ValidationError as error:
        raise UserError(*(_message(e, name, values) for e in error.errors(include_url=False))) from None
    parameters = {"version": METHOD_VERSIONS[name], **parameters_of(spec)}
    return Method(name, parameters, lambda threads: build_proposer(spec, num_threads=threads))


def _by_model(file: Path, values: dict[str, Any], device: str, allow_custom: bool) -> Method:
    limit = values.pop("max_boxes", None)
    if values:
        raise UserError(f"{next(iter(values))}: a model has max_boxes alone; all else is its own")
    if limit is not None and not (type(limit) is int and limit > 0):
        raise UserError(f"max_boxes: expected a whole number greater than 0, got {limit!r}")

    def build(threads: int) -> Proposer:
        from detkit.runs.predictor import build_rpn_proposer  # needs torch

        return build_rpn_proposer(file, limit, device, allow_custom=allow_custom)

    parameters = {"weights": digests_of_files([str(file)], 1)[0], "max_boxes": limit}
    return Method(str(file), parameters, build, by_model=True)


def _values(overrides: Sequence[str], spec: type[Spec] | None) -> dict[str, Any]:
    """Return what "key.sub=value" texts say; where a part is left out its default type is taken."""
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        keys = key.strip().split(".")
        if not equals or not all(keys):
            raise UserError(f'"{override}": expected key=value, such as max_boxes=1000')
        given = read_yaml(text, override)
        if given.problems:
            raise UserError(f"{override}: {given.problems[0].message}")
        place = values
        for part in keys[:-1]:
            field = spec.model_fields.get(part) if spec is not None else None
            kind = getattr(field.default, "type", None) if field is not None else None
            place = place.setdefault(part, {} if kind is None else {"type": kind})
            if not isinstance(place, dict):
                raise UserError(f"{override}: {part} is {place!r} and has no {keys[-1]}")
        place[keys[-1]] = with_tuples(given.value)
    return values


def _message(error: Any, method: str, values: Any) -> str:
    path: list[str] = []
    place = values
    for part in error["loc"]:
        if (isinstance(place, dict) and part in place) or part == error["loc"][-1]:  # the others are types
            path.append(str(part))
            place = place.get(part) if isinstance(place, dict) else None
    if error["type"] == "extra_forbidden":
        known = ", ".join(key for key in _SPECS[method].model_fields if key != "type")
        return f"{'.'.join(path)}: {method} has no such parameter; it has {known}"
    return f"{'.'.join(path)}: {error['msg']}; got {error['input']!r}"
