"""Key points of an object by a cascade of regressions, as DeepPose has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.detectors.localizer.coding import decode_points, encode_points
from detkit.detectors.localizer.heads import RegressionHead, Trunk
from detkit.ops.sampling import mix_seed

MOST_SPREAD = 0.2
"""Most deviation of a misplaced crop, in sides of it: farther away it would not show its point."""

Distance = Callable[[Tensor, Tensor], Tensor]


class Refiner(nn.Module):
    """A later regression: a network of its own that looks at the surroundings of one point.

    Args:
        trunk: the network.
        head: gives the way to every point, of which that of the point in the middle counts.
    """

    def __init__(self, trunk: Trunk, head: RegressionHead) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, crops: Tensor) -> Tensor:
        """Return the (N, P, 2) ways of (N, P, 3, S, S) crops from their middles, in sides of a crop."""
        number, points = crops.shape[:2]
        all_ways = self.head(*self.trunk(crops.flatten(0, 1))).view(number, points, points, 2)
        own: Tensor = all_ways.diagonal(dim1=1, dim2=2).transpose(1, 2)
        return own


class KeypointCascade(nn.Module):
    """Regression of P key points from the whole image, then of the way left for each from a crop of it.

    A crop is a square around the point that the stage before found. It is trained on squares around places
    that are as far from the true one, by chance, as the stage before was in that image, but not so far that
    the crop misses it: here all stages learn at a time, where the paper has one after another and the errors
    of the whole training set.

    Args:
        first: the regression from the image.
        refiners: those from crops.
        size_px: side of the square that a refiner sees.
        crop_scale: side of a crop, in longer sides of the object's box.

    Reference: Toshev and Szegedy, DeepPose, CVPR 2014.
    """

    def __init__(
        self, first: RegressionHead, refiners: Sequence[Refiner], *, size_px: int, crop_scale: float
    ) -> None:
        super().__init__()
        self.first, self.refiners = first, nn.ModuleList(refiners)
        self.size_px, self.crop_scale = size_px, crop_scale

    def losses(
        self,
        codes: Tensor,
        pixels: Tensor,
        sizes: Sequence[tuple[int, int]],
        points: Tensor,
        boxes: Tensor,
        seeds: Sequence[int],
        distance: Distance,
    ) -> list[Tensor]:
        """Return the loss of each stage: the mean over images, and over the labelled points of each.

        Args:
            codes: (N, P, 2) what the first stage said of N images.
            pixels: (N, 3, H, W) these images, padded.
            sizes: (height, width) of each inside the padding.
            points: (N, P, 3) true points in pixels.
            boxes: (N, 4) true boxes of their objects.
            seeds: N seeds of the chance by which crops are misplaced.
            distance: loss of each number.
        """
        true, shows = points[:, :, :2], points[:, :, 2] > 0
        wanted, reach = encode_points(true, sizes), _longer_sides(boxes)
        losses = [_mean(distance(codes, wanted), shows)]
        off = (decode_points(codes.detach(), sizes) - true) / reach[:, None, None]
        for number, refiner in enumerate(self.refiners):
            spread = _mean_each(off.square(), shows).div(2).sqrt().clamp(max=self.crop_scale * MOST_SPREAD)
            noise = torch.stack([_normal(seed, number, off.shape[1:]) for seed in seeds]).to(off.device)
            away = noise * spread[:, None, None]
            sides = self.crop_scale * reach
            ways = refiner(self._crops(pixels, true + away * reach[:, None, None], sides))
            losses.append(_mean(distance(ways, -away / self.crop_scale), shows))
            off = away + ways.detach() * self.crop_scale
        return losses

    def refine(self, pixels: Tensor, points: Tensor, boxes: Tensor) -> Tensor:
        """Return better places of (N, P, 2) points in pixels of (N, 3, H, W) images, given (N, 4) boxes."""
        sides = self.crop_scale * _longer_sides(boxes)
        for refiner in self.refiners:
            points = points + refiner(self._crops(pixels, points, sides)) * sides[:, None, None]
        return points

    def _crops(self, pixels: Tensor, centres: Tensor, sides: Tensor) -> Tensor:
        """Return (N, P, 3, S, S) squares of images around (N, P, 2) points, 0 beyond the image."""
        number, points = centres.shape[:2]
        size = self.size_px
        along = (torch.arange(size, device=pixels.device) + 0.5) / size - 0.5
        shape = (size, size)
        offsets = torch.stack([along.expand(shape), along[:, None].expand(shape)], dim=-1)
        places = centres[:, :, None, None] + offsets * sides[:, None, None, None, None]
        grid = 2 * places / places.new_tensor((pixels.shape[3], pixels.shape[2])) - 1
        grid = grid.view(number, points * size, size, 2).to(pixels.dtype)
        cut = F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)
        return cut.view(number, -1, points, size, size).transpose(1, 2)


def _longer_sides(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).max(dim=1).values.clamp(min=1.0)


def _mean_each(values: Tensor, shows: Tensor) -> Tensor:
    """Return the (N,) mean over labelled points of (N, P, 2) numbers, the two summed; 0 without a point."""
    own = (values.sum(dim=2) * shows).sum(dim=1)
    return own / shows.sum(dim=1).clamp(min=1)


def _mean(values: Tensor, shows: Tensor) -> Tensor:
    return _mean_each(values, shows).mean()


def _normal(seed: int, stage: int, shape: Sequence[int]) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(mix_seed(seed, stage)))
