"""The `data` section of a config: datasets, classes and image size."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Literal

from pydantic import Field, model_validator

from detkit.data.datasets.config import AnyDatasetConfig, DatasetConfig
from detkit.data.transforms.config import ResizeConfig
from detkit.spec import Index, Spec


class DataConfig(Spec):
    """Training and validation data."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Class names, in the order of the model's outputs. `detkit init` writes them."""
    ignore_classes: tuple[str, ...] = ()
    """Classes that the annotations hold but that are left out."""
    train: AnyDatasetConfig
    """The training set."""
    val: AnyDatasetConfig | None = None
    """The validation set, during training and for `detkit eval`."""
    invalid_boxes: Literal["error", "clip", "drop"] = "error"
    """Treatment of a box that has no area or leaves its image: stop and say where, cut it to the
    image (without area left: drop it), or drop it. What was changed is counted and reported."""
    use_difficult: bool = False
    """Train on objects marked difficult, too (R-CNN and Fast R-CNN did, Faster R-CNN did not). Without
    it they are no background either."""
    resize: ResizeConfig | None = ResizeConfig()
    """Size of the images; null leaves them as they are, which is R-CNN's default."""
    group_by_aspect: bool = True
    """Batch wide images with wide ones and tall with tall, so that less is padding."""
    repeat_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Repeat images of classes that fewer than this fraction of the images hold (Gupta 2019); 0 is off."""
    workers: Index | None = None
    """Processes that load images; null takes the number of cores less one, at most 8."""

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        repeated = sorted(name for name, count in Counter(self.classes).items() if count > 1)
        if repeated:
            raise ValueError(f"classes has {', '.join(repeated)} more than once")
        if isinstance(self.val, DatasetConfig) and self.val.augment:
            raise ValueError("val.augment must be empty: a changed image measures something else")
        return self
