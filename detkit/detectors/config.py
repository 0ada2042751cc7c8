"""Base classes of detector configs: what the house may ask of each, and what related ones share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from detkit.data.config import DataConfig
from detkit.errors import UserError
from detkit.models.backbones.config import PYRAMID_STRIDES, BackboneConfig
from detkit.models.backbones.families import AnyBackboneConfig, family_of
from detkit.models.necks.config import AnyNeckConfig, FPNConfig, NoNeckConfig
from detkit.models.roi.config import AnyHeadConfig, AnyRegionsConfig, reads_pyramid, require_wiring
from detkit.models.roi.decision_config import (
    AnyDecisionConfig,
    BoxRegressionConfig,
    require_features,
    with_features,
)
from detkit.models.rpn.config import AnyRPNConfig
from detkit.proposals.config import ExternalProposalsConfig
from detkit.spec import Count, CustomConfig, Spec, fill, mapping_of
from detkit.training.config import TrainConfig

if TYPE_CHECKING:
    from detkit.annotations.keypoints import KeypointLayout

Values = dict[str, Any]

Refused = Mapping[str, Mapping[str, str]]
"""By part and `type`: what is said of a part that would make another detector, or none."""

ChooseAnchors = Callable[[int], tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]]
"""Given the number of feature maps, returns anchor sizes for each map and the ratios."""

ChooseFrozen = Callable[[int, int], int]
"""Given the number of pretrained stages and the `freeze_at` there is, returns another `freeze_at`."""


class DetectorConfig(Spec):
    """A detector's part of the YAML, with the facts that hold for all detectors of its kind.

    Attributes:
        train_types: values of `train.type` that it can be trained by.
        classifies_images: whether it finds classes of whole images, and no boxes.
        has_new_layers: whether its head can do without the network's last stage.
        paper_defaults: its paper's values, in the place of the defaults of its parts.
        pyramid_defaults: the same with a feature pyramid.
        refused: types of its parts that it does not have, though the user may look for them here.
    """

    train_types: ClassVar[tuple[str, ...]] = ()
    classifies_images: ClassVar[bool] = False
    has_new_layers: ClassVar[bool] = False
    paper_defaults: ClassVar[Values] = {}
    pyramid_defaults: ClassVar[Values] = {}
    refused: ClassVar[Refused] = {}

    type: str

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        parts = cls.with_parts(data)
        for part, said in cls.refused.items():
            if (kind := kind_of(parts.get(part))) and kind in said:
                raise ValueError(f"{cls.model_fields['type'].default} with {part}: {kind} {said[kind]}")
        return cls.filled(parts)

    @model_validator(mode="after")
    def _backbone_leaves_its_last_stage(self) -> Self:
        if getattr(getattr(self, "backbone", None), "uses_last_stage", False) and not self.has_new_layers:
            raise ValueError(f"backbone.dc5: {self.type} needs the last stage behind the map")
        return self

    @model_validator(mode="after")
    def _maps_are_for_a_pyramid(self) -> Self:
        backbone, neck = getattr(self, "backbone", None), getattr(self, "neck", NoNeckConfig())
        maps = getattr(backbone, "maps", "stages")
        # Regions are taken from one of its maps; without a proposal network nothing reads the others.
        given = self.external_proposals is not None
        if backbone is not None and maps != "stages" and (given or not reads_pyramid(backbone, neck)):
            raise ValueError(f"backbone.maps: {maps} needs neck: fpn and proposals: rpn, which read its maps")
        return self

    @classmethod
    def filled(cls, parts: Values) -> Values:
        """Return the detector's mappings with its paper's values for what they leave out."""
        pyramid = kind_of(parts.get("neck")) == "fpn"
        return fill(parts, cls.pyramid_defaults if pyramid else cls.paper_defaults)

    @model_validator(mode="after")
    def _copies_can_be_read(self) -> Self:
        scales_px = self.image_scales_px
        if list(scales_px) != sorted(set(scales_px)):
            raise ValueError(f"scales_px must rise, got {list(scales_px)}")
        if scales_px and isinstance(getattr(self, "regions", None), CustomConfig):
            raise ValueError("scales_px needs regions of detkit's own, not custom")
        return self

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

        Smaller copies of an image are made of the size that images come in.

        Raises:
            ValueError: they do not; the message names the key.
        """
        scales_px, short_px = self.image_scales_px, data.resize.short_px if data.resize else None
        if scales_px and scales_px[-1] != short_px:
            raise ValueError(
                f"detector.scales_px ends with {scales_px[-1]}, but images come with data.resize.short_px "
                f"{short_px}; smaller copies are made of it, so the two must be equal"
            )

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

    def with_soft_nms(self, decay: Literal["linear", "gaussian"]) -> Self:
        """Return the detector with scores of overlapping boxes lowered so, instead of dropping the boxes.

        Raises:
            UserError: its head drops no boxes by class, or not by their scores alone.
        """
        head = getattr(self, "head", None)
        if not isinstance(head, Spec) or not hasattr(head, "soft_nms"):
            raise UserError(
                f"soft_nms: a {self.type} has no such key; heads of regions have it (r-cnn to cascade r-cnn)"
            )
        return self.model_copy(update={"head": head.model_copy(update={"soft_nms": decay})})

    @property
    def other_sides(self) -> tuple[int, ...]:
        """For each key point that it finds, the place of the one that it is taken for in a mirror."""
        return ()

    @property
    def skeleton(self) -> tuple[tuple[int, int], ...]:
        """Pairs of places among the key points that it finds, which a line joins in drawings."""
        return ()

    @property
    def published_weights(self) -> str:
        """Name of the published weights that its backbone starts from; empty for a file, and for none."""
        weights: str = getattr(getattr(self, "backbone", None), "weights", "none")
        return "" if weights == "none" or Path(weights).suffix else weights

    @property
    def weights_file(self) -> str:
        """File of weights that its backbone starts from; empty for published ones, and for none."""
        weights: str = getattr(getattr(self, "backbone", None), "weights", "none")
        return weights if Path(weights).suffix else ""

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest feature map that objects are found on."""
        return 16

    @property
    def image_scales_px(self) -> tuple[int, ...]:
        """Short sides of the copies of an image that are read in a test; empty reads one of any size."""
        scales_px: tuple[int, ...] = getattr(self, "scales_px", ())
        return scales_px

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

    def for_other_data(self, points: KeypointLayout | None) -> Self:
        """Return the config without what it says of single classes, and for the key points of the data.

        Raises:
            UserError: it looks for key points, and the data have none.
        """
        return self

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


class MapDetectorConfig(DetectorConfig):
    """A detector that takes regions from maps of the whole image: Fast R-CNN and what came of it.

    Each declares its keys itself, with its defaults, in the order of its YAML.
    """

    has_new_layers: ClassVar[bool] = True

    backbone: AnyBackboneConfig
    neck: AnyNeckConfig
    proposals: Spec
    regions: AnyRegionsConfig
    head: AnyHeadConfig
    multiple_of: Count = 1
    """Pad images with zeros until both sides are multiples of so many pixels (32 in torchvision and
    detectron2)."""

    @model_validator(mode="after")
    def _parts_can_be_joined(self) -> Self:
        require_wiring(self.backbone, self.neck, self.head)
        return self

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest feature map."""
        return self.map_strides[0] if isinstance(self.neck, FPNConfig) else super().finest_stride

    @property
    def map_strides(self) -> tuple[int, ...]:
        """Pixels per cell of the maps that a feature pyramid is built on, finest first."""
        strides: tuple[int, ...] = getattr(self.backbone, "map_strides", PYRAMID_STRIDES)
        return strides


