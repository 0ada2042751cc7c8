"""The detectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.spec import CustomConfig

AnyDetectorConfig = Annotated[
    FasterRCNNConfig | FastRCNNConfig | RCNNConfig | SPPNetConfig | ClassifierConfig | CustomConfig,
    Field(discriminator="type"),
]
