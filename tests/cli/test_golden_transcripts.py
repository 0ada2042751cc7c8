"""What commands say to people, as somebody read it; measured numbers are left out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.data.synthetic.dataset import write_synthetic
from tests.cli.conftest import CONFIG, SYNTHETIC
from tests.reference.golden import golden_text

MODEL = "{run}/model.safetensors"
COMMANDS = {
    "init": ["init {voc} -o {tmp}/mine.yaml --detector faster_rcnn_resnet18_c4"],
    "check": ["check {voc}", "check {broken} --fix {tmp}/mended", f"check {CONFIG} {{few}}"],
    "convert": ["convert {voc} --to yolo -o {tmp}/yolo", "convert {tmp}/yolo --to coco -o {tmp}/coco"],
    "train": [f"train {CONFIG} {{few}} --out {{tmp}}/trained"],
    "plan": [f"plan {CONFIG} {{few}}"],
    "show_data": [f"show-data {CONFIG} {{few}} --out {{tmp}}/shown"],
    "eval": [f"eval {{run}}/config.yaml --weights {MODEL} --out {{tmp}}/eval", "report {tmp}/eval"],
    "compare": ["compare {run} {run}"],
    "predict": [f"predict {MODEL} {{broken}}/JPEGImages --out {{tmp}}/found --device cpu"],
    "compress": [
        f"compress {MODEL} --fc6 4 --out {{tmp}}/thin.safetensors --data {CONFIG} {{few}}",
        f"compress {MODEL} --fc7 1000000 --out {{tmp}}/thick.safetensors",
    ],
    "propose": [
        "propose sliding_window {voc}/JPEGImages --out {tmp}/boxes.safetensors --draw",
        "recall {tmp}/boxes.safetensors --dataset {voc} --plot {tmp}/recall.svg",
    ],
    "score": [
        f"score --gt {{coco}}/annotations/instances_val.json --dt {{tmp}}/found.json --metric {metric}"
        for metric in ("coco", "voc07")
    ],
    "config": [f"config show {CONFIG}", "config explain train.optimizer.lr", "config explain lr_"],
}

FOUND = [{"image_id": image, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5} for image in (1, 2)]


def masked(text: str, places: dict[str, Path]) -> str:
    """Return what was said without what a machine, a clock or a release changes."""
    for name, place in places.items():
        text = text.replace(str(place), f"<{name}>")
    text = re.sub(r"\d+\.\d+(e[-+]\d+)?", "#", text)
    text = re.sub(r"\b\d+(?= images/s)", "#", text)
    text = re.sub(r"(?<=at a time: )[\d,]+", "#", text)
    text = re.sub(r"\b\d+ (?=(s|ms|minutes?|seconds?|[MGK]i?B)\b)", "# ", text)
    text = re.sub(r"# [KMG]i?B", "# bytes", text)
    return re.sub(r" {3,}", "  ", text)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_commands_say_is_the_golden(
    name: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "voc", "voc", 6, 3)
    shutil.copytree(tmp_path / "voc", tmp_path / "broken")
    pictures = sorted((tmp_path / "broken" / "JPEGImages").iterdir())
    pictures[0].write_bytes(b"")
    pictures[1].unlink()
    write_synthetic(tmp_path / "coco", "coco", 6, 3)
    (tmp_path / "found.json").write_text(json.dumps(FOUND), encoding="utf-8")
    places = {name: tmp_path / name for name in ("voc", "broken", "coco")} | {"run": run, "tmp": tmp_path}
    said = []
    for line in COMMANDS[name]:
        arguments = [
            part
            for word in line.split()
            for part in (SYNTHETIC if word == "{few}" else [word.format(**places)])
        ]
        capsys.readouterr()
        status = main(arguments)
        output = capsys.readouterr()
        said.append(f"$ detkit {line}\n{output.out}-- stderr\n{output.err}-- exit status {status}\n\n")
    found = masked("".join(said), places)
    assert found == golden_text(f"said_{name}.txt", found)
