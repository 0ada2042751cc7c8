from __future__ import annotations

from dataclasses import asdict
from typing import get_args

import numpy as np
import pytest
import torch

from detkit.data.config import DataConfig
from detkit.data.datasets.config import SyntheticDatasetConfig
from detkit.data.transforms import config as spec
from detkit.data.transforms.builder import TRANSFORMS, eval_transforms, train_transforms
from detkit.data.transforms.geometric import Flip
from detkit.data.transforms.resize import Resize
from detkit.errors import UserError
from detkit.spec import CustomConfig
from detkit.structures import Target


def data(*augment: spec.TransformConfig) -> DataConfig:
    return DataConfig(
        classes=("disc",),
        train=SyntheticDatasetConfig(type="synthetic", augment=augment),
        resize=spec.ResizeConfig(short_px=64, long_px=128),
    )


def test_every_kind_of_the_schema_has_a_transform_with_the_same_fields() -> None:
    assert set(get_args(get_args(spec.TransformConfig)[0])) == set(TRANSFORMS)
    for kind in set(TRANSFORMS) - {CustomConfig, spec.MultiScaleConfig}:
        item = kind()
        assert asdict(TRANSFORMS[kind](item, data())) == item.model_dump(exclude={"type"})  # type: ignore[call-overload]


def test_a_transform_that_sets_the_size_takes_the_place_of_the_resizing() -> None:
    chosen = train_transforms(data(spec.ScaleCropConfig(), spec.FlipConfig()))
    assert [type(t).__name__ for t in chosen] == ["Flip", "ScaleCrop"]


def test_the_order_is_the_configs_and_the_resizing_comes_last() -> None:
    chosen = train_transforms(
        data(
            spec.NoiseConfig(type="noise"),
            spec.MultiScaleConfig(type="multi_scale", short_px=(64, 96)),
            spec.FlipConfig(type="flip"),
        )
    )
    assert [type(t).__name__ for t in chosen] == ["Noise", "Flip", "Resize"]
    assert chosen[-1] == Resize((64, 96), 128)


def test_what_judges_is_only_resized() -> None:
    assert eval_transforms(data(spec.FlipConfig(type="flip"))) == (Resize((64,), 128),)


@pytest.mark.parametrize("kind", [kind for kind in TRANSFORMS if kind is not CustomConfig])
def test_every_kind_runs_with_its_defaults(kind: type[spec.TransformConfig]) -> None:
    name = get_args(kind.model_fields["type"].annotation)[0]  # type: ignore[union-attr]
    more = {"short_px": (48, 64)} if kind is spec.MultiScaleConfig else {}
    image = torch.randint(0, 255, (40, 60, 3), dtype=torch.uint8).permute(2, 0, 1)
    target = Target.of(torch.tensor([[10.0, 10, 30, 30]]), torch.tensor([0]))
    for transform in train_transforms(data(kind(type=name, **more))):  # type: ignore[operator]
        image, target = transform(image, target, np.random.default_rng(0))
    assert image.dtype == torch.uint8
    assert len(target.boxes) == len(target.labels)


def test_a_custom_transform_is_called() -> None:
    custom = CustomConfig(
        type="custom",
        target="detkit.data.transforms.geometric:Flip",
        args={"probability": 1.0, "direction": "vertical"},
    )
    assert train_transforms(data(custom))[0] == Flip(1.0, "vertical")


def test_a_custom_transform_must_be_callable() -> None:
    part = CustomConfig(type="custom", target="builtins:dict", args={})
    with pytest.raises(UserError) as caught:
        TRANSFORMS[CustomConfig](part, None)
    assert str(caught.value) == "target 'builtins:dict': a transform must be callable"
