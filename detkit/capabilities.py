"""Capabilities: what a model may be able to do beyond detecting, for those that use it.

A room below the detectors asks `isinstance(model, HasProposalNetwork)`, never for a detector by name, and
says what a model without it does not get.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from detkit.structures import (
    Detections,
    ImageBatch,
    PaddedBatch,
    PaddedDetections,
    RegionDecision,
    Target,
    Trace,
    TrainBatch,
)

Layer = Literal["pool5", "fc6", "fc7"]
"""A layer that features of a region are taken from."""


class Detector(Protocol):
    """A module with two ways to be called; nothing either returns depends on `training`."""

    def forward(self, batch: TrainBatch) -> dict[str, Tensor]:
        """Return the weighted losses of a batch by name, each a scalar."""
        ...

    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return the detections of each image, best first, in pixels of the image's file."""
        ...


@runtime_checkable
class DetectsPadded(Protocol):
    """A detector that can be exported: it also detects by tensors alone, whose shapes no content changes."""

    def detect_padded(self, images: PaddedBatch) -> PaddedDetections:
        """Return the detections of each image, best first, in pixels of the image's file, filled up."""
        ...


@runtime_checkable
class HasProposalNetwork(Protocol):
    """A model whose own network proposes regions, from maps that the rest of it may use as well."""

    def feature_maps(self, images: ImageBatch) -> list[Tensor]:
        """Return the (B, C, H, W) feature maps of images, finest first."""
        ...

    def propose(
        self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], limits: Any = None
    ) -> list[Tensor]:
        """Return for each image the (P, 4) best boxes, best first, in pixels of the batch.

        Args:
            maps: from `feature_maps`.
            sizes: (height, width) in pixels of each image inside the padding.
            limits: how many boxes are kept before and after non-maximum suppression; None takes those
                that the model itself is tested with.
        """
        ...


@runtime_checkable
class ShowsTrainingBoxes(Protocol):
    """A model that can say which anchors and regions of an image would train for an object."""

    def training_boxes(self, batch: TrainBatch) -> list[tuple[Tensor, Tensor]]:
        """Return for each image the (A, 4) anchors and the (R, 4) regions that would train for an object."""
        ...


@runtime_checkable
class MatchesObjects(Protocol):
    """A model whose anchors or proposals are matched to objects, so that their fit can be measured."""

    @property
    def candidates(self) -> Literal["anchors", "proposals"] | None:
        """The boxes that are matched; None where a part of the user's own does not say."""
        ...

    @property
    def candidates_per_image(self) -> int:
        """How many are sampled of an image at most."""
        ...

    @property
    def finest_stride(self) -> int:
        """Pixels per cell of the finest feature map; 1 where sizes below it lose nothing."""
        ...

    def candidate_boxes(
        self, target: Target, size: tuple[int, int], proposals: Tensor | None
    ) -> tuple[Tensor, int]:
        """Return the (N, 4) boxes that may train for an image, and how many sampled ones hold an object.

        Args:
            target: the image's objects.
            size: (height, width) of the image in pixels.
            proposals: (P, 4) boxes in pixels; None for a model with anchors.
        """
        ...


