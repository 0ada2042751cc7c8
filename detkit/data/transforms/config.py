"""Size and augmentation of the images."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from detkit.spec import Count, CustomConfig, Fraction, NonNegative, Spec


class ResizeConfig(Spec):
    """One size rule for training and test: the short side to `short_px`, the long side at most `long_px`."""

    short_px: Count = 600
    """Length of the short side in pixels."""
    long_px: Count = 1000
    """Upper limit of the long side in pixels."""
    like: Literal["detkit", "torchvision", "caffe"] = "detkit"
    """Whose way to resize: detkit's averages pixels where an image shrinks and keeps them bytes;
    torchvision's samples between normalised pixels and rounds sides down, for weights from there; so does
    that of Caffe's Fast and Faster R-CNN, which rounds to the nearest and has a mean of its own."""

    @model_validator(mode="after")
    def _ordered(self) -> ResizeConfig:
        if self.short_px > self.long_px:
            raise ValueError(f"short_px ({self.short_px}) must not exceed long_px ({self.long_px})")
        return self


class SometimesConfig(Spec):
    """Keys of a change that is made to some images only."""

    type: str
    probability: Fraction = 0.5
    """Fraction of the images it is applied to."""


class FlipConfig(SometimesConfig):
    """Mirror the image."""

    type: Literal["flip"] = "flip"
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """Left-right or top-bottom; the second only where up and down mean nothing (microscopy, aerial)."""


class MultiScaleConfig(Spec):
    """Resize the short side to one of several lengths instead of `data.resize.short_px`."""

    type: Literal["multi_scale"] = "multi_scale"
    short_px: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The lengths to choose from, in pixels."""


class RandomCropConfig(SometimesConfig):
    """Cut out a window; objects whose centre leaves it are dropped, the others clipped."""

    type: Literal["random_crop"] = "random_crop"
    min_scale: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Shortest side of the window as a fraction of the image's."""


class ZoomOutConfig(SometimesConfig):
    """Put the image on a larger canvas filled with the mean colour, so that objects become smaller."""

    type: Literal["zoom_out"] = "zoom_out"
    max_scale: Annotated[float, Field(ge=1)] = 2.0
    """Largest side of the canvas as a multiple of the image's."""


class ColorJitterConfig(SometimesConfig):
    """Change brightness, contrast, saturation and hue at random."""

    type: Literal["color_jitter"] = "color_jitter"
    brightness: NonNegative = 0.2
    """Factor within 1 +- this."""
    contrast: NonNegative = 0.2
    """Factor within 1 +- this."""
    saturation: NonNegative = 0.2
    """Factor within 1 +- this."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Shift within +- this fraction of the colour circle."""


class ScaleCropConfig(Spec):
    """Resize the short side to a random length, then cut out a square: the image of a classifier.

    It takes the place of the final resizing and is the last change of the image.
    """

    type: Literal["scale_crop"] = "scale_crop"
    short_px: tuple[Count, Count] = (256, 480)
    """Shortest and longest length of the short side, in pixels."""
    size_px: Count = 224
    """Side of the square, in pixels; at most the shortest length."""

    @model_validator(mode="after")
    def _fits(self) -> ScaleCropConfig:
        if not self.size_px <= self.short_px[0] <= self.short_px[1]:
            raise ValueError(f"short_px ({list(self.short_px)}) must rise from size_px ({self.size_px}) on")
        return self


class NoiseConfig(SometimesConfig):
    """Add Gaussian noise to every pixel."""

    type: Literal["noise"] = "noise"
    sigma: NonNegative = 8.0
    """Largest standard deviation, in grey levels of 255."""


class AffineConfig(SometimesConfig):
    """Rotate, shear and stretch a little; boxes become the box around their turned corners."""

    type: Literal["affine"] = "affine"
    degrees: Annotated[float, Field(ge=0, le=45)] = 5.0
    """Largest rotation either way."""
    shear_degrees: Annotated[float, Field(ge=0, le=30)] = 3.0
    """Largest shear either way."""
    stretch: Annotated[float, Field(ge=1, le=2)] = 1.1
    """Largest change of the aspect ratio."""


class LensDistortionConfig(SometimesConfig):
    """Bend the image as a lens does (Brown 1966); boxes become the box around their bent sides.

    What lies at radius r goes to r (1 + k1 r^2 + k2 r^4), where 1 is the radius of a corner.
    """

    type: Literal["lens_distortion"] = "lens_distortion"
    k1: Annotated[float, Field(ge=0, lt=1 / 3)] = 0.1
    """Largest factor of the square of the radius either way: barrel or cushion."""
    k2: Annotated[float, Field(ge=0, lt=0.2)] = 0.02
    """Largest factor of its fourth power either way."""

    @model_validator(mode="after")
    def _is_seen_once(self) -> LensDistortionConfig:
        if 3 * self.k1 + 5 * self.k2 >= 1:
            raise ValueError(
                f"k1 ({self.k1}) and k2 ({self.k2}) are too large together: 3 k1 + 5 k2 must be below 1, "
                "otherwise the image folds over itself at its corners"
            )
        return self


TransformConfig = Annotated[
    FlipConfig
    | MultiScaleConfig
    | RandomCropConfig
    | ZoomOutConfig
    | ColorJitterConfig
    | NoiseConfig
    | AffineConfig
    | LensDistortionConfig
    | ScaleCropConfig
    | CustomConfig,
    Field(discriminator="type"),
]
