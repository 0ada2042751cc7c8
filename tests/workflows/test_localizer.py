"""A localizer with key points goes through the commands that detectors go through."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.annotations.coco_results import read_coco_results
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from detkit.errors import UserError
from detkit.evaluation.metrics.oks import evaluate_oks
from detkit.runs.predictor import build_predictor
from detkit.workflows.check import check
from detkit.workflows.compare import compare
from detkit.workflows.evaluate import evaluate
from detkit.workflows.init import init
from detkit.workflows.plan import plan
from detkit.workflows.predict import predict
from detkit.workflows.report import report
from detkit.workflows.show_data import show_data
from detkit.workflows.train import train

TINY = [
    "detector.backbone.width=0.125",
    "detector.size_px=40",
    "detector.regression.channels=16",
    "detector.keypoints.stages=2",
    "data.train.of.num_images=4",
    "data.val.of.num_images=2",
    "data.resize={short_px: 44, long_px: 100}",
    "data.workers=0",
    "train.epochs=1",
    "train.batch_size=4",
    "train.schedule={type: constant}",
    "train.warmup.steps=0",
    "train.precision=fp32",
    "device=cpu",
]


def tiny(*more: str) -> Config:
    return load_config("localizer_resnet18_synthetic_keypoints", [*TINY, *more])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    trained = train(tiny(), out=out)
    assert trained is not None
    assert trained.measured is not None
    assert trained.measured.metric == "oks"
    found = trained.to_json()["evaluation"]
    assert {"oks", "oks50", "oks75", "pcp", "keypoints", "stats"} <= found.keys()
    assert found["keypoints"].keys() == {
        "AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"
    }  # fmt: skip
    return out


def test_a_run_leaves_its_files(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"class", "box", "keypoints1", "keypoints2", "oks", "pcp"} <= {
        key for line in lines for key in line
    }
    page = (run / "report.html").read_text()
    assert all(word in page for word in ("OKS AP50", "PCP", "VOC07 AP"))
    truth = open_validation_set(tiny().data).annotations
    found = read_coco_results(run / "detections.json", truth)
    assert found.keypoints is not None
    last = [line["oks"] for line in lines if line["split"] == "val"][-1]
    assert evaluate_oks(truth, found).stats["AP"] == pytest.approx(last, abs=1e-12)


def test_evaluating_repeats_the_numbers(run: Path, tmp_path: Path) -> None:
    again = evaluate(load_config(run / "config.yaml"), weights=run / "model.safetensors", out=tmp_path)
    assert again is not None
    assert report(tmp_path).measured.value == again.measured.value
    assert compare(run, tmp_path).result.total.within_noise


def test_predictions_have_key_points(run: Path, tmp_path: Path) -> None:
    picture = SyntheticSet(1, seed=9, classes=("kite", "dart")).render(0)
    cv2.imwrite(str(tmp_path / "one.png"), picture[..., ::-1])
    folder, records = predict(run, tmp_path / "one.png", out=tmp_path / "out", draw=True, threshold=0.0)
    found = records[0]["detections"]
    assert [len(one["keypoints"]) for one in found] == [4, 4]
    assert (folder / "drawn/one.png").exists() or (folder / "drawn/one.jpg").exists()
    predictor = build_predictor(run, "cpu")
    own = predictor.predict(picture, threshold=0.0)
    assert own.keypoints is not None
    assert own[:1].keypoints is not None
    np.testing.assert_allclose(own.keypoints[0], found[0]["keypoints"], atol=1e-3)
    results = own.to_coco(image_id=5)
    assert results[0]["keypoints"][:3] == pytest.approx([*(own.keypoints[0, 0] - 0.5).tolist(), 1])
    assert (np.asarray(own.draw()) != picture).any()
    assert own.skeleton == ((0, 1), (1, 2), (2, 3), (3, 0))


def test_what_it_sees_and_costs(tmp_path: Path) -> None:
    drawn = show_data(tiny(), out=tmp_path / "drawn", num_batches=1)
    assert drawn["batches"][0]["images"] == 4
    found = check("localizer_resnet18_synthetic_keypoints", overrides=TINY)
    assert found.to_json()["errors"] == []
    assert plan(tiny()) is not None


def test_a_dataset_of_boxes_starts_one(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 4, 2)
    init(tmp_path / "shapes", detector="localizer", out=tmp_path / "mine.yaml")
    config = load_config(tmp_path / "mine.yaml")
    assert (config.detector.type, config.evaluate.metric) == ("localizer", "top1_loc")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.val={type: image_folder, root: x}", "goes with data of type image_folder"),
        (
            "data.val={type: object_crops, of: {type: synthetic}, boxes: crop}",
            "but for object_crops with boxes",
        ),
        ("evaluate.metric=top1", "a classifier's, and its only one"),
        ("detector.regression.attach=fc", "take conv"),
        ("detector.keypoints.skeleton=[[tip, nose]]", "has 'nose', which keypoints.names has not"),
    ],
)
def test_what_does_not_go_together_is_refused(change: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(change)


def test_crops_keep_the_boxes_of_their_objects() -> None:
    config = load_config("localizer_resnet18_synthetic")
    assert config.model_dump()["data"]["train"]["boxes"] == "object"
    assert load_config("classifier_resnet18_synthetic").model_dump()["data"]["train"]["boxes"] == "crop"
