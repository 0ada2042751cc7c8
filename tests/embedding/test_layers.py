"""Vectors of given regions, beside what the detectors decide on them, and beside slow means over maps."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from detkit.embedding.layers import LayerReader
from detkit.errors import UserError
from detkit.structures import ImageBatch
from tests.gpu.small_detectors import small

BOXES = (torch.tensor([[8.0, 8, 60, 72], [40, 40, 90, 70]]), torch.tensor([[4.0, 30, 30, 62]]))
OF_REGIONS = (
    "faster_rcnn_resnet18_synthetic",
    "faster_rcnn_zfnet_voc07",
    "cascade_rcnn_resnet18_synthetic",
    "fast_rcnn_alexnet_voc07_multiscale",
    "rcnn_alexnet_voc07",
    "sppnet_zfnet_voc07",
)
OF_IMAGES = ("classifier_resnet18_synthetic", "classifier_alexnet_imagenet", "localizer_resnet18_synthetic")


def images() -> ImageBatch:
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 96, 96, 3), generator=noise, dtype=torch.uint8).permute(0, 3, 1, 2)
    return ImageBatch(pixels, ((96, 96), (80, 88)), ((96, 96), (160, 176)))


def whole(batch: ImageBatch) -> list[Tensor]:
    return [torch.tensor([[0.0, 0, width, height]]) for height, width in batch.sizes]


@torch.no_grad()
def vectors(model: nn.Module, layer: str = "decision") -> Tensor:
    batch = images()
    is_whole = cast(Any, model).embeds_whole_images
    return LayerReader(model, layer)(batch, whole(batch) if is_whole else BOXES)


@pytest.mark.parametrize("name", [*OF_REGIONS, *OF_IMAGES])
@torch.no_grad()
def test_vectors_are_those_that_logits_are_made_of(name: str) -> None:
    model = cast(Any, small(name).eval())
    found, batch = vectors(model), images()
    boxes = whole(batch) if model.embeds_whole_images else BOXES
    logits = model.decide(batch, boxes).logits
    if name.startswith("cascade"):
        assert found.shape == (3, model.roi_heads[-1].head.channels)
        return
    if name in OF_REGIONS:
        decision = model.roi_head.predictor if hasattr(model, "roi_head") else model.decision
        made = decision.logits(found)
    else:
        made = (model.tail if hasattr(model, "tail") else model.trunk.tail).logits(found)
    torch.testing.assert_close(made.float(), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", OF_REGIONS)
@torch.no_grad()
def test_a_vector_does_not_depend_on_the_other_regions(name: str) -> None:
    model = small(name).eval()
    read = LayerReader(model)
    alone = torch.cat([read(images().part(0, 1), [box[None]]) for box in BOXES[0]])
    torch.testing.assert_close(alone, vectors(model)[:2], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_fc_layers_are_those_of_the_papers() -> None:
    model = cast(Any, small("faster_rcnn_zfnet_voc07").eval())
    head, maps = model.roi_head.head, model.feature_maps(images())
    pool5 = model.roi_head.features(maps, BOXES).flatten(1)
    fc6 = head.fc6(pool5).clamp(min=0)
    for layer, expected in (("pool5", pool5), ("fc6", fc6), ("fc7", head.fc7(fc6).clamp(min=0))):
        torch.testing.assert_close(vectors(model, layer), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_staged_detectors_have_their_own_layers() -> None:
    model = cast(Any, small("sppnet_zfnet_voc07").eval())
    ((pool5, own),) = model.read(images().part(0, 1), BOXES[0])
    read = LayerReader(model, "pool5")
    torch.testing.assert_close(read(images().part(0, 1), [BOXES[0]]), pool5)
    torch.testing.assert_close(LayerReader(model, model.layer)(images().part(0, 1), [BOXES[0]]), own)


@torch.no_grad()
def test_a_map_of_the_image_is_averaged_over_the_region() -> None:
    model = cast(Any, small("faster_rcnn_zfnet_voc07").eval())
    found = vectors(model, "backbone")
    features = model.backbone(model.prepare(images()))[-1]
    stride = cast(Any, model.backbone).strides[-1]
    boxes = torch.cat(
        [torch.cat([torch.tensor([[0.0]] * 2), BOXES[0]], 1), torch.tensor([[1.0, 4, 30, 30, 62]])]
    )
    expected = roi_align(features, boxes, 7, 1 / stride, 2, aligned=True).mean((2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_classifiers_map_is_averaged_whole() -> None:
    model = cast(Any, small("classifier_resnet18_synthetic").eval())
    features = model.backbone(model._centres(images()))[-1]
    torch.testing.assert_close(vectors(model, "backbone"), features.mean((2, 3)))


def test_no_region_has_no_vector() -> None:
    model = small("faster_rcnn_resnet18_synthetic").eval()
    batch = images()
    with torch.no_grad():
        found = LayerReader(model)(batch, [torch.zeros((0, 4))] * 2)
    assert len(found) == 0


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("dpm_cnn_resnet18_synthetic", "decision", "no vector of a given region"),
        ("overfeat_resnet18_synthetic", "decision", "no vector of a given region"),
        ("faster_rcnn_resnet18_synthetic", "layer9", "has no 'layer9'"),
        ("faster_rcnn_resnet50_c4_coco", "fc6", "has no 'fc6'"),
        ("faster_rcnn_resnet18_synthetic", "rpn", "is not used where regions are decided on"),
    ],
)
def test_what_is_no_layer_is_refused(name: str, layer: str, message: str) -> None:
    model = small(name).eval()
    with pytest.raises(UserError, match=message):
        LayerReader(model, layer)(images(), BOXES)
