"""The detectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.detectors.classifier.config import Classifier
from detkit.detectors.fast_rcnn.config import FastRCNN
from detkit.detectors.faster_rcnn.config import FasterRCNN
from detkit.detectors.rcnn.config import RCNN
from detkit.spec import Custom
from detkit.detectors.sppnet.config import SPPNet

Detector = Annotated[FasterRCNN | FastRCNN | RCNN | SPPNet | Classifier | Custom, Field(discriminator="type")]
