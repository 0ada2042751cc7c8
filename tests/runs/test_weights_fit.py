"""Which configs a file of backbone weights fits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.models.backbones.builder import build_backbone
from detkit.models.backbones.resnet.family import ResNetConfig
from detkit.runs.weights_fit import fitted_to_weights

C4, PYRAMID = "faster_rcnn_resnet18_c4", "faster_rcnn_resnet18_fpn"
WIDTH = "detector.backbone.width=0.125"


def saved(folder: Path, depth: int, without: str = "nothing") -> str:
    spec = ResNetConfig.model_validate({"depth": depth, "width": 0.125})
    state = build_backbone(spec, pyramid=True).state_dict()
    file = folder / "weights.pth"
    torch.save({name: value for name, value in state.items() if not name.startswith(without)}, file)
    return f"detector.backbone.weights={file}"


def configs(*overrides: str) -> dict[str, Config]:
    return {name: load_config(name, [WIDTH, *overrides]) for name in (C4, PYRAMID)}


def test_a_whole_network_fits_every_config(tmp_path: Path) -> None:
    given = configs(saved(tmp_path, 18))
    kept, notes = fitted_to_weights(given, other_depths=True)
    assert kept == given
    assert notes[0].startswith(f"weights {tmp_path / 'weights.pth'}: ")
    assert not any("random" in note for note in notes)


def test_a_trunk_without_its_last_stage_fits_no_pyramid(tmp_path: Path) -> None:
    given = configs(saved(tmp_path, 18, without="layer4"))
    kept, notes = fitted_to_weights(given, other_depths=True)
    assert kept == {C4: given[C4]}
    [note] = [note for note in notes if note.startswith(PYRAMID)]
    # Two blocks of two convolutions and their norms (weight, bias, mean, variance), and a projection.
    assert note == f"{PYRAMID} is not tried: 25 tensors of its backbone and of that file do not fit"


def test_the_depth_is_that_of_the_file_where_it_is_free(tmp_path: Path) -> None:
    given = configs(saved(tmp_path, 34))
    kept, _ = fitted_to_weights(given, other_depths=True)
    assert list(kept) == [f"{name} with resnet34" for name in given]
    assert all(config.detector.summary.endswith("resnet34") for config in kept.values())
    kept, notes = fitted_to_weights({C4: given[C4]}, other_depths=False)
    assert kept == {C4: given[C4]}
    assert "also in the file, for layers that this detector does not have" in notes[1]


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "alexnet.pth")
    given = configs(f"detector.backbone.weights={tmp_path / 'alexnet.pth'}")
    for other_depths in (True, False):
        with pytest.raises(UserError, match=r"nothing in .*alexnet\.pth fits the model"):
            fitted_to_weights(given, other_depths=other_depths)


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", "none"])
def test_without_a_file_nothing_is_left_out(weights: str) -> None:
    given = configs(f"detector.backbone.weights={weights}") if weights == "none" else {C4: load_config(C4)}
    assert fitted_to_weights(given, other_depths=True) == (given, [])
