"""Every Python example of the documentation runs as it stands, in a folder that has what it names."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.inference.save_model import save_model
from detkit.proposals.proposals import Proposals
from detkit.proposals.store.parts import StoreParts
from detkit.proposals.store.store import Origin

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:python|py)\b[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

# Sections whose examples fail on a machine like this one: how they fail, and why.
NOT_HERE = {("docs/performance.md", "torch.compile and CUDA graphs"): ("cuda", "compiles for a CUDA device")}


# Sections whose examples take long.
SLOW = {("docs/export.md", "Without detkit")}


class Section(NamedTuple):
    """The Python examples below one heading, which a reader runs one after another."""

    page: str
    heading: str
    blocks: list[str]


def sections() -> Iterator[Section]:
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]:
        for part in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if blocks := BLOCK.findall(part):
                yield Section(str(page.relative_to(ROOT)), part.partition("\n")[0], blocks)


SECTIONS = {(section.page, section.heading): section for section in sections()}
TOGETHER = ("docs/python-api.md", "Put a detector together")
SHARED, *EXAMPLES = SECTIONS[TOGETHER].blocks


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what the pages name: images, a config, an untrained model, labels and results."""
    folder = tmp_path_factory.mktemp("examples")
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    for name in ("a.jpg", "b.jpg", "photos/c.jpg", "images/000000000001.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    config = load_config(
        "faster_rcnn_resnet18_synthetic",
        [
            "detector.backbone.width=0.125",
            "detector.proposals.channels=16",
            "detector.head.channels=16",
            "detector.head.score_threshold=0",
            "data.resize={short_px: 32, long_px: 64}",
            "data.train.num_images=1",
            "data.val.num_images=1",
            "data.workers=0",
            "train.batch_size=1",
            "train.validate_every=0",
            "train.precision=fp32",
            "device=cpu",
        ],
    )
    (folder / "mine.yaml").write_text(dump_config(config))
    lowest = (0.0, 0.0)
    save_model(
        folder / "runs/mine/model.safetensors",
        build_detector(config.detector, 2, seed=0),
        classes=("cat", "dog"),
        category_ids=(1, 2),
        config_yaml=dump_config(config),
        thresholds={"f1": lowest, "precision": lowest, "recall": lowest},
        measured=("coco", 0.25),
    )
    (folder / "model.safetensors").symlink_to("runs/mine/model.safetensors")
    box = {"image_id": 1, "category_id": 1, "bbox": [10, 10, 20, 20]}
    image = {"id": 1, "file_name": "000000000001.jpg", "height": 48, "width": 64}
    truth = {"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": [{"id": 1, **box}]}
    (folder / "instances.json").write_text(json.dumps(truth))
    (folder / "detections.json").write_text(json.dumps([{**box, "score": 0.75}]))
    parts = StoreParts(folder / "boxes.safetensors", ["JPEGImages/000005.jpg"], Origin("edge_boxes", {}))
    parts.add(0, Proposals(np.array([[1, 2, 30, 40]], np.float32), np.ones(1, np.float32)), 0.1)
    parts.flush()
    parts.join()
    return folder


@pytest.mark.parametrize(
    "section",
    [
        pytest.param(one, marks=[pytest.mark.slow] if key in SLOW else [])
        for key, one in SECTIONS.items()
        if key != TOGETHER
    ],
    ids=lambda one: f"{one.heading}",
)
def test_the_examples_of_a_section_run_one_after_another(
    section: Section, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prepared, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "example"}
    key = section.page, section.heading
    if key in NOT_HERE and not torch.cuda.is_available():
        with pytest.raises(UserError, match=NOT_HERE[key][0]):
            run(section, names)
    else:
        run(section, names)


def run(section: Section, names: dict[str, Any]) -> None:
    for number, block in enumerate(section.blocks, start=1):
        exec(compile(block, f"{section.page}: {section.heading}, {number}", "exec"), names)


def test_what_cannot_run_here_is_still_there() -> None:
    assert NOT_HERE.keys() <= SECTIONS.keys()


def test_no_example_is_passed_over() -> None:
    found = [block for section in SECTIONS.values() for block in section.blocks]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    fences = sum(
        len(re.findall(r"^[ \t]*[`~]{3,}[ \t]*(?i:py)", page.read_text(), re.MULTILINE)) for page in pages
    )
    assert len(found) == fences > 10


@pytest.mark.parametrize("example", EXAMPLES, ids=["faster_rcnn", "fast_rcnn", "sppnet", "rcnn"])
def test_a_detector_on_a_users_own_backbone_is_trained_and_run(example: str) -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    exec(SHARED, names)
    exec(example, names)
    code = [line for line in example.splitlines() if line and "import" not in line]
    assert len(code) <= 10
    model, found = names["model"], names["found"]
    backbone = next(part for part in model.modules() if type(part).__name__ == "Backbone")
    assert backbone.channels == (32,)
    assert len(found) == 1
    assert len(found[0].boxes) == len(found[0].scores) == len(found[0].labels)
    assert len(found[0].boxes), "two steps from random weights report boxes above the threshold"
    assert all(parameter.isfinite().all() for parameter in model.parameters())
