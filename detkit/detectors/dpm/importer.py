"""Models of voc-release5, a file a class -> one detector of all their classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from detkit.detectors.dpm.cascade import Statistics, read_statistics
from detkit.detectors.dpm.model import DPM
from detkit.detectors.dpm.release5 import Release5, read_release5
from detkit.detectors.importers import Foreign, Wanted
from detkit.errors import UserError, shown

_UNUSED = ("stats", "note")


def import_release5(files: Sequence[Path], wanted: Wanted) -> Foreign:
    """Return the detector of all classes whose models are in the files, one in each.

    Raises:
        UserError: a file is damaged or holds another kind of model, or their models are too different.
    """
    read = [read_release5(file) for file in files]
    names = [one.name for one in read]
    if wanted.classes and len(wanted.classes) != len(names):
        raise UserError(f"--class: {len(names)} files have as many classes, got {len(wanted.classes)} names")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"{files[0]}: more than one file is for class {shown(twice[0])}")
    for file, one in zip(files, read, strict=True):
        for what, value in _kind(one).items():
            if value != (first := _kind(read[0])[what]):
                raise UserError(
                    f"{file}: {what} is {value}, and {first} in {files[0]}; import models that differ in it "
                    "one by one"
                )
    changes = _changes(read)
    statistics = [] if wanted.cascade is None else _add_stages(read, wanted.cascade, wanted.cascade_threshold)
    channels = None
    if statistics:
        channels = statistics[0].projection.shape[1]
        changes["cascade"] = {"channels": channels, "threshold": wanted.cascade_threshold}
    model = DPM([one.mixture for one in read], pyramid=read[0].pyramid, channels=channels)
    if model.projection is not None:
        model.projection.copy_(torch.from_numpy(statistics[0].projection))
    return Foreign(
        config="dpm_voc07",
        # JSON is YAML, too.
        overrides=tuple(f"detector.{key}={json.dumps(value)}" for key, value in changes.items()),
        classes=tuple(wanted.classes or names),
        state=model.state_dict(),
        unused=_UNUSED,
        licence="MIT",  # the authors' is MIT's, with a request in the place of its last words
    )


def _kind(one: Release5) -> dict[str, Any]:
    """Return what all models of a detector have in common, by what it is called."""
    star = one.stars[0]
    return {
        "sbin": one.pyramid.cell_px,
        "interval": one.pyramid.interval,
        "extra_octave": one.pyramid.extra_octave,
        "number of parts": len(star.parts),
        "size of parts": tuple(star.parts.shape[1:3]),
        "mirroring": star.is_mirrored,
        "box prediction": star.box is not None,
    }


def _changes(read: Sequence[Release5]) -> dict[str, Any]:
    """Return what the config of the detector has by key."""
    kind = _kind(read[0])
    return {
        "cell_px": kind["sbin"],
        "interval": kind["interval"],
        "extra_octave": kind["extra_octave"],
        "roots": [[list(star.root.shape[:2]) for star in one.stars] for one in read],
        "mirrored": kind["mirroring"],
        "parts": kind["number of parts"],
        "part_size": list(kind["size of parts"]),
        "box_prediction": kind["box prediction"],
    }


def _add_stages(read: Sequence[Release5], folder: Path, threshold: float) -> list[Statistics]:
    """Give each star the stages of the cascade, and return what they were made from."""
    statistics = [read_statistics(folder, one.name, one.year, one.num_blocks) for one in read]
    for one, own in zip(read, statistics, strict=True):
        if own.projection.shape != statistics[0].projection.shape:
            raise UserError(f"{folder}: statistics of {shown(one.name)} have another number of channels")
        one.mixture.threshold.fill_(threshold)
        step = 1 + one.stars[0].is_mirrored
        for star, labels in zip(one.stars, one.labels[::step], strict=True):
            stages = own.stages(labels, threshold)
            star.register_buffer("order", torch.from_numpy(stages.order))
            star.register_buffer("limits", torch.from_numpy(stages.limits))
    return statistics
