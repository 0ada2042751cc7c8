"""A HOG + SVM of a config -> the model."""

from __future__ import annotations

from detkit.detectors.hog_svm.config import HOGSVMConfig
from detkit.detectors.hog_svm.model import HOGSVM, WindowSelection
from detkit.detectors.shared_parts import OnWeights
from detkit.models.hog.descriptor import HOG
from detkit.models.hog.pyramid import Pyramid


def build_hog_svm(spec: HOGSVMConfig, num_classes: int, on_weights: OnWeights | None) -> HOGSVM:
    """Return the detector of a config, whose templates find nothing yet; see `DetectorFamily`."""
    regions, head = spec.regions, spec.head
    return HOGSVM(
        num_classes,
        hog=HOG(**regions.model_dump(exclude={"type", "windows", "context_px"})),
        pyramid=Pyramid(**spec.proposals.model_dump(exclude={"type"})),
        windows=None if regions.windows is None else [(height, width) for width, height in regions.windows],
        context_px=regions.context_px,
        selection=WindowSelection(
            margin_threshold=head.margin_threshold,
            grouping=head.grouping,
            nms_iou=head.nms_iou,
            more_than=head.more_than,
            density_above=head.density_above,
            per_image=head.detections_per_image,
        ),
    )
