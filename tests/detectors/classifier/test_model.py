"""A classifier against torchvision's networks, and as the start of detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms.v2 import functional

from detkit.detectors.builder import build_detector
from detkit.detectors.classifier.builder import build_classifier
from detkit.detectors.classifier.config import ClassifierConfig
from detkit.detectors.classifier.model import Classifier, views
from detkit.detectors.fast_rcnn.config import FastRCNNConfig
from detkit.errors import UserError
from detkit.inference.save_model import save_model
from detkit.models.backbones.tails import FcTail, gaussian_linear
from detkit.models.norm import FrozenBatchNorm
from detkit.models.pretrained import LoadReport, load_weights
from detkit.structures import ImageBatch, Target, TrainBatch

NETWORKS: dict[str, dict[str, Any]] = {
    "alexnet": {"type": "alexnet"},
    "caffenet": {"type": "caffenet"},
    "zfnet": {"type": "zfnet"},
    "vgg11": {"type": "vgg", "depth": 11},
    "vgg13_bn": {"type": "vgg", "depth": 13, "batch_norm": True},
    "googlenet": {"type": "googlenet"},
    "resnet18": {"type": "resnet", "depth": 18},
    "resnet50": {"type": "resnet", "depth": 50},
}
HEADS: dict[str, tuple[dict[str, Any], int]] = {
    "alexnet": ({"type": "fc6_fc7"}, 6),
    "caffenet": ({"type": "fc6_fc7"}, 6),
    "zfnet": ({"type": "fc6_fc7"}, 6),
    "vgg11": ({"type": "fc6_fc7"}, 7),
    "vgg13_bn": ({"type": "fc6_fc7"}, 7),
    "googlenet": ({"type": "inception5"}, 7),
    "resnet18": ({"type": "layer4"}, 7),
    "resnet50": ({"type": "layer4"}, 7),
}


def spec(name: str, width: float = 0.125, **more: Any) -> ClassifierConfig:
    own = more.pop("backbone", {})
    return ClassifierConfig.model_validate(
        {"type": "classifier", "backbone": {**NETWORKS[name], "width": width, **own}, "crop_px": 64, **more}
    )


def build(name: str, num_classes: int = 3, **more: Any) -> Classifier:
    model = build_detector(spec(name, **more), num_classes, 0)
    assert isinstance(model, Classifier)
    return model


def batch(*sizes: tuple[int, int]) -> TrainBatch:
    height, width = (max(sides) for sides in zip(*sizes, strict=True))
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (len(sizes), 3, height, width), generator=noise, dtype=torch.uint8)
    targets = tuple(
        Target.of(torch.tensor([[0.0, 0, w, h]]), torch.tensor([i % 3]), i) for i, (h, w) in enumerate(sizes)
    )
    return TrainBatch(ImageBatch(pixels, sizes, sizes), targets)


@pytest.mark.parametrize("name", NETWORKS)
def test_learns_and_says_what_an_image_shows(name: str) -> None:
    model = build(name, top=2)
    loss = model(batch((64, 64), (64, 64)))["class"]
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    found = model.eval().detect(batch((70, 90), (80, 64)).images)
    for one, size in zip(found, ((70, 90), (80, 64)), strict=True):
        assert one.boxes.tolist() == [[0, 0, size[1], size[0]]] * 2
        assert one.scores[0] >= one.scores[1] > 0


@pytest.mark.parametrize("name", ["resnet18", "googlenet", "resnet50"])
def test_gives_torchvisions_logits(name: str) -> None:
    torch.manual_seed(0)
    make = getattr(torchvision.models, name)
    own = {"init_weights": False, "aux_logits": False, "transform_input": True} if name == "googlenet" else {}
    theirs = make(num_classes=4, **own).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.05)
    ours = build_classifier(spec(name, width=1), 4, None).eval()
    rest = {f"{part}.": module for part, module in ours.tail.named_children()}
    report = load_weights({"": ours.backbone, **rest}, theirs.state_dict(), "test")
    assert (report.missing, report.unused, report.reshaped) == ((), (), ())
    pixels = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(ours.logits(pixels), theirs(pixels), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["alexnet", "vgg11", "vgg13_bn"])
def test_has_torchvisions_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)(num_classes=5)
        ours = build_classifier(spec(name, width=1), 5, None)
    found = {key.partition(".")[2]: value.shape for key, value in ours.state_dict().items()}
    assert found == {key: value.shape for key, value in theirs.state_dict().items()}


def test_vggs_layers_are_in_torchvisions_order() -> None:
    layers = [nn.Linear(8 * 49, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Dropout()]
    theirs = nn.Sequential(*layers, nn.Linear(16, 3)).eval()
    tail = FcTail(8, 7, channels=16, dropout_first=False, dropout=0.5, num_classes=3).eval()
    theirs.load_state_dict(tail.classifier.state_dict())
    conv5 = torch.randn(2, 8, 14, 14)
    pooled = nn.AdaptiveAvgPool2d(7)(nn.functional.max_pool2d(conv5, 2)).flatten(1)
    torch.testing.assert_close(tail(conv5), theirs(pooled))


def test_scores_are_the_mean_over_cuts_and_scales() -> None:
    ten = build("resnet18", views={"crops": "ten", "scales": (1.0, 0.9)}).eval()
    images = batch((80, 96)).images
    pixels = ten.prepare(images)[0]
    scores = ten.logits(views(pixels, 64, "ten", (1.0, 0.9))).softmax(1).mean(0)
    found = ten.detect(images)[0]
    torch.testing.assert_close(found.scores, scores.sort(descending=True).values)
    assert found.labels.tolist() == scores.argsort(descending=True).tolist()


def test_what_an_image_shows_depends_on_no_other_image() -> None:
    model = build("resnet18").eval()
    both = batch((70, 66), (90, 120))
    alone = ImageBatch(both.images.pixels[:1, :, :70, :66], ((70, 66),), ((70, 66),))
    torch.testing.assert_close(model.detect(both.images)[0].scores, model.detect(alone)[0].scores)


def test_images_of_several_sizes_are_learned_by_their_centre() -> None:
    model = build("resnet18").eval()
    one = batch((70, 66), (90, 120))
    centre = one.images.pixels[0, :, 3:67, 1:65], one.images.pixels[1, :, 13:77, 28:92]
    cut = TrainBatch(ImageBatch(torch.stack(centre), ((64, 64),) * 2, ((64, 64),) * 2), one.targets)
    torch.testing.assert_close(model(one)["class"], model(cut)["class"], rtol=1e-4, atol=1e-4)


def test_an_image_without_a_class_is_refused() -> None:
    one = batch((64, 64))
    lost = TrainBatch(one.images, (Target.of(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 5),))
    with pytest.raises(UserError, match="image 5 has 0 classes"):
        build("resnet18")(lost)


@pytest.mark.parametrize("name", NETWORKS)
def test_its_file_starts_a_detector_with_every_tensor_but_the_classes(name: str, tmp_path: Path) -> None:
    donor = build(name, num_classes=7)
    torch.manual_seed(1)
    for value in donor.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    file = tmp_path / "model.safetensors"
    names = [f"c{k}" for k in range(7)]
    save_model(file, donor, classes=names, category_ids=range(1, 8), config_yaml="")
    head, size = HEADS[name]
    reports: list[LoadReport] = []
    model = build_detector(
        FastRCNNConfig.model_validate(
            {
                "type": "fast_rcnn",
                "backbone": {**NETWORKS[name], "width": 0.125, "weights": str(file)},
                "proposals": {"type": "selective_search"},
                "regions": {"type": "roi_pool", "size": size},
                "head": head,
            }
        ),
        3,
        0,
        on_weights=reports.append,
    )
    logits = "fc" if hasattr(donor.tail, "fc") else "classifier.6"
    assert (reports[0].missing, reports[0].reshaped, reports[0].reset) == ((), (), ())
    assert set(reports[0].unused) == {f"{logits}.weight", f"{logits}.bias"}
    given = {key.partition(".")[2]: value for key, value in donor.state_dict().items()}
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, given[key]), key
    inner = dict(model.roi_head.head.named_parameters())
    kept = [value for key, value in given.items() if value.dim() > 1 and not key.startswith(f"{logits}.")]
    assert (
        sum(any(torch.equal(value, own) for own in kept) for value in inner.values() if value.dim() > 1) > 1
    )


def test_its_file_starts_a_classifier_of_other_classes(tmp_path: Path) -> None:
    donor = build("resnet18", num_classes=7)
    file = tmp_path / "model.safetensors"
    save_model(file, donor, classes=["x"] * 7, category_ids=[1] * 7, config_yaml="")
    reports: list[LoadReport] = []
    model = build_detector(
        spec("resnet18", backbone={"weights": str(file), "freeze_at": 5}), 3, 0, on_weights=reports.append
    )
    assert [name for name, *_ in reports[0].reshaped] == ["fc.weight", "fc.bias"]
    assert (reports[0].missing, reports[0].unused) == ((), ())
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"tail.fc.weight", "tail.fc.bias"}
    assert isinstance(model.tail.layer4[0].bn1, FrozenBatchNorm)
    assert torch.equal(model.tail.layer4[1].conv2.weight, donor.tail.layer4[1].conv2.weight)


def test_the_config_knows_what_a_classifier_needs() -> None:
    assert spec("resnet18").backbone.norm == "trainable"  # type: ignore[union-attr]
    assert spec("alexnet").backbone.freeze_at == 0
    assert (spec("vgg11").dropout, spec("googlenet").dropout, spec("resnet18").dropout) == (0.5, 0.4, 0.0)
    assert spec("resnet18", backbone={"norm": "frozen", "freeze_at": 3}).backbone.freeze_at == 3


def test_centre_and_ten_are_torchvisions() -> None:
    image = torch.rand(3, 35, 45)
    assert torch.equal(views(image, 21, "center", (1.0,))[0], functional.center_crop(image, [21, 21]))
    corners = functional.ten_crop(image, [21, 21])  # four corners, centre; then their mirror images
    ten = views(image, 21, "ten", (1.0,))
    order = [1, 2, 3, 4, 0, 6, 7, 8, 9, 5]
    mirrored = {tuple(cut.flatten().tolist()) for cut in corners}
    assert {tuple(cut.flatten().tolist()) for cut in ten} == mirrored
    assert all(torch.equal(ten[ours], peer) for ours, peer in zip(order[:5], corners[:5], strict=True))


def test_each_scale_gives_its_own_cuts() -> None:
    image = torch.rand(3, 40, 60)
    both = views(image, 16, "center", (1.0, 0.5))
    half = torch.nn.functional.interpolate(image[None], (20, 30), mode="bilinear", antialias=True)[0]
    assert torch.equal(both[1], functional.center_crop(half, [16, 16]))


def test_a_small_image_is_padded_at_its_end() -> None:
    cut = views(torch.ones(3, 5, 9), 8, "ten", (1.0,))
    assert cut.shape == (10, 3, 8, 8)
    assert torch.equal(cut[0, :, :5], torch.ones(3, 5, 8))
    assert not cut[0, :, 5:].any()


def test_the_layer_of_the_logits_begins_narrow() -> None:
    torch.manual_seed(0)
    layer = gaussian_linear(400, 50)
    assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not layer.bias.any()


@pytest.mark.parametrize(
    ("dropout_first", "names"),
    [(True, "Dropout Linear ReLU Dropout Linear ReLU"), (False, "Linear ReLU Dropout Linear ReLU Dropout")],
)
def test_dropout_stands_before_both_layers_or_behind_them(dropout_first: bool, names: str) -> None:
    tail = FcTail(4, 2, channels=8, dropout_first=dropout_first, dropout=0.5, num_classes=3)
    assert [type(layer).__name__ for layer in tail.classifier] == [*names.split(), "Linear"]
    assert [m.in_features for m in tail.classifier if isinstance(m, torch.nn.Linear)] == [16, 8, 8]
