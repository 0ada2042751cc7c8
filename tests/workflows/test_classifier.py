"""A classifier goes through the commands that detectors go through."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.synthetic.dataset import write_synthetic
from detkit.data.synthetic.shapes import shape_mask
from detkit.errors import UserError
from detkit.runs.predictor import load_detector
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
    "detector.crop_px=40",
    "data.resize={short_px: 44, long_px: 100}",
    "data.workers=0",
    "train.epochs=2",
    "train.batch_size=4",
    "train.schedule={type: constant}",
    "train.warmup.steps=0",
    "train.precision=fp32",
    "device=cpu",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White shapes on black: three classes, as many images as a test needs."""
    root = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("val", 3)):
        for name in ("disc", "square", "star"):
            place = root / part / name
            place.mkdir(parents=True)
            for number in range(count):
                mask = shape_mask(name, 30 + int(rng.integers(10)), float(rng.uniform(0, 6)), 1.0)
                picture = np.zeros((48, 40 + 8 * number, 3), np.uint8)
                high, wide = min(48, len(mask)), min(picture.shape[1], len(mask))
                picture[:high, :wide] = mask[:high, :wide, None]
                cv2.imwrite(str(place / f"{number}.png"), picture)
    return root


def tiny(folder: Path, *more: str) -> Config:
    crop = "augment: [{type: flip}, {type: scale_crop, short_px: [40, 50], size_px: 40}]"
    own = [
        "data.classes=[disc, square, star]",
        f"data.train={{type: image_folder, root: '{folder}', {crop}}}",
        f"data.val={{type: image_folder, root: '{folder}', split: val}}",
    ]
    return load_config("classifier_resnet18_synthetic", [*TINY, *own, *more])


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    trained = train(tiny(folder, "train.ema={decay: 0.5}"), out=out)
    assert trained is not None
    assert trained.measured is not None
    assert trained.to_json()["evaluation"].keys() == {"metric", "top1", "top5", "per_class", "seconds"}
    assert trained.measured.value == trained.to_json()["evaluation"]["top1"]
    return out


def test_a_run_leaves_its_files(run: Path) -> None:
    found = {file.name for file in run.iterdir()}
    assert {"config.yaml", "detections.json", "last.pt", "metrics.jsonl", "model.safetensors"} <= found
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"class", "top1", "top5"} <= {key for line in lines for key in line}
    page = (run / "report.html").read_text()
    assert all(word in page for word in ("top-1", "top-5", "Confusion", "Training"))
    assert "Score thresholds" not in page
    assert "Dashed white" not in page
    assert 'class="swatch"' in page.split('id="classes"')[1].split("</section>")[0]


