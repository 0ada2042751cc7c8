"""Commands that need no torch start without it, and --help without anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import detkit
from detkit.__main__ import main
from detkit.version import VERSION

HEAVY = ("torch", "torchvision", "numpy", "yaml", "cv2", "numba", "sklearn")  # typer itself may load pydantic


def loaded(code: str) -> set[str]:
    """Return the modules of a fresh interpreter after some code."""
    report = "import sys, json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*arguments: str) -> str:
    return f"from detkit.__main__ import main\nassert main({list(arguments)!r}) == 0"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["train", "--help"], ["config", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    assert not loaded(command(*arguments)) & set(HEAVY)


def test_importing_detkit_loads_nothing_and_reads_nothing() -> None:
    modules = loaded("import sys; before = set(sys.modules)\nimport detkit")
    assert {name for name in modules if name.startswith("detkit")} == {"detkit"}
    assert not modules & {*HEAVY, "importlib.metadata", "pathlib"} - loaded("pass")


@pytest.mark.parametrize(
    "arguments",
    [["config", "show", "faster_rcnn_vgg16_voc07"], ["config", "schema"], ["config", "explain", "train"]],
)
def test_config_commands_start_without_torch(arguments: list[str]) -> None:
    assert not loaded(command(*arguments)) & {"torch", "torchvision", "numpy"}


def test_score_starts_without_torch(tmp_path: Path) -> None:
    annotations = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "area": 1200, "iscrowd": 0}
        ],
    }
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9}]
    (tmp_path / "gt.json").write_text(json.dumps(annotations), encoding="utf-8")
    (tmp_path / "dt.json").write_text(json.dumps(results), encoding="utf-8")
    gt, dt, out = (str(tmp_path / name) for name in ("gt.json", "dt.json", "out.json"))
    modules = loaded(command("score", "--gt", gt, "--dt", dt, "--metric", "coco", "--json", out))
    assert not modules & {"torch", "torchvision"}
    result = json.loads(Path(out).read_text(encoding="utf-8"))
    assert result["stats"]["AP"] == pytest.approx(1)
    assert set(result) == {"metric", "map_voc07", "map_voc10", "stats", "per_class", "seconds"}


@pytest.mark.parametrize("method", ["selective_search", "sliding_window"])
def test_propose_and_recall_start_without_torch(tmp_path: Path, method: str) -> None:
    from detkit.data.synthetic.dataset import write_synthetic

    write_synthetic(tmp_path / "shapes", "voc", 1, 1)
    shapes, out, drawn = (str(tmp_path / name) for name in ("shapes", "out.safetensors", "curves.svg"))
    modules = loaded(command("propose", method, shapes, "max_boxes=9", "--draw", "--out", out))
    assert not modules & {"torch", "torchvision"}
    modules = loaded(command("recall", out, "--dataset", shapes, "--plot", drawn))
    assert not modules & {"torch", "torchvision"}


def test_check_of_a_dataset_starts_without_torch(tmp_path: Path) -> None:
    from detkit.data.synthetic.dataset import write_synthetic

    write_synthetic(tmp_path / "shapes", "voc", 2, 1)
    assert not loaded(command("check", str(tmp_path / "shapes"))) & {"torch", "torchvision"}


def test_what_is_not_there_is_said_before_torch_is_loaded(tmp_path: Path) -> None:
    photo, config, model = (str(tmp_path / name) for name in ("photo.jpg", "there.yaml", "model.safetensors"))
    Path(photo).touch()
    Path(config).touch()
    about = {"detkit": VERSION, "classes": '["cat"]', "category_ids": "[1]", "config": "", "license": "MIT"}
    save_file({"weight": np.zeros(1, np.float32)}, model, about)
    voc = ["faster_rcnn_vgg16_voc07", f"data.train.root={tmp_path}", "data.val.root=nowhere"]
    wrong = [
        (["predict", "none.safetensors", photo], "none.safetensors: no such file"),
        (["predict", photo, photo], "is an image, and no model"),
        (["predict", model, photo, "none.jpg"], "none.jpg: no such file or folder"),
        (["compress", "none.safetensors", "--fc6", "9"], "none.safetensors: no such file"),
        (["eval", voc[0], "--weights", "none.safetensors"], "none.safetensors: no such file"),
        (["eval", *voc, "--weights", model], "data.val.root: nowhere: there is no such file or folder"),
        (["train", voc[0], "--from", "none.safetensors"], "none.safetensors: no such file"),
        (["train", *voc], "data.val.root: nowhere: there is no such file or folder"),
        (["plan", *voc], "data.val.root: nowhere: there is no such file or folder"),
        (["show-data", voc[0], "data.train.root=nowhere"], "data.train.root: nowhere: there is no such"),
        (["report", str(tmp_path)], "has no config.yaml"),
        (["compare", str(tmp_path), str(tmp_path)], "has no config.yaml"),
        (["init", "nowhere", "-o", "new.yaml"], "nowhere: the folder or file does not exist"),
        (["lineage", "nowhere"], "nowhere: the folder or file does not exist"),
        (["init", str(tmp_path), "-o", config], "there.yaml: exists already"),
    ]
    code = (
        "import io, sys\nfrom contextlib import redirect_stderr\nfrom detkit.__main__ import main\n"
        f"for arguments, said in {wrong!r}:\n"
        "    with redirect_stderr(io.StringIO()) as stream:\n"
        "        assert main(arguments) == 2, arguments\n"
        "    assert said in stream.getvalue(), (arguments, stream.getvalue())"
    )
    assert not loaded(code) & {"torch", "torchvision"}


def test_a_prediction_starts_without_torchs_compiler_and_torchvision() -> None:
    pooled = (
        "import torch, detkit.workflows.predict\n"
        "from detkit.ops.roi_align import roi_align\nfrom detkit.ops.roi_pool import roi_pool\n"
        "maps, boxes = torch.ones(1, 3, 8, 8), torch.tensor([[0.0, 0.0, 64.0, 64.0]])\n"
        "image = torch.zeros(1).long()\n"
        "with torch.inference_mode():\n"
        "    assert roi_align(maps, boxes, image, 1 / 8, 2, 2, True).mean() == 1\n"
        "    assert roi_pool(maps, boxes, image, 1 / 8, 2).mean() == 1\n"
    )
    assert not loaded(pooled) & {"torchvision", "torch._dynamo", "torch.distributed.tensor", "sympy"}


def test_score_says_why_the_number_is_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}
    truth = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [50, 50, 30, 40], "area": 1200, "iscrowd": 0}
    found = {"image_id": 1, "category_id": 1, "bbox": [0.5, 0.5, 0.3, 0.4], "score": 0.9}
    annotations = {"images": [image], "categories": [{"id": 1, "name": "cat"}], "annotations": [truth]}
    for name, content in (("gt.json", annotations), ("dt.json", [found])):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    files = ["--gt", str(tmp_path / "gt.json"), "--dt", str(tmp_path / "dt.json")]
    assert main(["score", *files, "--metric", "coco"]) == 0
    assert "shares of the image's width and height" in capsys.readouterr().err


def test_public_names_are_sorted_and_there() -> None:
    assert detkit.__all__ == sorted(detkit.__all__)
    for name in detkit.__all__:
        assert getattr(detkit, name) is not None
        assert name in dir(detkit)
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        detkit.lod  # noqa: B018
