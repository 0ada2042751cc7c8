"""Settings that the detectors of `detkit lineage` have in common: the data, the budget and the backbone."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.annotations.image_files import with_sizes
from detkit.annotations.validity import box_problems
from detkit.checks.recommend import ObjectSizes, choose_anchors, choose_resize, measure_objects
from detkit.data.datasets.readers import read_sets
from detkit.data.datasets.splits import divide
from detkit.data.synthetic.dataset import is_embedded, write_synthetic
from detkit.errors import UserError
from detkit.lineage.chain import Ground, Terms, Values
from detkit.models.backbones.families import FAMILIES

OBJECTS = "objects"
"""Weights that are trained first, by naming the objects of the training images."""

NUM_DRAWN = {"train": 300, "val": 100}
STRIDE = 16
ALIKE = 1.5
WINDOW_STRIDE = 0.3  # at 0.5 a grid misses so many objects that nothing is left to compare
CROPS_PER_STEP, CLASSIFIER_STEPS, MOST_EPOCHS = 32, 600, 100


ENLARGED, USUAL_SHORT_PX = 1.5, 600
CELL_PX, SMALL_SHORT_PX = 8, 256  # in small images cells are half as wide

MINUTES = 100.0
"""Time for all detectors, on photographs of the user's."""

EMBEDDED = Terms("resnet18", OBJECTS, width=0.25, boxes=300, regions=40_000, epochs=8, crop_px=64)
PHOTOS = Terms("resnet18", "IMAGENET1K_V1", width=1.0, boxes=300, regions=40_000, epochs=4, crop_px=64)
"""What the speed of a machine is measured on, before terms are fitted to it."""


@dataclass(frozen=True)
class Images:
    """A dataset for all detectors.

    Attributes:
        data: `data` of the config, without `val`: nothing is chosen by the validation images.
        val: `data.val`, for the evaluation.
        trained_on: the annotations to train on.
        note: how it is divided.
    """

    data: Values
    val: Values
    trained_on: AnnotationSet
    note: str


def terms_for(dataset: str, **changes: Any) -> Terms:
    """Return the usual terms for a dataset, with changes; those that are None are not made."""
    usual = EMBEDDED if is_embedded(dataset) else PHOTOS
    return replace(usual, **{name: value for name, value in changes.items() if value is not None})


def images_of_dataset(dataset: str, folder: Path) -> Images:
    """Look at a dataset as `detkit init` does.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic`.
        folder: where lists of images are written if the dataset is not divided, and the embedded dataset
            itself: it is read too often to be drawn each time.

    Raises:
        UserError: it cannot be recognised or read, or no object to learn from is labelled.
    """
    place = _written(folder) if is_embedded(dataset) else Path(dataset)
    split = divide(detect_format(place), folder / "images.yaml")
    parts = {
        name: with_sizes(part) for name, part in read_sets({"train": split.train, "val": split.val}).items()
    }
    trained_on = parts["train"]
    if trained_on.num_objects == 0:
        raise UserError(f"{dataset}: {trained_on.num_images} images to learn from, but no object is labelled")
    train, val = (part.model_dump(exclude={"augment"}) for part in (split.train, split.val))
    data: Values = {"classes": trained_on.classes, "train": train}
    if any(box_problems(part) for part in parts.values()):
        data["invalid_boxes"] = "clip"
    return Images(data, val, trained_on, split.note)


def _written(folder: Path) -> Path:
    """Return the embedded dataset's folder, after writing it if it is not there."""
    place = folder / "images"
    if not place.is_dir():
        part = folder / ".images.part"
        shutil.rmtree(part, ignore_errors=True)
        write_synthetic(part, "coco", NUM_DRAWN["train"], NUM_DRAWN["val"])
        part.rename(place)
    return place


