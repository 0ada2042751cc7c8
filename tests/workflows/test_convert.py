from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.annotations.assembly import Assembly
from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.annotations.image_files import require_images
from detkit.annotations.voc import read_voc
from detkit.annotations.writers import Format, image_folder, write_dataset
from detkit.data.datasets.readers import config_of_sets, read_set
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from detkit.errors import UserError
from detkit.storage.folder_lock import LOCK
from detkit.workflows import convert as module
from detkit.workflows.check import check
from detkit.workflows.convert import convert
from detkit.workflows.init import init
from tests.workflows.dying import contents, die_at


def corners(truth: AnnotationSet) -> np.ndarray:
    return to_corners(truth.boxes, truth.box_format)


@pytest.mark.parametrize("source", ["voc", "coco", "yolo"])
@pytest.mark.parametrize("to", ["voc", "coco", "yolo"])
def test_boxes_images_and_classes_survive(tmp_path: Path, source: Format, to: Format) -> None:
    write_synthetic(tmp_path / "from", source, 3, 2, extension=".png")
    result = convert(str(tmp_path / "from"), to=to, out=tmp_path / "to")
    assert {name: part["images"] for name, part in result["parts"].items()} == {"train": 3, "val": 2}
    found = detect_format(tmp_path / "to")
    assert found.format == to
    drawn = SyntheticSet(3, 0).annotations()
    again = read_set(config_of_sets(found, ["train"]), drawn.classes)
    np.testing.assert_allclose(corners(again), corners(drawn), atol=1e-3)
    assert again.labels.tolist() == drawn.labels.tolist()
    pictures = sorted((tmp_path / "from").rglob("*.png"))
    copies = sorted((tmp_path / "to").rglob("*.png"))
    assert [p.read_bytes() for p in pictures] == [p.read_bytes() for p in copies]


def test_labelme_files_lie_beside_their_images(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "from", "coco", 2, 1)
    convert(str(tmp_path / "from"), to="labelme", out=tmp_path / "to")
    (file, *_) = sorted((tmp_path / "to" / "train").glob("*.json"))
    content = json.loads(file.read_text())
    truth = SyntheticSet(2, 0).annotations()
    assert (file.parent / content["imagePath"]).is_file()
    assert [shape["label"] for shape in content["shapes"]] == [
        truth.classes[label] for label in truth.labels[: truth.offsets[1]]
    ]
    assert content["shapes"][0]["points"] == [corners(truth)[0, :2].tolist(), corners(truth)[0, 2:].tolist()]


@pytest.mark.parametrize("to", ["voc", "labelme"])
def test_the_embedded_dataset_is_written_on_request(
    tmp_path: Path, to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NUM_SYNTHETIC", {"train": 3, "val": 1})
    result = convert("synthetic", to=to, out=tmp_path / "to")  # type: ignore[arg-type]
    assert result["parts"]["train"]["images"] == 3
    assert len(list((tmp_path / "to").rglob("*.jpg"))) == 4


def test_two_images_of_one_name_are_not_written_over_each_other(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "from", "coco", 1, 1)
    file = tmp_path / "from" / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    image = tmp_path / "from" / "val" / content["images"][0]["file_name"]
    image.rename(image.with_name("train_000000.jpg"))
    content["images"][0]["file_name"] = "train_000000.jpg"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="two images would become"):
        convert(str(tmp_path / "from"), to="voc", out=tmp_path / "to")


def test_a_folder_with_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(UserError, match="not empty"):
        convert("synthetic", to="voc", out=tmp_path)


ODD_IMAGES = ("a\nb", " a", "%u0041", "x" * 250, "\x1b[31m", "A", "a")
ODD_CLASSES = ("../../../escaped", "\x1b[31m", "a/b", "..", "x" * 300)


@pytest.mark.parametrize("to", ["voc", "coco", "yolo", "labelme"])
def test_any_names_are_written_within_the_folder_and_read_again(tmp_path: Path, to: Format) -> None:
    write_synthetic(tmp_path / "from", "coco", len(ODD_IMAGES), 1, extension=".png")
    file = tmp_path / "from" / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    for image, name in zip(content["images"], ODD_IMAGES, strict=True):
        old = tmp_path / "from" / "train" / image["file_name"]
        old.rename(old.with_name(f"{name}.png"))
        image["file_name"] = f"{name}.png"
    file.write_text(json.dumps(content))
    for one in (file, file.with_name("instances_val.json")):
        content = json.loads(one.read_text())
        for category, name in zip(content["categories"], ODD_CLASSES, strict=False):
            category["name"] = name
        one.write_text(json.dumps(content))
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "to"
    convert(str(tmp_path / "from"), to=to, out=out)
    assert all(new.is_relative_to(out) for new in set(tmp_path.rglob("*")) - before)
    if to == "labelme":
        pairs = [(p.with_name(json.loads(p.read_text())["imagePath"]), p) for p in out.glob("train/*.json")]
        assert len(pairs) == len(ODD_IMAGES)
        assert all(image.is_file() and image.stem == labels.stem for image, labels in pairs)
        return
    read = read_set(config_of_sets(detect_format(out), ["train"]))
    require_images(read)
    assert read.num_images == len(ODD_IMAGES)
    assert read.num_objects == SyntheticSet(len(ODD_IMAGES), 0).annotations().num_objects


