"""One row of `detkit lineage`: a detector trained, evaluated and timed, once and for all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detkit.config.schema import Config
from detkit.data.datasets.builder import open_validation_set
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.lineage.chain import Link, Values
from detkit.lineage.page import Row
from detkit.lineage.timing import time_by_image
from detkit.runtime.progress import say
from detkit.storage.atomic import write_atomically
from detkit.storage.run_folder import CHECKPOINT, CONFIG, MODEL
from detkit.training.staged.stages import FOLDER as STAGES

ROW = "row.json"
SPENT = "train_seconds.json"


def is_done(folder: Path) -> bool:
    """Return whether a detector's row was measured before."""
    return (folder / ROW).is_file()


@dataclass(frozen=True)
class Commands:
    """The commands that a row is made by.

    Attributes:
        train: `detkit.workflows.train.train`.
        evaluate: `detkit.workflows.evaluate.evaluate`.
    """

    train: Callable[..., Any]
    evaluate: Callable[..., Any]


def row_of(link: Link, values: Values, val: Values, folder: Path, commands: Commands) -> Row:
    """Train, evaluate and time a detector, or read what was measured of it before.

    Args:
        link: which detector.
        values: its config without `data.val`.
        val: `data.val`, the validation images.
        folder: of the training.
        commands: train and evaluate it.

    Raises:
        UserError: something in the config or the data is wrong.
    """
    kept = folder / ROW
    if is_done(folder):
        say(f"{link.title}: done before, in {folder}")
        return Row(**json.loads(kept.read_bytes()))
    say(f"{link.title}: learning")
    config = Config.model_validate(values)
    evaluated = Config.model_validate({**values, "data": {**values["data"], "val": val}})
    source = open_validation_set(evaluated.data)
    # Now, so that no time below holds that of proposals.
    attach_proposals(evaluated.detector.external_proposals, source, "val")
    seconds = train_once(config, folder, commands.train)
    result = commands.evaluate(evaluated, weights=folder / MODEL, out=None)
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
        recall=tested.recall,
        boxes_per_image=tested.boxes_per_image,
        train_seconds=seconds,
        proposal_seconds=tested.proposal_seconds,
        network_seconds=tested.network_seconds,
    )
    write_atomically(kept, json.dumps(asdict(row)))
    say(f"{link.title}: AP50 {row.ap50:.3f}, trained in {row.train_seconds:.0f} s")
    return row


def train_once(config: Config, folder: Path, train: Callable[..., Any]) -> float:
    """Train what a config says, or resume it, and return the seconds that all attempts took.

    Args:
        config: the config.
        folder: the run's folder, new or left by an attempt that was stopped.
        train: the command.

    Raises:
        UserError: something in the config or the data is wrong.
    """
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
        if folder.is_dir():
            taken = before["seconds"] + time.perf_counter() - start
            write_atomically(spent, json.dumps({"seconds": taken, "done": False}))
        raise
    assert trained is not None, "the chain runs in one process"
    seconds = float(before["seconds"] + trained.train_seconds)
    write_atomically(spent, json.dumps({"seconds": seconds, "done": True}))
    return seconds
