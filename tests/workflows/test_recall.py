from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.data.datasets.named_images import labelled_images
from detkit.data.synthetic.dataset import write_synthetic
from detkit.errors import UserError
from detkit.proposals.proposals import Proposals, ranked
from detkit.proposals.store.store import Origin, write_store
from detkit.workflows.recall import recall


@pytest.fixture(autouse=True)
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=["voc", "coco"])
def shapes(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "shapes", request.param, 4, 3)
    return tmp_path / "shapes"


def objects_of(truth: AnnotationSet, image: int) -> np.ndarray[Any, Any]:
    rows = slice(*truth.offsets[image : image + 2].tolist())
    return to_corners(truth.boxes[rows], truth.box_format).astype(np.float32)


def perfect(truth: AnnotationSet, out: Path, *, before: int = 0) -> Path:
    """Write each object's own box, behind some that reach none."""
    nothing = np.tile(np.array([0, 0, 1, 1], np.float32), (before, 1))

    def proposals(image: int) -> Proposals:
        return ranked(np.concatenate([nothing, objects_of(truth, image)]))

    write_store(out, Origin("perfect", {}), truth.image_files.tolist(), proposals)
    return out


def test_the_objects_own_boxes_reach_all(shapes: Path, tmp_path: Path) -> None:
    truth = labelled_images(str(shapes), ["train"]).annotations
    found = recall(perfect(truth, tmp_path / "own.safetensors"), str(shapes), sets=["train"])
    assert found.to_json() == {
        "boxes_per_image": pytest.approx(truth.num_objects / 4),
        "recall": {"0.5": 1, "0.7": 1, "0.8": 1, "0.9": 1},
        "mabo": pytest.approx(1, abs=1e-6),
        "ar": pytest.approx(1, abs=1e-6),
    }
    assert (found.images, found.objects) == (4, truth.num_objects)


def test_only_the_first_boxes_are_looked_at(shapes: Path, tmp_path: Path) -> None:
    truth = labelled_images(str(shapes)).annotations
    file = perfect(truth, tmp_path / "own.safetensors", before=5)
    assert recall(file, str(shapes)).recall[0.5] == 1
    first = recall(file, str(shapes), max_boxes=5)
    assert first.recall[0.5] == 0
    assert first.boxes_per_image == 5


def test_against_a_plain_count(shapes: Path, tmp_path: Path) -> None:
    """Windows over every image; each object's best IoU by hand."""
    truth = labelled_images(str(shapes)).annotations
    rng = np.random.default_rng(1)
    corner = rng.uniform(0, 60, (len(truth.image_files), 50, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 90, corner.shape)], axis=2).astype(np.float32)
    file = tmp_path / "random.safetensors"
    write_store(file, Origin("random", {}), truth.image_files.tolist(), lambda i: ranked(boxes[i]))
    best: dict[int, list[float]] = {}
    for image in range(truth.num_images):
        labels = truth.labels[slice(*truth.offsets[image : image + 2].tolist())].tolist()
        for label, (x1, y1, x2, y2) in zip(labels, objects_of(truth, image).tolist(), strict=True):
            ious = [0.0]
            for a, b, c, d in boxes[image].tolist():
                shared = max(0, min(x2, c) - max(x1, a)) * max(0, min(y2, d) - max(y1, b))
                ious.append(shared / ((x2 - x1) * (y2 - y1) + (c - a) * (d - b) - shared))
            best.setdefault(label, []).append(max(ious))
    found = recall(file, str(shapes))
    assert found.mabo == pytest.approx(np.mean([np.mean(values) for values in best.values()]), abs=1e-5)
    for label, values in best.items():
        assert found.abo[truth.classes[label]] == pytest.approx(np.mean(values), abs=1e-5)


def test_difficult_objects(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 1, 1)
    (file,) = (tmp_path / "shapes" / "Annotations").glob("train*.xml")
    text = file.read_text("utf-8")
    file.write_text(text.replace("<difficult>0</difficult>", "<difficult>1</difficult>"), encoding="utf-8")
    truth = labelled_images(str(tmp_path / "shapes"), ["train"]).annotations
    own = perfect(truth, tmp_path / "own.safetensors")
    without = recall(own, str(tmp_path / "shapes"), sets=["train"])
    assert without.objects == 0
    assert math.isnan(without.mabo)
    assert recall(own, str(tmp_path / "shapes"), sets=["train"], difficult=True).recall[0.9] == 1


def test_the_part_that_the_file_has_is_judged(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = labelled_images(str(shapes), ["val"]).annotations
    file = perfect(truth, tmp_path / "own.safetensors")
    assert recall(file, str(shapes)).images == 3
    assert "has the images of val: they are evaluated" in capsys.readouterr().err
    with pytest.raises(UserError, match="no proposals for 4 of 4 images"):
        recall(file, str(shapes), sets=["train"])
    write_store(file, Origin("none", {}), ["other"], lambda i: Proposals.empty())
    with pytest.raises(UserError, match="nor has it all images of train or of val alone"):
        recall(file, str(shapes))


def test_files_of_other_tools(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = labelled_images(str(shapes), ["val"]).annotations
    boxes = [objects_of(truth, image) for image in range(3)]
    cells = np.empty(3, object)
    cells[:] = [own[:, [1, 0, 3, 2]] + [1, 1, 0, 0] for own in boxes]
    savemat(tmp_path / "x.mat", {"boxes": cells})
    assert recall(tmp_path / "x.mat", str(shapes), sets=["val"]).recall[0.9] == 1
    (x1, y1, x2, y2) = boxes[0][0].tolist()
    record = {"image_id": int(truth.image_ids[0]), "bbox": [x1, y1, x2 - x1, y2 - y1], "score": 0.5}
    (tmp_path / "x.json").write_text(json.dumps([record]), encoding="utf-8")
    one = recall(tmp_path / "x.json", str(shapes), sets=["val"])
    assert one.recall[0.9] == pytest.approx(1 / truth.num_objects)
    assert one.boxes_per_image == pytest.approx(1 / 3)
    assert "nothing about 2 of 3 images" in capsys.readouterr().err


def test_no_boxes_at_all(shapes: Path, tmp_path: Path) -> None:
    truth = labelled_images(str(shapes)).annotations
    write_store(
        tmp_path / "x.safetensors",
        Origin("none", {}),
        truth.image_files.tolist(),
        lambda i: Proposals.empty(),
    )
    found = recall(tmp_path / "x.safetensors", str(shapes), plot=tmp_path / "x.svg")
    assert (found.boxes_per_image, found.ar, found.mabo) == (0, 0, 0)


def test_curves(shapes: Path, tmp_path: Path) -> None:
    truth = labelled_images(str(shapes)).annotations
    file = perfect(truth, tmp_path / "own.safetensors", before=30)
    recall(file, str(shapes), plot=tmp_path / "plots" / "curves.svg")
    drawn = ET.parse(tmp_path / "plots" / "curves.svg").getroot()
    texts = [element.text for element in drawn.iter() if element.text]
    assert drawn.tag.endswith("svg")
    assert {"IoU 0.5", "IoU 0.7", "IoU 0.9", "average recall", "MABO", "10 boxes"} <= set(texts)
    with pytest.raises(UserError, match=r"--plot curves.png: .* must end in \.svg"):
        recall(file, str(shapes), plot=Path("curves.png"))