class RPNDetectorConfig(MapDetectorConfig):
    """A detector whose proposal network reads the same maps: Faster R-CNN and Cascade R-CNN."""

    # With an FPN these values replace the defaults of the parts' classes, which follow the papers for one
    # feature map (VGG16 and C4). They are today's practice (Lin 2017, torchvision).
    pyramid_defaults: ClassVar[Values] = {
        "proposals": {
            "anchors": {
                "sizes_px": ((32,), (64,), (128,), (256,), (512,)),
                "rounding": "corners",
                "offset": 0.0,
            },
            "channels": 0,
            "border_px": None,
            "pre_nms_train": 2000,
            "pre_nms_test": 1000,
            "post_nms_test": 1000,
            "min_size_px": 0.0,
        },
        "head": {"batch_per_image": 512, "nms_iou": 0.5},
    }

    proposals: AnyRPNConfig

    @classmethod
    def filled(cls, parts: Values) -> Values:
        """Return the mappings with the paper's values; proposals are those of an RPN."""
        return super().filled(fill(parts, {"proposals": {"type": "rpn"}}))

    @model_validator(mode="after")
    def _maps_have_anchors(self) -> Self:
        pyramid = isinstance(self.neck, FPNConfig)
        own = any(isinstance(part, CustomConfig) for part in (self.backbone, self.neck))
        if own or isinstance(self.proposals, CustomConfig):
            return self  # how many maps a part of the user's own gives is seen when it is built
        maps = len(self.proposals.anchors.sizes_px)
        if not pyramid and maps != 1:
            raise ValueError(f"anchors.sizes_px has {maps} lists, but without fpn there is one feature map")
        wanted = len(self.map_strides) + 1
        if pyramid and maps != wanted:
            raise ValueError(f"anchors.sizes_px has {maps} lists, but fpn has {wanted} feature maps")
        return self

    def with_anchors(self, choose: ChooseAnchors) -> Self | None:
        """Return the config with other anchors; None with a proposal network of the user's own."""
        if isinstance(self.proposals, CustomConfig):
            return None
        maps = len(self.proposals.anchors.sizes_px)
        # Maps of one stride have anchors of the same sizes.
        same = maps if maps > 1 and len(set(self.map_strides)) == 1 else 1
        sizes_px, ratios = choose(maps // same)
        sizes_px *= same
        anchors = self.proposals.anchors.model_copy(update={"sizes_px": sizes_px, "ratios": ratios})
        proposals = self.proposals.model_copy(update={"anchors": anchors})
        return self.model_copy(update={"proposals": proposals})


class StagedDetectorConfig(DetectorConfig):
    """A detector that is trained in stages, and decides by an SVM and ridge regression: R-CNN and SPP-net.

    Each declares its keys itself, with its defaults, in the order of its YAML.
    """

    train_types: ClassVar[tuple[str, ...]] = ("staged",)

    backbone: AnyBackboneConfig
    proposals: ExternalProposalsConfig
    regions: Spec
    head: AnyDecisionConfig
    box_regression: BoxRegressionConfig | None

    @classmethod
    def filled(cls, parts: Values) -> Values:
        """Return the mappings with the paper's values, and the layer that the SVMs see."""
        return with_features(super().filled(parts))

    @model_validator(mode="after")
    def _svms_see_a_layer(self) -> Self:
        require_features(self.backbone.type, self.head)
        return self

    @property
    def external_proposals(self) -> ExternalProposalsConfig:
        """The proposals that it is given."""
        return self.proposals


class CustomDetectorConfig(CustomConfig, DetectorConfig):  # type: ignore[misc]  # its `type` is narrower
    """A detector of the user's own, called with `num_classes` and `args`.

    It is a `torch.nn.Module` with `forward(batch) -> losses` and `detect(images) -> detections`.
    """

    train_types: ClassVar[tuple[str, ...]] = ("gradient",)

    @classmethod
    def with_parts(cls, given: Values) -> Values:
        """Return what is given: `args` are the user's own, and no parts."""
        return given


def kind_of(part: Any) -> str | None:
    """Return the `type` that a part's mapping names; None where it names none, or is no mapping."""
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else None
