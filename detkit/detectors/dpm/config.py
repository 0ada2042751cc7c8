"""Deformable part models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig, Values
from detkit.spec import Count, Fraction, NonNegative, Positive, Spec, fill
from detkit.training.config import TrainConfig
from detkit.training.staged.config import PAPERS_IMAGES

if TYPE_CHECKING:
    from detkit.annotations.keypoints import KeypointLayout

Cells = Annotated[int, Field(ge=1, le=64)]
"""Rows or columns of a filter."""

MOST_CHILDREN = 64
"""Parts of a star model, and star models of a class."""

_PAPERS_C = 0.001

Stars = Annotated[tuple[tuple[Cells, Cells], ...], Field(min_length=1, max_length=MOST_CHILDREN)]
"""Rows and columns of the root filters of a class."""


class CascadeConfig(Spec):
    """Give up roots early, by what positives of the training scored (Felzenszwalb 2010)."""

    channels: Annotated[int, Field(ge=2, le=32)] = 6
    """Channels of the features that it begins with: principal components, and one for cells outside."""
    threshold: float = -0.5
    """Score that a detection has at least, which the limits of all stages were chosen for."""


class RoundsConfig(Spec):
    """How long star models are trained in a stage."""

    find_objects: Count
    """How often objects are found anew, at most: it ends when that changes nothing."""
    mine: Count
    """How often negatives are mined in between, at most."""


class LatentSVMConfig(TrainConfig):
    """Roots first, then mixtures, then parts; objects are found, negatives mined, weights fitted in turns.

    The stages and numbers are those of the authors' release 5.
    """

    type: Literal["latent_svm"] = "latent_svm"
    c: Positive = 0.001
    """Weight of the errors, which are summed over the examples, against the norm of the weights."""
    positive_weight: Positive = 2.0
    """Weight of the errors on objects. 2 counts each as itself and its mirror image, which release 5 adds and
    `detector.mirrored` scores alike."""
    root_area_px: tuple[Positive, Positive] = (3000.0, 5000.0)
    """Smallest and largest area of a root in pixels; between them it is that of the fifth part of the objects
    that are smallest."""
    interval: Annotated[int, Field(ge=1, le=64)] = 5
    """Levels of the pyramid in an octave that are looked at in the training (release 5: 5 for objects, 4 for
    negatives)."""
    min_iou: Fraction = 0.7
    """A root is placed on an object where it overlaps it by so much."""
    negative_iou: Fraction | None = 0.3
    """Placements below this IoU with each object of the class are negatives. Null takes them of images
    without the class alone, as release 5 does, which needs such images."""
    object_images: Count | None = None
    """So many images with objects of a class are learned from, of each shape; null takes all."""
    hard_per_image: Count = 200
    """Most hard negatives of an image in one mining, the best."""
    few_images: Count = 200
    """So many images are mined before the last rounds, at random; these mine all."""
    max_negatives: Count = 24_000
    """Most negatives that are kept; nine for each object, if that is more."""
    memory_mb: Count = 2000
    """Most memory of the features that are kept, of objects and negatives."""
    roots: RoundsConfig = RoundsConfig(find_objects=4, mine=3)
    """Each root by itself, on objects of its shape."""
    mixture: RoundsConfig = RoundsConfig(find_objects=1, mine=5)
    """All roots, which compete for the objects."""
    parts: RoundsConfig = RoundsConfig(find_objects=8, mine=10)
    """All with their parts."""
    last: RoundsConfig | None = RoundsConfig(find_objects=1, mine=5)
    """The same, with the negatives of all images; null takes none but those of a few, in any stage."""
    box_ridge: NonNegative = 0.01
    """Weight of the coefficients' norm against the squared errors of box prediction (0 in release 5, which
    needs many objects)."""

    def fitted_to(self, num_examples: int) -> tuple[Self, str]:
        """Return these settings for other data than VOC: a larger c, and negatives of all images.

        Losses are summed, so that fewer objects need a larger factor to be learned at all.

        Example:
            >>> [LatentSVMConfig().fitted_to(images)[0].c for images in (300, 1670, 5011, 50_000)]
            [0.01, 0.003, 0.001, 0.001]
        """
        c = float(f"{min(max(_PAPERS_C * PAPERS_IMAGES / num_examples, _PAPERS_C), 10 * _PAPERS_C):.2g}")
        fitted = self.model_copy(update={"c": c, "negative_iou": 0.3, "box_ridge": 0.01})
        return fitted, f"c {c:g} for {num_examples:,} images, and negatives from all of them"

    @model_validator(mode="after")
    def _areas_rise(self) -> LatentSVMConfig:
        if self.root_area_px[0] > self.root_area_px[1]:
            raise ValueError(f"root_area_px: must be [smallest, largest], got {list(self.root_area_px)}")
        return self


class DPMConfig(DetectorConfig):
    """Deformable part models (Felzenszwalb 2010): a root filter with parts, in a pyramid of gradients."""

    train_types: ClassVar[tuple[str, ...]] = ("latent_svm",)

    type: Literal["dpm"] = "dpm"
    cell_px: Literal[4, 8, 16, 32] = 8
    """Side of the root's cells in pixels, in copies of the image that shrink from its own size."""
    interval: Annotated[int, Field(ge=1, le=64)] = 10
    """Levels of the pyramid in an octave."""
    extra_octave: bool = False
    """Look at the image in twice its size, too: in cells of a quarter, for the parts of small objects."""
    components: Annotated[int, Field(ge=1, le=MOST_CHILDREN)] = 3
    """Star models of a class, by the shape of its objects; fewer where these are alike."""
    roots: tuple[Stars, ...] | None = None
    """For each class the [rows, columns] of the root filter of each of its star models, which an imported
    model's config has. Null leaves them to the training, and to the file that has the weights."""
    mirrored: bool = True
    """Look for the mirror image of each star model, too; it shares the weights."""
    parts: Annotated[int, Field(ge=0, le=MOST_CHILDREN)] = 8
    """Parts of a star model."""
    part_size: tuple[Cells, Cells] = (6, 6)
    """Rows and columns of a part's filter, in cells of half the size."""
    box_prediction: bool = True
    """Predict an object's box from where root and parts are; otherwise it is the root's."""
    context: bool = False
    """Score detections anew by where they are and by what else was found in the image, which the training
    learns; imported models have it not."""
    cascade: CascadeConfig | None = None
    """Look for a star model stage by stage; null looks at all places of all parts. The limits are of the
    objects that the training finds, or of an import with `--cascade`."""
    nms_share: Fraction = 0.5
    """A detection is dropped where a better one of its class covers more than this share of it."""

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Leave images as they are, unless a size is asked for: the pyramid has all sizes."""
        return fill(config, {"data": {"resize": None}})

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that images are not augmented: objects are searched for in images as they are."""
        if getattr(data.train, "augment", ()):
            raise ValueError(
                "data.train.augment must be empty with dpm, which finds its objects and negatives in images "
                "as they are; detector.mirrored learns from both sides"
            )

    def for_other_data(self, points: KeypointLayout | None) -> Self:
        """Return the config with roots that the training chooses."""
        return self.model_copy(update={"roots": None})

    @property
    def max_detections(self) -> int:
        """No limit."""
        return 1_000_000

    @property
    def finest_stride(self) -> int:
        """Pixels of a cell that objects are found on."""
        return self.cell_px // 2 if self.extra_octave else self.cell_px
