"""`detkit propose` and `detkit recall` from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from detkit.__main__ import main
from detkit.config.load import parse_config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.proposals.store.store import ProposalStore

SMALL_MODEL = """\
version: 1
device: cpu
detector:
  type: faster_rcnn
  backbone: {type: resnet, depth: 18, width: 0.125}
  proposals: {type: rpn, channels: 8, post_nms_test: 30}
  regions: {type: roi_align, size: 2}
  head: {type: layer4}
data:
  classes: [disc]
  train: {type: synthetic, num_images: 1}
  resize: {short_px: 64, long_px: 96}
train: {type: gradient, epochs: 1, optimizer: {type: sgd, lr: 0.01}, precision: fp32}
"""


@pytest.fixture(autouse=True)
def cached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    write_synthetic(tmp_path / "shapes", "voc", 3, 2)
    return tmp_path / "shapes"


def read_json(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_propose_then_recall(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "windows.safetensors")
    arguments = ["propose", "sliding_window", str(shapes), "windows.stride=0.7", "--max-boxes", "200"]
    assert main([*arguments, "--out", out, "--draw", "--json", "-"]) == 0
    result = read_json(capsys)
    assert list(result) == ["method", "images", "boxes_per_image", "seconds_per_image", "skipped", "left_out"]
    assert (result["method"], result["images"], result["boxes_per_image"]) == ("sliding_window", 5, 200)
    assert len(list((tmp_path / "windows_drawn").rglob("*.jpg"))) == 5
    assert main(["recall", out, "--dataset", str(shapes), "--json", "-"]) == 0
    found = read_json(capsys)
    assert list(found) == ["boxes_per_image", "recall", "mabo", "ar"]
    assert list(found["recall"]) == ["0.5", "0.7", "0.8", "0.9"]
    assert found["boxes_per_image"] == 200
    assert 0 < found["recall"]["0.7"] <= found["recall"]["0.5"] <= 1


def test_results_for_people(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "windows.safetensors")
    assert main(["propose", "sliding_window", str(shapes), "--out", out, "--set", "train"]) == 0
    assert "sliding_window: 3 images" in capsys.readouterr().out
    curves = str(tmp_path / "curves.svg")
    assert main(["recall", out, "--dataset", str(shapes), "--set", "train", "--plot", curves]) == 0
    said = capsys.readouterr().out
    assert "recall at IoU 0.5: " in said
    assert "mean (MABO)" in said
    assert "curves are in" in said


def test_shards(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "search.safetensors")
    arguments = ["propose", "selective_search", str(shapes), "--mode", "single", "--out", out]
    assert main([*arguments, "--shard", "1/2"]) == 0
    assert main([*arguments, "--merge"]) == 2
    assert "3 of 5 images are not done yet" in capsys.readouterr().err
    assert main([*arguments, "--shard", "2/2"]) == 0
    assert "all shards are done" in capsys.readouterr().out
    assert main([*arguments, "--merge", "--json", "-"]) == 0
    assert read_json(capsys)["images"] == 5
    assert main([*arguments, "--shard", "two"]) == 2


def test_a_models_proposals(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from detkit.detectors.builder import build_detector
    from detkit.inference.save_model import save_model

    model = tmp_path / "model.safetensors"
    detector = build_detector(parse_config(SMALL_MODEL).detector, 1, 0, pretrained=False)
    save_model(model, detector, classes=("disc",), category_ids=(1,), config_yaml=SMALL_MODEL)
    out = str(tmp_path / "rpn.safetensors")
    arguments = ["propose", str(model), str(shapes), "--out", out, "--max-boxes", "20", "--device", "cpu"]
    assert main([*arguments, "--json", "-"]) == 0
    assert read_json(capsys)["images"] == 5
    store = ProposalStore.open(out)
    for image in range(5):
        boxes = store(image).boxes
        assert 0 < len(boxes) <= 20
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert boxes.min() >= 0
        assert boxes[:, 2:].max() > 96  # in pixels of the file, not of what the model sees
    assert main(["recall", out, "--dataset", str(shapes)]) == 0
    assert main(["propose", out, str(shapes), "--out", str(tmp_path / "x.safetensors")]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["propose", "search", "{shapes}", "--out", "x.safetensors"], "METHOD is one of"),
        (
            ["propose", "sliding_window", "nowhere", "--out", "x.safetensors"],
            "nowhere: no such file or folder",
        ),
        (["propose", "sliding_window", "{shapes}", "--out", "x.mat"], "must end in .safetensors"),
        (
            ["propose", "sliding_window", "stride=3", "{shapes}", "--out", "x.safetensors"],
            "no such parameter",
        ),
        (["recall", "nowhere.safetensors", "--dataset", "{shapes}"], "nowhere.safetensors: cannot be read"),
        (["recall", "nowhere.txt", "--dataset", "{shapes}"], "proposals are read from .safetensors"),
        (["recall", "nowhere.mat", "--dataset", "nowhere"], "nowhere: the folder or file does not exist"),
        (["recall", "nowhere.mat", "--dataset", "{shapes}", "--set", "x"], "--set x: "),
    ],
)
def test_mistakes(
    arguments: list[str], message: str, shapes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.chdir(shapes.parent)
    assert main([argument.format(shapes=shapes) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not list(shapes.parent.glob("x.safetensors*"))


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_goes_on(way: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C gives 130; after either the images that were done are not looked at again."""
    write_synthetic(tmp_path / "shapes", "yolo", 12, 1)
    out = tmp_path / "out.safetensors"
    code = (
        "import os, signal, sys, time\n"
        # A shell that starts the tests in the background lets its children ignore Ctrl-C.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from detkit.proposals.store import parts\n"
        "from detkit.proposals.proposals import Proposals\n"
        "from detkit.runs import proposal_method\n"
        "from detkit.workflows import propose\n"
        "from detkit.__main__ import main\n"
        "parts.MOST_IMAGES = 1\n"
        "propose.num_cores = lambda: 1\n"
        "seen = []\n"
        "def look(image):\n"
        "    print('looked', flush=True)\n"
        "    seen.append(image)\n"
        "    while len(seen) > 5 and not os.path.exists(sys.argv[1]):\n"
        "        time.sleep(0.01)\n"
        "    time.sleep(0.1)\n"
        "    return Proposals.empty()\n"
        "proposal_method.build_proposer = lambda spec, num_threads: look\n"
        "sys.exit(main(['propose', 'sliding_window', sys.argv[2], '--out', sys.argv[3]]))\n"
    )
    command = [sys.executable, "-c", code]
    signalled = tmp_path / "signalled"
    places = [str(signalled), str(tmp_path / "shapes"), str(out)]
    with subprocess.Popen([*command, *places], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        parts = tmp_path / "out.safetensors.parts"
        while len(list(parts.glob("*.safetensors"))) < 3:
            assert first.poll() is None
            time.sleep(0.05)
        os.kill(first.pid, way)
        signalled.touch()
        _, said = first.communicate()
    assert first.returncode == (130 if way == signal.SIGINT else -signal.SIGKILL)
    assert ("images are kept in" in said.decode()) == (way == signal.SIGINT)
    kept = len(list(parts.glob("*.safetensors")))
    assert not out.exists()
    done = subprocess.run([*command, *places], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines().count("looked") == 13 - kept
    assert len(ProposalStore.open(out)) == 13
    assert not parts.exists()
