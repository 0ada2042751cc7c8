from __future__ import annotations

import time

import pytest
import torch
from torch.nn import functional as F

from detkit.capabilities import Detector
from detkit.errors import UserError
from detkit.explain.layers import layer_of, layers_of
from tests.explain.layered import SIDE, layered, photograph
from tests.explain.patch import Detects, Patch

SIZE = (SIDE, SIDE)
NAMES = ["backbone.stage1.0", "backbone.stage1.1", "backbone.stage1", "backbone.stage2", "backbone.stage3"]


def test_layers_are_listed_as_they_end() -> None:
    layers = layers_of(layered(), SIZE)
    assert [layer.name for layer in layers] == NAMES
    assert all(layer.has_maps for layer in layers)


def test_a_layer_gives_what_it_gave_before_others_changed_it() -> None:
    model, image = layered(), photograph()
    backbone = model.backbone
    wanted = backbone.stage2(backbone.stage1(image))
    assert (wanted < 0).any()
    layer = layer_of(model, SIZE, "backbone.stage2")
    backbone.runs.clear()
    torch.testing.assert_close(layer(image), wanted)
    assert backbone.runs == [], "the rest of the network need not run"
    torch.testing.assert_close(
        layer_of(model, SIZE, "backbone.stage3")(image), backbone.stage3(F.relu(wanted))
    )
    assert not any(module._forward_hooks for module in model.modules())


def test_without_a_name_the_last_stage_is_taken() -> None:
    assert layer_of(layered(), SIZE, None).name == "backbone.stage3"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("backbone.stage4", r"'backbone.stage4' is no layer of the model; did you mean \"backbone.stage"),
        ("backbone.joined", "'backbone.joined' gives nothing by itself; "),
        ("", "'' gives nothing by itself"),
        ("__class__", "is no layer"),
        ("backbone.stage1.__init__", "is no layer"),
        ("../../x\n\x1b[31m", r"'../../x\\n\\x1b\[31m' is no layer"),
    ],
)
def test_a_wrong_name_is_refused_with_the_names_there_are(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        layer_of(layered(), SIZE, name)
    assert "backbone.stage1.0, backbone.stage1.1" in str(error.value)


def test_a_name_of_millions_of_letters_is_refused_in_short() -> None:
    start = time.monotonic()
    with pytest.raises(UserError) as error:
        layer_of(layered(), SIZE, "backbone." * 1_000_000)
    assert len(str(error.value)) < 2000
    assert time.monotonic() - start < 60  # a hang, not a slow machine


@pytest.mark.parametrize("model", [Patch(), Detects()])
def test_a_model_without_layers_says_so(model: Detector) -> None:
    with pytest.raises(UserError, match="layer: the model is no network"):
        layer_of(model, (64, 64), None)  # type: ignore[arg-type]
