"""Model file -> a detector that takes images."""

from __future__ import annotations

from pathlib import Path

from detkit.build.augmentation import resizing
from detkit.build.model import load_detector
from detkit.build.proposals import build_proposer
from detkit.config.classifier import Classifier
from detkit.config.proposal import RPN
from detkit.inference.predict import Predictor
from detkit.inference.score_floor import FIXED_SCORE
from detkit.models.norm import keep_folds
from detkit.runtime.threads import ThreadTuner, numbers_of_threads
from detkit.training.device import choose_device, predicting_precision
from detkit.training.distributed import local_rank

# Where tiles meet, a custom detector's own settings are not known.
CUSTOM_NMS_IOU, CUSTOM_LIMIT = 0.5, 100


def build_predictor(weights: Path | str, device: str = "auto") -> Predictor:
    """Read a model file and return its detector, ready for images of any size.

    Args:
        weights: a model.safetensors.
        device: auto, cpu, cuda, cuda:N or mps.

    Raises:
        UserError: the file cannot be read, or the device is not there.
    """
    place = choose_device(device, local_rank())
    loaded = load_detector(Path(weights), place)
    keep_folds(loaded.model)
    config, detector = loaded.config, loaded.config.detector
    head, proposals = getattr(detector, "head", None), getattr(detector, "proposals", None)
    nms_iou, limit = (
        getattr(head, "nms_iou", CUSTOM_NMS_IOU),
        getattr(head, "detections_per_image", CUSTOM_LIMIT),
    )
    return Predictor(
        model=loaded.model,
        classes=loaded.classes,
        category_ids=loaded.file.category_ids,
        resize=resizing(config.data.resize),
        nms_iou=nms_iou,
        max_detections=limit,
        device=place,
        precision=predicting_precision(config.train.precision, place),
        thresholds=loaded.file.thresholds,
        fixed_score=0.0 if isinstance(detector, Classifier) else FIXED_SCORE,
        threads=ThreadTuner(numbers_of_threads(None, place, one=config.deterministic)),
        proposer=None if proposals is None or isinstance(proposals, RPN) else build_proposer(proposals),
    )
