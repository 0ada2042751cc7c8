"""`detkit demo`: the whole way on the embedded dataset, without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detkit.config.load import load_config
from detkit.data.synthetic.dataset import SyntheticSet
from detkit.evaluation.measure import known
from detkit.report.draw import write_image
from detkit.storage.content_keys import key_of
from detkit.storage.run_folder import CHECKPOINT, MODEL, results_folder
from detkit.workflows.predict import predict
from detkit.workflows.train import Training, train

CONFIG = "faster_rcnn_resnet18_synthetic"
NUM_PICTURES = 12
UNSEEN = 2  # seed of pictures that neither trained nor evaluated the detector


def demo(out: str | Path | None = None) -> dict[str, Any]:
    """Train on the embedded dataset, evaluate the result, and draw what it finds in new pictures.

    Args:
        out: folder for everything, new or empty, or where a demo was stopped, which goes on; None takes a new
            one in runs/.

    Returns:
        AP50 and AP (COCO's rules) on the embedded validation set, the seconds and the rate of the
        training, and the folder.

    Raises:
        KeyboardInterrupt: after Ctrl-C; it says how to go on.
    """
    with results_folder(out, "demo", key_of("demo", CONFIG), keep=True) as folder:
        try:
            trained = _run(folder)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; detkit demo --out {folder} goes on") from None
    assert trained.measured is not None
    assert trained.measured.coco is not None
    stats = trained.measured.coco.stats
    return {
        "ap50": known(stats["AP50"]),
        "ap": known(stats["AP"]),
        "train_seconds": trained.train_seconds,
        "images_per_second": trained.images_per_second,
        "out": str(folder),
    }


def _run(folder: Path) -> Training:
    begun = (folder / "train" / CHECKPOINT).is_file()
    trained = train(load_config(CONFIG), out=folder / "train", resume=begun)
    assert trained is not None, "the demo runs in one process"
    pictures = folder / "pictures"
    unseen = SyntheticSet(NUM_PICTURES, UNSEEN)
    for number in range(NUM_PICTURES):
        write_image(pictures / f"{number:02d}.png", unseen.render(number))
    predict(trained.out / MODEL, [str(pictures)], out=folder / "predictions", draw=True)
    return trained
