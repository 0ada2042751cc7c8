"""Base class of detector configs: what the rest of the house may ask of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

from detkit.data.config import DataConfig
from detkit.models.backbones.config import BackboneConfig
from detkit.models.backbones.families import family_of
from detkit.proposals.config import ExternalProposalsConfig
from detkit.spec import CustomConfig, Spec, mapping_of
from detkit.training.config import TrainConfig

Values = dict[str, Any]

ChooseAnchors = Callable[[int], tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]]
"""Given the number of feature maps, returns anchor sizes for each map and the ratios."""

ChooseFrozen = Callable[[int, int], int]
"""Given the number of pretrained stages and the `freeze_at` there is, returns another `freeze_at`."""


class DetectorConfig(Spec):
    """A detector's part of the YAML, with the facts that hold for all detectors of its kind.

    Attributes:
        train_types: values of `train.type` that it can be trained by.
        classifies_images: whether it finds classes of whole images, and no boxes.
        pyramid_defaults: values that take the place of its defaults with a feature pyramid.
    """

    train_types: ClassVar[tuple[str, ...]] = ()
    classifies_images: ClassVar[bool] = False
    pyramid_defaults: ClassVar[Values] = {}

    type: str

    @classmethod
    def with_parts(cls, given: Values) -> Values:
        """Return all parts of the detector as mappings, those of its paper where none is given.

        What detkit fills in by the kinds of the parts is so the same for files and for Python.

        Args:
            given: mappings of a file, or configs made in Python.
        """
        parts = {
            name: field.get_default(call_default_factory=True)
            for name, field in cls.model_fields.items()
            if name not in given and not field.is_required()
        }
        own = {name: part for name, part in parts.items() if isinstance(part, Spec)}
        return {name: mapping_of(value) for name, value in (own | given).items()}

    @classmethod
    def complete(cls, config: Values) -> Values:
        """Return a whole config, not yet checked, with what this detector's paper sets elsewhere in it.

        Args:
            config: the mappings of a file; what they hold stays as it is.
        """
        return config

    def check(self, data: DataConfig, train: TrainConfig) -> None:
        """Check that the other parts of a config go with this detector.

        Raises:
            ValueError: they do not; the message names the key.
        """

    @property
    def external_proposals(self) -> ExternalProposalsConfig | None:
        """The proposals that it has to be given; None for a detector that makes its own, or needs none."""
        return None

    @property
    def nms_iou(self) -> float:
        """IoU above which the worse of two detections of a class is dropped."""
        iou: float = getattr(getattr(self, "head", None), "nms_iou", 0.5)
        return iou

    @property
    def max_detections(self) -> int:
        """Most detections of an image."""
        number: int = getattr(getattr(self, "head", None), "detections_per_image", 100)
        return number

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest feature map that objects are found on."""
        return 16

    @property
    def image_scales_px(self) -> tuple[int, ...]:
        """Short sides of the copies of an image that are read in a test; empty reads one of any size."""
        return ()

    @property
    def summary(self) -> str:
        """A few words for the head of a report."""
        backbone = getattr(self, "backbone", None)
        on = "" if backbone is None else f" on {backbone.type}{getattr(backbone, 'depth', '')}"
        return f"{self.type}{on}"

    def with_anchors(self, choose: ChooseAnchors) -> Self | None:
        """Return the config with other anchors; None for a detector without anchors."""
        return None

    def with_proposals(self, proposals: ExternalProposalsConfig) -> Self:
        """Return the config with other proposals, for a detector that has to be given some."""
        return self.model_copy(update={"proposals": proposals})

    def with_frozen(self, choose: ChooseFrozen) -> Self | None:
        """Return the config with other frozen stages; None where no published stage is pretrained."""
        backbone = getattr(self, "backbone", None)
        if not isinstance(backbone, BackboneConfig) or backbone.weights == "none":
            return None
        family = family_of(backbone)
        # The head of a region is trained, also where it is the network's last stage; a classifier has its
        # logits for that.
        stages = family.stages if self.classifies_images else family.stages_before_head
        frozen = backbone.model_copy(update={"freeze_at": choose(stages, backbone.freeze_at)})
        return self.model_copy(update={"backbone": frozen})


class CustomDetectorConfig(CustomConfig, DetectorConfig):  # type: ignore[misc]  # its `type` is narrower
    """A detector of the user's own, called with `num_classes` and `args`.

    It is a `torch.nn.Module` with `forward(batch) -> losses` and `detect(images) -> detections`.
    """

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)


def check_image_scales(scales_px: tuple[int, ...], data: DataConfig) -> None:
    """Check that smaller copies of an image are made of the size that images come in.

    Raises:
        ValueError: the largest is not `data.resize.short_px`.
    """
    short_px = data.resize.short_px if data.resize else None
    if scales_px and scales_px[-1] != short_px:
        raise ValueError(
            f"detector.scales_px ends with {scales_px[-1]}, but images come with data.resize.short_px "
            f"{short_px}; smaller copies are made of it, so the two must be equal"
        )
