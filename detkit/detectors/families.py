"""The list of all detectors: of each its config, its builder and its recipes by `train.type`.

A detector is added by its folder, an entry here and one in the union of `detkit.config.schema`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import nn

from detkit.detectors.cascade_rcnn.builder import build_cascade_rcnn
from detkit.detectors.cascade_rcnn.config import CascadeRCNNConfig
from detkit.detectors.classifier.builder import build_classifier
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.config import CustomDetectorConfig, DetectorConfig
from detkit.detectors.dpm.builder import build_dpm
from detkit.detectors.dpm.config import DPMConfig
from detkit.detectors.dpm_cnn.builder import build_dpm_cnn
from detkit.detectors.dpm_cnn.config import DPMCNNConfig
from detkit.detectors.fast_rcnn.builder import build_fast_rcnn
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.detectors.faster_rcnn.builder import build_faster_rcnn
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.detectors.hog_svm.builder import build_hog_svm
from detkit.detectors.hog_svm.config import HOGSVMConfig
from detkit.detectors.localizer.builder import build_localizer
from detkit.detectors.localizer.config import LocalizerConfig
from detkit.detectors.overfeat.builder import build_overfeat
from detkit.detectors.overfeat.config import OverFeatConfig
from detkit.detectors.rcnn.builder import build_rcnn
from detkit.detectors.rcnn.config import RCNNConfig
from detkit.detectors.shared_parts import build_custom_detector
from detkit.detectors.sppnet.builder import build_sppnet
from detkit.detectors.sppnet.config import SPPNetConfig

if TYPE_CHECKING:
    from detkit.detectors.staged_recipe import Batches
    from detkit.detectors.task import Progress, Task
    from detkit.detectors.training_images import TrainingImages

Recipe = Callable[["Task"], "Progress"]
"""Trains a detector and leaves model.safetensors in the task's folder."""


def later(module: str, name: str) -> Callable[..., Any]:
    """Return a function of `detkit.detectors` that is imported when it is called.

    What trains takes longer to import than a detector needs for an image.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(import_module(f"detkit.detectors.{module}"), name)(*args, **kwargs)

    return call


train_by_gradient = later("gradient_recipe", "train_by_gradient")


@dataclass(frozen=True)
class DetectorFamily:
    """A detector of the house.

    Attributes:
        config: its part of the YAML, with the facts that need no torch.
        build: (config, K without background, on_weights) -> model. `on_weights` is called with what became of
            pretrained weights; None leaves them unread. A `UserError` says that weights cannot be read, or
            that a part does not fit.
        recipes: how it is trained, by `train.type`.
        fine_tune_batches: the batches of its fine-tuning, where it is trained in stages.
        draw_training: draws what a training step sees, step by step.
        starts: shipped configs that `detkit init` starts from, tried in turn until the objects have anchors.
        gpu_start: the one on a GPU, where it is another.
    """

    config: type[DetectorConfig]
    build: Callable[..., nn.Module]
    recipes: Mapping[str, Recipe]
    fine_tune_batches: Batches | None = None
    draw_training: Callable[[Task], Iterator[TrainingImages]] = field(
        default=later("training_images", "draw_images")
    )
    starts: tuple[str, ...] = ()
    gpu_start: str = ""


def _staged(
    config: type[DetectorConfig], build: Callable[..., nn.Module], batches: Batches, **more: Any
) -> DetectorFamily:
    """Return a detector that is trained in stages, of which the first sees these batches."""
    return DetectorFamily(
        config,
        build,
        {"staged": partial(later("staged_recipe", "train_in_stages"), batches=batches)},
        batches,
        **more,
    )


FAMILIES = (
    DetectorFamily(
        FasterRCNNConfig,
        build_faster_rcnn,
        {"gradient": train_by_gradient, "alternating": later("faster_rcnn.recipe", "train_alternately")},
        starts=("faster_rcnn_resnet18_c4", "faster_rcnn_resnet18_fpn"),
        gpu_start="faster_rcnn_resnet50_fpn",
    ),
    DetectorFamily(
        CascadeRCNNConfig,
        build_cascade_rcnn,
        {"gradient": train_by_gradient},
        starts=("cascade_rcnn_resnet18_fpn",),
    ),
    DetectorFamily(
        FastRCNNConfig,
        build_fast_rcnn,
        {"gradient": later("fast_rcnn.recipe", "train_fast_rcnn")},
        starts=("fast_rcnn_resnet18_c4",),
    ),
    _staged(
        SPPNetConfig,
        build_sppnet,
        later("sppnet.recipe", "image_batches"),
        starts=("sppnet_resnet18_c5",),
    ),
    _staged(
        RCNNConfig,
        build_rcnn,
        later("rcnn.recipe", "region_batches"),
        draw_training=later("rcnn.recipe", "draw_regions"),
        starts=("rcnn_resnet18_c5",),
    ),
    DetectorFamily(
        DPMConfig,
        build_dpm,
        {"latent_svm": later("dpm.recipe", "train_dpm")},
        starts=("dpm_voc07",),
    ),
    DetectorFamily(
        DPMCNNConfig,
        build_dpm_cnn,
        {"gradient": train_by_gradient},
        starts=("dpm_cnn_resnet18_max5",),
    ),
    DetectorFamily(
        OverFeatConfig,
        build_overfeat,
        {"gradient": train_by_gradient},
        starts=("overfeat_resnet18_c4",),
    ),
    DetectorFamily(
        HOGSVMConfig,
        build_hog_svm,
        {"mining": later("hog_svm.recipe", "train_hog_svm")},
        starts=("hog_svm_voc07",),
    ),
    DetectorFamily(
        ClassifierConfig,
        build_classifier,
        {"gradient": train_by_gradient},
        starts=("classifier_resnet18_folder",),
    ),
    DetectorFamily(
        LocalizerConfig,
        build_localizer,
        {"gradient": later("localizer.recipe", "train_localizer")},
        starts=("localizer_resnet18_boxes",),
    ),
    DetectorFamily(CustomDetectorConfig, build_custom_detector, {"gradient": train_by_gradient}),
)

_BY_CONFIG: dict[type[Any], DetectorFamily] = {family.config: family for family in FAMILIES}


def starts_of(name: str, *, gpu: bool) -> tuple[str, ...]:
    """Return the shipped configs to start from with a family that is named as its `type`, or nearly so.

    Args:
        name: such as fast_rcnn, Fast-RCNN or spp_net.
        gpu: whether the machine has one.

    Example:
        >>> starts_of("spp_net", gpu=False), starts_of("faster_rcnn_vgg16_voc07", gpu=False)
        (('sppnet_resnet18_c5',), ())
    """
    wanted = _letters(name)
    for family in FAMILIES:
        if family.starts and _letters(str(family.config.model_fields["type"].default)) == wanted:
            return (family.gpu_start,) if gpu and family.gpu_start else family.starts
    return ()


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def family_of(config: DetectorConfig) -> DetectorFamily:
    """Return the family that a detector's config belongs to."""
    return _BY_CONFIG[type(config)]
