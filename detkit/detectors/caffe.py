"""Networks of Caffe -> ours: R-CNN, Fast and Faster R-CNN of their authors, and ImageNet's classifiers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from detkit.data.transforms.resize import CAFFE_MEAN
from detkit.detectors.caffe_network import Network, read_network, require_same
from detkit.detectors.importers import Foreign, Wanted
from detkit.errors import UserError
from detkit.models.backbones.family import FcLayers
from detkit.models.roi.roi_head import CODER
from detkit.storage.caffe_net import CaffeLayer
from detkit.structures import IMAGENET_MEAN, IMAGENET_STD

IMAGENET_CLASSES = 1000
CLASSIFIER_MEANS = {"vgg": (123.68, 116.779, 103.939)}  # red, green, blue
MEAN_OF_IMAGENET = (122.679, 116.669, 104.007)  # of the mean image that the others subtract

# Caffe's layers -> our modules, after the convolutions.
OF_FAST_RCNN = {
    "fc6": "roi_head.head.fc6",
    "fc6_L": "roi_head.head.fc6.0",  # truncated by singular values
    "fc6_U": "roi_head.head.fc6.1",
    "fc7": "roi_head.head.fc7",
    "fc7_L": "roi_head.head.fc7.0",
    "fc7_U": "roi_head.head.fc7.1",
    "cls_score": "roi_head.predictor.cls_score",
    "bbox_pred": "roi_head.predictor.bbox_pred",
}
OF_RPN = {
    "rpn_conv/3x3": "rpn.head.conv.0.0",
    "rpn_cls_score": "rpn.head.cls_logits",  # first background of all anchors, then object, as ours
    "rpn_bbox_pred": "rpn.head.bbox_pred",
}
OF_RCNN = {
    "fc6": "network.fc.fc6",
    "fc7": "network.fc.fc7",
    "fc8_pascal": "decision.classifier",
    "fc-rcnn": "decision.svms.cls_score",
}
LAYERS = {"faster_rcnn": OF_RPN | OF_FAST_RCNN, "fast_rcnn": OF_FAST_RCNN, "rcnn": OF_RCNN}
NO_BIAS = ("fc6_L", "fc7_L")

# Of a detector and a backbone that no config is shipped for, the nearest.
CONFIGS = {"faster_rcnn_caffenet": "faster_rcnn_zfnet", "rcnn_zfnet": "rcnn_caffenet"}


def import_caffe(files: Sequence[Path], wanted: Wanted) -> Foreign:
    """Return the detector or the classifier in a .caffemodel.

    Detectors are py-faster-rcnn's and fast-rcnn's, with VGG, ZF or CaffeNet, and R-CNN's fine-tuned network,
    with its softmax or with SVMs as a layer; classifiers are VGG, ZF and CaffeNet. What the file itself or
    its .prototxt says of layers must be what ours do.

    Args:
        files: a .caffemodel, and perhaps its .prototxt and its mean image (.binaryproto).
        wanted: `arch` is the `type` of the detector, where the layers' names do not tell it; and names of the
            classes, where there are other than VOC's 20, COCO's 80 or ImageNet's 1000.

    Raises:
        UserError: a file is none of its kind, or holds another network.
    """
    network = read_network(files, wanted.arch)
    with torch.device("meta"):
        spec = network.family.config.model_validate({**network.backbone, "weights": "none"})
        backbone = network.family.build(spec, False, network.detector in ("classifier", "rcnn"))
    require_same(network, backbone)
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d)]
    prefix = "network.backbone." if network.detector == "rcnn" else "backbone."
    table = {own.name: prefix + name for own, name in zip(network.convolutions, names, strict=True)}
    table |= {theirs: ours for theirs, ours in _head(network).items() if theirs in network.weights}
    classes, dataset = _classes(network, wanted.classes)
    changes = _changes(network)
    return Foreign(
        config=_config(network, dataset),
        # JSON is YAML, too.
        overrides=tuple(f"{key}={json.dumps(value)}" for key, value in changes.items()),
        classes=classes,
        state=dict(_state(network, table)),
        unused=(*(name for name in network.weights if name not in table), *network.notes),
    )


def _head(network: Network) -> Mapping[str, str]:
    """Return the layers behind the convolutions, and our modules."""
    if network.detector != "classifier":
        return LAYERS[network.detector]
    fc6, fc7 = cast(FcLayers, network.family.behind).keys
    return {"fc6": f"tail.{fc6[:-1]}", "fc7": f"tail.{fc7[:-1]}", "fc8": "tail.classifier.6"}


def _classes(network: Network, named: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return names of the classes, none for those of the config, and the dataset in the config's name."""
    last = {"classifier": "fc8", "rcnn": "fc-rcnn" if "fc-rcnn" in network.weights else "fc8_pascal"}
    layer = last.get(network.detector, "cls_score")
    count = len(network.matrix(layer)) - (layer in ("cls_score", "fc8_pascal"))
    is_vgg, classifies = network.backbone["type"] == "vgg", network.detector == "classifier"
    usual = (
        {20: "voc07", 80: "coco"}
        if is_vgg and network.detector in ("fast_rcnn", "faster_rcnn")
        else {20: "voc07"}
    )
    dataset = "imagenet" if classifies else "voc07"
    if named or (classifies and count != IMAGENET_CLASSES) or (not classifies and count not in usual):
        if len(named) != count:
            raise UserError(
                f"{network.file}: has {count} classes, background not counted, which it does not name: name "
                f"each with --class, in its order; got {len(named)}"
            )
        return named, usual.get(count, dataset)
    if not classifies:
        return (), usual[count]
    from torchvision.models import AlexNet_Weights

    return tuple(AlexNet_Weights.IMAGENET1K_V1.meta["categories"]), dataset


