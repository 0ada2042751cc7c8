from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.inference.save_model import save_model
from detkit.models.roi.box_heads import BoxPredictor
from detkit.training.loop.start_from import start_from


def detector(num_classes: int) -> nn.ModuleDict:
    # As many outputs as two classes have box deltas: only its place tells the trunk from the predictor.
    return nn.ModuleDict(
        {"trunk": nn.Linear(3, 8), "predictor": BoxPredictor(8, num_classes, class_agnostic=False)}
    )


def saved(folder: Path, model: nn.Module, classes: list[str]) -> Path:
    save_model(
        folder / "old.safetensors",
        model,
        classes=classes,
        category_ids=list(range(len(classes))),
        config_yaml="",
    )
    return folder / "old.safetensors"


@pytest.mark.parametrize("classes", [["dog", "bird", "cat"], ["dog"], ["cat", "fish"]])
def test_rows_follow_their_class_by_name(tmp_path: Path, classes: list[str]) -> None:
    old, new = detector(2), detector(len(classes))
    before = {key: value.clone() for key, value in new.state_dict().items()}
    start_from(new, classes, read_model_file(saved(tmp_path, old, ["cat", "dog"])))
    assert torch.equal(new["trunk"].weight, old["trunk"].weight)
    for number, name in enumerate(classes):
        if name in ("cat", "dog"):
            source = ["cat", "dog"].index(name)
            assert torch.equal(
                new["predictor"].cls_score.weight[number], old["predictor"].cls_score.weight[source]
            )
            assert torch.equal(
                new["predictor"].bbox_pred.weight[4 * number : 4 * number + 4],
                old["predictor"].bbox_pred.weight[4 * source : 4 * source + 4],
            )
        else:
            assert torch.equal(
                new["predictor"].cls_score.weight[number], before["predictor.cls_score.weight"][number]
            )
    assert torch.equal(new["predictor"].cls_score.weight[-1], old["predictor"].cls_score.weight[-1])


def test_the_same_classes_copy_everything(tmp_path: Path) -> None:
    old, new = detector(2), detector(2)
    said = start_from(new, ["cat", "dog"], read_model_file(saved(tmp_path, old, ["cat", "dog"])))
    assert all(torch.equal(a, b) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert said == (
        f"2 tensors copied from {tmp_path / 'old.safetensors'}\n4 tensors by class: cat, dog; others new"
    )


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    file = read_model_file(saved(tmp_path, nn.Linear(2, 2), ["cat"]))
    with pytest.raises(UserError, match="nothing in it fits"):
        start_from(detector(1), ["cat"], file)


def test_what_starts_anew_is_named_as_far_as_there_is_room(tmp_path: Path) -> None:
    old, new = detector(2), detector(1)
    for number in range(3):
        new[f"more{number}"] = nn.Linear(2, 2)
    file = read_model_file(saved(tmp_path, old, ["cat", "dog"]))
    assert start_from(new, ["fish"], file).splitlines()[1:] == [
        "4 tensors by class: no class is the same; others new",
        "6 tensors start anew: more0.weight, more0.bias, more1.weight, more1.bias, more2.weight, more2.bias",
    ]
    new["more3"] = nn.Linear(2, 2, bias=False)
    names = "more0.weight, more0.bias, more1.weight, more1.bias, more2.weight, more2.bias, ..."
    assert start_from(new, ["fish"], file).endswith(f"\n7 tensors start anew: {names}")
    for number in range(4):
        del new[f"more{number}"]
    new["more"] = nn.Linear(2, 2, bias=False)
    assert start_from(new, ["fish"], file).endswith("\n1 tensor starts anew: more.weight")


def test_a_model_without_outputs_for_each_class_is_copied_by_name(tmp_path: Path) -> None:
    old, new = nn.Sequential(nn.Linear(2, 1, bias=False)), nn.Sequential(nn.Linear(2, 1, bias=False))
    file = read_model_file(saved(tmp_path, old, ["cat"]))
    assert start_from(new, ["cat"], file) == f"1 tensor copied from {file.path}"
    assert torch.equal(new[0].weight, old[0].weight)


def test_a_tensor_of_another_shape_starts_anew(tmp_path: Path) -> None:
    old = nn.Sequential(nn.Linear(2, 1), nn.Linear(2, 2))
    new = nn.Sequential(nn.Linear(2, 1), nn.Linear(3, 2))
    before = new[1].weight.clone()
    said = start_from(new, ["cat"], read_model_file(saved(tmp_path, old, ["cat"])))
    assert said.splitlines()[1] == "1 tensor starts anew: 1.weight"
    assert torch.equal(new[1].weight, before)
    assert torch.equal(new[1].bias, old[1].bias)
