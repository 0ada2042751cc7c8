"""What `detkit import --from torchvision` says of a file; numbers are compared in tests/parity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from detkit.config.load import load_config
from detkit.detectors.faster_rcnn.torchvision import import_torchvision
from detkit.detectors.importers import Wanted
from detkit.errors import UserError
from detkit.inference.model_file import read_model_file
from detkit.workflows.import_model import import_model

SCORES = "roi_heads.box_predictor.cls_score.weight"
MOBILE = "fasterrcnn_mobilenet_v3_large"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    backbone = resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    return dict(FasterRCNN(backbone, num_classes=3).state_dict())


def of_classes(state: State, rows: int) -> State:
    """Return the state of a detector with other outputs, background's among them."""
    shapes = {"cls_score": rows, "bbox_pred": 4 * rows}
    layers = {f"roi_heads.box_predictor.{name}": num for name, num in shapes.items()}
    weights = {f"{name}.weight": torch.rand(num, 1024) for name, num in layers.items()}
    return {**state, **weights, **{f"{name}.bias": torch.rand(num) for name, num in layers.items()}}


def written(file: Path, content: Any) -> Path:
    torch.save(content, file)
    return file


def test_a_checkpoint_of_several_processes_becomes_a_model_file(state: State, tmp_path: Path) -> None:
    file = written(
        tmp_path / "mine.pth", {"model": {f"module.{name}": v for name, v in state.items()}, "epoch": 3}
    )
    result = import_model(file, "torchvision", classes=("cat", "dog"))
    read = read_model_file(result.out)
    assert (read.classes, read.category_ids, read.licence) == (("cat", "dog"), (1, 2), "NOASSERTION")
    assert "depth: 18" in read.config_yaml
    assert "like: torchvision" in read.config_yaml
    assert torch.equal(read.state["backbone.conv1.weight"], state["backbone.body.conv1.weight"])


def test_names_of_classes(state: State, tmp_path: Path) -> None:
    coco = import_torchvision([written(tmp_path / "a.pth", of_classes(state, 91))], Wanted()).classes
    assert (coco[0], coco[11], coco[89], len(set(coco))) == ("person", "N/A 12", "toothbrush", 90)
    person = {**of_classes(state, 2), "roi_heads.keypoint_head.0.weight": torch.zeros(1)}
    read = import_torchvision([written(tmp_path / "b.pth", person)], Wanted())
    assert (read.classes, read.unused) == (("person",), ("roi_heads.keypoint_head.0.weight",))
    file = written(tmp_path / "c.pth", state)
    for names in ((), ("cat",), ("cat", "dog", "cow")):
        with pytest.raises(UserError, match=f"has 2 classes .* name each with --class.* got {len(names)}"):
            import_torchvision([file], Wanted(classes=names))


@pytest.mark.parametrize(
    ("name", "eps", "licence", "moved"),
    [
        ("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", None, "BSD-3-Clause", -1e-5),
        ("fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth", None, "BSD-3-Clause", 0.0),
        ("mine.pth", None, "NOASSERTION", 0.0),
        ("mine.pth", 0.0, "NOASSERTION", -1e-5),
        ("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth", 1e-3, "BSD-3-Clause", 1e-3 - 1e-5),
    ],
)
def test_published_files_are_known_by_their_names(
    name: str, eps: float | None, licence: str, moved: float, state: State, tmp_path: Path
) -> None:
    wanted = Wanted(classes=("cat", "dog"), norm_eps=eps)
    read = import_torchvision([written(tmp_path / name, state)], wanted)
    assert read.licence == licence
    before, after = state["backbone.body.bn1.running_var"], read.state["backbone.bn1.running_var"]
    torch.testing.assert_close(after, before + moved, atol=1e-7, rtol=0)


def of_mobile(blocks: int = 17) -> State:
    """Return a state of two classes with the names of a MobileNet, by default of V3-Large."""
    rows = {SCORES: torch.zeros(3, 1), SCORES.replace("cls_score", "bbox_pred"): torch.zeros(12, 1)}
    return {f"backbone.body.{block}.0.1.running_var": torch.full((1,), 0.5) for block in range(blocks)} | rows


