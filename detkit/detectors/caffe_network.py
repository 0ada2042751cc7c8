"""What the files of a network of Caffe's hold, and whether its layers do what ours do."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from detkit.errors import UserError, shown
from detkit.models.backbones.families import family_named
from detkit.models.backbones.family import BackboneFamily
from detkit.models.response_norm import LocalResponseNorm, WithinChannelNorm
from detkit.ops.convolution import Conv2d
from detkit.storage.caffe_net import CaffeLayer, read_caffemodel, read_mean, read_prototxt

TYPES = ("faster_rcnn", "fast_rcnn", "rcnn", "classifier")
ANCHOR_SIZES_PX = {9: (128, 256, 512), 12: (64, 128, 256, 512)}
"""Sizes by the number of anchors at a cell: for VOC, for COCO."""
DEPTHS = {8: 11, 10: 13, 13: 16, 16: 19}  # convolutions of a VGG -> its depth
FULL_WIDTHS = {"vgg": 64, "caffenet": 96, "zfnet": 96}  # channels of conv1


@dataclass
class Network:
    """What is known of a network of Caffe's.

    Attributes:
        file: its .caffemodel.
        weights: the layers that have weights, by name.
        layers: all layers in their order, as its .prototxt or else the .caffemodel describes them.
        detector: `type` of ours.
        backbone: the keys of our backbone.
        mean: of red, green and blue, that it subtracts from pixels; None is the usual one.
        notes: where ours is different, which does not change the weights.
    """

    file: Path
    weights: Mapping[str, CaffeLayer]
    layers: Sequence[CaffeLayer]
    detector: str
    backbone: Mapping[str, Any]
    mean: tuple[float, ...] | None
    notes: list[str] = field(default_factory=list)

    @property
    def convolutions(self) -> list[CaffeLayer]:
        """The convolutions of the backbone."""
        return _convolutions(self.weights)

    @property
    def family(self) -> BackboneFamily[Any]:
        """The family of our backbone."""
        return cast(BackboneFamily[Any], family_named(self.backbone["type"]))

    def matrix(self, name: str) -> Tensor:
        """Return the (N, D) weights of a fully connected layer; the old form has two further axes.

        Raises:
            UserError: there is no such layer.
        """
        if name not in self.weights:
            raise UserError(f"{self.file}: has no layer {name}, which a {self.detector} has")
        values = self.weights[name].blobs[0]
        if values.ndim < 2 or math.prod(values.shape[:-2]) != 1:
            raise UserError(f"{self.file}: {name} is no fully connected layer, its shape is {values.shape}")
        return torch.from_numpy(values.reshape(values.shape[-2:]))

    @property
    def cells(self) -> int:
        """Cells along each side of a region, or of the image, that fc6 sees."""
        fc6 = self.matrix("fc6_L" if "fc6_L" in self.weights else "fc6")
        return math.isqrt(fc6.shape[1] // len(self.convolutions[-1].blobs[0]))

    @property
    def anchor_sizes(self) -> list[float]:
        """The anchors' sizes in pixels, as the .prototxt says or as there are usually with that many.

        Raises:
            UserError: the .prototxt has another stride, or nobody says the sizes.
        """
        said = " ".join(str(own.settings.get("python", {}).get("param_str", "")) for own in self.layers)
        stride = re.search(r"['\"]feat_stride['\"]\s*:\s*(\d+)", said)
        if stride and stride[1] != "16":
            raise UserError(
                f"{self.file}: feat_stride is {shown(stride[1])}; of {self.backbone['type']} it is 16"
            )
        if scales := re.search(r"['\"]scales['\"]\s*:\s*[\[(]([\d\s.,]+)", said):
            return [16 * float(scale) for scale in re.findall(r"\d+(?:\.\d+)?", scales[1])]
        count = len(self.weights["rpn_cls_score"].blobs[0]) // 2 if "rpn_cls_score" in self.weights else 9
        if count not in ANCHOR_SIZES_PX:
            raise UserError(
                f"{self.file}: has {count} anchors at each cell and does not say their sizes; those of "
                f"{' and '.join(map(str, ANCHOR_SIZES_PX))} are known, others a .prototxt says with 'scales'"
            )
        return list(ANCHOR_SIZES_PX[count])


def read_network(files: Sequence[Path], arch: str | None) -> Network:
    """Return what the files hold."""
    by_kind = {file.suffix: file for file in files}
    known = (".caffemodel", ".prototxt", ".binaryproto")
    if ".caffemodel" not in by_kind or len(by_kind) != len(files) or set(by_kind) - set(known):
        raise UserError(
            "--from caffe: takes a .caffemodel, and perhaps its .prototxt and its mean image (.binaryproto); "
            f"got {', '.join(map(str, files))}"
        )
    file = by_kind[".caffemodel"]
    layers = read_caffemodel(file)
    weights = {layer.name: layer for layer in layers if layer.blobs}
    described = read_prototxt(by_kind[".prototxt"]) if ".prototxt" in by_kind else layers
    mean = [
        value for layer in described for value in layer.settings.get("transform", {}).get("mean_value", ())
    ]
    if ".binaryproto" in by_kind:
        mean = read_mean(by_kind[".binaryproto"]).tolist()
    return Network(
        file=file,
        weights=weights,
        layers=described,
        detector=_detector(file, weights, arch),
        backbone=_backbone(file, _convolutions(weights)),
        mean=tuple(mean[2::-1]) if len(mean) >= 3 else None,  # each phase of a training has three
    )


def _convolutions(weights: Mapping[str, CaffeLayer]) -> list[CaffeLayer]:
    return [
        layer
        for name, layer in weights.items()
        if layer.kind == "Convolution" and not name.startswith("rpn") and layer.blobs[0].ndim == 4
    ]


def _detector(file: Path, weights: Mapping[str, CaffeLayer], arch: str | None) -> str:
    """Return the `type` of the detector, as the user or the names of the layers say."""
    if arch is not None and arch not in TYPES:
        raise UserError(f"--arch {shown(arch)}: of caffe it must be one of {', '.join(TYPES)}")
    if arch is not None:
        return arch
    for found, layers in (
        ("faster_rcnn", ("rpn_cls_score", "cls_score")),
        ("fast_rcnn", ("cls_score",)),
        ("rcnn", ("fc8_pascal",)),
        ("rcnn", ("fc-rcnn",)),
        ("classifier", ("fc8",)),
    ):
        if all(name in weights for name in layers):
            return found
    raise UserError(
        f"{file}: has none of the layers cls_score (Fast and Faster R-CNN), fc8_pascal, fc-rcnn (R-CNN) and "
        f"fc8 (classifiers); its last one with weights is {shown(next(reversed(list(weights)), None))}"
    )


def _backbone(file: Path, convolutions: Sequence[CaffeLayer]) -> dict[str, Any]:
    """Return the keys of our backbone that has such convolutions."""
    shapes = [layer.blobs[0].shape for layer in convolutions]
    kind: dict[str, Any] = {}
    if shapes and shapes[0][0] and shapes[0][1] == 3:
        kernels = tuple(shape[2] for shape in shapes)
        grouped = len(shapes) > 1 and shapes[1][1] * 2 == shapes[0][0]
        if set(kernels) == {3} and len(shapes) in DEPTHS:
            kind = {"type": "vgg", "depth": DEPTHS[len(shapes)], "ceil_mode": True}
        elif kernels == (11, 5, 3, 3, 3) and grouped:
            kind = {"type": "caffenet"}
        elif kernels == (7, 5, 3, 3, 3) and shapes[2][0] < 2 * shapes[1][0]:  # VGG_CNN_M has twice as many
            kind = {"type": "zfnet"}
    if not kind:
        raise UserError(
            f"{file}: its {len(shapes)} convolutions are those of none of the networks that are known, VGG, "
            "ZF and CaffeNet; VGG_CNN_M and GoogLeNet have layers that detkit's networks do not have"
        )
    width = shapes[0][0] / FULL_WIDTHS[kind["type"]]
    return {**kind, "width": min(4.0, width)}


def require_same(network: Network, backbone: nn.Module) -> None:
    """Check that the file's layers have the shapes of ours, and do the same where it says what they do.

    Args:
        network: of the file; what a classifier pads less than our network, which changes no weight, is noted.
        backbone: ours, in the same width.

    Raises:
        UserError: a layer is another one.
    """
    features = cast(Sequence[nn.Module], backbone.features)[: cast(Sequence[int], backbone.ends)[-1]]
    shapes = _shapes(network, backbone, [layer for layer in features if isinstance(layer, Conv2d)])
    for name, shape in shapes.items():
        if (layer := network.weights.get(name)) is None:
            continue
        found = layer.blobs[0].shape if len(shape) == 4 else tuple(network.matrix(name).shape)
        if len(found) != len(shape) or any(b not in (None, a) for a, b in zip(found, shape, strict=True)):
            wanted = " x ".join("any" if side is None else str(side) for side in shape)
            raise UserError(f"{network.file}: {name} has shape {found}, and must have {wanted}")
        if len(layer.blobs) > 1 and layer.blobs[1].size != found[0]:
            raise UserError(f"{network.file}: {name} has {layer.blobs[1].size} biases for {found[0]} outputs")
    theirs = [layer for layer in network.layers if layer.kind in ("Convolution", "Pooling", "LRN")]
    if any(layer.settings for layer in theirs):
        _require_same_settings(network, theirs, [own for layer in features if (own := _of_module(layer))])
    for layer in network.layers:
        said = layer.settings.get("roi_pooling", {})
        sides = (said.get("pooled_h", network.cells), said.get("pooled_w", network.cells))
        scale = said.get("spatial_scale", 1 / 16)
        if (*sides, scale) != (network.cells, network.cells, 1 / 16):
            raise UserError(
                f"{network.file}: {layer.name} makes {sides[0]} x {sides[1]} cells of a map of scale "
                f"{scale:g}; fc6 sees {network.cells} x {network.cells}, of a map of scale 1/16"
            )


def _shapes(
    network: Network, backbone: nn.Module, convolutions: Sequence[Conv2d]
) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes that layers must have; None is any number."""
    channels, fc = cast(Sequence[int], backbone.channels)[-1], cast(int, backbone.fc_channels)
    seen = channels * network.cells**2
    last = {"cls_score": (None, fc), "bbox_pred": (None, fc), "fc8_pascal": (None, fc), "fc-rcnn": (None, fc)}
    shapes: dict[str, tuple[int | None, ...]] = {
        **{
            own.name: tuple(ours.weight.shape)
            for own, ours in zip(network.convolutions, convolutions, strict=True)
        },
        "fc6": (fc, seen),
        "fc6_L": (None, seen),
        "fc6_U": (fc, None),
        "fc7": (fc, fc),
        "fc7_L": (None, fc),
        "fc7_U": (fc, None),
        "fc8": (None, fc),
        **last,
    }
    if "cls_score" in network.weights:
        shapes["bbox_pred"] = (4 * len(network.matrix("cls_score")), fc)
    if "rpn_conv/3x3" in network.weights:
        hidden = len(network.weights["rpn_conv/3x3"].blobs[0])
        shapes |= {"rpn_conv/3x3": (None, channels, 3, 3), "rpn_cls_score": (None, hidden, 1, 1)}
        shapes["rpn_bbox_pred"] = (12 * len(network.anchor_sizes), hidden, 1, 1)
    return shapes


