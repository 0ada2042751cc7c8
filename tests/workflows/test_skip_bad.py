"""Trainings on datasets of which some images cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detkit.__main__ import main
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.data.datasets.image_screen import ImageScreen
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.families import family_of
from detkit.errors import UserError
from detkit.storage.run_folder import CHECKPOINT
from detkit.workflows.report import report
from detkit.workflows.train import train
from tests.workflows.test_train import SMALL


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))


def config(root: Path, layout: str, *more: str) -> Config:
    spec = {
        "voc": "{{type: voc, root: {0}, sets: [{1}]}}",
        "yolo": "{{type: yolo, root: {0}, split: {1}}}",
        "coco": "{{type: coco, images: {0}/{1}, annotations: {0}/annotations/instances_{1}.json}}",
    }[layout]
    data = [f"data.{part}={spec.format(root, part)}" for part in ("train", "val")]
    changes = [item for item in SMALL if "num_images" not in item]
    return load_config("faster_rcnn_resnet18_synthetic", [*changes, *data, *more])


def images(root: Path, part: str) -> list[Path]:
    return sorted(root.rglob(f"{part}_*.jpg"))


@pytest.mark.parametrize("layout", ["voc", "yolo", "coco"])
def test_bad_images_are_named_before_there_is_a_folder_or_left_out_if_allowed(
    tmp_path: Path, layout: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "data", tmp_path / "run"
    write_synthetic(root, layout, 5, 3)
    bad = [images(root, "train")[1], images(root, "val")[0]]
    bad[0].write_bytes(b"no image")
    bad[1].write_bytes(b"")
    with pytest.raises(UserError, match=rf"(?s)1 images cannot be read:.*{bad[0].name}.*detkit check"):
        train(config(root, layout), out=out)
    with pytest.raises(UserError, match="2 images cannot be read, more than --skip-bad 1"):
        train(config(root, layout), out=out, skip_bad=1)
    assert not out.exists()
    trained = train(config(root, layout), out=out, skip_bad=2)
    assert trained is not None
    assert "training on 4 images" in capfd.readouterr().err
    listed = json.loads((out / "skipped_images.json").read_text())
    assert [Path(item["image"]).name for item in listed] == [file.name for file in bad]
    assert all(bad_file.name in item["error"] for bad_file, item in zip(bad, listed, strict=True))
    found = {item["image_id"] for item in json.loads((out / "detections.json").read_text())}
    assert len(found) <= 2
    value = report(out).measured.value
    assert value == trained.measured.value  # type: ignore[union-attr]
    bad[0].write_bytes(images(root, "train")[0].read_bytes())
    capfd.readouterr()
    assert train(config(root, layout, "train.epochs=2"), out=out, resume=True) is not None
    assert "training on 4 images" in capfd.readouterr().err  # the same as before
    assert json.loads((out / "skipped_images.json").read_text()) == listed


def test_what_check_found_behind_the_header_is_known_to_a_training(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_synthetic(root, "voc", 4, 2)
    image = images(root, "train")[2]
    image.write_bytes(image.read_bytes()[:-300])
    opened, _ = open_training_set(config(root, "voc").data, ImageScreen(0))
    assert opened.annotations.num_images == 4  # its header is whole
    assert main(["check", str(root)]) == 1
    with pytest.raises(
        UserError, match=rf"1 images cannot be read:\n  .*{image.name}: the image is truncated"
    ):
        open_training_set(config(root, "voc").data, ImageScreen(0))
    opened, _ = open_training_set(config(root, "voc").data, ImageScreen(1))
    assert opened.annotations.num_images == 3


def test_a_classifier_of_objects_learns_from_the_readable_images(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_synthetic(root, "voc", 4, 2)
    data = config(root, "voc").data
    of = data.train
    crops = data.model_copy(update={"train": _crops(of)})
    whole = open_training_set(crops, ImageScreen(0))[0].annotations
    images(root, "train")[0].write_bytes(b"")
    with pytest.raises(UserError, match="1 images cannot be read"):
        open_training_set(crops, ImageScreen(0))
    source, _ = open_training_set(crops, ImageScreen(1))
    left = [name for name in whole.image_files.tolist() if "train_000000" not in name]
    assert source.annotations.image_files.tolist() == left
    assert source.pixels(0).shape[:2] == tuple(source.annotations.sizes[0])


def _crops(of: Any) -> Any:
    from detkit.data.datasets.config import ObjectCropsConfig

    return ObjectCropsConfig(type="object_crops", of=of)


@pytest.mark.parametrize("content", ["", "{}", "[3]", '[{"image": "a"}]', "\udcff"])
def test_a_damaged_list_of_a_run_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "skipped_images.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    if content == "{}":
        return
    with pytest.raises(UserError, match=r"skipped_images\.json: not a list of images"):
        train(config(tmp_path, "voc"), out=tmp_path)


@pytest.mark.parametrize("name", ["rcnn_resnet18_synthetic", "faster_rcnn_resnet18_synthetic_alternating"])
def test_every_stage_leaves_out_the_same_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    write_synthetic(root, "voc", 5, 3)
    images(root, "train")[1].write_bytes(b"no image")
    seen: list[list[str]] = []
    family = family_of(load_config(name).detector)
    train_type = load_config(name).train.type

    def recipe(task: Any) -> Any:
        seen.append([Path(file).stem for file in task.train_set.annotations.image_files.tolist()])
        (task.folder / CHECKPOINT).touch()  # a folder with nothing of a training in it does not stay
        raise KeyboardInterrupt

    monkeypatch.setitem(family.recipes, train_type, recipe)  # type: ignore[arg-type]
    changes = [f"data.{part}={{type: voc, root: {root}, sets: [{part}]}}" for part in ("train", "val")]
    if name.startswith("rcnn"):
        changes.append("detector.proposals={type: sliding_window}")
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train(load_config(name, changes), out=tmp_path / "run", skip_bad=1, resume=resume)
        images(root, "train")[1].write_bytes(images(root, "train")[0].read_bytes())
    assert seen[0] == seen[1]
    assert len(seen[0]) == 4
    assert not any(stem.endswith("train_000001") for stem in seen[0])
