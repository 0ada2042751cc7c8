"""`detkit lineage`: what each idea of the R-CNN family buys, measured on one dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detkit.config.schema import Config
from detkit.errors import UserError
from detkit.evaluation.measure import known
from detkit.lineage.chain import CHAIN
from detkit.lineage.common_settings import (
    OBJECTS,
    Images,
    Terms,
    backbone_of,
    classifier_config,
    common_ground,
    images_of_dataset,
)
from detkit.lineage.page import Ratio, Row, lineage_page, shown_seconds
from detkit.lineage.ratios import ratios_of
from detkit.lineage.row import Commands, is_done, row_of, train_once
from detkit.runtime.environment import environment
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.run_folder import MODEL, new_folder
from detkit.workflows.evaluate import evaluate
from detkit.workflows.train import train

PAGE, RESULT, TERMS = "lineage.html", "lineage.json", "terms.json"
CLASSIFIER = "classifier"


@dataclass(frozen=True)
class Lineage:
    """What was measured.

    Attributes:
        rows: the detectors, oldest first.
        ratios: by a short name, what was gained from one to another.
        pretrain_seconds: time of the classifier that all start from; None where weights were given.
        out: the folder, with the page.
    """

    rows: tuple[Row, ...]
    ratios: dict[str, Ratio]
    pretrain_seconds: float | None
    out: Path

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        rows = [asdict(row) | {"test_seconds": row.test_seconds} for row in self.rows]
        return {
            "rows": [
                {key: known(v) if isinstance(v, float) else v for key, v in row.items()} for row in rows
            ],
            "ratios": {
                name: {"measured": known(ratio.measured), "published": ratio.published}
                for name, ratio in self.ratios.items()
            },
            "pretrain_seconds": self.pretrain_seconds,
            "out": str(self.out),
        }


def lineage(dataset: str, terms: Terms, *, out: Path | None, only: Sequence[str] = ()) -> Lineage:
    """Learn, evaluate and time every detector of the chain, and write a page on it.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic` for the embedded one.
        terms: what all detectors have in common.
        out: a new folder, or one where this was begun: what is done there is not done again.
        only: names of the detectors; none is all. Others that are done there stay on the page.

    Raises:
        UserError: the dataset cannot be read, a name is unknown, or the folder holds something else.
        KeyboardInterrupt: after Ctrl-C; it says how to go on.
    """
    wanted = _wanted(only)
    backbone_of(terms)  # refuses a name before a folder is made
    folder = _folder(dataset, terms, out)
    try:
        images = images_of_dataset(dataset, folder)
        say(f"run folder: {folder}", images.note)
        weights, pretrain_seconds = _weights(images, terms, folder)
        ground = common_ground(images, terms, weights)
        rows: list[Row] = []
        for link in CHAIN:
            if link.name not in wanted and not is_done(folder / link.name):
                continue
            values, place = link.config(ground), folder / link.name
            rows.append(row_of(link, values, images.data["val"], place, Commands(train, evaluate)))
            result = Lineage(tuple(rows), ratios_of(rows), pretrain_seconds, folder)
            _write(result, dataset, terms, images)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command with --out {folder} goes on") from None
    return result


def _wanted(only: Sequence[str]) -> list[str]:
    """Return the names of the detectors to be measured."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("detkit lineage measures what one process takes; start it without torchrun")
    names = [link.name for link in CHAIN]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise UserError(f"--detector {unknown[0]}: must be one of {', '.join(names)}")
    return list(only) or names


def _folder(dataset: str, terms: Terms, out: Path | None) -> Path:
    """Return the folder, and refuse one where something else was measured."""
    known_terms = {"dataset": dataset, **asdict(terms)}
    text = json.dumps(known_terms, indent=2)
    if out is not None and (out / TERMS).is_file():
        before = json.loads((out / TERMS).read_bytes())
        changed = [key for key in known_terms if before.get(key) != known_terms[key]]
        if changed:
            key = changed[0]
            raise UserError(
                f"{out}: was begun with {key} {before.get(key)}, not {known_terms[key]}; rows on different "
                "terms do not compare: name another folder with --out"
            )
        return out
    folder = new_folder(out, "lineage")
    write_atomically(folder / TERMS, text)
    return folder


def _weights(images: Images, terms: Terms, folder: Path) -> tuple[str, float | None]:
    """Return what backbones start from, and the seconds it took to learn it here."""
    if terms.weights != OBJECTS:
        return terms.weights, None
    place = folder / CLASSIFIER
    say("classifier: the backbone learns to name the objects, cut out")
    seconds = train_once(Config.model_validate(classifier_config(images, terms)), place, train)
    return str((place / MODEL).resolve()), seconds


def _write(result: Lineage, dataset: str, terms: Terms, images: Images) -> None:
    notes = [f"{images.note}. At most {terms.boxes:,} proposals an image; every network is tuned on about "
             f"{terms.regions:,} regions and starts from the same weights."]  # fmt: skip
    if result.pretrain_seconds is not None:
        notes.append(
            "These weights were trained first, by a classifier of the objects, in "
            f"{shown_seconds(result.pretrain_seconds)}; no row holds that time."
        )
    page = lineage_page(
        f"{terms.backbone} on {dataset}", result.rows, list(result.ratios.values()), notes, environment()
    )
    write_atomically(result.out / PAGE, page)
    write_atomically(result.out / RESULT, json.dumps(result.to_json(), indent=2) + "\n")
