"""detectron2's Faster, Fast and Cascade R-CNN, and the box part of its Mask and Keypoint R-CNN -> ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.detectors.importers import Foreign, Wanted
from detkit.detectors.toolkits.pickled_arrays import read_pickled_arrays
from detkit.detectors.toolkits.pixels import STYLES, Style, style_named
from detkit.detectors.toolkits.region_detector import (
    Parts,
    fitted_names,
    foreign,
    kind_of,
    parts_of,
    stage,
)
from detkit.errors import UserError
from detkit.models.pretrained import read_content

OTHER_HEADS = ("roi_heads.mask_head.", "roi_heads.keypoint_head.", "sem_seg_head.")
"""What the names of parts begin with that say more of an object, or of the image, than boxes."""

CELLS = "proposal_generator.anchor_generator.cell_anchors."
PIXELS = ("pixel_mean", "pixel_std")
Renamed = Sequence[tuple[str, Callable[[re.Match[str]], str]]]

# What detectron2's names begin with -> what ours do.
NAMES: Renamed = (
    (r"backbone\.(?:bottom_up\.)?stem\.", lambda m: "backbone."),
    (r"backbone\.(?:bottom_up\.)?res([2-5])\.", lambda m: f"backbone.layer{int(m[1]) - 1}."),
    (r"roi_heads\.res5\.", lambda m: "roi_head.head.layer4."),
    (r"backbone\.fpn_lateral([2-5])\.", lambda m: f"neck.inner_blocks.{int(m[1]) - 2}."),
    (r"backbone\.fpn_output([2-5])\.", lambda m: f"neck.layer_blocks.{int(m[1]) - 2}."),
    (r"proposal_generator\.rpn_head\.conv\.(?:conv(\d)\.)?", lambda m: f"rpn.head.conv.{m[1] or 0}.0."),
    (r"proposal_generator\.rpn_head\.objectness_logits\.", lambda m: "rpn.head.cls_logits."),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.", lambda m: "rpn.head.bbox_pred."),
    (r"roi_heads\.box_head\.(?:(\d)\.)?fc([12])\.", lambda m: f"{stage(m[1])}.head.fc{int(m[2]) + 5}."),
    (r"roi_heads\.box_head\.(?:(\d)\.)?conv(\d)\.", lambda m: f"{stage(m[1])}.head.convs.{int(m[2]) - 1}."),
    (r"roi_heads\.box_predictor\.(?:(\d)\.)?", lambda m: f"{stage(m[1])}.predictor."),
)
# What follows in the network, and in the blocks around it, where a norm lies in its convolution.
IN_NETWORK: Renamed = (
    (r"(.*)\bconv(\d)\.norm\.", lambda m: f"{m[1]}bn{m[2]}."),
    (r"(.*)\bshortcut\.norm\.", lambda m: f"{m[1]}downsample.1."),
    (r"(.*)\bshortcut\.", lambda m: f"{m[1]}downsample.0."),
)
IN_BLOCKS: Renamed = (
    (r"(.*blocks\.\d\.|.*convs\.\d\.)norm\.", lambda m: f"{m[1]}1."),
    (r"(.*blocks\.\d\.|.*convs\.\d\.)", lambda m: f"{m[1]}0."),
)


def import_detectron2(files: Sequence[Path], wanted: Wanted) -> Foreign:
    """Return the detector in a file of detectron2's: the model zoo's .pkl, or the .pth of a training.

    R-CNNs in the C4, DC5 and FPN wirings on ResNets and ResNeXts. Old files tell how their network takes
    pixels, and their anchors; of others they are those of the model zoo.

    Args:
        files: one.
        wanted: `arch`, a style of networks; the classes' names, where they are not COCO's 80; `norm_eps`.

    Raises:
        UserError: the file holds something else.
    """
    if len(files) > 1:
        raise UserError(f"--from detectron2: a detector is one file, got {len(files)}")
    file = files[0]
    theirs = _tensors(file)
    unused = tuple(name for name in theirs if name.startswith(OTHER_HEADS))
    known = {
        name: value for name, value in theirs.items() if not name.startswith((*OTHER_HEADS, CELLS, *PIXELS))
    }
    state = fitted_names({our_name(name): value for name, value in known.items()})
    style = _style(theirs, state, wanted.arch)
    parts = parts_of(file, state, style.stride_in)
    pyramid = parts["neck"]["type"] == "fpn"
    parts["head"] |= {"beta": 0.0, "normalize_by": "batch"}
    if kind_of(state) != "fast_rcnn":
        _set_anchors(parts, theirs)
        before = {"pre_nms_train": 2000, "pre_nms_test": 1000}
        before = before if pyramid else {"pre_nms_train": 12000, "pre_nms_test": 6000}
        parts["proposals"] |= {**before, "beta": 0.0, "normalize_by": "batch_size"}
        state = _in_our_order(state, parts["proposals"]["anchors"])
    more: dict[str, Any] = {"detector.multiple_of": 32 if pyramid else 1, "data.resize.like": "pillow"}
    if kind_of(state) == "cascade_rcnn":
        parts["head"] |= {"beta": 0.0}
        more |= {"detector.scores": "own", "detector.feature_gradient": 1 / 3}
        more |= {f"detector.later_stages.{number}.feature_gradient": 1 / 3 for number in range(2)}
    return foreign(file, state, parts, style, wanted, unused=unused, more=more)


def our_name(name: str) -> str:
    """Return our name of a weight; one that is none of ours stays as it is."""
    ours = renamed(name, NAMES)
    return renamed(ours, IN_NETWORK if "backbone." in ours or ".layer4." in ours else IN_BLOCKS)


def renamed(name: str, rules: Renamed) -> str:
    """Return a name by the first rule whose pattern it begins with."""
    for pattern, begin in rules:
        if match := re.match(pattern, name):
            return begin(match) + name[match.end() :]
    return name


def _tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by detectron2's names."""
    is_pickle = file.suffix == ".pkl"
    content = (
        read_pickled_arrays(file) if is_pickle else read_content(file, stand_ins=("fvcore", "detectron2"))
    )
    if isinstance(content, dict) and "blobs" in content:
        raise UserError(f"{file}: is a file of Detectron, the program before detectron2, which is not read")
    model = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(model, dict) or not model:
        raise UserError(f"{file}: holds no weights by name, as detectron2's files do")
    return {str(name).removeprefix("module."): _tensor(file, name, value) for name, value in model.items()}


