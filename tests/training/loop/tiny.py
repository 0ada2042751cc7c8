"""A detector of a few hundred weights, and batches for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from detkit.runtime.session import Session
from detkit.structures import Detections, ImageBatch, Target, TrainBatch
from detkit.training.loop.checkpoint import TrainingState
from detkit.training.loop.fit import fit
from detkit.training.loop.optim import Schedule, constant, sgd
from detkit.training.loop.timeline import Timeline

NUM_IMAGES, BATCH = 12, 2
STEPS = NUM_IMAGES // BATCH


class TinyDetector(nn.Module):
    """Convolution, norm, dropout and a head; the losses are means over the images."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, 5)
        self.fault: str | None = None

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        pooled = self._pooled(batch.images)
        found = self.head(self.dropout(pooled))
        noise = torch.tensor([(batch.seed ^ t.image) % 97 / 97 for t in batch.targets])
        boxes = torch.stack([t.boxes.sum(0) / max(len(t), 1) for t in batch.targets]) / 8
        labels = torch.tensor([float(t.labels.sum()) for t in batch.targets])
        head_box = ((found[:, :4] - boxes) ** 2).mean(1).mean()
        head_class = ((found[:, 4] - labels - noise) ** 2).mean()
        if self.fault:
            head_class = head_class * float(self.fault)
        return {"head_class": head_class, "head_box": head_box}

    def detect(self, images: ImageBatch) -> list[Detections]:
        found = self.head(self._pooled(images)).detach()
        return [
            Detections(
                torch.tensor([[0.0, 0.0, float(w), float(h)]]), row[4:].sigmoid().float(), torch.tensor([0])
            )
            for row, (h, w) in zip(found, images.originals, strict=True)
        ]

    def _pooled(self, images: ImageBatch) -> Tensor:
        pixels = images.pixels.float() / 255
        return self.norm(self.conv(pixels)).relu().mean((2, 3))


class TinyImages(Dataset[tuple[Tensor, Target]]):
    """Images of noise that depends on epoch and index, as augmentation would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return NUM_IMAGES

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        pixels = torch.randint(0, 256, (3, 8, 8), generator=generator, dtype=torch.uint8)
        boxes = torch.tensor([[0.0, 0.0, 4.0 + index % 3, 5.0]])
        return pixels, Target.of(boxes, torch.tensor([index % 2]), image=index)


def collate(items: list[tuple[Tensor, Target]]) -> TrainBatch:
    pixels = torch.stack([item[0] for item in items])
    sizes = ((8, 8),) * len(items)
    return TrainBatch(ImageBatch(pixels, sizes, sizes), tuple(item[1] for item in items))


class Loader:
    """Gives the batches of an epoch from a step on, in an order that the epoch decides."""

    def __init__(self, workers: int = 0, rank: int = 0, world: int = 1, batch: int = BATCH) -> None:
        self.workers, self.rank, self.world, self.batch = workers, rank, world, batch

    def __call__(self, epoch: int, start_step: int) -> Iterable[TrainBatch]:
        order = torch.randperm(NUM_IMAGES, generator=torch.Generator().manual_seed(epoch)).tolist()
        batches = [order[at : at + self.batch] for at in range(0, NUM_IMAGES, self.batch)][start_step:]
        share = self.batch // self.world
        mine = [batch[self.rank * share : (self.rank + 1) * share] for batch in batches]
        context = "fork" if self.workers else None
        return DataLoader(
            TinyImages(epoch),
            batch_sampler=mine,
            num_workers=self.workers,
            collate_fn=collate,
            multiprocessing_context=context,
        )


def tiny_model(dropout: float = 0.5) -> TinyDetector:
    torch.manual_seed(3)
    return TinyDetector(dropout)


def train(model: nn.Module, **changes: Any) -> TrainingState:
    """Fit with settings that suit most tests."""
    epochs, steps_per_epoch = changes.pop("epochs", 2), changes.pop("steps_per_epoch", STEPS)
    settings: dict[str, Any] = {
        "batches": Loader(),
        "optimizer": sgd(model, lr=0.05, momentum=0.9, weight_decay=1e-4, bias_lr_factor=2.0),
        "schedule": Schedule(constant(), 2, 0.1),
        "timeline": Timeline([steps_per_epoch] * epochs),
        "seed": 5,
        "session": Session(torch.device("cpu")),
        "accumulate": 1,
        "clip_norm": 0.0,
        "ema_decay": None,
        "validation": None,
        "image_name": lambda index: f"image_{index}.jpg",
        "folder": None,
        "save_every_steps": 0,
        "resumes": False,
        "config_text": "version: 1\n",
    }
    if "loader" in changes:
        changes["batches"] = changes.pop("loader")
    return fit(model, **(settings | changes))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def batches(epoch: int = 0) -> Iterator[TrainBatch]:
    return iter(Loader()(epoch, 0))
