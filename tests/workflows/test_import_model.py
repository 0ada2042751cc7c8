from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from detkit.__main__ import main
from detkit.cli.app import app
from detkit.errors import UserError
from detkit.models.hog.descriptor import HOG, hog_blocks
from detkit.runs.predictor import build_predictor, load_detector
from detkit.workflows import import_model as workflow
from detkit.workflows.import_model import import_model
from tests.models.hog.test_descriptor import picture

SMALL = 2 * 4 * 36  # numbers of a window of 24 x 40 pixels


def vector(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=length).astype(np.float32)


def saved(file: Path, values: np.ndarray) -> Path:
    if file.suffix == ".npy":
        np.save(file, values)
    elif file.suffix == ".npz":
        np.savez(file, detector=values)
    else:
        file.write_text("\n".join(f"{value:.9g}," for value in values))
    return file


@pytest.mark.parametrize("ending", [".npy", ".npz", ".txt"])
def test_opencvs_vector_scores_windows_as_its_product_with_the_descriptor(
    tmp_path: Path, ending: str
) -> None:
    values = vector(3781)
    made = import_model(saved(tmp_path / f"people{ending}", values), "opencv-hog")
    assert made.out == tmp_path / "people.safetensors"
    assert (made.arch, made.classes, made.parameters) == ("hog_svm", ("person",), 3781)
    assert (made.unused, made.missing) == ((), ())
    pixels = picture(128, 64)
    # OpenCV goes through blocks column by column, and has the bias behind.
    descriptor = hog_blocks(pixels, HOG()).transpose(1, 0, 2).ravel()
    margin = float(descriptor @ values[:-1] + values[-1])
    model = load_detector(made.out).model
    levels = model.levels(pixels)
    model.selection = type(model.selection)(margin_threshold=-1e9)
    boxes, margins, _ = model.windows(levels, (128, 64), 0)
    assert boxes.tolist() == [[0, 0, 64, 128]]
    assert margins[0] == pytest.approx(margin, abs=1e-4)


def test_settings_are_those_of_opencv_unless_they_are_changed(tmp_path: Path) -> None:
    file = saved(tmp_path / "people.npy", vector(1981))
    config = load_detector(import_model(file, "opencv-hog").out).config
    assert config.detector.regions.windows == ((48, 96),)
    head = config.detector.head
    assert (head.grouping, head.margin_threshold, head.more_than) == ("rectangles", 0, 2)
    assert (config.detector.proposals.padding_px, config.detector.regions.context_px) == (0, 0)
    changed = import_model(
        file, "opencv-hog", out=tmp_path / "o.safetensors", overrides=["detector.proposals.padding_px=8"]
    )
    assert load_detector(changed.out).config.detector.proposals.padding_px == 8


def test_another_window_another_class_and_no_bias(tmp_path: Path) -> None:
    file = saved(tmp_path / "cups.npy", vector(SMALL))
    made = import_model(file, "opencv-hog", classes=["cup"], window=(24, 40))
    model = load_detector(made.out).model
    assert (made.classes, model.window(0), float(model.template(0).bias)) == (("cup",), (40, 24), 0.0)
    assert build_predictor(made.out, "cpu").licence == "NOASSERTION"


def test_a_prediction_has_the_margins_of_its_scores(tmp_path: Path) -> None:
    made = import_model(
        saved(tmp_path / "people.npy", vector(3781)),
        "opencv-hog",
        overrides=["detector.head.grouping=nms", "detector.head.margin_threshold=-30"],
    )
    found = build_predictor(made.out, "cpu").predict(picture(200, 200), threshold=0.0)
    assert found.margins is not None
    assert len(found) > 1
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-found.margins)), rtol=1e-5)
    assert [one["margin"] for one in found.to_dict()["detections"]] == found.margins.tolist()
    assert found[1:].margins is not None
    assert found[1:].margins.tolist() == found.margins.tolist()[1:]
    tiled = build_predictor(made.out, "cpu").predict(picture(200, 200), threshold=0.0, tile_px=150)
    assert tiled.margins is not None
    np.testing.assert_allclose(tiled.scores, 1 / (1 + np.exp(-tiled.margins)), rtol=1e-5)


