"""Files of detectron2 and MMDetection, imported, find what those programs found.

The records were made by detectron2 (its main branch of 2026) and MMDetection 3.3, with their models' code on
random weights (`tests.reference.recorded_detectors`); compiled operations were torchvision's.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

import detkit
from detkit.workflows.import_model import import_model
from tests.reference.recorded_detectors import assert_same, image, read_record, weights

SIZE = ["data.resize.short_px=128", "data.resize.long_px=200"]
META = {"dataset_meta": {"classes": ("a", "b", "c")}, "epoch": 12}


def written(folder: Path, name: str, state: dict[str, object]) -> Path:
    if name.startswith("detectron2"):
        file = folder / "model_final.pkl"
        file.write_bytes(
            pickle.dumps({"model": state, "__author__": "somebody", "matching_heuristics": True})
        )
        return file
    tensors = {key: torch.as_tensor(value) for key, value in state.items()}
    torch.save({"meta": META, "state_dict": tensors}, folder / "epoch_12.pth")
    return folder / "epoch_12.pth"


@pytest.mark.parametrize(
    ("name", "arch"),
    [
        ("detectron2_faster", "faster_rcnn"),
        ("detectron2_cascade", "cascade_rcnn"),
        ("mmdetection_faster", "faster_rcnn"),
        ("mmdetection_cascade", "cascade_rcnn"),
    ],
)
def test_the_same_detections(name: str, arch: str, tmp_path: Path) -> None:
    record = read_record(name)
    file = written(tmp_path, name, dict(weights(record)))
    toolkit = name.partition("_")[0]
    classes = ("a", "b", "c") if toolkit == "detectron2" else ()
    read = import_model(file, toolkit, classes=classes, overrides=SIZE)
    assert (read.arch, read.classes, read.missing, read.unused) == (arch, ("a", "b", "c"), (), ())
    ours = detkit.load(read.out)
    for number, wanted in enumerate(record["detections"]):
        found = ours.predict(image(number), threshold=0.0)
        assert len(found) > 5
        assert_same(
            found,
            torch.tensor(wanted["boxes"]).reshape(-1, 4),
            torch.tensor(wanted["labels"]),
            torch.tensor(wanted["scores"]),
        )
