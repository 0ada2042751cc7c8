"""The detectors of the shipped configs, a few times narrower, and batches for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from detkit.config.load import load_config
from detkit.data.regions.batch import Batch, cut_regions
from detkit.detectors.builder import build_detector
from detkit.models.roi.decision import StagedDecision
from detkit.structures import Detections, ImageBatch, Target, TrainBatch

# Every detector, and every operation that has a way of its own on a GPU: RoIPool, RoIAlign on one map and on
# a pyramid, spatial pyramids, crops, several sizes of an image, response normalisation, adaptive pooling.
NAMES = (
    "cascade_rcnn_resnet18_synthetic",
    "classifier_alexnet_imagenet",
    "classifier_googlenet_imagenet",
    "classifier_resnet18_synthetic",
    "dpm_cnn_resnet18_synthetic",
    "fast_rcnn_alexnet_voc07_multiscale",
    "fast_rcnn_vgg16_voc07",
    "faster_rcnn_resnet18_synthetic",
    "faster_rcnn_resnet50_c4_coco",
    "faster_rcnn_zfnet_voc07",
    "overfeat_resnet18_synthetic",
    "localizer_resnet18_synthetic_keypoints",
    "rcnn_alexnet_voc07",
    "sppnet_zfnet_voc07",
)
ROUNDED = 0.05
"""By how much a gradient may differ, as a share of the largest: the last bit of a map decides which of two
nearly equal cells of a pooling gets one, and a VGG's first layer is behind five poolings."""

SIDE = 96
K = 3


def small(name: str, *overrides: str) -> nn.Module:
    """Return the detector of a config, from scratch, on the CPU; it reports boxes of any score."""
    spec = load_config(name, list(overrides)).detector
    backbone = cast(Any, spec).backbone
    # PyTorch 2.14 crashes on a CPU in the gradient of a 1x1 convolution with stride 2 from 8 to 16 channels.
    width = 0.25 if backbone.type == "resnet" else 0.125
    backbone = backbone.model_copy(update={"width": width, "weights": "none"})
    model = build_detector(spec.model_copy(update={"backbone": backbone}), K, 0, pretrained=False)
    for part in (model, getattr(model, "roi_head", None)):
        for choice in ("selection", "merging"):
            if hasattr(part, choice):
                setattr(part, choice, replace(getattr(part, choice), score_threshold=0.0))
    return model


def fit_planes(model: nn.Module) -> None:
    """Give SVMs and ridge regression planes, as their stages do, from float64 arrays of the CPU."""
    decision = getattr(model, "decision", None)
    if not isinstance(decision, StagedDecision):
        return
    random = torch.Generator().manual_seed(4)

    def planes(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    if decision.svms is not None:
        width = decision.svms.cls_score.in_features
        decision.svms.fill(planes(K, width), planes(K), [True] * K, 0.1)
    if decision.box_deltas is not None:
        width = decision.box_deltas.bbox_pred.in_features
        decision.box_deltas.fill(planes(K, 4, width), planes(K, 4) / 10, 1e-3)


def images(num: int = 2) -> TrainBatch:
    """Return a batch of noise with objects, a difficult one among them, and proposals."""
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (num, SIDE, SIDE, 3), generator=noise, dtype=torch.uint8).permute(
        0, 3, 1, 2
    )
    boxes = torch.tensor([[8.0, 8, 60, 72], [40, 40, 90, 90], [4, 60, 30, 92]])
    target = replace(Target.of(boxes, torch.tensor([0, 1, 2])), difficult=torch.tensor([False, False, True]))
    begin = torch.rand((40, 2), generator=noise) * 60
    proposals = torch.cat((begin, begin + 10 + torch.rand((40, 2), generator=noise) * 25), dim=1)
    sizes = ((SIDE, SIDE), (SIDE - 16, SIDE - 8)) * num
    given = tuple(torch.cat((boxes, proposals)).clamp(max=SIDE - 16) for _ in range(num))
    batch = ImageBatch(pixels, sizes[:num], sizes[:num], given)
    return TrainBatch(batch, tuple(replace(target, image=number) for number in range(num)), seed=1)


def training_batch(name: str) -> Batch:
    """Return a batch as the detector of a config learns from."""
    batch = images()
    if name.startswith("rcnn"):
        size = cast(Any, load_config(name).detector).regions.size
        labels = [torch.arange(len(own)) % (K + 1) for own in batch.images.proposals or ()]
        cut = cut_regions(batch.images, labels, size=size)
        return cut.part(0, 16)
    if name.startswith("classifier"):
        targets = tuple(Target.of(own.boxes[:1], own.labels[:1], own.image) for own in batch.targets)
        return replace(batch, targets=targets)
    return batch


def losses_and_gradients(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Return the losses, and the gradient of each parameter, on the CPU."""
    losses = model(batch)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {name: value.detach().to("cpu") for name, value in [*losses.items(), *gradients.items()]}


def share_found_again(found: list[Detections], others: list[Detections]) -> float:
    """Return the share of detections that the others have as well: the class, 0.05 px and 0.001 of score."""
    again, count = 0, 0
    for own, other in zip(found, others, strict=True):
        near = (own.boxes[:, None] - other.boxes).abs().amax(2) < 0.05
        alike = (own.scores[:, None] - other.scores).abs() < 1e-3
        same = near & alike & (own.labels[:, None] == other.labels)
        again, count = again + int(same.any(1).sum()), count + len(own)
    return again / max(count, 1)
