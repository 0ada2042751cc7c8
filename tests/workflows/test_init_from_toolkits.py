"""`detkit init --from` and `detkit train --from` with detectors imported from other programs."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from detkit.__main__ import main
from detkit.config.load import load_config, parse_config
from detkit.config.schema import Config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.inference.model_file import ModelFile, read_model_file
from detkit.workflows.import_model import import_model
from tests.reference.caffe_files import Layer, caffemodel, prototxt
from tests.reference.caffe_networks import caffenet, vgg16, zf_faster_rcnn
from tests.reference.recorded_detectors import read_record, weights

CLASSES = ("cat", "star", "ring")  # of the files; the images have disc, ring, square, star and triangle
LITTLE = ("device=cpu", "data.workers=0", "data.resize.short_px=64", "data.resize.long_px=86")
STEPS = ("train.epochs=1", "train.batch_size=2", "train.optimizer.lr=1e-12", "train.ema=null")
STAGES = (
    "train.fine_tune.steps=2", "train.fine_tune.batch_size=8", "train.fine_tune.optimizer.lr=1e-12",
    "train.fine_tune.drop_every=2", "train.fine_tune.warmup_steps=0",
)  # fmt: skip


def pickled(folder: Path) -> Path:
    file = folder / "model_final.pkl"
    file.write_bytes(pickle.dumps({"model": weights(read_record("detectron2_faster"))}))
    return file


def saved(folder: Path, name: str) -> Path:
    state = {key: torch.as_tensor(value) for key, value in weights(read_record(name)).items()}
    torch.save({"meta": {"dataset_meta": {"classes": CLASSES}}, "state_dict": state}, folder / "epoch_12.pth")
    return folder / "epoch_12.pth"


def of_caffe(folder: Path, layers: Sequence[Layer]) -> list[Path]:
    files = [folder / "net.caffemodel", folder / "test.prototxt"]
    files[0].write_bytes(caffemodel(layers))
    files[1].write_text(prototxt(layers))
    return files


def imported(folder: Path, name: str) -> Path:
    """Return the model file of a small detector with random weights."""
    if name == "detectron2":
        return import_model(pickled(folder), "detectron2", classes=CLASSES).out
    if name.startswith("mmdetection"):
        return import_model(saved(folder, name), "mmdetection").out
    layers = {
        "caffe_zf": lambda: zf_faster_rcnn(classes=3),
        "caffe_vgg": lambda: vgg16(classes=3, rpn=False),
        "caffe_rcnn": lambda: caffenet("fc8_pascal", 4),
        "caffe_classifier": lambda: caffenet("fc8", 3),
    }[name]()
    return import_model(of_caffe(folder, layers), "caffe", classes=CLASSES).out


def config_of(file: ModelFile) -> Config:
    return parse_config(file.config_yaml, str(file.path))


def require_rows_kept(before: ModelFile, after: ModelFile) -> int:
    """Check that all that a training could start from is there, and return how many tensors go by class."""
    by_class = 0
    for name, value in before.state.items():
        old, new = value, after.state[name]
        if old.shape == new.shape:
            torch.testing.assert_close(new, old, atol=1e-6, rtol=1e-6, msg=name)
            continue
        by_class += 1
        if len(new) // 4 == len(after.classes):  # a box for each class
            old, new = old.unflatten(0, (-1, 4)), new.unflatten(0, (-1, 4))
        assert len(old) - len(before.classes) == len(new) - len(after.classes), name
        for label in ("star", "ring"):
            own, others = new[after.classes.index(label)], old[before.classes.index(label)]
            torch.testing.assert_close(own, others, atol=1e-6, rtol=1e-6, msg=name)
        if len(new) > len(after.classes):
            torch.testing.assert_close(new[-1], old[-1], atol=1e-6, rtol=1e-6, msg=name)
    return by_class


@pytest.mark.parametrize(
    ("name", "by_class"),
    [
        ("detectron2", 4),
        ("mmdetection_cascade", 6),  # scores of three stages; boxes are those of all classes
        ("caffe_zf", 4),
        ("caffe_vgg", 4),
        ("caffe_rcnn", 2),
    ],
)
def test_a_training_starts_from_what_was_imported(name: str, by_class: int, tmp_path: Path) -> None:
    model, place, out = imported(tmp_path, name), tmp_path / "mine.yaml", tmp_path / "run"
    write_synthetic(tmp_path / "shapes", "voc", 4, 1)
    assert main(["init", str(tmp_path / "shapes"), "--from", str(model), "-o", str(place)]) == 0
    before = read_model_file(model)
    mine, theirs = load_config(place), config_of(before)
    assert mine.detector == theirs.detector
    assert mine.data.resize == theirs.data.resize
    assert mine.train.precision == theirs.train.precision
    assert mine.data.classes == ("disc", "ring", "square", "star", "triangle")
    steps = STAGES if name == "caffe_rcnn" else STEPS
    assert main(["train", str(place), "--from", str(model), "--out", str(out), *LITTLE, *steps]) == 0
    assert require_rows_kept(before, read_model_file(out / "model.safetensors")) == by_class


def test_a_classifier_of_caffes_learns_other_classes(tmp_path: Path) -> None:
    model, place, out = imported(tmp_path, "caffe_classifier"), tmp_path / "mine.yaml", tmp_path / "run"
    for label in ("ring", "square", "star"):
        for part, number in (("train", 2), ("val", 1)):
            (tmp_path / "images" / part / label).mkdir(parents=True)
            for each in range(number):
                picture = Image.new("RGB", (260, 250), (40 * each, 9, len(label)))
                picture.save(tmp_path / "images" / part / label / f"{label}{each}.png")
    assert main(["init", str(tmp_path / "images"), "--from", str(model), "-o", str(place)]) == 0
    before = read_model_file(model)
    mine, theirs = load_config(place), config_of(before)
    assert (mine.detector, mine.data.resize) == (theirs.detector, theirs.data.resize)
    steps = ("device=cpu", "data.workers=0", *STEPS)
    assert main(["train", str(place), "--from", str(model), "--out", str(out), *steps]) == 0
    after = read_model_file(out / "model.safetensors")
    assert (before.classes, after.classes) == (CLASSES, ("ring", "square", "star"))
    for part in ("weight", "bias"):
        name = f"tail.classifier.6.{part}"
        for label in ("star", "ring"):
            own, old = after.classes.index(label), before.classes.index(label)
            torch.testing.assert_close(after.state[name][own], before.state[name][old], atol=1e-6, rtol=1e-6)
    name = "backbone.features.0.weight"
    torch.testing.assert_close(after.state[name], before.state[name], atol=1e-6, rtol=1e-6)
