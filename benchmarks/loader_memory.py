"""Memory of a COCO-size dataset with loader processes: detkit's flat arrays beside a list of dicts.

118,287 images with 860,001 objects are written as a COCO file, with a small JPEG behind all names. Each
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
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.coco_set import CLASSES, NUM_IMAGES, NUM_OBJECTS, write_coco_set
from measuring.turns import machine
from PIL import Image
from torch.utils.data import DataLoader, Dataset


def our_batches(folder: Path, workers: int, start: str) -> Iterator[Any]:
    from detkit.data.config import DataConfig
    from detkit.data.datasets.builder import open_training_set
    from detkit.data.datasets.index import Index
    from detkit.data.loading.loaders import TrainLoader
    from detkit.data.loading.samples import DetectionDataset

    multiprocessing.set_start_method(start, force=True)
    train = {"type": "coco", "images": str(folder / "images"), "annotations": str(folder / "instances.json")}
    data = DataConfig.model_validate({"classes": CLASSES, "train": train})
    source, _ = open_training_set(data)
    dataset = DetectionDataset(Index.of(source.annotations), source.pixels, [], seed=0)
    loader = TrainLoader(data, dataset, batch_size=4, seed=0, workers=workers, pin_memory=False)
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
            self.objects[record["image_id"] - 1].append(record)

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


def write_part(folder: Path, num_images: int) -> None:
    folder.mkdir()
    write_coco_set(folder, num_images, round(num_images * NUM_OBJECTS / NUM_IMAGES))


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
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        write_part(Path(name) / "small", 1_000)
        write_part(Path(name) / "large", NUM_IMAGES)
        for start in ("fork", "spawn"):
            given = (Path(name), arguments.workers, start, arguments.images)
            rows.append(claim(start, arguments.workers, growth("ours", *given), growth("peer", *given)))
    text = json.dumps(rows, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
