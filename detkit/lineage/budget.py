"""How much the detectors of `detkit lineage` learn from and look at, so that all of them end in time."""

from __future__ import annotations

from dataclasses import dataclass, replace

from detkit.lineage.chain import REGIONS_PER_STEP, WINDOWS_PER_BOX, Terms

BY_CROPS, BY_IMAGES = "rcnn", ("overfeat", "fast_rcnn", "faster_rcnn", "cascade_rcnn")
"""Detectors that are measured before; the one that reads crops stands for both."""

CHOICES = (
    # boxes, regions, crop_px: the papers' first
    (2000, 1_000_000, 224),
    (1000, 200_000, 128),
    (500, 80_000, 128),
    (300, 40_000, 96),
    (300, 40_000, 64),
    (200, 40_000, 64),
    (100, 20_000, 48),
)
MOST_EPOCHS = 16
CROPS_SHARE, IMAGES_SHARE = 0.4, 0.4  # of the time; HOG, DPM and proposals have the rest
TESTS = 2  # how often the validation images are looked at: in part again to see what was suppressed
FORWARD = 0.4  # of the time of a training step


@dataclass(frozen=True)
class Speed:
    """What `detkit plan` measured on this machine on the usual terms.

    Attributes:
        crop_seconds: to read a region at test.
        step_seconds: of a step of R-CNN's fine-tuning.
        boxes: mean number of proposals of an image.
        epoch_seconds: of all detectors that read whole images, together.
        num_train: images to learn from.
        num_val: images to test on.
    """

    crop_seconds: float
    step_seconds: float
    boxes: float
    epoch_seconds: float
    num_train: int
    num_val: int


def fitted_terms(terms: Terms, speed: Speed, seconds: float, given: frozenset[str] = frozenset()) -> Terms:
    """Return the largest terms with which all detectors end in so many seconds.

    Args:
        terms: those that the speed was measured on.
        speed: of this machine.
        seconds: there are.
        given: names of terms that stay as they are.

    Example:
        >>> photos = Terms("resnet18", "x", 1.0, boxes=300, regions=40_000, epochs=4, crop_px=64)
        >>> fast = Speed(1e-5, 0.01, 290, 20, 1000, 500)
        >>> slow = Speed(1e-3, 0.5, 290, 600, 1000, 500)
        >>> [(fitted.boxes, fitted.crop_px, fitted.epochs)
        ...     for fitted in (fitted_terms(photos, speed, 6000) for speed in (fast, slow))]
        [(1000, 128, 16), (300, 64, 3)]
    """
    for boxes, regions, crop_px in CHOICES:
        chosen = replace(
            terms,
            boxes=terms.boxes if "boxes" in given else boxes,
            regions=terms.regions if "regions" in given else regions,
            crop_px=terms.crop_px if "crop_px" in given else crop_px,
        )
        if _seconds_of_crops(chosen, terms, speed) <= CROPS_SHARE * seconds:
            break
    if "epochs" in given:
        return chosen
    tests = TESTS * FORWARD * speed.num_val / speed.num_train * speed.epoch_seconds
    epochs = int((IMAGES_SHARE * seconds - tests) / speed.epoch_seconds)
    return replace(chosen, epochs=min(max(epochs, 1), MOST_EPOCHS))


def _seconds_of_crops(terms: Terms, measured_on: Terms, speed: Speed) -> float:
    """Return what R-CNN and the network over sliding windows take on other terms, training and tests."""
    area = (terms.crop_px / measured_on.crop_px) ** 2
    boxes = speed.boxes * terms.boxes / measured_on.boxes
    tests = TESTS * speed.num_val
    read = boxes * (speed.num_train + tests) + WINDOWS_PER_BOX * terms.boxes * tests
    steps = 2 * terms.regions / REGIONS_PER_STEP
    return area * (speed.crop_seconds * read + speed.step_seconds * steps)
