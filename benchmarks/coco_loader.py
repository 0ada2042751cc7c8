"""From a COCO-size annotation file to the first batch: 118,287 images, 860,001 objects, 80 classes.

The images are one small JPEG under 118,287 names (hard links), in COCO's layout, so that detkit looks
for each file as it does in earnest. The peer reads the same file as torchvision's `CocoDetection` does,
through pycocotools, and stops there: no batch, and no look at whether the images exist.

    python benchmarks/coco_loader.py [--images 118287] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson
from measuring.turns import claim_of, deliver, in_turns
from PIL import Image
from pycocotools.coco import COCO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detkit.build.data import open_training_set
from detkit.config.load import parse_config
from detkit.data.index import Index
from detkit.workflows.session import training_loader

OBJECTS_PER_IMAGE = 860_001 / 118_287
GOAL_S = 10.0
CONFIG = """
version: 1
detector:
  {{type: faster_rcnn, backbone: {{type: resnet, depth: 50}}, neck: {{type: fpn}}, proposals: {{type: rpn}},
  regions: {{type: roi_align}}, head: {{type: two_fc}}}}
data:
  classes: [{classes}]
  train: {{type: coco, images: {root}/images, annotations: {root}/instances.json, augment: [{{type: flip}}]}}
train: {{type: gradient, optimizer: {{type: sgd, lr: 0.02}}}}
"""


def write_set(root: Path, num_images: int) -> None:
    """Write an annotation file of COCO's size and shape, polygons included, and its images."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    first = root / "first.jpg"
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(first)
    num_objects = round(num_images * OBJECTS_PER_IMAGE)
    corner, side = rng.random((num_objects, 2)) * (30, 20), 2 + rng.random((num_objects, 2)) * 26
    box = np.concatenate([corner, side], axis=1).round(2)
    owner = np.sort(rng.integers(0, num_images, num_objects)).tolist()
    label = rng.integers(0, 80, num_objects).tolist()
    outline = (rng.random((num_objects, 24)) * 40).round(2).tolist()
    images = []
    for number in range(num_images):
        name = f"{number:012d}.jpg"
        os.link(first, root / "images" / name)
        images.append({"license": 1, "file_name": name, "height": 48, "width": 64, "id": number + 1})
    objects = [
        {
            "segmentation": [points], "area": 0.6 * b[2] * b[3], "iscrowd": 0, "image_id": image + 1,
            "bbox": b, "category_id": kind + 1, "id": number + 1,
        }
        for number, (points, b, image, kind) in enumerate(
            zip(outline, box.tolist(), owner, label, strict=True)
        )
    ]  # fmt: skip
    categories = [{"supercategory": "thing", "id": k + 1, "name": f"class{k}"} for k in range(80)]
    content = {"images": images, "annotations": objects, "categories": categories}
    (root / "instances.json").write_bytes(orjson.dumps(content))


def first_batch(root: Path) -> tuple[int, int]:
    """Return how many images and objects there are, once a batch has come."""
    names = ", ".join(f"class{k}" for k in range(80))
    config = parse_config(CONFIG.format(root=root, classes=names))
    learned, _ = open_training_set(config.data)
    loader = training_loader(
        config, learned, Index.of(learned.annotations), batch_size=2, workers=0, pin_memory=False
    )
    assert len(next(iter(loader.epoch(0)))) == 2
    return learned.annotations.num_images, learned.annotations.num_objects


def read_by_pycocotools(root: Path) -> tuple[int, int]:
    with quiet():
        coco = COCO(str(root / "instances.json"))
    return len(coco.imgs), len(coco.anns)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_set(root, options.images)
        answers: dict[str, tuple[int, int]] = {}

        def ours() -> None:
            answers["ours"] = first_batch(root)

        def theirs() -> None:
            answers["peer"] = read_by_pycocotools(root)

        taken = in_turns({"ours": ours, "peer": theirs}, options.rounds, time.perf_counter)
    claim = claim_of(
        f"COCO-size set, {answers['ours'][0]:,} images: annotation file to the first training batch",
        taken["ours"], "pycocotools, reading alone", taken["peer"],
        same_answer=answers["ours"] == answers["peer"], goal_s=GOAL_S,
    )  # fmt: skip
    deliver([claim], options.json)


if __name__ == "__main__":
    main()
