"""A command that fails at its start leaves nothing behind: corrected, it works with the same --out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.__main__ import main
from detkit.data.synthetic.dataset import write_synthetic

SMALL = (
    *("detector.backbone.width=0.125", "detector.backbone.norm=frozen", "detector.proposals.channels=8"),
    *("data.resize.short_px=64", "data.resize.long_px=96", "data.workers=0", "device=cpu"),
    *("train.epochs=1", "train.batch_size=2", "train.precision=fp32"),
)
CONFIG = "faster_rcnn_resnet18_synthetic"
FEW = ("data.train.num_images=2", "data.val.num_images=2")


def dataset(name: str) -> str:
    """Return the keys of a config that name a written dataset."""
    return " ".join(
        f"data.{part}={{type:\u00a0voc,\u00a0root:\u00a0{name},\u00a0sets:\u00a0[{part}]}}"
        for part in ("train", "val")
    )


def cut(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:400])


def first(folder: Path) -> Path:
    return folder / "JPEGImages" / "train_000000.jpg"


def no_objects(folder: Path) -> None:
    for file in (folder / "Annotations").iterdir():
        text = file.read_text()
        file.write_text(text[: text.index("<object>")] + "</annotation>" if "<object>" in text else text)


def undivide(folder: Path) -> None:
    (folder / "ImageSets" / "Main" / "val.txt").unlink()


def nothing(_: Path) -> None:
    pass


# The command, and what is wrong with the dataset "bad".
STARTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "train, from weights": (f"train {CONFIG} SMALL FEW --from nowhere.safetensors --out out", nothing),
    "train, backbone": (
        f"train {CONFIG} SMALL FEW detector.backbone.weights=nowhere.pth --out out",
        nothing,
    ),
    "train, config": (f"train {CONFIG} train.epochs=many --out out", nothing),
    "train, image": (f"train {CONFIG} SMALL {dataset('bad')} --out out", lambda data: cut(first(data))),
    "train, proposals": ("train sppnet_resnet18_synthetic FEW FILE --out out", nothing),
    "eval": (f"eval {CONFIG} SMALL FEW --weights nowhere.safetensors --out out", nothing),
    "predict": ("predict nowhere.safetensors bad --out out/a", nothing),
    "show-data": (f"show-data {CONFIG} SMALL {dataset('bad')} --out out/a", lambda data: cut(first(data))),
    "propose": ("propose sliding_window bad --strict --out out/a.safetensors", lambda data: cut(first(data))),
    "recall": ("recall nowhere.safetensors --dataset bad --plot out/a.svg", nothing),
    "compress": ("compress nowhere.safetensors --fc6 4 --out out/a.safetensors", nothing),
    "convert": ("convert bad --to coco --out out/a/b", lambda data: cut(first(data))),
    "check": ("check bad --fix out --fix bad/out", nothing),
    "init, objects": ("init bad --out out/a.yaml", no_objects),
    "init, detector": ("init bad --detector nothing --out out/a.yaml", nothing),
    "init, lists": ("init bad --detector nothing --out out/a.yaml", undivide),
    "lineage": ("lineage bad --out out/a", no_objects),
    "score": ("score --gt bad --dt nowhere --metric voc07 --json out/a.json", nothing),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_failed_start_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command, spoil = STARTS[name]
    write_synthetic(tmp_path / "bad", "voc", 3, 2)
    spoil(tmp_path / "bad")
    before = set(tmp_path.rglob("*"))
    words = [
        word.replace("\u00a0", " ")
        for part in command.split(" ")
        for word in {"SMALL": SMALL, "FEW": FEW, "FILE": PROPOSALS}.get(part, (part,))
    ]
    assert main(words) == 2, capsys.readouterr().err
    assert set(tmp_path.rglob("*")) == before, capsys.readouterr().err


PROPOSALS = ("device=cpu", "detector.proposals={type: file, path: nowhere.safetensors}")
