"""Regions of images, each cut out and resized to the square that a network takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.errors import UserError
from detkit.ops.kernels.warp_loops import warp_regions
from detkit.runtime.compiled import run_all

_CROPS_AT_ONCE = 4
"""Crops a thread takes at a time."""

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class WarpPlan:
    """The cuts of R regions, in whole pixels.

    Attributes:
        sources: (R, 4) x, y, width and height of the cut in the image.
        places: (R, 4) x, y, width and height of what it is resized to, in the output. What it leaves free of
            the output lies outside the image.
    """

    sources: Whole
    places: Whole

    def __len__(self) -> int:
        return len(self.sources)


def plan_warp(
    boxes: NDArray[np.floating], image_size: tuple[int, int], size: int, context_px: int, *, square: bool
) -> WarpPlan:
    """Return where regions are cut so that each has `context_px` pixels around it, once it is resized.

    The context is measured in the output: a box is widened about its centre by size / (size - 2 context)
    and its edges are rounded to pixels, half away from zero. What lies outside the image is cut off, and
    keeps its share of the output. As in the paper's code, the centre lies half a pixel to the right of, and
    below, the box's own, which widens the cut by a pixel.

    Args:
        boxes: (R, 4) corner boxes in pixels, each with some of its area in the image.
        image_size: (height, width) in pixels.
        size: side of the output in pixels.
        context_px: pixels of context on every side of the output.
        square: widen the shorter side of each box to the longer one first, so that nothing is stretched.

    Raises:
        UserError: the context leaves no room for the region.

    Example:
        >>> box = np.array([[100.0, 100.0, 200.0, 200.0]])
        >>> plan = plan_warp(box, (400, 400), 227, 16, square=False)
        >>> plan.sources.tolist(), plan.places.tolist()
        ([[92, 92, 117, 117]], [[0, 0, 227, 227]])

    Reference: Girshick et al., R-CNN, CVPR 2014, appendix A.
    """
    if 2 * context_px >= size:
        raise UserError(f"regions.context_px: {context_px} on both sides leave nothing of {size} pixels")
    corners = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    half = (corners[:, 2:] - corners[:, :2]) / 2
    centre = corners[:, :2] + 1 + half  # in the papers' coordinates, which count pixels from 1
    if square:
        half = half.max(axis=1, keepdims=True)
    reach = half * (size / (size - 2 * context_px))
    first, last = _round(centre - reach), _round(centre + reach)
    sides = last - first + 1
    limits = np.array([image_size[1], image_size[0]], dtype=np.float64)
    low = np.clip(first, 1, limits)
    cut = np.maximum(np.minimum(last, limits) - low + 1, 1)
    free = _round(np.maximum(1 - first, 0) * (size / sides))
    place = np.minimum(free, size - 1)
    shown = np.minimum(np.maximum(_round(cut * (size / sides)), 1), size - place)
    return WarpPlan(_whole(low - 1, cut), _whole(place, shown))


def cuts_of_images(
    boxes: Tensor,
    sizes: Tensor,
    padded: tuple[int, int] | torch.Size,
    size: int,
    context_px: int,
    *,
    square: bool,
) -> Cuts:
    """Return what `plan_warp` plans for regions of several images, for an exported graph.

    Args:
        boxes: (B, P, 4) corner boxes in pixels.
        sizes: (B, 2) height and width in pixels of each image inside the padding.
        padded: height and width of all images, which lie in the table one behind the other.
        size: side of the output in pixels.
        context_px: see `plan_warp`.
        square: see `plan_warp`.

    Example:
        >>> box, one = torch.tensor([[[100.0, 100.0, 200.0, 200.0]]]), torch.tensor([[400, 400]])
        >>> cuts = cuts_of_images(box, one, (400, 400), 227, 16, square=False)
        >>> cuts.starts.tolist(), cuts.sources.tolist(), cuts.places.tolist()
        ([36892], [[117, 117]], [[0, 0, 227, 227]])
    """
    corners, limits = boxes.double(), sizes.flip(1)[:, None].double()
    half = (corners[..., 2:] - corners[..., :2]) / 2
    centre = corners[..., :2] + 1 + half
    if square:
        half = half.amax(dim=-1, keepdim=True)
    reach = half * (size / (size - 2 * context_px))
    first, last = _round_half_out(centre - reach), _round_half_out(centre + reach)
    sides = last - first + 1
    low = first.clamp(min=1).minimum(limits)
    cut = (last.minimum(limits) - low + 1).clamp(min=1)
    place = _round_half_out((1 - first).clamp(min=0) * (size / sides)).clamp(max=size - 1)
    shown = _round_half_out(cut * (size / sides)).clamp(min=1).minimum(size - place)
    x, y = (low - 1).long().flatten(0, 1).unbind(1)
    image = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(boxes.shape[:2]).flatten()
    starts = (image * padded[0] + y) * padded[1] + x
    return Cuts(
        starts,
        torch.ones_like(starts) * padded[1],
        cut.long().flatten(0, 1),
        torch.cat([place, shown], dim=-1).long().flatten(0, 1),
        torch.zeros_like(starts, dtype=torch.bool),
    )


def _round_half_out(values: Tensor) -> Tensor:
    return values.sign() * (values.abs() + 0.5).floor()


@dataclass(frozen=True)
class Cuts:
    """Where R cuts lie in a table of pixels, and where they land in their crops.

    Attributes:
        starts: (R,) int64 row of the table of each cut's first pixel.
        strides: (R,) int64 rows of the table from one line of the image to the next.
        sources: (R, 2) int64 width and height of the cut.
        places: (R, 4) int64 x, y, width and height of what it becomes, in the crop.
        flipped: (R,) bool, whether the crop is mirrored.
    """

    starts: Tensor
    strides: Tensor
    sources: Tensor
    places: Tensor
    flipped: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> Cuts:
        """Return the same cuts on `device`."""
        return Cuts(**{name: value.to(device, non_blocking=True) for name, value in vars(self).items()})

    def part(self, start: int, stop: int) -> Cuts:
        """Return the cuts from `start` to `stop`."""
        return Cuts(**{name: value[start:stop] for name, value in vars(self).items()})

    @staticmethod
    def in_image(plan: WarpPlan, width: int, first_row: int = 0) -> Cuts:
        """Return planned cuts of one image that lies in the table line by line.

        Args:
            plan: the cuts.
            width: pixels from one line of the image to the next, padding included.
            first_row: row of the table of the image's first pixel.
        """
        sources, places = torch.from_numpy(plan.sources), torch.from_numpy(plan.places)
        starts = first_row + sources[:, 1] * width + sources[:, 0]
        flipped = torch.zeros(len(plan), dtype=torch.bool)
        return Cuts(starts, torch.full_like(starts, width), sources[:, 2:].contiguous(), places, flipped)


def warp(
    table: Tensor, cuts: Cuts, size: int, mean: Tensor, std: Tensor, out: Tensor | None = None
) -> Tensor:
    """Return the crops of all cuts, resized by bilinear interpolation without anti-aliasing, and normalised.

    What lies outside the image is 0, which is the mean colour. All of PyTorch's threads share the work on the
    CPU; on a GPU, and where the pixels get a gradient, the crops are gathered in one go.

    Args:
        table: (P, 3) pixels, uint8 or float.
        cuts: R cuts, on the table's device.
        size: side S of the crops.
        mean: (3,) taken off each pixel.
        std: (3,) that it is divided by then.
        out: (at least R, S, S, 3) float32 on the CPU whose memory is used again; None takes new memory.

    Returns:
        (R, 3, S, S) float32 in channels-last memory format.

    Raises:
        UserError: the table has another shape, or a cut reaches beyond its end.

    Example:
        >>> table = torch.arange(4.0).repeat_interleave(3).view(4, 3)  # an image of 2 x 2 pixels
        >>> whole = torch.tensor([[0, 0, 2, 2]]).numpy()
        >>> cuts = Cuts.in_image(WarpPlan(whole, torch.tensor([[1, 0, 2, 2]]).numpy()), width=2)
        >>> warp(table, cuts, 3, torch.zeros(3), torch.ones(3))[0, 0]
        tensor([[0., 0., 1.],
                [0., 2., 3.],
                [0., 0., 0.]])

    Reference: Girshick et al., R-CNN, CVPR 2014, appendix A.
    """
    if table.dim() != 2 or table.shape[1] != 3:
        raise UserError(f"table: expected pixels of shape (P, 3), got {tuple(table.shape)}")
    if len(cuts) == 0:
        return table.new_zeros((0, 3, size, size), dtype=torch.float32)
    _require_inside(len(table), cuts)
    if table.device.type != "cpu" or table.requires_grad:
        return gathered(table, cuts, size, mean, std)
    crops = torch.empty((len(cuts), size, size, 3)) if out is None else out[: len(cuts)]
    starts, strides = cuts.starts.numpy(), cuts.strides.numpy()
    sources, places, flipped = cuts.sources.numpy(), cuts.places.numpy(), cuts.flipped.numpy()
    pixels, target = table.reshape(-1).numpy(), crops.view(len(cuts), size, 3 * size).numpy()
    centre, gain = mean.float().numpy(), (1 / std.float()).numpy()

    def fill(begin: int) -> None:
        end = min(begin + _CROPS_AT_ONCE, len(cuts))
        warp_regions(pixels, starts, strides, sources, places, flipped, centre, gain, target, begin, end)

    run_all(fill, range(0, len(cuts), _CROPS_AT_ONCE), torch.get_num_threads())
    return crops.permute(0, 3, 1, 2)


def _require_inside(num_pixels: int, cuts: Cuts) -> None:
    """Raise where a cut is not in the table: the compiled loops read memory unchecked."""
    last = cuts.starts + (cuts.sources[:, 1] - 1) * cuts.strides + cuts.sources[:, 0] - 1
    if int(cuts.starts.min()) < 0 or int(last.max()) >= num_pixels or int(cuts.sources.min()) < 1:
        raise UserError(f"cuts: reach beyond the {num_pixels} pixels there are")


def gathered(table: Tensor, cuts: Cuts, size: int, mean: Tensor, std: Tensor) -> Tensor:
    """Return the crops of `warp` by indexing, on any device."""
    left, right, share_x, inside_x = _taps(cuts.sources[:, 0], cuts.places[:, 0], cuts.places[:, 2], size)
    upper, lower, share_y, inside_y = _taps(cuts.sources[:, 1], cuts.places[:, 1], cuts.places[:, 3], size)

    def line(y: Tensor) -> Tensor:
        rows = (cuts.starts[:, None] + y * cuts.strides[:, None])[:, :, None]
        first, second = table[rows + left[:, None]].float(), table[rows + right[:, None]].float()
        return first + (second - first) * share_x[:, None, :, None]

    top = line(upper)
    crops = top + (line(lower) - top) * share_y[:, :, None, None]
    crops = (crops - mean) / std * (inside_y[:, :, None] & inside_x[:, None])[..., None]
    crops = torch.where(cuts.flipped[:, None, None, None], crops.flip(2), crops)
    return crops.permute(0, 3, 1, 2)


def _taps(length: Tensor, start: Tensor, shown: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return for each cell along a crop's side its two pixels, the second's share, and if it is inside."""
    cell = torch.arange(size, device=length.device) - start[:, None]
    at = (cell + 0.5) * (length / shown)[:, None] - 0.5
    floor = at.floor()
    last = (length - 1)[:, None]
    first, second = floor.long().clamp(min=0).minimum(last), (floor.long() + 1).clamp(min=0).minimum(last)
    return first, second, (at - floor).float(), (cell >= 0) & (cell < shown[:, None])


def _round(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round half away from zero; NumPy rounds half to even."""
    rounded: NDArray[np.float64] = np.copysign(np.floor(np.abs(values) + 0.5), values)
    return rounded


def _whole(start: NDArray[np.float64], length: NDArray[np.float64]) -> Whole:
    return np.concatenate([start, length], axis=1).astype(np.int64)
