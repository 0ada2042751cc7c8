"""How R-CNN and SPP-net decide: a linear SVM or a softmax for the class, ridge regression for the box."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from detkit.models.backbones.families import family_named
from detkit.spec import Count, CustomConfig, Fraction, Positive, Spec

Layer = Literal["pool5", "fc6", "fc7"]


class SVMConfig(Spec):
    """One linear SVM a class, fitted with hard negatives. A score is the logistic function of the margin."""

    c: Positive = 0.001
    """Weight of the errors, which are summed over the examples, against the norm of the plane."""
    positive_weight: Positive = 2.0
    """Weight of the errors on objects against those on background."""
    bias_multiplier: Positive = 10.0
    """Constant that is appended to the features for the bias."""
    negative_iou: Fraction = 0.3
    """A box is a negative of a class below this IoU with each of its objects."""
    hard_above: Annotated[float, Field(lt=0)] = -1.0001
    """Negatives above this margin are hard: they are trained on."""
    evict_below: Annotated[float, Field(lt=0)] = -1.2
    """Negatives that come to lie below this margin are dropped again."""
    retrain_after: Count = 2000
    """A class is fitted anew after so many new hard negatives."""


class DecisionConfig(Spec):
    """The keys that every decision of detkit's own has."""

    dropout: Fraction = 0.5
    """Share of activations dropped after fc6 and fc7 in fine-tuning."""
    score_threshold: Fraction = 0.2
    """Detections below this score are not reported."""
    nms_iou: Fraction = 0.3
    """Non-maximum suppression within a class."""
    soft_nms: Literal["linear", "gaussian"] | None = None
    """Lower the scores of boxes that overlap a better one of their class, instead of dropping the boxes
    (Bodla et al. 2017): `linear` by the IoU where it is above `nms_iou`, `gaussian` by a Gaussian of it."""
    soft_nms_sigma: Positive = 0.5
    """Of that Gaussian."""
    detections_per_class: Count = 100
    """At most this many boxes of a class and image are looked at, the best, before suppression."""


class SVMDecisionConfig(DecisionConfig, SVMConfig):
    """One linear SVM a class, fitted with hard negatives.

    A score is the logistic function of the margin: 0.5 lies on the plane, and the default threshold of 0.2 is
    a margin of -1.4.
    """

    type: Literal["svm"] = "svm"
    features: Layer = "fc7"
    """The layer it sees. Resnet and googlenet have `pool5` alone, the mean of their last stage; there it is
    the default."""


class SoftmaxDecisionConfig(DecisionConfig):
    """The classifier of the fine-tuning itself: R-CNN's own comparison (50.9 instead of 54.2 mAP)."""

    type: Literal["softmax"] = "softmax"
    score_threshold: Fraction = 0.05
    """Detections below this score are not reported."""


AnyDecisionConfig = Annotated[
    SVMDecisionConfig | SoftmaxDecisionConfig | CustomConfig, Field(discriminator="type")
]


class BoxRegressionConfig(Spec):
    """Ridge regression of the box from pool5, one for each class."""

    ridge: Positive = 1000.0
    """Weight of the coefficients' norm against the squared errors (4000 in SPP-net)."""
    min_iou: Fraction = 0.6
    """It learns from boxes that overlap an object by more than this (0.5 in SPP-net)."""


def with_features(data: dict[str, Any]) -> dict[str, Any]:
    """Return a detector's mapping with the layer that its SVM sees filled in, by the backbone."""
    backbone, head = data.get("backbone"), data.get("head")
    if not isinstance(backbone, dict) or not isinstance(head, dict) or head.get("type") != "svm":
        return data
    if not _is_without_fc(backbone.get("type")):
        return data
    return {**data, "head": {"features": "pool5", **head}}


def require_features(backbone: str, head: AnyDecisionConfig) -> None:
    """Check that a network has the layer that the SVM is to see.

    Raises:
        ValueError: it has not.
    """
    if isinstance(head, SVMDecisionConfig) and head.features != "pool5" and _is_without_fc(backbone):
        raise ValueError(f"head.features: {backbone} has no {head.features}; take pool5")


def _is_without_fc(backbone: object) -> bool:
    """Return whether a `type` of backbone stands for one without fc6 and fc7; a user's own has none."""
    family = family_named(backbone)
    return family.fc is None if family else backbone == "custom"
