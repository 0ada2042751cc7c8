"""A localizer: class and box of the one object of an image, as two heads of one network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.data.datasets.config import ImageFolderConfig
from detkit.detectors.config import DetectorConfig, Values, kind_of
from detkit.errors import UserError
from detkit.models.backbones.families import PublishedBackboneConfig, family_named, family_of
from detkit.spec import Count, Fraction, NonNegative, Positive, Spec, fill, mapping_of
from detkit.training.config import TrainConfig

if TYPE_CHECKING:
    from detkit.annotations.keypoints import KeypointLayout


class RegressionConfig(Spec):
    """The head that says where the object is, and how it is trained."""

    attach: Literal["conv", "fc"] = "conv"
    """What it sees: the last convolution's map, through a hidden layer of its own (Sermanet 2014), or the
    activations of fc7, as the logits do (Simonyan 2015)."""
    channels: Count = 1024
    """Width of its hidden layer behind `conv`."""
    class_agnostic: bool = True
    """One regressor for all classes instead of one for each."""
    loss: Literal["l2", "smooth_l1"] = "l2"
    """The squared distance, or smooth L1, of what is regressed, summed."""
    beta: Positive = 0.05
    """Where smooth L1 goes over from a square to a line, in sides of the image."""
    loss_weight: NonNegative = 10.0
    """Factor of the loss beside that of the class."""


class KeypointsConfig(Spec):
    """The key points of the object, beside its box, and how they are found (Toshev 2014)."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    """The points, those of the training set in its order; left_ and right_ ones change places in a mirror."""
    skeleton: tuple[tuple[str, str], ...] = ()
    """Pairs of points that a line joins in drawings."""
    stages: Count = 1
    """Regressions one after another: the first sees the whole image, each further one, a network of its own,
    a crop around each point that the one before found."""
    crop_scale: Positive = 0.5
    """Side of such a crop, in longer sides of the object's box."""
    loss_weight: NonNegative = 10.0
    """Factor of the loss of each stage beside that of the class."""

    @model_validator(mode="after")
    def _differ(self) -> KeypointsConfig:
        if len(set(self.names)) < len(self.names):
            raise ValueError("keypoints.names has a name more than once")
        if unknown := [end for line in self.skeleton for end in line if end not in self.names]:
            raise ValueError(f"keypoints.skeleton has {unknown[0]!r}, which keypoints.names has not")
        return self


class LocalizerConfig(DetectorConfig):
    """A network that says which object an image shows, and where; its other objects it leaves out."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)

    type: Literal["localizer"] = "localizer"
    backbone: PublishedBackboneConfig
    """The network. Here nothing is frozen and norms are trainable unless the config says otherwise."""
    size_px: Annotated[int, Field(ge=33)] = 224
    """Side of the square that the whole image is warped to, in pixels; below 33 the last map would be a
    single cell."""
    dropout: Fraction = 0.5
    """Share of activations dropped, as in a classifier."""
    regression: RegressionConfig = RegressionConfig()
    """Where the object is."""
    keypoints: KeypointsConfig | None = None
    """Where its key points are; null looks for none."""
    top: Count = 5
    """How many classes are guessed for an image, best first, each with a box."""

    @classmethod
    def filled(cls, parts: Values) -> Values:
        """Return the mappings with what the backbone's own classifier has."""
        family = family_named(kind_of(parts.get("backbone")))
        if family is None:
            return parts
        own = {"freeze_at": 0} | ({"norm": "trainable"} if family.has_norm else {})
        return fill(parts, {"backbone": own, "dropout": family.classifier_dropout})

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Evaluate by localization, and let crops keep the boxes of their objects."""
        points = mapping_of(config.get("detector") or {}).get("keypoints")
        metric = "top1_loc" if points is None else "oks"
        found = fill({"evaluate": {}, **config}, {"evaluate": {"metric": metric}})
        data = mapping_of(found.get("data"))
        if not isinstance(data, dict):
            return found
        for name in ("train", "val"):
            part = mapping_of(data.get(name))
            if kind_of(part) == "object_crops":
                data = data | {name: fill(part, {"boxes": "object"})}
        return found | {"data": data}

    @model_validator(mode="after")
    def _has_what_it_branches_from(self) -> LocalizerConfig:
        if self.regression.attach == "fc" and family_of(self.backbone).fc is None:
            raise ValueError(
                f"regression.attach: fc needs a backbone with fc6 and fc7, which {self.backbone.type} has "
                "not; take conv"
            )
        return self

    @property
    def other_sides(self) -> tuple[int, ...]:
        """Left points are taken for right ones in a mirror."""
        from detkit.annotations.keypoints import KeypointLayout  # late: it loads NumPy

        return () if self.keypoints is None else KeypointLayout(self.keypoints.names).mirrored

    @property
    def skeleton(self) -> tuple[tuple[int, int], ...]:
        """Pairs of places among the key points, which a line joins in drawings."""
        if self.keypoints is None:
            return ()
        place = self.keypoints.names.index
        return tuple((place(start), place(end)) for start, end in self.keypoints.skeleton)

    def for_other_data(self, points: KeypointLayout | None) -> Self:
        """Return the config with the key points of the data in place of its own."""
        if self.keypoints is None:
            return self
        if points is None:
            raise UserError(
                "detector.keypoints: the dataset names no key points; --detector localizer_resnet18_boxes "
                "looks for boxes alone"
            )
        lines = tuple((points.names[start], points.names[end]) for start, end in points.skeleton)
        own = self.keypoints.model_copy(update={"names": points.names, "skeleton": lines})
        return self.model_copy(update={"keypoints": own})

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that the images have boxes.

        Raises:
            ValueError: they do not.
        """
        super().check(data, train)
        if any(isinstance(part, ImageFolderConfig) for part in (data.train, data.val)):
            raise ValueError("detector.type: localizer learns boxes, which an image_folder does not have")

    @property
    def max_detections(self) -> int:
        """Most detections of an image."""
        return self.top
