"""Networks of Caffe's detectors with random weights, and a slow interpreter of their layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.caffe_files import Layer, chained
from tests.reference.caffe_layers import Maps, max_pool, norm_across_channels, norm_within_channel

MEAN = np.array([102.9801, 115.9465, 122.7717])  # blue, green, red
ZF = (8, 24, 32, 32, 24)  # channels at a width of 1/12
ZF_FC, VGG_FC = 344, 512
VGG = ((8, 8), (16, 16), (32, 32, 32), (64, 64, 64), (64, 64, 64))  # at a width of 1/8


class Writer:
    """Adds layers with random weights, whose outputs keep about the size of their inputs."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = np.random.default_rng(seed)
        self.layers: list[Layer] = []

    def add(self, name: str, kind: str, **settings: Any) -> None:
        self.layers.append(Layer(name, kind, (), settings))

    def weights(self, *shape: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        values = self.generator.normal(0, scale, shape), self.generator.normal(0, 0.3, shape[0])
        return values[0].astype(np.float32), values[1].astype(np.float32)

    def conv(self, name: str, inputs: int, outputs: int, kernel: int, **settings: int) -> None:
        blobs = self.weights(outputs, inputs // settings.get("group", 1), kernel, kernel)
        self.layers.append(Layer(name, "Convolution", blobs, {"kernel_size": kernel, **settings}))

    def fc(self, name: str, inputs: int, outputs: int, **places: str) -> None:
        self.layers.append(Layer(name, "InnerProduct", self.weights(outputs, inputs), **places))

    def head(self, channels: int, cells: int, fc: int, *, classes: int, scale_train: bool) -> None:
        """Add RoIPool, fc6, fc7 and the two outputs of Fast R-CNN."""
        self.layers.append(
            Layer(
                "roi_pool",
                "ROIPooling",
                (),
                {"pooled_h": cells, "pooled_w": cells, "spatial_scale": 0.0625},
                bottom="conv",
            )
        )
        self.fc_layers(channels * cells**2, fc, scale_train=scale_train)
        self.fc("cls_score", fc, classes + 1, bottom="fc7")
        self.fc("bbox_pred", fc, 4 * (classes + 1), bottom="fc7")

    def fc_layers(self, inputs: int, fc: int, *, scale_train: bool) -> None:
        settings = {} if scale_train else {"dropout_ratio": 0.5, "scale_train": False}
        for name, width in (("fc6", inputs), ("fc7", fc)):
            self.fc(name, width, fc)
            self.add(f"relu{name[2]}", "ReLU")
            self.add(f"drop{name[2]}", "Dropout", **settings)

    def rpn(self, channels: int, hidden: int) -> None:
        self.conv("rpn_conv/3x3", channels, hidden, 3, pad=1)
        self.add("rpn_relu/3x3", "ReLU")
        self.conv("rpn_cls_score", hidden, 18, 1)
        self.conv("rpn_bbox_pred", hidden, 36, 1)
        self.layers[-1].bottom = "rpn_conv/3x3"
        self.add("proposal", "Python", param_str="'feat_stride': 16")


def zf_faster_rcnn(classes: int = 20, seed: int = 0) -> list[Layer]:
    """Return ZF's Faster R-CNN, with the numbers of its test.prototxt and fewer channels."""
    writer = Writer(seed)
    norm = {"local_size": 3, "alpha": 0.00005, "beta": 0.75, "norm_region": 1}
    for number, (kernel, stride, pad) in enumerate(((7, 2, 3), (5, 2, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))):
        inputs = ZF[number - 1] if number else 3
        writer.conv(f"conv{number + 1}", inputs, ZF[number], kernel, stride=stride, pad=pad)
        writer.add(f"relu{number + 1}", "ReLU")
        if number < 2:
            writer.add(f"norm{number + 1}", "LRN", **norm)
            writer.add(f"pool{number + 1}", "Pooling", kernel_size=3, stride=2, pad=1, pool=0)
    writer.layers[-1].top = "conv"
    writer.layers[-2].top = "conv"
    writer.rpn(ZF[-1], 16)
    writer.head(ZF[-1], 6, ZF_FC, classes=classes, scale_train=False)
    return writer.layers


def vgg16(classes: int = 20, seed: int = 0, *, rpn: bool) -> list[Layer]:
    """Return VGG16's Fast or Faster R-CNN, with fewer channels."""
    writer, inputs = Writer(seed), 3
    for group, convs in enumerate(VGG, 1):
        for number, channels in enumerate(convs, 1):
            writer.conv(f"conv{group}_{number}", inputs, channels, 3, pad=1)
            writer.add(f"relu{group}_{number}", "ReLU")
            inputs = channels
        if group < 5:
            writer.add(f"pool{group}", "Pooling", pool=0, kernel_size=2, stride=2)
    writer.layers[-1].top = "conv"
    writer.layers[-2].top = "conv"
    if rpn:
        writer.rpn(inputs, 64)
    writer.head(inputs, 7, VGG_FC, classes=classes, scale_train=True)
    return writer.layers


def caffenet(last: str, outputs: int, *, padded: bool = False, seed: int = 0) -> list[Layer]:
    """Return CaffeNet as a classifier or as R-CNN has it, with one layer behind fc7."""
    writer, inputs = Writer(seed), 3
    plan = ((11, 4, 5 * padded, 1), (5, 1, 2, 2), (3, 1, 1, 1), (3, 1, 1, 2), (3, 1, 1, 2))
    for number, ((kernel, stride, pad, group), channels) in enumerate(zip(plan, ZF, strict=True), 1):
        writer.conv(f"conv{number}", inputs, channels, kernel, stride=stride, pad=pad, group=group)
        writer.add(f"relu{number}", "ReLU")
        if number < 3:
            writer.add(f"pool{number}", "Pooling", pool=0, kernel_size=3, stride=2, pad=int(padded))
            writer.add(f"norm{number}", "LRN", local_size=5, alpha=0.0001, beta=0.75)
        inputs = channels
    writer.add("pool5", "Pooling", pool=0, kernel_size=3, stride=2)
    writer.fc_layers(inputs * 36, ZF_FC, scale_train=True)
    writer.fc(last, ZF_FC, outputs)
    return writer.layers


def run(layers: Sequence[Layer], data: Maps, rois: NDArray[np.float64] | None = None) -> dict[str, Maps]:
    """Return what each layer gives in a test, by the name of the layer.

    Args:
        layers: of a network.
        data: (1, 3, H, W) pixels, blue, green and red, less their mean.
        rois: (R, 4) boxes of inclusive pixels for RoIPool.
    """
    blobs, found = {"data": data}, {}
    for one in chained(layers):
        found[one.name] = blobs[one.top] = apply(one, blobs[one.bottom], rois)
    return found


def apply(one: Layer, x: Maps, rois: NDArray[np.float64] | None) -> Maps:  # noqa: PLR0911
    settings = one.settings
    match one.kind:
        case "Convolution":
            keys = settings.get("stride", 1), settings.get("pad", 0), settings.get("group", 1)
            return convolve(x, one.blobs[0], one.blobs[1], *keys)
        case "ReLU":
            return np.maximum(x, 0)
        case "Pooling":
            return max_pool(x, settings["kernel_size"], settings["stride"], settings.get("pad", 0))
        case "LRN":
            norm = norm_within_channel if settings.get("norm_region") else norm_across_channels
            return norm(x, settings["local_size"], settings["alpha"], settings["beta"])
        case "InnerProduct":
            return x.reshape(len(x), -1) @ one.blobs[0].T.astype(np.float64) + one.blobs[1]
        case "Dropout":
            return x if settings.get("scale_train", True) else x * (1 - settings["dropout_ratio"])
        case "ROIPooling" if rois is not None:
            return np.stack([roi_pool(x[0], box, settings["pooled_h"]) for box in rois])
        case _:
            return x


def convolve(x: Maps, weight: Any, bias: Any, stride: int, pad: int, groups: int) -> Maps:
    kernel, outputs = weight.shape[2], len(weight) // groups
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    rows, columns = ((length - kernel) // stride + 1 for length in padded.shape[2:])
    y = np.zeros((len(x), len(weight), rows, columns)) + bias[:, None, None]
    for group in range(groups):
        own = slice(group * outputs, (group + 1) * outputs)
        part = np.array_split(padded, groups, axis=1)[group]
        for i in range(kernel):
            for j in range(kernel):
                seen = part[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]
                y[:, own] += np.einsum("oc,bchw->bohw", weight[own, :, i, j].astype(np.float64), seen)
    return y


def roi_pool(features: Maps, box: NDArray[np.float64], size: int) -> Maps:
    """Return RoIPool of (C, H, W) features: both rounded edges belong to a region, an empty bin is 0."""
    x1, y1, x2, y2 = (int(np.floor(side * 0.0625 + 0.5)) for side in box)
    pooled = np.zeros((len(features), size, size))
    rows, columns = features.shape[1:]
    high, wide = max(y2 - y1 + 1, 1) / size, max(x2 - x1 + 1, 1) / size
    for i in range(size):
        for j in range(size):
            top, end = _edges(i, high, y1, rows)
            left, right = _edges(j, wide, x1, columns)
            if end > top and right > left:
                pooled[:, i, j] = features[:, top:end, left:right].max(axis=(1, 2))
    return pooled


def _edges(number: int, size: float, first: int, cells: int) -> tuple[int, int]:
    edges = np.floor(number * size), np.ceil((number + 1) * size)
    begin, end = (min(max(int(edge) + first, 0), cells) for edge in edges)
    return begin, end


def resized(image: NDArray[np.uint8], scale: float, shape: tuple[int, int]) -> Maps:
    """Return (1, 3, h, w) pixels sampled between those of an RGB image: blue, green and red less the mean."""
    pixels = image[..., ::-1] - MEAN
    places = []
    for new, old in zip(shape, pixels.shape[:2], strict=True):
        place = np.clip((np.arange(new) + 0.5) / scale - 0.5, 0, old - 1)
        low = np.minimum(place.astype(int), old - 2)
        places.append((low, place - low))
    (y, down), (x, across) = places
    rows = pixels[y] * (1 - down)[:, None, None] + pixels[y + 1] * down[:, None, None]
    seen = rows[:, x] * (1 - across)[:, None] + rows[:, x + 1] * across[:, None]
    return seen.transpose(2, 0, 1)[None]
