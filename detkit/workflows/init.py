"""`detkit init`: look at a dataset and write a complete config for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import FoundDataset, detect_format
from detkit.annotations.image_files import with_sizes
from detkit.annotations.image_folder import find_image_folder
from detkit.annotations.validity import box_problems
from detkit.checks.recommend import (
    anchor_coverage,
    choose_anchor_sizes,
    choose_freeze,
    choose_ratios,
    choose_resize,
    measure_objects,
)
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.readers import read_sets
from detkit.data.datasets.splits import Split, divide
from detkit.errors import UserError
from detkit.models.backbones.families import family_named
from detkit.storage.atomic import write_atomically

DEFAULT_CPU, DEFAULT_GPU = "faster_rcnn_resnet18_c4", "faster_rcnn_resnet50_fpn"
DEFAULT_CLASSIFIER = "classifier_resnet18_folder"
# Below this many optimizer steps a fine-tuned detector is visibly under-trained.
MIN_STEPS = 1200
MAX_EPOCHS = 60
# A running mean over about a hundredth of the training: longer ones lag behind in a short training.
EMA_SHARE, EMA_RANGE = 0.01, (0.9, 0.9998)


@dataclass(frozen=True)
class _Look:
    """What was seen of a dataset."""

    format: str
    split: Split
    train: AnnotationSet
    val: AnnotationSet
    problems: list[str]


def init(dataset: Path, *, detector: str | None, out: Path) -> dict[str, Any]:
    """Write a config that trains sensibly on a dataset as it is.

    Args:
        dataset: a VOC, COCO or YOLO folder, a COCO JSON file, a YOLO data.yaml, or a folder with images by
            class.
        detector: name of a shipped config to start from; None takes one that suits this machine and data.
        out: the YAML file to write; it must not exist.

    Returns:
        What was found and chosen: format, classes, images, objects, detector, config, notes.

    Raises:
        UserError: the dataset cannot be recognised or read, has no objects, or `out` exists.
    """
    if out.exists():
        raise UserError(f"{out}: exists already and is not overwritten; choose another name with -o")
    look = _look_at(dataset, out)
    template = detector or _default_detector(look.format)
    base = load_config(template)
    if look.format == "image_folder" and base.detector.type != "classifier":
        raise UserError(
            f"--detector {template}: {dataset} holds images by class and no boxes, which a classifier learns "
            f"from; leave --detector out or take {DEFAULT_CLASSIFIER}"
        )
    config, notes = _fit(base, look)
    header = _header(dataset, template, look, notes)
    write_atomically(out, header + dump_config(config, comments=True))
    return {
        "format": look.format,
        "classes": list(config.data.classes),
        "images": {"train": look.train.num_images, "val": look.val.num_images},
        "objects": {"train": look.train.num_objects, "val": look.val.num_objects},
        "detector": template,
        "config": str(out),
        "notes": notes,
    }


def _look_at(dataset: Path, out: Path) -> _Look:
    found = _recognised(dataset)
    split = divide(found, out)
    parts = read_sets({"train": split.train, "val": split.val})
    train, val = parts["train"], parts["val"]
    if train.num_objects == 0:
        raise UserError(f"{dataset}: {train.num_images} images to learn from, but no object is labelled")
    if found.format == "image_folder":  # a million images are not opened for their sizes
        return _Look(found.format, split, train, val, [])
    train, val = with_sizes(train), with_sizes(val)
    problems = [p.message for part in (train, val) for p in box_problems(part, part.sizes)]
    return _Look(found.format, split, train, val, problems)


def _recognised(dataset: Path) -> FoundDataset:
    try:
        return detect_format(dataset)
    except UserError:
        folders = find_image_folder(dataset)
        if folders is None:
            raise
        return folders


def _default_detector(dataset_format: str) -> str:
    if dataset_format == "image_folder":
        return DEFAULT_CLASSIFIER
    from torch import cuda

    return DEFAULT_GPU if cuda.is_available() else DEFAULT_CPU


def _fit(template: Config, look: _Look) -> tuple[Config, list[str]]:
    """Return the template with everything that depends on the data replaced, and what was done."""
    notes = [look.split.note]
    values = template.model_dump()
    values["data"]["classes"] = look.train.classes
    values["data"]["ignore_classes"] = ()
    classifies = template.detector.type == "classifier"
    train_set, val_set = (part.model_dump(exclude={"augment"}) for part in (look.split.train, look.split.val))
    if classifies and look.format != "image_folder":
        train_set, val_set = ({"type": "object_crops", "of": part} for part in (train_set, val_set))
        notes.append("the labelled objects are cut out, and each is an image for the classifier")
    values["data"]["train"] = {**train_set, "augment": values["data"]["train"]["augment"]}
    values["data"]["val"] = val_set
    if not classifies:
        values["evaluate"]["metric"] = "voc07" if look.format == "voc" else "coco"
    if look.problems:
        values["data"]["invalid_boxes"] = "clip"
        shown = "\n".join(look.problems[:3])
        notes.append(
            f"invalid_boxes: clip, because {len(look.problems)} boxes are not valid, such as\n{shown}"
        )
    if not classifies:
        notes.append(_fit_sizes(values, look.train))
    notes.extend(_fit_freeze(values, look.train.num_objects))
    notes.append(_fit_epochs(values, look.train.num_objects if classifies else look.train.num_images))
    return Config.model_validate(values), notes


def _fit_sizes(values: dict[str, Any], train: AnnotationSet) -> str:
    sizes = measure_objects(train, train.sizes)
    if sizes is None or values["detector"]["type"] == "custom":
        return "image size and anchors are the template's"
    anchors = values["detector"]["proposals"]["anchors"]
    num_maps = len(anchors["sizes_px"])
    short, long = choose_resize(sizes, stride=4 if num_maps > 1 else 16)
    scale = short / sizes.short_px
    chosen, ratios = choose_anchor_sizes(sizes, scale, num_maps), choose_ratios(sizes)
    anchors.update(sizes_px=chosen, ratios=ratios)
    values["data"]["resize"] = {"short_px": short, "long_px": long}
    share = anchor_coverage(train, scale, chosen, ratios)
    return (
        f"objects are {sizes.small_px:.0f} to {sizes.large_px:.0f} px large in images of "
        f"{sizes.long_px:.0f}x{sizes.short_px:.0f}; images are resized to {short} px on the short side, and "
        f"the anchors match the shape of {share:.1%} of the objects (IoU 0.5)"
    )


def _fit_freeze(values: dict[str, Any], num_examples: int) -> list[str]:
    """Freeze the more of a pretrained backbone, the fewer examples there are to learn from."""
    detector = values["detector"]
    backbone = detector.get("backbone", {})
    family = family_named(backbone.get("type"))
    if family is None or backbone["weights"] == "none":
        return []
    # A region's head learns, also where it is the network's last stage; a classifier has its logits for that.
    stages = family.stages if detector["type"] == "classifier" else family.stages_before_head
    backbone["freeze_at"], why = choose_freeze(num_examples, stages, backbone["freeze_at"])
    return [f"freeze_at: {backbone['freeze_at']}, because {why}"]


def _fit_epochs(values: dict[str, Any], num_images: int) -> str:
    """Make a small dataset's training long enough, and fit to its length what depends on it."""
    train = values["train"]
    per_epoch = max(1, -(-num_images // train["batch_size"]))
    needed = min(-(-MIN_STEPS // per_epoch), MAX_EPOCHS)
    said = f"{train['epochs']} epochs of {per_epoch} steps"
    if needed > train["epochs"]:
        if train["schedule"]["type"] == "step":
            factor = needed / train["epochs"]
            train["schedule"]["at"] = tuple(round(at * factor, 1) for at in train["schedule"]["at"])
        train["epochs"] = needed
        train["validate_every"] = max(train["validate_every"], needed // 12)
        said = f"{needed} epochs, because one has only {per_epoch} steps"
    if train["ema"] is not None:
        decay = 1 - 1 / (EMA_SHARE * train["epochs"] * per_epoch)
        train["ema"]["decay"] = round(float(np.clip(decay, *EMA_RANGE)), 4)
    return said


def _header(dataset: Path, template: str, look: _Look, notes: list[str]) -> str:
    counts = np.bincount(look.train.labels, minlength=len(look.train.classes))
    objects = ", ".join(f"{name} {count}" for name, count in zip(look.train.classes, counts, strict=True))
    lines = [
        f"{dataset}: {look.format}, {look.train.num_images} images to learn from, {look.val.num_images} to "
        "evaluate on.",
        f"Objects to learn from: {objects}.",
        f"Started from {template}.",
        *notes,
        "",
        "detkit train THIS_FILE            learns; results go to runs/",
        "detkit show-data THIS_FILE        draws what the model will see",
        "detkit config explain KEY         says what a key means",
    ]
    return (
        "".join(f"# {line}".rstrip() + "\n" for text in lines for line in (text.splitlines() or [""])) + "\n"
    )
