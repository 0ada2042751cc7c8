"""What turns a region's features into one vector, and the two outputs on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models.initialisation import gaussian, he_normal
from detkit.models.norm import Norm, conv_block
from detkit.models.roi.decision import Decision, SVMScores
from detkit.models.roi.low_rank import low_rank, thin_pair


class LastStageHead(nn.Module):
    """A backbone's own last stage on every region, then the mean over its cells (He 2016).

    Args:
        stage: (R, C, size, size) features -> (R, channels, h, w).
        channels: channels of the stage.
        name: name of the stage among the weights.

    Attributes:
        channels: length of the vector.
    """

    def __init__(self, stage: nn.Module, channels: int, name: str) -> None:
        super().__init__()
        self.add_module(name, stage)
        self.channels, self.name = channels, name

    @property
    def stage(self) -> nn.Module:
        """The stage itself."""
        return self.get_submodule(self.name)

    def forward(self, regions: Tensor) -> Tensor:
        """Return (R, channels) vectors of (R, C, size, size) features."""
        out: Tensor = self.stage(regions)
        return out.mean(dim=(2, 3))


class MeanHead(nn.Module):
    """The mean over a region's cells, for a network that has nothing behind its last map.

    Args:
        channels: channels of the features.

    Attributes:
        channels: length of the vector.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, regions: Tensor) -> Tensor:
        """Return (R, channels) vectors of (R, C, size, size) features."""
        return regions.mean(dim=(2, 3))


class FcHead(nn.Module):
    """Two fully connected layers: fc6 and fc7 of AlexNet and VGG, or new ones (Lin 2017).

    Args:
        channels_in: channels of a region's features.
        size: cells along each side of it.
        channels: width of both layers.
        dropout: share of activations dropped after each layer in training.
        ranks: of fc6 and fc7, where they are two thin layers each (`low_rank`); None is one whole layer.

    Attributes:
        channels: length of the vector.
    """

    def __init__(
        self,
        channels_in: int,
        size: int = 7,
        *,
        channels: int = 1024,
        dropout: float = 0.0,
        ranks: tuple[int | None, int | None] = (None, None),
    ) -> None:
        super().__init__()
        self.channels = channels
        self.fc6 = _fully_connected(channels_in * size * size, channels, ranks[0])
        self.fc7 = _fully_connected(channels, channels, ranks[1])
        self.dropout = dropout
        he_normal(self)

    def forward(self, regions: Tensor) -> Tensor:
        """Return (R, channels) vectors of (R, C, size, size) features."""
        out = F.dropout(F.relu(self.fc6(regions.flatten(1))), self.dropout, self.training)
        out = F.relu(self.fc7(out))
        return F.dropout(out, self.dropout, self.training)

    def compress(self, ranks: tuple[int | None, int | None]) -> None:
        """Make two thin layers of fc6, of fc7 or of both, by the truncated singular value decomposition.

        Args:
            ranks: of fc6 and fc7; None leaves one as it is, and so is one that is thin already.
        """
        for name, rank in zip(("fc6", "fc7"), ranks, strict=True):
            layer = getattr(self, name)
            if rank is not None and isinstance(layer, nn.Linear):
                setattr(self, name, low_rank(layer, rank))


def _fully_connected(features_in: int, features_out: int, rank: int | None) -> nn.Linear | nn.Sequential:
    if rank is None:
        return nn.Linear(features_in, features_out)
    return thin_pair(features_in, features_out, rank)


class ConvFcHead(nn.Module):
    """Convolutions, then one fully connected layer.

    Args:
        channels_in: channels of a region's features.
        size: cells along each side of it.
        num_convs: number of 3x3 convolutions.
        conv_channels: their width.
        channels: width of the fully connected layer.
        norm: batch normalisation after each convolution.

    Attributes:
        channels: length of the vector.
    """

    def __init__(
        self,
        channels_in: int,
        size: int = 7,
        *,
        num_convs: int = 4,
        conv_channels: int = 256,
        channels: int = 1024,
        norm: Norm = "trainable",
    ) -> None:
        super().__init__()
        self.channels = channels
        widths = [channels_in] + [conv_channels] * num_convs
        self.convs = nn.Sequential(
            *(conv_block(widths[i], widths[i + 1], size=3, norm=norm, relu=True) for i in range(num_convs))
        )
        self.fc = nn.Linear(conv_channels * size * size, channels)
        he_normal(self)

    def forward(self, regions: Tensor) -> Tensor:
        """Return (R, channels) vectors of (R, C, size, size) features."""
        return F.relu(self.fc(self.convs(regions).flatten(1)))


