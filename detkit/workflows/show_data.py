"""`detkit show-data`: draw what a detector will see in training."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from detkit.config.dump import dump_config
from detkit.config.load import as_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.detectors.families import family_of
from detkit.report.draw import write_image
from detkit.runs.session import task_of
from detkit.runtime.session import Session
from detkit.storage.content_keys import key_of
from detkit.storage.run_folder import results_folder

NUM_BATCHES = 4


def show_data(
    config: Config | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    num_batches: int = NUM_BATCHES,
) -> dict[str, Any]:
    """Draw the first batches of a training: augmented images, objects, and the boxes that would train.

    Args:
        config: of the training: a config; the content of a file as a mapping; or the path or the short name
            of a file.
        out: folder for the pictures, new or empty; None takes a new one in runs/.
        num_batches: how many batches to draw.

    Returns:
        The folder, the pictures, and for each batch its images and objects.

    Raises:
        UserError: the data cannot be read.
    """
    config = as_config(config)
    draw_training = family_of(config.detector).draw_training
    with results_folder(out, "show-data", key_of("show-data", dump_config(config), num_batches)) as folder:
        train_set, changed = open_training_set(config.data)
        train_set = attach_proposals(config.detector.external_proposals, train_set, "train")
        task = task_of(config, Session(torch.device("cpu")), train_set)
        drawn = []
        for number, step in enumerate(islice(draw_training(task), num_batches)):
            picture = folder / f"batch_{number:02d}.jpg"
            write_image(picture, step.picture)
            drawn.append({"picture": str(picture), "images": step.num_images, "objects": step.num_objects})
    return {"out": str(folder), "batches": drawn, "invalid_boxes": changed}
