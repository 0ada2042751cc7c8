"""`detkit init`: look at a dataset and write a complete config for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import cuda

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import also_there, locate_dataset
from detkit.annotations.found_dataset import FoundDataset
from detkit.annotations.image_files import image_paths, require_images, with_sizes
from detkit.annotations.image_folder import find_image_folder
from detkit.annotations.image_places import ImagePlaces
from detkit.annotations.validity import box_problems
from detkit.checks.learning import FAIR_IOU, Fit, fit_findings
from detkit.checks.recommend import (
    ObjectSizes,
    choose_anchors,
    choose_freeze,
    choose_resize,
    measure_objects,
)
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_training_set
from detkit.data.datasets.config import DatasetConfig
from detkit.data.datasets.readers import read_classes
from detkit.data.datasets.related_images import leaks_between
from detkit.data.datasets.split_leaks import Leaks, leak_warning, remember_leaks
from detkit.data.datasets.splits import Split, divide
from detkit.data.images import decode_image
from detkit.data.transforms.config import ResizeConfig
from detkit.detectors.config import DetectorConfig
from detkit.detectors.families import starts_of
from detkit.errors import UserError
from detkit.names import counted, one_line
from detkit.proposals.config import for_any_images
from detkit.runs.learning import fit_of
from detkit.runs.weights_fit import fitted_to_weights, template_of_model
from detkit.runtime.cores import num_cores
from detkit.runtime.thread_map import map_threads
from detkit.storage.atomic import write_atomically
from detkit.storage.run_folder import made_folder, require_new

FITTING = 0.98  # of the objects have an anchor: no other detector is tried
DEFAULT, DEFAULT_CLASSIFIER = "faster_rcnn", "classifier"
_DECODED = 16  # images of each part that are decoded


@dataclass(frozen=True)
class _Look:
    """What was seen of a dataset."""

    format: str
    split: Split
    train: AnnotationSet
    val: AnnotationSet
    problems: list[str]
    unreadable: list[str]
    others: list[str]
    leaks: Leaks
    ignored: tuple[str, ...]


def init(
    dataset: str | Path,
    *,
    detector: str | None = None,
    out: str | Path,
    overrides: Sequence[str] = (),
    classes: Sequence[str] = (),
    from_weights: str | Path | None = None,
) -> dict[str, Any]:
    """Write a config that trains sensibly on a dataset as it is.

    Args:
        dataset: a folder or a file of annotations that `locate_dataset` recognises, or a folder with images
            by class.
        detector: a family such as fast_rcnn, or a shipped config or a file to start from; None takes
            faster_rcnn, or a classifier for images by class. Of a family what suits this machine and data.
        out: the YAML file to write; it must not exist.
        overrides: changes to the config to start from, such as the weights of its backbone.
        classes: those to find, in the order of their labels; objects of others are left out, and count as
            background. None takes all.
        from_weights: a model file to start from, which the detector, the image size and the anchors fit.

    Returns:
        What was found and chosen: format, classes, images, objects, detector, config, notes.

    Raises:
        UserError: the dataset cannot be recognised or read, has no objects or no such class, or `out` exists.
    """
    dataset, out = Path(dataset), Path(out)
    require_new(out, "-o")
    with made_folder(out.parent, ""), _without_lists_of_a_failure(out):
        return _init(dataset, detector, out, overrides, tuple(dict.fromkeys(classes)), from_weights)


@contextmanager
def _without_lists_of_a_failure(out: Path) -> Iterator[None]:
    """Remove the lists of images that were written beside a config if it does not come to be written."""

    def lists() -> set[Path]:
        return {file for file in out.parent.iterdir() if file.name.startswith(f"{out.stem}_")}

    before = lists()
    try:
        yield
    except BaseException:
        for file in lists() - before:
            file.unlink()
        raise


def _init(
    dataset: Path,
    detector: str | None,
    out: Path,
    overrides: Sequence[str],
    classes: tuple[str, ...],
    from_weights: str | Path | None,
) -> dict[str, Any]:
    if from_weights is not None and detector is not None:
        raise UserError(f"--detector {detector}: with --from the detector is that of {from_weights}")
    look = _look_at(dataset, out, classes)
    named = detector or (DEFAULT_CLASSIFIER if look.format == "image_folder" else DEFAULT)
    if from_weights is not None:
        templates, about_file = template_of_model(from_weights, overrides, look.train.classes)
    else:
        bases = {n: load_config(n, overrides) for n in starts_of(named, gpu=cuda.is_available()) or (named,)}
        templates, about_file = fitted_to_weights(bases, other_depths=named not in bases)
    option = f"--detector {named}" if from_weights is None else f"--from {from_weights}"
    _require_boxes(dataset, look, option, templates)
    template, config, notes = _best(templates, look, keep_sizes=from_weights is not None)
    notes += about_file
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


def _require_boxes(dataset: Path, look: _Look, option: str, templates: Mapping[str, Config]) -> None:
    if look.format == "image_folder" and not all(c.detector.classifies_images for c in templates.values()):
        why = "holds images by class and no boxes, which a classifier learns from; take --detector"
        raise UserError(f"{option}: {dataset} {why} {DEFAULT_CLASSIFIER}")


def _look_at(dataset: Path, out: Path, classes: tuple[str, ...]) -> _Look:
    found = _recognised(dataset)
    others = [
        f"also there, and not read; name it as the dataset to take it: {one.strip()}"
        for one in also_there(found)
    ]
    split = divide(found, out)
    parts, ignored = read_classes({"train": split.train, "val": split.val}, classes)
    train, val = parts["train"], parts["val"]
    if train.num_objects == 0:
        raise UserError(f"{dataset}: {train.num_images} images to learn from, but no object is labelled")
    if found.format == "image_folder":  # a million images are not opened for their sizes
        return _Look(found.format, split, train, val, [], _decode_some(train, val), others, Leaks(), ignored)
    for part in (train, val):
        require_images(part)
    train, val = with_sizes(train), with_sizes(val)
    problems = [p.message for part in (train, val) for p in box_problems(part)]
    unreadable, leaks = _decode_some(train, val), _leaks(train, val)
    return _Look(found.format, split, train, val, problems, unreadable, others, leaks, ignored)


def _decode_some(*parts: AnnotationSet) -> list[str]:
    """Decode a few images, always the same ones, and return what is to be said of those that cannot be read.

    Raises:
        UserError: none can.
    """
    places = [(ImagePlaces.of(part), _sample(image_paths(part))) for part in parts]
    tried = [(path, own) for own, paths in places for path in paths]
    faults = [fault for fault in map_threads(_fault, tried, num_cores()) if fault]
    if not faults:
        return []
    notes = [
        f"of {len(tried)} images that were tried, {len(faults)} cannot be read, such as",
        *faults[:3],
    ]
    if len(faults) == len(tried):
        raise UserError(*notes)
    return [*notes, "detkit check names all; detkit train --skip-bad N goes on without up to N"]


def _sample(paths: list[str]) -> list[str]:
    chosen = np.random.default_rng(0).permutation(len(paths))[:_DECODED]
    return [paths[image] for image in sorted(chosen.tolist())]


def _fault(image: tuple[str, ImagePlaces]) -> str:
    path, places = image
    if why := places.refusal(path):
        return f"{path}: {why}"
    try:
        decode_image(Path(path))
    except UserError as error:
        return str(error)
    return ""


def _leaks(train: AnnotationSet, val: AnnotationSet) -> Leaks:
    """Return what training and validation share, and note it for `train`."""
    leaks = leaks_between(train, val)
    remember_leaks(image_paths(train), image_paths(val), leaks)
    return leaks


def _recognised(dataset: Path) -> FoundDataset:
    try:
        return locate_dataset(dataset)
    except UserError:
        folders = find_image_folder(dataset)
        if folders is None:
            raise
        return folders


def _best(templates: Mapping[str, Config], look: _Look, *, keep_sizes: bool) -> tuple[str, Config, list[str]]:
    """Return the first template with which nearly all objects have anchors, or the one with which most have.

    Anchors are laid over the objects as `check` does it and as a training will.
    """
    tried: list[tuple[float, str, Config, list[str]]] = []
    for name, template in templates.items():
        config, notes = _fit(template, look, keep_sizes=keep_sizes)
        fit = _anchors(config)
        if fit is None:
            return name, config, notes
        share = float(np.mean(np.asarray(fit[0].best) >= FAIR_IOU)) if fit[0].best else 1.0
        notes.append(f"{share:.1%} of the objects have an anchor that fits (IoU {FAIR_IOU:g})")
        if share < FITTING:
            notes += [finding.message for finding in fit_findings(*fit) if finding.kind == "missed_objects"]
        if tried and share > tried[0][0]:
            fewer, first, *_ = tried[0]
            notes.append(f"with {first}, which is faster, {fewer:.1%} have (--detector {first})")
        tried.append((share, name, config, notes))
        if share >= FITTING:
            break
    _, name, config, notes = max(tried, key=lambda one: one[0])
    return name, config, notes


def _anchors(config: Config) -> tuple[Fit, AnnotationSet] | None:
    """Return how the anchors of a config fit its training objects; None for a detector without anchors."""
    if config.detector.classifies_images or config.detector.external_proposals is not None:
        return None
    try:
        source, _ = open_training_set(config.data)
        fit = fit_of(config, source)
    except UserError:  # a part of the user's own that is not here
        return None
    return None if fit is None else (fit, source.annotations)


def _fit(template: Config, look: _Look, *, keep_sizes: bool) -> tuple[Config, list[str]]:
    """Return the template with everything that depends on the data replaced, and what was done."""
    notes = [look.split.note, *look.others, *look.unreadable]
    if warning := leak_warning(look.leaks):
        notes.append(warning)
    detector: DetectorConfig = template.detector.for_other_data(look.train.layout)
    resize, classifies = template.data.resize, detector.classifies_images
    if classifies and look.format != "image_folder":
        notes.append("the labelled objects are cut out, and each is an image for the classifier")
    if look.problems:
        notes.append(f"invalid_boxes: clip; not valid: {counted(len(look.problems), 'box')}, such as")
        notes.extend(look.problems[:3])
    detector, proposals_note = _with_own_proposals(detector)
    notes.extend(proposals_note)
    if not classifies and not keep_sizes:
        detector, resize, sizes_note = _with_sizes_of(look.train, detector, resize)
        notes.append(sizes_note)
    detector, freeze_note = _with_frozen(detector, look.train.num_objects)
    notes.extend(freeze_note)
    notes.extend(_about_weights(detector))
    train, length = template.train.fitted_to(look.train.num_objects if classifies else look.train.num_images)
    notes.append(length)
    values = template.model_dump() | {"detector": detector.model_dump(), "train": train.model_dump()}
    values["data"] |= _data(template, look) | {"resize": None if resize is None else resize.model_dump()}
    if template.evaluate.metric in ("voc07", "voc10", "coco"):
        values["evaluate"]["metric"] = "voc07" if look.format == "voc" else "coco"
    return Config.model_validate(values), notes


def _data(template: Config, look: _Look) -> dict[str, Any]:
    """Return the keys of `data` that say what there is to learn."""
    train_set, val_set = (part.model_dump(exclude={"augment"}) for part in (look.split.train, look.split.val))
    if template.detector.classifies_images and look.format != "image_folder":
        train_set, val_set = ({"type": "object_crops", "of": part} for part in (train_set, val_set))
    augment = template.data.train.augment if isinstance(template.data.train, DatasetConfig) else ()
    values = {
        "classes": look.train.classes,
        "ignore_classes": look.ignored,
        "train": {**train_set, "augment": tuple(change.model_dump() for change in augment)},
        "val": val_set,
    }
    return values | ({"invalid_boxes": "clip"} if look.problems else {})


def _with_own_proposals(detector: DetectorConfig) -> tuple[DetectorConfig, list[str]]:
    """Let proposals be computed that the template has from files, which are those of another dataset."""
    given = detector.external_proposals
    if given is None or (computed := for_any_images(given)) is given:
        return detector, []
    note = f"proposals: {computed.type}, because the template's lie in files, which other images have"
    return detector.with_proposals(computed), [note]


def _with_sizes_of(
    train: AnnotationSet, detector: DetectorConfig, resize: ResizeConfig | None
) -> tuple[DetectorConfig, ResizeConfig | None, str]:
    """Fit the image size to the smallest objects, and anchors to all of them."""
    kept = "image size and anchors are the template's"
    sizes = measure_objects(train, train.sizes)
    if sizes is None:
        return detector, resize, kept
    fitted, scaling = _with_size_of(sizes, detector, resize)
    scale = 1.0 if fitted is None else min(fitted.short_px / sizes.short_px, fitted.long_px / sizes.long_px)

    def choose(num_maps: int) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
        return choose_anchors(sizes, scale, num_maps, detector.finest_stride)

    anchored = detector.with_anchors(choose)
    if anchored is None and detector.external_proposals is None:
        return detector, resize, kept  # it may want images of one size for reasons of its own
    seen = (
        f"eight of ten objects are {sizes.small_px:.0f} to {sizes.large_px:.0f} px large in images of "
        f"{sizes.long_px:.0f}x{sizes.short_px:.0f}"
    )
    return anchored or detector, fitted, f"{seen}; {scaling}"


def _with_size_of(
    sizes: ObjectSizes, detector: DetectorConfig, resize: ResizeConfig | None
) -> tuple[ResizeConfig | None, str]:
    """Return the size of the images, and what is said about it."""
    if resize is None:
        return None, "images are read in their own size, as in the template"
    if scales := detector.image_scales_px:
        listed = ", ".join(map(str, scales))
        return resize, f"images are read with short sides of {listed} px, as in the template"
    short, long = choose_resize(sizes, detector.finest_stride)
    return ResizeConfig(short_px=short, long_px=long), f"images are resized to {short} px on the short side"


def _with_frozen(detector: DetectorConfig, num_objects: int) -> tuple[DetectorConfig, list[str]]:
    """Freeze the more of a pretrained backbone, the fewer examples there are to learn from."""
    notes = []

    def choose(num_stages: int, usual: int) -> int:
        freeze_at, why = choose_freeze(num_objects, num_stages, usual)
        notes.append(f"freeze_at: {freeze_at}, because {why}")
        return freeze_at

    return detector.with_frozen(choose) or detector, notes


def _about_weights(detector: DetectorConfig) -> list[str]:
    """Return how to give pretrained weights, where the config asks for those that are downloaded."""
    if not detector.published_weights:
        return []
    return [
        f"backbone.weights: {detector.published_weights}, downloaded when training starts; a file of your "
        "own: detkit train --weights FILE"
    ]


def _header(dataset: Path, template: str, look: _Look, notes: list[str]) -> str:
    counts = np.bincount(look.train.labels, minlength=len(look.train.classes))
    objects = ", ".join(f"{name} {count}" for name, count in zip(look.train.classes, counts, strict=True))
    lines = [
        f"{dataset}: {look.format}, {counted(look.train.num_images, 'image')} to learn from, "
        f"{look.val.num_images:,} to evaluate on.",
        f"Objects to learn from: {objects}.",
        f"Started from {template}.",
        *notes,
        "",
        "detkit check THIS_FILE            finds what is wrong with the data, decoding every image",
        "detkit train THIS_FILE            learns; results go to runs/",
        "detkit show-data THIS_FILE        draws what the model will see",
        "detkit config explain KEY         says what a key means",
    ]
    return "".join(f"# {one_line(line)}".rstrip() + "\n" for line in lines) + "\n"
