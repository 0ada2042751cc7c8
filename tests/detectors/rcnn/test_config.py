from __future__ import annotations

from typing import Any

import pytest

from detkit.config.load import load_config, parse_config
from detkit.config.schema import Config
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.errors import UserError
from detkit.training.staged.config import StagedConfig

TEXT = """
version: 1
detector:
  type: rcnn
  backbone: {type: BACKBONE}
  proposals: {type: PROPOSALS}
  regions: {type: REGIONS}
  head: HEAD
data:
  classes: [one]
  train: {type: synthetic, augment: AUGMENT}
DATA
train: TRAIN
"""


def read(**changes: str) -> Config:
    parts = {
        "BACKBONE": "alexnet",
        "PROPOSALS": "selective_search",
        "REGIONS": "warp",
        "HEAD": "{type: svm}",
        "AUGMENT": "[]",
        "DATA": "",
        "TRAIN": "{type: staged}",
    }
    text = TEXT
    for name, value in (parts | changes).items():
        text = text.replace(name, value)
    return parse_config(text, "a.yaml")


def detector(config: Config) -> RCNNConfig:
    assert isinstance(config.detector, RCNNConfig)
    return config.detector


def test_there_is_one_solver() -> None:
    with pytest.raises(
        UserError, match=r"^a\.yaml:8: detector\.head\.solver: unknown key; .*Allowed: .*c, pos"
    ):
        read(HEAD="{type: svm, solver: torch}")


def test_defaults_are_the_papers() -> None:
    config = read()
    made = detector(config)
    assert (made.regions.size, made.regions.context_px, made.regions.mode) == (227, 16, "warp")
    assert made.backbone.freeze_at == 0  # type: ignore[union-attr]
    head: Any = made.head
    assert (head.features, head.c, head.positive_weight, head.bias_multiplier) == ("fc7", 0.001, 2, 10)
    assert (head.hard_above, head.evict_below, head.retrain_after, head.nms_iou) == (-1.0001, -1.2, 2000, 0.3)
    assert made.box_regression is not None
    assert (made.box_regression.ridge, made.box_regression.min_iou) == (1000, 0.6)
    train = config.train
    assert isinstance(train, StagedConfig)
    assert train.fine_tune is not None
    tune: Any = train.fine_tune
    assert (tune.batch_size, tune.fg_fraction, tune.fg_iou, tune.drop_every) == (128, 0.25, 0.5, 20_000)
    assert (tune.optimizer.lr, tune.optimizer.momentum, tune.optimizer.weight_decay) == (0.001, 0.9, 0.0005)
    assert (tune.new_lr_factor, tune.optimizer.bias_lr_factor) == (10, 2)
    assert config.data.resize is None


def test_the_image_can_be_resized_before_regions_are_cut_out() -> None:
    resize = read(DATA="  resize: {short_px: 500}").data.resize
    assert resize is not None
    assert resize.short_px == 500


def test_networks_without_fc_layers_are_judged_by_pool5() -> None:
    head: Any = detector(read(BACKBONE="resnet")).head
    assert head.features == "pool5"
    with pytest.raises(UserError, match="resnet has no fc7; take pool5"):
        read(BACKBONE="resnet", HEAD="{type: svm, features: fc7}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PROPOSALS": "rpn"}, "faster_rcnn; detkit propose writes its boxes"),
        ({"REGIONS": "roi_pool"}, "rcnn with regions: roi_pool is fast_rcnn"),
        ({"REGIONS": "spp"}, "rcnn with regions: spp is sppnet"),
        ({"REGIONS": "warp, size: 32"}, "less than half of size"),
        ({"TRAIN": "{type: gradient, optimizer: {type: sgd, lr: 1.0}}"}, "rcnn is trained by staged"),
        ({"AUGMENT": "[{type: flip}]"}, "train.fine_tune.flip mirrors them"),
    ],
)
def test_other_combinations_are_refused_by_name(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(**changes)


@pytest.mark.parametrize("name", ["rcnn_resnet18_synthetic"])
def test_shipped_configs_are_staged(name: str) -> None:
    assert load_config(name).train.type == "staged"
