"""The detectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.config.faster_rcnn import FasterRCNN
from detkit.config.spec import Custom

Detector = Annotated[FasterRCNN | Custom, Field(discriminator="type")]