def test_command(tmp_path: Path) -> None:
    file = saved(tmp_path / "cups.npy", vector(SMALL + 1))
    arguments = ["import", str(file), "--from", "opencv-hog", "--class", "cup", "--window", "24x40"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "a.safetensors"), "--json", "-"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "arch": "hog_svm",
        "classes": ["cup"],
        "parameters": SMALL + 1,
        "unused": [],
        "missing": [],
        "out": str(tmp_path / "a.safetensors"),
    }
    again = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "a.safetensors")])
    assert again.exit_code == 2
    assert "never overwritten" in again.output
    assert CliRunner().invoke(app, [*arguments[:-1], "24"]).exit_code == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"1 2 three", "vector of numbers"),
        (b"1 2 nan", "finite"),
        (b"1 2 3", "3781 .window 64x128. or 1981"),
        (b"\xff\xfe\x00", "vector of numbers"),
        (b"", "3781"),
    ],
)
def test_refuses_what_is_no_detector(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "people.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=says) as refused:
        import_model(file, "opencv-hog")
    assert str(file) in str(refused.value)
    assert not file.with_suffix(".safetensors").exists()


def test_refuses_more(tmp_path: Path) -> None:
    file = saved(tmp_path / "people.npy", vector(3781))
    with pytest.raises(UserError, match="opencv-hog"):
        import_model(file, "opencv_hog")
    with pytest.raises(UserError, match="one class"):
        import_model(file, "opencv-hog", classes=["a", "b"])
    with pytest.raises(UserError, match="--window 20x40"):
        import_model(file, "opencv-hog", window=(20, 40))
    with pytest.raises(UserError, match="no such file"):
        import_model(tmp_path / "none.npy", "opencv-hog")
    np.savez(tmp_path / "two.npz", a=vector(3), b=vector(4))
    with pytest.raises(UserError, match="one array"):
        import_model(tmp_path / "two.npz", "opencv-hog")
    np.save(tmp_path / "code.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="vector of numbers"):
        import_model(tmp_path / "code.npy", "opencv-hog")


class Code:
    """What runs where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("ran"),)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_a_file_runs_no_code(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = np.array([Code()], dtype=object)
    np.save("code.npy", code, allow_pickle=True) if ending == "npy" else np.savez("code.npz", code)
    with pytest.raises(UserError, match="vector of numbers"):
        import_model(f"code.{ending}", "opencv-hog")
    assert not Path("ran").exists()


def test_a_published_detector_is_downloaded_and_imported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    imported: list[tuple[Path, Path]] = []

    def import_model(file: Path, source: str, *, out: Path) -> None:
        assert source == "torchvision"
        imported.append((file, out))
        out.touch()

    monkeypatch.setattr(workflow, "import_model", import_model)
    monkeypatch.setattr(workflow, "downloaded", lambda entry, begins: (tmp_path / Path(entry.url).name, {}))
    for name, file in (
        ("fasterrcnn_resnet50_fpn_v2", "fasterrcnn_resnet50_fpn_v2_coco-dd69338a"),
        ("fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7"),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9"),
    ):
        imported.clear()
        for _ in range(2):
            found = workflow.published(name)
            assert found == tmp_path / "cache" / "models" / f"{file}.safetensors"
        assert imported == [(tmp_path / f"{file}.pth", found)]


def test_without_a_network_it_is_said_where_the_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    assert main(["predict", "torchvision:maskrcnn_resnet50_fpn", "photo.jpg"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "torchvision:maskrcnn_resnet50_fpn: maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth could not be" in said
    assert str(tmp_path / "checkpoints" / "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth") in said
    assert main(["predict", "torchvision:fasterrcnn_resnet50", "photo.jpg"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "must be one of fasterrcnn_mobilenet_v3_large_320_fpn, " in said
    assert said.endswith("maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2")
