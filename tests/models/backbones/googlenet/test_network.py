"""GoogLeNet holds torchvision's weights and gives torchvision's features."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from detkit.models.backbones.googlenet.network import GoogLeNet, make_stage
from detkit.models.pretrained import load_weights
from tests.models.backbones.networks import fresh, trainable


def test_googlenet_gives_torchvisions_features() -> None:
    theirs = fresh(torchvision.models.googlenet(init_weights=False, aux_logits=False, transform_input=True))
    ours = GoogLeNet(width=1, norm="frozen", freeze_at=0, pyramid=True).eval()
    report = load_weights({"": ours}, theirs.state_dict(), "test")
    assert (report.missing, report.unused) == ((), ("fc.weight", "fc.bias"))
    wanted: dict[str, Tensor] = {}
    for name in ("conv3", "inception3b", "inception4e", "inception5b"):
        getattr(theirs, name).register_forward_hook(lambda _m, _x, y, name=name: wanted.update({name: y}))
    x = torch.randn(1, 3, 96, 130)
    theirs(x)
    assert ours.channels == tuple(feature_map.shape[1] for feature_map in wanted.values())
    for own, peer in zip(ours(x), wanted.values(), strict=True):
        torch.testing.assert_close(own, peer, rtol=1e-3, atol=1e-4 * float(peer.detach().abs().max()))


def test_inception5_as_a_head_is_the_last_stage_of_the_pyramid() -> None:
    pyramid = GoogLeNet(width=0.25, norm="frozen", freeze_at=0, pyramid=True).eval()
    head = make_stage(stage=5, width=0.25, norm="frozen", frozen=True).eval()
    state = {k: v for k, v in pyramid.state_dict().items() if k.startswith("inception5")}
    head.load_state_dict(state)
    *_, before, last = pyramid(torch.randn(1, 3, 64, 96))
    torch.testing.assert_close(head(nn.functional.max_pool2d(before, 2, 2, ceil_mode=True)), last)
    assert not trainable(head)


def test_googlenet_has_torchvisions_keys_for_each_norm() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(init_weights=False, aux_logits=False)
        wanted = {k: v.shape for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
        for norm in ("trainable", "sync"):
            ours = GoogLeNet(width=1, norm=norm, freeze_at=0, pyramid=True)
            assert {k: v.shape for k, v in ours.state_dict().items()} == wanted
        frozen = GoogLeNet(width=1, norm="frozen", freeze_at=0, pyramid=True).state_dict()
    assert set(frozen) == {k for k in wanted if not k.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("freeze_at", "first"),
    [(0, "conv1"), (1, "conv2"), (2, "inception3a"), (3, "inception4a"), (4, "inception5a")],
)
def test_googlenet_freezes_stage_by_stage(freeze_at: int, first: str) -> None:
    backbone = GoogLeNet(width=0.125, norm="trainable", freeze_at=freeze_at, pyramid=True)
    parts = list(dict.fromkeys(name.split(".")[0] for name, _ in backbone.named_parameters()))
    learned = {name.split(".")[0] for name in trainable(backbone)}
    assert first in learned
    frozen_parts = [
        backbone.get_submodule(name) for name, _ in backbone.named_children() if name not in learned
    ]
    assert not any(isinstance(m, nn.BatchNorm2d) for part in frozen_parts for m in part.modules())
    assert learned == set(parts[parts.index(first) :] if first in parts else parts)
