"""An EfficientNet adds to the variance of its norms what torchvision's of its size does."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from detkit.models.backbones.efficientnet.network import EfficientNet
from detkit.models.norm import FrozenBatchNorm


@pytest.mark.parametrize("variant", ["b0", "b5", "v2_s"])
def test_norms_add_what_torchvisions_do(variant: str) -> None:
    with torch.device("meta"):
        ours = EfficientNet(variant=variant, width=0.125)  # type: ignore[arg-type]
        theirs = torchvision.models.get_model(f"efficientnet_{variant}")
    added = {m.eps for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)}
    assert {m.eps for m in ours.modules() if isinstance(m, FrozenBatchNorm)} == added
