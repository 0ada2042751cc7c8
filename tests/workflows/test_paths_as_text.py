"""Every public function takes its paths as text, as Python users write them."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import detkit
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.builder import build_detector
from detkit.inference.save_model import save_model
from detkit.lineage.chain import Terms
from detkit.workflows.check import check
from detkit.workflows.compare import compare
from detkit.workflows.compress import compress
from detkit.workflows.convert import convert
from detkit.workflows.embed import embed
from detkit.workflows.explain import explain
from detkit.workflows.imagine import imagine
from detkit.workflows.init import init
from detkit.workflows.plan import plan
from detkit.workflows.propose import propose
from detkit.workflows.recall import recall
from detkit.workflows.report import report
from detkit.workflows.score import score
from detkit.workflows.show_data import show_data
from tests.workflows.made_run import make_run

ROOT = Path(__file__).parents[2]
SMALL = [
    "detector.backbone.width=0.125",
    "detector.proposals.channels=16",
    "detector.head.channels=16",
    "data.resize={short_px: 64, long_px: 96}",
    "data.train.num_images=2",
    "data.val.num_images=2",
    "data.workers=0",
    "train.epochs=1",
    "train.batch_size=2",
    "train.precision=fp32",
    "device=cpu",
]


def public_functions() -> Iterator[Callable[..., Any]]:
    """Yield the functions of `detkit` itself, and those of the commands."""
    yield from (getattr(detkit, name) for name in detkit.__all__ if inspect.isfunction(getattr(detkit, name)))
    for file in sorted((ROOT / "detkit/workflows").glob("[a-z]*.py")):
        module = import_module(f"detkit.workflows.{file.stem}")
        for name, value in vars(module).items():
            if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_":
                yield value


@pytest.mark.parametrize("function", sorted(set(public_functions()), key=lambda one: one.__qualname__))
def test_where_a_path_is_taken_so_is_text(function: Callable[..., Any]) -> None:
    for name, parameter in inspect.signature(function).parameters.items():
        kinds = re.sub(r"Callable\[.*\]", "", str(parameter.annotation))
        assert ("Path" in kinds) <= ("str" in kinds), f"{name}: {kinds}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a working folder: a config, an untrained model, two evaluated runs and a dataset."""
    folder = tmp_path_factory.mktemp("work")
    config = load_config("faster_rcnn_resnet18_synthetic", SMALL)
    (folder / "mine.yaml").write_text(dump_config(config))
    save_model(
        folder / "runs/mine/model.safetensors",
        build_detector(config.detector, 5, seed=0),
        classes=config.data.classes,
        category_ids=range(5),
        config_yaml=dump_config(config),
    )
    make_run(folder / "runs/one", 0.5)
    make_run(folder / "runs/two", 0.9)
    write_synthetic(folder / "data", "coco", 2, 2)
    return folder


def proposals() -> str:
    propose("sliding_window", "data", "boxes.safetensors", overrides=["max_boxes=9"])
    return "boxes.safetensors"


EXPLAINED: dict[str, Any] = {"box": (5, 5, 40, 40), "methods": ("saliency",), "device": "cpu"}
CALLS: dict[str, Callable[[], Any]] = {
    "boxes.safetensors": proposals,
    "curves.svg": lambda: recall(proposals(), "data", plot="curves.svg"),
    "checked/changes.json": lambda: check("data", fix="checked"),
    "cascade/a.yaml": lambda: init("data", out="cascade/a.yaml"),
    "compressed.safetensors": lambda: compress(
        "runs/mine", 4, None, out="compressed.safetensors", data="mine.yaml", device="cpu"
    ),
    "voc/Annotations": lambda: convert("data", to="voc", out="voc"),
    "evaluated/report.html": lambda: detkit.evaluate("mine.yaml", weights="runs/mine", out="evaluated"),
    "embedded/embedding.html": lambda: embed("runs/mine", "data", limit=9, out="embedded", device="cpu"),
    "explained/explanation.html": lambda: explain(
        "runs/mine", next(map(str, Path("data").rglob("val*.jpg"))), **EXPLAINED, out="explained"
    ),
    "found/detections.json": lambda: detkit.predict("runs/mine", "data/val", out="found", device="cpu"),
    "imagined/imagined.html": lambda: imagine(
        "runs/mine",
        method="dream",
        image=next(map(str, Path("data").rglob("val*.jpg"))),
        size_px=48,
        changes={"steps": 1},
        out="imagined",
        device="cpu",
    ),
    "runs/one/report.html": lambda: report("runs/one"),
    "shown/batch_00.jpg": lambda: show_data("mine.yaml", "shown", num_batches=1),
    "trained/model.safetensors": lambda: detkit.train("mine.yaml", out="trained", from_weights="runs/mine"),
}


@pytest.mark.parametrize("written", CALLS)
def test_what_is_asked_for_by_text_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    CALLS[written]()
    assert (tmp_path / written).exists(), sorted(map(str, tmp_path.rglob("*")))


def test_what_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert detkit.load("runs/mine", "cpu").classes[0] == "disc"
    assert detkit.load_config("mine.yaml").device == "cpu"
    assert compare("runs/one", "runs/two").num_images == 30
    assert plan("mine.yaml").to_json()
    Path("none.json").write_text(json.dumps([]))
    labels = next(Path("data").rglob("*val*.json"))
    assert score(str(labels), "none.json", "coco").value == 0


class Reached(Exception):
    """The folder is made and the long work would begin."""


def reach(*_: Any, **__: Any) -> None:
    assert Path("here").is_dir()
    raise Reached


@pytest.mark.parametrize("name", ["demo", "lineage"])
def test_what_takes_long_makes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    module = import_module(f"detkit.workflows.{name}")
    monkeypatch.chdir(tmp_path)
    terms = (Terms("resnet18", "objects", 0.1, 9, 9, 9, 9),)
    if name == "demo":
        monkeypatch.setattr(module, "train", reach)
    else:
        monkeypatch.setattr(module, "images_of_dataset", reach)
    with pytest.raises(Reached):
        getattr(module, name)(*(("data", *terms) if name == "lineage" else ()), out="here")
