"""SPP-net's network: convolutions over the whole image, then a pyramid of maxima of each region."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from detkit.models.image_input import shrunk
from detkit.models.roi.box_heads import FcHead
from detkit.models.roi.region_detector import RegionLayers
from detkit.models.roi.region_features import CustomRegionFeatures, RegionFeatures


class PyramidNetwork(RegionLayers):
    """Reads an image once, or smaller copies of it too, whatever the number of regions.

    Args:
        backbone: (B, 3, H, W) normalised images -> maps, of which the last is taken.
        features: (maps, boxes) -> (R, ...), D values of each region, from the copy of the image where it fits
            best.
        fc: fc6 and fc7; None where pool5 is all there is.
        copies: factors below 1, falling, of smaller copies of an image that are read, too.
        pool5_width: D.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: RegionFeatures | CustomRegionFeatures,
        fc: FcHead | None,
        *,
        copies: Sequence[float],
        pool5_width: int,
    ) -> None:
        super().__init__(fc, pool5_width)
        self.backbone, self.features, self.copies = backbone, features, tuple(copies)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the map of (B, 3, H, W) normalised images alone, as training sees it."""
        maps: list[Tensor] = self.backbone(pixels)
        return maps[-1:]

    def all_maps(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps of images and of their smaller copies, the largest first."""
        return [*self.maps(pixels), *(self.maps(shrunk(pixels, factor))[0] for factor in self.copies)]

    def pool5(self, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Return (R, D) vectors of all images' regions, image by image.

        Args:
            maps: what `maps` or `all_maps` gave.
            boxes: for each image, (R_i, 4) boxes in pixels.
        """
        return self.features(maps, boxes).flatten(1)
