"""A dataset of COCO's size and shape, whose images are one small JPEG under many names."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import orjson
from PIL import Image

NUM_IMAGES, NUM_OBJECTS = 118_287, 860_001
CLASSES = tuple(f"class{number}" for number in range(80))
LINKS_A_FILE = 60_000  # file systems allow about so many names for one file


def write_coco_set(root: Path, num_images: int, num_objects: int) -> None:
    """Write images/ and instances.json, polygons included.

    Args:
        root: a folder that exists.
        num_images: images of 48 x 64 pixels.
        num_objects: objects, on images drawn at random.
    """
    rng = np.random.default_rng(0)
    names = _write_images(root / "images", num_images, rng)
    corner, side = rng.random((num_objects, 2)) * (30, 20), 2 + rng.random((num_objects, 2)) * 26
    box = np.concatenate([corner, side], axis=1).round(2).tolist()
    owner = np.sort(rng.integers(0, num_images, num_objects)).tolist()
    label = rng.integers(0, len(CLASSES), num_objects).tolist()
    outline = (rng.random((num_objects, 24)) * 40).round(2).tolist()
    images = [
        {"license": 1, "file_name": name, "height": 48, "width": 64, "id": number + 1}
        for number, name in enumerate(names)
    ]
    objects = [
        {
            "segmentation": [outline[number]],
            "area": 0.6 * box[number][2] * box[number][3],
            "iscrowd": 0,
            "image_id": owner[number] + 1,
            "bbox": box[number],
            "category_id": label[number] + 1,
            "id": number + 1,
        }
        for number in range(num_objects)
    ]
    categories = [{"supercategory": "thing", "id": k + 1, "name": name} for k, name in enumerate(CLASSES)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (root / "instances.json").write_bytes(orjson.dumps(content))


def _write_images(folder: Path, num_images: int, rng: np.random.Generator) -> list[str]:
    folder.mkdir()
    names = [f"{number:012d}.jpg" for number in range(num_images)]
    for number, name in enumerate(names):
        if number % LINKS_A_FILE == 0:
            Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(folder / name)
        else:
            os.link(folder / names[number - number % LINKS_A_FILE], folder / name)
    return names
