"""The `evaluate` part of a config."""

from __future__ import annotations

from typing import Literal

from detkit.spec import Count, Positive, Spec

Metric = Literal["voc07", "voc10", "coco", "miss_rate", "top1", "top1_loc", "oks"]


class EvaluateConfig(Spec):
    """Evaluation of detections."""

    metric: Metric = "voc07"
    """`voc07`: 11-point AP at IoU 0.5; `voc10`: area under the curve at IoU 0.5; `coco`: AP over IoU
    0.50:0.95; `miss_rate`: log-average miss rate over 0.01 to 1 false positives an image, of which less is
    better; `top1`, the default and the only one of a classifier: fraction of images whose class comes
    first; `top1_loc`, a localizer's default: fraction of images whose best guess has the class of an object
    and IoU 0.5 with it; `oks`: COCO's AP of key points. It also decides which checkpoint is best."""
    oks_sigmas: tuple[Positive, ...] = ()
    """How far each key point may lie off, in roots of the object's area, for `oks`; empty takes COCO's for
    points of its names, and 0.05 for others."""
    batch_size: Count = 1
    """Images that are processed together."""
    compile: bool = False
    """Let torch.compile translate what computes the feature maps: for `detkit eval` on thousands of
    images."""
