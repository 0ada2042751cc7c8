"""Networks of Caffe in every form of the format, written byte by byte, whole and damaged."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from detkit.cli.app import app
from detkit.errors import UserError
from detkit.storage import caffe_net
from detkit.storage.caffe_net import read_caffemodel, read_mean, read_prototxt
from tests.reference.caffe_files import (
    Layer,
    blob,
    caffemodel,
    entry,
    prototxt,
    v0_caffemodel,
    v1_caffemodel,
    varint,
)

KERNEL = np.arange(54, dtype=np.float32).reshape(2, 3, 3, 3)
BIAS, MATRIX = np.array([1.5, -2], np.float32), np.arange(6, dtype=np.float32).reshape(2, 3)
LAYERS = [
    Layer("conv1", "Convolution", [KERNEL, BIAS], {"kernel_size": 3, "pad": 1, "stride": 2}),
    Layer("relu1", "ReLU"),
    Layer("norm1", "LRN", (), {"local_size": 3, "alpha": 0.5, "norm_region": 1}),
    Layer("pool1", "Pooling", (), {"pool": 1, "kernel_size": 3}),
    Layer("drop1", "Dropout", (), {"dropout_ratio": 0.25, "scale_train": False}),
    Layer("fc6", "InnerProduct", [MATRIX]),
]
SETTINGS = {
    "conv1": {"convolution": {"kernel_size": (3,), "pad": (1,), "stride": (2,)}},
    "norm1": {"lrn": {"local_size": 3, "alpha": 0.5, "norm_region": 1}},
    "pool1": {"pooling": {"pool": 1, "kernel_size": 3}},
    "drop1": {"dropout": {"dropout_ratio": 0.25, "scale_train": False}},
}
PLACES = [("data", "conv1"), ("conv1", "conv1"), ("conv1", "norm1"), ("norm1", "pool1"), ("pool1", "pool1")]


@pytest.mark.parametrize("form", ["shape", "legacy", "double", "unpacked", "v1", "v0"])
def test_every_form_of_weights(form: str, tmp_path: Path) -> None:
    content = {"v1": v1_caffemodel, "v0": v0_caffemodel}.get(form, lambda layers: caffemodel(layers, form))
    (tmp_path / "a.caffemodel").write_bytes(content(LAYERS))
    found = read_caffemodel(tmp_path / "a.caffemodel")
    assert [layer.name for layer in found] == [layer.name for layer in LAYERS]
    assert [layer.kind for layer in found] == [layer.kind for layer in LAYERS]
    assert np.array_equal(found[0].blobs[0], KERNEL)
    assert np.array_equal(found[0].blobs[1].reshape(-1), BIAS)
    assert np.array_equal(found[-1].blobs[0].reshape(2, 3), MATRIX)
    assert {values.dtype for layer in found for values in layer.blobs} == {np.dtype(np.float32)}
    if form != "v0":
        assert {layer.name: layer.settings for layer in found if layer.settings} == SETTINGS
        assert [(layer.bottoms[0], layer.tops[0]) for layer in found[:-1]] == PLACES


@pytest.mark.parametrize("v1", [False, True])
def test_a_description_says_the_same(v1: bool, tmp_path: Path) -> None:
    (tmp_path / "a.prototxt").write_text(prototxt(LAYERS, v1=v1))
    found = read_prototxt(tmp_path / "a.prototxt")
    assert [layer.kind for layer in found] == [layer.kind for layer in LAYERS]
    assert {layer.name: layer.settings for layer in found if layer.settings} == SETTINGS
    assert [(layer.bottoms[0], layer.tops[0]) for layer in found[:-1]] == PLACES


def test_layers_of_fast_rcnn(tmp_path: Path) -> None:
    layers = [
        Layer("roi", "ROIPooling", (), {"pooled_h": 6, "pooled_w": 7, "spatial_scale": 0.0625}),
        Layer("proposal", "Python", (), {"param_str": "'feat_stride': 16"}),
    ]
    (tmp_path / "a.prototxt").write_text(prototxt(layers))
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(layers))
    for found in (read_prototxt(tmp_path / "a.prototxt"), read_caffemodel(tmp_path / "a.caffemodel")):
        assert found[0].settings["roi_pooling"] == {"pooled_h": 6, "pooled_w": 7, "spatial_scale": 0.0625}
        assert found[1].settings["python"] == {"param_str": "'feat_stride': 16"}


def test_every_setting_has_its_number_and_its_name(tmp_path: Path) -> None:
    sides = {"pad_h": 1, "pad_w": 2, "kernel_h": 3, "kernel_w": 4, "stride_h": 5, "stride_w": 6}
    layers = [
        Layer("data", "Data", (), {"mean_value": 103.5}),
        Layer("conv1", "Convolution", (), {**sides, "group": 7, "dilation": 8}),
        Layer("pool1", "Pooling", (), {**sides, "pad": 9, "stride": 10, "round_mode": 1}),
        Layer("pool2", "Pooling", (), {"global_pooling": True}),
        Layer("norm1", "LRN", (), {"local_size": 3, "alpha": 0.5, "beta": 0.25, "norm_region": 0, "k": 2.0}),
    ]
    wanted = {layer.name: dict(layer.settings) for layer in layers}
    wanted["data"]["mean_value"], wanted["conv1"]["dilation"] = (103.5,), (8,)  # of each channel, or side
    (tmp_path / "a.prototxt").write_text(prototxt(layers))
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(layers))
    for found in (read_prototxt(tmp_path / "a.prototxt"), read_caffemodel(tmp_path / "a.caffemodel")):
        assert {layer.name: next(iter(layer.settings.values())) for layer in found} == wanted


def test_mean_image(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    (tmp_path / "mean.binaryproto").write_bytes(blob(values, "legacy"))
    assert read_mean(tmp_path / "mean.binaryproto").tolist() == [1.5, 5.5, 9.5]
    (tmp_path / "grey.binaryproto").write_bytes(blob(values[:, :1], "legacy"))
    with pytest.raises(UserError, match=r"grey.binaryproto: a mean image has 3 channels"):
        read_mean(tmp_path / "grey.binaryproto")


def nested(depth: int) -> bytes:
    """Return groups in one another, of a field that is not known."""
    content = b""
    for _ in range(depth):
        content = varint(9 * 8 + 3) + content + varint(9 * 8 + 4)
    return content


def weights(*fields: bytes) -> bytes:
    return entry(100, entry(1, "conv1") + entry(7, b"".join(fields)))


WHOLE = caffemodel(LAYERS)
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "holds no layer"),
    "another kind of file": (b"PK\x03\x04" + bytes(100), "is damaged"),
    "end too early": (WHOLE[:-3], "is damaged"),
    "a layer of 1 GB": (varint(100 * 8 + 2) + varint(1 << 30) + b"abc", "is damaged"),
    "weights of 4 GB": (
        weights(entry(7, entry(1, varint(1 << 15) + varint(1 << 15))), entry(5, bytes(8))),
        r"2 numbers are no weights of shape \(32768, 32768\)",
    ),
    "a negative side": (weights(entry(1, (1 << 64) - 1), entry(5, bytes(8))), "no weights of shape"),
    "no side": (weights(entry(7, b""), entry(5, bytes(4))), r"1 numbers are no weights of shape \(\)"),
    "half a number": (weights(entry(5, bytes(7))), "end within a number"),
    "more weights than a layer has": (entry(100, entry(7, b"") * 20), "has 20 weights"),
    "more layers than a network has": (entry(100, b"") * 10_001, "10001 layers"),
    "deep": (entry(100, nested(2000)), "is damaged"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_weights_are_refused(name: str, tmp_path: Path) -> None:
    content, says = DAMAGED[name]
    file = tmp_path / "a.caffemodel"
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        read_caffemodel(file)
    assert str(file) in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "content",
    [
        b"layer {" * 3000,
        b"x { " * 3000 + b"}" * 3000,
        b"\xff\xfe",
        b'name: "a"',
        b"layer { name: 3 }",
        b"layer { pooling_param { pool: SOME } }",
        b"layer { blobs { data: 1 } }",
    ],
)
def test_other_texts_are_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.prototxt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"is no .prototxt of a network") as refused:
        read_prototxt(file)
    assert str(file) in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("read", [read_caffemodel, read_prototxt, read_mean])
def test_only_files_of_bounded_length_are_read(
    read: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caffe_net, "_LARGEST_NET", 10)
    monkeypatch.setattr(caffe_net, "_LARGEST_TEXT", 10)
    (tmp_path / "a").write_bytes(bytes(11))
    for name, says in (("a", "may have"), ("b", "does not exist"), (".", "a folder")):
        with pytest.raises(UserError, match=says):
            read(tmp_path / name)


def test_without_protobuf_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.caffemodel").write_bytes(WHOLE)
    caffe_net._classes.cache_clear()
    monkeypatch.setitem(sys.modules, "google.protobuf", None)
    with pytest.raises(UserError, match="pip install protobuf"):
        read_caffemodel(tmp_path / "a.caffemodel")
    monkeypatch.undo()
    assert len(read_caffemodel(tmp_path / "a.caffemodel")) == len(LAYERS)


def test_the_command_refuses_with_status_2(tmp_path: Path) -> None:
    file = tmp_path / "a.caffemodel"
    file.write_bytes(DAMAGED["weights of 4 GB"][0])
    result = CliRunner().invoke(app, ["import", str(file), "--from", "caffe"])
    assert result.exit_code == 2
    assert "a.caffemodel" in result.output
