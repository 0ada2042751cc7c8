"""Reader of Caffe's networks: what .caffemodel and .prototxt files say of their layers.

The messages are described here as far as they are needed, by the numbers of their fields in caffe.proto;
protobuf passes over all other fields. Weights are taken as the bytes they are, and no size is believed before
it is compared with them, so that a damaged file gives a message, in memory in proportion to its length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import UserError, cut, shown
from detkit.storage.regular_files import MEBIBYTE, read_bytes

_LARGEST_TEXT = 4 * MEBIBYTE  # a .prototxt has some kilobytes
_LARGEST_NET = 2047 * MEBIBYTE  # that protobuf can read
_MOST_LAYERS, _MOST_BLOBS, _MOST_AXES = 10_000, 16, 8

# Fields as name:number:type; a type with * is repeated. V1 and V0 are the forms of layers before 2015.
_PARAMS = (
    "convolution_param:{}:Convolution pooling_param:{}:Pooling lrn_param:{}:Norm dropout_param:{}:Dropout "
    "transform_param:{}:Transform "
)
_MESSAGES = {
    "Shape": "dim:1:*int64",
    "Blob": "num:1:int32 channels:2:int32 height:3:int32 width:4:int32 data:5:*bytes shape:7:Shape "
    "double_data:8:*bytes",
    "UnpackedBlob": "data:5:*float double_data:8:*double",
    "Convolution": "group:5:uint32 pad:3:*uint32 kernel_size:4:*uint32 stride:6:*uint32 dilation:18:*uint32 "
    "pad_h:9:uint32 pad_w:10:uint32 kernel_h:11:uint32 kernel_w:12:uint32 stride_h:13:uint32 "
    "stride_w:14:uint32",
    "Pooling": "pool:1:PoolMethod kernel_size:2:uint32 stride:3:uint32 pad:4:uint32 kernel_h:5:uint32 "
    "kernel_w:6:uint32 stride_h:7:uint32 stride_w:8:uint32 pad_h:9:uint32 pad_w:10:uint32 "
    "global_pooling:12:bool round_mode:13:RoundMode",
    "Norm": "local_size:1:uint32 alpha:2:float beta:3:float norm_region:4:NormRegion k:5:float",
    "Dropout": "dropout_ratio:1:float scale_train:2:bool",
    "Transform": "mean_value:5:*float",
    "ROIPooling": "pooled_h:1:uint32 pooled_w:2:uint32 spatial_scale:3:float",
    "Python": "layer:2:string param_str:3:string",
    "Layer": "name:1:string type:2:string bottom:3:*string top:4:*string blobs:7:*bytes "
    "python_param:130:Python roi_pooling_param:8266711:ROIPooling " + _PARAMS.format(106, 121, 118, 108, 100),
    "V0Layer": "name:1:string type:2:string blobs:50:*bytes",
    "V1Layer": "layer:1:V0Layer bottom:2:*string top:3:*string name:4:string type:5:V1Type blobs:6:*bytes "
    + _PARAMS.format(10, 19, 18, 12, 36),
    "Net": "name:1:string layers:2:*V1Layer layer:100:*Layer",
    "NetOfBytes": "layers:2:*bytes layer:100:*bytes",  # counted before a layer is read
}
_ENUMS = {
    "PoolMethod": "MAX AVE STOCHASTIC",
    "RoundMode": "CEIL FLOOR",
    "NormRegion": "ACROSS_CHANNELS WITHIN_CHANNEL",
    "V1Type": "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA "
    "HDF5_OUTPUT IM2COL IMAGE_DATA INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS "
    "POOLING RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT TANH WINDOW_DATA ELTWISE POWER "
    "SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN "
    "ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION",
}
_USED = ("Convolution", "InnerProduct", "Pooling", "LRN", "ReLU", "Dropout", "Split")
_KINDS = {name.lower(): name for name in _USED} | {"conv": "Convolution", "pool": "Pooling"}
"""Types of layers that are of use, by their older names in small letters and without the _."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CaffeLayer:
    """A layer of a network.

    Attributes:
        name: of the layer.
        kind: its type as Caffe calls it since 2015, such as InnerProduct.
        bottoms: names of its inputs.
        tops: names of its outputs.
        blobs: its weights in the shape of the file, and their bias.
        settings: what the file says of it, by the names of caffe.proto without the `_param`: of
            `convolution`, `pooling`, `lrn`, `dropout`, `roi_pooling`, `transform` and `python`.
    """

    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    blobs: tuple[Floats, ...]
    settings: Mapping[str, Mapping[str, Any]]


def read_caffemodel(file: Path) -> list[CaffeLayer]:
    """Return the layers of a network with their weights, of any version of the format.

    Raises:
        UserError: the file is missing or damaged or holds no layers, or protobuf is not installed.
    """
    content = read_bytes(file, _LARGEST_NET)
    net = _parsed(file, "NetOfBytes", content)
    del content
    if not len(net.layer) + len(net.layers):
        raise UserError(f"{file}: holds no layer; a .caffemodel is what Caffe's solver writes")
    if len(net.layer) + len(net.layers) > _MOST_LAYERS:
        raise UserError(f"{file}: has {len(net.layer) + len(net.layers)} layers, more than {_MOST_LAYERS}")
    kind, parts = ("Layer", list(net.layer)) if net.layer else ("V1Layer", list(net.layers))
    del net
    parts.reverse()
    return [_layer(file, _parsed(file, kind, parts.pop())) for _ in range(len(parts))]


