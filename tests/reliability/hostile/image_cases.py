"""Hostile images: names that lead out of a dataset, folders that are something else, files that unfold."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
from functools import cache
from pathlib import Path

from PIL import Image

from tests.reliability.hostile.cases import _data_command, _png, family

KINDS = ("coco", "voc", "yolo")
OUTSIDE = ("/etc/passwd", "/dev/zero", "/proc/self/environ", "/proc/kcore", "/", "..", ".", "")


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in (".jpg", ".png"))


def _dataset(folder: Path, valid: Path, rng: random.Random) -> tuple[str, list[Path]]:
    kind = rng.choice(KINDS)
    shutil.copytree(valid / kind, folder / "data")
    return kind, _images(folder / "data")


def _command(data: str, rng: random.Random) -> list[str]:
    if rng.random() < 0.2:
        return ["propose", "sliding_window", data, "--out", "out.safetensors", "--max-boxes", "5"]
    return _data_command(data, rng)


def _leading_out(folder: Path, rng: random.Random) -> str:
    secret = str(folder / "secret.jpg")
    climbing = ("../../secret.jpg", "../../../secret.jpg", "a/../../../secret.jpg", "../../secret.txt")
    return rng.choice((*OUTSIDE, secret, secret, *climbing, *climbing))


@family
def image_places(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Names of images, lists and splits that lead out of the dataset."""
    kind, images = _dataset(folder, valid, rng)
    data = folder / "data"
    if rng.random() < 0.3:
        image = rng.choice(images)
        image.unlink()
        image.symlink_to(
            rng.choice((folder / "secret.jpg", folder / "secret.txt", image.parent, "/dev/zero"))
        )
    elif kind == "coco":
        for file in data.rglob("*.json"):
            content = json.loads(file.read_text())
            for item in rng.sample(content["images"], 2):
                item["file_name"] = _leading_out(folder, rng)
            file.write_text(json.dumps(content))
    elif kind == "voc":
        stem = _leading_out(folder, rng).removesuffix(".jpg")
        file = rng.choice(sorted(data.rglob("ImageSets/Main/*.txt")))
        file.write_text(f"{file.read_text()}{stem}\n")
        annotations = sorted(data.rglob("*.xml"))
        (folder / "secret.xml").write_text(annotations[0].read_text())
        annotations[1].write_text(
            annotations[1].read_text().replace(images[1].name, _leading_out(folder, rng))
        )
    else:
        (data / "list.txt").write_text("".join(f"{_leading_out(folder, rng)}\n" for _ in range(3)))
        places = ["list.txt", "/", "/dev", "/proc", "..", "../..", str(folder), _leading_out(folder, rng)]
        train, val = rng.choice(places), rng.choice(("images/val", *places))
        path = (
            f"path: {rng.choice(('/', '..', str(folder), '/proc', '/etc'))}\n" if rng.random() < 0.3 else ""
        )
        (data / "data.yaml").write_text(f"{path}train: {train}\nval: {val}\nnames: [a, b, c, d, e]\n")
        return _command(rng.choice(("data", "data/data.yaml")), rng)
    return _command("data", rng)


@family
def image_links(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Folders of images that are links to places where no images are, or hold themselves."""
    _, images = _dataset(folder, valid, rng)
    place = rng.choice(sorted({image.parent for image in images}))
    way = rng.randrange(4)
    if way == 0:
        shutil.rmtree(place)
        place.symlink_to(rng.choice(("/", "/etc", "/dev", "/proc", place.name, "..", folder / "secret.txt")))
    elif way == 1:
        for name in ("a", "b.jpg"):
            (place / name).symlink_to(rng.choice((".", "..", "/", name)))
    elif way == 2:
        deep = place
        for _ in range(200):
            deep = deep / "x.jpg"
        deep.mkdir(parents=True)
    else:
        shutil.rmtree(folder / "data")
        for part in ("train", "val"):
            for name in ("cat", "dog"):
                (folder / "data" / part / name).mkdir(parents=True)
        for number, target in enumerate(("/dev/zero", folder / "secret.txt", "1.jpg", "/")):
            (folder / "data" / "train" / "cat" / f"{number}.jpg").symlink_to(target)
        (folder / "data" / "train" / "dog" / "pictures").symlink_to("/")
        return ["init", "data", "--out", "out.yaml"]
    return _command("data", rng)


def _encoded(kind: str, size: tuple[int, int], mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size).save(stream, kind, **options)
    return stream.getvalue()


@cache
def _large() -> bytes:
    """Return a grey image that is within the bound of pixels."""
    return _png(11_000, 11_000, 11_000)


def _bomb(rng: random.Random) -> bytes:
    way = rng.randrange(6)
    if way == 0:
        return _large()
    if way == 1:
        return _png(
            *rng.choice(
                ((178_956_970, 1, 1), (1, 178_956_970, 50_000), (150, 1_000_000, 9), (60_000, 60_000, 10))
            )
        )
    if way == 2:
        jpeg = _encoded("JPEG", (48, 32))
        start = jpeg.index(b"\xff\xc0") + 5
        sides = struct.pack(">HH", rng.choice((65_500, 13_000, 0)), rng.choice((65_500, 13_000, 0)))
        return jpeg[:start] + sides + jpeg[start + 4 :]
    if way == 3:
        bmp = _encoded("BMP", (48, 32))
        sides = rng.choice(((2**31 - 1, -(2**31)), (40_000, 40_000), (-1, -1)))
        return bmp[:18] + struct.pack("<ii", *sides) + bmp[26:]
    if way == 4:
        gif = _encoded("GIF", (8, 8), "P")
        frames = [Image.new("P", (8, 8), shade) for shade in range(200)]
        many = _encoded("GIF", (8, 8), "P", save_all=True, append_images=frames)
        return rng.choice((many, gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:]))
    tiff = b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 4, 2**32 - 1, 0, 8)
    return rng.choice((tiff, _encoded("PNG", (2_000, 2_000), "I;16"), _encoded("TIFF", (3_000, 3_000))))


@family
def image_bombs(folder: Path, valid: Path, rng: random.Random) -> list[str]:
    """Files of a few bytes that stand for a lot."""
    _, images = _dataset(folder, valid, rng)
    content = _bomb(rng)
    for image in rng.sample(images, 2):
        image.write_bytes(content)
    if rng.random() < 0.3:
        (folder / "photos").mkdir()
        shutil.copy(images[0], folder / "photos" / "a.jpg")
        (folder / "photos" / "b.jpg").write_bytes(content)
        model = str(valid / "run" / "model.safetensors")
        return ["predict", model, "photos", "--out", "out", "--threshold", "0", "--draw"]
    return _command("data", rng)
