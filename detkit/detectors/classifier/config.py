"""An image classifier: step 1 of every detector's recipe, whose weights a backbone starts from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from detkit.detectors.config import DetectorConfig, Values, kind_of
from detkit.models.backbones.families import PublishedBackboneConfig, family_named
from detkit.spec import Count, Fraction, Positive, Spec, fill


class ViewsConfig(Spec):
    """Which cuts of an image are looked at in a test; their scores are averaged."""

    crops: Literal["center", "ten"] = "center"
    """`center`, or `ten`: the corners, the centre and their mirror images (Krizhevsky 2012)."""
    scales: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0,)
    """Sizes of the image, as shares of `data.resize.short_px`; each gives its own cuts."""


class ClassifierConfig(DetectorConfig):
    """A backbone with the rest of its published network, which says what an image shows."""

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)
    classifies_images: ClassVar[bool] = True

    type: Literal["classifier"] = "classifier"
    backbone: PublishedBackboneConfig
    """The network. Here nothing is frozen and norms are trainable unless the config says otherwise."""
    crop_px: Annotated[int, Field(ge=33)] = 224
    """Side of the square that the network sees in a test, in pixels; below 33 the last map would be a
    single cell."""
    dropout: Fraction = 0.5
    """Share of activations dropped: 0.5 around fc6 and fc7, 0.4 before GoogLeNet's last layer, 0 in ResNet
    unless the config says otherwise."""
    label_smoothing: Fraction = 0.0
    """Share of the target that is spread over all classes (Szegedy 2016)."""
    views: ViewsConfig = ViewsConfig()
    """What is seen in a test."""
    top: Count = 5
    """How many classes are reported for an image, best first."""

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
        """Evaluate by accuracy."""
        return fill({"evaluate": {}, **config}, {"evaluate": {"metric": "top1"}})
