"""AlexNet holds torchvision's weights."""

from __future__ import annotations

import torchvision

from detkit.models.backbones.alexnet.network import AlexNet
from detkit.models.pretrained import load_weights
from tests.models.backbones.networks import trainable


def test_alexnet_takes_torchvisions_weights() -> None:
    theirs = torchvision.models.alexnet().features
    state = {f"features.{key}": value for key, value in theirs.state_dict().items()}
    report = load_weights({"": AlexNet(width=1, freeze_at=0)}, state, "test")
    assert (report.missing, report.unused, report.reshaped) == ((), (), ())


def test_freezing_goes_from_the_input_on() -> None:
    assert min(int(name.split(".")[1]) for name in trainable(AlexNet(width=0.125, freeze_at=1))) == 3
