"""Pretrained weights: where they come from, and what of them a model took."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from detkit.errors import UserError
from detkit.models.norm import BATCH_NORMS, IDENTITY
from detkit.names import counted
from detkit.structures import IMAGENET_MEAN

SHOWN = 8  # names of a kind in a printed report
COUNTER = "num_batches_tracked"
WEIGHTS_KEY = "detector.backbone.weights"
# What the names of our own models begin with where published files have nothing.
OWN_PARTS = ("backbone.", "tail.")
FILE_TYPES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class LoadReport:
    """What became of the entries of a weights file, by their names in the file.

    Attributes:
        source: the file or the name of the weights.
        loaded: entries that the model took.
        missing: entries that the model has and the file lacks; they start at random.
        reset: norms put back to the identity because the file lacks the convolution they belong to.
        unused: entries of the file that the model has no place for.
        reshaped: entries whose shape differs, as (name, shape in the file, shape in the model); they start
            at random, too.
    """

    source: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    reset: tuple[str, ...]
    unused: tuple[str, ...]
    reshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    def __str__(self) -> str:
        lines = [f"weights {self.source}: {counted(len(self.loaded), 'tensor')} loaded"]
        unused = tuple(dict.fromkeys(name.partition(".")[0] for name in self.unused))
        for title, names in (
            ("not in the file, start at random", self.missing),
            ("norms reset, their convolution is not in the file", self.reset),
            ("also in the file, for layers that this detector does not have", unused),
        ):
            if names:
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                lines.append(f"  {title}: {', '.join(names[:SHOWN])}{more}")
        for name, found, wanted in self.reshaped:
            lines.append(f"  {name}: the file has shape {found}, the model {wanted}; starts at random")
        return "\n".join(lines)


def read_weights(weights: str, *, model: str, width: float) -> dict[str, Tensor]:
    """Read a state dict by torchvision's name of the weights or from a file.

    A model file of detkit gives its backbone, and a classifier's the rest of the network, too, under the
    names of published files.

    Args:
        weights: a member of torchvision's weights enum (IMAGENET1K_V1), downloaded when first used, or the
            path of a .pth, .pt or .safetensors file.
        model: torchvision's name of the network, such as resnet50.
        width: multiplier of the network's channels; published weights fit 1 only.

    Raises:
        UserError: If there is no such file or name, if the file is not a state dict, if the download
            failed, or if published weights are asked for at another width.
    """
    path = Path(weights).expanduser()
    if path.suffix in FILE_TYPES or path.is_file():
        return _published_names(read_state(path, WEIGHTS_KEY.removeprefix("detector.") + ": "))
    if width != 1:
        raise UserError(
            f"backbone.weights: {weights} was trained at width 1, not {width}; use width: 1 or weights: none"
        )
    return _download(weights, model)


def load_weights(parts: Mapping[str, nn.Module], state: Mapping[str, Tensor], source: str) -> LoadReport:
    """Copy a state dict into modules and tell what was copied.

    Values are cast to the modules' own type (files may hold float16). A norm whose convolution is not in
    the file is put back to the identity: its statistics and shift describe outputs that are gone, and
    frozen ones would shift random features for ever.

    Args:
        parts: modules, each under what its keys begin with in the file ("" for no prefix).
        state: the file's tensors.
        source: what to call the file.

    Raises:
        UserError: If nothing in the file fits.
    """
    loaded, missing, reshaped = [], [], []
    for prefix, module in parts.items():
        for key, value in module.state_dict().items():
            name = prefix + key
            if name not in state:
                missing += [] if name.endswith(COUNTER) else [name]
            elif state[name].shape != value.shape:
                reshaped.append((name, tuple(state[name].shape), tuple(value.shape)))
            else:
                value.copy_(state[name])
                loaded.append(name)
    if not loaded:
        wanted = next((prefix + key for prefix, part in parts.items() for key in part.state_dict()), "")
        found = ", ".join(list(state)[:3])
        raise UserError(
            f"backbone.weights: nothing in {source} fits the model, which wants names such as {wanted}; "
            f"the file holds {found}"
        )
    at_random = {*missing, *(name for name, _, _ in reshaped)}
    reset = [name for prefix, part in parts.items() for name in _reset_orphans(part, prefix, at_random)]
    taken = {*loaded, *at_random}
    kept = tuple(name for name in loaded if name.rpartition(".")[0] not in reset)
    unused = tuple(name for name in state if name not in taken and not name.endswith(COUNTER))
    return LoadReport(source, kept, tuple(missing), tuple(reset), unused, tuple(reshaped))


def _reset_orphans(part: nn.Module, prefix: str, at_random: Iterable[str]) -> list[str]:
    """Put every norm back to the identity whose convolution, the one before it, starts at random."""
    reset, orphaned = [], False
    for key, module in part.named_modules():
        if isinstance(module, nn.Conv2d):
            orphaned = f"{prefix}{key}.weight" in at_random
        elif isinstance(module, BATCH_NORMS) and orphaned:
            for buffer, value in IDENTITY.items():
                getattr(module, buffer).data.fill_(value)
            reset.append(prefix + key)
    return reset


def read_state(path: Path, key: str = "") -> dict[str, Tensor]:
    """Read the tensors of a file by name; of a checkpoint, those of its `model` or `state_dict`.

    Nothing that a pickle would run is run.

    Args:
        path: a .safetensors file, or what torch.save wrote.
        key: what errors begin with.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    state = read_content(path, key)
    for wrapping in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapping), dict):
            state = state[wrapping]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{key}{path} holds a {type(state).__name__}, not tensors by name")
    return state


