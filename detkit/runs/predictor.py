"""Model file -> its detector: as it is, for images of any size, or as what proposes regions in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from detkit.capabilities import HasProposalNetwork
from detkit.config.load import parse_config
from detkit.config.schema import Config
from detkit.data.config import DataConfig
from detkit.data.transforms.builder import resizing
from detkit.detectors.builder import build_detector
from detkit.detectors.config import DetectorConfig
from detkit.errors import UserError
from detkit.evaluation.config import AugmentConfig
from detkit.inference.model_file import ModelFile, read_model_file
from detkit.inference.predictor import Predictor
from detkit.inference.rpn_proposer import RPNProposer
from detkit.inference.score_floor import FIXED_SCORE
from detkit.inference.test_time_augmentation import Augmentation
from detkit.models.initialisation import Unfilled
from detkit.models.norm import keep_folds
from detkit.ops.nms import Decay
from detkit.proposals.builder import build_proposer
from detkit.runtime.device import choose_device, predicting_precision
from detkit.runtime.processes import local_rank
from detkit.runtime.session import Session
from detkit.runtime.threads import Threads, number_kept, numbers_of_threads
from detkit.spec import Origin


@dataclass(frozen=True)
class LoadedDetector:
    """A trained detector, ready to run.

    Attributes:
        model: in evaluation mode, on its device.
        config: what it was trained with.
        file: classes, category ids and whatever else its file holds.
    """

    model: nn.Module
    config: Config
    file: ModelFile

    @property
    def classes(self) -> tuple[str, ...]:
        """Names that the labels of detections point to."""
        return self.file.classes


def load_detector(
    weights: str | Path,
    device: torch.device | str = "cpu",
    *,
    allow_custom: bool = False,
    own: DetectorConfig | None = None,
    soft_nms: Decay | None = None,
) -> LoadedDetector:
    """Read a model.safetensors and build its detector.

    Args:
        weights: the file, or the folder of a run that holds one; its metadata hold the config.
        device: where the model goes.
        allow_custom: let the file run code that it names (`type: custom`); what runs is said.
        own: the detector of a config that the user named. Where it is the file's, it is what is built, and
            its custom parts are the user's own.
        soft_nms: suppress detections so, whatever the file says; None as it says.

    Raises:
        UserError: the file is missing, is not a model of detkit, does not fit its own config, or names code
            that may not run.
    """
    file = read_model_file(weights)
    origin = Origin(file.path, is_own=False, allowed=allow_custom)
    config = parse_config(file.config_yaml, f"{file.path} (config)", origin=origin)
    if own is not None and own.model_dump() == config.detector.model_dump():
        config = config.model_copy(update={"detector": own})
    if soft_nms is not None:
        config = config.model_copy(update={"detector": config.detector.with_soft_nms(soft_nms)})
    with Unfilled():
        model = build_detector(config.detector, len(file.classes), config.seed, pretrained=False)
    file.load_into(model)
    return LoadedDetector(model.to(device).eval(), config, file)


def build_predictor(
    weights: str | Path,
    device: str = "auto",
    *,
    allow_custom: bool = False,
    soft_nms: Decay | None = None,
) -> Predictor:
    """Read a model file and return its detector, ready for images of any size.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the file run code that it names (`type: custom`); what runs is said.
        soft_nms: linear or gaussian lowers the scores of overlapping boxes of a class so, instead of dropping
            them; None does as the file says.

    Raises:
        UserError: the file cannot be read or names code that may not run, its detector knows no soft-NMS, or
            the device is not there.
    """
    place = choose_device(device, local_rank())
    loaded = load_detector(weights, place, allow_custom=allow_custom, soft_nms=soft_nms)
    keep_folds(loaded.model)
    config, detector = loaded.config, loaded.config.detector
    proposals = detector.external_proposals
    return Predictor(
        model=loaded.model,
        classes=loaded.classes,
        category_ids=loaded.file.category_ids,
        resize=resizing(config.data.resize),
        session=_session(config, place),
        nms_iou=detector.nms_iou,
        max_detections=detector.max_detections,
        thresholds=loaded.file.thresholds,
        proposer=None if proposals is None else build_proposer(proposals),
        augmentation=(
            None
            if detector.classifies_images
            else augmentation_of(config.data, config.evaluate.augment or AugmentConfig(), detector)
        ),
        classifies_images=detector.classifies_images,
        fixed_score=0.0 if detector.classifies_images else FIXED_SCORE,
        licence=loaded.file.licence,
        measured=loaded.file.measured,
        skeleton=detector.skeleton,
    )


def build_rpn_proposer(
    weights: str | Path, max_boxes: int | None, device: str = "auto", *, allow_custom: bool = False
) -> RPNProposer:
    """Read a model file and return its proposal network, ready for images of any size.

    Args:
        weights: a model.safetensors.
        max_boxes: keep the best so many of an image; None keeps those that the model's head would get.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the file run code that it names (`type: custom`); what runs is said.

    Raises:
        UserError: the file cannot be read or names code that may not run, its detector has no proposal
            network, or the device is not there.
    """
    place = choose_device(device)
    loaded = load_detector(weights, place, allow_custom=allow_custom)
    if not isinstance(loaded.model, HasProposalNetwork):
        raise UserError(
            f"{weights}: a {loaded.config.detector.type} has no proposal network; METHOD takes a model that "
            "has one, such as a faster_rcnn"
        )
    session = _session(loaded.config, place)
    return RPNProposer(loaded.model, resizing(loaded.config.data.resize), session, max_boxes=max_boxes)


def augmentation_of(data: DataConfig, spec: AugmentConfig, detector: DetectorConfig) -> Augmentation:
    """Return the test-time augmentation of a detector.

    Args:
        data: has the size of the images.
        spec: the config's `evaluate.augment`.
        detector: the config's detector.
    """
    return Augmentation.of(
        resizing(data.resize),
        flip=spec.flip,
        scales=spec.scales,
        iou=spec.iou,
        max_detections=detector.max_detections,
        other_sides=detector.other_sides,
    )


def _session(config: Config, device: torch.device) -> Session:
    with number_kept():  # until an image comes
        threads = Threads(numbers_of_threads(None, device, one=config.deterministic))
    return Session(device, predicting_precision(config.train.precision, device), threads=threads)
