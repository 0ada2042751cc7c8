from __future__ import annotations

import pytest

from detkit.config.load import load_config, parse_config
from detkit.config.schema import Config
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.errors import UserError
from detkit.training.staged.config import StagedConfig

TEXT = """
version: 1
detector:
  type: sppnet
  backbone: {type: BACKBONE}
  SCALES
  proposals: {type: PROPOSALS}
  regions: {type: REGIONS}
  head: {type: svm}
data:
  classes: [one]
  resize: {short_px: 688, long_px: 2000}
  train: {type: synthetic}
train: TRAIN
"""


def read(**changes: str) -> Config:
    parts = {
        "BACKBONE": "zfnet",
        "SCALES": "",
        "PROPOSALS": "selective_search",
        "REGIONS": "spp",
        "TRAIN": "{type: staged}",
    }
    text = TEXT
    for name, value in (parts | changes).items():
        text = text.replace(name, value)
    return parse_config(text, "a.yaml")


def detector(config: Config) -> SPPNetConfig:
    assert isinstance(config.detector, SPPNetConfig)
    return config.detector


def test_defaults_are_those_of_the_paper() -> None:
    config = read()
    spec = detector(config)
    assert spec.regions.levels == (6, 3, 2, 1)
    assert spec.backbone.type == "zfnet"
    assert spec.backbone.freeze_at == 5
    assert spec.box_regression is not None
    assert (spec.box_regression.ridge, spec.box_regression.min_iou) == (4000.0, 0.5)
    assert isinstance(config.train, StagedConfig)
    assert config.train.fine_tune is not None
    assert (config.train.fine_tune.bg_low_iou, config.train.fine_tune.batch_size) == (0.1, 128)


def test_what_the_config_says_goes_first() -> None:
    config = read(TRAIN="{type: staged, fine_tune: {bg_low_iou: 0.0}}")
    assert isinstance(config.train, StagedConfig)
    assert config.train.fine_tune is not None
    assert config.train.fine_tune.bg_low_iou == 0.0
    config = read(TRAIN="{type: staged, fine_tune: null}")
    assert isinstance(config.train, StagedConfig)
    assert config.train.fine_tune is None


def test_vgg_has_the_grid_that_its_fc6_knows() -> None:
    assert detector(read(BACKBONE="vgg")).regions.levels == (7, 3, 2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"PROPOSALS": "rpn"}, "sppnet with proposals: rpn is faster_rcnn"),
        ({"REGIONS": "roi_pool"}, "sppnet with regions: roi_pool is fast_rcnn"),
        ({"REGIONS": "warp"}, "sppnet with regions: warp is rcnn"),
        ({"TRAIN": "{type: gradient, optimizer: {type: sgd, lr: 1}}"}, "sppnet is trained by staged"),
        ({"SCALES": "scales_px: [688, 480]"}, "scales_px must rise"),
        ({"SCALES": "scales_px: [480, 600]"}, "scales_px ends with 600"),
        ({"TRAIN": "{type: staged, fine_tune: {images_per_step: 3}}"}, "multiple of images_per_step"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(**change)


def test_small_config_learns_its_convolutions() -> None:
    spec = detector(load_config("sppnet_resnet18_synthetic", []))
    assert spec.head.type == "svm"
    assert spec.head.features == "pool5"
