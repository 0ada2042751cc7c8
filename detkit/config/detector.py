"""The detectors."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detkit.config.classifier import Classifier
from detkit.config.fast_rcnn import FastRCNN
from detkit.config.faster_rcnn import FasterRCNN
from detkit.config.rcnn import RCNN
from detkit.config.spec import Custom
from detkit.config.sppnet import SPPNet

Detector = Annotated[FasterRCNN | FastRCNN | RCNN | SPPNet | Classifier | Custom, Field(discriminator="type")]
