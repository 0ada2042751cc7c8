"""What the record of each family states is true of its networks and of torchvision's files."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from detkit.models.backbones.config import ALL_STAGES
from detkit.models.backbones.families import FAMILIES, family_named, family_of
from detkit.models.backbones.family import BackboneFamily, FcLayers, LastStage

VARIANTS = {name: (family, keys) for family in FAMILIES for name, keys in family.variants.items()}
SMALLEST = {next(iter(family.variants)): family for family in FAMILIES}


@dataclass(frozen=True)
class Built:
    """A network of a family and what its record says of it."""

    network: Any
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    cell_offset: tuple[float, ...]


def config(family: BackboneFamily[Any], **keys: Any) -> Any:
    return family.config.model_validate({"type": family.name, **keys})


def built(name: str, pyramid: bool, **more: Any) -> Built:
    family, keys = VARIANTS[name]
    if pyramid and not family.has_pyramid:
        pytest.skip("gives one map")
    spec = config(family, **{**keys, **more})
    maps = slice(None) if pyramid else slice(family.strides.index(16), family.strides.index(16) + 1)
    return Built(
        family.build(spec, pyramid),
        family.channels(spec)[maps],
        family.strides[maps],
        family.cell_offset[maps],
    )


@pytest.mark.parametrize(("name", "pyramid"), list(product(VARIANTS, (False, True))))
def test_channels_and_strides_are_those_of_the_network(name: str, pyramid: bool) -> None:
    for width in (1.0, 0.3):
        with torch.device("meta"):
            found = built(name, pyramid, width=width)
        assert (found.network.channels, found.network.strides) == (found.channels, found.strides)


@pytest.mark.parametrize(("name", "pyramid"), list(product(SMALLEST, (False, True))))
def test_channels_and_strides_are_those_of_the_maps(name: str, pyramid: bool) -> None:
    found = built(name, pyramid, width=0.125)
    maps = found.network.eval()(torch.randn(1, 3, 128, 192))
    assert tuple(features.shape[1] for features in maps) == found.channels
    for features, stride in zip(maps, found.strides, strict=True):
        # Caffe's poolings round up: a last cell may begin behind the image.
        for cells, length in zip(features.shape[2:], (128, 192), strict=True):
            assert length // stride <= cells <= length // stride + 1


@pytest.mark.parametrize(("name", "pyramid"), list(product(SMALLEST, (False, True))))
def test_a_cell_sees_pixels_around_its_offset(
    name: str, pyramid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All layers pass what comes on, so that the gradient covers exactly what a cell sees."""
    monkeypatch.setattr(F, "max_pool2d", mean_pooled)
    monkeypatch.setattr(F, "local_response_norm", lambda x, *_: x)
    monkeypatch.setattr(nn.MaxPool2d, "forward", pooled_by_mean)
    # A gate sees the whole image.
    monkeypatch.setattr(torchvision.ops.misc.SqueezeExcitation, "forward", lambda _, x: x)
    found = built(name, pyramid, width=0.05)
    with torch.no_grad():
        for parameter in found.network.double().eval().parameters():
            parameter.fill_(0.1 / parameter[0].numel() if parameter.dim() > 1 else 0.0)
    image = torch.ones(1, 3, 1024, 64, dtype=torch.float64, requires_grad=True)
    for number, stride in enumerate(found.strides):
        features = found.network(image)[number]
        cell = features.shape[2] // 2
        (gradient,) = torch.autograd.grad(features[0, :, cell].sum(), image)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        assert rows[0] > 0
        assert rows[-1] < 1023
        middle = float(rows[0] + rows[-1] + 1) / 2
        assert middle / stride - cell == pytest.approx(found.cell_offset[number], abs=1e-9)


def mean_pooled(x: torch.Tensor, size: Any, stride: Any, padding: Any = 0, **more: Any) -> torch.Tensor:
    return F.avg_pool2d(x, size, stride, padding, ceil_mode=more.get("ceil_mode", False))


