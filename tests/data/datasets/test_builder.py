from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.dataset import select_objects
from detkit.annotations.writers import Format
from detkit.data.config import DataConfig
from detkit.data.datasets import config as spec
from detkit.data.datasets.builder import (
    open_set,
    open_training_set,
    open_validation_set,
    warn_of_untrained,
)
from detkit.data.datasets.source import Source
from detkit.data.synthetic.dataset import SYNTHETIC_CLASSES, SyntheticSet, write_synthetic
from detkit.errors import UserError
from detkit.spec import CustomConfig


def set_of(root: Path, fmt: Format) -> spec.AnyDatasetConfig:
    match fmt:
        case "voc":
            return spec.VOCDatasetConfig(type="voc", root=str(root), sets=("train",))
        case "coco":
            (file,) = (root / "annotations").glob("*train*")
            return spec.COCODatasetConfig(type="coco", images=str(root / "train"), annotations=str(file))
        case "yolo":
            return spec.YOLODatasetConfig(type="yolo", root=str(root), split="train")


def data(train: spec.AnyDatasetConfig, **more: object) -> DataConfig:
    return DataConfig(classes=SYNTHETIC_CLASSES, train=train, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("fmt", ["voc", "coco", "yolo"])
def test_written_datasets_open_as_they_were_drawn(tmp_path: Path, fmt: Format) -> None:
    write_synthetic(tmp_path / "data", fmt, 3, 1, extension=".png")
    source, changed = open_training_set(data(set_of(tmp_path / "data", fmt)))
    drawn = SyntheticSet(3, 0)
    assert source.annotations.num_objects == drawn.annotations().num_objects
    assert np.array_equal(source.pixels(1), drawn.render(1))
    assert not any(changed.values())


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", "voc", 3, 1)
    victim = next((tmp_path / "data" / "JPEGImages").glob("train*"))
    victim.unlink()
    with pytest.raises(UserError, match=victim.name):
        open_training_set(data(set_of(tmp_path / "data", "voc")))


def outside(tmp_path: Path) -> spec.VOCDatasetConfig:
    """Return a set in which one box leaves its image."""
    write_synthetic(tmp_path / "data", "voc", 3, 1)
    file = next(
        f for f in sorted((tmp_path / "data" / "Annotations").glob("train*")) if "<xmax>" in f.read_text()
    )
    head, _, tail = file.read_text().partition("<xmax>")
    file.write_text(f"{head}<xmax>9999{tail[tail.index('</xmax>') :]}")
    return spec.VOCDatasetConfig(type="voc", root=str(tmp_path / "data"), sets=("train",))


def test_a_box_outside_its_image_stops_by_default(tmp_path: Path) -> None:
    spoilt = outside(tmp_path)
    for opened in (open_training_set, open_validation_set):
        with pytest.raises(UserError, match=r"(?s)9999.*invalid_boxes"):
            opened(data(spoilt, val=spoilt))


def test_a_box_outside_its_image_is_cut_or_dropped_when_asked(tmp_path: Path) -> None:
    spoilt = outside(tmp_path)
    whole = open_set(spoilt, data(spoilt)).annotations
    cut, changed = open_training_set(data(spoilt, invalid_boxes="clip"))
    assert changed == {"outside": 1, "clipped": 1, "dropped": 0}
    assert cut.annotations.boxes.max() < 9999
    dropped, _ = open_training_set(data(spoilt, invalid_boxes="drop"))
    assert dropped.annotations.num_objects == whole.num_objects - 1


def test_what_judges_keeps_its_boxes_as_the_file_has_them(tmp_path: Path) -> None:
    spoilt = outside(tmp_path)
    source = open_validation_set(data(spoilt, val=spoilt, invalid_boxes="clip"))
    assert source.annotations.boxes.max() == 9999


def test_a_class_the_config_lacks_is_named(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", "voc", 8, 1)
    with pytest.raises(UserError, match=r"data\.classes"):
        open_training_set(DataConfig(classes=("disc", "ring"), train=set_of(tmp_path / "data", "voc")))


def test_no_images_to_be_judged_by_is_said() -> None:
    with pytest.raises(UserError, match=r"data\.val"):
        open_validation_set(data(spec.SyntheticDatasetConfig(type="synthetic")))


def test_difficult_objects_are_learned_when_asked() -> None:
    source, _ = open_training_set(
        data(spec.SyntheticDatasetConfig(type="synthetic", num_images=5), use_difficult=True)
    )
    assert not source.annotations.difficult.any()


def own_set(classes: tuple[str, ...], num: int) -> Source:
    drawn = SyntheticSet(num, 0, classes)
    return Source(drawn.annotations(), drawn.render)


def test_a_dataset_of_the_users_own() -> None:
    spec_ = CustomConfig(type="custom", target="tests.data.datasets.test_builder:own_set", args={"num": 2})
    assert open_set(spec_, data(spec_)).annotations.num_images == 2
    wrong = CustomConfig(type="custom", target="builtins:dict", args={})
    with pytest.raises(UserError, match="Source"):
        open_set(wrong, data(wrong))


def test_a_training_set_without_an_object_of_the_classes_is_named() -> None:
    spec_ = CustomConfig(type="custom", target="tests.data.datasets.test_builder:empty_set", args={})
    with pytest.raises(UserError) as caught:
        open_training_set(DataConfig(classes=("disc", "star"), train=spec_))
    assert str(caught.value) == (
        "data.train: 3 images in nowhere, but not one labelled object of the classes disc, star"
    )


def empty_set(classes: tuple[str, ...]) -> Source:
    drawn = SyntheticSet(3, 0, classes)
    truth = drawn.annotations()
    return Source(
        replace(select_objects(truth, np.zeros(truth.num_objects, dtype=np.bool_)), root="nowhere"),
        drawn.render,
    )


def test_a_validation_set_is_not_augmented_and_a_class_is_listed_once() -> None:
    drawn = {"type": "synthetic"}
    flipped = drawn | {"augment": ({"type": "flip"},)}
    with pytest.raises(
        ValueError, match=r"val\.augment must be empty: a changed image measures something else"
    ):
        DataConfig.model_validate({"classes": ("disc",), "train": flipped, "val": flipped})
    assert DataConfig.model_validate({"classes": ("disc",), "train": flipped, "val": drawn}).val is not None
    with pytest.raises(ValueError, match="classes has a, b more than once"):
        DataConfig.model_validate({"classes": ("b", "a", "c", "a", "b"), "train": drawn})


def test_classes_that_nothing_is_learned_of_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    truth = SyntheticSet(20, 0, ("disc", "ring", "star")).annotations()
    warn_of_untrained(truth)
    assert capsys.readouterr().err == ""
    for name, way in ((0, "difficult"), (2, "crowd")):
        truth = replace(truth, **{way: truth.labels == name})
    warn_of_untrained(truth)
    said = "warning: the training set has no object of disc, star: never found after training"
    assert capsys.readouterr().err == f"{said}\n"
