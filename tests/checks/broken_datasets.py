"""Datasets with one fault each: what it is, and how a good dataset is spoilt with it."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from tests.checks.small_datasets import CLASSES, FORMATS, Format, Picture, image_file, pictures, write

FARTHEST = 10_000


@dataclass
class Spoiling:
    """A dataset on disk that is about to be spoilt."""

    root: Path
    format: Format
    rng: np.random.Generator
    drawn: list[Picture]

    def one(self, split: str = "train") -> Picture:
        """Return any picture of a split."""
        chosen = [picture for picture in self.drawn if picture.split == split]
        return chosen[int(self.rng.integers(len(chosen)))]

    def image(self, picture: Picture) -> Path:
        return image_file(self.root, self.format, picture)

    def labels(self, picture: Picture) -> Path:
        if self.format == "voc":
            return self.root / "Annotations" / f"{picture.name}.xml"
        if self.format == "coco":
            return self.root / "annotations" / f"instances_{picture.split}.json"
        return self.root / "labels" / picture.split / f"{picture.name}.txt"

    def save(self, picture: Picture) -> None:
        """Write the objects of a picture anew, as `write` does, whatever they are now."""
        again = self.root.with_name(self.root.name + "_again")
        write(again, self.format, self.drawn)
        source = Spoiling(again, self.format, self.rng, self.drawn).labels(picture)
        shutil.copyfile(source, self.labels(picture))
        shutil.rmtree(again)

    def json(self, split: str, change: Callable[[dict[str, Any]], None]) -> None:
        file = self.root / "annotations" / f"instances_{split}.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    def text(self, file: Path, change: Callable[[str], str]) -> None:
        before = file.read_text()
        after = change(before)
        assert after != before, f"{file} was not spoilt"
        file.write_text(after)

    def box(
        self, change: Callable[[list[float], tuple[int, int]], list[float]], *, every: bool = False
    ) -> None:
        """Replace x1 y1 x2 y2 (continuous pixels) of an object, or of all, in the format's own numbers."""
        for picture in self.drawn if every else [self.one()]:
            rows = range(len(picture.objects)) if every else [int(self.rng.integers(len(picture.objects)))]
            for row in rows:
                _, *box = picture.objects[row]
                self.put(picture, row, change([float(v) for v in box], picture.size))

    def put(self, picture: Picture, row: int, box: list[float]) -> None:
        """Write x1 y1 x2 y2 for an object, in the convention of its format."""
        x1, y1, x2, y2 = box
        height, width = picture.size
        if self.format == "voc":
            self.raw(picture, row, [x1 + 1, y1 + 1, x2, y2])
        elif self.format == "coco":
            self.raw(picture, row, [x1, y1, x2 - x1, y2 - y1])
        else:
            centre = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height]
            self.raw(picture, row, [*centre, (x2 - x1) / width, (y2 - y1) / height])

    def raw(self, picture: Picture, row: int, numbers: list[Any]) -> None:
        """Write four numbers for an object as they are."""
        if self.format == "voc":
            parts = self.labels(picture).read_text().split("<object>")
            for key, number in zip(("xmin", "ymin", "xmax", "ymax"), numbers, strict=True):
                parts[row + 1] = re.sub(f"<{key}>.*</{key}>", f"<{key}>{number}</{key}>", parts[row + 1])
            self.labels(picture).write_text("<object>".join(parts))
        elif self.format == "coco":
            number = self.drawn.index(picture) + 1

            def change(content: dict[str, Any]) -> None:
                own = [a for a in content["annotations"] if a["image_id"] == number]
                own[row]["bbox"] = numbers

            self.json(picture.split, change)
        else:
            lines = self.labels(picture).read_text().splitlines()
            lines[row] = " ".join([lines[row].split()[0], *map(str, numbers)])
            self.labels(picture).write_text("\n".join(lines) + "\n")


Spoil = Callable[[Spoiling], None]


@dataclass(frozen=True)
class Fault:
    """One way to spoil a dataset: the kind that must be named, and the formats it can happen in."""

    kind: str
    name: str
    spoil: Spoil
    formats: tuple[Format, ...] = FORMATS
    lists: bool = False


FAULTS: list[Fault] = []


