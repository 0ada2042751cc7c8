"""SVMs in place of a finished Fast R-CNN's softmax."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from detkit.capabilities import Layer
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.staged_recipe import mining_of
from detkit.detectors.task import Task
from detkit.inference.model_file import read_model_file
from detkit.models.roi.box_heads import BoxHead
from detkit.models.roi.decision import SVMScores
from detkit.models.roi.decision_config import SVMConfig
from detkit.runtime.processes import barrier, rank
from detkit.runtime.progress import say
from detkit.storage.run_folder import MODEL
from detkit.structures import ImageBatch
from detkit.training.staged.decision import fill_svms, fit_svms
from detkit.training.staged.feature_store import RegionReader
from detkit.training.staged.stages import Stages, dataset_key, weights_key


class _LastVectors(nn.Module):
    """A Fast R-CNN as the stages see a detector: it has one layer, what its class is read from."""

    layer: Layer = "fc7"
    equal_features_count_once = False

    def __init__(self, detector: FastRCNN, svms: SVMScores) -> None:
        super().__init__()
        self.detector, self.svms = detector, svms
        width = cast(BoxHead, detector.roi_head.head).channels
        self.widths: dict[Layer, int] = {"pool5": width, "fc7": width}

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (R, D) vectors of an image's regions, twice."""
        vectors = self.detector.roi_head.vectors(self.detector.maps(image), [boxes])
        yield vectors, vectors


def fit_post_hoc_svms(task: Task, detector: FastRCNNConfig, config: SVMConfig) -> None:
    """Fit SVMs to the features of the model in the task's folder and put them into it.

    They see each region as a test does: no image is mirrored. The stage is done once, as those of R-CNN.

    Args:
        task: the data, the folder and where it runs.
        detector: the detector's config.
        config: the SVMs'.

    Raises:
        UserError: an image cannot be read, or a class has no negatives.

    Reference: Girshick, Fast R-CNN, ICCV 2015, section 5.4.
    """
    barrier()  # the first process may still be writing the weights
    model = cast(FastRCNN, task.initial_model(replaced=True))
    read_model_file(task.folder / MODEL).load_into(model)
    svms = model.roi_head.predictor.svms
    assert svms is not None
    svms.forget()  # those of an earlier run of this command are no part of the network
    last = _LastVectors(model.eval(), svms)
    reader = RegionReader.of(task.session, last, task.train_set, eval_transforms(task.data))
    inputs = {
        "data": dataset_key(task.train_set),
        "network": weights_key(model),
        "resize": task.data.resize.model_dump() if task.data.resize else None,
        "scales": detector.scales_px,
        "seed": task.seed,
        "precision": str(task.session.precision),
        "how": config.model_dump(),
    }

    def fit(part: Path) -> None:
        mining = mining_of(config, last)
        fit_svms(
            reader, reader, mining, task.data.classes, part, negative_iou=config.negative_iou, seed=task.seed
        )

    made = Stages(task.folder, ["svms"], say).run("svms", inputs, fit)
    fill_svms(svms, made.path, task.data.classes)
    if rank() == 0:
        task.save(model)
    barrier()
