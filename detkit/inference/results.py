"""Files of predictions: JSON, JSON lines, COCO results, VOC XML, YOLO text, CSV, CVAT, Label Studio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Literal, get_args

from detkit.errors import UserError
from detkit.inference.formats import DOCUMENTS, TEXTS, About, Named
from detkit.inference.prediction import Prediction
from detkit.inference.records import Records
from detkit.names import distinct_parts, file_name, one_file
from detkit.storage.atomic import write_atomically
from detkit.storage.json_text import json_bytes

ResultFormat = Literal["json", "jsonl", "coco", "voc", "yolo", "csv", "cvat", "labelstudio"]
FORMATS: tuple[ResultFormat, ...] = get_args(ResultFormat)
SKIPPED = "skipped.json"
_LINES = "detections.jsonl"


class ResultFiles:
    """Files of the detections of images and of videos: those of single images, and those of all.

    Used as a `with`, so that JSON lines are there as they come.

    Args:
        folder: where the files go; it exists.
        result_format: `voc` and `yolo` have a file an image, named after it, others one of all.
        images: paths of the images.
        names: what each is called, in files that name images.
        videos: what each video is called; their places follow those of the images.
        about: the model's classes, and its name.

    Raises:
        UserError: two images share a name that a file of their own would get.
    """

    def __init__(
        self,
        folder: Path,
        result_format: ResultFormat,
        images: Sequence[Path],
        names: Sequence[str],
        videos: Sequence[str],
        about: About,
    ) -> None:
        self._folder, self._format, self._images, self._about = folder, result_format, images, about
        self._names = names
        self._videos = distinct_parts([file_name(PurePath(video).stem) for video in videos], videos)
        self._is_alone = not images and len(videos) == 1
        self._stems: list[str] | None = None
        self._lines: BinaryIO | None = None
        if result_format in TEXTS:
            self._stems = [file_name(image.stem) for image in images]
            self._require_own_files([*self._stems, *self._videos], [*map(str, images), *videos])

    def _require_own_files(self, stems: list[str], sources: list[str]) -> None:
        suffix = TEXTS[self._format].suffix
        if same := one_file([f"{stem}{suffix}" for stem in stems], self._folder):
            first, second = (sources[place] for place in same)
            raise UserError(
                f"{first} and {second} would both be written to {stems[same[1]]}{suffix}; "
                "predict them into different folders, or take --format json"
            )

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lines is not None:
            self._lines.close()

    def name(self, place: int, frame: int | None) -> str:
        """Return what an image is called: its name, or video/frame_000012, the first frame being 0."""
        if frame is None:
            at = place - len(self._images)
            return self._names[place] if at < 0 else self._videos[at]
        of_video = "" if self._is_alone else f"{self._videos[place - len(self._images)]}/"
        return f"{of_video}frame_{frame:06d}"

    def add(self, place: int, found: Prediction, record: dict[str, Any]) -> None:
        """Write what is written as it comes: files of single images, and JSON lines.

        Raises:
            UserError: the file cannot be written.
        """
        if self._format == "jsonl":
            if self._lines is None:
                self._lines = (self._folder / _LINES).open("ab")
            self._lines.write(json_bytes(record) + b"\n")
            self._lines.flush()
        if self._stems is None or found.error is not None:
            return
        stem = self._stems[place] if found.frame is None else self.name(place, found.frame)
        kind = TEXTS[self._format]
        write_atomically(self._folder / f"{stem}{kind.suffix}", kind.text_of(found), sync=False)

    def write(self, records: Records) -> None:
        """Write the file of all images, one record after another, and the list of those that were skipped.

        `json` (a list of `record`), `coco` (a list of COCO results) and `labelstudio` go to
        `detections.json`, `jsonl`, `csv` and `cvat` to `detections.jsonl`, `.csv` and `.xml`; others have
        none. Image ids of COCO are the file names where all are numbers, otherwise 1, 2, ...; `images.json`
        beside it lists them. Where images were skipped, `skipped.json` is a list of `{image, error}`.

        Raises:
            UserError: a file cannot be written.
        """
        if self._format in DOCUMENTS:
            DOCUMENTS[self._format](lambda: self._named(records), self._folder, self._about)
        if records.skipped:
            write_atomically(
                self._folder / SKIPPED, json_bytes(records.skipped, indented=True).decode() + "\n"
            )
        else:
            (self._folder / SKIPPED).unlink(missing_ok=True)

    def _named(self, records: Records) -> Iterator[Named]:
        numbers = [number for image in self._images if (number := number_of(image.stem)) is not None]
        is_numbered = not self._videos and len(set(numbers)) == len(self._images)
        for row, (place, record) in enumerate(zip(records.places, records, strict=True), 1):
            image_id = numbers[place] if is_numbered else row if self._videos else place + 1
            yield Named(image_id, self.name(place, record["frame"]), record)


def record(prediction: Prediction, category_ids: Sequence[int]) -> dict[str, Any]:
    """Return a prediction as plain values.

    Args:
        prediction: what was found in one image.
        category_ids: ids of the classes in the dataset.

    Returns:
        `{image, width, height, detections[{box, label, category_id, score, margin, keypoints}], error, frame,
        time_s}`; a box is x1, y1, x2, y2 in pixels; a margin is that of an SVM, of which the score is the
        logistic function, and keypoints are [x, y] in pixels of each point, both None without one. Of an
        image that could not be read, width and height are None and error says why. A frame of a video has its
        number, from 0, and its time in seconds, None of an image.
    """
    height, width = prediction.size if prediction.error is None else (None, None)
    margins = [None] * len(prediction) if prediction.margins is None else prediction.margins.tolist()
    points = [None] * len(prediction) if prediction.keypoints is None else prediction.keypoints.tolist()
    detections = [
        {
            "box": box,
            "label": name,
            "category_id": int(category_ids[label]),
            "score": score,
            "margin": margin,
            "keypoints": own,
        }
        for box, name, label, score, margin, own in zip(
            prediction.boxes.tolist(),
            prediction.names,
            prediction.labels.tolist(),
            prediction.scores.tolist(),
            margins,
            points,
            strict=True,
        )
    ]
    return {
        "image": prediction.source,
        "width": width,
        "height": height,
        "detections": detections,
        "error": prediction.error,
        "frame": prediction.frame,
        "time_s": prediction.time_s,
    }


def number_of(stem: str) -> int | None:
    """Return the number that a file is called by, as COCO's images are; None where its name is none."""
    return int(stem) if stem.isdecimal() and len(stem) <= _MOST_DIGITS else None


_MOST_DIGITS = 18  # of a number of 64 bits
