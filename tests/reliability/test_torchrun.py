"""`torchrun` as people start it: a process that fails stops all, and a restart goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from detkit.data.synthetic.dataset import write_synthetic
from tests.reliability.detector_training import SMALL, SQUARES, learn
from tests.training.loop.tiny import assert_same

CODE = Path(__file__).parents[2]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2"]

DIES_ONCE = """
import os, signal
from detkit.training.loop.log import TrainingLog
from detkit.__main__ import main
import sys

hear = TrainingLog.__call__

def die(self, report):
    hear(self, report)
    if report.step == 3 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

TrainingLog.__call__ = die
sys.exit(main(sys.argv[1:]))
"""


def train(out: Path, *options: str, overrides: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    arguments = ["train", "faster_rcnn_resnet18_synthetic", *SMALL, *overrides, "--out", str(out)]
    return torchrun(*options, *arguments)


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_module(*TORCHRUN, *arguments)


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module with one thread, without a limit of time: the machine may be busy."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CODE)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.local_sockets
def test_a_process_that_fails_stops_all_with_its_own_message(tmp_path: Path) -> None:
    broken = f"data.train={{type: custom, target: '{SQUARES}', args: {{num_images: 8, broken: 5}}}}"
    ended = train(tmp_path / "run", "-m", "detkit", overrides=(broken,))
    assert ended.returncode == 1  # torchrun's own
    assert "error: square 5: the file is truncated" in ended.stderr
    assert "error in detkit" not in ended.stderr


@pytest.mark.slow
@pytest.mark.local_sockets
def test_a_restart_goes_on_from_the_last_checkpoint(tmp_path: Path) -> None:
    script = tmp_path / "dies_once.py"
    script.write_text(DIES_ONCE)
    ended = train(tmp_path / "run", "--max-restarts=1", str(script))
    assert ended.returncode == 0, ended.stderr
    assert "epoch 1" in ended.stderr
    whole = learn(tmp_path / "whole", processes=2)
    assert_same(whole, load_file(tmp_path / "run" / "model.safetensors"))


@pytest.mark.slow
@pytest.mark.local_sockets
def test_processes_share_the_images_of_eval_and_predict(tmp_path: Path) -> None:
    learn(tmp_path / "run", "train.epochs=1")
    write_synthetic(tmp_path / "photos", "coco", 5, 2)
    weights = str(tmp_path / "run" / "model.safetensors")
    config = str(tmp_path / "run" / "config.yaml")
    commands = {
        "predict": ["predict", weights, str(tmp_path / "photos"), "--threshold", "0", "--device", "cpu"],
        "eval": ["eval", config, "--weights", weights],
    }
    for name, command in commands.items():
        together = torchrun("-m", "detkit", *command, "--out", str(tmp_path / f"{name}2"))
        assert together.returncode == 0, together.stderr
        # In a process of its own too: this one's number of threads, which decides the rounding, is anyone's.
        one = run_module("detkit", *command, "--out", str(tmp_path / f"{name}1"))
        assert one.returncode == 0, one.stderr
        alone, shared = (
            json.loads((tmp_path / f"{name}{n}" / "detections.json").read_text()) for n in (1, 2)
        )
        assert len(alone) > 1
        assert shared == alone


@pytest.mark.slow
@pytest.mark.local_sockets
def test_all_processes_leave_out_the_same_unreadable_images(tmp_path: Path) -> None:
    root, out = tmp_path / "data", tmp_path / "run"
    write_synthetic(root, "voc", 8, 3)
    bad = sorted(root.rglob("train_*.jpg"))[5]
    whole = bad.read_bytes()
    bad.write_bytes(b"no image")
    data = tuple(f"data.{part}={{type: voc, root: {root}, sets: [{part}]}}" for part in ("train", "val"))
    small = [item for item in SMALL if "data." not in item]
    arguments = ("-m", "detkit", "train", "faster_rcnn_resnet18_synthetic", *small, *data, "--out", str(out))
    refused = torchrun(*arguments)
    assert refused.returncode != 0
    assert not out.exists()
    ended = torchrun(*arguments, "--skip-bad", "1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("training on 7 images") == 1
    listed = json.loads((out / "skipped_images.json").read_text())
    assert [Path(item["image"]).name for item in listed] == [bad.name]
    bad.write_bytes(whole)
    longer = torchrun(*arguments, "--resume", "train.epochs=9")
    assert "training on 7 images" in longer.stderr, longer.stderr
    assert json.loads((out / "skipped_images.json").read_text()) == listed
