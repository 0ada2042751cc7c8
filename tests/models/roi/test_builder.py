from __future__ import annotations

import pytest
import torch
from torch import nn

from detkit.errors import UserError
from detkit.models.backbones.families import family_named
from detkit.models.roi.box_heads import ConvFcHead, FcHead
from detkit.models.roi.builder import (
    build_box_head,
    build_decision,
    build_features,
    dropout_of,
    ranks_of,
    selection_of,
    weight_parts,
)
from detkit.models.roi.config import ConvFcHeadConfig, RoIAlignConfig, RoIPoolConfig, TwoFcHeadConfig
from detkit.models.roi.decision_config import BoxRegressionConfig, DecisionConfig, SVMDecisionConfig
from detkit.models.roi.head_config import Fc6Fc7HeadConfig
from detkit.models.roi.selection import Selection
from detkit.spec import CustomConfig, OwnPart

OWN = CustomConfig(type="custom", target="a:B")


class Backbone(nn.Module):
    channels, strides, fc_channels = (6,), (16,), 9


@pytest.mark.parametrize(
    ("channels", "strides", "message"),
    [
        ((8, 9), (4, 8), "regions: roi_align needs maps of one number of channels, got [8, 9]"),
        (
            (8, 8, 8), (4, 8, 32),
            "regions: roi_align takes each region from the map that fits its size, and needs maps whose "
            "strides double from one to the next, got [4, 8, 32]",
        ),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit_are_named(
    channels: tuple[int, ...], strides: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError) as told:
        build_features(RoIAlignConfig(type="roi_align"), channels, strides)
    assert str(told.value) == message
    if len(set(channels)) == 1:  # what chooses among them otherwise takes any
        build_features(RoIAlignConfig(type="roi_align"), channels, strides, lambda boxes, _: boxes[:, 0])


def test_regions_have_the_size_of_the_config() -> None:
    maps, boxes = [torch.rand(1, 3, 8, 8)], [torch.tensor([[0.0, 0.0, 20.0, 30.0]])]
    for spec in (RoIPoolConfig(type="roi_pool", size=2), RoIAlignConfig(type="roi_align", size=2)):
        features = build_features(spec, (3,), (16,))
        assert features(maps, boxes).shape == (1, 3, 2, 2)


def test_a_networks_own_layers_need_its_channels() -> None:
    head, backbone = Fc6Fc7HeadConfig(type="fc6_fc7", dropout=0.25), Backbone()
    made = build_box_head(head, OwnPart(part=backbone), backbone, 6, 2, (3, None))
    assert isinstance(made, FcHead)
    assert (made.channels, made.dropout) == (9, 0.25)
    assert [tuple(p.shape) for p in made.fc6.parameters() if p.dim() == 2] == [(3, 24), (9, 3)]
    with pytest.raises(UserError) as told:
        build_box_head(head, OwnPart(part=backbone), backbone, 7, 2, (None, None))
    assert str(told.value) == (
        "head: fc6_fc7 is made for the 6 channels of the backbone, and regions have 7; take two_fc or conv_fc"
    )


def test_heads_have_the_widths_of_their_configs() -> None:
    two = TwoFcHeadConfig(type="two_fc", channels=5)
    made = build_box_head(two, OWN, Backbone(), 7, 2, (None, 2))
    assert isinstance(made, FcHead)
    assert (made.channels, made.dropout, made.fc6.in_features) == (5, 0.0, 28)
    assert isinstance(made.fc7, nn.Sequential)
    convs = ConvFcHeadConfig(type="conv_fc", num_convs=2, conv_channels=3, channels=5, norm="none")
    made = build_box_head(convs, OWN, Backbone(), 7, 2, (None, None))
    assert isinstance(made, ConvFcHead)
    layers = [m for m in made.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in layers] == [(7, 3), (3, 3)]
    assert (made.fc.in_features, made.channels) == (3 * 4, 5)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made.modules())


def test_ranks_are_those_of_heads_that_have_fc6_and_fc7() -> None:
    assert ranks_of(TwoFcHeadConfig(type="two_fc", fc6_rank=3, fc7_rank=4)) == (3, 4)
    assert ranks_of(ConvFcHeadConfig(type="conv_fc")) == ranks_of(OWN) == (None, None)


def test_only_a_published_networks_own_head_has_names_in_files() -> None:
    family = family_named("vgg")
    assert family is not None
    spec, head = family.config(), FcHead(2, 1, channels=3)
    parts = weight_parts(spec, head)
    assert [id(part) for part in parts.values()] == [id(head.fc6), id(head.fc7)]
    assert all(key.startswith("classifier.") for key in parts)
    assert weight_parts(OWN, head) == {}
    assert weight_parts(spec, ConvFcHead(2, 1, num_convs=1, conv_channels=2, channels=2)) == {}
    resnet = family_named("resnet")
    assert resnet is not None
    assert weight_parts(resnet.config(), head) == {}


def test_a_decision_has_the_parts_of_its_config() -> None:
    widths = {"pool5": 4, "fc6": 3, "fc7": 2}
    made = build_decision(SVMDecisionConfig(type="svm", features="fc6"), BoxRegressionConfig(), widths, 5)  # type: ignore[arg-type]
    assert made.svms is not None
    assert made.svms.cls_score.weight.shape == (5, 3)
    assert made.box_deltas is not None
    assert made.box_deltas.bbox_pred.weight.shape == (20, 4)
    assert made.classifier.weight.shape == (6, 2)
    plain = build_decision(DecisionConfig(), None, widths, 5)  # type: ignore[arg-type]
    assert (plain.svms, plain.box_deltas, plain.layer) == (None, None, "fc7")


def test_what_is_reported_follows_the_head() -> None:
    keys = {"score_threshold": 0.3, "nms_iou": 0.4, "detections_per_class": 7, "dropout": 0.2}
    head = SVMDecisionConfig.model_validate({"type": "svm", **keys})
    assert selection_of(head) == Selection(0.3, 0.4, 7, None)
    assert dropout_of(head) == 0.2
    usual = DecisionConfig()
    assert selection_of(OWN) == selection_of(usual)
    assert dropout_of(OWN) == usual.dropout
