"""Learning in stages, each of which leaves one file: R-CNN and SPP-net."""

from __future__ import annotations

from typing import Literal

from detkit.config.spec import Spec
from detkit.config.training import Precision


class Staged(Spec):
    """One stage after the other, as R-CNN (Girshick 2014) and SPP-net (He 2014) are learned."""

    type: Literal["staged"]
    precision: Precision = "auto"
    """Arithmetic of the network: `auto` takes bf16 where the processor computes in it, otherwise fp32."""
