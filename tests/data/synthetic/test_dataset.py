from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.coco import read_coco
from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.annotations.image_files import image_path, require_images
from detkit.annotations.validity import box_problems
from detkit.annotations.voc import read_voc
from detkit.annotations.yolo import read_yolo
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import SYNTHETIC_CLASSES, SyntheticSet, write_synthetic
from detkit.data.synthetic.scenes import plan_scene
from detkit.data.synthetic.shapes import shape_mask
from detkit.errors import UserError
from tests.reference.golden import golden_array, golden_text


def test_pictures_depend_on_seed_and_index_alone() -> None:
    few, many = SyntheticSet(2, 7), SyntheticSet(5, 7)
    np.testing.assert_array_equal(few.render(1), many.render(1))
    count = few.annotations().num_objects
    np.testing.assert_array_equal(few.annotations().boxes, many.annotations().boxes[:count])
    other = SyntheticSet(2, 8).render(1)
    assert other.shape != few.render(1).shape or (other != few.render(1)).any()


def test_annotations_fit_the_pictures() -> None:
    source = SyntheticSet(40, 1)
    truth = source.annotations()
    assert truth.classes == SYNTHETIC_CLASSES
    assert (truth.root, truth.image_files[12]) == ("synthetic", "000012")
    assert box_problems(truth) == []
    assert np.bincount(truth.labels, minlength=5).min() > 0
    assert 1 <= truth.num_objects / truth.num_images <= 5
    for index in (0, 5, 39):
        pixels = source.render(index)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*truth.sizes[index], 3)
        assert pixels.std() > 5


def test_boxes_are_tight_and_enough_is_visible() -> None:
    for seed in range(20):
        plan = plan_scene(np.random.default_rng(seed), SYNTHETIC_CLASSES)
        owner = np.full((plan.height, plan.width), -1)
        for number, piece in enumerate(plan.pieces):
            for y, x in np.argwhere(piece.mask >= 128):
                if 0 <= y + piece.top < plan.height and 0 <= x + piece.left < plan.width:
                    owner[y + piece.top, x + piece.left] = number
        objects = [number for number, piece in enumerate(plan.pieces) if piece.label >= 0]
        assert [plan.pieces[number].label for number in objects] == plan.labels.tolist()
        for number, box in zip(objects, plan.boxes, strict=True):
            ys, xs = np.nonzero(owner == number)
            assert box.tolist() == [xs.min() + 1, ys.min() + 1, xs.max() + 1, ys.max() + 1]
            assert len(ys) >= 0.7 * (plan.pieces[number].mask >= 128).sum()


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        ("disc", np.pi),
        ("square", 2.0),
        ("triangle", 3 * np.sqrt(3) / 4),
        ("ring", np.pi * (1 - 0.55**2)),
        ("star", 5 * 0.42 * np.sin(np.pi / 5)),
        ("bar", 0.48),
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_shapes_cover_what_geometry_says(kind: str, share: float, angle: float) -> None:
    mask = shape_mask(kind, 80.0, angle, 1.1)
    assert mask.sum() / 255 == pytest.approx(share * 40**2, rel=0.06)


def test_a_part_of_the_classes() -> None:
    truth = SyntheticSet(10, 0, ("star", "disc")).annotations()
    assert truth.classes == ("star", "disc")
    assert set(truth.labels.tolist()) == {0, 1}
    with pytest.raises(UserError, match="found 'cat'"):
        SyntheticSet(1, 0, ("cat",))
    assert SyntheticSet(0).annotations().boxes.shape == (0, 4)


def read_back(folder: Path, split: str, dataset_format: str) -> AnnotationSet:
    if dataset_format == "voc":
        return read_voc(folder, [split], SYNTHETIC_CLASSES)
    if dataset_format == "coco":
        return read_coco(folder / split, folder / "annotations" / f"instances_{split}.json")
    return read_yolo(folder, split)


@pytest.mark.parametrize("dataset_format", ["voc", "coco", "yolo"])
def test_a_written_folder_is_a_real_dataset(dataset_format: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_synthetic(folder, dataset_format, 3, 2, seed=4, extension=".png")
    found = detect_format(folder)
    assert found.format == dataset_format
    assert {item.name for item in found.sets} == {"train", "val"}
    for split, count, seed in (("train", 3, 4), ("val", 2, 5)):
        source = SyntheticSet(count, seed)
        drawn, read = source.annotations(), read_back(folder, split, dataset_format)
        require_images(read)
        assert read.num_images == count
        assert read.classes == drawn.classes
        np.testing.assert_array_equal(read.labels, drawn.labels)
        np.testing.assert_array_equal(read.offsets, drawn.offsets)
        np.testing.assert_array_equal(read.sizes, drawn.sizes)
        np.testing.assert_allclose(
            to_corners(read.boxes, read.box_format), to_corners(drawn.boxes, "voc"), atol=1e-6
        )
        for index in range(count):
            np.testing.assert_array_equal(decode_image(image_path(read, index)), source.render(index))
    with pytest.raises(UserError, match="not empty"):
        write_synthetic(folder, dataset_format, 1, 1)


def test_jpeg_pictures_are_close(tmp_path: Path) -> None:
    write_synthetic(tmp_path, "voc", 1, 1)
    pixels = decode_image(tmp_path / "JPEGImages" / "train_000000.jpg")
    assert np.abs(pixels.astype(float) - SyntheticSet(1, 0).render(0)).mean() < 6


def test_the_embedded_pictures_are_the_golden_ones() -> None:
    """Published figures are measured on them. Means of blocks: processors round pixels differently."""
    embedded = SyntheticSet(24)
    means = []
    for index in range(embedded.num_images):
        picture = embedded.render(index)[:192, :192].astype(np.float64)
        means.append(picture.reshape(24, 8, 24, 8, 3).mean((1, 3)))
    found = np.round(means).astype(np.uint8)
    golden = golden_array("synthetic_blocks.npy", found)
    assert np.abs(found.astype(int) - golden).max() <= 2


def test_the_embedded_objects_are_the_golden_ones() -> None:
    truth = SyntheticSet(40).annotations()
    lines = [
        f"{truth.image_files[image]} {truth.classes[label]} {' '.join(f'{side:g}' for side in box)}"
        for image, label, box in zip(truth.image_index(), truth.labels, truth.boxes.tolist(), strict=True)
    ]
    found = "\n".join(lines) + "\n"
    assert found == golden_text("synthetic_objects.txt", found)
