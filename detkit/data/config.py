"""Which images and labels, and what happens to them before a model sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from detkit.spec import Count, CustomConfig, Fraction, Index, NonNegative, Spec


class FlipConfig(Spec):
    """Mirror the image."""

    type: Literal["flip"] = "flip"
    probability: Fraction = 0.5
    """How often."""
    direction: Literal["horizontal", "vertical"] = "horizontal"
    """Left-right or top-bottom; the second only where up and down mean nothing (microscopy, aerial)."""


class MultiScaleConfig(Spec):
    """Resize the short side to one of several lengths instead of `data.resize.short_px`."""

    type: Literal["multi_scale"] = "multi_scale"
    short_px: Annotated[tuple[Count, ...], Field(min_length=1)]
    """The lengths to choose from, in pixels."""


class RandomCropConfig(Spec):
    """Cut out a window; objects whose centre leaves it are dropped, the others clipped."""

    type: Literal["random_crop"] = "random_crop"
    probability: Fraction = 0.5
    """How often."""
    min_scale: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Shortest side of the window as a share of the image's."""


class ZoomOutConfig(Spec):
    """Put the image on a larger canvas filled with the mean colour, so that objects become smaller."""

    type: Literal["zoom_out"] = "zoom_out"
    probability: Fraction = 0.5
    """How often."""
    max_scale: Annotated[float, Field(ge=1)] = 2.0
    """Largest side of the canvas as a multiple of the image's."""


class ColorJitterConfig(Spec):
    """Change brightness, contrast, saturation and hue at random."""

    type: Literal["color_jitter"] = "color_jitter"
    probability: Fraction = 0.5
    """How often."""
    brightness: NonNegative = 0.2
    """Factor within 1 +- this."""
    contrast: NonNegative = 0.2
    """Factor within 1 +- this."""
    saturation: NonNegative = 0.2
    """Factor within 1 +- this."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Shift within +- this share of the colour circle."""


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


class NoiseConfig(Spec):
    """Add Gaussian noise to every pixel."""

    type: Literal["noise"] = "noise"
    probability: Fraction = 0.5
    """How often."""
    sigma: NonNegative = 8.0
    """Largest standard deviation, in grey levels of 255."""


class AffineConfig(Spec):
    """Rotate, shear and stretch a little; boxes become the box around their turned corners."""

    type: Literal["affine"] = "affine"
    probability: Fraction = 0.5
    """How often."""
    degrees: Annotated[float, Field(ge=0, le=45)] = 5.0
    """Largest rotation either way."""
    shear_degrees: Annotated[float, Field(ge=0, le=30)] = 3.0
    """Largest shear either way."""
    stretch: Annotated[float, Field(ge=1, le=2)] = 1.1
    """Largest change of the aspect ratio."""


TransformConfig = Annotated[
    FlipConfig
    | MultiScaleConfig
    | RandomCropConfig
    | ZoomOutConfig
    | ColorJitterConfig
    | NoiseConfig
    | AffineConfig
    | ScaleCropConfig
    | CustomConfig,
    Field(discriminator="type"),
]


class DatasetConfig(Spec):
    augment: tuple[TransformConfig, ...] = ()
    """Random changes, in this order; only for training."""


class VOCDatasetConfig(DatasetConfig):
    """PASCAL VOC: one XML file an image."""

    type: Literal["voc"] = "voc"
    root: str
    """Folder with Annotations/ and JPEGImages/, or the VOCdevkit folder with VOC2007/ and so on in it."""
    sets: tuple[str, ...] = ()
    """Names in ImageSets/Main, such as train, or 2007_trainval for a VOCdevkit; or text files with one
    image name a line. Empty: every annotation there is."""


class COCODatasetConfig(DatasetConfig):
    """COCO: one JSON file for all images."""

    type: Literal["coco"] = "coco"
    images: str
    """Folder with the images."""
    annotations: str
    """The instances JSON file."""


