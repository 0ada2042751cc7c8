"""model.safetensors: weights that say what they detect, how they were trained and how to build them again.

What a file says of itself is read without torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from safetensors import SafetensorError, safe_open

from detkit.annotations.image_files import IMAGE_EXTENSIONS
from detkit.errors import UserError
from detkit.inference.score_floor import Advice
from detkit.storage.regular_files import is_file, is_folder
from detkit.storage.run_folder import CHECKPOINT, MODEL
from detkit.version import VERSION

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "detkit"  # its presence in the metadata marks our files; its value is the version that wrote one
_TEXT_LIMIT = 600
_LARGEST_HEADER = 100_000_000  # bytes that the header of a safetensors file may have


@dataclass(frozen=True)
class ModelFile:
    """What a model file says about itself; the weights are read when they are asked for.

    Attributes:
        path: where it is.
        classes: K names that the labels of detections point to.
        category_ids: K ids of the classes in the dataset.
        config_yaml: the whole config of the training.
        licence: SPDX name of the weights' licence.
        version: of detkit, when it was written.
        thresholds: each class's own score thresholds; None where the model was not evaluated.
        measured: the metric's name and value on the validation images; None where it was not evaluated.
    """

    path: Path
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    config_yaml: str
    licence: str
    version: str
    thresholds: Advice | None
    measured: tuple[str, float] | None

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """Weights by name, on the CPU.

        Raises:
            UserError: the file cannot be read any more, or a weight is not a finite number.
        """
        import torch
        from safetensors.torch import load_file

        try:
            state: dict[str, Tensor] = load_file(self.path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{self.path}: cannot be read ({error})") from None
        for name, value in state.items():
            if value.is_complex() or not torch.isfinite(value.to(torch.float32)).all():
                raise UserError(
                    f"{self.path}: {name} has values that are not finite numbers (NaN, infinite): the file "
                    "is damaged, or the training that wrote it failed; take the weights of an earlier one"
                )
        return state

    def load_into(self, model: nn.Module) -> None:
        """Give a model these weights.

        Raises:
            UserError: the model has other parts than the one the file was written from.
        """
        try:
            model.load_state_dict(self.state)
        except RuntimeError as error:
            reason = str(error)[:_TEXT_LIMIT]
            raise UserError(
                f"{self.path}: the weights do not fit the model of its config: {reason}"
            ) from None


def model_path(weights: str | Path) -> Path:
    """Return the model file that is meant: the path itself, or the one in the folder of a run.

    Raises:
        UserError: the folder has none.
    """
    path = Path(weights)
    if not is_folder(path):
        return path
    if not is_file(path / MODEL):
        reason = "is it the folder of a run?"
        if is_file(path / CHECKPOINT):
            reason = f"only {CHECKPOINT}: its training goes on, or was stopped before a validation"
        raise UserError(f"{path}: no {MODEL} in this folder ({reason})")
    return path / MODEL


def read_model_file(weights: str | Path) -> ModelFile:
    """Read what a model file says about itself.

    Args:
        weights: the file, or the folder of a run that holds one.

    Raises:
        UserError: the file is missing, is no safetensors file, was not written by detkit or by a newer
            version, or what it says of itself is damaged.
    """
    file = model_path(weights)
    if not is_file(file):
        raise UserError(f"{file}: no such file; a training writes model.safetensors into its run folder")
    try:
        with safe_open(file, framework="np") as content:
            metadata: dict[str, str] = content.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file}: {_other_kind(file) or f'is damaged or cut short ({error})'}") from None
    if KEY not in metadata:
        raise UserError(
            f"{file}: weights without the classes and config that detkit writes into its own files; "
            "give the model.safetensors of a run"
        )
    _require_known_version(file, metadata[KEY])
    lacking = [key for key in ("classes", "category_ids", "config", "license") if key not in metadata]
    if lacking:
        raise UserError(f"{file}: its metadata lack {', '.join(lacking)}, as every model of detkit has them")
    classes = _decoded(file, metadata, "classes", _Names)
    if len(set(classes)) < len(classes):
        raise UserError(f"{file}: metadata classes: a name is there more than once")
    ids = _decoded(file, metadata, "category_ids", _Ids)
    advice = None  # where it was written during a training, or by one without validation images
    if "thresholds" in metadata:
        advice = _decoded(file, metadata, "thresholds", _Thresholds).advice()
    measured = None
    if "measured" in metadata:
        number = _decoded(file, metadata, "measured", _Measured)
        measured = number.metric, number.value
    for key, values in [("category_ids", ids), *(advice or {}).items()]:
        if len(values) != len(classes):
            raise UserError(f"{file}: metadata {key}: {len(values)} values for {len(classes)} classes")
    texts = metadata["config"], metadata["license"], metadata[KEY]
    return ModelFile(file, classes, ids, *texts, advice, measured)


def _other_kind(file: Path) -> str:
    """Return what a file is that is no safetensors file, and what is wanted; empty where it may be one."""
    wanted = f"wanted is the {MODEL} of a run"
    if file.suffix.lower() in IMAGE_EXTENSIONS:
        return f"is an image, and no model; {wanted}"
    try:
        with file.open("rb") as stream:
            head = stream.read(8)
    except OSError:
        return ""
    if head.startswith((b"PK\x03\x04", b"\x80")):  # as torch.save writes, now and formerly
        beside = file.with_name(MODEL)
        hint = f"; did you mean {beside}?" if is_file(beside) else ""
        return f"is a file of torch.save (a checkpoint, or weights), and no model of detkit; {wanted}{hint}"
    is_header = len(head) == 8 and int.from_bytes(head, "little") <= _LARGEST_HEADER
    return "" if is_header else f"is no model of detkit; {wanted}"


_T = TypeVar("_T")
_Names = Annotated[tuple[Annotated[str, msgspec.Meta(min_length=1)], ...], msgspec.Meta(min_length=1)]
_Ids = tuple[Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)], ...]


class _Measured(msgspec.Struct):
    metric: str
    value: float


class _Thresholds(msgspec.Struct):
    f1: tuple[float | None, ...]
    precision: tuple[float | None, ...]
    recall: tuple[float | None, ...]

    def advice(self) -> Advice:
        return {"f1": self.f1, "precision": self.precision, "recall": self.recall}


def _decoded(file: Path, metadata: Mapping[str, str], key: str, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(metadata[key], type=kind)
    except ValueError as error:  # msgspec's own are
        raise UserError(f"{file}: metadata {key}: {error}") from None


def _require_known_version(file: Path, version: str) -> None:
    """Refuse a file of a newer version, whose weights may mean something else; its minor number says so."""
    wrote = re.match(r"(\d{1,9})(?:[.](\d{1,9}))?", version)
    if wrote is None:
        raise UserError(f"{file}: metadata {KEY}: {version[:40]!r} is not a version of detkit")
    own = re.match(r"(\d+)[.](\d+)", VERSION)  # None in a checkout that is not installed
    if own is not None and tuple(int(n or 0) for n in wrote.groups()) > tuple(map(int, own.groups())):
        raise UserError(
            f"{file}: was written by detkit {version[:40]!r}, and this is detkit {VERSION}, which does not "
            "know what later ones write: update detkit"
        )
