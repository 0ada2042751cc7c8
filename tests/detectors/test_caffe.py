"""A network of Caffe's, imported, gives what Caffe's layers give one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from detkit.config.load import load_config
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.runs.predictor import build_predictor, load_detector
from detkit.structures import ImageBatch, Target
from detkit.workflows.import_model import Import, import_model
from tests.reference.caffe_files import Layer, blob, caffemodel, prototxt, v0_caffemodel, v1_caffemodel
from tests.reference.caffe_networks import caffenet, resized, run, vgg16, zf_faster_rcnn

SIZES = ["data.resize.short_px=75", "data.resize.long_px=150"]
# Of inclusive pixels, as theirs are, and to the end of the last pixel, as ours are.
ROIS = np.array([[0, 0, 107, 74], [10, 8, 41, 60], [24, 24, 24, 24], [80, 3, 107, 30]], float)
BOXES = torch.tensor(ROIS, dtype=torch.float32) + torch.tensor([0.0, 0.0, 1.0, 1.0])


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(folder: Path, layers: Sequence[Layer], content: bytes | None = None) -> list[Path]:
    """Write a network and its description, and return both files."""
    files = [folder / "net.caffemodel", folder / "test.prototxt"]
    files[0].write_bytes(caffemodel(layers) if content is None else content)
    files[1].write_text(prototxt(layers))
    return files


def taken(read: Import, image: NDArray[np.uint8]) -> tuple[Any, torch.Tensor]:
    """Return the model and the pixels that it sees of an image."""
    loaded = load_detector(read.out)
    (resize,) = eval_transforms(loaded.config.data)
    nothing = Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    pixels, _ = resize(torch.from_numpy(image).permute(2, 0, 1), nothing, np.random.default_rng(0))
    return loaded.model, pixels[None]


def same(ours: torch.Tensor, theirs: NDArray[np.float64]) -> None:
    torch.testing.assert_close(ours.double(), torch.from_numpy(theirs), rtol=1e-3, atol=1e-3 * theirs.std())


@pytest.mark.parametrize("said", ["by the file", "by the prototxt"])
@pytest.mark.parametrize("name", ["zfnet", "vgg"])
@torch.no_grad()
def test_faster_rcnn(name: str, said: str, tmp_path: Path) -> None:
    layers = zf_faster_rcnn() if name == "zfnet" else vgg16(rpn=True)
    files = write(tmp_path, layers, caffemodel(layers, says=said == "by the file"))
    read = import_model(files[: 1 if said == "by the file" else 2], "caffe", overrides=SIZES)
    assert (read.arch, read.unused, read.missing) == ("faster_rcnn", (), ())
    assert read.classes[::19] == ("aeroplane", "tvmonitor")
    image = picture(52, 75)
    model, pixels = taken(read, image)
    assert pixels.shape == (1, 3, 75, 108)
    theirs = run(layers, resized(image, 75 / 52, (75, 108)), ROIS)
    (conv5,) = model.backbone(pixels)
    # Poolings round up: VGG's make 38, 19, 10 and then 5 cells of 75 pixels; ZF's have padding, too.
    cells = (6, 8) if name == "zfnet" else (5, 7)
    assert conv5.shape[2:] == cells
    same(conv5, theirs["relu5" if name == "zfnet" else "relu5_3"])
    logits, deltas = model.rpn.head(conv5)
    scores = theirs["rpn_cls_score"].reshape(2, 9, *cells)  # background of each anchor, then object
    same(logits[0], (scores[1] - scores[0]).transpose(1, 2, 0).ravel())
    same(deltas[0], theirs["rpn_bbox_pred"].transpose(0, 2, 3, 1).reshape(-1, 4))
    boxes = BOXES
    logits, deltas = model.roi_head([conv5], [boxes])
    same(logits, np.roll(theirs["cls_score"], -1, axis=1))
    same(deltas / torch.tensor([10, 10, 5, 5]), theirs["bbox_pred"].reshape(4, 21, 4)[:, 1:])


def test_a_detection_is_made(tmp_path: Path) -> None:
    read = import_model(write(tmp_path, zf_faster_rcnn()), "caffe", overrides=SIZES)
    found = build_predictor(read.out, "cpu").predict(picture(52, 75), threshold=0.0)
    assert len(found.boxes) > 0
    assert np.isfinite(found.boxes).all()


def test_the_anchors_are_those_of_the_program(tmp_path: Path) -> None:
    read = import_model(write(tmp_path, zf_faster_rcnn()), "caffe")
    (anchors,) = load_detector(read.out).model.rpn.grid([(1, 1)], [16], torch.device("cpu"))
    # generate_anchors.py prints these, of inclusive pixels, for its first and its last ratio.
    theirs = [[-83, -39, 100, 56], [-175, -87, 192, 104], [-359, -183, 376, 200]]
    theirs += [[-35, -79, 52, 96], [-79, -167, 96, 184], [-167, -343, 184, 360]]
    ours = torch.cat([anchors[:3], anchors[6:]])
    # It prints them 1-based: a cell's first pixel is 1.
    assert (ours - torch.tensor([0, 0, 1, 1])).tolist() == (np.array(theirs) - 1.0).tolist()


@torch.no_grad()
def test_fast_rcnn_of_the_first_format(tmp_path: Path) -> None:
    layers = vgg16(classes=2, rpn=False)
    kept = [layer for layer in layers if layer.kind != "ROIPooling"]
    files = write(tmp_path, layers, v1_caffemodel(kept))
    read = import_model(files[0], "caffe", classes=["cat", "dog"], overrides=SIZES)
    assert (read.arch, read.classes, read.unused, read.missing) == ("fast_rcnn", ("cat", "dog"), (), ())
    image = picture(52, 75)
    model, pixels = taken(read, image)
    theirs = run(layers, resized(image, 75 / 52, (75, 108)), ROIS)
    maps = model.backbone(pixels)
    logits, _ = model.roi_head(maps, [BOXES])
    same(logits, np.roll(theirs["cls_score"], -1, axis=1))


@torch.no_grad()
def test_truncated_layers_stay_two_thin_ones(tmp_path: Path) -> None:
    layers = vgg16(classes=1, rpn=False)
    at = next(number for number, layer in enumerate(layers) if layer.name == "fc6")
    random = np.random.default_rng(1)
    first = random.normal(0, 0.02, (16, 64 * 49)).astype(np.float32)
    second = random.normal(0, 0.3, (512, 16)).astype(np.float32)
    whole = Layer("fc6", "InnerProduct", [second @ first, layers[at].blobs[1]])
    thin = [Layer("fc6_L", "InnerProduct", [first]), Layer("fc6_U", "InnerProduct", [second, whole.blobs[1]])]
    files = write(tmp_path, [*layers[:at], *thin, *layers[at + 1 :]])
    model, pixels = taken(
        import_model(files, "caffe", classes=["cat"], overrides=SIZES), image := picture(52, 75)
    )
    theirs = run([*layers[:at], whole, *layers[at + 1 :]], resized(image, 75 / 52, (75, 108)), ROIS)
    boxes = BOXES
    logits, _ = model.roi_head(model.backbone(pixels), [boxes])
    same(logits, np.roll(theirs["cls_score"], -1, axis=1))


CROP = picture(227, 227)
BGR = CROP[..., ::-1].transpose(2, 0, 1)[None]
MEAN = np.array([104.007, 116.669, 122.679])[:, None, None]


def batch() -> ImageBatch:
    pixels = torch.from_numpy(CROP).permute(2, 0, 1)[None]
    return ImageBatch(pixels, ((227, 227),), ((227, 227),))


@pytest.mark.parametrize("layer", ["fc8_pascal", "fc-rcnn"])
@torch.no_grad()
def test_rcnn(layer: str, tmp_path: Path) -> None:
    layers = caffenet(layer, 4 if layer == "fc8_pascal" else 3)
    read = import_model(write(tmp_path, layers), "caffe", classes=["a", "b", "c"])
    assert (read.arch, read.unused, read.missing) == ("rcnn", (), ())
    model = load_detector(read.out).model
    pool5 = model.network.pool5(model.prepare(batch()))
    vectors = model.network.beyond(pool5, "fc7")
    theirs = run(layers, BGR - MEAN)[layer]
    if layer == "fc-rcnn":
        same(model.decision.margins(vectors), theirs)
    else:
        raised = np.exp(theirs - theirs.max())
        same(model.decision.scores(vectors), (raised / raised.sum())[:, 1:])


@pytest.mark.parametrize("mean", ["usual", "image", "values"])
@torch.no_grad()
def test_a_classifier_knows_its_mean_and_starts_a_detector(mean: str, tmp_path: Path) -> None:
    layers = caffenet("fc8", 3)
    files, values = write(tmp_path, layers), MEAN
    if mean == "image":
        values = np.array([90.0, 100.0, 110.0])[:, None, None]
        files.append(tmp_path / "mean.binaryproto")
        spread = np.random.default_rng(0).normal(size=(3, 8, 8))
        files[-1].write_bytes(
            blob((values + spread - spread.mean(axis=(1, 2), keepdims=True))[None], "legacy")
        )
    elif mean == "values":
        values = np.array([104.0, 117.0, 123.0])[:, None, None]
        said = "transform_param { mean_value: 104 mean_value: 117 mean_value: 123 }"
        files[1].write_text(f'layer {{ name: "data" type: "Data" {said} }}' + files[1].read_text())
    read = import_model(files, "caffe", classes=["a", "b", "c"])
    assert (read.arch, read.unused, read.missing) == ("classifier", (), ())
    model = load_detector(read.out).model
    same(model.logits(model.prepare(batch())), run(layers, BGR - values)["fc8"])
    starts = [f"detector.backbone.weights={read.out}", "detector.backbone.width=0.08333333333333333"]
    config = load_config("fast_rcnn_caffenet_voc07", starts)
    reports: list[Any] = []
    detector = build_detector(config.detector, 20, 0, on_weights=reports.append)
    assert (reports[0].missing, reports[0].reshaped) == ((), ())
    # Both see pixels less ImageNet's mean, divided by its deviation.
    assert config.data.resize is not None
    assert config.data.resize.like == "detkit"
    assert torch.equal(detector.backbone.features[0].weight, model.backbone.features[0].weight)
    assert torch.equal(detector.roi_head.head.fc6.weight, model.tail.classifier[0].weight)


def test_a_classifier_that_pads_less_keeps_its_weights_and_says_so(tmp_path: Path) -> None:
    read = import_model(write(tmp_path, caffenet("fc8", 3, padded=True)), "caffe", classes=["a", "b", "c"])
    assert read.unused[0] == "conv1: pad is (5, 5), of caffenet it is (0, 0)"
    assert len(read.unused) == 3


def test_weights_of_the_oldest_format_and_another_detector_of_the_same_file(tmp_path: Path) -> None:
    layers = caffenet("fc8_pascal", 4)
    file = write(tmp_path, layers, v0_caffemodel(layers))[0]
    read = import_model(file, "caffe", classes=["a", "b", "c"])
    state = load_detector(read.out).model.state_dict()
    same(state["decision.classifier.bias"], np.roll(layers[-1].blobs[1], -1).astype(float))
    faster = write(tmp_path, zf_faster_rcnn(classes=2))[0]
    fast = import_model(
        faster, "caffe", arch="fast_rcnn", classes=["a", "b"], out=tmp_path / "fast.safetensors", partial=True
    )
    assert (fast.arch, fast.missing) == ("fast_rcnn", ())
    assert fast.unused == ("rpn_conv/3x3", "rpn_cls_score", "rpn_bbox_pred")


def changed(layers: list[Layer], name: str, **settings: Any) -> list[Layer]:
    for layer in layers:
        if layer.name == name:
            layer.settings = {**layer.settings, **settings}
    return layers


def shaped(layers: list[Layer], name: str, *shape: int) -> list[Layer]:
    for layer in layers:
        if layer.name == name:
            layer.blobs = [np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)]
    return layers


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (changed(zf_faster_rcnn(), "conv2", stride=1), r"conv2: stride is \(1, 1\), of zfnet it is \(2, 2\)"),
        (changed(zf_faster_rcnn(), "pool1", pool=1), "pool1: pool is 1"),
        (changed(zf_faster_rcnn(), "norm1", norm_region=0), "norm1: norm_region is 0"),
        (changed(zf_faster_rcnn(), "norm1", alpha=0.5), "norm1: alpha is 0.5"),
        (changed(zf_faster_rcnn(), "roi_pool", spatial_scale=0.125), "scale 0.125"),
        (changed(zf_faster_rcnn(), "proposal", param_str="'feat_stride': 8"), "feat_stride is '8'"),
        (changed(zf_faster_rcnn(), "proposal", param_str="'scales': [8]"), "rpn_bbox_pred has shape"),
        (shaped(zf_faster_rcnn(), "rpn_cls_score", 20, 16, 1, 1), "10 anchors"),
        (shaped(zf_faster_rcnn(), "conv3", 32, 24, 3, 5), "conv3 has shape"),
        (shaped(zf_faster_rcnn(), "conv1", 1024, 3, 7, 7), "conv1 has shape"),
        (shaped(zf_faster_rcnn(), "conv1", 0, 3, 7, 7), "none of the networks"),
        (shaped(zf_faster_rcnn(), "conv1", 8, 3, 9, 9), "none of the networks"),
        (shaped(zf_faster_rcnn(), "fc7", 9, 344), "fc7 has shape"),
        (shaped(zf_faster_rcnn(), "fc7", 9), "no fully connected layer"),
        (shaped(zf_faster_rcnn(), "fc6", 344, 10), "regions.size|fc6"),
        (shaped(zf_faster_rcnn(), "bbox_pred", 9, 344), "bbox_pred has shape"),
        (zf_faster_rcnn(classes=4), "4 classes"),
        ([layer for layer in zf_faster_rcnn() if layer.name != "rpn_conv/3x3"], "does not fit"),
        ([layer for layer in zf_faster_rcnn() if "fc" not in layer.name], "no layer fc6"),
        (caffenet("fc9", 3), "'fc9'"),
        ([Layer("x", "ReLU")], "has none of the layers"),
    ],
)
def test_another_network_is_refused(layers: list[Layer], says: str, tmp_path: Path) -> None:
    file = write(tmp_path, layers)[0]
    with pytest.raises(UserError, match=says) as refused:
        import_model(file, "caffe")
    assert str(file) in str(refused.value) or "regions.size" in str(refused.value)
    assert not file.with_suffix(".safetensors").exists()


def test_files_and_names_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    files = write(tmp_path, zf_faster_rcnn(classes=3))
    with pytest.raises(UserError, match=r"takes a .caffemodel"):
        import_model(files[1], "caffe")
    with pytest.raises(UserError, match=r"takes a .caffemodel"):
        import_model([files[0], tmp_path / "x.txt"], "caffe")
    with pytest.raises(UserError, match="name each with --class"):
        import_model(files, "caffe", classes=["a"])
    with pytest.raises(UserError, match="--arch 'zf': of caffe it must be one of faster_rcnn"):
        import_model(files, "caffe", arch="zf")
    with pytest.raises(UserError, match="no layer fc8_pascal"):
        import_model(files, "caffe", arch="rcnn")
