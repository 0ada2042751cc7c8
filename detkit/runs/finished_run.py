"""Finished run: what the folder of a training or an evaluation says once it is over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detkit.annotations.coco_results import read_coco_results
from detkit.annotations.dataset import DetectionSet
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.source import Source
from detkit.errors import UserError
from detkit.storage.run_folder import CONFIG, DETECTIONS


@dataclass(frozen=True)
class FinishedRun:
    """A training or an evaluation, read back from its folder.

    Attributes:
        folder: where it is.
        config: what it was made with.
        source: the images that it was evaluated on.
        found: what it found in them.
    """

    folder: Path
    config: Config
    source: Source
    found: DetectionSet


def read_run(folder: Path) -> FinishedRun:
    """Read what `detkit train` or `detkit eval` left in a folder, and the images it was evaluated on.

    Args:
        folder: holds config.yaml and detections.json.

    Raises:
        UserError: a file is missing or damaged, or the dataset is not where the config says.
    """
    for name in (CONFIG, DETECTIONS):
        if not (folder / name).is_file():
            raise UserError(
                f"{folder}: has no {name}, so it is not the folder of a finished run; give one that "
                "detkit train (with data.val) or detkit eval wrote"
            )
    config = load_config(folder / CONFIG)
    source = open_validation_set(config.data)
    return FinishedRun(folder, config, source, read_coco_results(folder / DETECTIONS, source.annotations))
