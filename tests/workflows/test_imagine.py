from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.__main__ import main
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.inference.save_model import save_model
from detkit.report.draw import write_image
from detkit.workflows.imagine import PAGE, imagine

KEYS = {
    *("method", "class", "layer", "value_before", "value_after", "distance_before", "distance_after"),
    *("pictures", "files", "out"),
}
SMALL = {"device": "cpu", "size_px": 48}
CNNS = {
    "classifier": "backbone.layer3",
    "localizer": "trunk.backbone.layer3",
    "faster_rcnn": "backbone.layer4",
    "rcnn": "network.stage.layer4",
    "sppnet": "network.backbone.layer3",
    "overfeat": "pyramid.backbone.layer3",
    "dpm_cnn": "pyramid.backbone.layer3",
}
"""The last stage of each network, which is taken where no layer is named."""
LINEAR = ("hog_svm", "dpm")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an untrained model of each kind, and an image."""
    folder = tmp_path_factory.mktemp("imagine")
    for name in (*CNNS, *LINEAR):
        small = [] if name in LINEAR else ["detector.backbone.width=0.125"]
        network = "" if name in LINEAR else "_resnet18"
        config = load_config(f"{name}{network}_synthetic", ["device=cpu", *small])
        save_model(
            folder / f"{name}.safetensors",
            build_detector(config.detector, 5, seed=0),
            classes=("di/sc", "ring", "square", "star", "triangle"),
            category_ids=range(5),
            config_yaml=dump_config(config),
        )
    write_synthetic(folder / "data", "coco", 1, 1)
    return folder


def image_of(models: Path) -> Path:
    return next((models / "data/val").glob("*.jpg"))


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize("method", ["invert", "dream"])
def test_layers_of_every_network_can_be_looked_into(
    models: Path, tmp_path: Path, name: str, method: Any
) -> None:
    weights, image = models / f"{name}.safetensors", image_of(models)
    settings: dict[str, Any] = {**SMALL, "changes": {"steps": 10}}
    found = imagine(weights, method=method, image=image, out=tmp_path / "out", **settings).to_json()
    assert set(found) == KEYS
    assert found["layer"] == CNNS[name]
    assert found["class"] is None
    if method == "invert":
        assert found["distance_after"] < 0.7 * found["distance_before"]
        assert found["value_before"] is found["value_after"] is None
    else:
        assert found["value_after"] > found["value_before"]
        assert found["distance_before"] is found["distance_after"] is None
    (file,) = found["files"]
    assert max(decode_image(Path(file)).shape) == 48
    page = (tmp_path / "out" / PAGE).read_text("utf-8")
    for heading in ("Images", "Activations", "Filters of the first layer", "Steps"):
        assert f"<h2>{heading}</h2>" in page
    assert "<script" not in page


@pytest.mark.parametrize("name", ["classifier", "localizer", "faster_rcnn"])
def test_the_logit_of_a_class_rises(models: Path, tmp_path: Path, name: str) -> None:
    steps: list[tuple[int, int]] = []
    made = imagine(
        models / f"{name}.safetensors",
        label="ring",
        size_px=None if name == "classifier" else 64,
        changes={"steps": 24},
        out=tmp_path / "out",
        device="cpu",
        on_step=lambda done, total: steps.append((done, total)),
    )
    found = made.to_json()
    assert found["value_after"] > found["value_before"]
    assert (found["class"], found["layer"]) == ("ring", None)
    assert decode_image(made.files[0]).shape == (64, 64, 3), "a classifier's own square"
    np.testing.assert_array_equal(
        decode_image(made.files[0]), made.made[0].pixels[0].permute(1, 2, 0).numpy()
    )
    assert steps == [(number, 24) for number in range(1, 25)]


def test_without_a_class_each_has_a_picture(models: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**SMALL, "changes": {"steps": 1}}
    found = imagine(models / "faster_rcnn.safetensors", out=tmp_path / "out", **settings).to_json()
    assert [own["class"] for own in found["pictures"]] == ["di/sc", "ring", "square", "star", "triangle"]
    assert found["class"] is found["value_after"] is None
    assert Path(found["files"][0]) == tmp_path / "out" / "di%u002Fsc.png"
    assert {file.name for file in (tmp_path / "out").glob("*.png")} == {
        Path(file).name for file in found["files"]
    }


def test_a_region_is_what_is_maximised(models: Path, tmp_path: Path) -> None:
    weights, pictures = models / "faster_rcnn.safetensors", []
    for number, box in enumerate([(0, 0, 24, 24), (24, 24, 48, 48)]):
        made = imagine(
            weights, label="ring", box=box, changes={"steps": 8}, out=tmp_path / str(number), **SMALL
        )
        pictures.append(decode_image(made.files[0]).astype(float))
    assert np.abs(pictures[0] - pictures[1]).mean() > 1


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("method", ["maximise", "invert"])
def test_linear_models_are_refused_with_what_they_offer(
    models: Path, tmp_path: Path, name: str, method: Any
) -> None:
    image = None if method == "maximise" else image_of(models)
    with pytest.raises(UserError, match="detkit predict --draw writes a picture of each class's"):
        imagine(models / f"{name}.safetensors", method=method, image=image, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_models_that_say_nothing_of_a_region_are_refused(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--method dream and --method invert look into its layers"):
        imagine(models / "overfeat.safetensors", label="ring", out=tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "rnig"}, r"class: no class 'rnig'; did you mean \"ring\"\? the model knows di/sc, ring"),
        ({"method": "melt"}, "method: expected maximise, invert, dream; got 'melt'"),
        ({"method": "invert"}, "image: invert starts from an image file"),
        ({"method": "dream", "image": "none.jpg"}, r"none\.jpg"),
        ({"layer": "backbone"}, "layer: belongs to invert and dream; the method is maximise"),
        ({"method": "dream", "image": "", "label": "ring"}, "class: belongs to maximise"),
        ({"box": (5, 5, 2, 9)}, "box: expected x1,y1,x2,y2"),
        ({"box": (500, 5, 512, 9)}, "box: lies outside the image, which has 256 x 256 pixels"),
        ({"size_px": 31}, "size: expected a number from 32 to 4096; got 31"),
        ({"changes": {"steps": 0}}, "steps: expected a number from 1 to"),
        ({"changes": {"decay": float("nan")}}, "decay: expected a number from 0"),
        ({"changes": {"__class__": 1}}, "'__class__': is no setting; there are steps"),
        ({"method": "invert", "image": "", "changes": {"jitter": 0.1}}, "jitter: belongs to maximise and"),
        ({"method": "invert", "image": "", "layer": "../../x"}, r"layer: '\.\./\.\./x' is no layer"),
    ],
)
def test_what_is_wrong_is_said_before_there_is_a_folder(
    models: Path, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    if settings.get("image") == "":
        settings = {**settings, "image": image_of(models)}
    with pytest.raises(UserError, match=message):
        imagine(models / "faster_rcnn.safetensors", out=tmp_path / "out", device="cpu", **settings)
    assert not (tmp_path / "out").exists()


def test_a_strip_of_an_image_is_refused(models: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "strip.png", np.zeros((4, 400, 3), np.uint8))
    with pytest.raises(UserError, match="image: too narrow: 256 x 3 pixels when its longer side has 256"):
        imagine(models / "faster_rcnn.safetensors", method="invert", image=tmp_path / "strip.png")


def test_the_command_says_the_layer_and_the_distances(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["imagine", str(models / "faster_rcnn.safetensors"), "--method", "invert", "--device", "cpu"]
    arguments += ["--image", str(image_of(models)), "--steps", "5", "--size", "48", "--variation", "0"]
    result, out = tmp_path / "result.json", tmp_path / "out"
    assert main([*arguments, "--out", str(out), "--json", str(result)]) == 0
    said, found = capsys.readouterr().out.splitlines(), json.loads(result.read_text("utf-8"))
    assert said[0] == f"layer {found['layer']}"
    before, after = (found[f"distance_{when}"] for when in ("before", "after"))
    assert said[1] == f"distance {before:.4g} -> {after:.4g}: {out / 'invert.png'}"
    assert said[-1] == f"the page is {out / PAGE}"
    assert main([*arguments, "--layer", "x\n\x1b[31m", "--out", str(tmp_path / "other")]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert "is no layer of the model" in said
