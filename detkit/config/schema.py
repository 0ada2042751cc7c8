"""The whole config: what every YAML file holds, united from the rooms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.data.transforms.config import ScaleCropConfig
from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.config import CustomDetectorConfig, DetectorConfig
from detkit.detectors.dpm.config import DPMConfig, LatentSVMConfig
from detkit.detectors.dpm_cnn.config import DPMCNNConfig
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.config import AlternatingConfig, FasterRCNNConfig
from detkit.detectors.hog_svm.config import HOGSVMConfig, MiningConfig
from detkit.detectors.localizer.config import LocalizerConfig
from detkit.detectors.overfeat.config import OverFeatConfig
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.sppnet.config import SPPNetConfig
from detkit.evaluation.config import EvaluateConfig
from detkit.spec import Count, CustomConfig, Index, Spec, tagged
from detkit.training.loop.config import GradientConfig
from detkit.training.staged.config import StagedConfig

AnyDetectorConfig = Annotated[
    FasterRCNNConfig
    | CascadeRCNNConfig
    | FastRCNNConfig
    | RCNNConfig
    | SPPNetConfig
    | DPMConfig
    | DPMCNNConfig
    | OverFeatConfig
    | HOGSVMConfig
    | ClassifierConfig
    | LocalizerConfig
    | CustomDetectorConfig,
    Field(discriminator="type"),
]

AnyTrainConfig = Annotated[
    GradientConfig | StagedConfig | AlternatingConfig | MiningConfig | LatentSVMConfig,
    Field(discriminator="type"),
]

DETECTORS: dict[str, type[DetectorConfig]] = tagged(AnyDetectorConfig)


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
    detector: AnyDetectorConfig
    """The model."""
    data: DataConfig
    """Images and annotations."""
    train: AnyTrainConfig
    """How the weights are trained."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """How detections are evaluated."""

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, values: Any) -> Any:
        """Let the detector set, elsewhere in the config, what its paper does otherwise than the rest."""
        detector = values.get("detector") if isinstance(values, dict) else None
        kind = detector.get("type") if isinstance(detector, dict) else getattr(detector, "type", None)
        return DETECTORS[kind].complete(values) if isinstance(kind, str) and kind in DETECTORS else values

    @model_validator(mode="after")
    def _images_are_of_the_detectors_kind(self) -> Config:
        if isinstance(self.detector, CustomDetectorConfig):
            return self
        classifies = self.detector.classifies_images
        sets = [
            part for part in (self.data.train, self.data.val) if not isinstance(part, CustomConfig | None)
        ]
        if any(part.whole_images != classifies for part in sets):
            raise ValueError(
                "detector.type: classifier goes with data of type image_folder or object_crops alone, "
                "and they with it alone, but for object_crops with boxes: object"
            )
        if (self.evaluate.metric == "top1") != classifies:
            raise ValueError("evaluate.metric: top1 is a classifier's, and its only one")
        if classifies and self.evaluate.augment is not None:
            raise ValueError("evaluate.augment: must be null; a classifier's views are detector.views")
        cuts = any(isinstance(item, ScaleCropConfig) for part in sets for item in part.augment)
        if cuts and not classifies:
            raise ValueError("augment: scale_crop is a classifier's; random_crop keeps a detector's objects")
        return self

    @model_validator(mode="after")
    def _parts_go_with_the_detector(self) -> Config:
        self.detector.check(self.data, self.train)
        if self.train.type not in self.detector.train_types:
            ways = " or ".join(self.detector.train_types)
            raise ValueError(
                f"train.type: {self.detector.type} is trained by {ways}, not by {self.train.type}"
            )
        return self
