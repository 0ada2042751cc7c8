"""Training in stages: each makes one file or folder out of named inputs, and is done once."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from detkit.data.datasets.source import FilePixels, Source
from detkit.runtime.cores import num_cores
from detkit.runtime.processes import barrier, from_main, rank
from detkit.storage.atomic import flush
from detkit.storage.content_keys import digests_of_files, digests_of_pixels, key_of

FOLDER = "stages"
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Artefact:
    """What a stage left.

    Attributes:
        path: the file or folder.
        key: tells apart what the stage makes of other inputs; give the artefact itself as an input of the
            stages that read it.
    """

    path: Path
    key: str


class Stages:
    """The stages of one training, in their order, in the folder `stages` of its run.

    What a stage makes lies under its name and a key of its inputs. Where it is there already, the stage is
    skipped; where an input differs, it is made anew and what it replaces is removed. A stage writes beside
    that place and is renamed when it is whole, so what lies there is always whole. A stage that was stopped
    finds again what it had written: it begins anew or goes on, as it likes.

    Args:
        folder: the run's folder.
        names: of all stages, in order.
        tell: hears, in process 0, which stage begins, is done or is skipped.
    """

    def __init__(self, folder: Path, names: Sequence[str], tell: Callable[[str], None]) -> None:
        self.folder, self.names, self.tell = folder / FOLDER, tuple(names), tell

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], object],
        suffix: str = "",
    ) -> Artefact:
        """Return what a stage makes of its inputs, making it where it is not there.

        Every process has to call it, and none returns before the artefact is in its place.

        Args:
            name: one of the stages' names.
            inputs: all that the artefact depends on: texts, numbers, lists, dicts, and artefacts of stages
                before it.
            make: writes the artefact, a file or a folder, at the path it is given, which is the same in all
                processes; what an earlier attempt left there is still there.
            suffix: what the artefact's name ends in, such as .safetensors.

        Raises:
            KeyboardInterrupt: after Ctrl-C; it says how to go on.
        """
        key = key_of(name, {label: _plain(value) for label, value in inputs.items()})
        path = self.folder / f"{name}-{key}{suffix}"
        part = path.with_name(f".{path.name}.part")
        title = f"stage {self.names.index(name) + 1} of {len(self.names)}, {name}"
        if from_main(path.exists):
            self._say(f"{title}: done before")
            return Artefact(path, key)
        self._say(title)
        start = time.perf_counter()
        from_main(lambda: self._make_room(name, part))
        try:
            make(part)
            barrier()
            from_main(lambda: _finish(part, path))
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt(
                f"stopped in stage {name}; the same command with --resume --out {self.folder.parent} goes on"
            ) from interrupt
        self._say(f"{title}: done in {time.perf_counter() - start:.1f} s")
        return Artefact(path, key)

    def _say(self, text: str) -> None:
        if rank() == 0:
            self.tell(text)

    def _make_room(self, name: str, part: Path) -> None:
        """Remove what the stage made of other inputs: it can be large, and nothing reads it any more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in [*self.folder.glob(f"{name}-*"), *self.folder.glob(f".{name}-*.part")]:
            if old == part:
                continue
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()


def _plain(value: Any) -> Any:
    return value.key if isinstance(value, Artefact) else value


def _finish(part: Path, path: Path) -> None:
    """Put an artefact on the disk and in its place."""
    for file in [part, *part.rglob("*")] if part.is_dir() else [part]:
        flush(file)
    part.replace(path)
    flush(path.parent)


def dataset_key(source: Source) -> str:
    """Return a text that differs where a dataset's images, labels or proposals do.

    Raises:
        UserError: an image cannot be read.
    """
    return from_main(lambda: _dataset_key(source))


def weights_key(model: nn.Module) -> str:
    """Return a text that differs where a model's parameters or buffers do."""
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name, value in model.state_dict().items():
        plain = value.detach().cpu().contiguous().view(-1)
        hasher.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        hasher.update(plain.view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def _dataset_key(source: Source) -> str:
    truth, pixels = source.annotations, source.pixels
    images = range(truth.num_images)
    hasher = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for array in (truth.boxes, truth.labels, truth.difficult, truth.crowd, truth.offsets):
        hasher.update(np.ascontiguousarray(array).data)
    if source.proposals is not None:
        for image in images:
            hasher.update(np.ascontiguousarray(source.proposals(image)).data)
    if isinstance(pixels, FilePixels):
        content = digests_of_files([pixels.paths[image] for image in images], num_cores())
    else:
        content = digests_of_pixels(pixels, images, num_cores())
    return key_of(hasher.hexdigest(), list(truth.classes), truth.box_format, content)
