"""The base of every node of a config, and the node for a user's own part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator


def _with_type(schema: dict[str, Any]) -> None:
    """Let files name the `type` of a mapping, which Python has from the class."""
    if "type" in schema.get("properties", {}):
        schema["required"] = sorted({"type", *schema.get("required", ())})


class Spec(BaseModel):
    """One mapping of a config file: strict, without unknown keys, immutable once read."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        json_schema_extra=_with_type,
        defer_build=True,  # a whole config builds what checks its parts again; few are read alone
    )

    def as_given(self) -> dict[str, Any]:
        """Return the mapping that a file would hold: the `type`, and what was set.

        Example:
            >>> CustomConfig(target="my:part").as_given()
            {'type': 'custom', 'target': 'my:part'}
        """
        given = [name for name in type(self).model_fields if name == "type" or name in self.model_fields_set]
        return {name: mapping_of(getattr(self, name)) for name in given}


@dataclass(frozen=True)
class Origin:
    """The file that a config was read from, which decides whether code that it names may run.

    Attributes:
        file: where it was read.
        is_own: whether the user named it as the config to work with: its code is theirs, and modules beside
            it are found. A model file, and the config in a run's folder, may come from anywhere.
        allowed: whether the user lets the code run although the file is not their own.
    """

    file: Path
    is_own: bool
    allowed: bool = False

    @property
    def runs_code(self) -> bool:
        """Whether parts that the file names may be imported and called."""
        return self.is_own or self.allowed


class CustomConfig(Spec):
    """A part of the user's own, called with `args` when the config is built."""

    type: Literal["custom"] = "custom"
    target: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """Where the callable lives: `package.module:name`. The module must be importable."""
    args: dict[str, Any] = {}
    """Keyword arguments for the callable."""
    _origin: Origin | None = PrivateAttr(None)

    @property
    def origin(self) -> Origin | None:
        """The file that names it; None where it was written in Python."""
        return self._origin

    def come_from(self, origin: Origin) -> None:
        """Note which file names it; done once, where the file is read."""
        self._origin = origin

    @field_validator("args", mode="before")
    @classmethod
    def _lists(cls, args: Any) -> Any:
        """Give the callable the lists that YAML shows; our own lists are tuples."""
        return with_lists(args)


class OwnPart(CustomConfig):
    """A part that the Python caller has made already; it stands where a file would say `custom`.

    No file can hold it: `detkit.config.dump` refuses to write a config with one.
    """

    target: str = "own:part"
    part: Any
    """What the part of a file would return when it is called, such as a `torch.nn.Module`."""


def custom_parts(value: Any) -> Iterator[CustomConfig]:
    """Yield the custom parts of a config, of a mapping of configs, or of a list of them."""
    if isinstance(value, CustomConfig):
        yield value
    elif isinstance(value, Spec):
        for name in type(value).model_fields:
            yield from custom_parts(getattr(value, name))
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from custom_parts(item)


def strictest_origin(value: Any) -> Origin | None:
    """Return the origin of a config's custom parts; of several, one whose code may not run."""
    origins = [part.origin for part in custom_parts(value) if part.origin is not None]
    return min(origins, key=lambda origin: origin.runs_code, default=None)


def mapping_of(value: Any) -> Any:
    """Return a config made in Python, or several, as a file would hold them; all else as it is.

    A part of the caller's own stays as it is.
    """
    if isinstance(value, Mapping):
        return {key: mapping_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(mapping_of, value))
    return value.as_given() if isinstance(value, Spec) and not isinstance(value, OwnPart) else value


def with_tuples(value: Any) -> Any:
    """Return a file's content with tuples for its lists, as configs hold them."""
    if isinstance(value, dict):
        return {key: with_tuples(item) for key, item in value.items()}
    return tuple(map(with_tuples, value)) if isinstance(value, list) else value


def with_lists(value: Any) -> Any:
    """Return the same content with lists for its tuples, as files hold them."""
    if isinstance(value, dict):
        return {key: with_lists(item) for key, item in value.items()}
    return [with_lists(item) for item in value] if isinstance(value, list | tuple) else value


def one_of(configs: Iterable[type[Spec]]) -> Any:
    """Return the type of a mapping that is one of several configs, chosen by its `type`.

    Unions of configs that come from a list are made with it; a type checker sees their base class.
    """
    return Annotated[reduce(or_, configs), Field(discriminator="type")]


def tagged(union: Any) -> dict[str, Any]:
    """Return the config classes of a union by the value of their `type`.

    Args:
        union: an annotated union of Spec classes.
    """
    return {model.model_fields["type"].default: model for model in get_args(get_args(union)[0])}


Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


def fill(data: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return `data` with what it leaves out taken from `defaults`; what it holds stays as it is.

    Args:
        data: a mapping of the config, before it is checked.
        defaults: what to fill in; nested mappings fill nested mappings.

    Example:
        >>> fill({"head": {"type": "two_fc"}}, {"head": {"nms_iou": 0.5}})
        {'head': {'type': 'two_fc', 'nms_iou': 0.5}}
    """
    filled = dict(data)
    for key, value in defaults.items():
        if isinstance(value, dict):
            # A missing mapping is filled in, too, but for the tagged ones: their type is the user's choice,
            # and a user's own part takes none of our keys.
            given = filled.get(key, {} if key == "anchors" else None)
            if isinstance(given, dict) and given.get("type") != "custom":
                filled[key] = fill(given, value)
        else:
            filled.setdefault(key, value)
    return filled
