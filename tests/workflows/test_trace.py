from __future__ import annotations

import base64
import hashlib
import json
import re
from html import escape
from pathlib import Path

import cv2
import numpy as np
import pytest

from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.explain.lives import OUTCOMES, Mark, Stage
from detkit.inference.save_model import save_model
from detkit.report.life_page import LifeView, life_page
from detkit.workflows.trace import PAGE, trace
from tests.workflows.test_explain import folder  # noqa: F401

STEPS = ["image", "anchor", "region", "scores", "box", "suppression", "outcome"]


def image_of(place: Path) -> Path:
    return next((place / "data/val").glob("*.jpg"))


def test_labelled_objects_are_followed(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    image = image_of(folder)
    found = trace(
        folder / "model.safetensors", image, labels=folder / "data", out=tmp_path / "out", device="cpu"
    ).to_json()
    assert set(found) == {"image", "objects", "out"}
    assert found["image"] == str(image)
    labelled = json.loads((folder / "data/annotations/instances_val.json").read_text("utf-8"))
    assert len(found["objects"]) == len(labelled["annotations"]) > 0
    for own in found["objects"]:
        assert own["outcome"] in OUTCOMES
        assert own["meaning"] == OUTCOMES[own["outcome"]]
        assert [step["name"] for step in own["steps"]] == STEPS
    page = (tmp_path / "out" / PAGE).read_text("utf-8")
    for own in found["objects"]:
        assert all(escape(step["text"]) in page for step in own["steps"])


def test_a_box_is_followed_and_its_class_is_named(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    weights, image = folder / "model.safetensors", image_of(folder)
    found = trace(
        weights, image, box=(10, 10, 60, 50), label="ring", threshold=0.99, out=tmp_path / "out", device="cpu"
    ).to_json()
    assert [own["label"] for own in found["objects"]] == ["ring"]
    assert found["objects"][0]["box"] == [10, 10, 60, 50]
    assert found["objects"][0]["outcome"] in {"rejected", "poor_box", "not_proposed"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"box": (10, 10, 60, 50)}, "box and class: an object that is followed has both"),
        ({"label": "ring"}, "box and class"),
        ({"box": (60, 10, 10, 50), "label": "ring"}, "box: expected x1,y1,x2,y2"),
        ({"box": (10, 10, 60, 50), "label": "lion"}, "class: the model knows disc, ring"),
        ({"threshold": 0.999}, "nothing is detected in the image"),
        ({"labels": "nowhere"}, "nowhere"),
    ],
)
def test_what_cannot_be_followed_is_named(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    settings: dict[str, object],
    words: str,
) -> None:
    with pytest.raises(UserError, match=words):
        trace(
            folder / "model.safetensors",
            image_of(folder),
            out=tmp_path / "out",
            device="cpu",
            **settings,  # type: ignore[arg-type]
        )
    assert not (tmp_path / "out").exists()


def test_a_page_runs_its_own_script_alone() -> None:
    name = "</script><script>alert(1)</script>"
    stages = [Stage("image", name, (Mark("object", (1, 2, 3, 4), name),)), Stage("outcome", name)]
    page = life_page(name, name, np.zeros((8, 9, 3), np.uint8), [LifeView(name, "found", stages)])
    assert page.count("<script>") == 1
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_a_model_of_whole_images_is_refused(tmp_path: Path) -> None:
    config = load_config("classifier_resnet18_synthetic", ["detector.backbone.width=0.125", "device=cpu"])
    save_model(
        tmp_path / "model.safetensors",
        build_detector(config.detector, 5, seed=0),
        classes=config.data.classes,
        category_ids=range(5),
        config_yaml=dump_config(config),
    )
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(UserError, match="the model looks at whole images"):
        trace(tmp_path / "model.safetensors", image, device="cpu")
