"""`detkit check` as a user meets it: datasets and configs, what is printed, how it ends."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from detkit.__main__ import main
from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.checks import learning
from detkit.checks.findings import KINDS
from detkit.checks.learning import Fit, fit_findings, sample_images
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.model import FasterRCNN
from detkit.errors import UserError
from detkit.runs.learning import check_learning, fit_of
from detkit.runtime import memory
from detkit.workflows import check as workflow
from detkit.workflows.check import check
from tests.checks.small_datasets import CLASSES, Format, pictures, write
from tests.workflows.dying import contents, die_at

SUFFIXES = (".jpg", ".png")
DOCS = Path(__file__).parents[2] / "docs" / "check.md"
CONFIG = """\
version: 1
device: cpu
detector:
  type: faster_rcnn
  backbone: {{type: resnet, depth: 18, width: 0.125}}
  proposals: {{type: rpn, channels: 8, anchors: {{sizes_px: [[24, 48]]}}}}
  regions: {{type: roi_align, size: 2}}
  head: {{type: layer4}}
data:
  classes: [{classes}]
  train: {train}
  val: {val}
  resize: {{short_px: 96, long_px: 160}}
  workers: 0
train: {{type: gradient, epochs: 1, batch_size: 2, optimizer: {{type: sgd, lr: 0.01}}, precision: fp32}}
"""


def config_file(folder: Path, dataset_format: Format, classes: str = ", ".join(CLASSES)) -> Path:
    root = folder / "set"
    train, val = {
        "voc": (f"{{type: voc, root: {root}, sets: [train]}}", f"{{type: voc, root: {root}, sets: [val]}}"),
        "coco": tuple(
            f"{{type: coco, images: {root}/images, annotations: {root}/annotations/instances_{part}.json}}"
            for part in ("train", "val")
        ),
        "yolo": (f"{{type: yolo, root: {root}}}", f"{{type: yolo, root: {root}, split: val}}"),
    }[dataset_format]
    file = folder / "config.yaml"
    file.write_text(CONFIG.format(classes=classes, train=train, val=val))
    return file


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write(tmp_path / "set", "voc", pictures(np.random.default_rng(2)))
    return tmp_path / "set"


@pytest.mark.parametrize("dataset_format", ["voc", "coco", "yolo"])
def test_a_config_and_its_corrected_copy(tmp_path: Path, dataset_format: Format) -> None:
    drawn = pictures(np.random.default_rng(4))
    name, x1, y1, _, y2 = drawn[0].objects[0]
    drawn[0].objects[0] = (name, x1, y1, drawn[0].size[1] + 20, y2)
    write(tmp_path / "set", dataset_format, drawn)
    result = check(str(config_file(tmp_path, dataset_format)), fix=tmp_path / "copy")
    assert [finding.kind for finding in result.errors] == ["outside_box"]
    assert (result.images, result.parts, result.fit) == (12, {"train": 8, "val": 4}, None)
    again = check(str(tmp_path / "copy" / "config.yaml"))
    assert not again.errors
    assert (again.images, again.objects) == (12, result.objects)
    assert again.fit is not None
    assert again.fit["what"] == "anchors"
    assert sum(size["objects"] for size in again.fit["best_iou"].values()) == again.fit["objects"]
    assert str(tmp_path / "copy") in (tmp_path / "copy" / "config.yaml").read_text()


def test_a_class_that_the_config_does_not_know(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = config_file(tmp_path, "voc", classes="apple, pear, walnuts")
    assert main(["check", str(file), "--json", str(tmp_path / "found.json")]) == 1
    found = json.loads((tmp_path / "found.json").read_text())
    kinds = {error["kind"] for error in found["errors"]}
    assert kinds == {"unknown_class"}
    assert "did you mean 'walnuts'?" in found["errors"][0]["message"]
    assert {"kind", "file", "object", "message"} == set(found["errors"][0])
    assert "unused_class" in {warning["kind"] for warning in found["warnings"]}
    said = capsys.readouterr().out
    assert "error: an object's class is not in the list of classes (unknown_class, " in said
    assert len(said.splitlines()) < 40


def test_how_it_ends(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(dataset)]) == 0
    (dataset / "JPEGImages" / "photo_003.jpg").unlink()
    assert main(["check", str(dataset), "--json", "-"]) == 1
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    for wrong, sentence in (
        (str(tmp_path / "absent"), "absent"),
        (str(tmp_path / "empty"), "the folder is empty"),
        (str(tmp_path / "absent.json"), "does not exist"),
    ):
        assert main(["check", wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["check", str(dataset), "train.epochs=2"]) == 2
    assert main(["check", str(dataset), "--fix", str(dataset / "fix")]) == 2
    assert "lies in the dataset itself" in capsys.readouterr().err
    assert main(["check", str(dataset), "--fix", str(dataset.parent)]) == 2


def test_a_training_that_its_data_stops_points_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = pictures(np.random.default_rng(2))
    drawn[0].objects.append(("apple", 50, 50, 40, 60))
    write(tmp_path / "set", "voc", drawn)
    assert main(["train", str(config_file(tmp_path, "voc")), "--out", str(tmp_path / "run")]) == 2
    assert "detkit check, with the same config, lists everything" in capsys.readouterr().err


def test_a_config_whose_data_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for dataset_format in ("voc", "coco", "yolo"):
        assert main(["check", str(config_file(tmp_path, dataset_format))]) == 2  # type: ignore[arg-type]
        assert "error: " in capsys.readouterr().err


def test_lists_by_year_are_written_by_year(tmp_path: Path) -> None:
    drawn = pictures(np.random.default_rng(6))
    for year, half in (("2007", drawn[::2]), ("2012", drawn[1::2])):
        write(tmp_path / "set" / f"VOC{year}", "voc", half)
    file = config_file(tmp_path, "voc")
    file.write_text(
        file.read_text().replace("[train]", "[2007_train, 2012_train]").replace("[val]", "[2007_val]")
    )
    result = check(str(file), fix=tmp_path / "copy")
    assert not result.errors
    assert result.parts == {"train": 8, "val": 2}
    copied = load_config(tmp_path / "copy" / "config.yaml")
    assert copied.data.train.sets == ("2007_train", "2012_train")  # type: ignore[union-attr]
    assert check(str(tmp_path / "copy" / "config.yaml")).parts == result.parts


def synthetic(*overrides: str) -> Config:
    small = ("data.train.num_images=5", "data.val.num_images=1", "data.resize={short_px: 96, long_px: 128}")
    return load_config("faster_rcnn_resnet18_synthetic", [*small, *overrides])


def corners_after_resize(truth: AnnotationSet, image: int, size: tuple[int, int]) -> np.ndarray:
    boxes = to_corners(truth.boxes, truth.box_format)[truth.offsets[image] : truth.offsets[image + 1]]
    height, width = truth.sizes[image]
    return boxes * np.array([size[1] / width, size[0] / height] * 2)


def test_best_anchors_beside_a_loop_over_all() -> None:
    config = synthetic()
    learned, _ = open_training_set(config.data)
    fit = fit_of(config, learned)
    assert fit is not None
    model = build_detector(config.detector, len(config.data.classes), 0, pretrained=False)
    assert isinstance(model, FasterRCNN)
    spec = config.detector.proposals.anchors  # type: ignore[union-attr]
    expected = []
    for image in range(5):
        height, width = learned.annotations.sizes[image]
        scale = min(96 / min(height, width), 128 / max(height, width))
        size = (round(height * scale), round(width * scale))
        for box in corners_after_resize(learned.annotations, image, size):
            best = 0.0
            for level, stride in enumerate(model.rpn.strides):
                for side in spec.sizes_px[level]:
                    for ratio in spec.ratios:
                        w, h = side / np.sqrt(ratio), side * np.sqrt(ratio)
                        for y in (np.arange(-(-size[0] // stride)) + spec.offset) * stride:
                            for x in (np.arange(-(-size[1] // stride)) + spec.offset) * stride:
                                anchor = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                                if model.rpn.border_px is not None and (
                                    anchor.min() < -model.rpn.border_px
                                    or anchor[2] > size[1] + model.rpn.border_px
                                    or anchor[3] > size[0] + model.rpn.border_px
                                ):
                                    continue
                                best = max(best, iou(anchor, box))
            expected.append(best)
    assert len(fit.best) == len(expected) == learned.annotations.num_objects
    # Anchors are rounded to pixels as the config says, and this loop's are not.
    np.testing.assert_allclose(fit.best, expected, atol=0.06)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared)


@pytest.mark.parametrize("dataset_format", ["voc", "coco", "yolo"])
def test_a_corrected_copy_killed_at_any_file_and_made_again(
    tmp_path: Path, dataset_format: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "num_cores", lambda: 0)  # no thread in a process that is forked
    write(tmp_path / "set", dataset_format, pictures(np.random.default_rng(0), 4, 2))
    check(str(tmp_path / "set"), fix=tmp_path / "whole")
    whole, at = contents(tmp_path / "whole"), 0
    while die_at(at, partial(check, str(tmp_path / "set"), fix=tmp_path / str(at))):
        if at % 3 == 0:
            check(str(tmp_path / "set"), fix=tmp_path / str(at))
            assert contents(tmp_path / str(at)) == whole
        at += 1
    assert at >= len(whole)  # and files of the cache
    with pytest.raises(UserError, match="not empty") as refusal:
        check(str(tmp_path / "set"), fix=tmp_path / str(at))
    assert "resume" not in str(refusal.value)


@pytest.mark.parametrize("dataset_format", ["voc", "coco", "yolo"])
def test_a_corrected_copy_has_images_alone(tmp_path: Path, dataset_format: Format) -> None:
    write(tmp_path / "set", dataset_format, pictures(np.random.default_rng(0), 4, 2))
    (tmp_path / "secret.txt").write_text("a secret")
    images = sorted(file for file in (tmp_path / "set").rglob("*") if file.suffix in SUFFIXES)
    copy = images[1].read_bytes()
    for image in images[:2]:
        image.unlink()
    images[0].symlink_to(tmp_path / "secret.txt")
    (tmp_path / "elsewhere.png").write_bytes(copy)
    images[1].symlink_to(tmp_path / "elsewhere.png")  # an image, but what it shows is nobody's business
    result = check(str(tmp_path / "set"), fix=tmp_path / "copy")
    said = sorted(finding.message for finding in result.errors if finding.kind == "unreadable_image")
    assert ["/elsewhere.png, outside of" in said[0], "/secret.txt, outside of" in said[1]] == [True, True]
    copied = {file.name for file in (tmp_path / "copy").rglob("*") if file.suffix in SUFFIXES}
    assert copied == {image.name for image in images[2:]}


def test_what_keeps_a_detector_from_learning_is_told() -> None:
    config = synthetic("data.resize={short_px: 32, long_px: 48}", "train.batch_size=2")
    learned, _ = open_training_set(config.data)
    fit = fit_of(config, learned)
    assert fit is not None
    kinds = {finding.kind for finding in fit_findings(fit, learned.annotations)}
    assert {"missed_objects", "below_stride"} <= kinds
    few = Fit("anchors", 16, drawn=256, best=[0.9], sides=[(50.0, 50.0)], places=[(0, 0)], positives=[2])
    assert [finding.kind for finding in fit_findings(few, learned.annotations)] == ["few_positives"]
    good = Fit("anchors", 16, drawn=256, best=[0.9], sides=[(50.0, 50.0)], places=[(0, 0)], positives=[30])
    assert list(fit_findings(good, learned.annotations)) == []


def test_proposals_are_looked_for_in_a_sample() -> None:
    config = load_config("fast_rcnn_alexnet_voc07")
    values = config.model_dump()
    values["data"] |= {
        "classes": ("disc", "star"),
        "train": {"type": "synthetic", "num_images": 2},
        "val": None,
        "resize": {"short_px": 96, "long_px": 128},
    }
    values["detector"]["proposals"] = {"type": "sliding_window", "max_boxes": 300}
    config = Config.model_validate(values)
    learned, _ = open_training_set(config.data)
    fit = fit_of(config, learned)
    assert fit is not None
    assert (fit.what, len(fit.positives)) == ("proposals", 2)
    assert 0.2 < np.mean(fit.best) <= 1


def test_memory_is_told_before_it_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "free_bytes", lambda device: 1 << 20)
    monkeypatch.setattr(learning, "shared_bytes", lambda: 1 << 10)
    findings, figures = check_learning(synthetic("data.workers=2", "train.batch_size=8"))
    assert {"out_of_memory", "shared_memory"} <= {finding.kind for finding in findings}
    assert figures is not None
    assert figures["free_bytes"] == 1 << 20
    assert figures["memory_bytes"] > figures["free_bytes"]
    assert memory.shown_bytes(1 << 20) in next(f.message for f in findings if f.kind == "out_of_memory")


def test_samples_are_spread_over_images_with_objects(dataset: Path) -> None:
    learned, _ = open_training_set(synthetic("data.train.num_images=40").data)
    chosen = sample_images(learned.annotations, 5)
    assert len(chosen) == 5
    assert (chosen[0], chosen == sorted(set(chosen))) == (0, True)
    assert chosen[-1] > 30


def test_every_kind_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    errors, warnings = text.split("## Warnings")
    for name, kind in KINDS.items():
        place, other = (errors, warnings) if kind.severity == "error" else (warnings, errors)
        assert f"\n| `{name}` |" in place, name
        assert f"\n| `{name}` |" not in other, name


def test_ctrl_c_ends_at_once(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: object, done: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detkit.runtime.progress.ProgressLine.__call__", interrupt)
    assert main(["check", str(dataset)]) == 130


def val_list(dataset: Path, *names: str) -> None:
    (dataset / "ImageSets" / "Main" / "val.txt").write_text("".join(f"{name}\n" for name in names))


def test_a_part_without_an_image_is_named(dataset: Path, tmp_path: Path) -> None:
    val_list(dataset)
    with pytest.raises(UserError, match=r"^data\.val: no image is there$"):
        check(str(config_file(tmp_path, "voc")))


@pytest.mark.parametrize("number", [0, 11])
def test_a_part_of_one_image_without_objects_is_named(dataset: Path, tmp_path: Path, number: int) -> None:
    """The first image of a survey has number 0, which is a number like others."""
    name = f"photo_{number:03d}"
    annotation = dataset / "Annotations" / f"{name}.xml"
    annotation.write_text(annotation.read_text().split("<object>")[0] + "</annotation>")
    val_list(dataset, name)
    names = [f"photo_{n:03d}" for n in range(12) if n != number]
    (dataset / "ImageSets" / "Main" / "train.txt").write_text("".join(f"{n}\n" for n in names))
    result = check(str(config_file(tmp_path, "voc")))
    [finding] = result.errors
    assert (finding.kind, finding.object, finding.file) == ("no_objects", "val", str(annotation))
    assert finding.message == "1 image, but no object"
    assert result.parts == {"train": 11, "val": 1}


def test_a_corrected_copy_holds_sets_of_two_formats(tmp_path: Path) -> None:
    drawn = pictures(np.random.default_rng(6))
    for dataset_format in ("voc", "coco"):
        write(tmp_path / dataset_format, dataset_format, drawn)  # type: ignore[arg-type]
    file = tmp_path / "config.yaml"
    coco = f"{tmp_path}/coco/images, annotations: {tmp_path}/coco/annotations/instances_val.json"
    train = f"{{type: voc, root: {tmp_path}/voc, sets: [train]}}"
    file.write_text(
        CONFIG.format(classes=", ".join(CLASSES), train=train, val=f"{{type: coco, images: {coco}}}")
    )
    assert not check(str(file), fix=tmp_path / "copy").errors
    again = check(str(tmp_path / "copy" / "config.yaml"))
    assert not again.errors
    assert again.parts == {"train": 8, "val": 4}


def with_odd_boxes(folder: Path) -> None:
    """Write a set in which one box leaves its image and another has no width."""
    drawn = pictures(np.random.default_rng(4))
    name, x1, y1, _, y2 = drawn[0].objects[0]
    drawn[0].objects[0] = (name, x1, y1, drawn[0].size[1] + 20, y2)
    name, x1, y1, _, y2 = drawn[1].objects[0]
    drawn[1].objects[0] = (name, x1, y1, x1, y2)
    write(folder, "coco", drawn)


@pytest.mark.parametrize("policy", ["clip", "drop", "error"])
def test_what_the_config_handles_is_no_error(tmp_path: Path, policy: str) -> None:
    with_odd_boxes(tmp_path / "set")
    file = config_file(tmp_path, "coco")
    result = check(str(file), [f"data.invalid_boxes={policy}"])
    kinds = ["degenerate_box", "outside_box"]
    found = {kind: [f for f in result.findings if f.kind == kind] for kind in kinds}
    assert all(len(of_kind) == 1 for of_kind in found.values())
    if policy == "error":  # which a training refuses
        assert [finding.kind for finding in result.errors] == kinds
        assert "invalid_boxes" not in found["outside_box"][0].message
        with pytest.raises(UserError, match="2 invalid boxes"):
            open_training_set(load_config(str(file)).data)
        return
    assert not result.errors
    done = {"clip": "is cut to the image", "drop": "is left out"}[policy]
    assert f"in training it {done}" in found["outside_box"][0].message
    assert f"(data.invalid_boxes: {policy})" in found["outside_box"][0].message
    _, changed = open_training_set(load_config(str(file), [f"data.invalid_boxes={policy}"]).data)
    assert (changed["clipped"], changed["dropped"]) == {"clip": (1, 1), "drop": (0, 2)}[policy]
    assert main(["check", str(file), f"data.invalid_boxes={policy}"]) == 0


def test_a_check_right_after_init_agrees_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_odd_boxes(tmp_path / "set")
    assert main(["check", str(tmp_path / "set")]) == 0
    assert "(data.invalid_boxes: clip, as detkit init writes it)" in capsys.readouterr().out
    made = str(tmp_path / "made.yaml")
    assert main(["init", str(tmp_path / "set"), "-o", made]) == 0
    capsys.readouterr()
    assert main(["check", made]) == 0
    said = capsys.readouterr().out
    assert "warning: a box reaches beyond its image (outside_box, 1)" in said
    assert "\n0 errors, " in said


def test_the_exit_status_of_a_fix_is_about_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_odd_boxes(tmp_path / "set")
    file = config_file(tmp_path, "coco")
    assert main(["check", str(file), "--fix", str(tmp_path / "copy"), "--json", str(tmp_path / "j")]) == 0
    found = json.loads((tmp_path / "j").read_text())
    assert (len(found["errors"]), len(found["changes"]), found["left"]) == (2, 2, [])
    assert main(["check", str(file), "data.classes=[apple, pear]", "--fix", str(tmp_path / "other")]) == 1
    assert "left to you: " in capsys.readouterr().out


def test_a_copy_of_which_nothing_is_left_is_no_success(dataset: Path, tmp_path: Path) -> None:
    for file in (dataset / "JPEGImages").iterdir():
        file.write_bytes(b"")
    result = check(str(dataset), fix=tmp_path / "copy")
    assert {(finding.kind, finding.object) for finding in result.left} == {
        ("no_objects", "train"),
        ("no_objects", "val"),
    }
    assert json.loads((tmp_path / "copy" / "changes.json").read_text())["left"] == [
        finding.to_json() for finding in result.left
    ]
