"""`detkit lineage`: what each idea of the R-CNN family buys, measured on one dataset."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.errors import UserError
from detkit.evaluation.measure import known
from detkit.lineage.chain import CHAIN, Link, Terms, Values
from detkit.lineage.common_settings import (
    OBJECTS,
    Images,
    backbone_of,
    classifier_config,
    common_ground,
    images_of_dataset,
)
from detkit.lineage.page import Ratio, Row, lineage_page, ratios_of, shown_seconds
from detkit.lineage.timing import time_by_image
from detkit.runtime.environment import environment
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.folder_lock import locked
from detkit.storage.run_folder import CHECKPOINT, CONFIG, MODEL, clear, made_folder, require_empty
from detkit.training.staged.stages import FOLDER as STAGES
from detkit.workflows.evaluate import evaluate
from detkit.workflows.train import train

PAGE, RESULT, TERMS = "lineage.html", "lineage.json", "terms.json"
ROW, SPENT = "row.json", "train_seconds.json"
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


def lineage(
    dataset: str | Path, terms: Terms, *, out: str | Path | None = None, only: Sequence[str] = ()
) -> Lineage:
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
    wanted, dataset = _wanted(only), str(dataset)
    backbone_of(terms)  # refuses a name before a folder is made
    folder = Path(out) if out is not None else None
    try:
        with made_folder(out, "lineage") as folder, locked(folder):
            images = _begin(folder, dataset, terms)
            say(f"run folder: {folder}", images.note)
            weights, pretrain_seconds = _weights(images, terms, folder)
            ground = common_ground(images, terms, weights)
            rows: list[Row] = []
            for link in CHAIN:
                place = folder / link.name
                if link.name not in wanted and not (place / ROW).is_file():
                    continue
                rows.append(_row(link, link.config(ground), images.val, place))
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


def _begin(folder: Path, dataset: str, terms: Terms) -> Images:
    """Look at the dataset, and note the terms in a new folder; refuse one that was begun on others."""
    known_terms = {"dataset": dataset, **asdict(terms)}
    if not (folder / TERMS).is_file():
        require_empty(folder)
        write_atomically(folder / TERMS, json.dumps(known_terms, indent=2))
        try:
            return images_of_dataset(dataset, folder)
        except Exception:
            clear(folder)  # a corrected command may have it
            raise
    before = json.loads((folder / TERMS).read_bytes())
    changed = [key for key in known_terms if before.get(key) != known_terms[key]]
    if changed:
        key = changed[0]
        raise UserError(
            f"{folder}: was begun with {key} {before.get(key)}, not {known_terms[key]}; rows on different "
            "terms do not compare: name another folder with --out"
        )
    return images_of_dataset(dataset, folder)


def _weights(images: Images, terms: Terms, folder: Path) -> tuple[str, float | None]:
    """Return what backbones start from, and the seconds it took to learn it here."""
    if terms.weights != OBJECTS:
        return terms.weights, None
    place = folder / CLASSIFIER
    say("classifier: the backbone learns to name the objects, cut out")
    seconds = _train_once(Config.model_validate(classifier_config(images, terms)), place)
    return str((place / MODEL).resolve()), seconds


def _row(link: Link, values: Values, val: Values, folder: Path) -> Row:
    """Train, evaluate and time a detector, or read what was measured of it before.

    Its config has no `data.val`, so that nothing is chosen by the images it is evaluated on.
    """
    kept = folder / ROW
    if kept.is_file():
        say(f"{link.title}: done before, in {folder}")
        return Row(**json.loads(kept.read_bytes()))
    say(f"{link.title}: learning")
    config = Config.model_validate(values)
    evaluated = Config.model_validate({**values, "data": {**values["data"], "val": val}})
    source = open_validation_set(evaluated.data)
    # Now, so that no time below holds that of proposals.
    attach_proposals(evaluated.detector.external_proposals, source, "val")
    seconds = _train_once(config, folder)
    result = evaluate(evaluated, weights=folder / MODEL)
    assert result is not None
    assert result.measured.coco is not None
    tested = time_by_image(evaluated, folder / MODEL, source)
    stats = result.measured.coco.stats
    row = Row(
        detector=link.name,
        title=link.title,
        idea=link.idea,
        ap50=stats["AP50"],
        ap=stats["AP"],
        train_seconds=seconds,
        **asdict(tested),
    )
    write_atomically(kept, json.dumps(asdict(row)))
    say(f"{link.title}: AP50 {row.ap50:.3f}, trained in {row.train_seconds:.0f} s")
    return row


def _train_once(config: Config, folder: Path) -> float:
    """Train what a config says, or go on with it, and return the seconds that all attempts took."""
    spent = folder / SPENT
    before = json.loads(spent.read_bytes()) if spent.is_file() else {"seconds": 0.0, "done": False}
    if before["done"]:
        return float(before["seconds"])
    started = (folder / CHECKPOINT).is_file() or (folder / STAGES).is_dir()
    if not started and (folder / CONFIG).is_file():
        shutil.rmtree(folder)  # it was stopped before there was anything to go on with
    start = time.perf_counter()
    try:
        trained = train(config, out=folder, resume=started)
    except BaseException:
        if (folder / CONFIG).is_file():
            taken = before["seconds"] + time.perf_counter() - start
            write_atomically(spent, json.dumps({"seconds": taken, "done": False}))
        raise
    assert trained is not None, "the chain runs in one process"
    seconds = float(before["seconds"] + trained.train_seconds)
    write_atomically(spent, json.dumps({"seconds": seconds, "done": True}))
    return seconds


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
