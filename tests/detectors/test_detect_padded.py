"""What a detector finds by tensors of constant shape is what it finds, image by image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from detkit.capabilities import DetectsPadded
from detkit.detectors.fast_rcnn.model import FastRCNN
from detkit.errors import UserError
from detkit.structures import Detections, ImageBatch, PaddedBatch
from tests.gpu.small_detectors import K, fit_planes, images, small

NAMES = (
    ("faster_rcnn_resnet18_synthetic", ()),
    ("faster_rcnn_resnet18_synthetic", ("detector.multiple_of=32", "detector.proposals.anchors.over=batch")),
    ("faster_rcnn_resnet50_c4_coco", ()),
    ("faster_rcnn_zfnet_voc07", ()),
    ("cascade_rcnn_resnet18_synthetic", ()),
    ("fast_rcnn_vgg16_voc07", ()),
    ("rcnn_alexnet_voc07", ()),
    ("classifier_resnet18_synthetic", ()),
    ("classifier_resnet18_synthetic", ("detector.views.crops=ten",)),
    ("classifier_alexnet_imagenet", ("detector.views.crops=center",)),
    ("localizer_resnet18_synthetic_keypoints", ()),
)


def two_images() -> ImageBatch:
    """Two images of different sizes, of files twice and three times as large, with 43 and 30 proposals."""
    batch = images().images
    assert batch.proposals is not None
    originals = tuple((2 * height, 3 * width) for height, width in batch.sizes)
    pixels = batch.pixels.clone()
    pixels[1, :, 80:] = 0
    pixels[1, :, :, 88:] = 0
    return replace(
        batch, pixels=pixels, originals=originals, proposals=(batch.proposals[0], batch.proposals[1][:30])
    )


def padded(model: nn.Module, images: ImageBatch) -> list[Detections]:
    assert isinstance(model, DetectsPadded)
    assert images.proposals is not None
    counts = torch.tensor([len(own) for own in images.proposals])
    given = nn.utils.rnn.pad_sequence(list(images.proposals), batch_first=True, padding_value=50.0)
    batch = PaddedBatch(
        images.pixels, torch.tensor(images.sizes), torch.tensor(images.originals), given, counts
    )
    with torch.no_grad():
        found = model.detect_padded(batch)
    assert found.boxes.shape[:2] == found.scores.shape == found.labels.shape
    beyond = torch.arange(found.scores.shape[1]) >= found.counts[:, None]
    assert not found.scores[beyond].any()
    assert not found.boxes[beyond].any()
    return [
        Detections(
            found.boxes[row, :number],
            found.scores[row, :number],
            found.labels[row, :number],
            keypoints=None if found.keypoints is None else found.keypoints[row, :number],
        )
        for row, number in enumerate(found.counts.tolist())
    ]


@pytest.mark.parametrize(("name", "overrides"), NAMES)
def test_the_same_is_found(name: str, overrides: tuple[str, ...]) -> None:
    model = small(name, *overrides).eval()
    fit_planes(model)
    batch = two_images()
    with torch.no_grad():
        wanted = model.detect(batch)  # type: ignore[operator]
    found = padded(model, batch)
    assert sum(map(len, wanted)) > K
    for own, other in zip(found, wanted, strict=True):
        assert len(own) == len(other)
        torch.testing.assert_close(own.scores, other.scores, atol=1e-5, rtol=0)
        assert (own.labels != other.labels).float().mean() < 0.05, "scores that differ in the last bit"
        same = (own.boxes - other.boxes).abs().amax(1) < 0.02
        assert same.float().mean() > 0.95
        if other.keypoints is not None and own.keypoints is not None:
            torch.testing.assert_close(own.keypoints, other.keypoints, atol=0.05, rtol=0)


def test_one_image_finds_what_it_finds_beside_another() -> None:
    model = small("faster_rcnn_resnet18_synthetic").eval()
    batch = two_images()
    alone = padded(model, batch.part(0, 1))[0]
    torch.testing.assert_close(alone.boxes, padded(model, batch)[0].boxes, atol=0.02, rtol=0)


def test_several_sizes_of_an_image_are_refused_by_name() -> None:
    model = small("fast_rcnn_alexnet_voc07_multiscale").eval()
    assert isinstance(model, FastRCNN)
    with pytest.raises(UserError, match=r"detector\.scales_px"):
        padded(model, two_images())
    classifier = small("classifier_resnet18_synthetic", "detector.views.scales=[1.0, 0.8]").eval()
    with pytest.raises(UserError, match=r"detector\.views\.scales"):
        padded(classifier, two_images())


@pytest.mark.parametrize("name", ["overfeat_resnet18_synthetic", "dpm_cnn_resnet18_synthetic"])
def test_who_cannot_does_not_claim_it(name: str) -> None:
    assert not isinstance(small(name), DetectsPadded)
