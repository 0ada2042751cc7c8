"""The detectors of `detkit lineage`, oldest first, each as the config it is trained with.

Another detector joins by its name and the function that makes its config.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from detkit.models.backbones.config import ALL_STAGES
from detkit.models.backbones.families import family_named
from detkit.models.backbones.family import BackboneFamily, LastStage

Values = dict[str, Any]

PAPER_CROP_PX, PAPER_CONTEXT_PX = 227, 16
REGIONS_PER_IMAGE = 32  # half of what Fast R-CNN classifies of an image in training, to see more images
REGIONS_PER_STEP = 128  # what R-CNN and SPP-net classify in a step
IMAGES_PER_STEP = 2
WINDOWS_PER_BOX = 2
RPN_CHANNELS, RPN_BOXES = 512, 300
WARMUP_SHARE = 0.1
TWO_FC_CHANNELS = 512
USUAL_CELLS = 7
DPM_C = 0.01  # losses are summed: over fewer objects than the paper's they need a larger factor
DPM_INTERVAL, DPM_PARTS, DPM_PART_SIZE = 5, 6, (5, 5)
DPM_ROOT_CELLS = 30, 80  # smallest and largest root
WINDOW_CELLS, WINDOW_PX = 2, 64  # of dense windows: pooled cells along each side, and pixels
MOST_SCALE = 0.75
DPM_NEGATIVES, DPM_HARD, DPM_IMAGES = 3000, 30, 40  # a latent SVM of all images takes hours


@dataclass(frozen=True)
class Terms:
    """The terms on which the detectors are compared.

    Attributes:
        backbone: name of the network, such as resnet18 or alexnet.
        weights: `objects`, a torchvision weights name or a file.
        width: multiplies the channels of every layer.
        boxes: proposals of an image at most.
        regions: regions that a network over crops is tuned on.
        epochs: how often a network that reads whole images sees each of them.
        crop_px: side of what R-CNN's network reads.
        seed: of all that is drawn at random.
    """

    backbone: str
    weights: str
    width: float
    boxes: int
    regions: int
    epochs: int
    crop_px: int
    seed: int = 0


@dataclass(frozen=True)
class Ground:
    """What all detectors of the chain have in common.

    Attributes:
        backbone: `detector.backbone` of the config, with its weights.
        data: `data` of the config, with the size that whole images are read at, and without `val`: nothing is
            chosen by the validation images.
        anchors: `detector.proposals.anchors` for a proposal network.
        windows: `scales` and `ratios` of sliding windows.
        terms: of the comparison.
        num_images: images to learn from.
        rate: learning rate.
        cell_px: side of the cells that gradients are counted in.
    """

    backbone: Values
    data: Values
    anchors: Values
    windows: Values
    terms: Terms
    num_images: int
    rate: float
    cell_px: int

    @property
    def steps(self) -> int:
        """Steps of a detector that draws its regions from all images."""
        return max(1, round(self.terms.regions / REGIONS_PER_STEP))


@dataclass(frozen=True)
class Link:
    """One detector of the chain.

    Attributes:
        name: in files and in JSON.
        title: for people.
        year: of the paper; of a network over windows, that of AlexNet.
        idea: what is new in it, in a few words.
        config: makes the config.
    """

    name: str
    title: str
    year: int
    idea: str
    config: Callable[[Ground], Values]


def hog_svm(ground: Ground) -> Values:
    """HOG + SVM: no network, and no proposals but windows of one size over the copies of an image."""
    cell_px = ground.cell_px
    cells = {"cell_px": cell_px, "stride_px": cell_px, "sigma_px": cell_px / 2, "context_px": cell_px}
    detector = {
        "type": "hog_svm",
        "proposals": {"type": "pyramid", "scale_step": 1.1},
        "regions": {"type": "hog", **cells},
    }
    as_they_are = {**_without_augmentation(ground), "resize": None}
    return _config(ground, detector, {"type": "mining", "rounds": 1}, as_they_are)


def dpm(ground: Ground) -> Values:
    """Deformable part models: a template for each shape of a class, whose parts move."""
    cell_px = ground.cell_px
    detector = {
        "type": "dpm",
        "cell_px": cell_px,
        "interval": DPM_INTERVAL,
        "components": 2,
        "parts": DPM_PARTS,
        "part_size": DPM_PART_SIZE,
    }
    once = {"find_objects": 1, "mine": 2}
    train = {
        "type": "latent_svm",
        "c": DPM_C,
        "root_area_px": tuple(cells * cell_px**2 for cells in DPM_ROOT_CELLS),
        "max_negatives": DPM_NEGATIVES,
        "hard_per_image": DPM_HARD,
        "few_images": DPM_IMAGES,
        "object_images": DPM_IMAGES,
        "roots": once,
        "mixture": once,
        "parts": {"find_objects": 2, "mine": 2},
        "last": None,
    }
    as_they_are = {**_without_augmentation(ground), "resize": None}
    return _config(ground, detector, train, as_they_are)


def sliding_window(ground: Ground) -> Values:
    """R-CNN that looks everywhere on a grid, which takes more boxes.

    No window of a grid fits an object exactly, and SVMs learn what an object is from exact boxes alone: so
    the softmax of the fine-tuning scores, which has seen boxes that overlap by half, and these teach the
    regression, too.
    """
    windows = {"type": "relative", **ground.windows}
    limit = WINDOWS_PER_BOX * ground.terms.boxes
    proposals = {"type": "sliding_window", "windows": windows, "max_boxes": limit}
    return _by_crops(ground, proposals, {"head": {"type": "softmax"}, "box_regression": {"min_iou": 0.5}})


def overfeat(ground: Ground) -> Values:
    """OverFeat: windows share the convolutions, which read the image in a size for each size of objects."""
    (sizes_px,) = ground.anchors["sizes_px"]
    scales = tuple(sorted({min(round(WINDOW_PX / side, 3), MOST_SCALE) for side in sizes_px}))
    detector = {
        "type": "overfeat",
        "backbone": ground.backbone,
        "proposals": {"type": "dense_windows", "scales": scales},
        "regions": {"type": "offset_pool", "size": 2, "stride": 2, "cells": WINDOW_CELLS},
        "head": {
            "type": "dense_softmax",
            "channels": TWO_FC_CHANNELS,
            "box_channels": (TWO_FC_CHANNELS, TWO_FC_CHANNELS),
            "dropout": 0.0,
            "boxes_train_backbone": True,
            "batch_per_image": REGIONS_PER_IMAGE,
        },
    }
    return _config(ground, detector, _by_gradient(ground))


def rcnn(ground: Ground) -> Values:
    """R-CNN: selective search, and a network for each region."""
    return _by_crops(ground, _selective_search(ground), {"head": {"type": "svm"}})


def sppnet(ground: Ground) -> Values:
    """SPP-net: the image is read once, and its convolutions are not trained any further.

    A backbone without fc6 and fc7 has nothing left to tune: its SVMs see the pyramid of what it is.
    """
    detector = {
        "type": "sppnet",
        "backbone": {**ground.backbone, "freeze_at": ALL_STAGES},
        "proposals": _selective_search(ground),
        "regions": {"type": "spp"},
        "head": {"type": "svm"},
    }
    train = _in_stages(ground) if _family(ground).fc else {"type": "staged", "fine_tune": None}
    return _config(ground, detector, {**train, "cache": "none"}, _without_augmentation(ground))


def fast_rcnn(ground: Ground) -> Values:
    """Fast R-CNN: classes and boxes trained together with the network."""
    detector = {
        "type": "fast_rcnn",
        "backbone": ground.backbone,
        "proposals": _selective_search(ground),
        "regions": {"type": "roi_pool", "size": _cells(ground)},
        "head": _head(ground),
    }
    return _config(ground, detector, _by_gradient(ground))


def faster_rcnn(ground: Ground) -> Values:
    """Faster R-CNN: the network says where to look, too."""
    detector = {
        "type": "faster_rcnn",
        "backbone": ground.backbone,
        "proposals": {
            "type": "rpn",
            "anchors": ground.anchors,
            "channels": max(1, round(RPN_CHANNELS * ground.backbone["width"])),
            "border_px": None,
            "pre_nms_train": 2000,
            "post_nms_train": 500,
            "pre_nms_test": 1000,
            "post_nms_test": min(ground.terms.boxes, RPN_BOXES),
        },
        "regions": {"type": "roi_pool", "size": _cells(ground)},
        "head": _head(ground),
    }
    return _config(ground, detector, _by_gradient(ground))


def cascade_rcnn(ground: Ground) -> Values:
    """Cascade R-CNN: the same with three heads one behind the other."""
    config = faster_rcnn(ground)
    return {**config, "detector": {**config["detector"], "type": "cascade_rcnn"}}


CHAIN = (
    Link("hog_svm", "HOG + SVM", 2005, "histograms of gradients at every window of a pyramid", hog_svm),
    Link("dpm", "DPM", 2010, "a root for each shape of a class, with parts that move", dpm),
    Link(
        "sliding_window", "sliding window", 2012, "a network looks at every window of a grid", sliding_window
    ),
    Link(
        "overfeat",
        "OverFeat",
        2014,
        "all windows share one network, and boxes that agree become one",
        overfeat,
    ),
    Link("rcnn", "R-CNN", 2014, "it looks only at boxes that selective search proposes", rcnn),
    Link("sppnet", "SPP-net", 2014, "the image is read once for all of them", sppnet),
    Link(
        "fast_rcnn",
        "Fast R-CNN",
        2015,
        "classes and boxes are trained in one go, with the network",
        fast_rcnn,
    ),
    Link(
        "faster_rcnn",
        "Faster R-CNN",
        2015,
        "the network proposes the boxes itself, from its map",
        faster_rcnn,
    ),
    Link(
        "cascade_rcnn",
        "Cascade R-CNN",
        2018,
        "three heads, each for the better boxes of the one before",
        cascade_rcnn,
    ),
)


def _config(ground: Ground, detector: Values, train: Values, data: Values | None = None) -> Values:
    return {
        "version": 1,
        "seed": ground.terms.seed,
        "detector": detector,
        "data": data or ground.data,
        "train": train,
        "evaluate": {"metric": "coco"},
    }


def _without_augmentation(ground: Ground) -> Values:
    return {**ground.data, "train": {**ground.data["train"], "augment": ()}}


def _by_crops(ground: Ground, proposals: Values, decision: Values) -> Values:
    context = round(PAPER_CONTEXT_PX * ground.terms.crop_px / PAPER_CROP_PX)
    detector = {
        "type": "rcnn",
        "backbone": ground.backbone,
        "proposals": proposals,
        "regions": {"type": "warp", "size": ground.terms.crop_px, "context_px": context},
        **decision,
    }
    # Regions are cut out of the images as they are, and mirrored afterwards.
    as_they_are = {**_without_augmentation(ground), "resize": None}
    return _config(ground, detector, _in_stages(ground), as_they_are)


def _selective_search(ground: Ground) -> Values:
    return {"type": "selective_search", "mode": "fast", "max_boxes": ground.terms.boxes}


def _head(ground: Ground) -> Values:
    family = _family(ground)
    head: Values = {"type": family.head_name}
    if isinstance(family.behind, LastStage) and family.behind.costly:
        # Two new layers: the last stage on every region would cost as much as R-CNN's crops.
        head = {"type": "two_fc", "channels": TWO_FC_CHANNELS}
    return {**head, "batch_per_image": REGIONS_PER_IMAGE}


def _cells(ground: Ground) -> int:
    """Return the bins along each side of a region: as many as fc6 was pretrained on."""
    fc = _family(ground).fc
    return fc.cells if fc else USUAL_CELLS


def _family(ground: Ground) -> BackboneFamily[Any]:
    family = family_named(ground.backbone["type"])
    assert family is not None
    return family


def _by_gradient(ground: Ground) -> Values:
    epochs = ground.terms.epochs
    steps = epochs * -(-ground.num_images // IMAGES_PER_STEP)
    return {
        "type": "gradient",
        "epochs": epochs,
        "batch_size": IMAGES_PER_STEP,
        "optimizer": {"type": "adamw", "lr": ground.rate},
        "schedule": {"type": "cosine"},
        "warmup": {"steps": round(WARMUP_SHARE * steps)},
        "clip_norm": 10,
        "validate_every": 0,
    }


def _in_stages(ground: Ground) -> Values:
    return {
        "type": "staged",
        "fine_tune": {
            "steps": ground.steps,
            "batch_size": REGIONS_PER_STEP,
            "optimizer": {"type": "adamw", "lr": ground.rate},
            "new_lr_factor": 1,
            "drop_every": round(0.7 * ground.steps),
            "warmup_steps": round(WARMUP_SHARE * ground.steps),
            "clip_norm": 10,
        },
    }
