from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from detkit.annotations.assembly import Assembly
from detkit.annotations.dataset import AnnotationSet
from detkit.config.schema import Config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.errors import UserError
from detkit.lineage import common_settings
from detkit.lineage.common_settings import (
    EMBEDDED,
    PHOTOS,
    Images,
    backbone_of,
    classifier_config,
    common_ground,
    images_of_dataset,
)


def annotations(boxes: list[tuple[float, float, float, float]], num_images: int = 4) -> AnnotationSet:
    assembly = Assembly("coco")
    for image in range(num_images):
        assembly.add_image(f"{image}.jpg", (400, 600), "a.json")
        for box in boxes:
            assembly.add_object("cat", box)
    return assembly.build("/photos", ("cat",), assembly.labels(("cat",)), (1,))


def images(boxes: list[tuple[float, float, float, float]], num_images: int = 4) -> Images:
    data = {"classes": ("cat",), "train": {"type": "coco", "images": "i", "annotations": "a.json"}}
    return Images(data, {}, annotations(boxes, num_images), "")


def test_objects_without_area_are_nothing_to_compare_on() -> None:
    with pytest.raises(UserError, match=r"^no labelled object has an area$"):
        common_ground(images([(10, 10, 0, 20)]), EMBEDDED, "w.safetensors")


@pytest.mark.parametrize(
    ("boxes", "num_ratios"), [([(10, 10, 60, 60)], 1), ([(10, 10, 150, 30), (9, 9, 30, 150)], 5)]
)
def test_objects_of_one_shape_have_windows_of_one_shape(
    boxes: list[tuple[float, float, float, float]], num_ratios: int
) -> None:
    made = common_ground(images(boxes), replace(EMBEDDED, weights="IMAGENET1K_V1"), "IMAGENET1K_V1")
    assert len(made.windows["ratios"]) == num_ratios
    assert set(made.windows["ratios"]) <= set(made.anchors["ratios"])
    if num_ratios == 1:
        assert made.windows["ratios"] == (1.0,)


def test_weights_that_were_learned_here_are_trained_on_faster_and_all_of_them() -> None:
    boxes = [(10.0, 10.0, 60.0, 60.0)]
    learned = common_ground(images(boxes), EMBEDDED, "w.safetensors")
    assert learned.backbone == {
        "type": "resnet", "depth": 18, "width": 0.25, "weights": "w.safetensors", "freeze_at": 0,
    }  # fmt: skip
    published = common_ground(images(boxes), PHOTOS, "IMAGENET1K_V1")
    assert published.backbone == {"type": "resnet", "depth": 18, "width": 1.0, "weights": "IMAGENET1K_V1"}
    assert (learned.rate, published.rate) == (1e-3, 2e-4)
    assert learned.num_images == 4
    assert learned.data["train"]["augment"] == ({"type": "flip"},)


@pytest.mark.parametrize(
    ("side", "object_px", "short"), [(300, 30, 600), (200, 60, 480), (900, 300, 608), (1200, 20, 800)]
)
def test_whole_images_are_half_as_large_again_up_to_600_px(side: int, object_px: int, short: int) -> None:
    assembly = Assembly("coco")
    assembly.add_image("0.jpg", (side, side), "a.json")
    assembly.add_object("cat", (10, 10, object_px, object_px))
    made = replace(images([]), trained_on=assembly.build("/x", ("cat",), assembly.labels(("cat",)), (1,)))
    resize = common_ground(made, EMBEDDED, "w").data["resize"]
    # Of init's own: 448 of 300 x 1.5, 320 at least, 608 of larger ones, 800 for three cells an object.
    assert resize["short_px"] == short


def test_scales_of_windows_are_shares_of_the_image() -> None:
    made = common_ground(images([(10, 10, 60, 60)]), EMBEDDED, "w")
    (side,) = {round(scale * (400 * 600) ** 0.5) for scale in made.windows["scales"]} & {60}
    assert side == 60


def test_what_is_trained_from_scratch_has_norms_where_it_can() -> None:
    assert backbone_of(replace(EMBEDDED, backbone="vgg16", width=0.5)) == {
        "type": "vgg", "depth": 16, "width": 0.5, "batch_norm": True,
    }  # fmt: skip
    assert "batch_norm" not in backbone_of(replace(PHOTOS, backbone="vgg16"))
    assert "batch_norm" not in backbone_of(replace(EMBEDDED, backbone="alexnet"))


@pytest.mark.parametrize(
    ("num_objects", "epochs"),
    [(1, 100), (31, 100), (64, 100), (192, 100), (225, 86), (19_200, 1), (64_000, 1)],
)
def test_the_classifier_has_as_many_steps_whatever_the_objects(num_objects: int, epochs: int) -> None:
    many = images([(10, 10, 60, 60)], num_objects)
    values = classifier_config(many, replace(EMBEDDED, crop_px=64, seed=7))
    assert values["seed"] == 7
    assert values["train"]["epochs"] == epochs
    assert values["data"]["resize"] == {"short_px": 72, "long_px": 288}
    crop = values["data"]["train"]["augment"][2]
    assert crop == {"type": "scale_crop", "short_px": (64, 96), "size_px": 64}
    if num_objects == 1:
        Config.model_validate(values)


def test_a_dataset_without_objects_is_told(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", "yolo", 2, 1)
    for file in (tmp_path / "data").rglob("*.txt"):
        file.write_text("")
    with pytest.raises(UserError, match=r"data: 2 images to learn from, but no object is labelled$"):
        images_of_dataset(str(tmp_path / "data"), tmp_path)


@pytest.mark.parametrize("broken", [False, True])
def test_broken_boxes_are_clipped_and_otherwise_nothing_is_said_of_them(tmp_path: Path, broken: bool) -> None:
    write_synthetic(tmp_path / "data", "yolo", 2, 1)
    if broken:
        label = min((tmp_path / "data").rglob("labels/**/*.txt"))
        label.write_text(label.read_text() + "0 0.95 0.5 0.3 0.2\n")
    found = images_of_dataset(str(tmp_path / "data"), tmp_path)
    assert found.data.get("invalid_boxes") == ("clip" if broken else None)
    assert found.trained_on.num_images == 2
    assert "augment" not in found.data["train"]
    assert "augment" not in found.val


def test_the_embedded_dataset_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_settings, "NUM_DRAWN", {"train": 3, "val": 2})
    (tmp_path / ".images.part").mkdir()
    (tmp_path / ".images.part" / "half").touch()
    first = images_of_dataset("synthetic", tmp_path)
    assert first.trained_on.num_images == 3
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
    file = next((tmp_path / "images").rglob("*.jp*g"), None) or next((tmp_path / "images").rglob("*.png"))
    written = file.stat().st_mtime_ns
    again = images_of_dataset("synthetic", tmp_path)
    assert file.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.trained_on.boxes, first.trained_on.boxes)
