"""The ways to learn a detector."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.detectors.faster_rcnn.alternating_config import Alternating
from detkit.training.staged.config import Staged
from detkit.training.loop.config import Gradient

Train = Annotated[Gradient | Staged | Alternating, Field(discriminator="type")]
