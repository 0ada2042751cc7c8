"""The whole config: what every YAML file holds, and the one owner of every default."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detkit.config.classifier import Classifier
from detkit.config.data import ClassifiedSet, Data, ScaleCrop
from detkit.config.detector import Detector
from detkit.config.spec import Count, Custom, Index, Spec
from detkit.config.train import Train
from detkit.config.wiring import fill

WAYS_TO_LEARN = {
    "faster_rcnn": ("gradient", "alternating"),
    "fast_rcnn": ("gradient", "staged"),
    "rcnn": ("staged",),
    "sppnet": ("staged",),
    "classifier": ("gradient",),
}


class Evaluate(Spec):
    """How detections are judged."""

    metric: Literal["voc07", "voc10", "coco", "top1"] = "voc07"
    """`voc07`: 11-point AP at IoU 0.5; `voc10`: area under the curve at IoU 0.5; `coco`: AP over IoU
    0.50:0.95; `top1`, the default and the only one of a classifier: share of images whose class comes first.
    It also decides which checkpoint is best."""
    batch_size: Count = 1
    """Images worked off together."""
    compile: bool = False
    """Let torch.compile translate what computes the feature maps: for `detkit eval` on thousands of
    images."""


class Config(Spec):
    """One detector, its data and its training."""

    version: Literal[1]
    """Version of this format."""
    seed: Index = 0
    """Seeds the weights, the order of the images, the augmentation and the sampling."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    """`auto` takes CUDA, then MPS, then the CPU; or one of cpu, cuda, cuda:N, mps."""
    deterministic: bool = False
    """Refuse operations whose result changes from run to run."""
    threads: Literal["auto"] | Count = "auto"
    """Threads that a CPU computes with. `auto` measures, at the start and now and then, whether all cores or
    fewer are faster, which is so beside other busy programs; a number stays. `OMP_NUM_THREADS` in the
    environment wins."""
    detector: Detector
    """The model."""
    data: Data
    """Images and labels."""
    train: Train
    """How the weights are learned."""
    evaluate: Evaluate = Evaluate()
    """How detections are judged."""

    @model_validator(mode="before")
    @classmethod
    def _classifiers_are_judged_by_accuracy(cls, data: Any) -> Any:
        detector = data.get("detector") if isinstance(data, dict) else None
        if not isinstance(detector, dict) or detector.get("type") != "classifier":
            return data
        return fill({"evaluate": {}, **data}, {"evaluate": {"metric": "top1"}})

    @model_validator(mode="after")
    def _classifiers_see_images_of_one_class(self) -> Config:
        if isinstance(self.detector, Custom):
            return self
        classifies = isinstance(self.detector, Classifier)
        sets = [part for part in (self.data.train, self.data.val) if not isinstance(part, Custom | None)]
        if any(isinstance(part, ClassifiedSet) != classifies for part in sets):
            raise ValueError(
                "detector.type: classifier goes with data of type image_folder or object_crops alone, "
                "and they with it alone"
            )
        if (self.evaluate.metric == "top1") != classifies:
            raise ValueError("evaluate.metric: top1 is a classifier's, and its only one")
        cuts = any(isinstance(item, ScaleCrop) for part in sets for item in part.augment)
        if cuts and not classifies:
            raise ValueError("augment: scale_crop is a classifier's; random_crop keeps a detector's objects")
        return self

    @model_validator(mode="before")
    @classmethod
    def _reads_images_as_they_are(cls, data: Any) -> Any:
        """R-CNN cuts its regions out of the image itself, unless a size is asked for."""
        detector = data.get("detector") if isinstance(data, dict) else None
        if not isinstance(detector, dict) or detector.get("type") != "rcnn":
            return data
        return fill(data, {"data": {"resize": None}})

    @model_validator(mode="before")
    @classmethod
    def _fine_tunes_as_in_its_paper(cls, data: Any) -> Any:
        """SPP-net leaves regions out that overlap no object at all."""
        detector, train = (data.get(key) if isinstance(data, dict) else None for key in ("detector", "train"))
        if not isinstance(detector, dict) or detector.get("type") != "sppnet" or not isinstance(train, dict):
            return data
        tuned = train.get("fine_tune", {})
        if train.get("type") != "staged" or not isinstance(tuned, dict):
            return data
        return {**data, "train": {**train, "fine_tune": {"bg_low_iou": 0.1, **tuned}}}

    @model_validator(mode="after")
    def _regions_are_changed_by_their_own_rules(self) -> Config:
        augment = getattr(self.data.train, "augment", ())
        if self.detector.type == "rcnn" and augment:
            raise ValueError(
                "data.train.augment must be empty with rcnn, which learns from regions as they are; "
                "train.fine_tune.flip mirrors them"
            )
        return self

    @model_validator(mode="after")
    def _learned_in_its_way(self) -> Config:
        ways = WAYS_TO_LEARN.get(self.detector.type)
        if ways is not None and self.train.type not in ways:
            raise ValueError(
                f"train.type: {self.detector.type} is learned by {' or '.join(ways)}, not {self.train.type}"
            )
        return self

    @model_validator(mode="after")
    def _copies_are_of_the_image(self) -> Config:
        scales = getattr(self.detector, "scales_px", ())
        short_px = self.data.resize.short_px if self.data.resize else None
        if scales and scales[-1] != short_px:
            raise ValueError(
                f"detector.scales_px ends with {scales[-1]}, but images come with data.resize.short_px "
                f"{short_px}; smaller copies are made of it, so the two must be equal"
            )
        return self

    @model_validator(mode="after")
    def _targets_can_be_measured(self) -> Config:
        head = getattr(self.detector, "head", None)
        measured = getattr(head, "box_targets", "fixed") == "measured"
        if measured and self.detector.type == "faster_rcnn" and self.train.type == "gradient":
            raise ValueError(
                "head.box_targets: measured needs proposals that are known before the training; those of "
                "faster_rcnn are not where both stages learn together: take fixed, or train.type: alternating"
            )
        return self
