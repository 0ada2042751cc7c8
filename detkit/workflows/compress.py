"""`detkit compress`: make a detector's fully connected layers thin, and measure what it gains and costs."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from detkit.capabilities import Detector, FcLayers, HasFcLayers
from detkit.config.dump import dump_config
from detkit.config.load import as_config
from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.source import Source
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import known, measure
from detkit.inference.model_file import model_path
from detkit.inference.save_model import save_model
from detkit.inference.score_floor import Advice, advice_of
from detkit.runs.predictor import LoadedDetector, load_detector
from detkit.runs.results import require_same_classes
from detkit.runs.session import detect_with, session
from detkit.runtime.device import choose_device
from detkit.runtime.progress import say
from detkit.storage.run_folder import require_new
from detkit.structures import Detections, ImageBatch


@dataclass(frozen=True)
class Measurement:
    """One of the two detectors.

    Attributes:
        parameters: of fc6 and fc7.
        ap: by the config's metric; None where there were no images to evaluate it on.
        seconds_per_image: median time of the detector itself, reading excluded; None likewise.
    """

    parameters: int
    ap: float | None
    seconds_per_image: float | None


@dataclass(frozen=True)
class Compression:
    """The result of `compress`.

    Attributes:
        out: the model file that was written.
        metric: what `ap` means; None where there were no images to evaluate on.
        before: the detector as it was.
        after: as it is in the file.
    """

    out: Path
    metric: str | None
    before: Measurement
    after: Measurement

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        ap = None if self.before.ap is None or self.after.ap is None else self.after.ap - self.before.ap
        return {
            "out": str(self.out),
            "metric": self.metric,
            "before": vars(self.before),
            "after": vars(self.after),
            "ap_difference": ap,
            "speedup": self.speedup,
        }

    @property
    def speedup(self) -> float | None:
        """Time before over time after."""
        before, after = self.before.seconds_per_image, self.after.seconds_per_image
        return before / after if before and after else None


def compress(
    weights: str | Path,
    fc6: int | None,
    fc7: int | None,
    *,
    out: str | Path | None = None,
    data: Config | Mapping[str, Any] | str | Path | None = None,
    device: str = "auto",
    allow_custom: bool = False,
) -> Compression:
    """Write a copy of a detector whose fc6 and fc7 are two thin layers each, and measure both.

    Args:
        weights: a model.safetensors of a detector with fc6 and fc7, or the folder of its run.
        fc6: rank of fc6; None leaves it whole.
        fc7: rank of fc7; None leaves it whole.
        out: the file to write; None takes one beside the weights, named after the ranks.
        data: names the images to evaluate on (`data.val`): a config, the content of a file as a mapping, or
            the path or the short name of a file; None takes those of the weights' own config.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.

    Raises:
        UserError: the weights have no such layers, or `out` exists, or `data` cannot be read.
    """
    weights, data = model_path(weights), None if data is None else as_config(data)
    name = f"{weights.stem}_fc6_{fc6 or 'whole'}_fc7_{fc7 or 'whole'}.safetensors"
    file = weights.with_name(name) if out is None else Path(out)
    require_new(file)
    place = choose_device(device)
    loaded = load_detector(weights, place, allow_custom=allow_custom)
    _require_whole_fc(loaded.model, weights)
    thin = copy.deepcopy(loaded.model)
    for layers in _fc_layers(thin):
        layers.compress((fc6, fc7))
    detector = loaded.config.detector
    ranks = {"fc6_rank": fc6, "fc7_rank": fc7}
    changed = {name: rank for name, rank in ranks.items() if rank is not None}
    head = cast(Any, detector).head.model_copy(update=changed)
    config = loaded.config.model_copy(update={"detector": detector.model_copy(update={"head": head})})
    config = Config.model_validate(config.model_dump())
    judged_by = data or loaded.config
    source = _source(loaded, weights, data)
    before, *_ = _judge(judged_by, loaded.model, source, place)
    after, advice, measured = _judge(judged_by, thin, source, place)
    save_model(
        file,
        thin,
        classes=loaded.classes,
        category_ids=loaded.file.category_ids,
        config_yaml=dump_config(config),
        licence=loaded.file.licence,
        thresholds=advice or loaded.file.thresholds,
        measured=measured,
    )
    metric = None if source is None else judged_by.evaluate.metric
    return Compression(file, metric, before, after)


def _require_whole_fc(model: nn.Module, weights: Path) -> None:
    layers = _fc_layers(model)
    if not layers:
        raise UserError(f"{weights}: has no fc6 and fc7; heads fc6_fc7 and two_fc can be compressed")
    if not all(isinstance(fc, nn.Linear) for own in layers for fc in (own.fc6, own.fc7)):
        raise UserError(f"{weights}: is compressed already; give the file that it was made from")


def _fc_layers(model: nn.Module) -> Sequence[FcLayers]:
    return model.fc_layers if isinstance(model, HasFcLayers) else ()


class _Timed(nn.Module):
    """Notes how long a detector takes for each batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seconds: list[float] = []

    def detect(self, images: ImageBatch) -> list[Detections]:
        """Return what the detector finds, on the CPU, so that nothing is left to wait for."""
        start = time.perf_counter()
        found = [one.to("cpu") for one in cast(Detector, self.model).detect(images)]
        self.seconds.append((time.perf_counter() - start) / len(images))
        return found


def _judge(
    config: Config, model: nn.Module, source: Source | None, device: torch.device
) -> tuple[Measurement, Advice | None, tuple[str, float] | None]:
    parts = [part for own in _fc_layers(model) for part in (own.fc6, own.fc7)]
    size = sum(p.numel() for part in parts for p in part.parameters())
    if source is None:
        return Measurement(size, None, None), None, None
    timed = _Timed(model)
    with session(config.model_copy(update={"device": str(device)}), trains=False) as run:
        found, _ = detect_with(config, run, timed, source)
    assert found is not None
    measured = measure(source.annotations, found, config.evaluate.metric, config.evaluate.oks_sigmas)
    advice = advice_of(advise_thresholds(source.annotations, found, measured.records))
    seconds = statistics.median(timed.seconds) if timed.seconds else None
    return Measurement(size, known(measured.value), seconds), advice, measured.known_value


def _source(loaded: LoadedDetector, weights: Path, data: Config | None) -> Source | None:
    """Return the images to evaluate on; None where the model's own are not there."""
    config = data or loaded.config
    try:
        source = open_validation_set(config.data)
        require_same_classes(loaded.classes, source.annotations.classes, weights)
        return attach_proposals(config.detector.external_proposals, source, "val")
    except UserError as error:
        if data is not None:
            raise
        say(f"not measured, for want of images: {error}", "--data CONFIG names others")
        return None