BoxHead = LastStageHead | MeanHead | FcHead | ConvFcHead


class BoxPredictor(Decision):
    """Softmax and box regression on a region's vector, trained with the network (Fast R-CNN).

    What the layer of the deltas learns may be measured in units of its own, a mean and a deviation of each
    class and coordinate. The deltas that come out never are, and neither are the weights in files (`folded`).

    Args:
        channels: length of the vector.
        num_classes: K; the logits have one more column, the last, for background.
        class_agnostic: one set of deltas for all classes instead of one for each.
        svms: take the place of the softmax once they are fitted.

    Attributes:
        outputs_per_class: the layers that have a part for each class, and how many outputs it has; it
            lets a model be fine-tuned to other classes.
        delta_mean: (K or 1, 4) what a delta is where the layer gives 0.
        delta_std: (K or 1, 4) how much more it is where the layer gives 1.
    """

    delta_mean: Tensor
    delta_std: Tensor

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        class_agnostic: bool = False,
        svms: SVMScores | None = None,
    ) -> None:
        super().__init__()
        self.svms = svms
        shape = (1 if class_agnostic else num_classes, 4)
        self.register_buffer("delta_mean", torch.zeros(shape), persistent=False)
        self.register_buffer("delta_std", torch.ones(shape), persistent=False)
        self.outputs_per_class = {"cls_score": 1} if class_agnostic else {"cls_score": 1, "bbox_pred": 4}
        self.cls_score = nn.Linear(channels, num_classes + 1)
        self.bbox_pred = nn.Linear(channels, 4 if class_agnostic else 4 * num_classes)
        gaussian(self.cls_score, 0.01)
        gaussian(self.bbox_pred, 0.001)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R, K + 1) logits and (R, K or 1, 4) deltas in float32."""
        deltas = self.deltas(vectors)
        return self.cls_score(vectors).float(), deltas

    def scores(self, vectors: Tensor) -> Tensor:
        """Return (R, K) scores in [0, 1]."""
        if self.svms is not None and self.svms.is_fitted:
            scores: Tensor = self.svms(vectors)
            return scores
        logits: Tensor = self.cls_score(vectors)
        return logits.float().softmax(1)[:, :-1]

    def margins(self, vectors: Tensor) -> Tensor | None:
        """Return the (R, K) margins of the SVMs; None where the softmax decides."""
        return self.svms.margins(vectors) if self.svms is not None and self.svms.is_fitted else None

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the (R, K) margins of the SVMs, or the softmax's logits of the K classes."""
        margins = self.margins(vectors)
        return self.cls_score(vectors).float()[:, :-1] if margins is None else margins

    def deltas(self, vectors: Tensor) -> Tensor:
        """Return (R, K or 1, 4) deltas in float32."""
        scaled: Tensor = self.bbox_pred(vectors).float().unflatten(1, (-1, 4))
        return scaled * self.delta_std + self.delta_mean

    @torch.no_grad()
    def measure_deltas_in(self, mean: Tensor, std: Tensor, *, keep_answers: bool) -> None:
        """Change the units that the layer of the deltas learns in.

        Args:
            mean: (K or 1, 4) deltas that are to be its 0.
            std: (K or 1, 4) positive; how much more is to be its 1.
            keep_answers: change the weights, too, so that the deltas remain what they were: for weights that
                were trained in other units.
        """
        mean, std = mean.to(self.delta_mean), std.to(self.delta_std)
        if keep_answers:
            factor = (self.delta_std / std).reshape(-1)
            self.bbox_pred.weight.mul_(factor[:, None])
            self.bbox_pred.bias.mul_(factor).add_(((self.delta_mean - mean) / std).reshape(-1))
        self.delta_mean.copy_(mean)
        self.delta_std.copy_(std)

    def folded(self) -> dict[str, Tensor]:
        """Return the weights that give the same deltas without units of their own, as files hold them."""
        mean, std = self.delta_mean.reshape(-1), self.delta_std.reshape(-1)
        weight, bias = self.bbox_pred.weight.detach(), self.bbox_pred.bias.detach()
        return {"bbox_pred.weight": weight * std[:, None], "bbox_pred.bias": bias * std + mean}
