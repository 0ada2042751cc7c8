"""What `detkit init` proposes, from what a dataset holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from detkit.checks.recommend import choose_freeze
from detkit.config.load import load_config
from detkit.data.datasets.config import ImageFolderConfig, ObjectCropsConfig
from detkit.data.datasets.readers import read_set
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.errors import UserError
from detkit.workflows.init import init


def images_by_class(root: Path, *parts: str) -> Path:
    for number, part in enumerate(parts):
        for name in ("cat", "dog"):
            place = root / part / name
            place.mkdir(parents=True)
            for image in range(4):
                Image.new("RGB", (8, 6), (number, image, 0)).save(place / f"{part[:2]}{image}.png")
    return root


@pytest.mark.parametrize(("stages", "usual"), [(4, 2), (5, 0), (5, 2)])
def test_the_fewer_examples_the_more_is_frozen(stages: int, usual: int) -> None:
    frozen = [choose_freeze(count, stages, usual)[0] for count in (1, 500, 501, 2000, 2001, 10**6)]
    assert frozen == [stages, stages, stages - 1, stages - 1, usual, usual]


def test_a_template_that_freezes_more_is_left_alone() -> None:
    assert choose_freeze(1000, 4, 5)[0] == 5


def test_a_few_objects_freeze_the_whole_pretrained_trunk_and_the_file_says_why(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 4, 2)
    found = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_c4", out=tmp_path / "mine.yaml")
    detector = load_config(tmp_path / "mine.yaml").detector
    assert isinstance(detector, FasterRCNNConfig)
    assert detector.backbone.freeze_at == 4  # type: ignore[union-attr]
    reason = f"freeze_at: 4, because {found['objects']['train']} training examples are at most 500"
    assert f"# {reason}" in (tmp_path / "mine.yaml").read_text()


def test_without_pretrained_weights_freezing_is_no_question(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 3, 2)
    found = init(tmp_path / "shapes", detector="faster_rcnn_resnet18_synthetic", out=tmp_path / "mine.yaml")
    assert not any("freeze_at" in note for note in found["notes"])


def test_images_by_class_get_a_classifier(tmp_path: Path) -> None:
    root = images_by_class(tmp_path / "pets", "train", "val")
    found = init(root, detector=None, out=tmp_path / "mine.yaml")
    assert (found["format"], found["classes"]) == ("image_folder", ["cat", "dog"])
    assert (found["images"], found["detector"]) == ({"train": 8, "val": 8}, "classifier_resnet18_folder")
    config = load_config(tmp_path / "mine.yaml")
    assert isinstance(config.detector, ClassifierConfig)
    assert config.detector.backbone.freeze_at == 5
    assert isinstance(config.data.val, ImageFolderConfig)
    assert (config.data.val.split, config.evaluate.metric) == ("val", "top1")
    with pytest.raises(UserError, match="holds images by class and no boxes"):
        init(root, detector="faster_rcnn_resnet18_c4", out=tmp_path / "other.yaml")


def test_undivided_images_by_class_are_divided_by_a_hash(tmp_path: Path) -> None:
    root = images_by_class(tmp_path / "pets", "")
    found = init(root, detector=None, out=tmp_path / "mine.yaml")
    data = load_config(tmp_path / "mine.yaml").data
    assert sum(found["images"].values()) == 8
    assert found["images"]["val"] == 2
    kept = [read_set(part).image_files.tolist() for part in (data.train, data.val) if part]
    assert len({*kept[0], *kept[1]}) == 8


def test_a_classifier_of_a_detection_dataset_learns_its_objects(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 4, 2)
    init(tmp_path / "shapes", detector="classifier_resnet18_folder", out=tmp_path / "mine.yaml")
    data = load_config(tmp_path / "mine.yaml").data
    assert isinstance(data.train, ObjectCropsConfig)
    assert isinstance(data.val, ObjectCropsConfig)
    assert data.train.of.type == "coco"
