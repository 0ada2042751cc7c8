"""Parts of a user's own, as a config names them: each the least that its place asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.rpn.rpn import Limits


class Backbone(nn.Module):
    """A map for each stride, straight from the pixels."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 6, stride, stride) for stride in strides)
        self.channels, self.strides = (6,) * len(strides), tuple(strides)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return [conv(pixels) for conv in self.convs]


class Neck(nn.Module):
    """One more map, and all of one width."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], width: int, last: bool = True):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(each, width, 1) for each in channels)
        self.channels, self.strides = (width,) * (len(channels) + 1), (*strides, 2 * strides[-1])
        if not last:
            self.region_strides = strides

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        own = [conv(features) for conv, features in zip(self.convs, maps, strict=True)]
        return [*own, F.max_pool2d(own[-1], 1, stride=2)]


class Proposals(nn.Module):
    """A box of one size around the best cells of the finest map."""

    def __init__(self, channels: tuple[int, ...], strides: tuple[int, ...], side: float) -> None:
        super().__init__()
        self.conv, self.stride, self.side = nn.Conv2d(channels[0], 1, 1), strides[0], side
        self.train_limits = self.test_limits = Limits(100, 20)

    def forward(self, maps: list[Tensor], sizes: Any) -> Tensor:
        return self.conv(maps[0])[:, 0]

    def losses(self, output: Tensor, targets: Any, sizes: Any, seed: int) -> tuple[Tensor, Tensor]:
        return F.softplus(output).mean(), 0 * output.sum()

    def propose(self, output: Tensor, sizes: Any, limits: Limits) -> list[Tensor]:
        boxes = []
        for scores, (height, width) in zip(output.detach(), sizes, strict=True):
            best = scores.flatten().topk(min(limits.post_nms, scores.numel())).indices
            centre = torch.stack([best % scores.shape[1], best // scores.shape[1]], 1) * self.stride
            around = torch.cat([centre - self.side / 2, centre + self.side / 2], 1)
            boxes.append(torch.minimum(around.clamp(min=0), torch.tensor([width, height] * 2)))
        return boxes


class Regions(nn.Module):
    """Nothing but the mean of a whole map, in each cell of each region."""

    def __init__(
        self, channels: tuple[int, ...], strides: tuple[int, ...], size: int, gives: int = 0
    ) -> None:
        super().__init__()
        self.channels, self.size, self.strides = channels[0], size, strides
        self.scale, self.gives = nn.Parameter(torch.ones(1)), gives or size

    def forward(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        assert len(maps) == len(self.strides)
        means = maps[-1].mean((2, 3))
        rows = torch.cat([own.expand(len(each), -1) for own, each in zip(means, boxes, strict=True)])
        return self.scale * rows[:, :, None, None].expand(-1, -1, self.gives, self.gives)


class Head(nn.Module):
    """The head of Fast and Faster R-CNN: one class, and boxes as they are proposed."""

    def __init__(self, features: Any, channels: int, size: int, num_classes: int) -> None:
        super().__init__()
        self.features, self.score = features, nn.Linear(channels * size * size, num_classes)

    def losses(self, maps: Any, proposals: Any, targets: Any, seed: int) -> tuple[Tensor, Tensor]:
        logits = self.score(self.features(maps, proposals).flatten(1))
        return F.softplus(logits).mean(), 0 * logits.sum()

    def detect(self, maps: Any, proposals: Any, sizes: Any) -> list[Any]:
        from detkit.structures import Detections

        scores = self.score(self.features(maps, proposals).flatten(1)).sigmoid()[:, 0]
        parts = torch.split(scores, [len(own) for own in proposals])
        return [
            Detections(boxes, own, torch.zeros(len(boxes), dtype=torch.int64))
            for boxes, own in zip(proposals, parts, strict=True)
        ]


class Decision(nn.Module):
    """The head of R-CNN and SPP-net: a softmax on pool5."""

    layer = "pool5"

    def __init__(self, widths: dict[str, int], num_classes: int) -> None:
        super().__init__()
        self.of_pool5, self.num_classes = nn.Linear(widths["pool5"], num_classes + 1), num_classes

    def loss(self, vectors: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.of_pool5(vectors), labels)

    def scores(self, vectors: Tensor) -> Tensor:
        return self.of_pool5(vectors).softmax(1)[:, :-1]

    def deltas(self, vectors: Tensor) -> Tensor:
        return vectors.new_zeros((len(vectors), 1, 4))


class Without(nn.Module):
    """A module that fits nowhere."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        for name, value in given.items():
            setattr(self, name, value)
