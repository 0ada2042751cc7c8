"""Valid input of every kind, small, from which hostile input is made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import scipy.io

from detkit.__main__ import main
from detkit.data.synthetic.dataset import SYNTHETIC_CLASSES, SyntheticSet, write_synthetic

SMALL = (
    "detector.backbone.width=0.125",
    "detector.backbone.norm=frozen",
    "detector.proposals.channels=16",
    "detector.proposals.pre_nms_train=50",
    "detector.proposals.post_nms_train=20",
    "detector.proposals.pre_nms_test=50",
    "detector.proposals.post_nms_test=20",
    "data.resize.short_px=64",
    "data.resize.long_px=96",
    "data.workers=0",
    "train.epochs=1",
    "train.batch_size=2",
    "train.precision=fp32",
    "device=cpu",
)
RESULTS = '[{"image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 50.0, 40.0], "score": 0.5}, \
{"image_id": 2, "category_id": 3, "bbox": [20.5, 30.5, 60.0, 60.0], "score": 0.25}]'


def make_valid_input(folder: Path) -> None:
    """Write datasets, a run, proposals and results."""
    for kind in ("coco", "voc", "yolo", "labelme"):
        write_synthetic(folder / kind, kind, 4, 2)  # type: ignore[arg-type]
    _write_exports(folder)
    data = [
        f"data.{part}={{type: coco, images: {folder}/coco/{part}, "
        f"annotations: {folder}/coco/annotations/instances_{part}.json}}"
        for part in ("train", "val")
    ]
    _run("train", "faster_rcnn_resnet18_synthetic", *SMALL, *data, "--out", str(folder / "run"))
    photos = str(folder / "coco" / "val")
    _run("propose", "sliding_window", photos, "--max-boxes", "20", "--out", str(folder / "boxes.safetensors"))
    (folder / "results.json").write_text(RESULTS)
    (folder / "comp4").mkdir()
    for name in SYNTHETIC_CLASSES:
        lines = "".join(f"val_00000{image} 0.5 10 10 60 50\n" for image in range(2))
        (folder / "comp4" / f"comp4_det_val_{name}.txt").write_text(lines)
    boxes = np.empty(2, object)
    boxes[:] = [np.array([[1.0, 1.0, 50.0, 60.0]]), np.array([[5.0, 5.0, 90.0, 60.0], [1, 1, 9, 9]])]
    names = np.array(["val_000000", "val_000001"], object)
    scipy.io.savemat(folder / "boxes.mat", {"boxes": boxes, "images": names})


def _write_exports(folder: Path) -> None:
    """Write synthetic images with their labels as a table, as CVAT's XML and as Label Studio's JSON."""
    truth = SyntheticSet(4, 0).annotations()
    for kind in ("csv", "cvat", "labelstudio"):
        shutil.copytree(folder / "voc" / "JPEGImages", folder / kind / "images")
    lines, nodes, tasks = ["filename,width,height,class,xmin,ymin,xmax,ymax"], "", []
    for image, (height, width) in enumerate(truth.sizes.tolist()):
        name = f"train_{image:06d}.jpg"
        boxes, result = "", []
        for row in range(truth.offsets[image], truth.offsets[image + 1]):
            label, (x1, y1, x2, y2) = truth.classes[truth.labels[row]], truth.boxes[row].tolist()
            lines.append(f"{name},{width},{height},{label},{x1},{y1},{x2},{y2}")
            boxes += f'<box label="{label}" xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"></box>'
            value = {"x": 100 * x1 / width, "y": 100 * y1 / height, "rotation": 0, "rectanglelabels": [label]}
            value |= {"width": 100 * (x2 - x1) / width, "height": 100 * (y2 - y1) / height}
            result.append({"original_width": width, "original_height": height, "value": value})
        nodes += f'<image id="{image}" name="{name}" width="{width}" height="{height}">{boxes}</image>'
        tasks.append({"data": {"image": f"/data/upload/1/{name}"}, "annotations": [{"result": result}]})
    (folder / "csv" / "labels.csv").write_text("\n".join(lines))
    (folder / "cvat" / "annotations.xml").write_text(f"<annotations>{nodes}</annotations>")
    (folder / "labelstudio" / "export.json").write_text(json.dumps(tasks))


def _run(*arguments: str) -> None:
    assert main(arguments) == 0, arguments