@pytest.mark.parametrize(
    ("name", "arch", "short_px", "licence"),
    [
        (f"{MOBILE}_fpn-fb6a3cc7.pth", None, 800, "BSD-3-Clause"),
        (f"{MOBILE}_320_fpn-907ea3f9.pth", None, 320, "BSD-3-Clause"),
        ("mine.pth", None, 800, "NOASSERTION"),
        ("mine.pth", f"{MOBILE}_320_fpn", 320, "NOASSERTION"),
        (f"{MOBILE}_320_fpn.pth", f"{MOBILE}_fpn", 800, "NOASSERTION"),
    ],
)
def test_a_mobilenets_name_tells_the_size_of_its_images(
    name: str, arch: str | None, short_px: int, licence: str, tmp_path: Path
) -> None:
    wanted = Wanted(arch=arch, classes=("cat", "dog"))
    read = import_torchvision([written(tmp_path / name, of_mobile())], wanted)
    config = load_config(read.config, read.overrides)
    detector: Any = config.detector
    backbone = detector.backbone
    assert (backbone.variant, backbone.maps, backbone.norm) == ("v3_large", "last_stage", "frozen")
    assert config.data.resize is not None
    assert (config.data.resize.short_px, config.data.resize.like) == (short_px, "torchvision")
    assert read.licence == licence
    # Theirs add 0.00001 to the variance, ours 0.001.
    assert read.state["backbone.features.16.0.1.running_var"].item() == pytest.approx(0.49901)


def test_arch_is_of_mobilenets_alone(state: State, tmp_path: Path) -> None:
    small = f"{MOBILE}_320_fpn"
    for own, arch in ((state, small), (of_mobile(), "mobilenet")):
        file = written(tmp_path / "mine.pth", own)
        with pytest.raises(UserError, match=rf"mine\.pth: --arch '{arch}': tells .* from {small}"):
            import_torchvision([file], Wanted(arch=arch, classes=("cat", "dog")))
    with pytest.raises(UserError, match=r"no ResNet of 18, .* no MobileNet of 19, 13, 17 blocks"):
        import_torchvision([written(tmp_path / "a.pth", of_mobile(15))], Wanted(classes=("cat", "dog")))


def changed(state: State, **named: Tensor | None) -> State:
    names = {name.replace("__", "."): value for name, value in named.items()}
    return {name: value for name, value in {**state, **names}.items() if value is not None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({SCORES: None}, "holds no Faster, Mask or Keypoint R-CNN of torchvision's"),
        ({"backbone.body.layer4.2.conv1.weight": torch.zeros(1)}, "its backbone is no ResNet of 18, 34, 50"),
        ({"roi_heads.other.weight": torch.zeros(1)}, "not a weight of torchvision's"),
        ({"rpn.head.bbox_pred.bias": None}, "not in it: rpn.head.bbox_pred.bias"),
        ({"rpn.head.other.bias": torch.zeros(1)}, "left over: rpn.head.other.bias"),
        ({"backbone.body.conv1.weight": torch.zeros(9, 9)}, "does not fit faster_rcnn as the config has it"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, Tensor | None], message: str, state: State, tmp_path: Path
) -> None:
    file = written(tmp_path / "a.pth", changed(state, **change))
    with pytest.raises(UserError, match=message) as told:
        import_model(file, "torchvision", classes=("cat", "dog"))
    assert "a.pth" in str(told.value) or "roi_heads.other" in str(told.value)
    assert not (tmp_path / "a.safetensors").exists()


def test_what_there_is_is_taken_when_that_is_asked_for(state: State, tmp_path: Path) -> None:
    file = written(tmp_path / "a.pth", changed(state, **{"rpn.head.bbox_pred.bias": None}))
    result = import_model(file, "torchvision", classes=("cat", "dog"), partial=True)
    assert result.missing == ("rpn.head.bbox_pred.bias",)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    file = written(tmp_path / "a.pth", {"model": Runs()})
    with pytest.raises(UserError, match=r"a\.pth is damaged or holds something else"):
        import_model(file, "torchvision")
    assert not (tmp_path / "ran").exists()
