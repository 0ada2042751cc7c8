"""What a region proposal network says about each anchor, from the maps of a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.initialisation import gaussian
from detkit.models.norm import conv_block
from detkit.ops.convolution import Conv2d

Objectness = Literal["sigmoid", "softmax"]


class RPNHead(nn.Module):
    """3x3 convolutions and two 1x1 outputs, shared by all maps of a pyramid.

    Args:
        channels_in: channels of the feature maps.
        channels: channels of the 3x3 convolutions.
        num_convs: how many of them.
        num_anchors: anchors at each cell.
        objectness: `sigmoid` has one output for each anchor, `softmax` two: first those of background, of
            all anchors, then those of an object.
    """

    def __init__(
        self,
        channels_in: int,
        *,
        channels: int = 512,
        num_convs: int = 1,
        num_anchors: int = 9,
        objectness: Objectness = "sigmoid",
    ) -> None:
        super().__init__()
        widths = [channels_in] + [channels] * num_convs
        self.conv = nn.Sequential(
            *(conv_block(widths[i], widths[i + 1], size=3, norm="none", relu=True) for i in range(num_convs))
        )
        self.objectness = objectness
        self.cls_logits = Conv2d(channels, num_anchors * (1 if objectness == "sigmoid" else 2), 1)
        self.bbox_pred = Conv2d(channels, num_anchors * 4, 1)
        self.num_anchors = num_anchors
        gaussian(self, 0.01)

    @property
    def sees_one_window(self) -> bool:
        """Whether what is said about a cell depends on the 3x3 cells around it alone."""
        return len(self.conv) == 1

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, H*W*A) logits and (B, H*W*A, 4) deltas in float32, ordered as the anchors are.

        A logit is that of a sigmoid. Of a softmax it is the difference of the two outputs: the sigmoid of it
        is the softmax's score, its loss the softmax's loss, and both outputs get their gradient through it.
        """
        out = self.conv(features)
        logits = self._logits(self.cls_logits(out).permute(0, 2, 3, 1)).flatten(1)
        deltas = self.bbox_pred(out).permute(0, 2, 3, 1).reshape(out.shape[0], -1, 4)
        return logits, deltas.float()

    def say_about(self, maps: Sequence[Tensor], image: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` says about some anchors, computed from the windows around them alone.

        A training step scores 256 of an image's 200,000 anchors: the gradient of all others is zero, and
        convolving zeros takes as long as convolving anything else.

        Args:
            maps: (B, C, H, W) feature maps.
            image: (N,) which of the B images.
            anchor: (N,) which of the anchors of all maps, as `forward` orders them.

        Returns:
            (N,) logits and (N, 4) deltas in float32.
        """
        cells = anchor // self.num_anchors
        padding = maps[0].new_zeros(1, maps[0].shape[1])
        rows = torch.cat([*(features.permute(0, 2, 3, 1).flatten(0, 2) for features in maps), padding])
        # An embedding is the lookup whose gradient is summed in the same order on each run.
        windows = F.embedding(_window_rows(maps, image, cells), rows).flatten(1)
        conv = cast(Conv2d, cast(nn.Sequential, self.conv[0])[0])
        hidden = F.relu(F.linear(windows, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias))
        logits = self._logits(F.linear(hidden, self.cls_logits.weight.flatten(1), self.cls_logits.bias))
        deltas = F.linear(hidden, self.bbox_pred.weight.flatten(1), self.bbox_pred.bias)
        own = anchor - cells * self.num_anchors
        every = torch.arange(len(anchor), device=anchor.device)
        return logits[every, own], deltas.view(len(anchor), self.num_anchors, 4)[every, own].float()

    def _logits(self, outputs: Tensor) -> Tensor:
        """Return (..., A) logits in float32 of what `cls_logits` gives for each cell."""
        outputs = outputs.float()
        if self.objectness == "sigmoid":
            return outputs
        background, objects = outputs.chunk(2, dim=-1)
        return objects - background


def _window_rows(maps: Sequence[Tensor], image: Tensor, cells: Tensor) -> Tensor:
    """Return (N, 9) rows of the 3x3 cells around some cells; those outside are the row after the last.

    Rows count the cells of all images of the first map, then those of the second. Sizes differ by map, and
    are looked up instead of asked for, so that nothing waits for the device.

    Args:
        maps: (B, C, H, W) feature maps.
        image: (N,) which image.
        cells: (N,) which cell of an image, counted through its maps.
    """
    sizes = [features.shape[2:] for features in maps]
    begins = list(accumulate((size.numel() for size in sizes), initial=0))
    num_rows = len(maps[0]) * begins[-1]
    known = torch.tensor([(*size, begin) for size, begin in zip(sizes, begins[:-1], strict=True)])
    ends = torch.tensor(begins[1:])
    known, ends = (each.to(cells.device, non_blocking=True) for each in (known, ends))
    height, width, begin = known[torch.bucketize(cells, ends, right=True)][:, :, None, None].unbind(1)
    within = cells[:, None, None] - begin
    top = within // width
    step = torch.arange(-1, 2, device=cells.device)
    y, x = top + step[:, None], within - top * width + step
    first = len(maps[0]) * begin + image[:, None, None] * height * width
    outside = (y < 0) | (y >= height) | (x < 0) | (x >= width)
    rows: Tensor = (first + y * width + x).masked_fill(outside, num_rows)
    return rows.flatten(1)