def _require_same_settings(
    network: Network, theirs: Sequence[CaffeLayer], ours: Sequence[Mapping[str, Any]]
) -> None:
    kinds, found = [own["kind"] for own in ours], [layer.kind for layer in theirs[: len(ours)]]
    if kinds != found:
        raise UserError(
            f"{network.file}: its layers are {', '.join(found)}; those of {network.backbone['type']} are "
            f"{', '.join(kinds)}"
        )
    for layer, own in zip(theirs, ours, strict=False):
        settings = _of_layer(layer)
        for key, value in own.items():
            said = f"{layer.name}: {key} is {settings[key]}, of {network.backbone['type']} it is {value}"
            if settings[key] != value and key == "pad" and network.detector == "classifier":
                network.notes.append(said)
            elif settings[key] != value:
                raise UserError(f"{network.file}: {said}")


def _of_module(module: nn.Module) -> dict[str, Any]:
    """Return what a layer of ours does, in Caffe's words; of others nothing."""
    values: dict[str, Any] = {}
    match module:
        case Conv2d():
            values = {"stride": module.stride, "pad": module.padding, "dilation": module.dilation}
            return {"kind": "Convolution", "group": module.groups, **values}
        case nn.MaxPool2d():
            sides = {"kernel_size": module.kernel_size, "stride": module.stride, "pad": module.padding}
            values = {key: (side, side) for key, side in sides.items()}
            return {"kind": "Pooling", "pool": 0, "round_mode": 1 - int(module.ceil_mode), **values}
        case LocalResponseNorm():
            values = {"local_size": module.size, "alpha": module.alpha, "beta": module.beta, "k": module.k}
            return {"kind": "LRN", "norm_region": 0, **values}
        case WithinChannelNorm():
            values = {"local_size": module.size, "alpha": module.alpha, "beta": 0.75, "k": 1.0}
            return {"kind": "LRN", "norm_region": 1, **values}
        case _:
            return values


def _of_layer(layer: CaffeLayer) -> dict[str, Any]:
    """Return what a layer does, with Caffe's defaults for what is not said."""
    defaults: dict[str, dict[str, Any]] = {
        "convolution": {"group": 1, "stride": 1, "pad": 0, "dilation": 1},
        "pooling": {"pool": 0, "round_mode": 0, "kernel_size": 0, "stride": 1, "pad": 0},
        "lrn": {"norm_region": 0, "local_size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0},
    }
    kind = layer.kind.lower()
    said = layer.settings.get(kind, {})
    found: dict[str, Any] = {"kind": layer.kind}
    for key, default in defaults[kind].items():
        value = said.get(key, default)
        if key in ("stride", "pad", "dilation", "kernel_size"):
            sides = value if isinstance(value, tuple) else (value,)
            side = key.removesuffix("_size")
            value = (said.get(f"{side}_h", sides[0]), said.get(f"{side}_w", sides[-1]))
        found[key] = float(f"{value:.6g}") if isinstance(value, float) else value
    return found
