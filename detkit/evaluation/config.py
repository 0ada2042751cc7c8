"""The `evaluate` part of a config."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.spec import Count, Fraction, Positive, Spec

Metric = Literal["voc07", "voc10", "coco", "ilsvrc", "miss_rate", "top1", "top1_loc", "oks"]


class AugmentConfig(Spec):
    """Test-time augmentation: what is seen of an image, and how what is found there becomes one."""

    flip: bool = True
    """Look at the mirror image, too, at each size."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.8, 1.0, 1.25)
    """Sizes of the image, as shares of the one that `data.resize` gives."""
    iou: Fraction = 0.55
    """Boxes of a class that overlap more are averaged, weighted by their scores (Solovyev 2021)."""


class EvaluateConfig(Spec):
    """Evaluation of detections."""

    metric: Metric = "voc07"
    """`voc07`: 11-point AP at IoU 0.5; `voc10`: area under the curve at IoU 0.5; `coco`: AP over IoU
    0.50:0.95; `ilsvrc`: area under the curve at IoU 0.5, at less of small objects; `miss_rate`: log-average
    miss rate over 0.01 to 1 false positives an image, of which less is better; `top1`, the default and the
    only one of a classifier: fraction of images whose class comes first; `top1_loc`, a localizer's default:
    fraction of images whose best guess has the class of an object and IoU 0.5 with it; `oks`: COCO's AP of
    key points. It also decides which checkpoint is best."""
    oks_sigmas: tuple[Positive, ...] = ()
    """How far each key point may lie off, in roots of the object's area, for `oks`; empty takes COCO's for
    points of its names, and 0.05 for others."""
    batch_size: Count = 1
    """Images that are processed together."""
    compile: bool = False
    """Let torch.compile translate what computes the feature maps: for `detkit eval` on thousands of
    images."""
    augment: AugmentConfig | None = None
    """Look at each image several times in `detkit eval`; `detkit predict --augment` does the same. null looks
    once, as the evaluations during training always do."""
