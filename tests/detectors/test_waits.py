"""How often a training step must know on the host what a device computed, and how often a layout changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from detkit.detectors.builder import build_detector
from detkit.detectors.faster_rcnn.config import FasterRCNNConfig
from detkit.structures import ImageBatch, Target, TrainBatch

WAITS = ("tolist", "item", "__bool__", "__int__", "__float__", "nonzero", "unique_consecutive")


class Waits(TorchFunctionMode):
    """Counts the calls whose result has a size or a value that the host must wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in WAITS:
            self.counts[name] += 1
        if name == "__getitem__":
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            self.counts["mask"] += any(isinstance(i, Tensor) and i.dtype == torch.bool for i in index)
        return func(*args, **(kwargs or {}))


class Layouts(TorchDispatchMode):
    """Counts copies of maps from one memory format to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.changed: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.clone.default, torch.ops.aten._to_copy.default) and args[0].dim() == 4:
            before, after = (is_channels_last(x) for x in (args[0], result))
            if before != after and args[0].numel() > 1000:
                self.changed.append(tuple(args[0].shape))
        if func is torch.ops.aten.convolution.default:
            assert is_channels_last(args[0]), tuple(args[0].shape)
        return result


def is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def model_of(neck: dict[str, object], head: dict[str, object]) -> nn.Module:
    spec = {
        "type": "faster_rcnn",
        "backbone": {"type": "resnet", "depth": 18, "width": 0.25},
        "neck": neck,
        "proposals": {"type": "rpn", "post_nms_train": 30},
        "regions": {"type": "roi_align"},
        "head": head,
    }
    return build_detector(FasterRCNNConfig.model_validate(spec), 3, seed=0)


def fpn() -> nn.Module:
    return model_of({"type": "fpn", "channels": 8}, {"type": "two_fc", "channels": 8})


def batch(num: int) -> TrainBatch:
    boxes = torch.tensor([[5.0, 5.0, 40.0, 50.0], [30.0, 20.0, 80.0, 60.0]])
    targets = tuple(Target.of(boxes, torch.tensor([0, 2]), number) for number in range(num))
    pixels = torch.zeros(num, 64, 96, 3, dtype=torch.uint8).permute(0, 3, 1, 2)
    return TrainBatch(ImageBatch(pixels, ((64, 96),) * num, ((64, 96),) * num), targets)


def waits_of(model: nn.Module, num: int) -> int:
    with Waits() as waits:
        torch.stack(list(model(batch(num)).values())).sum()
    return sum(waits.counts.values())


def test_a_step_waits_a_few_times_for_an_image() -> None:
    model = fpn()
    few, many = waits_of(model, 1), waits_of(model, 5)
    # Which objects are added to the regions, and which proposals have an area. On a CPU, where waiting
    # costs nothing: whether there is a crowd, for anchors and for regions, and the sizes of groups.
    assert (many - few) / 4 <= 2 + 4
    assert few <= 2 + 4 + 4


def test_no_map_changes_its_layout_between_modules() -> None:
    with Layouts() as layouts, torch.no_grad():
        model = fpn()
        maps = model.neck(model.backbone(model.prepare(batch(2).images)))
        model.rpn(maps, ((64, 96),) * 2)
        model.roi_head(maps, [torch.tensor([[5.0, 5.0, 40.0, 50.0]]).repeat(40, 1)] * 2)
    # The fully connected head wants the cells of a region side by side; weights are made so in building.
    assert [shape for shape in layouts.changed if shape[0] not in (8, 16, 32, 64, 128)] == [(80, 8, 7, 7)]


def test_a_convolutional_head_changes_no_layout() -> None:
    model = model_of({"type": "none"}, {"type": "layer4"})
    regions = [torch.tensor([[5.0, 5.0, 40.0, 50.0]]).repeat(40, 1)] * 2
    with Layouts() as layouts, torch.no_grad():
        maps = model.neck(model.backbone(model.prepare(batch(2).images)))
        model.rpn(maps, ((64, 96),) * 2)
        model.roi_head(maps, regions)
    assert layouts.changed == []
