"""The training of a DPM as a whole, on a few small images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detkit.config.load import load_config
from detkit.detectors.dpm import recipe
from detkit.detectors.dpm.descent import Descent, train_round
from detkit.errors import UserError
from detkit.ops.boxes import pairwise_iou
from detkit.runs.predictor import load_detector
from detkit.workflows.train import train

SMALL = [
    "data.classes=[cross, frame, nowhere]",
    "data.val=null",
    "data.workers=0",
    "device=cpu",
    "detector.parts=2",
    "detector.interval=2",
    "train.interval=2",
    "train.hard_per_image=4",
    "train.max_negatives=100",
    "train.roots.find_objects=2",
    "train.roots.mine=1",
    "train.mixture.mine=1",
    "train.parts.mine=1",
    "train.last.mine=1",
    "train.few_images=3",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return six small noisy images, with a cross in four of them and a frame in each, as a data set."""
    folder, chance = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    images, objects = [], []
    for number in range(6):
        pixels = chance.integers(90, 130, (96, 112, 3), dtype=np.uint8)
        for label, (x, y) in enumerate(chance.integers(0, 12, (2, 2)) + np.array([[4, 10], [58, 30]]), 1):
            if label == 1 and number >= 4:
                continue
            patch = pixels[y : y + 36, x : x + 36]
            for stroke in (
                (patch[15:21], patch[:, 15:21]) if label == 1 else (patch[:5], patch[-5:], patch[:, :5])
            ):
                stroke[:] = 240
            box = [int(x), int(y), 36, 36]
            objects.append({"id": len(objects) + 1, "image_id": number, "category_id": label, "bbox": box})
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": 112, "height": 96})
    names = [{"id": label, "name": name} for label, name in enumerate(("cross", "frame", "nowhere"), 1)]
    objects = [{**one, "area": 1296, "iscrowd": 0} for one in objects]
    (folder / "a.json").write_text(
        json.dumps({"images": images, "annotations": objects, "categories": names})
    )
    return json.dumps({"type": "coco", "annotations": str(folder / "a.json"), "images": str(folder)})


def trained(data: str, out: Path, *more: str, **settings: Any) -> dict[str, torch.Tensor]:
    train("dpm_synthetic", [*SMALL, f"data.train={data}", *more], out=out, **settings)
    return load_detector(out).model.state_dict()


@pytest.fixture(scope="module")
def whole(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dpm") / "run"
    trained(data, out)
    return out


def test_leaves_a_model_with_roots_and_parts_of_its_own_that_predicts(whole: Path) -> None:
    loaded = load_detector(whole)
    state = loaded.model.state_dict()
    assert loaded.config.detector.roots is None
    for label in range(2):
        prefix = f"mixtures.{label}."
        root = state[f"{prefix}stars.0.root"]
        assert root.shape[0] * root.shape[1] >= 40  # from 800 pixels on, in cells of 4
        assert root.abs().max() > 0
        assert state[f"{prefix}stars.0.parts"].shape == (2, 4, 4, 32)
        assert state[f"{prefix}stars.0.parts"].abs().max() > 0
        assert state[f"{prefix}stars.0.box"].shape == (2, 4, 7)
        assert (state[f"{prefix}stars.0.deformations"][:, ::2] >= 0.001).all()
        assert state[f"{prefix}threshold"] <= -1
    assert [picture.ndim for picture in loaded.model.filter_pictures()] == [3, 3, 3]


def test_the_objects_are_found_again(whole: Path, data: str) -> None:
    model, folder = load_detector(whole).model, Path(json.loads(data)["images"])
    truth = json.loads((folder / "a.json").read_text())["annotations"]
    hits = 0
    for one in truth:
        pixels = np.asarray(Image.open(folder / f"{one['image_id']}.png"))
        found = model.placements(pixels)[one["category_id"] - 1]
        boxes, _ = model.objects(one["category_id"] - 1, found, (96, 112))
        x, y, width, height = one["bbox"]
        box = torch.tensor([[x, y, x + width, y + height]], dtype=torch.float64)
        hits += bool(pairwise_iou(torch.from_numpy(boxes[:1]), box).max() > 0.6) if len(boxes) else 0
    assert hits >= 9  # of ten


def test_a_class_without_objects_is_never_found(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_detector(whole).model
    assert model.state_dict()["mixtures.2.stars.0.root"].abs().max() == 0
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    frames, nowhere = model.placements(pixels)[1:]
    assert len(nowhere) == 0
    assert len(frames) >= 0


def test_a_stopped_training_goes_on_to_the_same_model(
    whole: Path, tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = recipe.write_descent, list[str]()

    def stopping(file: Path, state: Descent) -> None:
        write(file, state)
        calls.append(file.name)
        if len(calls) in stops:
            raise KeyboardInterrupt

    monkeypatch.setattr(recipe, "write_descent", stopping)
    stops = {2, 4, 7}  # in the roots, in the mixtures and in the parts
    for _ in stops:
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            trained(data, tmp_path / "run", resume=(tmp_path / "run").exists())
    resumed = trained(data, tmp_path / "run", resume=True)
    expected = load_detector(whole).model.state_dict()
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        torch.testing.assert_close(value, resumed[name], rtol=0, atol=0)
    assert not [*(tmp_path / "run/stages").rglob("*_state*")]
    assert not [*(tmp_path / "run/stages").rglob("*_few*")]


def test_negatives_without_the_class_need_such_images(tmp_path: Path, data: str) -> None:
    with pytest.raises(UserError, match="takes negatives from images without frame, and there are none"):
        trained(data, tmp_path / "run", "train.negative_iou=null")


def test_weights_to_start_from_are_refused(tmp_path: Path, whole: Path, data: str) -> None:
    with pytest.raises(UserError, match="a dpm starts from no weights"):
        trained(data, tmp_path / "run", from_weights=whole / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.root_area_px=[500, 400]", r"root_area_px: must be \[smallest, largest\]"),
        ("data.train.augment=[{type: flip}]", "augment must be empty with dpm"),
    ],
)
def test_what_does_not_go_together_is_refused(change: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_config("dpm_synthetic", [change])


def test_without_last_rounds_only_some_images_are_looked_at(
    tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[tuple[str, int, int]] = []

    def noted(
        state: Any, images: Any, objects: Any, background: Any, how: Any, limits: Any, what: str
    ) -> None:
        rounds.append((what, len(objects), len(background)))
        train_round(state, images, objects, background, how, limits, what)

    windows: set[int] = set()

    def random_negatives(images: Any, star: Any, image: int, *more: Any) -> Any:
        windows.add(image)
        return of_image(images, star, image, *more)

    of_image = recipe.ClassImages.random_negatives
    monkeypatch.setattr(recipe, "train_round", noted)
    monkeypatch.setattr(recipe.ClassImages, "random_negatives", random_negatives)
    trained(data, tmp_path / "run", "train.last=null", "train.object_images=2")
    assert {what.split(",")[1].strip()[:4] for what, _, _ in rounds} == {"root", "mixt", "part"}
    assert all((objects, background) == (2, 3) for _, objects, background in rounds)
    assert len(windows) < 6


@pytest.mark.slow
def test_without_parts_roots_are_trained_alone(tmp_path: Path, data: str) -> None:
    state = trained(data, tmp_path / "run", "detector.parts=0", "detector.mirrored=false")
    assert state["mixtures.0.stars.0.parts"].shape[0] == 0
    assert state["mixtures.0.stars.0.location"][0] == -1000
    assert state["mixtures.0.stars.0.box"].shape == (1, 4, 3)
