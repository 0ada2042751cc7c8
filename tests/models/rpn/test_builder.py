from __future__ import annotations

import pytest

from detkit.errors import UserError
from detkit.models.rpn.builder import build_rpn
from detkit.models.rpn.config import RPNConfig
from detkit.spec import Spec


def config(*sizes: tuple[float, ...]) -> RPNConfig:
    made: Spec = RPNConfig.model_validate({"type": "rpn", "anchors": {"sizes_px": sizes, "ratios": (1.0,)}})
    assert isinstance(made, RPNConfig)
    return made


@pytest.mark.parametrize(
    ("sizes", "channels", "message"),
    [
        (((32.0,), (64.0, 80.0)), (8, 8), r"every feature map needs the same number of sizes.*\[1, 2\]"),
        (((32.0,),), (8, 8), "1 lists of sizes, but there are 2 feature maps"),
        (((32.0,), (64.0,)), (8, 6), r"rpn needs feature maps of one number of channels, got \[8, 6\]"),
    ],
)
def test_maps_share_one_network(
    sizes: tuple[tuple[float, ...], ...], channels: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_rpn(config(*sizes), channels, (8, 16))