def fault(kind: str, *formats: Format, lists: bool = False) -> Callable[[Spoil], Spoil]:
    def keep(spoil: Spoil) -> Spoil:
        FAULTS.append(Fault(kind, spoil.__name__, spoil, formats or FORMATS, lists))
        return spoil

    return keep


def cases(count: int, first_seed: int = 0) -> list[tuple[Fault, Format, int]]:
    """Return so many faults with a format and a seed; every fault in every format comes round in turn."""
    every = [(item, name) for item in FAULTS for name in item.formats]
    return [(*every[i % len(every)], first_seed + i) for i in range(count)]


def make_broken(root: Path, item: Fault, dataset_format: Format, seed: int) -> None:
    """Write a dataset with one fault."""
    rng = np.random.default_rng(seed)
    drawn = pictures(rng)
    write(root, dataset_format, drawn, lists=item.lists)
    item.spoil(Spoiling(root, dataset_format, rng, drawn))


# ---- image files


@fault("unreadable_image")
def truncated(it: Spoiling) -> None:
    file = it.image(it.one())
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * it.rng.uniform(0.1, 0.9))])


@fault("unreadable_image")
def no_image_at_all(it: Spoiling) -> None:
    it.image(it.one("val")).write_bytes(b"<html>404 Not Found</html>")


@fault("empty_file")
def zero_bytes(it: Spoiling) -> None:
    it.image(it.one()).write_bytes(b"")


@fault("missing_image", "voc", "coco")
def image_gone(it: Spoiling) -> None:
    it.image(it.one()).unlink()


@fault("missing_image", "yolo", lists=True)
def listed_image_gone(it: Spoiling) -> None:
    it.image(it.one()).unlink()


@fault("missing_image", "yolo")
def labels_without_image(it: Spoiling) -> None:
    it.image(it.one()).unlink()


@fault("wrong_extension")
def png_called_jpg(it: Spoiling) -> None:
    picture = it.one()
    it.image(picture).write_bytes(cv2.imencode(".png", picture.pixels)[1].tobytes())


@fault("image_mode")
def grey_or_cmyk(it: Spoiling) -> None:
    picture = it.one()
    mode = ("L", "CMYK")[int(it.rng.integers(2))]
    Image.fromarray(picture.pixels).convert(mode).save(it.image(picture), format="JPEG")


@fault("blank_image")
def one_colour(it: Spoiling) -> None:
    picture = it.one()
    cv2.imwrite(str(it.image(picture)), np.full_like(picture.pixels, int(it.rng.integers(256))))


@fault("leaked_image")
def train_image_in_val(it: Spoiling) -> None:
    _same_picture(it, it.one("train"), it.one("val"))


@fault("duplicate_image")
def same_picture_twice(it: Spoiling) -> None:
    first = it.one()
    second = next(p for p in it.drawn if p.split == first.split and p is not first)
    _same_picture(it, first, second)


