"""Our Faster R-CNN with FPN -> torchvision's, the inverse of `detkit.detectors.faster_rcnn.torchvision`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from detkit.data.config import DataConfig
from detkit.detectors.config import DetectorConfig
from detkit.detectors.exporters import Named
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.detectors.faster_rcnn.torchvision import OWN_EPS, SCORES, our_name
from detkit.errors import UserError, shown
from detkit.models.backbones.families import family_of
from detkit.models.image_input import in_file_pixels
from detkit.models.norm import BATCH_NORMS
from detkit.models.rpn.rpn import RPN
from detkit.structures import Detections, ImageBatch

# What torchvision's builder has no argument for -> the values it stands for.
_FIXED: Mapping[str, tuple[Any, ...]] = {
    "type": ("faster_rcnn",),
    "backbone.type": ("resnet", "mobilenet"),
    "backbone.maps": ("last_stage",),
    "backbone.width": (1.0,),
    "backbone.stride_in": ("3x3",),
    "neck.type": ("fpn",),
    "neck.channels": (256,),
    "proposals.type": ("rpn",),
    "proposals.channels": (0, 256),
    "proposals.objectness": ("sigmoid",),
    "proposals.min_size_px": (0.0,),
    "proposals.anchors.rounding": ("corners",),
    "proposals.anchors.offset": (0.0,),
    "regions.type": ("roi_align",),
    "regions.size": (7,),
    "regions.sampling_ratio": (2,),
    "regions.aligned": (False,),
    "head.type": ("two_fc", "conv_fc"),
    "head.channels": (1024,),
    "head.class_agnostic": (False,),
    "head.box_weights": ((10.0, 10.0, 5.0, 5.0),),
    "head.fc6_rank": (None,),
    "head.fc7_rank": (None,),
}
_SECOND_VERSION: Mapping[str, tuple[Any, ...]] = {
    "backbone.type": ("resnet",),
    "backbone.depth": (50,),
    "neck.norm": ("trainable", "sync"),
    "proposals.num_convs": (2,),
    "head.num_convs": (4,),
    "head.conv_channels": (256,),
    "head.norm": ("trainable", "sync"),
}
_FIRST_VERSION: Mapping[str, tuple[Any, ...]] = {"neck.norm": ("none",), "proposals.num_convs": (1,)}


def to_torchvision(model: nn.Module, config: DetectorConfig, data: DataConfig, num_classes: int) -> Named:
    """Return torchvision's Faster R-CNN with the weights of ours.

    Args:
        model: ours.
        config: its part of the YAML.
        data: whose `resize` says how large images are.
        num_classes: K.

    Raises:
        UserError: a setting has no equal there; it is named.
    """
    second = _value(config, "head.type") == "conv_fc"
    for key, allowed in {**_FIXED, **(_SECOND_VERSION if second else _FIRST_VERSION)}.items():
        value = _value(config, key)
        if value is not _ABSENT and value not in allowed:
            wanted = " or ".join(map(shown, allowed))
            raise UserError(
                f"detector.{key}: torchvision's Faster R-CNN has {wanted}; this one {shown(value)}"
            )
    if data.resize is None:
        raise UserError(
            "data.resize: torchvision's Faster R-CNN resizes images; this one takes them as they are"
        )
    settings = cast(Any, config)
    arguments = _arguments(settings, data.resize, num_classes)
    theirs, described = _built(settings, arguments, second=second)
    state = dict(_their_state(model.state_dict(), theirs.state_dict(), _norm_eps(model)))
    theirs.load_state_dict(state)
    like = copy.deepcopy(model)
    like.multiple_of, cast(RPN, cast(FasterRCNN, like).rpn).over = 32, "batch"  # type: ignore[assignment]
    return Named(state, TorchvisionDetector(theirs.eval()), like, described, tuple(_notes(settings, data)))


_ABSENT = object()


def _value(config: Any, key: str) -> Any:
    for name in key.split("."):
        config = getattr(config, name, _ABSENT)
    return config


def _arguments(config: Any, resize: Any, num_classes: int) -> dict[str, Any]:
    """Return what torchvision's builders are called with."""
    proposals, head = config.proposals, config.head
    return {
        "num_classes": num_classes + 1,
        "min_size": resize.short_px,
        "max_size": resize.long_px,
        "rpn_pre_nms_top_n_test": proposals.pre_nms_test,
        "rpn_post_nms_top_n_test": proposals.post_nms_test,
        "rpn_nms_thresh": proposals.nms_iou,
        "rpn_score_thresh": proposals.score_threshold,
        "box_score_thresh": head.score_threshold,
        "box_nms_thresh": head.nms_iou,
        "box_detections_per_img": head.detections_per_image,
    }


_MAKERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "resnet": ("resnet_fpn_backbone", {"trainable_layers": 5}),
    "mobilenet": ("mobilenet_backbone", {"fpn": True, "trainable_layers": 6}),
}
"""Of each backbone, what builds it there with a pyramid, and its arguments."""


def _built(config: Any, arguments: Mapping[str, Any], *, second: bool) -> tuple[nn.Module, dict[str, Any]]:
    """Return torchvision's detector, and how a reader builds the same."""
    from torchvision.models import detection
    from torchvision.models.detection import backbone_utils
    from torchvision.models.detection.rpn import AnchorGenerator

    anchors = config.proposals.anchors
    sizes = tuple(tuple(map(int, level)) for level in anchors.sizes_px)
    ratios = (tuple(anchors.ratios),) * len(sizes)
    generator = AnchorGenerator(sizes, ratios)
    nothing = {"weights": None, "weights_backbone": None}
    name, maker, backbone = "fasterrcnn_resnet50_fpn_v2", "", None
    if second:
        made = detection.fasterrcnn_resnet50_fpn_v2(**nothing, rpn_anchor_generator=generator, **arguments)
    else:
        family = family_of(config.backbone)
        backbone = family.published_name(config.backbone)
        if backbone not in family.published:
            raise UserError(
                f"detector.backbone: torchvision has no {backbone}; it has {', '.join(family.published)}"
            )
        maker, more = _MAKERS[config.backbone.type]
        network = getattr(backbone_utils, maker)(backbone_name=backbone, weights=None, **more)
        made = detection.FasterRCNN(network, rpn_anchor_generator=generator, **arguments)
        name = "fasterrcnn_resnet50_fpn" if backbone == "resnet50" else "FasterRCNN"
    described = {
        "builder": f"torchvision.models.detection.{name}",
        "arguments": {**(nothing if name != "FasterRCNN" else {}), **arguments},
        "resnet_fpn_backbone": None,
        **({maker: backbone} if name == "FasterRCNN" else {}),
        "rpn_anchor_generator": {"sizes": sizes, "aspect_ratios": ratios},
    }
    return made, described


def _norm_eps(model: nn.Module) -> float:
    """Return what the norms of our backbone add to the variance."""
    backbone = cast(FasterRCNN, model).backbone
    return next((norm.eps for norm in backbone.modules() if isinstance(norm, BATCH_NORMS)), OWN_EPS)


def _their_state(
    ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], eps: float
) -> Iterator[tuple[str, Tensor]]:
    """Yield torchvision's weights; background is its first class, and its box outputs have rows for it."""
    for name, wanted in theirs.items():
        if name.endswith("num_batches_tracked"):
            yield name, wanted
            continue
        value = ours[our_name(name)].detach().cpu()
        if ".cls_score." in name:
            value = torch.cat([value[-1:], value[:-1]])
        elif ".bbox_pred." in name and name.startswith(SCORES.partition(".")[0]):
            value = torch.cat([value.new_zeros((4, *value.shape[1:])), value])
        elif name.startswith("backbone.body.") and name.endswith("running_var"):
            value = value + (eps - OWN_EPS)
        yield name, value.contiguous().clone()


def _notes(config: Any, data: DataConfig) -> Iterator[str]:
    """Yield what torchvision does otherwise, and no weights can change."""
    if config.multiple_of != 32:
        yield f"detector.multiple_of: torchvision pads images to 32, this detector to {config.multiple_of}"
    if config.proposals.anchors.over != "batch":
        yield "detector.proposals.anchors.over: torchvision lays anchors on padding, too; this detector not"
    if data.resize is not None and data.resize.like != "torchvision":
        yield "data.resize.like: torchvision samples pixels where images shrink; this detector averages them"


class TorchvisionDetector(nn.Module):
    """A detector of torchvision's, called as ours are.

    Args:
        model: theirs.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what is in each image, best first, in pixels of its file.

        Images that are resized already are taken as they are.
        """
        each = zip(images.pixels, images.sizes, strict=True)
        pixels = [image[:, :height, :width].float() / 255 for image, (height, width) in each]
        transform = cast(Any, self.model.transform)
        transform._skip_resize = images.sizes != images.originals
        found: Sequence[Mapping[str, Tensor]] = self.model(pixels)
        return in_file_pixels(
            [Detections(one["boxes"], one["scores"], one["labels"] - 1) for one in found], images
        )
