"""Hostile input, drawn from a seed: datasets, images, models, proposals, results, configs and run folders."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.reliability.hostile.mutations import (
    VALUES,
    alias_bomb,
    changed_bytes,
    changed_json,
    changed_text,
    changed_xml,
    changed_yaml,
    deep,
    entity_bomb,
)
from tests.reliability.hostile.proposal_cases import mat_arrays, proposal_files
from tests.reliability.hostile.result_cases import comp4, results

Make = Callable[[Path, Path, random.Random], list[str]]
"""Puts hostile input into a folder, made from valid input in another, and returns the command to run."""

FAMILIES: dict[str, Make] = {}
NAMES = tuple(value for value in VALUES if isinstance(value, str) and value)
EXPORTS = {"csv": "*.csv", "cvat": "*.xml", "labelme": "*.json", "labelstudio": "*.json"}
CALLS = ("os:system", "torch.hub:load", "payload:go", "subprocess:run", "builtins:eval")


def family(make: Make) -> Make:
    FAMILIES[make.__name__] = make
    return make


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        number: with the seed it is all that is needed to make it again.
        family: its kind.
        command: what is run on it.
    """

    number: int
    family: str
    command: tuple[str, ...]


for _make in (proposal_files, mat_arrays, results, comp4):
    family(_make)


def make_case(seed: int, number: int, folder: Path, valid: Path) -> Case:
    """Make one case in an empty folder; families take turns."""
    rng = random.Random(f"{seed} {number}")
    name = sorted(FAMILIES)[number % len(FAMILIES)]
    command = FAMILIES[name](folder, valid, rng)
    return Case(number, name, tuple(command))


def _data_command(data: str, rng: random.Random) -> list[str]:
    commands = [["check", data], ["init", data, "--out", "out.yaml"], ["check", data, "--fix", "out"]]
    formats = ("voc", "coco", "yolo", "labelme")
    return rng.choice([*commands, *(["convert", data, "--to", name, "--out", "out"] for name in formats)])


def _change_one(folder: Path, pattern: str, rng: random.Random, change: Callable[..., str]) -> None:
    file = rng.choice(sorted(folder.rglob(pattern)))
    text = change(file.read_text(encoding="utf-8"), rng)
    file.write_bytes(text.encode("utf-8", "surrogatepass" if rng.random() < 0.2 else "replace"))


@family
def coco_values(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "coco", folder / "data")
    _change_one(folder / "data", "*.json", rng, changed_json)
    return _data_command("data", rng)


@family
def coco_text(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "coco", folder / "data")
    file = rng.choice(sorted((folder / "data").rglob("*.json")))
    text = file.read_text()
    file.write_bytes(
        rng.choice(
            [
                changed_bytes(text.encode(), rng),
                deep("[", "]", 100_000).encode(),
                deep('{"a":', "1}", 50_000).encode(),
                text.replace('"bbox": [', '"bbox": [' + "9" * 10_000 + ",").encode(),
                text.replace('"id": 1', '"id": 2').encode(),
                b'{"images": [], "annotations": [], "categories": []}',
                b'{"images": [1], "annotations": [2], "categories": [3]}',
                (b"\xff\xfe" + text.encode("utf-16-le")),
                b"\xef\xbb\xbf" + text.encode(),
            ]
        )
    )
    return _data_command("data", rng)


