"""The layers behind a backbone's last map as a head: fc6 and fc7, or the last stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import nn

from detkit.models.backbones.families import AnyBackboneConfig, family_of
from detkit.models.backbones.family import LastStage
from detkit.models.roi.box_heads import BoxHead, FcHead, LastStageHead
from detkit.spec import CustomConfig


def build_own_head(
    spec: AnyBackboneConfig,
    backbone: nn.Module,
    size: int,
    *,
    dropout: float,
    ranks: tuple[int | None, int | None] = (None, None),
) -> FcHead | LastStageHead:
    """Return a network's own layers behind its last map, from scratch.

    Args:
        spec: the config's `detector.backbone`; one of the user's own is taken for one with fc6 and fc7.
        backbone: what was built of it.
        size: cells along each side that fc6 sees; a last stage takes any.
        dropout: fraction of activations dropped after fc6 and fc7.
        ranks: of fc6 and fc7; None is a whole layer.
    """
    if not isinstance(spec, CustomConfig):
        family = family_of(spec)
        if isinstance(family.behind, LastStage):
            return LastStageHead(family.behind.build(spec), family.channels(spec)[-1], family.head_name)
    channels, width = cast(Sequence[int], backbone.channels)[-1], cast(int, backbone.fc_channels)
    return FcHead(channels, size, channels=width, dropout=dropout, ranks=ranks)


def weight_parts(spec: AnyBackboneConfig, head: BoxHead) -> dict[str, nn.Module]:
    """Return the parts of a network's own head by what their keys begin with in its weight files.

    Args:
        spec: the config's `detector.backbone`.
        head: what `build_own_head` made of it.
    """
    behind = None if isinstance(spec, CustomConfig) else family_of(spec).behind
    if isinstance(behind, LastStage) and isinstance(head, LastStageHead):
        return {key: head.stage.get_submodule(part) for key, part in behind.parts.items()}
    if behind and not isinstance(behind, LastStage) and isinstance(head, FcHead):
        return dict(zip(behind.keys, (head.fc6, head.fc7), strict=True))
    return {}
