"""Small copies of the ways in which datasets lie on disks: what tools export and people upload."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 64, 48
STEMS = ("cat one", "dog2", "c-3", "d4", "e5", "f6")
OBJECTS: dict[str, list[tuple[str, int, int, int, int]]] = {
    stem: [("cat", 2 + i, 3, 30 + i, 40), *([("dog", 10, 12 + i, 50, 44)] if i % 2 else [])]
    for i, stem in enumerate(STEMS)
}
"""Of each image the objects: class and x1 y1 x2 y2, continuous pixels."""

Layout = Callable[[Path], Path]
"""Writes a dataset into a folder and returns what a user names."""
LAYOUTS: dict[str, Layout] = {}


def layout(write: Layout) -> Layout:
    LAYOUTS[write.__name__] = write
    return write


def image(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    seed = STEMS.index(next(stem for stem in STEMS if stem in file.name))
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3)).repeat(8, 0).repeat(8, 1)
    Image.fromarray(pixels.astype(np.uint8)).save(file)
    return file


def text(file: Path, content: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return file


def voc(file: Path, stem: str, name: str | None = None) -> None:
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin>"
        f"<xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    text(file, f"<annotation><filename>{name or stem + '.png'}</filename>{size}{objects}</annotation>")


def coco(file: Path, stems: Iterable[str], folder: str = "", first_id: int = 1) -> None:
    stems = list(stems)
    images = [
        {"id": i, "file_name": f"{folder}{stem}.png", "width": WIDTH, "height": HEIGHT}
        for i, stem in enumerate(stems)
    ]
    boxes = [
        (i, label, [x1, y1, x2 - x1, y2 - y1])
        for i, stem in enumerate(stems)
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    ]
    objects = [
        {
            "id": n,
            "image_id": i,
            "category_id": first_id + (label == "dog"),
            "bbox": box,
            "area": box[2] * box[3],
        }
        for n, (i, label, box) in enumerate(boxes)
    ]
    categories = [{"id": first_id, "name": "cat"}, {"id": first_id + 1, "name": "dog"}]
    text(file, json.dumps({"images": images, "annotations": objects, "categories": categories}))


def yolo(file: Path, stem: str) -> None:
    lines = [
        f"{int(label == 'dog')} {(x1 + x2) / 2 / WIDTH} {(y1 + y2) / 2 / HEIGHT} "
        f"{(x2 - x1) / WIDTH} {(y2 - y1) / HEIGHT}"
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    ]
    text(file, "\n".join(lines))


def labelme(file: Path, stem: str, path: str | None = None) -> None:
    shapes: list[dict[str, Any]] = [
        {"label": label, "points": [[x2, y2], [x1, y1]], "shape_type": "rectangle", "flags": {}}
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    ]
    content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": path or f"{stem}.png"}
    text(file, json.dumps(content | {"imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}))


def rows(stems: Iterable[str], folder: str = "") -> list[str]:
    return [
        f"{folder}{stem}.png,{WIDTH},{HEIGHT},{label},{x1},{y1},{x2},{y2}"
        for stem in stems
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    ]


TITLES = "filename,width,height,class,xmin,ymin,xmax,ymax"
PARTS = {"train": STEMS[:4], "valid": STEMS[4:5], "test": STEMS[5:]}
TWO = {"train": STEMS[:4], "val": STEMS[4:]}


@layout
def annots_and_images(root: Path) -> Path:
    for stem in STEMS:
        voc(root / "annots" / f"{stem}.xml", stem)
        image(root / "images" / f"{stem}.png")
    return root


@layout
def the_annots_folder(root: Path) -> Path:
    return annots_and_images(root) / "annots"


@layout
def the_images_folder(root: Path) -> Path:
    return annots_and_images(root) / "images"


@layout
def one_xml_file(root: Path) -> Path:
    return annots_and_images(root) / "annots" / "d4.xml"


@layout
def xml_beside_images(root: Path) -> Path:
    for stem in STEMS:
        voc(root / f"{stem}.xml", stem, f"C:\\photos\\{stem}.png")
        image(root / f"{stem}.png")
    return root


@layout
def xml_in_a_folder_of_any_name(root: Path) -> Path:
    for stem in STEMS:
        voc(root / "boxes" / f"{stem}.xml", stem)
        image(root / "pictures" / f"{stem}.png")
    return root


@layout
def xml_and_images_in_parts(root: Path) -> Path:
    for part, stems in TWO.items():
        for stem in stems:
            voc(root / "annotations" / part / f"{stem}.xml", stem)
            image(root / "images" / part / f"{stem}.png")
    return root


@layout
def parts_with_annotations_and_images(root: Path) -> Path:
    for part, stems in TWO.items():
        for stem in stems:
            voc(root / part / "annotations" / f"{stem}.xml", stem)
            image(root / part / "images" / f"{stem}.png")
    return root


@layout
def an_unpacked_archive(root: Path) -> Path:
    annots_and_images(root / "Kangaroo-master")
    return root


@layout
def roboflow_voc(root: Path) -> Path:
    for part, stems in PARTS.items():
        for stem in stems:
            voc(root / part / f"{stem}.xml", stem)
            image(root / part / f"{stem}.png")
    text(root / "README.roboflow.txt", "exported")
    return root


@layout
def roboflow_coco(root: Path) -> Path:
    for part, stems in PARTS.items():
        coco(root / part / "_annotations.coco.json", stems, first_id=0)
        for stem in stems:
            image(root / part / f"{stem}.png")
    return root


@layout
def roboflow_yolo(root: Path) -> Path:
    for part, stems in PARTS.items():
        for stem in stems:
            yolo(root / part / "labels" / f"{stem}.txt", stem)
            image(root / part / "images" / f"{stem}.png")
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    text(root / "data.yaml", f"{places}\nnc: 2\nnames: ['cat', 'dog']\n")
    return root


@layout
def the_coco_annotations_folder(root: Path) -> Path:
    for part, stems in TWO.items():
        coco(root / "annotations" / f"instances_{part}.json", stems)
        for stem in stems:
            image(root / "images" / part / f"{stem}.png")
    return root / "annotations"


@layout
def labels_and_images_with_classes(root: Path) -> Path:
    for stem in STEMS:
        yolo(root / "labels" / f"{stem}.txt", stem)
        image(root / "images" / f"{stem}.png")
    text(root / "classes.txt", "cat\ndog\n")
    return root


@layout
def the_labels_folder(root: Path) -> Path:
    labels_and_images_with_classes(root)
    (root / "classes.txt").rename(root / "labels" / "classes.txt")
    return root / "labels"


@layout
def yolo_with_train_only(root: Path) -> Path:
    for stem in STEMS:
        yolo(root / "labels" / "train" / f"{stem}.txt", stem)
        image(root / "images" / "train" / f"{stem}.png")
    return text(root / "data.yaml", "path: .\ntrain: images/train\nnames: {0: cat, 1: dog}\n")


@layout
def yolo_with_val_the_same(root: Path) -> Path:
    file = yolo_with_train_only(root)
    file.write_text(file.read_text() + "val: images/train\n")
    return root


@layout
def tensorflow_csv(root: Path) -> Path:
    text(root / "data" / "labels.csv", "\n".join([TITLES, *rows(STEMS)]))
    for stem in STEMS:
        image(root / "images" / f"{stem}.png")
    return root


@layout
def tensorflow_csv_of_two_parts(root: Path) -> Path:
    for part, stems in (("train", STEMS[:4]), ("test", STEMS[4:])):
        text(root / "data" / f"{part}_labels.csv", "\n".join([TITLES, *rows(stems)]))
    for stem in STEMS:
        image(root / "images" / f"{stem}.png")
    return root


@layout
def the_csv_file(root: Path) -> Path:
    return tensorflow_csv(root) / "data" / "labels.csv"


@layout
def retinanet_csv(root: Path) -> Path:
    lines = [
        f"/home/me/photos/{stem}.png,{x1},{y1},{x2},{y2},{label}"
        for stem in STEMS
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    ]
    text(root / "annotations.csv", "\n".join(lines))
    text(root / "classes.csv", "cat,0\ndog,1\n")
    for stem in STEMS:
        image(root / "photos" / f"{stem}.png")
    return root


def _cvat(root: Path, subset: Callable[[str], str]) -> Path:
    images = "".join(
        f'<image id="{n}" name="{stem}.png" {subset(stem)} width="{WIDTH}" height="{HEIGHT}">'
        + "".join(
            f'<box label="{label}" occluded="0" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0">'
            "</box>"
            for label, x1, y1, x2, y2 in OBJECTS[stem]
        )
        + '<tag label="blurred"></tag></image>'
        for n, stem in enumerate(STEMS)
    )
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>'
    text(root / "annotations.xml", f"{head}<meta><job><id>1</id></job></meta>{images}</annotations>")
    for stem in STEMS:
        image(root / "images" / f"{stem}.png")
    return root


@layout
def cvat_xml(root: Path) -> Path:
    return _cvat(root, lambda stem: "")


@layout
def cvat_xml_with_subsets(root: Path) -> Path:
    return _cvat(root, lambda stem: f'subset="{"Train" if stem in STEMS[:4] else "Validation"}"')


@layout
def the_cvat_file(root: Path) -> Path:
    return cvat_xml(root) / "annotations.xml"


@layout
def cvat_coco(root: Path) -> Path:
    coco(root / "annotations" / "instances_default.json", STEMS)
    for stem in STEMS:
        image(root / "images" / "default" / f"{stem}.png")
    return root


@layout
def cvat_yolo(root: Path) -> Path:
    for stem in STEMS:
        yolo(root / "obj_train_data" / f"{stem}.txt", stem)
        image(root / "obj_train_data" / f"{stem}.png")
    text(root / "obj.names", "cat\ndog\n")
    text(root / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")
    text(root / "train.txt", "".join(f"data/obj_train_data/{stem}.png\n" for stem in STEMS))
    return root


@layout
def cvat_voc(root: Path) -> Path:
    for stem in STEMS:
        voc(root / "Annotations" / f"{stem}.xml", stem)
        image(root / "JPEGImages" / f"{stem}.png")
    text(root / "ImageSets" / "Main" / "default.txt", "\n".join(STEMS))
    text(root / "labelmap.txt", "# label:color_rgb:parts:actions\n")
    return root


def _tasks(key: Callable[[str], str]) -> list[dict[str, Any]]:
    def region(label: str, x1: int, y1: int, x2: int, y2: int) -> dict[str, Any]:
        value = {
            "x": 100 * x1 / WIDTH,
            "y": 100 * y1 / HEIGHT,
            "width": 100 * (x2 - x1) / WIDTH,
            "height": 100 * (y2 - y1) / HEIGHT,
            "rotation": 0,
            "rectanglelabels": [label],
        }
        return {"type": "rectanglelabels", "original_width": WIDTH, "original_height": HEIGHT, "value": value}

    return [
        {
            "id": n,
            "data": {"image": key(stem)},
            "annotations": [
                {"was_cancelled": True, "result": []},
                {"was_cancelled": False, "result": [region(*thing) for thing in OBJECTS[stem]]},
            ],
        }
        for n, stem in enumerate(STEMS)
    ]


@layout
def label_studio_json(root: Path) -> Path:
    tasks = _tasks(lambda stem: f"/data/upload/1/0a1b2c3d-{stem}.png")
    text(root / "project-1-at-2024.json", json.dumps(tasks))
    for stem in STEMS:
        image(root / "images" / f"0a1b2c3d-{stem}.png")
    return root


@layout
def label_studio_json_with_own_images(root: Path) -> Path:
    tasks = _tasks(lambda stem: f"/data/local-files/?d=photos/{stem}.png".replace(" ", "%20"))
    for stem in STEMS:
        image(root / "photos" / f"{stem}.png")
    return text(root / "export.json", json.dumps(tasks))


@layout
def label_studio_json_min(root: Path) -> Path:
    tasks = [
        {"image": task["data"]["image"], "id": task["id"], "label": [r["value"] | r for r in result]}
        for task in _tasks(lambda stem: f"http://host:8080/data/upload/1/0a1b2c3d-{stem}.png")
        for result in [task["annotations"][1]["result"]]
    ]
    for task in tasks:
        for value in task["label"]:
            del value["value"], value["type"]
    text(root / "min.json", json.dumps(tasks))
    for stem in STEMS:
        image(root / "images" / f"{stem}.png")
    return root


@layout
def label_studio_coco(root: Path) -> Path:
    coco(root / "result.json", STEMS, "images/", first_id=0)
    for stem in STEMS:
        image(root / "images" / f"{stem}.png")
    return root


@layout
def label_studio_yolo(root: Path) -> Path:
    labels_and_images_with_classes(root)
    text(root / "notes.json", '{"categories": [{"id": 0, "name": "cat"}], "info": {"version": "1.0"}}')
    return root


@layout
def labelme_beside_images(root: Path) -> Path:
    for stem in STEMS:
        labelme(root / f"{stem}.json", stem)
        image(root / f"{stem}.png")
    return root


@layout
def one_labelme_file(root: Path) -> Path:
    return labelme_beside_images(root) / "d4.json"


@layout
def labelme_apart(root: Path) -> Path:
    for stem in STEMS:
        labelme(root / "json" / f"{stem}.json", stem, f"..\\images\\{stem}.png")
        image(root / "images" / f"{stem}.png")
    return root


@layout
def labelme_in_parts(root: Path) -> Path:
    for part, stems in TWO.items():
        for stem in stems:
            labelme(root / part / f"{stem}.json", stem)
            image(root / part / f"{stem}.png")
    return root


def ilsvrc(root: Path, task: str, part: str, name: str) -> None:
    """Write an image and its annotation, whose coordinates count from 0, the last pixel included."""
    numbers = {"cat": "n02121808", "dog": "n02084071"}
    stem = name.rpartition("/")[2]
    objects = "".join(
        f"<object><name>{numbers[label]}</name><bndbox><xmin>{x1}</xmin><xmax>{x2 - 1}</xmax>"
        f"<ymin>{y1}</ymin><ymax>{y2 - 1}</ymax></bndbox></object>"
        for label, x1, y1, x2, y2 in OBJECTS[stem]
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    file = root / "Annotations" / task / part / f"{name}.xml"
    text(file, f"<annotation><filename>{stem}</filename>{size}{objects}</annotation>")
    image(root / "Data" / task / part / f"{name}.JPEG")


@layout
def ilsvrc_det(root: Path) -> Path:
    lists = root / "ILSVRC" / "ImageSets" / "DET"
    for part, stems in TWO.items():
        for stem in stems:
            folder = "ILSVRC2013_train/n02121808/" if part == "train" else ""
            ilsvrc(root / "ILSVRC", "DET", part, folder + stem)
    val = [f"{stem} {number}" for number, stem in enumerate(TWO["val"], 1)]
    text(lists / "val.txt", "\n".join(val))
    names = [f"ILSVRC2013_train/n02121808/{stem}" for stem in TWO["train"]]
    text(lists / "train_1.txt", "\n".join(f"{name} 1" for name in names))
    text(lists / "train_2.txt", "\n".join(f"{name} -1" for name in names[1:]))
    text(root / "ILSVRC" / "devkit" / "data" / "map_det.txt", "n02084071 58 dog\nn02121808 64 cat\n")
    return root / "ILSVRC"


@layout
def ilsvrc_localisation(root: Path) -> Path:
    for part, stems in TWO.items():
        for stem in stems:
            ilsvrc(root / "ILSVRC", "CLS-LOC", part, stem)
    lists = root / "ILSVRC" / "ImageSets" / "CLS-LOC"
    text(lists / "train_loc.txt", "\n".join(f"{s} {i}" for i, s in enumerate(TWO["train"])))
    text(root / "LOC_synset_mapping.txt", "n02084071 dog, domestic dog\nn02121808 cat, house_cat\n")
    return root / "ILSVRC" / "Annotations" / "CLS-LOC"