@family
def coco_names(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    if rng.random() < 0.2:
        return _detections_of_odd_classes(folder, valid, rng)
    shutil.copytree(valid / "coco", folder / "data")
    for file in (folder / "data").rglob("*.json"):
        content = json.loads(file.read_text())
        kind, field = rng.choice((("categories", "name"), ("images", "file_name")))
        for item in content[kind][:3]:
            item[field] = rng.choice(NAMES)
        file.write_text(json.dumps(content))
    return _data_command("data", rng)


def _detections_of_odd_classes(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Put comp4 files beside annotations whose classes have odd names, as XML can hold them."""
    shutil.copytree(valid / "voc" / "Annotations", folder / "data")
    odd = [name for name in NAMES if name.isprintable() or "\u202e" in name]
    for file in (folder / "data").glob("*.xml"):
        file.write_text(file.read_text().replace(">disc<", f">{rng.choice(odd)}<"))
    shutil.copytree(valid / "comp4", folder / "comp4")
    return ["score", "--gt", "data", "--dt", "comp4", "--metric", "voc07"]


@family
def voc_values(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "voc", folder / "data")
    for _ in range(rng.choice((1, 3))):
        _change_one(folder / "data", "*.xml", rng, changed_xml)
    return _data_command("data", rng)


@family
def voc_text(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "voc", folder / "data")
    file = rng.choice(sorted((folder / "data").rglob("*.xml")))
    text = file.read_text()
    name = text[text.find("<name>") : text.find("</name>") + 7]
    outside = '<!DOCTYPE annotation [<!ENTITY bomb SYSTEM "file:///etc/passwd">]>'
    file.write_bytes(
        rng.choice(
            [
                changed_bytes(text.encode(), rng),
                (entity_bomb() + text.replace(name, "<name>&bomb;</name>")).encode(),
                (outside + text.replace(name, "<name>&bomb;</name>")).encode(),
                ("<a>" * 50_000 + "</a>" * 50_000).encode(),
                text.replace(name, f"<name>{'x' * 5_000_000}</name>").encode(),
            ]
        )
    )
    if rng.random() < 0.3:
        lists = sorted((folder / "data").rglob("ImageSets/Main/*.txt"))
        text = changed_text(rng.choice(lists).read_text(), rng)
        rng.choice(lists).write_bytes(text.encode("utf-8", "replace"))
    return _data_command("data", rng)


@family
def yolo_values(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "yolo", folder / "data")
    for _ in range(rng.choice((1, 3))):
        file = rng.choice(sorted((folder / "data" / "labels").rglob("*.txt")))
        file.write_bytes(changed_text(file.read_text(), rng).encode("utf-8", "replace"))
    return _data_command("data", rng)


@family
def yolo_yaml(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "yolo", folder / "data")
    file = folder / "data" / "data.yaml"
    text = file.read_text()
    names = json.dumps(rng.sample(NAMES, 5))
    file.write_bytes(
        rng.choice(
            [
                changed_text(text, rng),
                changed_text(text, rng),
                alias_bomb() + text,
                alias_bomb() + "names: *a9\n",
                text + deep("[", "]", 20_000),
                "train: /\nval: /\nnames: [a]\n",
                "train: ..\nval: ../..\nnames: [a]\n",
                f"train: images/train\nval: images/val\nnames: {names}\n",
                "train: images/train\nval: images/val\nnames: [" + "x" * 5_000_000 + "]\n",
                "train: images/train\nnc: 99999999999999999999\n",
                "? [a, b]\n: c\n",
                "!!python/object/apply:os.system ['touch ran']\n",
                "names: !!python/name:os.system\ntrain: images/train\n",
            ]
        ).encode("utf-8", "replace")
    )
    return _data_command(rng.choice(("data", "data/data.yaml")), rng)


def _png(width: int, height: int, rows: int) -> bytes:
    """Return a grey PNG that says it is so large; it has so many rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = zlib.compress(b"\x00" * ((width + 1) * rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


LINKS = (
    "/etc/passwd",
    "/dev/zero",
    "/proc/self/environ",
    "itself.jpg",
    "../../../secret.txt",
    "../../secret.txt",
)
ODD_NAMES = ("-rf.jpg", "a\nb.jpg", "\x1b[31m.jpg", "%2e%2e.jpg", "x" * 250 + ".jpg")


def _spoil_image(file: Path, rng: random.Random) -> None:
    """Put something else where an image was."""
    content = file.read_bytes()
    file.unlink()
    way = rng.randrange(12)
    if way < 4:
        file.symlink_to(rng.choice((*LINKS, file.name)))
    elif way == 4:
        os.mkfifo(file)
    elif way == 5:
        file.mkdir()
    elif way == 6:
        file.with_name(rng.choice(ODD_NAMES)).write_bytes(content)
    else:
        sizes = ((60_000, 60_000, 100), (2**31 - 1, 2**31 - 1, 0), (20_000, 20_000, 20_000))
        texts = (b"", b"<html>not found</html>", _png(*rng.choice(sizes)), changed_bytes(content, rng))
        file.write_bytes(rng.choice(texts))


@family
def image_files(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    kind = rng.choice(("coco", "voc", "yolo", *EXPORTS))
    shutil.copytree(valid / kind, folder / "data")
    images = sorted(f for f in (folder / "data").rglob("*") if f.suffix in (".jpg", ".png"))
    for file in rng.sample(images, 2):
        _spoil_image(file, rng)
    return _data_command("data", rng)


@family
def photos(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    (folder / "photos").mkdir()
    images = sorted((valid / "coco").rglob("*.jpg"))
    for number, image in enumerate(images[:3]):
        shutil.copy(image, folder / "photos" / f"{number}.jpg")
    _spoil_image(folder / "photos" / "1.jpg", rng)
    if rng.random() < 0.2:
        Path(os.fsdecode(os.fsencode(folder / "photos") + b"/\xff\xfe.jpg")).write_bytes(
            images[0].read_bytes()
        )
    model = [
        "predict",
        str(valid / "run" / "model.safetensors"),
        "photos",
        "--out",
        "out",
        "--threshold",
        "0",
    ]
    style = ["--format", rng.choice(("json", "coco", "voc", "yolo", "csv"))]
    propose = ["propose", "sliding_window", "photos", "--out", "out.safetensors", "--max-boxes", "10"]
    return rng.choice([[*model, *style], [*model, *style, "--draw"], propose, [*propose, "--draw"]])


def _model_command(file: str, valid: Path, rng: random.Random) -> list[str]:
    photos = str(valid / "coco")
    config = str(valid / "run" / "config.yaml")
    return rng.choice(
        [
            ["predict", file, photos, "--out", "out"],
            ["predict", file, photos, "--out", "out", "--format", "voc", "--threshold", "0"],
            ["eval", config, "--weights", file, "--out", "out"],
            ["propose", file, photos, "--out", "out.safetensors"],
            ["compress", file, "--fc6", "4", "--out", "out.safetensors"],
            ["train", config, "--from", file, "--out", "out", "train.epochs=1"],
        ]
    )


def _rewrite_model(file: Path, valid: Path, change: Callable[[dict[str, str], dict[str, Any]], None]) -> None:
    source = valid / "run" / "model.safetensors"
    with safe_open(source, framework="np") as content:
        metadata = dict(content.metadata())
    weights = dict(load_file(source))
    change(metadata, weights)
    save_file(weights, file, metadata)


@family
def model_metadata(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    def change(metadata: dict[str, str], weights: dict[str, Any]) -> None:
        key = rng.choice((*sorted(metadata), "config", "config", "config"))
        way = rng.randrange(8)
        if way == 0:
            del metadata[key]
        elif key == "config":
            change_text = rng.choice((changed_text, changed_yaml, changed_yaml, changed_yaml))
            metadata[key] = change_text(metadata[key], rng).encode("utf-8", "replace").decode()
        elif key in ("classes", "category_ids", "thresholds"):
            metadata[key] = changed_json(metadata[key], rng)
        else:
            metadata[key] = str(rng.choice((*NAMES, "999.0.0"))).encode("utf-8", "replace").decode()

    _rewrite_model(folder / "model.safetensors", valid, change)
    return _model_command("model.safetensors", valid, rng)


@family
def model_code(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """A part that is code: it must not run because a file says so."""
    custom = f"{{type: custom, target: '{rng.choice(CALLS)}', args: {{command: 'touch ran'}}}}"
    part = rng.choice(("backbone", "proposals", "head", "neck", "regions", "detector", None))

    def change(metadata: dict[str, str], weights: dict[str, Any]) -> None:
        config = yaml.safe_load(metadata["config"])
        own = yaml.safe_load(custom)
        if part == "detector":
            config["detector"] = own
        elif part is not None:
            config["detector"][part] = own
        if rng.random() < 0.2:
            config["train"]["optimizer"] = own
        if rng.random() < 0.2:
            config["detector"] |= {"type": "fast_rcnn", "proposals": own}
        if rng.random() < 0.3:
            config["data"][rng.choice(("train", "val"))] = own
        if rng.random() < 0.3:
            config["data"]["train"]["augment"] = [own]
        metadata["config"] = yaml.safe_dump(config)

    (folder / "payload.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\ndef go(**k): Path('ran').touch()\n"
    )
    _rewrite_model(folder / "model.safetensors", valid, change)
    return _model_command("model.safetensors", valid, rng)


@family
def model_weights(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    if rng.random() < 0.5:
        content = (valid / "run" / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(
            rng.choice(
                (changed_bytes(content, rng), struct.pack("<Q", 2**62) + content[8:], b"\x80\x04." * 10)
            )
        )
        return _model_command("model.safetensors", valid, rng)

    def change(metadata: dict[str, str], weights: dict[str, Any]) -> None:
        name = rng.choice(sorted(weights))
        way = rng.randrange(5)
        if way == 0:
            weights[name] = np.full_like(weights[name], np.nan)
        elif way == 1:
            weights[name] = np.zeros((3, 3), np.float32)
        elif way == 2:
            del weights[name]
        elif way == 3:
            weights["extra"] = np.zeros(1, np.float32)
        else:
            weights[name] = weights[name].astype(np.float64)

    _rewrite_model(folder / "model.safetensors", valid, change)
    return _model_command("model.safetensors", valid, rng)


@family
def configs(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    text = (valid / "run" / "config.yaml").read_text()
    (folder / "payload.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\ndef go(**k): Path('ran').touch()\n"
    )
    (folder / "mine").mkdir()
    file = "mine/config.yaml"  # code beside a config that the user names is theirs; elsewhere it is not
    (folder / file).write_bytes(
        rng.choice(
            [
                changed_text(text, rng),
                changed_text(changed_text(text, rng), rng),
                *(changed_yaml(text, rng) for _ in range(6)),
                alias_bomb() + text,
                alias_bomb() + "? [*a9]\n: 1\n",
                text + deep("[", "]", 20_000),
                deep("{a: ", "}", 20_000),
                "- " * 100_000,
                "".join(f"k{number}: 1\n" for number in range(40_000)),
                "data: {classes: [" + "a, " * 100_000 + "]}\n" + text,
                text.replace("classes: ", "classes: [" + "a, " * 100_000 + "]\n  ignore_classes: "),
                "!!python/object/apply:os.system ['touch ran']\n",
                text.replace("seed: ", f"seed: {'9' * 10_000}"),
                text.replace("{type: roi_align,", "{type: custom, target: 'payload:go'}\n  own: {"),
            ]
        ).encode("utf-8", "replace")
    )
    return rng.choice(
        [
            ["check", file],
            ["plan", file],
            ["config", "show", file],
            ["show-data", file, "--out", "out"],
            ["init", str(valid / "coco"), "--detector", file, "--out", "out.yaml"],
            ["train", file, "--out", "out", "train.epochs=1"],
            ["eval", file, "--weights", str(valid / "run" / "model.safetensors"), "--out", "out"],
        ]
    )


class _Code:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def _spoil_checkpoint(file: Path, rng: random.Random) -> None:
    """Put another thing into a checkpoint, or code; or write it as old pickles were."""
    content = torch.load(file, weights_only=True)
    way = rng.randrange(5)
    part = rng.choice(sorted(content))
    if way == 0:
        content[part] = _Code()
    elif way == 1:
        content[part] = rng.choice(VALUES)
    elif way == 2 and isinstance(content[part], dict):
        content[part][rng.choice(sorted(content[part]))] = rng.choice(VALUES)
    elif way == 3:
        del content[part]
    torch.save(content, file, _use_new_zipfile_serialization=rng.random() < 0.5)


@family
def run_folders(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    shutil.copytree(valid / "run", folder / "run")
    (folder / "payload.py").write_text(
        "from pathlib import Path\nPath('ran').touch()\ndef go(**k): Path('ran').touch()\n"
    )
    files = sorted(f for f in (folder / "run").iterdir() if f.is_file() and f.suffix != ".html")
    file = rng.choice(files)
    content = file.read_bytes()
    way = rng.randrange(4)
    if way == 0:
        file.unlink()
    elif file.suffix == ".yaml":
        own = "{type: custom, target: 'payload:go', args: {}}"
        text = content.decode()
        file.write_bytes(
            rng.choice(
                (
                    changed_text(text, rng),
                    alias_bomb() + text,
                    text + f"\n  val: {own}\n",
                    f"version: 1\ndata: {{train: {own}, val: {own}}}\ndetector: {own}\n",
                )
            ).encode("utf-8", "replace")
        )
    elif file.suffix == ".pt" and rng.random() < 0.7:
        _spoil_checkpoint(file, rng)
    elif file.suffix == ".json":
        file.write_bytes(changed_json(content.decode(), rng).encode("utf-8", "replace"))
    elif file.suffix == ".jsonl":
        file.write_bytes(changed_text(content.decode(), rng).encode("utf-8", "replace"))
    else:
        file.write_bytes(changed_bytes(content, rng))
    config = str(valid / "run" / "config.yaml")
    return rng.choice(
        [
            ["report", "run"],
            ["compare", "run", str(valid / "run")],
            ["compare", str(valid / "run"), "run"],
            ["train", config, "--resume", "--out", "run", "train.epochs=2"],
        ]
    )


def _odd_name(rng: random.Random) -> str:
    return "".join(
        rng.choice((*NAMES, "Cat", "cat", "\udcff", "\x9b31m", " ")) for _ in range(rng.choice((1, 1, 3)))
    )


ODD_STEMS = (
    b"a\nb",
    b" a",
    b"a ",
    b"\xff\xfe",
    b"x" * 250,
    b"\x1b[31m",
    b"A",
    b"a",
    b"-rf",
    b"%u0041",
    b"a\\b",
    b"..a",
)


@family
def file_names(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Images, and what belongs to them, under names that a file may have but hardly ever has."""
    kind = rng.choice(("coco", "voc", "yolo"))
    shutil.copytree(valid / kind, folder / "data")
    files = [file for file in sorted((folder / "data").rglob("*")) if file.is_file()]
    images = [file for file in files if file.suffix == ".jpg"]
    for image, stem in zip(rng.sample(images, 4), rng.sample(ODD_STEMS, 4), strict=True):
        for file in files:
            if file.stem == image.stem:
                file.rename(file.with_name(os.fsdecode(stem) + file.suffix))
            elif file.suffix in (".json", ".txt") and rng.random() < 0.8:
                _rename_within(file, image, os.fsdecode(stem))
        files = [file for file in sorted((folder / "data").rglob("*")) if file.is_file()]
    draw = ["propose", "sliding_window", "data", "--out", "out.safetensors", "--max-boxes", "5", "--draw"]
    return rng.choice([_data_command("data", rng), _data_command("data", rng), draw])


def _rename_within(file: Path, image: Path, stem: str) -> None:
    """Change the name of an image in a list or a COCO file, as far as these can hold it."""
    text = file.read_text()
    new = stem.encode("utf-8", "replace").decode()
    file.write_text(text.replace(image.stem, json.dumps(new)[1:-1] if file.suffix == ".json" else new))


@family
def class_names(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Names of classes that a trained model writes with its results."""

    def change(metadata: dict[str, str], weights: dict[str, Any]) -> None:
        classes = json.loads(metadata["classes"])
        for place in range(len(classes)):
            classes[place] = _odd_name(rng)[: rng.choice((200, 200, 100_000))] + str(place) * (
                rng.random() < 0.8
            )
        metadata["classes"] = json.dumps(classes)

    _rewrite_model(folder / "model.safetensors", valid, change)
    photos = str(valid / "coco" / "val")
    style = rng.choice(("json", "coco", "voc", "yolo", "csv"))
    if rng.random() < 0.2:
        return ["compress", "model.safetensors", "--fc6", "4", "--out", "out.safetensors"]
    return [
        "predict",
        "model.safetensors",
        photos,
        "--out",
        "out",
        "--format",
        style,
        "--draw",
        "--threshold",
        "0",
    ]


@family
def exports(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Values, text and bytes of the files that labelling tools export."""
    kind = rng.choice(sorted(EXPORTS))
    shutil.copytree(valid / kind, folder / "data")
    change = {"csv": changed_text, "cvat": changed_xml}.get(kind, changed_json)
    if rng.random() < 0.7:
        for _ in range(rng.choice((1, 3))):
            _change_one(folder / "data", EXPORTS[kind], rng, change)
        return rng.choice((_data_command("data", rng), _with_data(kind, valid, rng)))
    file = rng.choice(sorted((folder / "data").rglob(EXPORTS[kind])))
    text = file.read_text()
    name = rng.choice(NAMES)
    file.write_bytes(
        rng.choice(
            [
                changed_bytes(text.encode(), rng),
                text.replace("disc", name).encode("utf-8", "replace"),
                text.replace("train_000001", name).encode("utf-8", "replace"),
                text.replace("train_000001", "../../secret").encode(),
                text.replace("train_000001", "train_000000").encode(),
                (entity_bomb() + text).encode(),
                deep("[", "]", 100_000).encode(),
                deep("<a>", "</a>", 50_000).encode(),
                (text + "," * 5_000_000).encode(),
                b"\xff\xfe" + text.encode("utf-16-le"),
            ]
        )
    )
    return _data_command("data", rng)


def _with_data(kind: str, valid: Path, rng: random.Random) -> list[str]:
    """Return a command that reads a changed dataset as a config's."""
    spec = {
        "coco": "{type: coco, images: data/PART, annotations: data/annotations/instances_PART.json}",
        "voc": "{type: voc, root: data, sets: [PART]}",
        "yolo": "{type: yolo, root: data, split: PART}",
        "csv": "{type: csv, images: data/images, annotations: data/labels.csv}",
        "cvat": "{type: cvat, images: data/images, annotations: data/annotations.xml}",
        "labelme": "{type: labelme, images: data/PART, annotations: data/PART}",
        "labelstudio": "{type: labelstudio, images: data/images, annotations: data/export.json}",
    }[kind]
    data = [f"data.{part}={spec.replace('PART', part)}" for part in ("train", "val")]
    config, model = str(valid / "run" / "config.yaml"), str(valid / "run" / "model.safetensors")
    return rng.choice(
        [
            ["check", config, *data],
            ["check", config, *data, "--fix", "out"],
            ["plan", config, *data],
            ["show-data", config, *data, "--out", "out"],
            ["eval", config, *data, "--weights", model, "--out", "out"],
            ["train", config, *data, "--out", "out"],
            ["recall", str(valid / "boxes.safetensors"), "--dataset", "data"],
            ["propose", "sliding_window", "data", "--max-boxes", "10", "--out", "out.safetensors"],
        ]
    )


@family
def annotations_of_configs(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    kind = rng.choice(("coco", "voc", "yolo"))
    shutil.copytree(valid / kind, folder / "data")
    pattern, change = {
        "coco": ("*.json", changed_json),
        "voc": ("*.xml", changed_xml),
        "yolo": ("labels/*/*.txt", changed_text),
    }[kind]
    for _ in range(rng.choice((1, 3))):
        _change_one(folder / "data", pattern, rng, change)
    return _with_data(kind, valid, rng)


@family
def annotation_files(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Something else where a file of annotations was."""
    kind = rng.choice(("coco", "voc", "yolo"))
    shutil.copytree(valid / kind, folder / "data")
    files = [f for f in (folder / "data").rglob("*") if f.suffix in (".json", ".xml", ".txt", ".yaml")]
    for file in rng.sample(sorted(files), min(2, len(files))):
        content = file.read_bytes()
        file.unlink()
        way = rng.randrange(6)
        if way < 2:
            target = rng.choice((file.name, "/dev/zero", "/dev/tty", "/proc/self/environ", "nowhere"))
            file.symlink_to(target)
        elif way == 2:
            os.mkfifo(file)
        elif way == 3:
            file.mkdir()
        elif way == 4:
            name = rng.choice((b"\xff\xfe", b"x" * 240, b"a\nb", b"\x1b[31m", b"-rf"))
            Path(os.fsdecode(os.fsencode(file.parent) + b"/" + name + os.fsencode(file.suffix))).write_bytes(
                content
            )
        else:
            file.write_bytes(
                rng.choice((b"", b"\xff" * 100, b"\x00" * 1000, content.decode().encode("utf-16")))
            )
    return rng.choice((_data_command("data", rng), _with_data(kind, valid, rng)))


LINES = (
    "",
    "\x00",
    "..",
    "../../secret",
    "/etc/passwd",
    "x" * 300,
    "x" * 100_000,
    "a b",
    "\x1b[31m",
)


def _spoil_list(file: Path, rng: random.Random) -> None:
    lines = file.read_text().splitlines()
    lines.insert(rng.randrange(len(lines) + 1), rng.choice((*LINES, lines[0])))
    file.write_bytes("\n".join(lines).encode() + rng.choice((b"\n", b"", b"\r\n\xff\n")))


@family
def lists(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Lists of the images of a part: of VOC, and of YOLO as text files."""
    kind = rng.choice(("voc", "yolo"))
    shutil.copytree(valid / kind, folder / "data")
    if kind == "voc":
        _spoil_list(rng.choice(sorted((folder / "data").rglob("ImageSets/Main/*.txt"))), rng)
    else:
        for part in ("train", "val"):
            images = sorted((folder / "data" / "images" / part).iterdir())
            lines = "".join(f"./images/{part}/{image.name}\n" for image in images)
            (folder / "data" / f"{part}.txt").write_text(lines)
        file = folder / "data" / "data.yaml"
        file.write_text(
            file.read_text().replace("images/train", "train.txt").replace("images/val", "val.txt")
        )
        _spoil_list(folder / "data" / rng.choice(("train.txt", "val.txt")), rng)
    return rng.choice((_data_command("data", rng), _with_data(kind, valid, rng)))


@family
def image_folders(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Images in a folder for each class, and lists of them."""
    images = sorted((valid / "coco").rglob("*.jpg"))
    for number, part in enumerate(("train", "val")):
        for name in ("cat", "dog"):
            (folder / "data" / part / name).mkdir(parents=True)
            shutil.copy(images[number], folder / "data" / part / name / "a.jpg")
    odd = rng.choice((b"\xff\xfe", b"x" * 250, b"a\nb", b"\x1b[31m", b"...", b"-rf", b" "))
    place = Path(os.fsdecode(os.fsencode(folder / "data" / rng.choice(("train", "val"))) + b"/" + odd))
    place.mkdir()
    shutil.copy(images[2], place / "b.jpg")
    if rng.random() < 0.5:
        _spoil_image(folder / "data" / "train" / "cat" / "a.jpg", rng)
    (folder / "data" / "mine.txt").write_text("train/cat/a.jpg\ntrain/dog/a.jpg\n")
    _spoil_list(folder / "data" / "mine.txt", rng)
    split = rng.choice(("train", "data/mine.txt"))
    data = [f"data.{part}={{type: image_folder, root: data, split: {split}}}" for part in ("train", "val")]
    classifier = "classifier_resnet18_folder"
    return rng.choice(
        [
            ["init", "data", "--out", "out.yaml"],
            ["check", classifier, *data, "data.classes=[train, cat, dog]", "device=cpu"],
            ["plan", classifier, *data, "data.classes=[cat, dog]", "device=cpu"],
            ["convert", "data", "--to", "coco", "--out", "out"],
        ]
    )