def pooled_by_mean(layer: nn.MaxPool2d, x: torch.Tensor) -> torch.Tensor:
    return mean_pooled(x, layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)


@pytest.mark.parametrize("name", SMALLEST)
def test_stages_are_as_many_as_can_be_frozen(name: str) -> None:
    family, keys = VARIANTS[name]
    assert family.stages <= ALL_STAGES

    def num_trainable(frozen: int) -> int:
        spec = config(family, **keys, width=0.125, weights="file.pth", freeze_at=frozen)
        parts = [family.build(spec, False)]
        if isinstance(family.behind, LastStage):
            parts.append(family.build_last_stage(spec))
        return sum(p.requires_grad for part in parts for p in part.parameters())

    left = [num_trainable(frozen) for frozen in range(family.stages + 1)]
    assert left == sorted(set(left), reverse=True)
    assert left[-1] == 0
    assert (left[family.stages_before_head] == 0) == (family.fc is not None)


@pytest.mark.parametrize("name", VARIANTS)
def test_weight_keys_are_those_of_torchvision(name: str) -> None:
    family, keys = VARIANTS[name]
    choices = ({}, {"batch_norm": True}) if family.norm_is_a_choice else ({},)
    for choice in choices:
        spec = config(family, **keys, **choice, **({"norm": "trainable"} if family.has_norm else {}))
        published = family.published_name(spec)
        if published not in torchvision.models.list_models():
            pytest.skip(f"torchvision has no {published}")
        more = {"init_weights": False} if published.startswith(("vgg", "googlenet")) else {}
        with torch.device("meta"):
            theirs = torchvision.models.get_model(published, **more)
            ours = family.build(spec, False).state_dict()
            if isinstance(family.behind, LastStage):
                stage = family.build_last_stage(spec)
                for prefix, part in family.behind.parts.items():
                    layers = stage.get_submodule(part).state_dict()
                    ours |= {prefix + key: value for key, value in layers.items()}
        wanted = theirs.state_dict()
        assert {k: v.shape for k, v in ours.items()}.items() <= {
            k: v.shape for k, v in wanted.items()
        }.items()
        if isinstance(family.behind, FcLayers):
            fc6, fc7 = (wanted[f"{key}weight"].shape for key in family.behind.keys)
            cells = family.channels(spec)[-1] * family.behind.cells**2
            width = family.build(spec, False).fc_channels
            assert (tuple(fc6), tuple(fc7)) == ((width, cells), (width, width))


@pytest.mark.parametrize("name", SMALLEST)
def test_the_last_stage_gives_the_last_channels_half_as_fine(name: str) -> None:
    family, keys = VARIANTS[name]
    if not isinstance(family.behind, LastStage):
        pytest.skip("has fc6 and fc7")
    spec = config(family, **keys, width=0.125)
    stage, x = family.build_last_stage(spec).eval(), torch.randn(1, family.channels(spec)[-2], 8, 8)
    y = x
    for part in family.behind.parts.values():
        y = stage.get_submodule(part)(y)
    torch.testing.assert_close(y, stage(x))
    assert y.shape == (1, family.channels(spec)[-1], *((8, 8) if family.behind.pooled else (4, 4)))


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_constructors_have_the_defaults_of_the_config(family: BackboneFamily[Any]) -> None:
    spec = config(family)
    with torch.device("meta"):
        network = type(family.build(spec, False))
    defaults = {name: p.default for name, p in inspect.signature(network).parameters.items()}
    assert defaults.pop("freeze_at") == 0  # weights at random are never frozen
    assert defaults.pop("pyramid", False) is False
    assert defaults.pop("padded", True) is True
    assert defaults == {key: value for key, value in spec if key not in ("type", "weights", "freeze_at")}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_known_by_its_config_and_its_name(family: BackboneFamily[Any]) -> None:
    assert family_of(config(family)) is family
    assert family_named(family.name) is family
    assert family.head_name in ("fc6_fc7", *(f.head_name for f in FAMILIES if f.fc is None))
    assert (family.head_name == "fc6_fc7") == (family.fc is not None)