def read_prototxt(file: Path) -> list[CaffeLayer]:
    """Return the layers of a network's description; fields that are not known are passed over.

    Raises:
        UserError: the file is missing or describes no network, or protobuf is not installed.
    """
    net = _message("Net")
    from google.protobuf import text_format

    try:
        text = read_bytes(file, _LARGEST_TEXT).decode()
        text_format.Parse(text, net, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{file}: is no .prototxt of a network: {cut(str(error), 200)}") from None
    layers = [_layer(file, part) for part in (net.layer or net.layers)]
    if not layers:
        raise UserError(f"{file}: is no .prototxt of a network: it has no layer")
    return layers


def read_mean(file: Path) -> Floats:
    """Return the mean of each channel, blue, green and red, of a mean image (.binaryproto).

    Raises:
        UserError: the file is missing or holds no such image, or protobuf is not installed.
    """
    values = _blob(f"{file}", read_bytes(file, _LARGEST_TEXT))
    channels = values.reshape(-1, *values.shape[-3:])
    if values.ndim < 3 or channels.shape[:2] != (1, 3):
        raise UserError(f"{file}: a mean image has 3 channels, this has shape {values.shape}")
    mean: Floats = channels[0].mean(axis=(1, 2))
    return mean


def _layer(file: Path, part: Any) -> CaffeLayer:
    own = part.layer if "layer" in part.DESCRIPTOR.fields_by_name and part.HasField("layer") else part
    kind = own.type
    if isinstance(kind, int):
        names = part.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number
        kind = names[kind].name if kind in names else ""
    if len(own.blobs) > _MOST_BLOBS:
        raise UserError(f"{file}: layer {shown(own.name)} has {len(own.blobs)} weights")
    return CaffeLayer(
        name=own.name,
        kind=_KINDS.get(kind.replace("_", "").lower(), kind),
        bottoms=tuple(part.bottom),
        tops=tuple(part.top),
        blobs=tuple(_blob(f"{file}: layer {shown(own.name)}", blob) for blob in own.blobs),
        settings={
            field.name.removesuffix("_param"): {
                setting.name: _plain(value) for setting, value in message.ListFields()
            }
            for field, message in part.ListFields()
            if field.name.endswith("_param")
        },
    )


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else tuple(value)


def _blob(place: str, content: bytes) -> Floats:
    """Return the numbers of a blob, float or double, in the shape of either form of the format."""
    blob = _parsed(place, "Blob", content)
    packed, dtype = (blob.data, "<f4") if blob.data else (blob.double_data, "<f8")
    joined = b"".join(packed)
    if len(joined) % np.dtype(dtype).itemsize:
        raise UserError(f"{place}: the weights end within a number")
    values = np.frombuffer(joined, dtype).astype(np.float32)
    if not packed:  # number by number, as writers of other languages may
        plain = _parsed(place, "UnpackedBlob", content)
        values = np.fromiter(plain.data or plain.double_data, np.float32)
    shape = tuple(blob.shape.dim) if blob.HasField("shape") else None
    if shape is None:
        shape = (blob.num, blob.channels, blob.height, blob.width)
    if not 0 < len(shape) <= _MOST_AXES or min(shape) < 0 or math.prod(shape) != len(values):
        raise UserError(f"{place}: {len(values)} numbers are no weights of shape {cut(str(shape), 60)}")
    return values.reshape(shape)


def _parsed(place: object, kind: str, content: bytes) -> Any:
    message = _message(kind)
    from google.protobuf.message import DecodeError

    try:
        message.MergeFromString(content)
    except DecodeError:
        raise UserError(f"{place}: is damaged, or no file of Caffe's") from None
    return message


def _message(kind: str) -> Any:
    return _classes()[kind]()


@cache
def _classes() -> Mapping[str, Any]:
    """Return the classes of the messages by name."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError:
        raise UserError(
            "Caffe's files need protobuf, which is not installed: pip install protobuf (the extra `caffe`)"
        ) from None
    file = descriptor_pb2.FileDescriptorProto(name="caffe_net.proto", package="caffe_net", syntax="proto2")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values.split()):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for each in fields.split():
            field, place, kind = each.split(":")
            added = message.field.add(name=field, number=int(place), label=3 if kind[0] == "*" else 1)
            kind = kind.lstrip("*")
            if kind in _ENUMS or kind in _MESSAGES:
                added.type_name = f".caffe_net.{kind}"
                added.type = added.TYPE_ENUM if kind in _ENUMS else added.TYPE_MESSAGE
            else:
                added.type = getattr(added, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = (pool.FindMessageTypeByName(f"caffe_net.{name}") for name in _MESSAGES)
    return {one.name: message_factory.GetMessageClass(one) for one in found}
