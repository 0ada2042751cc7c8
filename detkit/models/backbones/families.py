"""The one list of all backbone families; a new one is its folder and its line here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from detkit.models.backbones.alexnet.family import ALEXNET
from detkit.models.backbones.caffenet.family import CAFFENET
from detkit.models.backbones.config import BackboneConfig
from detkit.models.backbones.efficientnet.family import EFFICIENTNET
from detkit.models.backbones.family import BackboneFamily
from detkit.models.backbones.googlenet.family import GOOGLENET
from detkit.models.backbones.mobilenet.family import MOBILENET
from detkit.models.backbones.resnet.family import RESNET
from detkit.models.backbones.vgg.family import VGG
from detkit.models.backbones.zfnet.family import ZFNET
from detkit.spec import CustomConfig, one_of

FAMILIES: tuple[BackboneFamily[Any], ...] = (
    ALEXNET,
    CAFFENET,
    ZFNET,
    VGG,
    GOOGLENET,
    RESNET,
    MOBILENET,
    EFFICIENTNET,
)

if TYPE_CHECKING:
    PublishedBackboneConfig: TypeAlias = BackboneConfig
    AnyBackboneConfig: TypeAlias = BackboneConfig | CustomConfig
else:
    _CONFIGS = tuple(family.config for family in FAMILIES)
    PublishedBackboneConfig = one_of(_CONFIGS)
    AnyBackboneConfig = one_of((*_CONFIGS, CustomConfig))


def family_of(spec: BackboneConfig) -> BackboneFamily[Any]:
    """Return the family of a config."""
    return next(family for family in FAMILIES if isinstance(spec, family.config))


def family_named(name: object) -> BackboneFamily[Any] | None:
    """Return the family whose `type` in configs is `name`; None if there is none.

    Example:
        >>> family_named("alexnet").fc.cells, family_named("custom")
        (6, None)
    """
    return next((family for family in FAMILIES if family.name == name), None)


def owners_of(head: str) -> list[BackboneFamily[Any]]:
    """Return the families whose own layers make a head of this type; none of a head of new layers.

    Example:
        >>> [family.name for family in owners_of("fc6_fc7")], owners_of("two_fc")
        (['alexnet', 'caffenet', 'zfnet', 'vgg'], [])
    """
    return [family for family in FAMILIES if family.head_name == head]


def any_of(families: Iterable[BackboneFamily[Any]]) -> str:
    """Return the names of families as a choice in words.

    Example:
        >>> any_of(FAMILIES[:3]), any_of(FAMILIES[:1])
        ('alexnet, caffenet or zfnet', 'alexnet')
    """
    names = [family.name for family in families]
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