def test_evaluating_repeats_the_numbers(run: Path, tmp_path: Path) -> None:
    again = evaluate(load_config(run / "config.yaml"), weights=run / "model.safetensors", out=tmp_path)
    assert again is not None
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    best = max(json.loads(line).get("top1", 0) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert again.measured.value == best
    assert last["split"] == "val"
    assert compare(run, tmp_path).result.total.within_noise
    assert report(tmp_path).measured.value == again.measured.value


def test_a_resumed_training_ends_in_the_same_weights(folder: Path, run: Path, tmp_path: Path) -> None:
    ema = "train.ema={decay: 0.5}"
    train(tiny(folder, "train.epochs=1", ema), out=tmp_path / "again")
    longer = train(tiny(folder, ema), out=tmp_path / "again", resume=True)
    assert longer is not None
    one = torch.load(run / "last.pt", weights_only=True)["model"]
    other = torch.load(tmp_path / "again" / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_predictions_are_the_classes_of_the_whole_image(run: Path, folder: Path, tmp_path: Path) -> None:
    weights, source = run / "model.safetensors", str(folder / "val" / "disc")
    _, records = predict(weights, [source], out=tmp_path / "found", draw=True, device="cpu")
    assert len(records) == 3
    for record in records:
        assert record.keys() == {"image", "width", "height", "frame", "time_s", "detections", "error"}
        found = record["detections"]
        assert {one["label"] for one in found} == {"disc", "square", "star"}
        assert all(one["box"] == [0, 0, record["width"], record["height"]] for one in found)
        assert sum(one["score"] for one in found) == pytest.approx(1, abs=1e-5)
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    sure = predict(weights, [source], out=tmp_path / "sure", threshold=0.99, device="cpu")[1]
    assert sum(len(one["detections"]) for one in sure) < 9
    with pytest.raises(UserError, match="tiles are for detectors"):
        predict(weights, [source], out=tmp_path / "tiles", tile=100, device="cpu")


def test_a_detector_starts_from_it(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = load_config(
        "faster_rcnn_resnet18_synthetic",
        [
            f"detector.backbone={{type: resnet, depth: 18, width: 0.125, weights: {run}/model.safetensors}}",
            "detector.proposals.channels=16",
            "data.resize={short_px: 96, long_px: 128}",
            "data.train.num_images=2",
            "data.workers=0",
            "data.val=null",
            "train.epochs=1",
            "train.batch_size=2",
            "train.precision=fp32",
            "device=cpu",
        ],
    )
    train(small, out=tmp_path / "detector")
    said = capsys.readouterr().err
    assert f"weights {run}/model.safetensors: 100 tensors loaded" in said
    assert "does not have: fc" in said
    assert "start at random" not in said
    theirs = load_detector(tmp_path / "detector" / "model.safetensors").model.backbone
    ours = load_detector(run / "model.safetensors").model.backbone
    assert torch.equal(theirs.layer1[0].conv1.weight, ours.layer1[0].conv1.weight)  # frozen, so unchanged


def test_plan_and_show_data_know_it(folder: Path, tmp_path: Path) -> None:
    planned = plan(tiny(folder))
    assert planned.batch_size == 4
    shown = show_data(tiny(folder), tmp_path, num_batches=1)
    assert shown["batches"][0]["objects"] == shown["batches"][0]["images"]


def test_objects_cut_out_of_a_detection_dataset_are_images(folder: Path) -> None:
    crops = load_config("classifier_resnet18_synthetic", ["data.val.of.num_images=2"])
    truth = open_validation_set(crops.data).annotations
    assert truth.num_images == truth.num_objects > 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["evaluate.metric=coco"], "top1 is a classifier's"),
        (["data.val={type: synthetic, num_images: 2}"], "goes with data of type image_folder"),
        (["data.train.of.augment=[{type: flip}]"], "write it beside `of`"),
        (
            ["data.train.augment=[{type: scale_crop, short_px: [30, 40], size_px: 32}]"],
            "must rise from size_px",
        ),
        (["train.type=staged"], "classifier is trained by gradient"),
    ],
)
def test_what_does_not_fit_a_classifier_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config("classifier_resnet18_synthetic", changes)


def test_its_data_are_refused_by_a_detector() -> None:
    crops = "data.train={type: object_crops, of: {type: synthetic}}"
    with pytest.raises(UserError, match="goes with data of type image_folder"):
        load_config("faster_rcnn_resnet18_synthetic", [crops])
    cut = "data.train.augment=[{type: scale_crop}]"
    with pytest.raises(UserError, match="scale_crop is a classifier's"):
        load_config("faster_rcnn_resnet18_synthetic", [cut])


def test_its_config_is_checked_by_the_dataset_its_objects_come_from(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "coco", 3, 2)
    init(tmp_path / "shapes", detector="classifier_resnet18_folder", out=tmp_path / "mine.yaml")
    found = check(str(tmp_path / "mine.yaml"), ["detector.backbone.weights=none", "data.workers=0"])
    assert found.parts == {"train": 3, "val": 2}
    assert found.objects > 5
    drawn = check("classifier_resnet18_synthetic", ["data.train.of.num_images=2", "data.val.of.num_images=2"])
    assert not [one for one in drawn.findings if one.kind == "unused_class"]
