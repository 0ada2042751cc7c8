"""What bfloat16 costs in accuracy: the AP of one trained detector in float32 and under bfloat16 autocast.

The detector is the demo's, trained for this on fewer images unless `--weights` gives another one. The
goal is a difference of at most 0.2 AP (in points of a hundred). On a processor that does not compute in
bfloat16 the difference is as true, but the time says nothing.

    python benchmarks/precision.py [--images 400] [--json FILE]
    python benchmarks/precision.py --config CONFIG --weights runs/mine/model.safetensors

The same for any detector and its own validation images, by hand:

    detkit eval CONFIG --weights FILE train.precision=fp32
    detkit eval CONFIG --weights FILE train.precision=bf16
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from measuring.turns import Claim, claim_of, deliver, rounded

from detkit.config.load import load_config
from detkit.storage.run_folder import MODEL
from detkit.workflows.evaluate import evaluate
from detkit.workflows.train import train

CONFIG = "faster_rcnn_resnet18_synthetic"
FEWER = ("data.train.num_images=800", "train.epochs=3", "train.precision=fp32", "train.validate_every=0")
MOST_POINTS = 0.2


def measure(folder: Path, config: str, weights: Path, overrides: list[str]) -> Claim:
    """Return the claim: seconds an image in both precisions, and both APs."""
    seconds, points = {}, {}
    for precision in ("fp32", "bf16"):
        checked = load_config(config, [*overrides, "evaluate.metric=coco", f"train.precision={precision}"])
        evaluated = evaluate(checked, weights=weights, out=folder / precision)
        assert evaluated is not None, "one process"
        assert evaluated.measured.coco is not None
        seconds[precision] = evaluated.seconds_per_image
        points[precision] = 100 * evaluated.measured.coco.stats["AP"]
    difference = points["bf16"] - points["fp32"]
    return claim_of(
        f"AP in bfloat16 {points['bf16']:.2f}, in float32 {points['fp32']:.2f} ({difference:+.2f})",
        [seconds["bf16"]], "detkit, float32", [seconds["fp32"]],
        same_answer=abs(difference) <= MOST_POINTS,
        ap=rounded(points["bf16"]), peer_ap=rounded(points["fp32"]),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--weights", type=Path, help="a model.safetensors; otherwise one is trained")
    parser.add_argument("--images", type=int, default=400, help="validation images of the embedded set")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    overrides = [f"data.val.num_images={options.images}"] if options.config == CONFIG else []
    with tempfile.TemporaryDirectory() as name:
        folder, weights = Path(name), options.weights
        if weights is None:
            trained = train(load_config(options.config, [*overrides, *FEWER]), out=folder / "train")
            assert trained is not None, "one process"
            weights = trained.out / MODEL
        deliver([measure(folder, options.config, weights, overrides)], options.json)


if __name__ == "__main__":
    main()
