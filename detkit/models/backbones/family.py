"""The record of a backbone family: all that the rest of the house asks about it.

It imports no torch, so that configs can ask; what needs it is imported when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from detkit.models.backbones.config import BackboneConfig
from detkit.models.roi.head_config import Fc6Fc7HeadConfig, HeadConfig

if TYPE_CHECKING:
    from torch import nn

ConfigT = TypeVar("ConfigT", bound=BackboneConfig)


@dataclass(frozen=True)
class FcLayers:
    """fc6 and fc7, the layers of AlexNet's kind of network behind the last convolution.

    The network's module has their width as `fc_channels`.

    Attributes:
        cells: cells along each side of the map that fc6 was trained on.
        keys: what the weights of fc6 and fc7 begin with in files.
        dropout_first: whether dropout stands before each of them instead of behind it.
    """

    cells: int
    keys: tuple[str, str]
    dropout_first: bool


@dataclass(frozen=True)
class LastStage:
    """The stage of a residual or inception network behind the map at stride 16.

    Attributes:
        make: what returns a stage from scratch, as module:name; it takes the number of the `stage`, the
            config's keys, and whether it is `frozen`.
        parts: what its weights begin with in files -> submodules, which run one after another; "" is the
            stage itself.
        pooled: whether the whole network max-pools the map before it. On regions it is not pooled.
        costly: whether it is a large part of the whole network's work, so that comparisons on equal budgets
            take two new layers on regions instead.
    """

    make: str
    parts: Mapping[str, str]
    pooled: bool = False
    costly: bool = False


@dataclass(frozen=True)
class BackboneFamily(Generic[ConfigT]):
    """Facts about a family of backbones, and how one is built.

    The tuples have one entry a map, finest first: the maps of a feature pyramid, or the only one there is.

    Attributes:
        config: its part of the YAML.
        network: its class, as module:name; it takes the config's keys, and `pyramid` where it has one. It has
            `channels` and `strides`, those of the maps it gives.
        strides: pixels per cell, where the config's `map_strides` does not say otherwise.
        channels: returns the number of channels.
        cell_offset: middle of what the first cell sees, in cells; 0.5 is the middle of the cell itself.
        behind: the layers behind the last map of a detector without a pyramid.
        published: torchvision's names of its networks, each with the keys of a config that choose it; none
            is one network, under the name of the family.
        head: the `head` of a config that is made of these layers.
        classifier_dropout: fraction of activations that the published classifier drops.
        stages: number of stages that can be frozen, the last one included.
        padded_for_regions: whether a detector that takes regions from its maps pads them more than the
            published classifier does. The network's class takes `padded` then.
        smallest_crop_px: side of the smallest crop that it can read as it was published.
    """

    config: type[ConfigT]
    network: str
    strides: tuple[int, ...]
    channels: Callable[[ConfigT], tuple[int, ...]]
    cell_offset: tuple[float, ...]
    behind: FcLayers | LastStage
    published: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    head: type[HeadConfig] = Fc6Fc7HeadConfig
    classifier_dropout: float = 0.0
    stages: int = 5
    padded_for_regions: bool = False
    smallest_crop_px: int = 1

    def build(self, spec: ConfigT, pyramid: bool, crops: bool = False) -> nn.Module:
        """Return a network from scratch that gives all its maps, or the one at stride 16.

        Args:
            spec: its config.
            pyramid: whether to give all.
            crops: whether it reads whole crops, as the published classifier does, and no regions of its maps.
        """
        network: type[nn.Module] = resolve_name(self.network)
        more = {"pyramid": pyramid} if self.has_pyramid else {}
        if self.padded_for_regions:
            more["padded"] = not crops
        return network(freeze_at=spec.frozen_stages, **_keys_of_network(spec), **more)

    def build_last_stage(self, spec: ConfigT) -> nn.Module:
        """Return the stage behind the last map from scratch, which takes (B, C, H, W) features."""
        assert isinstance(self.behind, LastStage)
        make: Callable[..., nn.Module] = resolve_name(self.behind.make)
        frozen = spec.frozen_stages >= self.stages
        return make(stage=self.stages, frozen=frozen, **_keys_of_network(spec))

    def published_name(self, spec: ConfigT) -> str:
        """Return torchvision's name of a network, such as vgg16_bn; of one that it has not, the keys."""
        keys = _keys_of_layers(spec)
        for name, chosen in self.variants.items():
            if keys == _keys_of_layers(self.config.model_validate(chosen)):
                return name + "_bn" * bool(getattr(spec, "batch_norm", False))
        return f"{self.name} with {', '.join(f'{key}: {value}' for key, value in keys.items())}"

    def others(self, spec: ConfigT) -> Iterator[tuple[str, ConfigT]]:
        """Yield the family's other networks by name, each as the config with the keys that choose it."""
        for name, chosen in self.variants.items():
            keys = _keys_of_layers(self.config.model_validate(chosen))
            if keys != _keys_of_layers(spec):
                yield name, spec.model_copy(update=keys)

    @cached_property
    def name(self) -> str:
        """Value of `type` in configs."""
        return str(self.config.model_fields["type"].default)

    @property
    def head_name(self) -> str:
        """Value of `type` of its head."""
        return str(self.head.model_fields["type"].default)

    @property
    def fc(self) -> FcLayers | None:
        """fc6 and fc7; None in a network without them."""
        return self.behind if isinstance(self.behind, FcLayers) else None

    @property
    def has_pyramid(self) -> bool:
        """Whether it gives the maps of a feature pyramid."""
        return len(self.strides) > 1

    @property
    def has_norm(self) -> bool:
        """Whether it has batch normalisation, always or as a choice."""
        return "norm" in self.config.model_fields

    @property
    def norm_is_a_choice(self) -> bool:
        """Whether it comes with and without batch normalisation."""
        return "batch_norm" in self.config.model_fields

    @property
    def stages_before_head(self) -> int:
        """Number of stages of the backbone alone, without the layers behind its last map."""
        return self.stages if self.fc else self.stages - 1

    @property
    def variants(self) -> dict[str, dict[str, Any]]:
        """Its networks by name, such as resnet18, each as the keys of a config that choose it."""
        named = self.published or {self.name: {}}
        return {name: {"type": self.name, **keys} for name, keys in named.items()}


def _keys_of_layers(spec: BackboneConfig) -> dict[str, Any]:
    """Return the keys that say which of its family a network is, at any width and with any norm."""
    others = ("width", "norm", "batch_norm", "ceil_mode", "dc5", "maps")
    return {k: v for k, v in _keys_of_network(spec).items() if k not in others}


def _keys_of_network(spec: BackboneConfig) -> dict[str, Any]:
    """Return the keys that say what layers a network has."""
    return {key: value for key, value in spec if key not in ("type", "weights", "freeze_at")}
