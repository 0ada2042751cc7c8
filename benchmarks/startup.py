"""How long it takes until detkit begins: `detkit --help`, `import detkit`, and `detkit predict` of one image.

Each is a new process, in turns with an interpreter that does nothing, whose time is a part of all. The
goals are 0.3 s and 0.2 s. The peer of the import is torchvision's, from which a detector comes there; that of
the prediction is a process that builds torchvision's Faster R-CNN with the same backbone (ResNet-50, FPN),
reads its weights from a file and runs it on the same image. All weights are random, and compiled loops lie
in their cache.

    python benchmarks/startup.py [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring.turns import claim_of, deliver, in_turns

COMMANDS = {
    "nothing": ["-c", "pass"],
    "help": ["-m", "detkit", "--help"],
    "import": ["-c", "import detkit"],
    "torchvision": ["-c", "import torchvision.models.detection"],
}
CONFIG = "faster_rcnn_resnet50_fpn"
TORCHVISION = """
import sys, torch
from torchvision.io import read_image
from torchvision.models.detection import fasterrcnn_resnet50_fpn
model = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
model.load_state_dict(torch.load(sys.argv[1]))
with torch.inference_mode():
    print(len(model.eval()([read_image(sys.argv[2]) / 255])[0]["boxes"]))
"""
GOALS_S = {"help": 0.3, "import": 0.2}


def run(arguments: list[str], folder: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, cwd=folder, stdout=subprocess.DEVNULL)


def predictions(folder: Path) -> dict[str, list[str]]:
    """Return the commands that look at one image, after writing what they need."""
    import torch
    from torchvision.models.detection import fasterrcnn_resnet50_fpn

    from detkit.config.dump import dump_config
    from detkit.config.load import load_config
    from detkit.data.synthetic.dataset import SyntheticSet
    from detkit.detectors.builder import build_detector
    from detkit.inference.save_model import save_model
    from detkit.report.draw import write_image

    image, ours, theirs = (str(folder / name) for name in ("image.jpg", "ours.safetensors", "theirs.pth"))
    write_image(Path(image), SyntheticSet(1, 0).render(0))
    config = load_config(CONFIG)
    classes = config.data.classes or ("object",)
    model = build_detector(config.detector, len(classes), pretrained=False)
    ids = range(1, len(classes) + 1)
    save_model(Path(ours), model, classes=classes, category_ids=ids, config_yaml=dump_config(config))
    torch.save(fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict(), theirs)
    records = str(folder / "records.json")
    return {
        "predict": ["-m", "detkit", "predict", ours, image, "--device", "cpu", "--json", records],
        "torchvision_predict": ["-c", TORCHVISION, theirs, image],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = COMMANDS | predictions(Path(folder))
        runs: dict[str, Callable[[], object]] = {
            name: partial(run, given, folder) for name, given in commands.items()
        }
        run(commands["predict"], folder)  # compiles
        taken = in_turns(runs, options.rounds)
    peer = "python -c 'import torchvision.models.detection'"
    deliver(
        [
            claim_of("detkit --help, a new process", taken["help"], goal_s=GOALS_S["help"]),
            claim_of(
                "python -c 'import detkit', a new process",
                taken["import"], peer, taken["torchvision"], goal_s=GOALS_S["import"],
            ),
            claim_of(
                "detkit predict of one image, a new process",
                taken["predict"], "torchvision's Faster R-CNN, a new process", taken["torchvision_predict"],
            ),
            claim_of("python -c pass, a part of all", taken["nothing"]),
        ],
        options.json,
    )  # fmt: skip


if __name__ == "__main__":
    main()
