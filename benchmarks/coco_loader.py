"""From a COCO-size annotation file to the first batch: 118,287 images, 860,001 objects, 80 classes.

The images are a small JPEG under 118,287 names (hard links), in COCO's layout, so that detkit looks
for each file as it does in earnest. The peer reads the same file as torchvision's `CocoDetection` does,
through pycocotools, and stops there: no batch, and no look at whether the images exist.

    python benchmarks/coco_loader.py [--images 118287] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measuring.coco_set import NUM_IMAGES, NUM_OBJECTS, write_coco_set
from measuring.turns import claim_of, deliver, in_turns
from pycocotools.coco import COCO

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from detkit.config.load import parse_config
from detkit.data.datasets.builder import open_training_set
from detkit.data.loading.loaders import TrainLoader
from detkit.data.loading.samples import DetectionDataset
from detkit.data.transforms.builder import train_transforms

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


def first_batch(root: Path) -> tuple[int, int]:
    """Return how many images and objects there are, once a batch has come."""
    names = ", ".join(f"class{k}" for k in range(80))
    config = parse_config(CONFIG.format(root=root, classes=names))
    train_set, _ = open_training_set(config.data)
    dataset = DetectionDataset.of(train_set, train_transforms(config.data), config.seed)
    loader = TrainLoader(config.data, dataset, batch_size=2, seed=config.seed, workers=0, pin_memory=False)
    assert len(next(iter(loader.epoch(0)))) == 2
    return train_set.annotations.num_images, train_set.annotations.num_objects


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
    parser.add_argument("--images", type=int, default=NUM_IMAGES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_coco_set(root, options.images, round(options.images * NUM_OBJECTS / NUM_IMAGES))
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
