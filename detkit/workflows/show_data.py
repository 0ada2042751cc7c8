"""`detkit show-data`: draw what a detector will see in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.data.datasets.index import Index
from detkit.data.datasets.source import Source
from detkit.detectors.builder import build_detector
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.rcnn.show_regions import draw_regions
from detkit.detectors.sppnet.model import SPPNet
from detkit.detectors.where_to_look import told_where_to_look
from detkit.report.draw import draw_targets, tile_images
from detkit.report.picture_file import write_picture
from detkit.runs.session import training_loader
from detkit.storage.run_folder import new_folder
from detkit.structures import TrainBatch
from detkit.training.loop.config import GradientConfig

NUM_BATCHES = 4
COLUMNS = 4
BATCH_SIZE = 4  # where a training has none, because it has several stages


def show_data(config: Config, out: Path | None = None, *, num_batches: int = NUM_BATCHES) -> dict[str, Any]:
    """Draw the first batches of a training: augmented images, objects, and the boxes that would train.

    Args:
        config: the config of the training.
        out: folder for the pictures, new or empty; None takes a new one in runs/.
        num_batches: how many batches to draw.

    Returns:
        The folder, the pictures, and for each batch its images and objects.

    Raises:
        UserError: the data cannot be read.
    """
    learned, changed = open_training_set(config.data)
    learned = told_where_to_look(config.detector, learned, "train")
    folder = new_folder(out, "show-data")
    if isinstance(config.detector, RCNNConfig):
        return _show_regions(config, config.detector, learned, folder, num_batches) | {
            "invalid_boxes": changed
        }
    index = Index.of(learned.annotations)
    size = config.train.batch_size if isinstance(config.train, GradientConfig) else BATCH_SIZE
    loader = training_loader(config, learned, index, batch_size=size, workers=0, pin_memory=False)
    model = build_detector(config.detector, len(config.data.classes), config.seed, pretrained=False)
    drawn = []
    for number, batch in zip(range(num_batches), loader.epoch(0), strict=False):
        picture = folder / f"batch_{number:02d}.jpg"
        write_picture(picture, _draw(batch, model, config.data.classes, index))
        drawn.append({"picture": str(picture), "images": len(batch), "objects": sum(map(len, batch.targets))})
    return {"out": str(folder), "batches": drawn, "invalid_boxes": changed}


def _show_regions(
    config: Config, detector: RCNNConfig, learned: Source, folder: Path, num_batches: int
) -> dict[str, Any]:
    drawn = []
    for number, step in zip(range(num_batches), draw_regions(config, detector, learned), strict=False):
        picture = folder / f"batch_{number:02d}.jpg"
        write_picture(picture, step.picture)
        drawn.append({"picture": str(picture), "images": step.num_images, "objects": step.num_objects})
    return {"out": str(folder), "batches": drawn}


def _draw(batch: TrainBatch, model: nn.Module, classes: tuple[str, ...], index: Index) -> NDArray[np.uint8]:
    # A detector of another kind has no anchors to show.
    trained = model.training_boxes(batch) if isinstance(model, FastRCNN | FasterRCNN | SPPNet) else None
    pictures, names = [], []
    for number, (target, (height, width)) in enumerate(zip(batch.targets, batch.images.sizes, strict=True)):
        pixels = batch.images.pixels[number, :, :height, :width].permute(1, 2, 0).contiguous().numpy()
        boxes, labels = target.boxes.numpy(), target.labels.numpy()
        anchors, regions = (part.numpy() for part in trained[number]) if trained else (None, None)
        pictures.append(draw_targets(pixels, boxes, labels, classes, anchors=anchors, regions=regions))
        names.append(f"{Path(index.path(target.image)).name}  {width}x{height}")
    return tile_images(pictures, min(COLUMNS, len(pictures)), captions=names)
