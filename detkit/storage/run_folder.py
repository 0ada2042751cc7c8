"""Run folder: new each time, never overwritten."""

from __future__ import annotations

from pathlib import Path

from detkit.errors import UserError

CONFIG = "config.yaml"
MODEL = "model.safetensors"
CHECKPOINT = "last.pt"
METRICS = "metrics.jsonl"
REPORT = "report.html"
DETECTIONS = "detections.json"


def new_folder(wanted: Path | None, name: str, parent: Path = Path("runs")) -> Path:
    """Make and return an empty folder for results.

    Args:
        wanted: the folder the user asked for; it must not hold anything yet.
        name: used otherwise, as parent/name, parent/name-2 and so on.
        parent: where such folders are kept.

    Raises:
        UserError: `wanted` holds files already, or cannot be made.
    """
    try:
        if wanted is not None:
            wanted.mkdir(parents=True, exist_ok=True)
            if any(wanted.iterdir()):
                raise UserError(
                    f"{wanted}: the folder is not empty, and results are never overwritten; "
                    "name another one with --out (or add --resume to go on with a training there)"
                )
            return wanted
        number = 1
        while True:
            folder = parent / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir(parents=True)
            except FileExistsError:
                number += 1
                continue
            return folder
    except OSError as error:
        raise UserError(f"{error.filename}: cannot make the folder: {error.strerror}") from error
