"""A command that is killed, wherever it is, and given again ends as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from tests.reliability.hostile.valid_input import SMALL
from tests.reliability.hostile.warm_process import WarmProcess

SEED = 1
# Thirty in all, the fewer the longer a command takes.
KILLS = {"gradient": 5, "rcnn": 5, "sppnet": 3, "alternating": 4, "eval": 3, "predict": 5, "propose": 5}
STAGES = (
    "detector.backbone.width=0.0625",
    "detector.backbone.norm=frozen",
    "detector.proposals={type: sliding_window, "
    "windows: {type: relative, scales: [0.2, 0.4], ratios: [1.0], stride: 0.5}}",
    "detector.head={type: svm, c: 0.0001}",
    "data.workers=0",
    "train.fine_tune.steps=3",
    "train.fine_tune.batch_size=8",
    "train.fine_tune.save_every_steps=1",
    "train.precision=fp32",
    "train.cache=fp32",
    "device=cpu",
)
CROPS = "detector.regions={type: warp, size: 32, context_px: 3}"
TURN = "{epochs: 1, batch_size: 2, optimizer: {type: sgd, lr: 0.01}}"
TURNS = (
    *(item for item in SMALL if not item.startswith("train.")),
    f"train={{type: alternating, precision: fp32, post_nms: 20, rpn: {TURN}, fast_rcnn: {TURN}}}",
    "detector.regions={type: roi_pool, size: 3}",
    "detector.head={type: two_fc, channels: 8, batch_per_image: 16}",
)
DATA = tuple(
    f"data.{part}={{type: coco, images: valid/coco/{part}, "
    f"annotations: valid/coco/annotations/instances_{part}.json}}"
    for part in ("train", "val")
)
MODEL, PHOTOS = "valid/run/model.safetensors", "valid/coco/train"


def train(name: str, *overrides: str) -> tuple[str, ...]:
    return ("train", name, *overrides, *DATA, "--out", "out")


COMMANDS: Mapping[str, tuple[str, ...]] = {
    "gradient": train("faster_rcnn_resnet18_synthetic", *SMALL, "train.epochs=2"),
    "rcnn": train("rcnn_resnet18_synthetic", *STAGES, CROPS),
    "sppnet": train("sppnet_resnet18_synthetic", *STAGES),
    "alternating": train("faster_rcnn_resnet18_synthetic", *TURNS),
    "eval": ("eval", "valid/run/config.yaml", *DATA, "--weights", MODEL, "--out", "out"),
    "predict": (
        *("predict", MODEL, PHOTOS, "--out", "out", "--threshold", "0", "--device", "cpu"),
        *("--format", "voc", "--draw"),
    ),
    "propose": ("propose", "sliding_window", PHOTOS, "--out", "out/boxes.safetensors", "--max-boxes", "20"),
}


@pytest.mark.slow
@pytest.mark.local_sockets
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_as_an_undisturbed_one(
    name: str, valid: Path, process: WarmProcess, tmp_path: Path
) -> None:
    def place(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "valid").symlink_to(valid)
        return folder

    whole = place("whole")
    assert process.run(whole, COMMANDS[name]).status == 0, (whole / "said").read_text()
    moments = Moments(f"{SEED} {name}", json.loads((whole / "uses").read_text()))
    kills, number = 0, 0
    while kills < KILLS[name]:
        number += 1
        disturbed = place(f"disturbed-{number}")
        kills += disturb(process, disturbed, COMMANDS[name], moments)
        assert result(disturbed / "out") == result(whole / "out")


class Moments:
    """Random numbers of uses of files, of those that an undisturbed command makes."""

    def __init__(self, seed: str, files: list[str]) -> None:
        self._random, self._all = random.Random(seed), len(files)
        self._first = next(number for number, file in enumerate(files, 1) if file.startswith("out"))
        checkpoints = [number for number, file in enumerate(files, 1) if "last.pt" in file]
        self._kept = checkpoints[0] if checkpoints else self._all

    def any(self) -> int:
        """Return one, or often none that the command lives to see, so that it comes to an end."""
        return self._random.randint(1, 2 * self._all)

    def before_a_checkpoint(self) -> int:
        """Return one after the folder was made, and before the first checkpoint where there is one."""
        return self._random.randint(self._first + 1, self._kept)


def disturb(process: WarmProcess, folder: Path, command: tuple[str, ...], moments: Moments) -> int:
    """Give a command until it ends, as its messages say, and kill it whenever it lives long enough."""
    kills, advice, dies_at = 0, (), moments.before_a_checkpoint()
    while True:
        ended = process.run(folder, (*command, *advice), dies_at)
        dies_at = moments.any()
        said = ended.said.decode()
        if ended.status == 0:
            return kills
        if ended.status == -signal.SIGKILL:
            kills, advice = kills + 1, ()
        else:
            assert ended.status == 2, said
            assert not advice, said
            if not (folder / "out" / "run.lock").exists() and "name another one\n" in said:
                return kills  # it had finished, and was killed while it ended
            assert "add --resume to go on with the training there" in said
            advice = ("--resume",)


def result(folder: Path) -> dict[str, Any]:
    """Return what is in a folder, but for what holds times: the stages, the page, the rates."""
    found: dict[str, Any] = {}
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        name = str(file.relative_to(folder))
        if fnmatch(name, ".boxes.safetensors.*.part"):
            continue  # several processes may write proposals, each its own half, and one may still be at it
        if name == ".records.part":
            continue  # holds when the images were changed, and these are others
        if file.suffix == ".safetensors":
            arrays = load_file(file).items()
            found[name] = {key: (array.shape, array.tobytes()) for key, array in arrays}
        elif file.name == "metrics.jsonl":
            lines = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [{**line, "images_per_second": None} for line in lines]
        elif name in ("report.html", "last.pt"):
            found[name] = "is there"
        else:
            found[name] = file.read_bytes()
    return found
