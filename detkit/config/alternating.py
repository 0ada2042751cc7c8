"""Learning a region proposal network and a Fast R-CNN in turn."""

from __future__ import annotations

from typing import Literal

from detkit.config.spec import Spec
from detkit.config.training import Precision


class Alternating(Spec):
    """Faster R-CNN's 4-step training (Ren 2015), which ends in one network that shares its convolutions."""

    type: Literal["alternating"]
    precision: Precision = "auto"
    """Arithmetic of the network: `auto` takes bf16 where the processor computes in it, otherwise fp32."""
