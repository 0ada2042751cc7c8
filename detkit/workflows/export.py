"""`detkit export`: a detector in a format that other programs run, once it is seen to find the same."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detkit.capabilities import DetectsPadded
from detkit.config.load import as_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_set, open_validation_set
from detkit.data.datasets.source import Source
from detkit.data.loading.batching import collate
from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.synthetic.scenes import photographs
from detkit.data.transforms.builder import resizing
from detkit.data.transforms.config import ResizeConfig
from detkit.data.transforms.geometric import Transform
from detkit.data.transforms.resize import Resize, keep_size
from detkit.detectors.exporters import EXPORTERS
from detkit.errors import UserError, nearest, shown
from detkit.evaluation.measure import known, measure
from detkit.inference.detect_set import detect_dataset
from detkit.inference.export.check import Difference, Tolerance, check_batches, compare
from detkit.inference.export.graph import Graph, GraphDetector
from detkit.inference.export.onnx_file import halve, quantise, require_onnx, run_onnx, write_onnx
from detkit.inference.export.program import run_program, write_program
from detkit.inference.model_file import model_path
from detkit.proposals.config import ExternalProposalsConfig
from detkit.runs.predictor import LoadedDetector, load_detector
from detkit.runs.results import require_same_classes
from detkit.runs.session import session
from detkit.spec import CustomConfig
from detkit.storage.atomic import durable_file, write_atomically
from detkit.storage.content_keys import digests_of_files
from detkit.storage.run_folder import require_new
from detkit.structures import ImageBatch
from detkit.version import VERSION

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2", "torchvision": ".pth"}
TOLERANCES: Mapping[str, Tolerance] = {
    "fp32": Tolerance(box_px=0.25, keypoint_px=0.25, score=0.002, alone=0.002, map_drop=0.002),
    "fp16": Tolerance(box_px=4.0, keypoint_px=4.0, score=0.05, alone=0.02, map_drop=0.005),
    # Single boxes move too far to be judged one by one; what is judged is the metric.
    "int8": Tolerance(box_px=inf, keypoint_px=inf, score=inf, alone=inf, map_drop=0.02),
}
_CALIBRATION_IMAGES = 64
_MODULES_ALONE = ("backbone", "neck")  # parts that are modules, which any exporter takes
_PACKAGES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Export:
    """The result of `export`.

    Attributes:
        out: the file; None where the tolerance was exceeded, and none was written.
        format: onnx, torch-export or torchvision.
        opset: of ONNX; None of the others.
        difference: from the model file, on the images of the check.
        map_before: the metric of the model file, with `data`.
        map_after: that of the exported detector.
        is_same: whether both are within the tolerance.
        notes: what a user should know.
    """

    out: Path | None
    format: str
    opset: int | None
    difference: Difference
    map_before: float | None
    map_after: float | None
    is_same: bool
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "out": None if self.out is None else str(self.out),
            "format": self.format,
            "opset": self.opset,
            "max_box_difference_px": self.difference.box_px,
            "max_score_difference": self.difference.score,
            "map_before": self.map_before,
            "map_after": self.map_after,
        }


@dataclass(frozen=True)
class _Made:
    """A detector in another format.

    Attributes:
        file: what was written.
        ours: what it is compared with.
        theirs: the same in the other format, called as ours are.
        opset: of ONNX.
        described: what the certificate says of it.
        notes: what a user should know.
        resizes: whether it resizes images itself.
    """

    file: Path
    ours: nn.Module
    theirs: nn.Module
    opset: int | None
    described: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    resizes: bool = False


def export(
    weights: str | Path,
    to: str,
    *,
    precision: str = "fp32",
    out: str | Path | None = None,
    data: Config | Mapping[str, Any] | str | Path | None = None,
    allow_custom: bool = False,
) -> Export:
    """Write a detector in a format that other programs run, if it finds there what the model file does.

    Beside the file goes its certificate, which ends with .json: digests, versions and the differences found.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        to: onnx, torch-export or torchvision.
        precision: fp32; of ONNX also fp16, and int8, whose ranges are measured on `data.train` of `data`.
        out: the file to write; None takes one beside the weights.
        data: names images (`data.val`) to check with, and to take the metric on before and after.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.

    Raises:
        UserError: the detector has no such form, a package is not installed, or a file exists.
    """
    place, config = model_path(weights), None if data is None else as_config(data)
    _require(to, precision, config)
    file = place.with_suffix(SUFFIXES[to]) if out is None else Path(out)
    certificate = file.with_name(f"{file.name}.json")
    require_new(file)
    require_new(certificate)
    loaded = load_detector(place, allow_custom=allow_custom)
    source = None if config is None else _source(loaded, place, config)
    with TemporaryDirectory(prefix="detkit-export-") as scratch:
        made = _make(loaded, to, precision, Path(scratch), config)
        result = _judged(loaded, made, to, precision, config, source)
        if not result.is_same:
            return result
        with durable_file(file) as part:
            shutil.copyfile(made.file, part)
    written = {
        **result.to_json(),
        "out": file.name,
        "precision": precision,
        **made.described,
        "source": place.name,
        "digests_blake2b": dict(
            zip(("source", "out"), digests_of_files([str(place), str(file)], 2), strict=True)
        ),
        "versions": _versions(),
        "difference": vars(result.difference),
        "tolerance": {name: value for name, value in vars(TOLERANCES[precision]).items() if isfinite(value)},
        "metric": None if config is None else config.evaluate.metric,
        "notes": made.notes,
    }
    write_atomically(certificate, json.dumps(written, indent=2, ensure_ascii=False) + "\n")
    return replace(result, out=file)


def _require(to: str, precision: str, config: Config | None) -> None:
    if to not in SUFFIXES:
        raise UserError(f"--to {shown(to)}: {nearest(to, SUFFIXES)}it must be one of {', '.join(SUFFIXES)}")
    if precision not in TOLERANCES:
        raise UserError(
            f"--precision {shown(precision)}: {nearest(precision, TOLERANCES)}it must be one of "
            + ", ".join(TOLERANCES)
        )
    if precision != "fp32" and to != "onnx":
        raise UserError(f"--precision {precision}: is for onnx; {to} is written in fp32")
    if precision == "int8" and config is None:
        raise UserError("--precision int8: needs --data, a config whose images tell the range of each layer")
    if to == "onnx":
        require_onnx()


def _make(loaded: LoadedDetector, to: str, precision: str, folder: Path, config: Config | None) -> _Made:
    if to in EXPORTERS:
        return _make_named(loaded, to, folder)
    detector, resize = loaded.config.detector, resizing(loaded.config.data.resize)
    _require_graph(loaded)
    is_given = detector.external_proposals is not None
    is_normalised = isinstance(resize, Resize) and resize.normalises
    model = copy.deepcopy(loaded.model)
    graph = Graph(model, is_given=is_given, is_normalised=is_normalised)
    metadata = {
        "detkit": VERSION,
        "classes": json.dumps(loaded.classes),
        "category_ids": json.dumps(loaded.file.category_ids),
        "resize": json.dumps(_size_rule(loaded.config.data.resize)),
        "license": loaded.file.licence,
    }
    file, opset = folder / f"graph{SUFFIXES[to]}", None
    if to == "onnx":
        if precision == "fp16":
            halve(model)
        opset = write_onnx(graph, file, metadata)
        if precision == "int8" and config is not None:
            named = GraphDetector(run_onnx(file), takes_proposals=is_given)
            quantise(file, folder / "int8.onnx", map(named.arrays, _calibration(loaded, config)))
            file = folder / "int8.onnx"
        call = run_onnx(file)
    else:
        write_program(graph, file, metadata)
        call = run_program(file)
    theirs = GraphDetector(call, takes_proposals=is_given)
    described = {"inputs": graph.inputs, "outputs": graph.outputs, **metadata}
    return _Made(file, loaded.model, theirs, opset, described)


def _make_named(loaded: LoadedDetector, to: str, folder: Path) -> _Made:
    named = EXPORTERS[to](loaded.model, loaded.config.detector, loaded.config.data, len(loaded.classes))
    file = folder / f"state{SUFFIXES[to]}"
    torch.save(dict(named.state), file)
    described = {
        "classes": ("background", *loaded.classes),
        "license": loaded.file.licence,
        **named.described,
    }
    return _Made(file, named.like, named.model, None, described, named.notes, resizes=True)


def _require_graph(loaded: LoadedDetector) -> None:
    detector = loaded.config.detector
    if not isinstance(loaded.model, DetectsPadded):
        raise UserError(
            f"{loaded.file.path}: a {detector.type} cannot be exported; those on CNNs can that look at whole "
            "images or at regions: R-CNN, Fast, Faster and Cascade R-CNN, classifiers and localizers"
        )
    for name, part in vars(detector).items():
        if isinstance(part, CustomConfig) and name not in _MODULES_ALONE:
            raise UserError(f"detector.{name}: a custom part cannot be exported; only detkit's own can")


def _size_rule(resize: ResizeConfig | None) -> dict[str, Any] | None:
    """Return how images come to their size, as the file tells it; None leaves them as they are."""
    if resize is None:
        return None
    return {"short_px": resize.short_px, "long_px": resize.long_px, "like": resize.like}


def _judged(
    loaded: LoadedDetector, made: _Made, to: str, precision: str, config: Config | None, source: Source | None
) -> Export:
    """Return the differences, with no file yet."""
    limit, data = TOLERANCES[precision], loaded.config.data
    resize = resizing(data.resize)
    if made.resizes and data.resize is not None:  # it takes bytes, whatever ours take
        resize = resizing(data.resize.model_copy(update={"like": "detkit"}))
    is_given = loaded.config.detector.external_proposals is not None
    batches = list(check_batches(_pictures(source), resize, is_given=is_given))
    difference = compare(made.ours, made.theirs, batches, limit)
    before = after = None
    if config is not None and source is not None:
        own = resizing(data.resize)
        before = _metric(config, loaded.model, source, own)
        after = _metric(config, made.theirs, source, keep_size if made.resizes else own)
    lost = before - after if before is not None and after is not None else 0.0
    is_same = difference.is_within(limit) and lost <= limit.map_drop
    return Export(None, to, made.opset, difference, before, after, is_same=is_same, notes=made.notes)


def _pictures(source: Source | None) -> list[NDArray[np.uint8]]:
    """Return five images of a set, from all over it; without a set, photographs."""
    if source is None or not source.annotations.num_images:
        return list(photographs())
    places = np.linspace(0, source.annotations.num_images - 1, 5).round().astype(int)
    return [source.pixels(int(image)) for image in places]


def _source(loaded: LoadedDetector, weights: Path, config: Config) -> Source:
    source = open_validation_set(config.data)
    require_same_classes(loaded.classes, source.annotations.classes, weights)
    return attach_proposals(_proposals(loaded, config), source, "val")


def _proposals(loaded: LoadedDetector, config: Config) -> ExternalProposalsConfig | None:
    """Return what proposes: the config's, whose images they belong to, if the detector is given any."""
    own = loaded.config.detector.external_proposals
    return None if own is None else config.detector.external_proposals or own


def _metric(config: Config, model: nn.Module, source: Source, resize: Transform) -> float | None:
    with session(config.model_copy(update={"device": "cpu"}), trains=False) as run:
        exact = replace(run, precision=None)
        size = config.evaluate.batch_size
        found, _ = detect_dataset(model, source, exact, transforms=(resize,), batch_size=size)
    assert found is not None
    measured = measure(source.annotations, found, config.evaluate.metric, config.evaluate.oks_sigmas)
    return known(measured.value)


def _calibration(loaded: LoadedDetector, config: Config) -> Iterator[ImageBatch]:
    """Yield training images, which tell the range of each layer."""
    source = attach_proposals(_proposals(loaded, config), open_set(config.data.train, config.data), "train")
    images = DetectionDataset.of(source, (resizing(loaded.config.data.resize),), seed=0)
    number = min(_CALIBRATION_IMAGES, len(images))
    for image in np.linspace(0, len(images) - 1, number).round().astype(int):
        yield collate([images[Key(0, int(image))]], seed=0).images


def _versions() -> dict[str, str]:
    versions = {"detkit": VERSION}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
