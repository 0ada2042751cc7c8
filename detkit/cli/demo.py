"""`detkit demo`."""

from __future__ import annotations

from detkit.cli.arguments import Out
from detkit.cli.output import JsonFile, deliver


def demo(out: Out = None, json_file: JsonFile = None) -> None:
    """Train, evaluate and predict on an embedded dataset; nothing is downloaded."""
    from detkit.workflows import demo as workflow

    result = workflow.demo(out)
    deliver(
        result,
        json_file,
        [
            f"COCO AP50 {result['ap50']:.3f}, COCO AP {result['ap']:.3f} on the embedded validation images",
            f"trained in {result['train_seconds']:.0f} s, {result['images_per_second']:.1f} images/s",
            f"look at {result['out']}: train/report.html, and predictions/drawn",
        ],
    )