def _same_picture(it: Spoiling, first: Picture, second: Picture) -> None:
    """Store a picture again: in another size and another quality."""
    again = cv2.resize(first.pixels, second.size[::-1], interpolation=cv2.INTER_AREA)
    quality = int(it.rng.integers(50, 96))
    cv2.imwrite(str(it.image(second)), again, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _stored_turned(picture: Picture, file: Path) -> None:
    """Store a picture lying on its side, with the orientation that sets it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    lying = np.ascontiguousarray(np.rot90(picture.pixels))
    out = io.BytesIO()
    Image.fromarray(lying).save(out, format="JPEG", exif=exif)
    file.write_bytes(out.getvalue())


@fault("exif_turned")
def labels_fit_the_turned_image(it: Spoiling) -> None:
    picture = it.one()
    _stored_turned(picture, it.image(picture))


@fault("exif_ignored", "voc", "coco")
def labels_fit_the_stored_image(it: Spoiling) -> None:
    picture = it.one()
    turned = replace(picture, pixels=np.ascontiguousarray(np.rot90(picture.pixels, -1)))
    _stored_turned(turned, it.image(picture))


# ---- sizes


def _state_size(it: Spoiling, picture: Picture, size: tuple[int, int] | None) -> None:
    if it.format == "voc":
        stated = "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
        it.text(it.labels(picture), lambda text: re.sub("<size>.*</size>", stated, text))
        return

    def change(content: dict[str, Any]) -> None:
        entry = next(i for i in content["images"] if i["file_name"] == f"{picture.name}.jpg")
        entry["height"], entry["width"] = (0, 0) if size is None else size

    it.json(picture.split, change)


@fault("size_swapped", "voc", "coco")
def width_and_height_swapped(it: Spoiling) -> None:
    picture = it.one()
    _state_size(it, picture, picture.size[::-1])


@fault("size_mismatch", "voc", "coco")
def wrong_size(it: Spoiling) -> None:
    picture = it.one()
    _state_size(it, picture, (picture.size[0] + 37, picture.size[1] + 5))


@fault("size_mismatch", "voc", "coco")
def resized_after_labelling(it: Spoiling) -> None:
    picture = it.one()
    cv2.imwrite(str(it.image(picture)), cv2.resize(picture.pixels, None, fx=2, fy=2))


@fault("missing_size", "voc", "coco")
def no_size(it: Spoiling) -> None:
    _state_size(it, it.one(), None)


# ---- single boxes


@fault("outside_box")
def reaches_beyond(it: Spoiling) -> None:
    it.box(lambda b, size: [b[0], b[1], size[1] + 9, b[3]])


@fault("outside_box")
def apart_from_the_image(it: Spoiling) -> None:
    it.box(lambda b, size: [size[1] + 5, size[0] + 5, size[1] + 15, size[0] + 25])


@fault("outside_box")
def begins_before(it: Spoiling) -> None:
    it.box(lambda b, size: [-7, b[1], b[2], b[3]])


@fault("degenerate_box")
def no_width(it: Spoiling) -> None:
    # For VOC, whose last pixel is included, x1 = x2 is one pixel; one less is none.
    it.box(lambda b, size: [b[0], b[1], b[0], b[3]])


@fault("degenerate_box")
def no_height(it: Spoiling) -> None:
    it.box(lambda b, size: [b[0], b[1], b[2], b[1]])


@fault("swapped_corners")
def corners_swapped(it: Spoiling) -> None:
    last = it.format == "voc"  # whose last pixel is included
    it.box(lambda b, size: [b[2] - last, b[3] - last, b[0] + last, b[1] + last])


@fault("normalised_box", "voc", "coco")
def fractions(it: Spoiling) -> None:
    every = bool(it.rng.integers(2))
    it.box(lambda b, size: [b[0] / size[1] - (it.format == "voc"), b[1] / size[0] - (it.format == "voc"),
                            b[2] / size[1], b[3] / size[0]], every=every)  # fmt: skip


@fault("pixel_box", "yolo")
def pixels(it: Spoiling) -> None:
    every = bool(it.rng.integers(2))
    it.box(lambda b, size: [b[0] * size[1], b[1] * size[0], b[2] * size[1], b[3] * size[0]], every=every)


@fault("not_finite")
def not_a_number(it: Spoiling) -> None:
    picture = it.one()
    value: Any = None if it.format == "coco" else ("nan", "inf")[int(it.rng.integers(2))]
    it.raw(picture, 0, [3, 4, 5, value])


@fault("tiny_box")
def nearly_nothing(it: Spoiling) -> None:
    it.box(lambda b, size: [20, 20, 21.5, 22])


@fault("extreme_aspect")
def very_thin(it: Spoiling) -> None:
    picture = next(p for p in it.drawn if p.size[1] > p.size[0])
    it.put(picture, 0, [1, 40, 99, 43.5])


# ---- all boxes


@fault("off_by_one", "voc", "coco")
def shifted_by_one(it: Spoiling) -> None:
    by = -1 if it.format == "voc" else 1
    it.box(lambda b, size: [v + by for v in b], every=True)


@fault("box_convention", "voc", "coco", "yolo")
def other_convention(it: Spoiling) -> None:
    for picture in it.drawn:
        height, width = picture.size
        for row, (_, x1, y1, x2, y2) in enumerate(picture.objects):
            if it.format == "voc":
                it.raw(picture, row, [x1, y1, x2 - x1, y2 - y1])
            elif it.format == "coco":
                it.raw(picture, row, [x1, y1, x2, y2])
            else:
                it.raw(picture, row, [x1 / width, y1 / height, x2 / width, y2 / height])


@fault("box_convention", "yolo")
def top_left_instead_of_centre(it: Spoiling) -> None:
    for picture in it.drawn:
        height, width = picture.size
        for row, (_, x1, y1, x2, y2) in enumerate(picture.objects):
            it.raw(picture, row, [x1 / width, y1 / height, (x2 - x1) / width, (y2 - y1) / height])


# ---- objects


@fault("malformed_object")
def a_word_for_a_number(it: Spoiling) -> None:
    it.raw(it.one(), 0, [3, "many", 5, 6])


@fault("malformed_object")
def something_lacks(it: Spoiling) -> None:
    picture = it.one()
    if it.format == "voc":
        tag = ("name", "bndbox")[int(it.rng.integers(2))]
        it.text(it.labels(picture), lambda text: re.sub(f"<{tag}>.*?</{tag}>", "", text, count=1))
    elif it.format == "coco":
        it.json(picture.split, lambda content: content["annotations"][0].pop("bbox"))
    else:
        it.text(it.labels(picture), lambda text: " ".join(text.split("\n")[0].split()[:-1]) + "\n")


@fault("unknown_category", "coco")
def category_not_there(it: Spoiling) -> None:
    it.json("train", lambda content: content["annotations"][2].update(category_id=77))


@fault("unknown_category", "coco")
def categories_counted_from_0(it: Spoiling) -> None:
    def change(content: dict[str, Any]) -> None:
        for item in content["annotations"]:
            item["category_id"] -= 1

    it.json("train", change)


@fault("unknown_class", "yolo")
def class_not_there(it: Spoiling) -> None:
    it.text(it.labels(it.one()), lambda text: re.sub(r"^\d+ ", "9 ", text))


@fault("unknown_class", "yolo")
def classes_counted_from_1(it: Spoiling) -> None:
    for picture in it.drawn:
        it.text(
            it.labels(picture),
            lambda text: re.sub(r"^(\d+) ", lambda m: f"{int(m[1]) + 1} ", text, flags=re.MULTILINE),
        )


@fault("unknown_image_id", "coco")
def image_not_there(it: Spoiling) -> None:
    it.json("train", lambda content: content["annotations"][1].update(image_id=FARTHEST))


@fault("duplicate_annotation_id", "coco")
def annotation_ids_collide(it: Spoiling) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"][3]["id"] = content["annotations"][5]["id"]

    it.json("train", change)


@fault("duplicate_image_id", "coco")
def image_ids_collide(it: Spoiling) -> None:
    def change(content: dict[str, Any]) -> None:
        first, second = content["images"][0], content["images"][1]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != first["id"]]
        first["id"] = second["id"]

    it.json("train", change)


@fault("duplicate_file_name", "coco")
def listed_twice(it: Spoiling) -> None:
    def change(content: dict[str, Any]) -> None:
        first = content["images"][0]
        content["images"].append({**first, "id": FARTHEST})
        own = [a for a in content["annotations"] if a["image_id"] == first["id"]]
        for annotation in own[1:]:
            annotation["image_id"] = FARTHEST

    it.json("train", change)


@fault("duplicate_category", "coco")
def category_ids_collide(it: Spoiling) -> None:
    it.json("val", lambda content: content["categories"].append({"id": 1, "name": "plum"}))


@fault("duplicate_category", "coco")
def category_names_collide(it: Spoiling) -> None:
    it.json("train", lambda content: content["categories"].append({"id": 4, "name": CLASSES[0]}))


@fault("duplicate_box")
def labelled_twice(it: Spoiling) -> None:
    picture = it.one()
    picture.objects.append(picture.objects[0])
    it.save(picture)


@fault("conflicting_class")
def two_classes_for_one_box(it: Spoiling) -> None:
    picture = it.one()
    name, *box = picture.objects[0]
    picture.objects.append((CLASSES[(CLASSES.index(name) + 1) % 3], *box))  # type: ignore[arg-type]
    it.save(picture)


@fault("empty_image")
def no_objects_in_an_image(it: Spoiling) -> None:
    picture = it.one()
    picture.objects.clear()
    it.save(picture)


@fault("no_objects")
def no_objects_to_learn_from(it: Spoiling) -> None:
    for picture in it.drawn:
        if picture.split == "train":
            picture.objects.clear()
    for picture in it.drawn:
        it.save(picture)


# ---- classes


def _call_one(it: Spoiling, split: str, name: str) -> None:
    """Give an object of a split another class name."""
    picture = it.one(split)
    if it.format == "voc":
        it.text(
            it.labels(picture), lambda text: re.sub("<name>.*?</name>", f"<name>{name}</name>", text, count=1)
        )
    elif it.format == "coco":
        for part in ("train", "val"):
            it.json(part, lambda content: content["categories"].append({"id": 4, "name": name}))
        it.json(split, lambda content: content["annotations"][0].update(category_id=4))
    else:
        it.text(it.root / "data.yaml", lambda text: text.replace("- walnut\n", f"- walnut\n- {name!r}\n"))
        it.text(it.labels(picture), lambda text: re.sub(r"^\d+ ", "3 ", text))


@fault("similar_classes")
def case_or_space(it: Spoiling) -> None:
    _call_one(it, "train", ("Apple", "wal nut", "PEAR")[int(it.rng.integers(3))])


@fault("untrained_class")
def class_only_in_val(it: Spoiling) -> None:
    _call_one(it, "val", "plum")


@fault("unjudged_class")
def class_only_in_train(it: Spoiling) -> None:
    _call_one(it, "train", "plum")


@fault("unused_class", "coco", "yolo")
def class_without_object(it: Spoiling) -> None:
    if it.format == "coco":
        it.json("train", lambda content: content["categories"].append({"id": 4, "name": "plum"}))
    else:
        it.text(it.root / "data.yaml", lambda text: text.replace("- walnut\n", "- walnut\n- plum\n"))


# ---- files and parts


@fault("malformed_file")
def cut_off(it: Spoiling) -> None:
    if it.format == "yolo":
        it.labels(it.one()).write_bytes(b"0 0.5 0.5 \xff\xfe\x00\n")
    else:
        file = it.labels(it.one())
        data = file.read_bytes()
        file.write_bytes(data[: int(len(data) * it.rng.uniform(0.2, 0.9))])


@fault("malformed_file")
def file_of_labels_empty_or_wrong(it: Spoiling) -> None:
    if it.format == "voc":
        it.labels(it.one()).write_bytes(b"")
    elif it.format == "coco":
        it.json("train", lambda content: content.pop("categories"))
        (it.root / "annotations" / "instances_val.json").unlink()
    else:
        it.text(it.root / "data.yaml", lambda text: "names: [a, b\n" + text)


@fault("unlabelled_image")
def image_without_annotation(it: Spoiling) -> None:
    picture = it.one()
    more = replace(picture, name="another", pixels=draw_another(it.rng))
    cv2.imwrite(str(it.image(more)), more.pixels)


def draw_another(rng: np.random.Generator) -> np.ndarray:
    from tests.checks.small_datasets import draw

    return draw(rng, 70, 110)


@fault("split_unknown_image", "voc")
def list_names_nothing(it: Spoiling) -> None:
    file = it.root / "ImageSets" / "Main" / "val.txt"
    it.text(file, lambda text: text + "photo_999\n")


@fault("split_repeats", "voc", "yolo", lists=True)
def list_repeats(it: Spoiling) -> None:
    it.text(_list_file(it, "train"), lambda text: text + text.splitlines()[2] + "\n")


@fault("split_overlap", "voc", "yolo", lists=True)
def in_both_lists(it: Spoiling) -> None:
    line = _list_file(it, "train").read_text().splitlines()[1]
    it.text(_list_file(it, "val"), lambda text: f"{text}{line}\n")


@fault("split_overlap", "coco")
def in_both_files(it: Spoiling) -> None:
    train = json.loads((it.root / "annotations" / "instances_train.json").read_text())
    it.json("val", lambda content: content["images"].append(train["images"][0]))


def _list_file(it: Spoiling, split: str) -> Path:
    return it.root / ("ImageSets/Main" if it.format == "voc" else ".") / f"{split}.txt"


@fault("not_in_split", "voc")
def in_no_list(it: Spoiling) -> None:
    it.text(_list_file(it, "train"), lambda text: text.split("\n", 1)[1])


@fault("missing_split", "yolo")
def split_is_nowhere(it: Spoiling) -> None:
    it.text(it.root / "data.yaml", lambda text: text.replace("images/val", "images/valid"))