class YOLODatasetConfig(DatasetConfig):
    """YOLO: one text file an image, beside or in labels/."""

    type: Literal["yolo"] = "yolo"
    root: str
    """Folder with data.yaml, or with images/ and labels/."""
    split: str = "train"
    """Which part: train, val or test; or a text file with one image path a line."""


class SyntheticDatasetConfig(DatasetConfig):
    """The embedded dataset: drawn while it is read, always the same for the same seed."""

    type: Literal["synthetic"] = "synthetic"
    num_images: Count = 400
    """How many images."""
    seed: Index = 0
    """Which images."""


class ImageFolderConfig(DatasetConfig):
    """Images for a classifier: one folder for each class, as ImageNet comes."""

    type: Literal["image_folder"] = "image_folder"
    root: str
    """Folder with train/CLASS/ and val/CLASS/."""
    split: str = "train"
    """Which part: a folder in `root`; all where the classes lie in `root` itself; or a text file with one
    image path a line."""


class ObjectCropsConfig(DatasetConfig):
    """Images for a classifier, cut out of a detection dataset: one for each labelled object."""

    type: Literal["object_crops"] = "object_crops"
    of: Annotated[
        VOCDatasetConfig | COCODatasetConfig | YOLODatasetConfig | SyntheticDatasetConfig,
        Field(discriminator="type"),
    ]
    """Where the objects come from. Difficult ones and crowds are left out."""
    context: NonNegative = 0.2
    """Widen each box to every side by this share of its own width and height."""

    @model_validator(mode="after")
    def _plain(self) -> ObjectCropsConfig:
        if self.of.augment:
            raise ValueError("of.augment must be empty: write it beside `of`, the crops are what is changed")
        return self


ClassifiedDatasetConfig = ImageFolderConfig | ObjectCropsConfig
"""What a classifier learns from."""

AnyDatasetConfig = Annotated[
    VOCDatasetConfig
    | COCODatasetConfig
    | YOLODatasetConfig
    | SyntheticDatasetConfig
    | ImageFolderConfig
    | ObjectCropsConfig
    | CustomConfig,
    Field(discriminator="type"),
]


class ResizeConfig(Spec):
    """One size rule for training and test: the short side to `short_px`, the long side at most `long_px`."""

    short_px: Count = 600
    """Length of the short side in pixels."""
    long_px: Count = 1000
    """Upper limit of the long side in pixels."""

    @model_validator(mode="after")
    def _ordered(self) -> ResizeConfig:
        if self.short_px > self.long_px:
            raise ValueError(f"short_px ({self.short_px}) must not exceed long_px ({self.long_px})")
        return self


class DataConfig(Spec):
    """The images and labels to learn from and to be judged by."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    """Class names, in the order of the model's outputs. `detkit init` writes them."""
    ignore_classes: tuple[str, ...] = ()
    """Classes that the annotations hold but that are not to be learned."""
    train: AnyDatasetConfig
    """What to learn from."""
    val: AnyDatasetConfig | None = None
    """What to be judged by, during training and by `detkit eval`."""
    invalid_boxes: Literal["error", "clip", "drop"] = "error"
    """What to do with a box that has no area or leaves its image: stop and say where, cut it to the
    image (without area left: drop it), or drop it. What was changed is counted and reported."""
    use_difficult: bool = False
    """Learn objects marked difficult, too (R-CNN and Fast R-CNN did, Faster R-CNN did not). When they
    are not learned they are no background either."""
    resize: ResizeConfig | None = ResizeConfig()
    """Size of the images; null leaves them as they are, which is R-CNN's default."""
    group_by_aspect: bool = True
    """Batch wide images with wide ones and tall with tall, so that less is padding."""
    repeat_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Repeat images of classes that fewer than this share of the images hold (Gupta 2019); 0 is off."""
    workers: Index | None = None
    """Processes that load images; null takes the number of cores less one, at most 8."""

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        repeated = sorted({name for name in self.classes if self.classes.count(name) > 1})
        if repeated:
            raise ValueError(f"classes has {', '.join(repeated)} more than once")
        if isinstance(self.val, DatasetConfig) and self.val.augment:
            raise ValueError("val.augment must be empty: a changed image measures something else")
        return self
