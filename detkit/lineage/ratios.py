"""Gains from one detector to the next, beside the papers' own figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from detkit.lineage.page import Ratio, Row

SPP = "SPP-net, ZF-5 on a Titan, one size of the image"
FAST = "Fast R-CNN, VGG16 on a K40"
FASTER = "Faster R-CNN, VGG16 on a K40, selective search on a CPU"


@dataclass(frozen=True)
class Gain:
    """One figure of a paper.

    Attributes:
        name: in JSON.
        what: for people.
        slow: the slower detector.
        fast: the faster one.
        seconds: field of a row, what is compared.
        published: how many times faster the paper found it.
        source: which paper, and on what.
    """

    name: str
    what: str
    slow: str
    fast: str
    seconds: str
    published: float
    source: str


GAINS = (
    Gain("fast_rcnn_train", "training: Fast R-CNN instead of R-CNN",
         "rcnn", "fast_rcnn", "train_seconds", 8.8, FAST),
    Gain("sppnet_test", "network, at test: SPP-net instead of R-CNN",
         "rcnn", "sppnet", "network_seconds", 102, SPP),
    Gain("fast_rcnn_test", "network, at test: Fast R-CNN instead of R-CNN",
         "rcnn", "fast_rcnn", "network_seconds", 146, FAST),
    Gain("rpn", "proposals: a network instead of selective search",
         "fast_rcnn", "faster_rcnn", "proposal_seconds", 151, FASTER),
    Gain("faster_rcnn_test", "a whole image: Faster instead of Fast R-CNN",
         "fast_rcnn", "faster_rcnn", "test_seconds", 9.2, FASTER),
)  # fmt: skip


def ratios_of(rows: Sequence[Row]) -> dict[str, Ratio]:
    """Return the figures of which both detectors were measured, by name."""
    by_name = {row.detector: row for row in rows}
    found = {}
    for gain in GAINS:
        if gain.slow in by_name and gain.fast in by_name:
            slow, fast = (getattr(by_name[name], gain.seconds) for name in (gain.slow, gain.fast))
            measured = slow / fast if fast > 0 else float("nan")
            found[gain.name] = Ratio(gain.what, measured, gain.published, gain.source)
    return found