@runtime_checkable
class ReadsRegions(Protocol):
    """A model that makes vectors of regions, which SVMs and ridge regression are fitted to.

    Attributes:
        layer: the layer that decides on the class.
        equal_features_count_once: whether of negatives with equal features the SVMs get one only.
    """

    layer: Layer
    equal_features_count_once: bool

    @property
    def widths(self) -> dict[Layer, int]:
        """The layers there are, and the length of their vectors."""
        ...

    def read(self, image: ImageBatch, boxes: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (r, D) pool5 and (r, D') vectors of the layer that decides, some regions at a time.

        Args:
            image: a batch of one.
            boxes: (R, 4) corner boxes in its pixels, at least one.
        """
        ...


@runtime_checkable
class DecidesOnRegions(Protocol):
    """A model that says of any region what it is, whether it would propose it or not."""

    def decide(self, images: ImageBatch, boxes: Sequence[Tensor]) -> RegionDecision:
        """Return what regions are; float pixels are taken as normalised, and get their gradient.

        Args:
            images: a batch.
            boxes: for each image, (R_i, 4) corner boxes in its pixels. A model of whole images wants one
                each and does not look where it is.

        Raises:
            UserError: a part of the user's own does not say.
        """
        ...

    def seen(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return x1, y1, x2, y2 of what is looked at of an image of (height, width) pixels."""
        ...


@runtime_checkable
class EmbedsRegions(Protocol):
    """A model that makes a vector of any region: the one that it decides on.

    Attributes:
        embeds_whole_images: whether it sees an image whole and does not look where a region is, so that what
            is to be embedded must be cut out.
    """

    embeds_whole_images: bool

    def embed(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return the (R, D) vectors of all images' regions; see `DecidesOnRegions.decide`."""
        ...


@runtime_checkable
class ScoresObjectness(Protocol):
    """A model whose proposal network says how likely any box is an object."""

    def objectness(self, images: ImageBatch, boxes: Sequence[Tensor]) -> Tensor:
        """Return for each image the logit of the anchor that overlaps its box most, with gradient.

        Args:
            images: a batch of B; float pixels are taken as normalised.
            boxes: for each image a (1, 4) corner box in its pixels.

        Raises:
            UserError: a proposal network of the user's own does not say.
        """
        ...


@runtime_checkable
class TracesCandidates(Protocol):
    """A detector that says what became of each box it might have reported."""

    def trace(self, images: ImageBatch, objects: Sequence[Target]) -> list[Trace]:
        """Return for each image all candidates that are reported, and those nearest to some objects.

        Args:
            images: a batch.
            objects: of each image, in its pixels.

        Raises:
            UserError: a part of the user's own does not say.
        """
        ...


class FcLayers(Protocol):
    """Two fully connected layers on every region, each followed by a ReLU and dropout.

    Attributes:
        channels: width of both layers.
        dropout: fraction of activations dropped after each in training.
    """

    channels: int
    dropout: float

    @property
    def fc6(self) -> nn.Module:
        """The first layer: one whole layer, or two thin ones."""
        ...

    @property
    def fc7(self) -> nn.Module:
        """The second layer, likewise."""
        ...

    def compress(self, ranks: tuple[int | None, int | None]) -> None:
        """Make two thin layers of fc6, of fc7 or of both; a rank of None leaves one as it is."""
        ...


@runtime_checkable
class HasFcLayers(Protocol):
    """A model whose heads may have two fully connected layers, fc6 and fc7, on every region."""

    @property
    def fc_layers(self) -> Sequence[FcLayers]:
        """The module with fc6 and fc7 of each head; empty where heads have other layers."""
        ...

    def replace_fc_layers(self, layers: Sequence[nn.Module]) -> None:
        """Put other modules with the same input and output in their place."""
        ...


@runtime_checkable
class ComputesMaps(Protocol):
    """A model whose feature maps are computed by modules that torch.compile can translate."""

    def map_modules(self) -> list[nn.Module]:
        """Return the modules that compute maps of whole images."""
        ...


@runtime_checkable
class ProposesRegions(Protocol):
    """A part that proposes regions on feature maps: the `proposals` of Faster R-CNN.

    It is a `torch.nn.Module`, called with (maps, sizes): (B, C, H, W) feature maps, finest first, and
    (height, width) in pixels of each image inside the padding. What it returns goes to its methods.
    """

    @property
    def train_limits(self) -> Any:
        """What `propose` gets where its proposals train the head."""
        ...

    @property
    def test_limits(self) -> Any:
        """What `propose` gets otherwise."""
        ...

    def __call__(self, maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> Any:
        """Return the output for a batch, with gradient where it is on."""
        ...

    def losses(
        self, output: Any, targets: Sequence[Target], sizes: Sequence[tuple[int, int]], seed: int
    ) -> tuple[Tensor, Tensor]:
        """Return two weighted scalars: the loss of objectness and that of the boxes.

        Args:
            output: from the call.
            targets: the objects of each image.
            sizes: (height, width) in pixels of each image inside the padding.
            seed: seeds random choices, with each target's image index.
        """
        ...

    def propose(self, output: Any, sizes: Sequence[tuple[int, int]], limits: Any) -> list[Tensor]:
        """Return for each image the (P, 4) best boxes in pixels of the batch, best first, without gradient.

        Args:
            output: from the call.
            sizes: (height, width) in pixels of each image inside the padding.
            limits: `train_limits` or `test_limits`; alternating training gives a
                `detkit.models.rpn.rpn.Limits`.
        """
        ...


@runtime_checkable
class SamplesAnchors(Protocol):
    """A proposal network with anchors, which `detkit check` and `detkit show-data` can ask for them."""

    @property
    def anchors_per_image(self) -> int:
        """How many anchors are sampled of an image at most."""
        ...

    @property
    def strides(self) -> Sequence[int]:
        """Pixels per cell of each map, finest first."""
        ...

    def positive_anchors(
        self, output: Any, targets: Sequence[Target], sizes: Sequence[tuple[int, int]], seed: int
    ) -> list[Tensor]:
        """Return for each image the (A, 4) sampled anchors that train for an object; see `losses`."""
        ...

    def candidate_anchors(self, target: Target, size: tuple[int, int]) -> tuple[Tensor, int]:
        """Return the (A, 4) anchors that may train for an image, and how many sampled ones are positive."""
        ...


@runtime_checkable
class SamplesRegions(Protocol):
    """A head that samples the proposals it is trained on, which `check` and `show-data` can ask for them."""

    @property
    def regions_per_image(self) -> int:
        """How many regions are sampled of an image at most."""
        ...

    def positive_regions(self, proposals: Tensor, target: Target, seed: int) -> Tensor:
        """Return the (R, 4) sampled regions of an image that train for an object, out of (P, 4) proposals."""
        ...


@runtime_checkable
class HasClassOutputs(Protocol):
    """A module with layers that hold a part for each class, so that it can be fine-tuned to other classes.

    Attributes:
        outputs_per_class: name of each such layer, and the outputs of a part.
    """

    outputs_per_class: dict[str, int]


@runtime_checkable
class ShowsFilters(Protocol):
    """A model of linear filters, which can be looked at."""

    def filter_pictures(self) -> list[NDArray[np.uint8]]:
        """Return for each class a picture of what its filters look for, (H, W, 3) uint8 RGB."""
        ...


@runtime_checkable
class ClassifiesWindows(Protocol):
    """A classifier of windows that slide over an image: misses can be counted against false windows."""

    def object_margins(
        self, pixels: NDArray[np.uint8], target: Target
    ) -> tuple[NDArray[np.floating[Any]], NDArray[np.int64]]:
        """Return the (P,) margins of windows around the objects of an image, and their (P,) classes.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            target: the objects; difficult ones and crowds are left out.
        """
        ...

    def background_margins(
        self, pixels: NDArray[np.uint8], target: Target
    ) -> list[NDArray[np.floating[Any]]]:
        """Return for each class the (N,) margins of all windows that are no object of it."""
        ...


@runtime_checkable
class Folds(Protocol):
    """A module whose weights are written in another form than the one they are trained in."""

    def folded(self) -> dict[str, Tensor]:
        """Return the tensors by name that take the place of its own in a model file."""
        ...
