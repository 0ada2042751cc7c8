"""A DPM of a config -> the model."""

from __future__ import annotations

from detkit.detectors.dpm.config import DPMConfig
from detkit.detectors.dpm.model import DPM
from detkit.detectors.dpm.stars import Mixture, Star
from detkit.detectors.shared_parts import OnWeights
from detkit.errors import UserError
from detkit.models.hog.feature_pyramid import FeaturePyramid


def build_dpm(spec: DPMConfig, num_classes: int, on_weights: OnWeights | None) -> DPM:
    """Return the DPM of a config, all of whose weights are 0; see `DetectorFamily`.

    Raises:
        UserError: the config has root filters for another number of classes.
    """
    roots_of_classes = [[(1, 1)] * spec.components] * num_classes if spec.roots is None else spec.roots
    if len(roots_of_classes) != num_classes:
        raise UserError(
            f"detector.roots must have a list for each of {num_classes} classes, and has "
            f"{len(roots_of_classes)}; null leaves them to the training, or to the file that has the weights"
        )
    mixtures = [
        Mixture(
            [
                Star(
                    root,
                    spec.parts,
                    spec.part_size,
                    mirrored=spec.mirrored,
                    predicts_box=spec.box_prediction,
                    cascades=spec.cascade is not None,
                )
                for root in roots
            ]
        )
        for roots in roots_of_classes
    ]
    pyramid = FeaturePyramid(spec.cell_px, spec.interval, spec.extra_octave)
    channels = None if spec.cascade is None else spec.cascade.channels
    return DPM(mixtures, pyramid=pyramid, nms_share=spec.nms_share, channels=channels, context=spec.context)
