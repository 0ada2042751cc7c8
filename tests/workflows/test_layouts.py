"""Each layout gives a config that trains on it, by `init` alone; `check` and `convert` read it, too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_paths
from detkit.config.load import load_config
from detkit.data.datasets.builder import open_training_set, open_validation_set
from detkit.data.datasets.split_leaks import Leaks, known_leaks, remember_leaks
from detkit.errors import UserError
from detkit.workflows.check import check
from detkit.workflows.convert import convert
from detkit.workflows.init import init
from tests.workflows import layouts
from tests.workflows.layouts import LAYOUTS, OBJECTS, STEMS

TEMPLATE = "faster_rcnn_resnet18_synthetic"


def objects_of(truth: AnnotationSet) -> Iterator[tuple[str, list[tuple[str, float, float, float, float]]]]:
    """Yield each image's stem, as it was before a tool renamed it, and its objects."""
    corners = np.round(to_corners(truth.boxes, truth.box_format), 4)
    for i, file in enumerate(truth.image_files.tolist()):
        rows = range(truth.offsets[i], truth.offsets[i + 1])
        found = [(truth.classes[truth.labels[row]], *corners[row].tolist()) for row in rows]
        yield next(stem for stem in STEMS if stem in file), sorted(found)


def initialised(data: Path, out: Path) -> dict[str, list[tuple[str, float, float, float, float]]]:
    init(data, detector=TEMPLATE, out=out)
    config = load_config(out)
    assert config.data.classes == ("cat", "dog")
    train, _ = open_training_set(config.data)
    val = open_validation_set(config.data)
    for source in (train, val):
        assert source.annotations.num_images > 0
        assert source.pixels(0).shape == (layouts.HEIGHT, layouts.WIDTH, 3)
    return dict([*objects_of(train.annotations), *objects_of(val.annotations)])


@pytest.mark.parametrize("name", LAYOUTS)
def test_init_reads_it(name: str, tmp_path: Path) -> None:
    data = LAYOUTS[name](tmp_path / "data")
    found = initialised(data, tmp_path / "mine.yaml")
    left_out = layouts.PARTS["test"] if name.startswith("roboflow") else ()
    assert found == {stem: sorted(things) for stem, things in OBJECTS.items() if stem not in left_out}


@pytest.mark.parametrize("name", LAYOUTS)
def test_check_finds_no_error_in_it(name: str, tmp_path: Path) -> None:
    result = check(str(LAYOUTS[name](tmp_path / "data")))
    assert result.errors == []
    assert result.images == len(STEMS)
    assert result.objects == sum(map(len, OBJECTS.values()))


@pytest.mark.parametrize(
    "name", ["cvat_xml", "label_studio_json", "retinanet_csv", "labelme_apart", "ilsvrc_det"]
)
def test_convert_to_yolo_is_read_by_init_and_has_what_ultralytics_wants(name: str, tmp_path: Path) -> None:
    convert(str(LAYOUTS[name](tmp_path / "data")), to="yolo", out=tmp_path / "yolo")
    import yaml

    content = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert content["names"] == {0: "cat", 1: "dog"}
    for key in ("train", "val"):
        assert (tmp_path / "yolo" / content[key]).is_dir()
    assert initialised(tmp_path / "yolo", tmp_path / "mine.yaml") == {
        s: sorted(o) for s, o in OBJECTS.items()
    }
    assert check(str(tmp_path / "yolo")).errors == []


def test_classes_without_names_are_called_by_their_numbers(tmp_path: Path) -> None:
    data = layouts.labels_and_images_with_classes(tmp_path / "data")
    (data / "classes.txt").unlink()
    assert init(data, detector=TEMPLATE, out=tmp_path / "mine.yaml")["classes"] == ["0", "1"]
    assert check(str(data)).errors == []


def test_annotations_without_images_say_where_these_are_wanted(tmp_path: Path) -> None:
    data = layouts.annots_and_images(tmp_path / "data") / "annots"
    (data.parent / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"(\d) of \1 images are missing") as caught:
        init(data, detector=TEMPLATE, out=tmp_path / "mine.yaml")
    assert str(data) in str(caught.value)
    assert not (tmp_path / "mine.yaml").exists()


def test_near_duplicates_that_the_author_has_divided_are_said_by_init_and_kept_for_train(
    tmp_path: Path,
) -> None:
    data = LAYOUTS["roboflow_voc"](tmp_path / "data")
    layouts.voc(data / "valid" / "again dog2.xml", "dog2")
    layouts.image(data / "valid" / "again dog2.png")
    out = tmp_path / "mine.yaml"
    warning = "training and validation share 1 near-duplicate pair, so results will look too good"
    assert any(warning in note for note in init(data, detector=TEMPLATE, out=out)["notes"])
    config = load_config(out)
    sets = (open_training_set(config.data)[0], open_validation_set(config.data))
    paths = [image_paths(source.annotations) for source in sets]
    assert known_leaks(*paths) == Leaks(pairs=1)
    assert known_leaks(*reversed(paths)) == Leaks()
    remember_leaks(*paths, Leaks())
    assert len(check(str(out)).errors) == 1
    assert known_leaks(*paths) == Leaks(pairs=1)