def read_content(path: Path, key: str = "", stand_ins: Sequence[str] = ()) -> Any:
    """Read all that a file of weights holds, without running anything.

    Args:
        path: a .safetensors file, or what torch.save wrote.
        key: what errors begin with.
        stand_ins: packages, or functions such as "builtins.getattr", whose objects in it, of which nothing is
            wanted, become empty ones; no module of theirs is imported, and no such function called. Any other
            object makes the file be refused.

    Raises:
        UserError: there is no such file, or it holds something else.
    """
    if not path.is_file():
        raise UserError(f"{key}there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        known: list[Any] = []
        if stand_ins and is_zipfile(path):
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
            known = [(Nothing, name) for name in named if {name, name.partition(".")[0]} & {*stand_ins}]
        with torch.serialization.safe_globals(known):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes the reader stumble over
        raise UserError(
            f"{key}{path} is damaged or holds something else than tensors by name; wanted is "
            "what torch.save(model.state_dict(), FILE) writes, or a .safetensors file"
        ) from error


class Nothing:
    """What stands for an object of a program that is not asked to make it."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None:
        """Take what it held, and forget it."""


def _published_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if not any(name.startswith(OWN_PARTS[0]) for name in state):
        return state
    for part in OWN_PARTS:
        state = {name.removeprefix(part): value for name, value in state.items()}
    return state


def _download(name: str, model: str) -> dict[str, Tensor]:
    import torchvision.models  # late, as in `detkit.ops.nms`

    if model not in torchvision.models.list_models():
        raise UserError(
            f"backbone.weights: torchvision has no weights of {model}; use none or a file "
            f"({', '.join(FILE_TYPES)}), not {name!r}"
        )
    known = torchvision.models.get_model_weights(model)
    # Some were trained on other pixel values (VGG16's IMAGENET1K_FEATURES); detectors normalise one way.
    fitting = [entry.name for entry in known if tuple(entry.transforms().mean) == IMAGENET_MEAN]
    if name not in fitting:
        raise UserError(
            f"backbone.weights: {model} has none, {', '.join(fitting)} or a file "
            f"({', '.join(FILE_TYPES)}), not {name!r}"
        )
    otherwise = f", or name any file with such weights: {WEIGHTS_KEY}=FILE (--weights FILE)"
    _, state = downloaded(known[name], "backbone.weights: ", otherwise)
    return state


def downloaded(entry: Any, begins: str, otherwise: str = "") -> tuple[Path, dict[str, Tensor]]:
    """Return the file of published weights, downloaded by torchvision if it is not there, and its tensors.

    Args:
        entry: a member of one of torchvision's enums of weights.
        begins: what an error begins with.
        otherwise: what an error says last: how to do without the download.

    Raises:
        UserError: it cannot be downloaded, or is damaged.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    try:
        state: dict[str, Tensor] = entry.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        # torch's advice on a file that it cannot read, to read it in the way that runs code, is not repeated.
        damaged = isinstance(error, pickle.UnpicklingError | EOFError)
        reason = f"the file there is damaged: delete {file}" if damaged else _first_line(error)
        raise UserError(
            f"{begins}{file.name} could not be downloaded from {entry.url} "
            f"({reason}); without network, place that file at {file}{otherwise}"
        ) from error
    return file, state


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
