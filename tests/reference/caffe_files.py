"""Files of Caffe, written byte by byte with the numbers of caffe.proto, and as text."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

NUMBERS = {
    "Convolution": {
        "pad": 3, "kernel_size": 4, "group": 5, "stride": 6, "pad_h": 9, "pad_w": 10, "kernel_h": 11,
        "kernel_w": 12, "stride_h": 13, "stride_w": 14, "dilation": 18,
    },
    "Pooling": {
        "pool": 1, "kernel_size": 2, "stride": 3, "pad": 4, "kernel_h": 5, "kernel_w": 6, "stride_h": 7,
        "stride_w": 8, "pad_h": 9, "pad_w": 10, "global_pooling": 12, "round_mode": 13,
    },
    "LRN": {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5},
    "Dropout": {"dropout_ratio": 1, "scale_train": 2},
    "ROIPooling": {"pooled_h": 1, "pooled_w": 2, "spatial_scale": 3},
    "Python": {"param_str": 3},
    "Data": {"mean_value": 5},
}  # fmt: skip
PARAMS = {
    "Convolution": 106,
    "Pooling": 121,
    "LRN": 118,
    "Dropout": 108,
    "ROIPooling": 8266711,
    "Python": 130,
    "Data": 100,
}
PARAM_NAMES = {"ROIPooling": "roi_pooling", "Data": "transform"}
V1_PARAMS = {"Convolution": 10, "Pooling": 19, "LRN": 18, "Dropout": 12}
V1_TYPES = {
    "Convolution": 4,
    "Dropout": 6,
    "InnerProduct": 14,
    "LRN": 15,
    "Pooling": 17,
    "ReLU": 18,
    "Softmax": 20,
}
V1_NAMES = {"InnerProduct": "INNER_PRODUCT"}
ENUMS = {
    ("Pooling", "pool"): ("MAX", "AVE"),
    ("Pooling", "round_mode"): ("CEIL", "FLOOR"),
    ("LRN", "norm_region"): ("ACROSS_CHANNELS", "WITHIN_CHANNEL"),
}


@dataclass
class Layer:
    """A layer of a network; by default its input is the output of the one before."""

    name: str
    kind: str
    blobs: Sequence[Array] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    bottom: str = ""
    top: str = ""


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number % 128 + 128)
        number //= 128
    return bytes([*parts, number])


def entry(number: int, value: object) -> bytes:
    """Return a field of a message: a whole number, a float, or what has a length."""
    if isinstance(value, int):
        return varint(number * 8) + varint(int(value))
    if isinstance(value, float):
        return varint(number * 8 + 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else bytes(value)  # type: ignore[call-overload]
    return varint(number * 8 + 2) + varint(len(content)) + content


def blob(values: Array, form: str = "shape") -> bytes:
    """Return a BlobProto.

    Args:
        values: its content.
        form: `shape`; `legacy`, with 4 axes; `double`; or `unpacked`, each number by itself.
    """
    if form == "legacy":
        sides = (1,) * (4 - values.ndim) + values.shape
        head = b"".join(entry(axis + 1, side) for axis, side in enumerate(sides))
    else:
        head = entry(7, entry(1, b"".join(map(varint, values.shape))))
    if form == "double":
        return head + entry(8, values.astype("<f8").tobytes())
    if form == "unpacked":
        return head + b"".join(entry(5, float(value)) for value in values.ravel())
    return head + entry(5, values.astype("<f4").tobytes())


def caffemodel(layers: Sequence[Layer], form: str = "shape", *, says: bool = True) -> bytes:
    """Return a NetParameter of layers with weights, and with their settings if it `says` them."""
    return b"".join(entry(100, _layer(one, form, says)) for one in chained(layers))


def v1_caffemodel(layers: Sequence[Layer]) -> bytes:
    """Return one as it was before 2015."""
    parts = []
    for one in chained(layers):
        content = entry(2, one.bottom) + entry(3, one.top) + entry(4, one.name) + entry(5, V1_TYPES[one.kind])
        content += b"".join(entry(6, blob(values, "legacy")) for values in one.blobs)
        if one.settings:
            content += entry(V1_PARAMS[one.kind], _settings(one))
        parts.append(entry(2, content))
    return entry(1, "net") + b"".join(parts)


def v0_caffemodel(layers: Sequence[Layer]) -> bytes:
    """Return one as it was before 2014, where settings are of no use."""
    kinds = {"Convolution": "conv", "InnerProduct": "innerproduct"}
    return b"".join(
        entry(
            2,
            entry(
                1,
                entry(1, one.name)
                + entry(2, kinds.get(one.kind, one.kind.lower()))
                + b"".join(entry(50, blob(values, "legacy")) for values in one.blobs),
            ),
        )
        for one in layers
    )


def _layer(one: Layer, form: str, says: bool) -> bytes:
    content = entry(1, one.name) + entry(2, one.kind) + entry(3, one.bottom) + entry(4, one.top)
    content += b"".join(entry(7, blob(values, form)) for values in one.blobs)
    return content + (entry(PARAMS[one.kind], _settings(one)) if one.settings and says else b"")


def _settings(one: Layer) -> bytes:
    return b"".join(entry(NUMBERS[one.kind][key], value) for key, value in one.settings.items())


def prototxt(layers: Sequence[Layer], *, v1: bool = False) -> str:
    """Return the network as text, with a field that no reader knows."""
    text = 'name: "net"\ninput: "data"\ninput_dim: 1\n'
    for one in chained(layers):
        kind = V1_NAMES.get(one.kind, one.kind.upper()) if v1 else f'"{one.kind}"'
        text += f'{"layers" if v1 else "layer"} {{ name: "{one.name}" type: {kind}\n  bottom: "{one.bottom}"'
        text += f' top: "{one.top}"\n  param {{ lr_mult: 1 }} own_param {{ deep {{ x: 1 }} }}\n'
        if one.settings:
            name = PARAM_NAMES.get(one.kind, one.kind.lower())
            said = (f"{key}: {_text(one.kind, key, value)}" for key, value in one.settings.items())
            text += f"  {name}_param {{ {' '.join(said)} }}\n"
        text += "}\n"
    return text


def _text(kind: str, key: str, value: object) -> str:
    if (kind, key) in ENUMS:
        return ENUMS[kind, key][int(str(value))]
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def chained(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers with their inputs and outputs; ReLU and dropout work in place."""
    found, last = [], "data"
    for one in layers:
        bottom = one.bottom or last
        last = one.top or (bottom if one.kind in ("ReLU", "Dropout") else one.name)
        found.append(Layer(one.name, one.kind, one.blobs, one.settings, bottom, last))
    return found
