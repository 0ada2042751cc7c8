"""What single layers of Caffe's networks become, by numbers that follow from Caffe's own documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.detectors.importers import Foreign, Wanted
from detkit.detectors.toolkits.caffe import _for_our_pixels, _test_factors, import_caffe
from detkit.detectors.toolkits.caffe_network import Network, _of_layer
from detkit.errors import UserError
from detkit.storage.caffe_net import CaffeLayer
from tests.reference.caffe_files import Layer, caffemodel
from tests.reference.caffe_networks import VGG_FC, caffenet, vgg16, zf_faster_rcnn

# Blue, green and red, as the authors' programs and model cards have them.
DETECTORS = (102.9801, 115.9465, 122.7717)
VGG = (103.939, 116.779, 123.68)
MEAN_IMAGE = (104.007, 116.669, 122.679)
IMAGENET = np.array([0.485, 0.456, 0.406]) * 255
STD = np.array([0.229, 0.224, 0.225]) * 255


def read(folder: Path, layers: Sequence[Layer], *classes: str) -> Foreign:
    file = folder / "net.caffemodel"
    file.write_bytes(caffemodel(layers))
    return import_caffe([file], Wanted(classes=classes))


def keys(found: Foreign) -> dict[str, Any]:
    return {key: json.loads(text) for key, _, text in (one.partition("=") for one in found.overrides)}


def network(detector: str, backbone: str, mean: Sequence[float] | None = None, **layers: Any) -> Network:
    weights = {
        name: CaffeLayer(name, "Convolution", (), (), (np.zeros(shape, np.float32),), {})
        for name, shape in layers.items()
    }
    own = None if mean is None else tuple(mean[::-1])
    return Network(Path("a.caffemodel"), weights, [], detector, {"type": backbone}, own)


@pytest.mark.parametrize(
    ("detector", "backbone", "said", "subtracted", "ours"),
    [
        ("faster_rcnn", "vgg", None, DETECTORS, DETECTORS[::-1]),
        ("fast_rcnn", "caffenet", None, DETECTORS, DETECTORS[::-1]),
        ("classifier", "vgg", None, VGG, IMAGENET),
        ("classifier", "zfnet", None, MEAN_IMAGE, IMAGENET),
        ("rcnn", "caffenet", None, MEAN_IMAGE, IMAGENET),
        ("classifier", "vgg", (90.0, 100.0, 130.0), (90.0, 100.0, 130.0), IMAGENET),
        ("fast_rcnn", "vgg", (90.0, 100.0, 130.0), (90.0, 100.0, 130.0), DETECTORS[::-1]),
    ],
)
def test_a_pixel_gives_what_it_gave(
    detector: str, backbone: str, said: Any, subtracted: Sequence[float], ours: Sequence[float]
) -> None:
    random = np.random.default_rng(0)
    weight, bias = random.normal(size=(4, 3, 1, 1)), random.normal(size=4)
    red_green_blue = np.array([200.0, 30.0, 90.0])
    theirs = weight[:, :, 0, 0] @ (red_green_blue[::-1] - np.array(subtracted)) + bias
    taken, moved = _for_our_pixels(
        network(detector, backbone, said), torch.from_numpy(weight), torch.from_numpy(bias)
    )
    seen = (red_green_blue - np.array(ours)) / STD
    found = taken.double().numpy()[:, :, 0, 0] @ seen + moved.double().numpy()
    np.testing.assert_allclose(found, theirs, atol=1e-2)


@pytest.mark.parametrize(
    ("outputs", "said", "sizes"),
    [
        (18, "'feat_stride': 16", [128, 256, 512]),
        (24, "", [64, 128, 256, 512]),
        (24, "'feat_stride': 16\n'scales': [4, 8, 16, 32]", [64, 128, 256, 512]),
        (12, '"scales": (2.5, 10)', [40, 160]),
    ],
)
def test_anchors_are_scales_of_sixteen_pixels(outputs: int, said: str, sizes: list[float]) -> None:
    found = network("faster_rcnn", "vgg", rpn_cls_score=(outputs, 16, 1, 1))
    found.layers = [CaffeLayer("proposal", "Python", (), (), (), {"python": {"param_str": said}})]
    assert found.anchor_sizes == sizes


def test_anchors_of_coco_are_in_the_config(tmp_path: Path) -> None:
    layers = vgg16(classes=80, rpn=True)
    for layer in layers:
        if layer.name in ("rpn_cls_score", "rpn_bbox_pred"):
            rows = 24 if layer.name == "rpn_cls_score" else 48
            layer.blobs = [np.zeros((rows, 64, 1, 1), np.float32), np.zeros(rows, np.float32)]
        if layer.name == "proposal":
            layer.settings = {}
    found = read(tmp_path, layers)
    assert (found.config, found.classes) == ("faster_rcnn_vgg16_coco", ())
    changes = keys(found)
    assert changes["detector.proposals.anchors.sizes_px"] == [[64, 128, 256, 512]]
    assert changes["detector.proposals.channels"] == 64
    assert changes["detector.regions.size"] == 7
    assert changes["data.resize.like"] == "caffe"


def test_the_thousand_classes_have_their_names(tmp_path: Path) -> None:
    found = read(tmp_path, caffenet("fc8", 1000))
    assert (len(found.classes), found.classes[0], found.classes[999]) == (1000, "tench", "toilet tissue")
    assert found.config == "classifier_caffenet_imagenet"


def test_a_side_can_have_its_own_number() -> None:
    said = {"kernel_h": 3, "kernel_w": 5, "stride_h": 1, "stride_w": 2, "pad_h": 0, "pad_w": 4}
    found = _of_layer(CaffeLayer("a", "Convolution", (), (), (), {"convolution": said}))
    assert (found["stride"], found["pad"]) == ((1, 2), (0, 4))
    found = _of_layer(CaffeLayer("a", "Pooling", (), (), (), {"pooling": said}))
    assert (found["kernel_size"], found["stride"], found["pad"]) == ((3, 5), (1, 2), (0, 4))
    found = _of_layer(CaffeLayer("a", "Convolution", (), (), (), {"convolution": {"pad": (1, 2)}}))
    assert found["pad"] == (1, 2)


def test_what_is_not_said_of_a_layer_is_caffes_default() -> None:
    def of(kind: str) -> dict[str, Any]:
        return _of_layer(CaffeLayer("a", kind, (), (), (), {}))

    one = (1, 1)
    assert of("Convolution") == {
        "kind": "Convolution", "group": 1, "stride": one, "pad": (0, 0), "dilation": one,
    }  # fmt: skip
    assert of("Pooling") == {
        "kind": "Pooling", "pool": 0, "round_mode": 0, "kernel_size": (0, 0), "stride": one, "pad": (0, 0),
    }  # fmt: skip
    assert of("LRN") == {
        "kind": "LRN", "norm_region": 0, "local_size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0,
    }  # fmt: skip


def test_dropout_that_did_not_scale_halves_the_next_layer_alone() -> None:
    def layer(name: str, kind: str, **settings: Any) -> CaffeLayer:
        return CaffeLayer(name, kind, ("x",), ("x",), (), {"dropout": settings} if settings else {})

    unscaled: dict[str, Any] = {"scale_train": False}
    found = _test_factors(
        [
            layer("fc6", "InnerProduct"),
            layer("drop6", "Dropout", **unscaled),
            layer("fc7", "InnerProduct"),
            layer("relu7", "ReLU"),
            layer("drop7", "Dropout", dropout_ratio=0.25, **unscaled),
            layer("cls_score", "InnerProduct"),
            layer("drop8", "Dropout", dropout_ratio=0.25),
            layer("last", "InnerProduct"),
        ]
    )
    assert {name: found[name] for name in ("fc6", "fc7", "cls_score", "last")} == {
        "fc6": 1.0, "fc7": 0.5, "cls_score": 0.75, "last": 1.0,
    }  # fmt: skip


def test_a_layer_without_bias_has_zeros(tmp_path: Path) -> None:
    layers = caffenet("fc8", 3)
    layers[-1].blobs = layers[-1].blobs[:1]
    state = read(tmp_path, layers, "a", "b", "c").state
    assert state["tail.classifier.6.bias"].tolist() == [0.0, 0.0, 0.0]
    np.testing.assert_array_equal(state["tail.classifier.6.weight"].numpy(), layers[-1].blobs[0])


def test_both_truncated_layers_have_their_ranks(tmp_path: Path) -> None:
    layers: list[Layer] = []
    for layer in vgg16(classes=1, rpn=False):
        if layer.name not in ("fc6", "fc7"):
            layers.append(layer)
            continue
        rank, inputs = (24 if layer.name == "fc6" else 9), layer.blobs[0].shape[1]
        first, second = np.ones((rank, inputs), np.float32), np.ones((VGG_FC, rank), np.float32)
        layers.append(Layer(f"{layer.name}_L", "InnerProduct", [first]))
        layers.append(Layer(f"{layer.name}_U", "InnerProduct", [second, layer.blobs[1]]))
    found = read(tmp_path, layers, "cat")
    changes = keys(found)
    assert (changes["detector.head.fc6_rank"], changes["detector.head.fc7_rank"]) == (24, 9)
    head = {name.removeprefix("roi_head.head.") for name in found.state if "roi_head.head" in name}
    thin = {f"{name}.{part}" for name in ("fc6", "fc7") for part in ("0.weight", "1.weight", "1.bias")}
    assert head == thin


def test_a_network_of_medium_size_is_another_one(tmp_path: Path) -> None:
    """VGG_CNN_M has the kernels of ZF, and twice as many channels from conv3 on."""
    layers = zf_faster_rcnn(classes=1)
    for layer in layers:
        if layer.name == "conv3":
            layer.blobs = [np.zeros((48, 24, 3, 3), np.float32), np.zeros(48, np.float32)]
    with pytest.raises(UserError, match="none of the networks"):
        read(tmp_path, layers, "a")
