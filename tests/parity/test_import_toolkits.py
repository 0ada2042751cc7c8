"""Files of detectron2 and MMDetection, imported, find what those programs found.

The records were made by detectron2 (its main branch of 2026) and MMDetection 3.3, with their models' code on
random weights (`tests.reference.recorded_detectors`); compiled operations were torchvision's.
"""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import detkit
from detkit.proposals.proposals import ranked
from detkit.workflows.import_model import Import, import_model
from tests.reference.recorded_detectors import assert_same, given_boxes, image, read_record, weights

SIZE = ["data.resize.short_px=128", "data.resize.long_px=200"]
FEW = "detector.proposals.post_nms_test=40"  # as recorded: a whole stage for each of 1,000 takes long
CLASSES = ("a", "b", "c")
META = {"dataset_meta": {"classes": CLASSES}, "epoch": 12}


def written(folder: Path, record: dict[str, Any], *, zipped: bool = True) -> Path:
    """Write a recorded detector as its toolkit does: MMDetection and trainings of detectron2 zip tensors."""
    if not zipped:
        file = folder / "model_final.pkl"
        state = dict(weights(record))
        file.write_bytes(
            pickle.dumps({"model": state, "__author__": "somebody", "matching_heuristics": True})
        )
        return file
    tensors = {key: torch.as_tensor(value) for key, value in weights(record).items()}
    meta = META | {"cfg": record["config"]} if "config" in record else META
    torch.save({"meta": meta, "state_dict": tensors, "model": tensors}, folder / "epoch_12.pth")
    return folder / "epoch_12.pth"


def assert_found(read: Import, record: dict[str, Any]) -> None:
    ours = detkit.load(read.out)
    for number, wanted in enumerate(record["detections"]):
        given = ranked(given_boxes(number))
        found = replace(ours, proposer=ours.proposer and (lambda _, given=given: given)).predict(
            image(number), threshold=0.0
        )
        assert len(found) > 5
        assert_same(
            found,
            torch.tensor(wanted["boxes"]).reshape(-1, 4),
            torch.tensor(wanted["labels"]),
            torch.tensor(wanted["scores"]),
        )


@pytest.mark.parametrize(
    ("name", "arch", "overrides"),
    [
        ("detectron2_faster", "faster_rcnn", SIZE),
        ("detectron2_cascade", "cascade_rcnn", SIZE),
        ("detectron2_c4", "faster_rcnn", [*SIZE, FEW]),
        ("detectron2_dc5", "faster_rcnn", [*SIZE, FEW]),
        ("detectron2_fast", "fast_rcnn", SIZE),  # a ResNeXt, whose images have Caffe2's deviation
        ("mmdetection_faster", "faster_rcnn", SIZE),
        ("mmdetection_cascade", "cascade_rcnn", SIZE),
        ("mmdetection_caffe", "faster_rcnn", []),  # a ResNeXt; the rest is in its config
    ],
)
def test_the_same_detections(name: str, arch: str, overrides: list[str], tmp_path: Path) -> None:
    record = read_record(name)
    toolkit = name.partition("_")[0]
    file = written(tmp_path, record, zipped=toolkit == "mmdetection")
    classes = CLASSES if toolkit == "detectron2" else ()
    read = import_model(file, toolkit, classes=classes, overrides=overrides)
    assert (read.arch, read.classes, read.missing, read.unused) == (arch, CLASSES, (), ())
    assert_found(read, record)


def test_the_box_part_of_a_detector_of_key_points(tmp_path: Path) -> None:
    record = read_record("detectron2_keypoint")
    read = import_model(written(tmp_path, record), "detectron2", overrides=[*SIZE, FEW])
    assert (read.arch, read.classes, read.missing) == ("faster_rcnn", ("person",), ())
    assert set(read.unused) == {name for name in record["shapes"] if "keypoint_head" in name}
    assert_found(read, record)