def test_images_that_a_folder_would_merge_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_synthetic(tmp_path / "from", "coco", 1, 1)
    for split, name in (("train", "a"), ("val", "A")):
        file = tmp_path / "from" / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        image = tmp_path / "from" / split / content["images"][0]["file_name"]
        image.rename(image.with_name(f"{name}.jpg"))
        content["images"][0]["file_name"] = f"{name}.jpg"
        file.write_text(json.dumps(content))
    convert(str(tmp_path / "from"), to="voc", out=tmp_path / "to")
    monkeypatch.setattr("detkit.names._tells_case", lambda folder: False)
    with pytest.raises(UserError, match=r"a\.jpg and .*A\.jpg are one file"):
        convert(str(tmp_path / "from"), to="voc", out=tmp_path / "again")


def a_dataset(folder: Path, source: Format, **arguments: Any) -> Path:
    write_synthetic(folder, source, 3, 2, **arguments)
    return folder


def first_image(folder: Path) -> Path:
    return min(file for file in folder.rglob("*") if file.suffix in (".jpg", ".png"))


def errors_of(folder: Path) -> list[str]:
    return [f"{finding.kind}: {finding.message}" for finding in check(str(folder)).errors]


def spoil(image: Path, way: str) -> None:
    """Put something else where an image was."""
    content = image.read_bytes()
    image.unlink()
    if way == "pipe":
        os.mkfifo(image)
    elif way == "folder":
        image.mkdir()
    elif way == "text":
        image.write_text("a secret")
    elif way == "truncated":
        image.write_bytes(content[: len(content) // 2])
    else:
        image.symlink_to({"itself": image.name, "secret": "/etc/passwd", "endless": "/dev/zero"}[way])


@pytest.mark.parametrize("way", ["pipe", "folder", "text", "truncated", "itself", "secret", "endless"])
@pytest.mark.parametrize("source", ["voc", "coco", "yolo"])
def test_only_images_are_copied(tmp_path: Path, source: Format, way: str) -> None:
    data = a_dataset(tmp_path / "from", source)
    image = first_image(data)
    spoil(image, way)
    if source == "yolo" and way == "folder":  # it may hold images itself; its label is an error of check
        assert convert(str(data), to="coco", out=tmp_path / "to")["parts"]["train"]["images"] == 2
        assert any(error.startswith("missing_image") for error in errors_of(data))
    else:
        with pytest.raises(UserError, match=image.stem):
            convert(str(data), to="coco", out=tmp_path / "to")
    assert not list((tmp_path / "to").rglob(image.name))


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.png", "sub/../../../secret.png"])
def test_paths_that_leave_the_dataset_are_named(tmp_path: Path, name: str) -> None:
    data = a_dataset(tmp_path / "from", "coco")
    shutil.copyfile(first_image(data), tmp_path / "secret.png")
    file = data / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    content["images"][0]["file_name"] = name
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"outside of .*, by an absolute path or by \.\."):
        convert(str(data), to="voc", out=tmp_path / "to")
    found = [finding for finding in check(str(data)).errors if finding.kind == "unreadable_image"]
    assert len(found) == 1
    assert "outside of" in found[0].message


def test_an_image_folder_on_another_disk(tmp_path: Path) -> None:
    for source in ("voc", "coco", "yolo"):
        data = a_dataset(tmp_path / source, source)  # type: ignore[arg-type]
        images = first_image(data).parent
        images.rename(tmp_path / f"disk of {source}")
        images.symlink_to(tmp_path / f"disk of {source}")
        (tmp_path / f"link to {source}").symlink_to(data)
        result = convert(str(tmp_path / f"link to {source}"), to="coco", out=tmp_path / f"copy of {source}")
        assert result["parts"]["train"]["images"] == 3
        assert errors_of(tmp_path / f"link to {source}") == []


def test_a_data_yaml_names_other_folders_only_where_it_is_named_itself(tmp_path: Path) -> None:
    data = a_dataset(tmp_path / "from", "yolo")
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine" / "data.yaml"
    text = (data / "data.yaml").read_text().replace("images/", f"{data}/images/")
    file.write_text(text)
    assert convert(str(file), to="voc", out=tmp_path / "to")["parts"]["train"]["images"] == 3
    with pytest.raises(UserError, match=f"outside of .*name the file itself as the dataset: {file}"):
        convert(str(tmp_path / "mine"), to="voc", out=tmp_path / "not there")
    file.write_text("train: /\nval: /\nnames: [a]\n")
    with pytest.raises(UserError, match="outside of"):
        convert(str(tmp_path / "mine"), to="voc", out=tmp_path / "not there")


def a_clean_set(rng: np.random.Generator, decimals: int) -> AnnotationSet:
    """Images of odd sizes with boxes inside of them, up to the very edge, of so many decimals."""
    assembly = Assembly("coco")
    for number in range(4):
        height, width = rng.integers(11, 1300, 2).tolist()
        assembly.add_image(f"{number}.png", (height, width), "annotations")
        for _ in range(int(rng.integers(0, 8))):
            low = np.round(rng.random(2) * [width - 3, height - 3], decimals)
            high = np.round(low + 2 + rng.random(2) * ([width - 2, height - 2] - low), decimals)
            high = np.where(rng.random(2) < 0.3, [width, height], np.minimum(high, [width, height]))
            assembly.add_object(str(rng.integers(3)), [*low.tolist(), *(high - low).round(decimals).tolist()])
    return assembly.build("nowhere", ["0", "1", "2"], assembly.labels(["0", "1", "2"]), [1, 2, 3])


@pytest.mark.parametrize("decimals", [0, 2, 6])
@pytest.mark.parametrize("middle", ["voc", "coco", "yolo"])
@pytest.mark.parametrize("source", ["voc", "coco", "yolo"])
def test_there_and_back_is_exact(tmp_path: Path, source: Format, middle: Format, decimals: int) -> None:
    truth = a_clean_set(np.random.default_rng([decimals, len(source), len(middle)]), decimals)
    data = tmp_path / "from"
    images = image_folder(data, source, "val")
    images.mkdir(parents=True)
    for file, (height, width) in zip(truth.image_files, truth.sizes, strict=True):
        Image.new("L", (int(width), int(height)), int(file[0])).save(images / file)
    write_dataset(data, source, {"val": truth})
    convert(str(data), to=middle, out=tmp_path / "there")
    convert(str(tmp_path / "there"), to=source, out=tmp_path / "back")
    for file in sorted(data.rglob("*")):
        if file.suffix in (".xml", ".txt"):
            assert file.read_text() == (tmp_path / "back" / file.relative_to(data)).read_text()
    for folder in (data, tmp_path / "there", tmp_path / "back"):
        read = read_set(config_of_sets(detect_format(folder), ["val"]), truth.classes)
        np.testing.assert_allclose(corners(read), corners(truth), rtol=0, atol=1e-8)
        assert not [error for error in errors_of(folder) if not error.startswith(("no_obj", "duplicate_im"))]
    if source == "coco":
        again = read_set(config_of_sets(detect_format(tmp_path / "back"), ["val"]), truth.classes)
        np.testing.assert_array_equal(again.boxes, truth.boxes)
        np.testing.assert_allclose(again.areas, truth.areas, rtol=0, atol=1e-8)


@pytest.mark.parametrize("to", ["voc", "coco"])
def test_fractions_of_six_decimals_come_back(tmp_path: Path, to: Format) -> None:
    """As most tools write them: no pixel that they stand for is a whole one."""
    data = a_dataset(tmp_path / "from", "yolo")
    for file in data.rglob("labels/*/*.txt"):
        lines = [line.split() for line in file.read_text().splitlines()]
        numbers = [" ".join([label, *(f"{float(value):.6f}" for value in box)]) for label, *box in lines]
        file.write_text("".join(f"{line}\n" for line in numbers))
    convert(str(data), to=to, out=tmp_path / "there")
    assert errors_of(tmp_path / "there") == []
    convert(str(tmp_path / "there"), to="yolo", out=tmp_path / "back")
    for file in data.rglob("labels/*/*.txt"):
        old, new = (
            np.loadtxt(place / file.relative_to(data), ndmin=2) for place in (data, tmp_path / "back")
        )
        np.testing.assert_allclose(new, old, rtol=0, atol=1e-3 if to == "voc" else 0)


def test_boxes_that_only_voc_cannot_hold_are_made_fit(tmp_path: Path) -> None:
    assembly = Assembly("coco")
    assembly.add_image("0.png", (20, 30), "annotations")
    for box in ([-0.5, 2, 10, 18.9], [29.5, 3, 0.25, 0.5], [4, 5, 0.5, 6]):
        assembly.add_object("a", box)
    truth = assembly.build("nowhere", ["a"], assembly.labels(["a"]), [1])
    write_dataset(tmp_path, "voc", {"val": truth})
    read = read_voc(tmp_path, ["val"])
    # Cut to the image; a side of less than a pixel becomes one, within the image.
    assert read.boxes.tolist() == [[1, 3, 9.5, 20], [30, 4, 30, 4], [5, 6, 5, 11]]


@pytest.mark.parametrize("box", [[1, 2, -3, 4], [1, 2, float("nan"), 4], [1, 2, float("inf"), 4]])
@pytest.mark.parametrize("to", ["voc", "coco", "yolo", "labelme"])
def test_what_is_no_box_is_never_written(tmp_path: Path, box: list[float], to: Format) -> None:
    truth = a_clean_set(np.random.default_rng(0), 1)
    boxes = truth.boxes.copy()
    boxes[3] = box
    with pytest.raises(UserError, match=r"the box|a coordinate"):
        write_dataset(tmp_path, to, {"val": replace(truth, boxes=boxes)})
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("name", ["instances_default", "result", "labels"])
def test_an_unsplit_coco_file_becomes_a_yolo_dataset(tmp_path: Path, name: str) -> None:
    data = a_dataset(tmp_path / "from", "coco")
    (data / "annotations" / "instances_val.json").unlink()
    (data / "annotations" / "instances_train.json").rename(data / "annotations" / f"{name}.json")
    (data / "train").rename(data / "images")
    convert(str(data), to="yolo", out=tmp_path / "to")
    found = detect_format(tmp_path / "to")
    assert [item.name for item in found.sets] == [name]
    assert errors_of(tmp_path / "to") == []
    result = init(tmp_path / "to", detector=None, out=tmp_path / "config.yaml")
    assert result["images"] == {"train": 2, "val": 1}


@pytest.mark.parametrize("to", ["voc", "coco", "yolo", "labelme"])
def test_killed_at_any_file_and_started_again(tmp_path: Path, to: Format) -> None:
    data = a_dataset(tmp_path / "from", "voc")
    convert(str(data), to=to, out=tmp_path / "whole")
    write = 0
    while die_at(write, partial(convert, str(data), to=to, out=tmp_path / str(write))):
        convert(str(data), to=to, out=tmp_path / str(write))
        assert contents(tmp_path / str(write)) == contents(tmp_path / "whole")
        write += 1
    assert write > 5
    with pytest.raises(UserError, match="not empty") as refusal:
        convert(str(data), to=to, out=tmp_path / "0")
    assert "resume" not in str(refusal.value)


def test_what_another_command_left_is_not_touched(tmp_path: Path) -> None:
    data = a_dataset(tmp_path / "from", "voc")
    assert die_at(2, lambda: convert(str(data), to="coco", out=tmp_path / "to"))
    left = contents(tmp_path / "to")
    with pytest.raises(UserError, match="not empty"):
        convert(str(data), to="yolo", out=tmp_path / "to")
    assert {name: left[name] for name in left if name != LOCK} == {
        name: content for name, content in contents(tmp_path / "to").items() if name != LOCK
    }


def test_a_mistake_is_mended_and_leaves_nothing(tmp_path: Path) -> None:
    """An image that made the conversion fail is taken out: what was copied before is not in the result."""
    data = a_dataset(tmp_path / "from", "yolo")
    image = max(data.rglob("images/train/*"))
    spoil(image, "text")
    with pytest.raises(UserError, match=image.name):
        convert(str(data), to="yolo", out=tmp_path / "to")
    image.unlink()
    min(data.rglob("images/train/*")).unlink()
    convert(str(data), to="yolo", out=tmp_path / "to")
    assert len(list((tmp_path / "to").rglob("images/train/*"))) == 1


def test_a_full_disk_names_the_file_that_was_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = a_dataset(tmp_path / "from", "voc")
    written = Path.write_bytes

    def full(file: Path, content: bytes) -> int:
        if file.suffix == ".part" and ".jpg" in file.name:
            raise OSError(errno.ENOSPC, "No space left on device", str(file))
        return written(file, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=f"{tmp_path / 'to'}/.*jpg: could not be written .No space left"):
        convert(str(data), to="coco", out=tmp_path / "to")
