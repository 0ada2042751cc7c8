"""Fast R-CNN's training: measured box targets, the loop, and SVMs in place of the softmax where asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from detkit.capabilities import Layer
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.fast_rcnn.box_targets import measure_box_targets
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.detectors.gradient_recipe import train_by_gradient
from detkit.detectors.staged_recipe import run_svm_stage, stage_inputs
from detkit.detectors.task import Progress, Task
from detkit.inference.model_file import read_model_file
from detkit.models.roi.box_heads import BoxHead
from detkit.models.roi.decision_config import SVMConfig
from detkit.runtime.processes import barrier, rank
from detkit.runtime.progress import say
from detkit.storage.run_folder import MODEL
from detkit.structures import ImageBatch
from detkit.training.staged.feature_store import RegionReader
from detkit.training.staged.stages import Stages, weights_key


def train_fast_rcnn(task: Task) -> Progress:
    """Train a Fast R-CNN end to end; see `train_by_gradient`.

    Reference: Girshick, Fast R-CNN, ICCV 2015, sections 2.3 and 5.4.
    """
    config = cast(FastRCNNConfig, task.detector)
    model = cast(FastRCNN, task.initial_model(replaced=task.resume))
    measure_box_targets(config.head, model, task, continues=task.from_weights is not None)
    progress = train_by_gradient(task, model)
    if config.svms is not None:
        _fit_post_hoc_svms(task, config, config.svms)
    return progress


class _LastVectors(nn.Module):
    """A Fast R-CNN as the stages see a detector: it has one layer, what its class is read from."""

    layer: Layer = "fc7"
    equal_features_count_once = False

    def __init__(self, detector: FastRCNN) -> None:
        super().__init__()
        self.detector = detector
        width = cast(BoxHead, detector.roi_head.head).channels
        self.widths: dict[Layer, int] = {"pool5": width, "fc7": width}

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (R, D) vectors of an image's regions, twice."""
        maps = self.detector.test_maps(image)
        vectors = self.detector.roi_head.vectors(maps, [boxes], image.pixel_px)
        yield vectors, vectors


def _fit_post_hoc_svms(task: Task, detector: FastRCNNConfig, config: SVMConfig) -> None:
    """Fit SVMs to the features of the model in the task's folder and put them into it.

    They see each region as a test does: no image is mirrored. The stage is done once, as those of R-CNN.
    """
    barrier()  # the first process may still be writing the weights
    model = cast(FastRCNN, task.initial_model(replaced=True))
    read_model_file(task.folder / MODEL).load_into(model)
    svms = model.roi_head.predictor.svms
    assert svms is not None
    svms.forget()  # those of an earlier run of this command are no part of the network
    last = _LastVectors(model.eval())
    reader = RegionReader.of(task.session, last, task.train_set, eval_transforms(task.data))
    inputs = {
        **stage_inputs(task),
        "network": weights_key(model),
        "scales": detector.scales_px,
        "how": config.model_dump(),
    }
    stages = Stages(task.folder, ["svms"], say)
    run_svm_stage(stages, inputs, task, config, svms, reader, reader)
    if rank() == 0:
        task.save(model)
    barrier()
