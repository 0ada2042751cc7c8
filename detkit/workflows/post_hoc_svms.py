"""SVMs in place of a finished Fast R-CNN's softmax."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn

from detkit.build.model import load_detector
from detkit.config.fast_rcnn import FastRCNN as Spec
from detkit.detectors.fast_rcnn import FastRCNN
from detkit.models.box_heads import BoxHead
from detkit.models.region_layers import Layer
from detkit.models.svm_decision import RidgeDeltas, SVMScores
from detkit.structures import ImageBatch
from detkit.training.distributed import barrier, rank
from detkit.training.stages import Stages
from detkit.workflows.fingerprint import dataset_key, weights_key
from detkit.workflows.learn_decision import fill_svms, learn_svms
from detkit.workflows.region_reader import RegionReader
from detkit.workflows.region_vectors import StreamedVectors
from detkit.workflows.run_folder import MODEL, say
from detkit.workflows.task import Task


class _LastVectors(nn.Module):
    """A Fast R-CNN as the stages see a detector: it has one layer, what its class is read from."""

    box_deltas: RidgeDeltas | None = None
    layer: Layer = "fc7"
    alike_count_once = False

    def __init__(self, detector: FastRCNN, svms: SVMScores) -> None:
        super().__init__()
        self.detector, self.svms = detector, svms
        width = cast(BoxHead, detector.roi_head.head).channels
        self.widths: dict[Layer, int] = {"pool5": width, "fc7": width}

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the (R, D) vectors of an image's regions, twice."""
        vectors = self.detector.roi_head.vectors(self.detector.maps(image), [boxes])
        yield vectors, vectors


def learn_post_hoc_svms(task: Task) -> None:
    """Learn SVMs on the features of the model in the task's folder and put them into it, if it has some.

    They see each region as a test does: no image is mirrored. The stage is done once, as those of R-CNN.

    Args:
        task: the data, the folder and where it runs.

    Raises:
        UserError: an image cannot be read, or a class has no negatives.

    Reference: Girshick, Fast R-CNN, ICCV 2015, section 5.4.
    """
    detector, config = task.config.detector, task.config
    if not isinstance(detector, Spec) or detector.svms is None:
        return
    spec = detector.svms
    barrier()  # the first process may still be writing the weights
    model = load_detector(task.folder / MODEL, task.run.device).model
    assert isinstance(model, FastRCNN)
    svms = model.roi_head.svms
    assert svms is not None
    svms.forget()  # those of an earlier run of this command are no part of the network
    reader = RegionReader.of(task.run, _LastVectors(model, svms).eval(), task.learned)
    inputs = {
        "data": dataset_key(task.learned),
        "network": weights_key(model),
        "resize": config.data.resize.model_dump() if config.data.resize else None,
        "scales": detector.scales_px,
        "seed": config.seed,
        "precision": str(task.run.precision),
        "how": spec.model_dump(),
    }
    made = Stages(task.folder, ["svms"], say).run(
        "svms",
        inputs,
        lambda part: learn_svms(reader, StreamedVectors(reader), spec, config.data.classes, part),
        together=True,
    )
    fill_svms(svms, made.path, config.data.classes)
    if rank() == 0:
        task.save(model)
    barrier()
