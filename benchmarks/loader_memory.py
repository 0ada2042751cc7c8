"""Memory of a COCO-size dataset with loader processes: detkit's flat arrays beside a list of dicts.

118,000 images with 860,000 boxes are written as a COCO file, with one small JPEG behind all names. Each
side is read in a process of its own that starts 8 loader processes, reads 10,000 images and reports the
proportional memory (PSS) of itself and its loaders, before, after the first images and at the end. The
peer is what most tutorials do: a dataset that keeps `json.load`'s records for each image in a list.

    python benchmarks/loader_memory.py [--workers 8] [--images 10000] [--json FILE]

`ours_s` and `peer_s` are the seconds from the file to the first batch; `ours_mib`, `peer_mib` how much more
memory all processes together took than with 1,000 images; `late_growth_mib` how much of that came after the
first 1,000 images were read.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

NUM_IMAGES, NUM_BOXES, NUM_CLASSES = 118_000, 860_000, 80
CLASSES = tuple(f"class{number}" for number in range(NUM_CLASSES))
LINKS_A_FILE = 60_000  # file systems allow about so many names for one file


def write_dataset(folder: Path, num_images: int, num_boxes: int) -> None:
    """Write images/ and instances.json."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir(parents=True)
    names = [f"{number:012d}.jpg" for number in range(num_images)]
    for number, name in enumerate(names):
        if number % LINKS_A_FILE == 0:
            Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(images / name)
        else:
            os.link(images / names[number - number % LINKS_A_FILE], images / name)
    owner = np.sort(rng.integers(0, num_images, num_boxes)).tolist()
    corners = (rng.uniform(0, (40, 30), (num_boxes, 2))).round(2).tolist()
    sizes = (rng.uniform(2, (20, 15), (num_boxes, 2))).round(2).tolist()
    category = rng.integers(1, NUM_CLASSES + 1, num_boxes).tolist()
    content = {
        "images": [
            {"id": number, "file_name": name, "height": 48, "width": 64} for number, name in enumerate(names)
        ],
        "annotations": [
            {
                "id": number + 1,
                "image_id": owner[number],
                "category_id": category[number],
                "bbox": corners[number] + sizes[number],
                "area": round(sizes[number][0] * sizes[number][1], 4),
                "iscrowd": 0,
            }
            for number in range(num_boxes)
        ],
        "categories": [{"id": number + 1, "name": name} for number, name in enumerate(CLASSES)],
    }
    (folder / "instances.json").write_text(json.dumps(content))


def our_batches(folder: Path, workers: int, start: str) -> Iterator[Any]:
    from detkit.build.data import open_training_set
    from detkit.config.data import Data
    from detkit.data.index import Index
    from detkit.data.loading import make_train_loader
    from detkit.data.samples import DetectionDataset

    multiprocessing.set_start_method(start, force=True)
    train = {"type": "coco", "images": str(folder / "images"), "annotations": str(folder / "instances.json")}
    source, _ = open_training_set(Data.model_validate({"classes": CLASSES, "train": train}))
    dataset = DetectionDataset(Index.of(source.annotations), source.pixels, [], seed=0)
    loader = make_train_loader(
        dataset, batch_size=4, seed=0, workers=workers, rank=0, world_size=1, group_by_aspect=True,
        repeat_threshold=0.0, num_classes=NUM_CLASSES, pin_memory=False,
    )  # fmt: skip
    del source
    gc.collect()
    return iter(loader.epoch(0))


class Records(Dataset[Any]):
    """Keeps each image's record and those of its objects."""

    def __init__(self, folder: Path) -> None:
        content = json.loads((folder / "instances.json").read_text())
        self.folder, self.images = folder / "images", content["images"]
        self.objects: list[list[dict[str, Any]]] = [[] for _ in self.images]
        for record in content["annotations"]:
            self.objects[record["image_id"]].append(record)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, image: int) -> Any:
        pixels = np.asarray(Image.open(self.folder / self.images[image]["file_name"]))
        boxes = [record["bbox"] for record in self.objects[image]]
        return torch.from_numpy(pixels.copy()), torch.tensor(boxes).reshape(-1, 4)


def same_list(items: list[Any]) -> list[Any]:
    return items


def their_batches(folder: Path, workers: int, start: str) -> Iterator[Any]:
    loader = DataLoader(
        Records(folder),
        batch_size=4,
        shuffle=True,
        num_workers=workers,
        multiprocessing_context=start,
        collate_fn=same_list,
    )
    return iter(loader)


def pss_mib() -> float:
    """Return the proportional memory of this process and all below it."""
    total = 0
    for process in [os.getpid(), *(p.pid for p in multiprocessing.active_children() if p.pid)]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(
    make: Callable[[Path, int, str], Iterator[Any]], folder: Path, workers: int, start: str, images: int
) -> dict[str, float]:
    """Return seconds to the first batch, and the memory's growth; run in a fresh process."""
    torch.set_num_threads(1)
    before, begin = pss_mib(), time.perf_counter()
    batches = make(folder, workers, start)
    next(batches)
    first_s = time.perf_counter() - begin
    early = 0.0
    for number in range(1, images // 4):
        next(batches)
        if number == min(250, images // 8):
            early = pss_mib()
    end = pss_mib()
    return {
        "seconds": first_s,
        "growth_mib": end - before,
        "late_growth_mib": end - early,
    }


def _child(pipe: Any, side: str, *arguments: Any) -> None:
    pipe.send(measure(our_batches if side == "ours" else their_batches, *arguments))
    pipe.close()


def in_fresh_process(side: str, *arguments: Any) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, side, *arguments))
    process.start()
    theirs.close()
    result: dict[str, float] = ours.recv()
    process.join()
    return result


def growth(side: str, folder: Path, workers: int, start: str, images: int) -> dict[str, float]:
    """Return what the large dataset takes beyond a small one, whose loaders hold little but torch."""
    small = in_fresh_process(side, folder / "small", workers, start, 400)
    large = in_fresh_process(side, folder / "large", workers, start, images)
    return large | {"growth_mib": large["growth_mib"] - small["growth_mib"]}


def claim(start: str, workers: int, ours: dict[str, float], peer: dict[str, float]) -> dict[str, object]:
    return {
        "claim": f"COCO-size dataset, {workers} {start}ed loaders: file to first batch",
        "ours_s": round(ours["seconds"], 2),
        "peer": "a list of dicts",
        "peer_s": round(peer["seconds"], 2),
        "ratio": round(peer["seconds"] / ours["seconds"], 2),
        "same_answer": None,
        "ours_mib": round(ours["growth_mib"]),
        "peer_mib": round(peer["growth_mib"]),
        "late_growth_mib": round(ours["late_growth_mib"]),
        "peer_late_growth_mib": round(peer["late_growth_mib"]),
        "machine": f"{platform.processor() or platform.machine()}, torch {torch.__version__}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_dataset(Path(name) / "small", 1_000, 7_000)
        write_dataset(Path(name) / "large", NUM_IMAGES, NUM_BOXES)
        for start in ("fork", "spawn"):
            given = (Path(name), arguments.workers, start, arguments.images)
            rows.append(claim(start, arguments.workers, growth("ours", *given), growth("peer", *given)))
    text = json.dumps(rows, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
