"""What a config leaves out is what the detector's paper, or its authors' code, took.

The numbers are written from the papers. A default that no paper has is not in the tables.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, get_args

import pytest
from pydantic import TypeAdapter

from detkit.config.load import parse_config
from detkit.config.schema import Config
from detkit.detectors.cascade_rcnn.config import LaterStageConfig
from detkit.detectors.faster_rcnn.config import AlternatingConfig
from detkit.models.backbones.families import FAMILIES
from detkit.models.backbones.googlenet.family import GoogLeNetConfig
from detkit.models.backbones.resnet.family import ResNetConfig
from detkit.models.backbones.vgg.family import VGGConfig
from detkit.models.necks.config import FPNConfig
from detkit.models.roi.config import TwoFcHeadConfig
from detkit.proposals.config import EdgeBoxesConfig, SelectiveSearchConfig
from detkit.spec import CustomConfig, Spec
from detkit.training.loop.config import AdamWConfig, SGDConfig, StepScheduleConfig
from detkit.training.staged.config import PAPERS_IMAGES

START = """\
version: 1
data: {{classes: [cat], train: {{type: voc, root: pets}}}}
train: {{type: {train}}}
detector: {{type: {detector}}}
"""
BY_GRADIENT = "gradient, optimizer: {type: sgd, lr: 0.001}"
OF_CLASSIFIER = "classifier, backbone: {{type: {name}}}"

# Girshick et al., CVPR 2014, appendices A to C; its released code where the paper is silent.
RCNN = {
    "data.resize": None,
    "detector.backbone.type": "alexnet",
    "detector.backbone.freeze_at": 0,
    "detector.proposals.type": "selective_search",
    "detector.proposals.mode": "fast",
    "detector.regions.size": 227,
    "detector.regions.context_px": 16,
    "detector.regions.mode": "warp",
    "detector.head.type": "svm",
    "detector.head.features": "fc7",
    "detector.head.c": 0.001,
    "detector.head.positive_weight": 2,
    "detector.head.bias_multiplier": 10,
    "detector.head.negative_iou": 0.3,
    "detector.head.hard_above": -1.0001,
    "detector.head.evict_below": -1.2,
    "detector.head.retrain_after": 2000,
    "detector.head.dropout": 0.5,
    "detector.head.nms_iou": 0.3,
    "detector.head.detections_per_class": 100,
    "detector.box_regression.ridge": 1000,
    "detector.box_regression.min_iou": 0.6,
    "train.fine_tune.steps": 70_000,
    "train.fine_tune.batch_size": 128,
    "train.fine_tune.fg_fraction": 32 / 128,
    "train.fine_tune.fg_iou": 0.5,
    "train.fine_tune.bg_low_iou": 0,
    "train.fine_tune.flip": 0.5,
    "train.fine_tune.optimizer.type": "sgd",
    "train.fine_tune.optimizer.lr": 0.001,
    "train.fine_tune.optimizer.momentum": 0.9,
    "train.fine_tune.optimizer.weight_decay": 0.0005,
    "train.fine_tune.optimizer.bias_lr_factor": 2,
    "train.fine_tune.new_lr_factor": 10,
    "train.fine_tune.drop_every": 20_000,
    "train.fine_tune.warmup_steps": 0,
    "train.fine_tune.clip_norm": 0,
}

# He et al., ECCV 2014: the convolutions stay, 50 bins, a region counts as background from 0.1 on.
SPPNET = {
    "detector.backbone.type": "zfnet",
    "detector.regions.levels": (6, 3, 2, 1),
    "detector.proposals.mode": "fast",
    "detector.head.type": "svm",
    "detector.head.features": "fc7",
    "detector.head.c": 0.001,
    "detector.head.negative_iou": 0.3,
    "detector.box_regression.ridge": 4000,
    "detector.box_regression.min_iou": 0.5,
    "detector.head.nms_iou": 0.3,
    "train.fine_tune.bg_low_iou": 0.1,
    "train.fine_tune.images_per_step": 2,
    "train.fine_tune.batch_size": 128,
    "train.fine_tune.fg_fraction": 0.25,
}

# Girshick, ICCV 2015: two images of 64 regions, background in [0.1, 0.5), targets in measured deviations.
FAST_RCNN = {
    "data.resize.short_px": 600,
    "data.resize.long_px": 1000,
    "detector.backbone.type": "vgg",
    "detector.backbone.depth": 16,
    "detector.backbone.freeze_at": 2,
    "detector.neck.type": "none",
    "detector.proposals.type": "selective_search",
    "detector.regions.type": "roi_pool",
    "detector.regions.size": 7,
    "detector.head.type": "fc6_fc7",
    "detector.head.dropout": 0.5,
    "detector.head.batch_per_image": 64,
    "detector.head.fg_fraction": 0.25,
    "detector.head.fg_iou": 0.5,
    "detector.head.bg_iou": (0.1, 0.5),
    "detector.head.add_ground_truth": True,
    "detector.head.class_agnostic": False,
    "detector.head.box_targets": "measured",
    "detector.head.beta": 1,
    "detector.head.box_loss_weight": 1,
    "detector.head.normalize_by": "sampled",
    "detector.head.nms_iou": 0.3,
    "detector.svms": None,
    "train.batch_size": 2,
    "train.optimizer.momentum": 0.9,
    "evaluate.metric": "voc07",
}

# Ren et al., NIPS 2015, and the authors' code for the joint training; the score floor of its tester is 0.05.
FASTER_RCNN = {
    "data.use_difficult": False,
    "data.resize.short_px": 600,
    "data.resize.long_px": 1000,
    "detector.backbone.type": "vgg",
    "detector.backbone.depth": 16,
    "detector.backbone.freeze_at": 2,
    "detector.proposals.anchors.sizes_px": ((128, 256, 512),),
    "detector.proposals.anchors.ratios": (0.5, 1, 2),
    "detector.proposals.anchors.rounding": "base",
    "detector.proposals.channels": 512,
    "detector.proposals.num_convs": 1,
    "detector.proposals.border_px": 0,
    "detector.proposals.fg_iou": 0.7,
    "detector.proposals.bg_iou": 0.3,
    "detector.proposals.batch_per_image": 256,
    "detector.proposals.fg_fraction": 0.5,
    "detector.proposals.beta": 1 / 9,
    "detector.proposals.box_loss_weight": 1,
    "detector.proposals.normalize_by": "sampled",
    "detector.proposals.pre_nms_train": 12_000,
    "detector.proposals.post_nms_train": 2000,
    "detector.proposals.pre_nms_test": 6000,
    "detector.proposals.post_nms_test": 300,
    "detector.proposals.nms_iou": 0.7,
    "detector.proposals.min_size_px": 16,
    "detector.regions.type": "roi_pool",
    "detector.regions.size": 7,
    "detector.head.dropout": 0.5,
    "detector.head.batch_per_image": 128,
    "detector.head.fg_fraction": 0.25,
    "detector.head.fg_iou": 0.5,
    "detector.head.bg_iou": (0, 0.5),
    "detector.head.box_weights": (1 / 0.1, 1 / 0.1, 1 / 0.2, 1 / 0.2),
    "detector.head.box_targets": "fixed",
    "detector.head.beta": 1,
    "detector.head.nms_iou": 0.3,
    "detector.head.score_threshold": 0.05,
    "detector.head.detections_per_image": 100,
}

# Lin et al., CVPR 2017, and Detectron for what it leaves out.
WITH_FPN = {
    "detector.proposals.anchors.sizes_px": ((32,), (64,), (128,), (256,), (512,)),
    "detector.proposals.anchors.ratios": (0.5, 1, 2),
    "detector.proposals.border_px": None,
    "detector.proposals.pre_nms_train": 2000,
    "detector.proposals.pre_nms_test": 1000,
    "detector.proposals.post_nms_test": 1000,
    "detector.proposals.min_size_px": 0,
    "detector.proposals.batch_per_image": 256,
    "detector.head.channels": 1024,
    "detector.head.batch_per_image": 512,
    "detector.head.nms_iou": 0.5,
    "detector.neck.channels": 256,
    "detector.neck.norm": "none",
    "detector.regions.size": 7,
}

# Girshick et al., CVPR 2015, and the released code: features as ImageNet left them, three components without
# parts, the positives and the deformations of release 5.
DPM_CNN = {
    "detector.backbone.type": "caffenet",
    "detector.backbone.freeze_at": 5,
    "detector.proposals.parts": 0,
    "detector.proposals.part_size": (3, 3),
    "detector.proposals.reach": 4,
    "detector.regions.levels": 7,
    "detector.regions.scale_step": 2**0.5,
    "detector.regions.pool_cells": 3,
    "detector.regions.scale": 1 / 50,
    "detector.head.fg_iou": 0.7,
    "detector.head.negative_iou": 0.3,
    "detector.head.box_regression": False,
    "detector.head.margin_threshold": -1.5,
    "detector.head.nms_iou": 0.3,
}

# Cai and Vasconcelos, CVPR 2018, and the authors' two programs.
CASCADE_RCNN = {
    "detector.head.class_agnostic": True,
    "detector.head.batch_per_image": 512,
    "detector.head.fg_fraction": 0.25,
    "detector.head.fg_iou": 0.5,
    "detector.head.bg_iou": (0, 0.5),
    "detector.head.box_weights": (1 / 0.1, 1 / 0.1, 1 / 0.2, 1 / 0.2),
    "detector.head.nms_iou": 0.3,
    "detector.feature_gradient": 1,
    "detector.later_stages": (
        LaterStageConfig(fg_iou=0.6, box_weights=(20, 20, 10, 10), loss_weight=1, feature_gradient=0.5),
        LaterStageConfig(fg_iou=0.7, box_weights=(30, 30, 15, 15), loss_weight=1, feature_gradient=0.25),
    ),
}

# Sermanet et al., ICLR 2014: six scales and the pooling at 3x3 offsets; the layers and the boxes' training.
OVERFEAT = {
    "detector.proposals.scales": tuple(round(short / 461, 4) for short in (245, 281, 317, 389, 425, 461)),
    "detector.regions.size": 3,
    "detector.regions.stride": 3,
    "detector.regions.fine_stride": True,
    "detector.head.box_channels": (4096, 1024),
    "detector.head.dropout": 0.5,
    "detector.head.per_class_boxes": False,
    "detector.head.boxes_train_backbone": False,
    "detector.head.box_overlap": 0.5,
}

DETECTORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "rcnn": ("rcnn", "staged", RCNN),
    "dpm_cnn": ("dpm_cnn", BY_GRADIENT, DPM_CNN),
    "overfeat": ("overfeat", BY_GRADIENT, OVERFEAT),
    "sppnet": ("sppnet", "staged", SPPNET),
    "fast_rcnn": ("fast_rcnn", BY_GRADIENT, FAST_RCNN),
    "faster_rcnn": ("faster_rcnn", BY_GRADIENT, FASTER_RCNN),
    "faster_rcnn with fpn": (
        "faster_rcnn, backbone: {type: resnet}, neck: {type: fpn}, regions: {type: roi_align}, "
        "head: {type: two_fc}",
        BY_GRADIENT,
        WITH_FPN,
    ),
    "cascade_rcnn": ("cascade_rcnn", BY_GRADIENT, CASCADE_RCNN),
    "cascade_rcnn with fpn": (
        "cascade_rcnn, backbone: {type: resnet}, neck: {type: fpn}, regions: {type: roi_align}, "
        "head: {type: two_fc}",
        BY_GRADIENT,
        WITH_FPN | CASCADE_RCNN | {"detector.head.nms_iou": 0.5},
    ),
    "fast_rcnn with fpn": (
        "fast_rcnn, backbone: {type: resnet}, neck: {type: fpn}, regions: {type: roi_align}, "
        "head: {type: two_fc}",
        BY_GRADIENT,
        {
            "detector.head.batch_per_image": 512,
            "detector.head.nms_iou": 0.5,
            "detector.head.bg_iou": (0, 0.5),
        },
    ),
}


def value_of(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_alone_is_the_papers(name: str) -> None:
    detector, train, published = DETECTORS[name]
    config = parse_config(START.format(train=train, detector=detector))
    ours = {key: value_of(config, key) for key in published}
    assert ours == {
        key: pytest.approx(value) if isinstance(value, float) else value for key, value in published.items()
    }


@pytest.mark.parametrize("name", DETECTORS)
def test_an_image_has_at_most_a_hundred_detections(name: str) -> None:
    detector, train, _ = DETECTORS[name]
    config = parse_config(START.format(train=train, detector=detector))
    assert config.detector.max_detections == 100


def test_sppnet_learns_no_convolution() -> None:
    config = parse_config(START.format(train="staged", detector="sppnet"))
    backbone = config.detector.backbone  # type: ignore[union-attr]
    assert backbone.freeze_at >= max(family.stages for family in FAMILIES)


@pytest.mark.parametrize(
    ("name", "dropout"),
    [
        ("alexnet", 0.5),  # Krizhevsky 2012, section 4.2
        ("zfnet", 0.5),  # Zeiler 2014, section 3
        ("vgg", 0.5),  # Simonyan 2015, section 3.1
        ("googlenet", 0.4),  # Szegedy 2015, section 5
        ("resnet", 0.0),  # He 2016, section 3.4
    ],
)
def test_a_classifier_drops_what_its_paper_does(name: str, dropout: float) -> None:
    text = START.format(train=BY_GRADIENT, detector=OF_CLASSIFIER.format(name=name))
    text = text.replace("type: voc", "type: image_folder")
    config = parse_config(text)
    assert value_of(config, "detector.dropout") == dropout
    assert value_of(config, "detector.backbone.freeze_at") == 0
    assert value_of(config, "detector.crop_px") == 224
    assert value_of(config, "detector.top") == 5
    assert value_of(config, "detector.label_smoothing") == 0


def test_published_sizes_of_the_backbones() -> None:
    assert (VGGConfig().depth, VGGConfig().batch_norm) == (16, False)
    assert ResNetConfig().depth == 50
    assert all(family.config(type=family.name).width == 1 for family in FAMILIES)
    # He 2016, section 3.4 and Ren 2016: batch normalisation stays as ImageNet left it.
    assert ResNetConfig().norm == GoogLeNetConfig().norm == VGGConfig().norm == "frozen"


# Zitnick and Dollar, ECCV 2014: section 4 and the released code.
EDGE_BOXES = {
    "alpha": 0.65, "beta": 0.75, "eta": 1, "min_score": 0.01, "min_edge": 0.1, "max_turn": 0.5,
    "min_group": 0.5, "max_ratio": 3, "min_area_px": 1000, "gamma": 2, "kappa": 1.5,
}  # fmt: skip


def test_edge_boxes_are_the_papers() -> None:
    keys = EdgeBoxesConfig()
    assert {name: getattr(keys, name) for name in EDGE_BOXES} == EDGE_BOXES
    assert keys.max_boxes == 1000  # the paper's most frequent budget
    assert keys.edges.type == "gradient"


def test_selective_search_is_the_papers_fast_version() -> None:
    assert (SelectiveSearchConfig().mode, SelectiveSearchConfig().max_boxes) == ("fast", None)


def test_step_four_learns_from_what_the_paper_took() -> None:
    # Ren 2015's released 4-step training: no limit before suppression, 2000 boxes after it.
    of = AlternatingConfig.model_fields
    assert (of["pre_nms"].default, of["post_nms"].default) == (None, 2000)


def test_optimizers_are_the_papers() -> None:
    assert SGDConfig(lr=1).momentum == 0.9
    assert (
        SGDConfig(lr=1).weight_decay == 1e-4
    )  # He 2016; 5e-4 in the papers with VGG is written in their configs
    assert AdamWConfig(lr=1).betas == (0.9, 0.999)  # Kingma 2015
    assert StepScheduleConfig(at=(1,)).factor == 0.1
    assert (FPNConfig().channels, TwoFcHeadConfig().channels) == (256, 1024)  # Lin 2017
    assert PAPERS_IMAGES == 5011  # VOC 2007 trainval


def configs_in(annotation: Any, found: dict[type[Spec], None]) -> None:
    """Gather every config class that a config may hold."""
    if isinstance(annotation, type) and issubclass(annotation, Spec) and annotation not in found:
        found[annotation] = None
        for field in annotation.model_fields.values():
            configs_in(field.annotation, found)
    for part in get_args(annotation):
        configs_in(part, found)


def all_configs() -> list[type[Spec]]:
    found: dict[type[Spec], None] = {}
    configs_in(Config, found)
    return list(found)


@pytest.mark.parametrize("config", all_configs(), ids=lambda config: config.__name__)
def test_a_default_is_a_value_that_a_file_may_hold(config: type[Spec]) -> None:
    """Pydantic does not look at defaults."""
    for name, field in config.model_fields.items():
        if field.is_required():
            continue
        value = field.get_default(call_default_factory=True)
        allowed = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[valid-type]
        assert allowed.validate_python(value, strict=True) == value, name
        assert not isinstance(value, float) or math.isfinite(value)


def test_every_kind_of_config_is_looked_at() -> None:
    names = {config.__name__ for config in all_configs()}
    assert {"RPNConfig", "EdgeBoxesConfig", "FineTuneConfig", "AdamWConfig", "ColorJitterConfig"} <= names
    assert CustomConfig in all_configs()
    assert len(names) > 50
