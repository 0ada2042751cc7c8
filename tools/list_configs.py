"""Write docs/configs.md, the list of shipped configs, from the heads of the files; --check only compares."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "configs.md"
FIELD = re.compile(
    r"# (?P<key>Reproduces|mAP|AP50|OKS AP|Miss rate|Top-1|Hours|Data|Commands?): +(?P<text>.+)"
)
GOES_ON = re.compile(r"# {6,}(?P<text>\S.*)")
SCORES = ("mAP", "AP50", "OKS AP", "Miss rate", "Top-1")
FIRST = """\
# Shipped configs

Each is one complete file, found by its short name: `detkit train NAME`, `detkit config show NAME`. Its head
says what it reproduces, which data it wants and where it differs. "Published" is the number of the paper or
of the weights' authors, on the data that it names. Unless the last column says otherwise, nobody has run the
config here yet: the published number is a goal, not a promise.

This page is written by `python tools/list_configs.py` from the heads of the files.
"""
GROUPS = {
    "classifier": (
        "Classifiers",
        "The weights that detectors start from: [from a classifier to a detector](transfer.md).",
    ),
    "dpm": ("Deformable part models", "[The paper, choice by choice](papers/dpm.md)."),
    "dpm_cnn": ("DPM as a CNN", "[The paper, choice by choice](papers/dpm_cnn.md)."),
    "hog_svm": (
        "HOG + SVM",
        "[The paper, choice by choice](papers/hog_svm.md). Its numbers are miss rates: less is better.",
    ),
    "overfeat": ("OverFeat", "[The paper, choice by choice](papers/overfeat.md)."),
    "localizer": (
        "Localizers",
        "[The papers, choice by choice](papers/localizer.md). Their numbers are images localized, or OKS AP.",
    ),
    "rcnn": ("R-CNN", "[The paper, choice by choice](papers/rcnn.md)."),
    "sppnet": ("SPP-net", "[The paper, choice by choice](papers/sppnet.md)."),
    "fast_rcnn": ("Fast R-CNN", "[The paper, choice by choice](papers/fast_rcnn.md), with its ablations."),
    "faster_rcnn": ("Faster R-CNN", "[The paper, choice by choice](papers/faster_rcnn.md)."),
    "cascade_rcnn": ("Cascade R-CNN", "[The paper, choice by choice](papers/cascade_rcnn.md)."),
}


def fields(text: str) -> dict[str, str]:
    """Return what the head of a config says, by its keys."""
    found: dict[str, str] = {}
    key = None
    for line in text.partition("version: 1")[0].splitlines():
        begins, goes_on = FIELD.match(line), GOES_ON.match(line)
        if begins:
            key = begins["key"]
            found[key] = begins["text"]
        elif goes_on and key is not None:
            found[key] += f" {goes_on['text']}"
        else:
            key = None
    return found


def row(file: Path) -> str:
    """Return a config's line of the table."""
    said = fields(file.read_text(encoding="utf-8"))
    score = next((said[key] for key in SCORES if key in said), "")
    unrun = "not reproduced here" in score or "not yet run" in score
    status = "not yet run here" if unrun else "run here" if score[:1].isdigit() else "depends on the data"
    shown = re.sub(r" ?\(published[^)]*\)", "", score) if unrun else score
    return f"| `{file.stem}` | {said['Reproduces'].rstrip('.')} | {shown.rstrip('.')} | {status} |"


def page() -> str:
    """Return the whole page."""
    files = sorted((ROOT / "configs").glob("*.yaml"))
    parts = [FIRST]
    for kind, (title, sentence) in GROUPS.items():
        mine = [file for file in files if re.match(rf"{kind}_(?!rcnn|cnn)", file.stem)]
        if mine:
            table = ["| config | reproduces | published | status |", "|---|---|---|---|", *map(row, mine)]
            parts.append("\n".join([f"## {title}", "", sentence, "", *table]) + "\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or with --check say whether it is what it should be."""
    text = page()
    if arguments != ["--check"]:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    print("docs/configs.md is not what the heads of configs/ say: run python tools/list_configs.py")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
