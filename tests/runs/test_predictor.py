from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn

from detkit.config.load import load_config
from detkit.errors import UserError
from detkit.runs import predictor


def test_a_model_without_a_proposal_network_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config("rcnn_resnet18_synthetic")
    loaded = SimpleNamespace(model=nn.Identity(), config=config)
    monkeypatch.setattr(predictor, "load_detector", lambda *_, **__: loaded)
    with pytest.raises(UserError) as told:
        predictor.build_rpn_proposer(Path("a.safetensors"), None, "cpu")
    assert str(told.value) == (
        "a.safetensors: a rcnn has no proposal network; METHOD takes a model that has one, "
        "such as a faster_rcnn"
    )
