"""What may stand between a backbone and the rest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from detkit.spec import Count, CustomConfig, Spec


class NoNeckConfig(Spec):
    """The backbone's last map as it is: C4 for a ResNet, conv5 for VGG and AlexNet."""

    type: Literal["none"] = "none"


class FPNConfig(Spec):
    """Feature pyramid (Lin 2017): the backbone's maps, at strides 4 to 32, and one more for the RPN."""

    type: Literal["fpn"] = "fpn"
    channels: Count = 256
    """Channels of every map."""
    norm: Literal["none", "trainable", "sync"] = "none"
    """Batch normalisation after each convolution of the pyramid."""


AnyNeckConfig = Annotated[NoNeckConfig | FPNConfig | CustomConfig, Field(discriminator="type")]
