"""Lines for people of the commands whose work is done elsewhere, and their exit status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detkit.__main__ import main
from detkit.checks.findings import found
from detkit.cli.check import LONG, _lines
from detkit.cli.predict import _summary
from detkit.inference import model_file
from detkit.workflows import compress, convert, demo, propose
from detkit.workflows.check import Check
from detkit.workflows.compress import Compression, Measurement
from detkit.workflows.propose import Proposed


def said(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str], str]:
    status = main(arguments)
    output = capsys.readouterr()
    return status, output.out.splitlines(), output.err


def test_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    result = {"ap50": 0.75, "ap": 0.5, "train_seconds": 61.4, "images_per_second": 12.34, "out": "runs/demo"}
    monkeypatch.setattr(demo, "demo", lambda out: result)
    assert said(["demo"], capsys) == (
        0,
        [
            "COCO AP50 0.750, COCO AP 0.500 on the embedded validation images",
            "trained in 61 s, 12.3 images/s",
            "look at runs/demo: train/report.html, and predictions/drawn",
        ],
        "",
    )


def test_convert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    parts = {"train": {"images": 1, "objects": 2}, "val": {"images": 3, "objects": 1}}
    result = {"parts": parts, "out": "there", "format": "coco"}
    monkeypatch.setattr(convert, "convert", lambda dataset, to, out: result)
    assert said(["convert", "here", "--to", "coco", "-o", "there"], capsys) == (
        0,
        ["train: 1 image, 2 objects", "val: 3 images, 1 object", "there: coco"],
        "",
    )


def compressed(monkeypatch: pytest.MonkeyPatch, *measured: Measurement, metric: str | None) -> None:
    result = Compression(Path("thin.safetensors"), metric, *measured)
    monkeypatch.setattr(compress, "compress", lambda *given, **options: result)
    monkeypatch.setattr(model_file, "read_model_file", lambda weights: None)


def test_compress_says_what_was_gained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after = Measurement(1000, 0.5, 0.25), Measurement(999, 0.4, 0.1)
    compressed(monkeypatch, before, after, metric="voc07")
    assert said(["compress", "a.safetensors", "--fc7", "3"], capsys) == (
        0,
        [
            "                           before   after",
            "parameters of fc6 and fc7   1,000     999",
            "voc07                      0.5000  0.4000",
            "seconds per image          0.2500  0.1000",
            "2.50 times as fast",
            "thin.safetensors: the compressed detector",
        ],
        "",
    )


def test_compress_without_images_and_without_gain(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    same = Measurement(1000, None, None)
    compressed(monkeypatch, same, same, metric=None)
    assert said(["compress", "a.safetensors", "--fc6", "3"], capsys) == (
        0,
        [
            "                           before  after",
            "parameters of fc6 and fc7   1,000  1,000",
            "AP                            n/a    n/a",
            "seconds per image             n/a    n/a",
            "no smaller than before: take lower ranks",
            "thin.safetensors: the compressed detector",
        ],
        "",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --fc6, --fc7 or both, such as --fc6 1024 --fc7 256"),
        (["train.seed=3", "--fc6", "3"], "train.seed=3: changes a config, but --data names none"),
    ],
)
def test_compress_is_told_what_to_do(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(model_file, "read_model_file", lambda weights: None)
    status, _, error = said(["compress", "a.safetensors", *arguments], capsys)
    assert status == 2
    assert " ".join(error.replace("\u2502", " ").split()).endswith(message)


def test_propose_lists_what_it_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = iter(
        [
            Proposed("edge_boxes", 7, 12.34, 0.5, "kept in x", Path("drawn"), ({"image": "a"},) * 2),
            Proposed("edge_boxes", 1, 12.34, None, "kept in x"),
        ]
    )
    monkeypatch.setattr(propose, "propose", lambda *given, **options: next(results))
    arguments = ["propose", "edge_boxes", "photos", "--out", "x.safetensors"]
    assert said(arguments, capsys) == (
        1,
        [
            "edge_boxes: 7 images, 12.3 boxes and 0.500 s an image",
            "kept in x",
            "drawings are in drawn",
            "without 2 images that could not be read",
        ],
        "",
    )
    assert said(arguments, capsys) == (0, ["edge_boxes: 1 image, 12.3 boxes an image", "kept in x"], "")


def test_propose_passes_on_what_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given: dict[str, Any] = {}

    def noted(method: str, sources: list[str], out: str, **options: Any) -> Proposed:
        given.update(options, method=method, sources=sources, out=out)
        return Proposed("edge_boxes", 7, 12.34, None, "")

    monkeypatch.setattr(propose, "propose", noted)
    monkeypatch.chdir(tmp_path)
    Path("is=file").touch()
    main(
        [
            "propose",
            "edge_boxes",
            "photos",
            "a=1",
            "is=file",
            "--out",
            "x",
            "--shard",
            "3/8",
            "--max-boxes",
            "5",
        ]
    )
    assert given["sources"] == ["photos", "is=file"]
    assert given["overrides"] == ["a=1", "max_boxes=5"]
    assert given["shard"] == (3, 8)
    assert main(["propose", "edge_boxes", "photos", "--out", "x", "--shard", "3of8"]) == 2
    assert "expected I/N, such as 3/8, got 3of8" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "error", "expected"),
    [
        ([], None, "nothing found"),
        ([], "is damaged", "skipped"),
        ([("cat", 0.9, 1), ("dog", 0.8, 2), ("cat", 0.7, 3)], None, "2 cat, 1 dog"),
        ([("cat", 0.9, 0), ("dog", 0.126, 0)], None, "cat 0.90, dog 0.13"),
        ([("cat", 0.9, 0), ("dog", 0.1, 1)], None, "1 cat, 1 dog"),
    ],
)
def test_a_line_of_a_prediction(
    found: list[tuple[str, float, int]], error: str | None, expected: str
) -> None:
    detections = [{"label": label, "score": score, "box": [x, 0, 40, 30]} for label, score, x in found]
    record = {"image": "a.jpg", "width": 40, "height": 30, "detections": detections, "error": error}
    assert _summary(record) == expected


def test_check_shows_three_of_a_kind() -> None:
    boxes = [found("tiny_box", "a.txt", f"line {n}", f"box {n}") for n in range(4)]
    findings = [found("no_objects", None, None, "nothing"), *boxes, found("rare_class", None, "cat", "few")]
    result = Check(
        findings, 3, 1, {"train": 2, "val": 1}, fixed=Path("copy"), changes=[{}], left=findings[:1]
    )
    assert list(_lines(result)) == [
        "3 images, 1 object (train 2, val 1)",
        "",
        "error: not one object is labelled (no_objects, 1)",
        "  nothing",
        "",
        "warning: a box is only a few pixels large (tiny_box, 4)",
        "  a.txt: line 0: box 0",
        "  a.txt: line 1: box 1",
        "  a.txt: line 2: box 2",
        "  ... and 1 more (--json FILE lists all)",
        "",
        "warning: a class has very few training objects (rare_class, 1)",
        "  cat: few",
        "",
        "1 error, 5 warnings",
        "copy: a copy with 1 change (see changes.json); left to you: 1 error",
    ]
    good = Check(boxes[:3], 1, 0, {})
    assert list(_lines(good)) == [
        "1 image, 0 objects",
        "",
        "warning: a box is only a few pixels large (tiny_box, 3)",
        *(f"  a.txt: line {n}: box {n}" for n in range(3)),
        "",
        "0 errors, 3 warnings",
    ]
    assert list(_lines(Check([], 2, 5, {}))) == ["2 images, 5 objects", "0 errors, 0 warnings"]


def test_check_says_what_is_long_once_and_a_common_folder_once() -> None:
    files = [f"/data/set/{name}" for name in ("images/a.jpg", "images/b.jpg", "labels/c.txt")]
    why = "w" * LONG
    findings = [found("leaked_image", file, "train", f"{why} /data/set/images/d.jpg") for file in files]
    findings.append(found("tiny_box", "e.txt", None, "small"))
    assert list(_lines(Check(findings, 4, 0, {}))) == [
        "4 images, 0 objects",
        "files are in /data/set",
        "",
        "error: the same image content is in two splits (leaked_image, 3)",
        f"  images/a.jpg: train: {why} images/d.jpg",
        "  images/b.jpg: train",
        "  labels/c.txt: train",
        "",
        "warning: a box is only a few pixels large (tiny_box, 1)",
        "  e.txt: small",
        "",
        "3 errors, 1 warning",
    ]
    apart = [found("tiny_box", file, None, "small") for file in ("/one/a.txt", "/other/b.txt")]
    assert list(_lines(Check(apart, 2, 0, {})))[3:5] == ["  /one/a.txt: small", "  /other/b.txt: small"]
    assert "files are in" not in " ".join(_lines(Check(apart[:1], 2, 0, {})))
