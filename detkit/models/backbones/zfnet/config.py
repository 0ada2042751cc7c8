"""ZFNet's part of the YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.models.backbones.config import ALL_STAGES, BackboneConfig


class ZFNetConfig(BackboneConfig):
    """ZFNet (Zeiler and Fergus 2014, as in SPP-net and Faster R-CNN): conv1 to conv5, stride 16."""

    type: Literal["zfnet"] = "zfnet"
    freeze_at: Annotated[int, Field(ge=0, le=ALL_STAGES)] = 1
    """How many convolutions from the input on stay as they are."""