def _tensor(file: Path, name: Any, value: Any) -> Tensor:
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    if isinstance(value, Tensor):
        return value
    raise UserError(f"{file}: {name} is a {type(value).__name__}, no array of numbers")


def _style(theirs: Mapping[str, Tensor], state: Mapping[str, Tensor], arch: str | None) -> Style:
    """Return how a network takes its images: as the user says, as the file does, or as the model zoo's."""
    grouped = state.get("backbone.layer1.0.conv2.weight", torch.zeros(1, 1)).shape
    usual = STYLES["caffe2" if grouped[0] > grouped[1] else "caffe"] if arch is None else style_named(arch)
    if arch is not None or not all(name in theirs for name in PIXELS):
        return usual
    mean, std = (tuple(theirs[name].flatten().tolist()) for name in PIXELS)
    divided = any(value != 1 for value in std)
    return Style(mean[0] > mean[-1], std, "3x3" if divided else "1x1", mean)


def _set_anchors(parts: Parts, theirs: Mapping[str, Tensor]) -> None:
    """Take over the anchors of a file that holds those of a cell."""
    cells = [value.double() for name, value in sorted(theirs.items()) if name.startswith(CELLS)]
    if not cells:
        return
    sides = [(own[:, 2:] - own[:, :2]).unbind(1) for own in cells]
    sizes = [[round(size, 2) for size in (w * h).sqrt().tolist()] for w, h in sides]
    ratios = [round(ratio, 4) for ratio in (sides[0][1] / sides[0][0]).tolist()]
    parts["proposals"]["anchors"] |= {
        "sizes_px": [list(dict.fromkeys(own)) for own in sizes],
        "ratios": list(dict.fromkeys(ratios)),
    }


def _in_our_order(state: Mapping[str, Tensor], anchors: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return weights whose anchors of a cell go through the sizes of each ratio, not the other way round."""
    sizes, ratios = len(anchors["sizes_px"][0]), len(anchors["ratios"])
    ours = dict(state)
    for name in state:
        if name.startswith(("rpn.head.cls_logits.", "rpn.head.bbox_pred.")):
            value = state[name]
            if len(value) and len(value) % (sizes * ratios) == 0:
                by_size = value.reshape(sizes, ratios, -1, *value.shape[1:])
                ours[name] = by_size.transpose(0, 1).flatten(0, 2).contiguous()
    return ours