def _config(network: Network, dataset: str) -> str:
    name = network.backbone["type"]
    name = f"{network.detector}_{'vgg16' if name == 'vgg' else name}"
    return f"{CONFIGS.get(name, name)}_{dataset}"


def _changes(network: Network) -> dict[str, Any]:
    """Return what differs from the shipped config, by key."""
    changes = {f"detector.backbone.{key}": value for key, value in network.backbone.items()}
    changes["detector.backbone.weights"] = "none"
    if network.detector in ("fast_rcnn", "faster_rcnn"):
        changes |= {"data.resize.like": "caffe", "detector.regions.size": network.cells}
        for layer in ("fc6", "fc7"):
            if f"{layer}_L" in network.weights:
                changes[f"detector.head.{layer}_rank"] = len(network.matrix(f"{layer}_L"))
    if network.detector == "faster_rcnn":
        changes["detector.proposals.anchors.sizes_px"] = [network.anchor_sizes]
        if (hidden := network.weights.get("rpn_conv/3x3")) is not None:
            changes["detector.proposals.channels"] = len(hidden.blobs[0])
    elif network.detector == "rcnn":
        is_svm = "fc-rcnn" in network.weights
        changes["detector.head"] = {"type": "svm", "features": "fc7"} if is_svm else {"type": "softmax"}
        changes["detector.box_regression"] = None
    elif network.detector == "classifier":
        changes["train.precision"] = "fp32"  # as it was trained
    return changes


def _state(network: Network, table: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Yield our weights by name."""
    factors = _test_factors(network.layers)
    first = network.convolutions[0].name
    for theirs, ours in table.items():
        layer = network.weights[theirs]
        if layer.kind == "Convolution":
            weight = torch.from_numpy(layer.blobs[0])
        else:
            weight = network.matrix(theirs) * factors.get(theirs, 1.0)
        bias = (
            torch.zeros(len(weight))
            if len(layer.blobs) == 1
            else torch.from_numpy(layer.blobs[1].reshape(-1))
        )
        if theirs == first:
            weight, bias = _for_our_pixels(network, weight, bias)
        weight, bias = _ordered(theirs, weight), _ordered(theirs, bias)
        yield f"{ours}.weight", weight
        if theirs not in NO_BIAS:
            yield f"{ours}.bias", bias
    if "fc-rcnn" in table:  # SVMs decide; the softmax that fine-tuned the network is not in the file
        weight = network.matrix("fc-rcnn")
        yield "decision.classifier.weight", weight.new_zeros(len(weight) + 1, weight.shape[1])
        yield "decision.classifier.bias", weight.new_zeros(len(weight) + 1)


def _for_our_pixels(network: Network, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weights of conv1 for RGB pixels as our models see them, instead of BGR less a mean.

    Ours are less another mean and divided by a deviation. Only where a mean is not the same does padding
    stand for another colour, by less than one of 255 levels.
    """
    detects = network.detector in ("fast_rcnn", "faster_rcnn")
    usual = CAFFE_MEAN if detects else CLASSIFIER_MEANS.get(network.backbone["type"], MEAN_OF_IMAGENET)
    zero = np.array(CAFFE_MEAN if detects else IMAGENET_MEAN) * (1 if detects else 255)
    shift = torch.from_numpy(zero - np.array(network.mean or usual))
    std = 255 * torch.tensor(IMAGENET_STD, dtype=torch.float64)
    rgb = weight.double().flip(1)
    moved = bias.double() + (rgb * shift[:, None, None]).sum((1, 2, 3))
    return (rgb * std[:, None, None]).float(), moved.float()


def _ordered(theirs: str, values: Tensor) -> Tensor:
    """Return the outputs of a layer in our order: background, their first class, is our last."""
    if theirs in ("cls_score", "fc8_pascal"):
        return torch.cat([values[1:], values[:1]])
    if theirs == "bbox_pred":  # theirs are deltas, ours are times the coder's weights
        weights = torch.tensor(CODER.weights).repeat(len(values) // 4 - 1)
        return values[4:] * weights.view(-1, *[1] * (values.dim() - 1))
    return values


def _test_factors(layers: Sequence[CaffeLayer]) -> dict[str, float]:
    """Return what the inputs of layers are multiplied by in a test, where dropout did not scale in training.

    It is so in ZF's networks (`scale_train: false`).
    """
    factors, of_layer = dict[str, float](), dict[str, float]()
    for layer in layers:
        factor = factors.get(layer.bottoms[0], 1.0) if layer.bottoms else 1.0
        of_layer[layer.name] = factor
        dropout = layer.settings.get("dropout", {})
        if layer.kind == "Dropout" and not dropout.get("scale_train", True):
            factor *= 1 - dropout.get("dropout_ratio", 0.5)
        elif layer.kind not in ("Dropout", "ReLU", "Split"):
            factor = 1.0
        factors |= dict.fromkeys(layer.tops, factor)
    return of_layer
