"""Every shipped config loads, says what it is, and builds."""

from __future__ import annotations

import re
from typing import Any

import pytest

from detkit.config.load import config_names, find_config, load_config
from detkit.detectors.builder import build_detector
from detkit.models.necks.config import NoNeckConfig

NARROW = 0.125


@pytest.mark.parametrize("name", config_names())
def test_header_says_what_it_reproduces_and_how(name: str) -> None:
    text = find_config(name).read_text(encoding="utf-8")
    head = text.partition("version: 1")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert "# Reproduces:" in head
    assert re.search(
        rf"# Commands?: +detkit (train {name}\b|init .*{name}\b|demo\b|import .*\n# +detkit eval {name}\b)",
        head,
    )
    if re.search(r"mAP: +\d", head):
        assert "not reproduced here" in head or "measured" in head


@pytest.mark.parametrize("name", config_names())
def test_name_says_what_is_in_it(name: str) -> None:
    config = load_config(name)
    detector: Any = config.detector
    assert name.startswith(detector.type)
    backbone = getattr(detector, "backbone", None)  # none in the detectors before networks
    if backbone is not None:
        assert f"_{backbone.type}{getattr(backbone, 'depth', '')}_" in name
    if "_fpn" in name:
        assert detector.neck.type == "fpn"
    if "_c4" in name:
        assert detector.backbone.type == "resnet"
        assert getattr(detector, "neck", None) in (None, NoNeckConfig())
    if "_voc0" in name:
        assert len(config.data.classes) == 20
    if name.endswith("_coco"):
        assert len(config.data.classes) == 80
        assert config.evaluate.metric == "coco"


@pytest.mark.parametrize("name", config_names())
def test_detector_is_built_from_it(name: str) -> None:
    config = load_config(name)
    has_network = hasattr(config.detector, "backbone")
    if has_network:
        config = load_config(name, [f"detector.backbone.width={NARROW}", "detector.backbone.weights=none"])
    model = build_detector(config.detector, len(config.data.classes), config.seed)
    assert any(parameter.requires_grad for parameter in model.parameters()) == has_network


@pytest.mark.parametrize("name", [name for name in config_names() if name.startswith("faster_rcnn")])
def test_the_papers_own_networks_have_a_softmax_of_two_outputs(name: str) -> None:
    detector: Any = load_config(name).detector
    papers = detector.backbone.type in ("zfnet", "vgg")
    assert detector.proposals.objectness == ("softmax" if papers else "sigmoid")