def backbone_of(terms: Terms) -> Values:
    """Return `detector.backbone` of a name such as vgg16, without weights.

    Raises:
        UserError: there is no such network.
    """
    names = {name: (family, keys) for family in FAMILIES for name, keys in family.variants.items()}
    if terms.backbone not in names:
        raise UserError(f"--backbone {terms.backbone}: must be one of {', '.join(names)}")
    family, keys = names[terms.backbone]
    values: Values = {**keys, "width": terms.width}
    if family.norm_is_a_choice and terms.weights == OBJECTS:
        values["batch_norm"] = True  # nothing is trained from scratch without it
    return values


def common_ground(images: Images, terms: Terms, weights: str) -> Ground:
    """Return what all configs are made from.

    Args:
        images: the dataset.
        terms: of the comparison.
        weights: a torchvision weights name, or the file that was trained.

    Raises:
        UserError: no object has an area.
    """
    sizes = measure_objects(images.trained_on, images.trained_on.sizes)
    if sizes is None:
        raise UserError("no labelled object has an area")
    short, long = _size_of_images(sizes)
    scale = short / sizes.short_px
    (anchor_px,), ratios = choose_anchors(sizes, scale, 1, STRIDE)
    across = (sizes.short_px * sizes.long_px) ** 0.5
    scales = tuple(round(side / scale / across, 3) for side in anchor_px)
    alike = ratios[-1] < ALIKE * ratios[0]  # one window does for all shapes
    train = {**images.data["train"], "augment": ({"type": "flip"},)}
    data = {**images.data, "train": train, "resize": {"short_px": short, "long_px": long}}
    learned_here = terms.weights == OBJECTS
    return Ground(
        backbone={**backbone_of(terms), "weights": weights, **({"freeze_at": 0} if learned_here else {})},
        data=data,
        anchors={"sizes_px": (anchor_px,), "ratios": ratios, "rounding": "none"},
        windows={
            "scales": scales,
            "ratios": (ratios[len(ratios) // 2],) if alike else ratios,
            "stride": WINDOW_STRIDE,
        },
        terms=terms,
        num_images=images.trained_on.num_images,
        rate=1e-3 if learned_here else 2e-4,
        cell_px=CELL_PX if sizes.short_px >= SMALL_SHORT_PX else CELL_PX // 2,
    )


def _size_of_images(sizes: ObjectSizes) -> tuple[int, int]:
    """Return (short_px, long_px) of whole images.

    They are half as large again as `detkit init` makes them, up to the papers' 600 px: R-CNN sees each object
    in a crop of its own, and three cells of a map say less than that.
    """
    short, long = choose_resize(sizes, stride=STRIDE)
    factor = max(min(ENLARGED, USUAL_SHORT_PX / short), 1.0)
    return round(short * factor), round(long * factor)


def classifier_config(images: Images, terms: Terms) -> Values:
    """Return the config of the classifier whose weights all detectors start from: the papers' step 1."""
    side = terms.crop_px
    changes = (
        {"type": "flip"},
        {"type": "color_jitter"},
        {"type": "scale_crop", "short_px": (side, round(1.5 * side)), "size_px": side},
    )
    train = {"type": "object_crops", "of": images.data["train"], "augment": changes}
    size = {"short_px": round(1.125 * side), "long_px": round(4.5 * side)}
    per_epoch = max(1, images.trained_on.num_objects // CROPS_PER_STEP)
    epochs = min(max(round(CLASSIFIER_STEPS / per_epoch), 1), MOST_EPOCHS)
    return {
        "version": 1,
        "seed": terms.seed,
        "detector": {"type": "classifier", "backbone": backbone_of(terms), "crop_px": side},
        "data": {**images.data, "train": train, "resize": size},
        "train": {
            "type": "gradient",
            "epochs": epochs,
            "batch_size": CROPS_PER_STEP,
            "optimizer": {"type": "adamw", "lr": 0.002},
            "warmup": {"steps": 20},
            "clip_norm": 10,
            "validate_every": 0,
        },
        "evaluate": {"batch_size": 16},
    }
