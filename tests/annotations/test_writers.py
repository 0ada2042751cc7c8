from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.assembly import Assembly
from detkit.annotations.coco import read_coco
from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet, BoxFormat, select_images, select_objects
from detkit.annotations.image_files import with_sizes
from detkit.annotations.voc import read_voc
from detkit.annotations.writers import image_folder, write_dataset
from detkit.annotations.yolo import read_yolo
from detkit.errors import UserError


def sample(box_format: BoxFormat) -> AnnotationSet:
    rng = np.random.default_rng(0)
    assembly = Assembly(box_format)
    names = []
    for number in range(4):
        assembly.add_image(f"some/where/p & q {number}.png", (100 + number, 200), "s")
        for _ in range((3, 0, 2, 5)[number]):
            names.append(int(rng.integers(3)))
            box = [*(rng.random(2) * 40 + 1), *(rng.random(2) * 40 + 50)]
            assembly.add_object("x", box if len(names) % 2 else np.round(box).tolist(), bool(rng.integers(2)))
    truth = assembly.build(".", ["<a>", "b c", "ü"], names, [18, 3, 90])
    crowd = np.zeros(truth.num_objects, dtype=np.bool_)
    if box_format == "coco":
        crowd[::4] = True
    ids = np.asarray([70, 5, 9, 1])
    return replace(truth, image_ids=ids, crowd=crowd, ids=truth.ids * 3 - 3, areas=truth.areas / 3)


def assert_same(read: AnnotationSet, truth: AnnotationSet, *keys: str) -> None:
    for key in keys:
        np.testing.assert_array_equal(getattr(read, key), getattr(truth, key), err_msg=key)


SHARED = ("labels", "offsets", "sizes")


def test_voc_round_trips_exactly(tmp_path: Path) -> None:
    truth = sample("voc")
    write_dataset(tmp_path, "voc", {"val": truth})
    read = read_voc(tmp_path, ["val"], truth.classes)
    assert_same(read, truth, *SHARED, "boxes", "difficult")
    assert "<xmin>" in (tmp_path / "Annotations" / "p & q 0.xml").read_text(encoding="utf-8")


def test_coco_round_trips_exactly(tmp_path: Path) -> None:
    truth = sample("coco")
    write_dataset(tmp_path, "coco", {"val": truth})
    read = read_coco(tmp_path / "val", tmp_path / "annotations" / "instances_val.json", truth.classes)
    keys = ("boxes", "difficult", "crowd", "areas", "ids", "image_ids", "category_ids")
    assert_same(read, truth, *SHARED, *keys)


@pytest.mark.parametrize("box_format", ["voc", "coco"])
@pytest.mark.parametrize("target", ["voc", "coco", "yolo"])
def test_every_format_from_every_convention(box_format: BoxFormat, target: str, tmp_path: Path) -> None:
    truth = replace(sample(box_format), crowd=np.zeros(10, dtype=np.bool_))
    truth = replace(truth, sizes=truth.sizes + np.int32(40))  # boxes that reach beyond it are cut in VOC
    folder = image_folder(tmp_path, target, "val")
    folder.mkdir(parents=True)
    for file, (height, width) in zip(truth.image_files, truth.sizes, strict=True):
        Image.new("L", (int(width), int(height))).save(folder / Path(file).name)
    write_dataset(tmp_path, target, {"val": truth})
    if target == "voc":
        read = read_voc(tmp_path, ["val"], truth.classes)
    elif target == "coco":
        read = read_coco(folder, tmp_path / "annotations" / "instances_val.json", truth.classes)
    else:
        read = read_yolo(tmp_path, "val", truth.classes)
    assert_same(read, truth, *SHARED)
    corners = to_corners(truth.boxes, box_format)
    np.testing.assert_allclose(to_corners(read.boxes, read.box_format), corners, atol=1e-6)


def test_crowds_are_difficult_in_voc_and_absent_in_yolo(tmp_path: Path) -> None:
    truth = sample("coco")
    write_dataset(tmp_path, "voc", {"val": truth})
    read = read_voc(tmp_path, ["val"], truth.classes)
    np.testing.assert_array_equal(read.difficult, truth.difficult | truth.crowd)
    write_dataset(tmp_path, "yolo", {"val": truth})
    lines = "".join(f.read_text() for f in (tmp_path / "labels" / "val").iterdir()).splitlines()
    assert len(lines) == (~truth.crowd).sum()


def test_images_of_one_name_are_refused(tmp_path: Path) -> None:
    files = np.asarray(["a/x.png", "b/x.jpg", "c.png", "d.png"])
    with pytest.raises(UserError, match="2 images are called 'x'"):
        write_dataset(tmp_path, "coco", {"val": replace(sample("coco"), image_files=files)})


def test_unknown_sizes_come_from_the_images(tmp_path: Path) -> None:
    truth = sample("coco")
    sizes = truth.sizes.copy()
    sizes[2] = 0
    truth = replace(truth, sizes=sizes, root=str(tmp_path))
    with pytest.raises(UserError, match="1 images are missing"):
        with_sizes(truth)
    (tmp_path / "some" / "where").mkdir(parents=True)
    Image.new("L", (31, 17)).save(tmp_path / truth.image_files[2])
    assert with_sizes(truth).sizes.tolist() == [[100, 200], [101, 200], [17, 31], [103, 200]]


def test_selections() -> None:
    truth = sample("coco")
    part = select_images(truth, [3, 1, 0])
    assert part.image_ids.tolist() == [1, 5, 70]
    assert part.offsets.tolist() == [0, 5, 5, 8]
    np.testing.assert_array_equal(part.boxes, truth.boxes[[5, 6, 7, 8, 9, 0, 1, 2]])
    np.testing.assert_array_equal(part.ids, truth.ids[[5, 6, 7, 8, 9, 0, 1, 2]])
    assert select_images(truth, []).boxes.shape == (0, 4)
    kept = select_objects(truth, truth.labels == 0)
    assert kept.num_images == 4
    assert (kept.labels == 0).all()
    assert kept.image_index().tolist() == truth.image_index()[truth.labels == 0].tolist()
