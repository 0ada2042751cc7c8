"""Small datasets without a fault, written by hand in three formats."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import yaml

Format = Literal["voc", "coco", "yolo"]
FORMATS: tuple[Format, ...] = ("voc", "coco", "yolo")
CLASSES = ("apple", "pear", "walnut")


@dataclass
class Picture:
    """An image with its objects: (class, x1, y1, x2, y2), continuous pixels."""

    name: str
    split: str
    pixels: np.ndarray
    objects: list[tuple[str, int, int, int, int]] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


def draw(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a picture that looks like no other: smooth patches of colour, and a little noise."""
    patches = rng.integers(0, 256, (7, 7, 3)).astype(np.float32)
    smooth = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def pictures(rng: np.random.Generator, train: int = 8, val: int = 4) -> list[Picture]:
    """Return pictures with a few objects each; some objects touch an edge, on each side."""
    drawn = []
    for number in range(train + val):
        height, width = int(rng.integers(60, 90)), int(rng.integers(100, 140))
        if number % 2:
            height, width = width, height
        picture = Picture(
            f"photo_{number:03d}", "train" if number < train else "val", draw(rng, height, width)
        )
        taken: set[tuple[int, int, int, int]] = set()
        while len(picture.objects) < 3 + number % 3:
            w, h = int(rng.integers(12, width // 2)), int(rng.integers(12, height // 2))
            x, y = int(rng.integers(1, width - w)), int(rng.integers(1, height - h))
            match len(picture.objects) + 3 * (number % 2):
                case 0:
                    x = 0
                case 1:
                    y = height - h
                case 3:
                    y = 0
                case 4:
                    x = width - w
            if (x, y, x + w, y + h) not in taken:
                taken.add((x, y, x + w, y + h))
                name = CLASSES[(len(picture.objects) + number) % len(CLASSES)]
                picture.objects.append((name, x, y, x + w, y + h))
        drawn.append(picture)
    return drawn


def write(root: Path, dataset_format: Format, drawn: list[Picture], *, lists: bool = False) -> None:
    """Write a dataset; `lists` makes the splits of YOLO text files."""
    root.mkdir(parents=True, exist_ok=True)
    {"voc": _write_voc, "coco": _write_coco, "yolo": _write_yolo}[dataset_format](root, drawn)
    for picture in drawn:
        file = image_file(root, dataset_format, picture)
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture.pixels)
    if lists and dataset_format == "yolo":
        for split in ("train", "val"):
            names = [f"./images/{split}/{p.name}.jpg\n" for p in drawn if p.split == split]
            (root / f"{split}.txt").write_text("".join(names))
        content = {"names": list(CLASSES), "train": "train.txt", "val": "val.txt"}
        (root / "data.yaml").write_text(yaml.safe_dump(content))


def image_file(root: Path, dataset_format: Format, picture: Picture) -> Path:
    folder = {"voc": "JPEGImages", "coco": "images", "yolo": f"images/{picture.split}"}[dataset_format]
    return root / folder / f"{picture.name}.jpg"


def _write_voc(root: Path, drawn: list[Picture]) -> None:
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for picture in drawn:
        height, width = picture.size
        objects = "".join(
            f"<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{x1 + 1}</xmin>"
            f"<ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>\n"
            for name, x1, y1, x2, y2 in picture.objects
        )
        (root / "Annotations" / f"{picture.name}.xml").write_text(
            f"<annotation><filename>{picture.name}.jpg</filename><size><width>{width}</width>"
            f"<height>{height}</height><depth>3</depth></size>\n{objects}</annotation>\n"
        )
    for split in ("train", "val"):
        names = "".join(f"{p.name}\n" for p in drawn if p.split == split)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(names)


def _write_coco(root: Path, drawn: list[Picture]) -> None:
    (root / "annotations").mkdir()
    categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
    for split in ("train", "val"):
        images, annotations = [], []
        for number, picture in enumerate(drawn, 1):
            if picture.split != split:
                continue
            height, width = picture.size
            images.append(
                {"id": number, "file_name": f"{picture.name}.jpg", "height": height, "width": width}
            )
            annotations += [
                {
                    "id": 100 * number + place,
                    "image_id": number,
                    "category_id": CLASSES.index(name) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": (x2 - x1) * (y2 - y1),
                    "iscrowd": 0,
                }
                for place, (name, x1, y1, x2, y2) in enumerate(picture.objects)
            ]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def _write_yolo(root: Path, drawn: list[Picture]) -> None:
    for picture in drawn:
        height, width = picture.size
        lines = [
            f"{CLASSES.index(name)} {(x1 + x2) / 2 / width:.9f} {(y1 + y2) / 2 / height:.9f} "
            f"{(x2 - x1) / width:.9f} {(y2 - y1) / height:.9f}\n"
            for name, x1, y1, x2, y2 in picture.objects
        ]
        file = root / "labels" / picture.split / f"{picture.name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines))
    content = {"path": ".", "train": "images/train", "val": "images/val", "names": list(CLASSES)}
    (root / "data.yaml").write_text(yaml.safe_dump(content))
