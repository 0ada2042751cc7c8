from __future__ import annotations

import numpy as np
import pytest
import torch

from detkit.config.load import load_config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import Sample
from detkit.data.transforms.geometric import as_image
from detkit.data.transforms.resize import keep_size
from detkit.inference.detect_set import as_detection_set, detect_dataset, detect_set
from detkit.inference.test_time_augmentation import Augmentation
from detkit.runtime.session import Session
from detkit.structures import Detections, ImageBatch, Target
from tests.inference.bright import BrightDetector, picture

CPU = torch.device("cpu")


def batch(*rows: tuple[int, int, int, int, int, int]) -> ImageBatch:
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    return collate([Sample(as_image(picture(40, 60, row)), nothing, (80, 120), 0) for row in rows], 0).images


def test_detections_are_flat_and_in_the_pixels_and_format_of_the_annotations() -> None:
    model = BrightDetector().train()
    batches = [
        (batch((0, 0, 10, 20, 2, 255)), (5,)),
        (batch((5, 5, 9, 9, 0, 204), (1, 1, 3, 3, 1, 10)), (2, 0)),
    ]
    counted: list[int] = []
    arrays, timing = detect_set(model, batches, device=CPU, precision=None, on_batch=counted.append)
    assert arrays["images"].tolist() == [5, 2]
    assert counted == [1, 2]
    assert timing.num_images == 3
    assert model.training
    found = as_detection_set(arrays, "voc")
    assert found.images.tolist() == [2, 5]
    assert found.labels.tolist() == [0, 2]
    np.testing.assert_allclose(found.scores, [0.8, 1.0], atol=1e-6)
    assert found.boxes.tolist() == [[11, 11, 18, 18], [1, 1, 20, 40]]
    assert as_detection_set(arrays, "coco").boxes.tolist() == [[10, 10, 8, 8], [0, 0, 20, 40]]


@pytest.mark.parametrize("box_format", ["voc", "coco"])
def test_no_images_are_no_detections(box_format: str) -> None:
    arrays, _ = detect_set(BrightDetector(), [], device=CPU, precision=None)
    found = as_detection_set(arrays, box_format)  # type: ignore[arg-type]
    assert found.boxes.shape == (0, 4)
    assert found.labels.dtype == np.int32


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_a_set_is_computed_in_the_given_precision(precision: torch.dtype | None) -> None:
    types = []

    class Multiplier(BrightDetector):
        def detect(self, images: ImageBatch) -> list[Detections]:
            types.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
            return super().detect(images)

    detect_set(Multiplier(), [(batch((0, 0, 9, 9, 1, 255)), (0,))] * 2, device=CPU, precision=precision)
    assert types == [precision or torch.float32] * 2


@pytest.mark.parametrize("flip", [False, True])
def test_a_set_is_looked_at_several_times_and_each_image_told_once(flip: bool) -> None:
    config = load_config("faster_rcnn_resnet18_synthetic", ["data.val.num_images=3"])
    images = open_validation_set(config.data)
    session, model = Session(CPU), BrightDetector()
    once, _ = detect_dataset(model, images, session, transforms=[keep_size], batch_size=2)
    looks = len(model.batches)
    several = Augmentation.of(keep_size, flip=flip, scales=(1.0,), iou=0.55, max_detections=100)
    found, timing = detect_dataset(
        model, images, session, transforms=[keep_size], batch_size=2, augmentation=several
    )
    assert len(model.batches) == looks * (3 if flip else 2)
    assert timing.num_images == 3
    assert found is not None
    assert once is not None
    assert found.images.tolist() == once.images.tolist()
    assert found.labels.tolist() == once.labels.tolist()
    np.testing.assert_allclose(found.boxes, once.boxes, atol=1e-3)
