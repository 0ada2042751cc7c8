"""`detkit lineage`: what each idea of the R-CNN family buys, measured on one dataset."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from detkit.annotations.dataset import AnnotationSet
from detkit.config.schema import Config
from detkit.data.config import DataConfig
from detkit.data.datasets.builder import open_validation_set
from detkit.data.datasets.source import Source
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.errors import UserError
from detkit.evaluation.analysis.thresholds import advise_thresholds
from detkit.evaluation.measure import known
from detkit.lineage.budget import BY_CROPS, BY_IMAGES, Speed, fitted_terms
from detkit.lineage.chain import CHAIN, REGIONS_PER_IMAGE, Link, Terms, Values
from detkit.lineage.common_settings import (
    OBJECTS,
    Images,
    backbone_of,
    classifier_config,
    common_ground,
    images_of_dataset,
)
from detkit.lineage.losses import where_lost
from detkit.lineage.page import Ratio, Row, lineage_page, ratios_of, shown_seconds
from detkit.lineage.photographs import draw_photographs, photographs
from detkit.lineage.timing import time_by_image
from detkit.names import counted
from detkit.report.operating_point import operating_point
from detkit.runtime.device import choose_device
from detkit.runtime.environment import environment
from detkit.runtime.memory import forget_peak, peak_bytes
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.folder_lock import locked
from detkit.storage.run_folder import CHECKPOINT, CONFIG, MODEL, clear, made_folder, require_empty
from detkit.training.staged.plan import StagedPlan
from detkit.training.staged.stages import FOLDER as STAGES
from detkit.workflows.evaluate import evaluate
from detkit.workflows.plan import Plan, plan
from detkit.workflows.train import train

PAGE, RESULT, TERMS, FITTED = "lineage.html", "lineage.json", "terms.json", "fitted.json"
ROW, SPENT, SHOWN = "row.json", "spent.json", "shown"
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
    dataset: str | Path,
    terms: Terms,
    *,
    out: str | Path | None = None,
    only: Sequence[str] = (),
    minutes: float | None = None,
    given: Sequence[str] = (),
) -> Lineage:
    """Learn, evaluate and time every detector of the chain, and write a page on it.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic` for the embedded one.
        terms: what all detectors have in common.
        out: a new folder, or one where this was begun: what is done there is not done again.
        only: names of the detectors; none is all. Others that are done there stay on the page.
        minutes: let the terms be the largest with which all detectors end in that time on this machine; None
            takes them as they are.
        given: names of terms that stay as they are with `minutes`.

    Raises:
        UserError: the dataset cannot be read, a name is unknown, or the folder holds something else.
        KeyboardInterrupt: after Ctrl-C; it says how to go on.
    """
    wanted, dataset = _wanted(only), str(dataset)
    backbone_of(terms)  # refuses a name before a folder is made
    folder = Path(out) if out is not None else None
    try:
        with made_folder(out, "lineage") as folder, locked(folder):
            images = _begin(folder, {"dataset": dataset, **asdict(terms), "minutes": minutes})
            say(f"run folder: {folder}", images.note)
            weights, pretrain_seconds = _weights(images, terms, folder)
            if minutes is not None:
                terms = _fitted(images, terms, weights, folder, minutes, given)
            ground = common_ground(images, terms, weights)
            data = DataConfig.model_validate({**images.data, "val": images.val})
            truth = open_validation_set(data).annotations
            rows: list[Row] = []
            for link in CHAIN:
                place = folder / link.name
                if link.name not in wanted and not (place / ROW).is_file():
                    continue
                rows.append(_row(link, link.config(ground), images.val, place))
                result = Lineage(tuple(rows), ratios_of(rows), pretrain_seconds, folder)
                _write(result, dataset, terms, images, truth)
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


def _begin(folder: Path, known_terms: dict[str, Any]) -> Images:
    """Look at the dataset, and note the terms in a new folder; refuse one that was begun on others."""
    dataset = known_terms["dataset"]
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
    spent = _train_once(Config.model_validate(classifier_config(images, terms)), place)
    return str((place / MODEL).resolve()), spent.seconds


def _fitted(
    images: Images, terms: Terms, weights: str, folder: Path, minutes: float, given: Sequence[str]
) -> Terms:
    """Return the terms with which all detectors end in time, by what a few steps of each take here."""
    file = folder / FITTED
    if file.is_file():
        return Terms(**json.loads(file.read_bytes()))
    say(f"measuring what this machine does in {minutes:g} minutes")
    ground = common_ground(images, terms, weights)
    plans = {
        link.name: plan(Config.model_validate(link.config(ground)))
        for link in CHAIN
        if link.name in (BY_CROPS, *BY_IMAGES)
    }
    crops = cast(StagedPlan, plans[BY_CROPS])
    epochs = [cast(Plan, plans[name]).epoch_seconds for name in BY_IMAGES]
    if crops.step_seconds is None or None in epochs:
        raise UserError("not even a few images fit into memory: take a smaller --width or --backbone")
    data = DataConfig.model_validate({**images.data, "val": images.val})
    speed = Speed(
        crop_seconds=1 / crops.regions_per_second,
        step_seconds=crops.step_seconds,
        boxes=crops.num_regions / crops.num_images,
        epoch_seconds=sum(filter(None, epochs)),
        num_train=images.trained_on.num_images,
        num_val=open_validation_set(data).annotations.num_images,
    )
    fitted = fitted_terms(terms, speed, 60 * minutes, frozenset(given))
    write_atomically(file, json.dumps(asdict(fitted), indent=2))
    say(
        f"at most {fitted.boxes:,} proposals an image, crops of {fitted.crop_px} px, {fitted.regions:,} of "
        f"them to tune on, {counted(fitted.epochs, 'epoch')} of whole images"
    )
    return fitted


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
    spent = _train_once(config, folder)
    row = _measured(link, evaluated, source, folder, spent)
    write_atomically(kept, json.dumps(asdict(row)))
    say(f"{link.title}: AP50 {row.ap50:.3f}, trained in {row.train_seconds:.0f} s")
    return row


def _measured(link: Link, config: Config, source: Source, folder: Path, spent: Spent) -> Row:
    """Evaluate and time a detector, look where it loses objects, and draw what it finds."""
    result, truth = evaluate(config, weights=folder / MODEL, trace=True), source.annotations
    assert result is not None
    assert result.lost is not None
    assert result.measured.coco is not None
    tested = time_by_image(config, folder / MODEL, source)
    records, stats = result.measured.records, result.measured.coco.stats
    point = operating_point(
        truth, result.found, records, advise_thresholds(truth, result.found, records).max_f1
    )
    draw_photographs(folder / SHOWN, truth, point.found, source.pixels)
    return Row(
        detector=link.name,
        title=link.title,
        year=link.year,
        idea=link.idea,
        ap50=stats["AP50"],
        ap=stats["AP"],
        train_seconds=spent.seconds,
        train_bytes=spent.bytes,
        objects=int(records.counts.sum()),
        lost=where_lost(result.lost),
        **asdict(tested),
    )


@dataclass(frozen=True)
class Spent:
    """What a training took, in all its attempts.

    Attributes:
        seconds: their time.
        bytes: most memory in use at once in any of them.
        done: whether it was finished.
    """

    seconds: float = 0.0
    bytes: int = 0
    done: bool = False

    def note(self, file: Path) -> Spent:
        """Write it into a file, and return it."""
        write_atomically(file, json.dumps(asdict(self)))
        return self


def _train_once(config: Config, folder: Path) -> Spent:
    """Train what a config says, or go on with it, and return what all attempts took."""
    file = folder / SPENT
    before = Spent(**json.loads(file.read_bytes())) if file.is_file() else Spent()
    if before.done:
        return before
    started = (folder / CHECKPOINT).is_file() or (folder / STAGES).is_dir()
    if not started and (folder / CONFIG).is_file():
        shutil.rmtree(folder)  # it was stopped before there was anything to go on with
    start, device = time.perf_counter(), choose_device(config.device)
    forget_peak(device)
    try:
        trained = train(config, out=folder, resume=started)
    except BaseException:
        if (folder / CONFIG).is_file():
            taken, most = time.perf_counter() - start, peak_bytes(device)
            Spent(before.seconds + taken, max(before.bytes, most)).note(file)
        raise
    assert trained is not None, "the chain runs in one process"
    most = max(before.bytes, peak_bytes(device))
    return Spent(before.seconds + trained.train_seconds, most, done=True).note(file)


def _write(result: Lineage, dataset: str, terms: Terms, images: Images, truth: AnnotationSet) -> None:
    of_images = terms.epochs * images.trained_on.num_images * REGIONS_PER_IMAGE
    notes = [
        f"{images.note[:1].upper()}{images.note[1:]}. "
        f"At most {terms.boxes:,} proposals an image. All networks start from the same weights; "
        f"those over crops are tuned on {terms.regions:,} regions, those that read whole images in "
        f"{counted(terms.epochs, 'epoch')} on up to {of_images:,}."
    ]
    if result.pretrain_seconds is not None:
        notes.append(
            "These weights were trained first, by a classifier of the objects, in "
            f"{shown_seconds(result.pretrain_seconds)}; no row holds that time."
        )
    shown = photographs([(row.title, result.out / row.detector / SHOWN) for row in result.rows], truth)
    page = lineage_page(
        f"{terms.backbone} on {dataset}",
        result.rows,
        list(result.ratios.values()),
        shown,
        notes,
        environment(),
    )
    write_atomically(result.out / PAGE, page)
    write_atomically(result.out / RESULT, json.dumps(result.to_json(), indent=2) + "\n")
