"""The keys that every published backbone has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.spec import Spec

Norm = Literal["frozen", "sync", "trainable"]

ALL_STAGES = 5
"""A value of `freeze_at` that freezes the whole of any backbone."""

PYRAMID_STRIDES = (4, 8, 16, 32)
"""Pixels per cell of the maps that a feature pyramid is built on, as a rule."""

Stages = Annotated[int, Field(ge=0, le=ALL_STAGES)]


class BackboneConfig(Spec):
    """The config of a published backbone; each family has its own."""

    type: str
    width: Annotated[float, Field(gt=0, le=4)] = 1.0
    """Multiplies the number of channels of every layer; 1 is the published size."""
    weights: str = "none"
    """`none`, a torchvision weights name such as IMAGENET1K_V1 (downloaded when first used), or a file."""
    freeze_at: Stages = 2
    """How many stages from the input on stay as they are; 0 trains everything. Without weights nothing
    is frozen: it would be noise."""

    @property
    def uses_last_stage(self) -> bool:
        """Whether the backbone's map comes from the last stage, so that there is none left for a head."""
        return False

    @property
    def map_strides(self) -> tuple[int, ...]:
        """Pixels per cell of the maps that it gives to a feature pyramid, finest first."""
        return PYRAMID_STRIDES

    @property
    def frozen_stages(self) -> int:
        """Number of stages that are frozen; random weights never are."""
        return 0 if self.weights == "none" else self.freeze_at
