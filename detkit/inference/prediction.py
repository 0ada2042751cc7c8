"""Prediction: what was found in one image, for people and for other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detkit.errors import UserError, cut, shown

if TYPE_CHECKING:
    import pandas
    import supervision
    from PIL import Image


class Detection(NamedTuple):
    """One detection of a `Prediction`.

    Attributes:
        box: (4,) float32 x1, y1, x2, y2 in pixels of the image.
        name: the class.
        score: in [0, 1].
        label: class index.
    """

    box: NDArray[np.float32]
    name: str
    score: float
    label: int


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """Detections of one image for people: named, in NumPy, in pixels of the image as it is seen.

    `len` counts them and iterating yields each as a `Detection`. An index, a slice, or an array of places or
    of truth values gives a `Prediction` of those alone: `found[0]`, `found[:5]`, `found[found.scores > 0.5]`.

    Attributes:
        source: path of the image, or None if pixels were given.
        size: (height, width) of the image in pixels, as it is meant to be seen (EXIF applied).
        boxes: (N, 4) float32 corner boxes in pixels of the image.
        scores: (N,) float32 in [0, 1], best first.
        labels: (N,) int64 class indices.
        names: N class names.
        classes: K names that the detector knows.
        category_ids: K ids of the classes in the dataset it was trained on.
        error: why the image could not be read; then its size is (0, 0) and nothing was found. None otherwise.
        pixels: (H, W, 3) uint8 RGB, where pixels were given instead of a file; they are kept for drawing.
        margins: (N,) float32 what SVMs say, of which the scores are the logistic function; None for a
            detector that decides otherwise.
        parts: (N, P, 4) float32 corner boxes of each object's parts in pixels of the image, perhaps beyond
            it; None for a detector that knows no parts.
        keypoints: (N, P, 2) float32 x and y of each object's key points in pixels of the image, perhaps
            beyond it; None for a detector that knows none.
        frame: number of the frame in its video, from 0; None of an image.
        time_s: when that frame is shown, in seconds from the beginning.
        skeleton: pairs of places among the key points that a line joins in a drawing.
    """

    source: str | None
    size: tuple[int, int]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    classes: tuple[str, ...] = field(kw_only=True)
    category_ids: tuple[int, ...] = field(kw_only=True)
    error: str | None = field(default=None, kw_only=True)
    pixels: NDArray[np.uint8] | None = field(default=None, kw_only=True)
    margins: NDArray[np.float32] | None = field(default=None, kw_only=True)
    parts: NDArray[np.float32] | None = field(default=None, kw_only=True)
    keypoints: NDArray[np.float32] | None = field(default=None, kw_only=True)
    frame: int | None = field(default=None, kw_only=True)
    time_s: float | None = field(default=None, kw_only=True)
    skeleton: tuple[tuple[int, int], ...] = field(default=(), kw_only=True)

    @staticmethod
    def unread(
        source: str, error: str, classes: tuple[str, ...], category_ids: tuple[int, ...]
    ) -> Prediction:
        """Return that of an image which could not be read, by a detector of such classes."""
        boxes, scores, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        return Prediction(
            source, (0, 0), boxes, scores, labels, (), classes=classes, category_ids=category_ids, error=error
        )

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Detection]:
        columns = self.boxes, self.names, self.scores.tolist(), self.labels.tolist()
        return map(Detection._make, zip(*columns, strict=True))

    def __getitem__(self, index: int | slice | ArrayLike) -> Prediction:
        if isinstance(index, str):
            raise TypeError(f"detections are chosen by place; those of a class are found.of({index!r})")
        if not isinstance(index, int | np.integer | slice):
            index = np.asarray(index)
            index = index if index.size else index.astype(np.intp)
        chosen = np.atleast_1d(np.arange(len(self))[index])
        if chosen.ndim != 1:
            raise IndexError(f"detections are chosen by a place, a slice or one row of them; got {index!r}")
        return replace(
            self,
            boxes=self.boxes[chosen],
            scores=self.scores[chosen],
            labels=self.labels[chosen],
            names=tuple(self.names[place] for place in chosen),
            margins=None if self.margins is None else self.margins[chosen],
            parts=None if self.parts is None else self.parts[chosen],
            keypoints=None if self.keypoints is None else self.keypoints[chosen],
        )

    def of(self, *names: str) -> Prediction:
        """Return the detections of some classes alone.

        Raises:
            UserError: the detector has no such class.
        """
        for name in names:
            if name not in self.classes:
                raise UserError(f"no class {shown(name)}; there are {cut(', '.join(self.classes), 1000)}")
        return self[[name in names for name in self.names]]

    def __repr__(self) -> str:
        height, width = self.size
        return f"Prediction({self.source!r}, {width} x {height} pixels, {len(self)} detections)"

    def __str__(self) -> str:
        from detkit.report.predictions import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from detkit.report.predictions import as_html

        return as_html(self)

    def draw(self) -> Image.Image:
        """Return the image with the detections drawn on it, from its file or the pixels that were given.

        Raises:
            UserError: the file cannot be read any more, or is another image now.
        """
        from PIL import Image

        from detkit.report.predictions import drawn

        return Image.fromarray(drawn(self))

    def save(self, path: str | Path) -> Path:
        """Write the drawn image (.jpg, .jpeg, .png), or `to_dict` as .json, and return the path.

        Raises:
            UserError: the name has another ending or is the image's own, the image cannot be read any more,
                or the file cannot be written.
        """
        from detkit.report.predictions import write

        return write(self, Path(path))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as `detkit predict --json` writes them.

        Returns:
            `{image, width, height, detections[{box, label, category_id, score, margin, keypoints}], error,
            frame, time_s}`; a box is x1, y1, x2, y2 in pixels, a label a name, a margin that of an SVM and
            keypoints [x, y] of each point (None without one).
        """
        from detkit.inference.results import record

        return record(self, self.category_ids)

    def to_coco(self, image_id: int | None = None) -> list[dict[str, Any]]:
        """Return COCO results, `{image_id, category_id, bbox[x, y, width, height], score}` each.

        Args:
            image_id: of the image in its dataset; None takes the number that the file is called by.

        Raises:
            UserError: no id is given and the file's name is no number.
        """
        from detkit.inference.formats import coco_results
        from detkit.inference.results import number_of, record

        if image_id is None:
            image_id = number_of(Path(self.source or "").stem)
        if image_id is None:
            image = "the image has no file" if self.source is None else f"{self.source} is named by no number"
            raise UserError(f"image_id: {image}; give the image's id in your dataset: to_coco(image_id=1)")
        return coco_results(record(self, self.category_ids), image_id)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table: image, label (a name), category_id, score, x1, y1, x2, y2.

        Raises:
            UserError: pandas is not installed.
        """
        from detkit.report.predictions import as_data_frame

        return as_data_frame(self)

    def to_supervision(self) -> supervision.Detections:
        """Return `supervision.Detections`, with the names of the classes as data["class_name"].

        Raises:
            UserError: supervision is not installed.
        """
        from detkit.report.predictions import as_supervision

        return as_supervision(self)
