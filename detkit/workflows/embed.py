"""`detkit embed`: a map of a dataset's objects, suspect labels, near duplicates."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_paths
from detkit.checks.findings import found
from detkit.data.datasets.named_images import labelled_images
from detkit.data.datasets.related_images import series_of, thumbnails_of
from detkit.data.datasets.source import Source
from detkit.embedding.codes import Codes, codes_of, cut_out
from detkit.embedding.items import Items, images_of, objects_of
from detkit.embedding.layers import DECISION, LayerReader
from detkit.embedding.layout import layout
from detkit.embedding.neighbours import (
    disagreement,
    duplicates,
    nearest_neighbours,
    suspects,
    votes,
)
from detkit.errors import UserError
from detkit.inference.formats import DOCUMENTS, About, Named
from detkit.inference.model_file import model_path
from detkit.names import counted
from detkit.report.content import Number, Picture
from detkit.report.embedding_page import (
    SHOWN,
    SHOWN_PAIRS,
    EmbeddingMap,
    crop_side,
    embedding_page,
    suspect_card,
)
from detkit.runs.predictor import build_predictor
from detkit.runtime.progress import ProgressLine
from detkit.storage.atomic import write_atomically
from detkit.storage.content_keys import file_stamp, key_of
from detkit.storage.json_text import json_bytes
from detkit.storage.run_folder import results_folder

Of = Literal["objects", "images"]
PAGE, CODES, SUSPECTS, DUPLICATES = "embedding.html", "codes.safetensors", "suspects", "duplicates.json"
LIMIT = 5000
TOOLS = ("labelstudio", "cvat")
"""Formats in which suspects go to tools of labelling, each in a folder of its own."""


@dataclass(frozen=True)
class Embedded:
    """What `embed` found, and where it wrote it.

    Attributes:
        folder: holds the page and the files.
        objects: how many objects, or images, were embedded.
        classes: names of the dataset's classes.
        layer: whose vectors they are.
        dimensions: length of the vectors.
        suspects: a record of each suspect label, worst first.
        duplicates: a record of each pair of near duplicates, nearest first.
    """

    folder: Path
    objects: int
    classes: tuple[str, ...]
    layer: str
    dimensions: int
    suspects: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "objects": self.objects,
            "classes": list(self.classes),
            "layer": self.layer,
            "dimensions": self.dimensions,
            "suspects": self.suspects,
            "duplicates": self.duplicates,
            "out": str(self.folder),
        }


def embed(
    weights: str | Path,
    dataset: str | Path,
    *,
    sets: Sequence[str] = (),
    of: Of = "objects",
    layer: str = DECISION,
    limit: int = LIMIT,
    apart: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    allow_custom: bool = False,
    on_object: Callable[[int, int], None] = lambda done, total: None,
) -> Embedded:
    """Embed the objects of a dataset: draw a map of them, and find suspect labels and near duplicates.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        dataset: a VOC, COCO or YOLO dataset, or `synthetic`.
        sets: parts of it, such as train or val; none is all of them.
        of: objects, each with its labelled box as the region, or whole images.
        layer: decision, the vector that the detector decides on; pool5, fc6 or fc7; or a module by its name,
            such as backbone.
        limit: at most so many, chosen by chance.
        apart: let objects be neighbours only of those in other series of images (frames of a film, near
            duplicates): finds errors that a whole film shares, and asks more of the network.
        seed: of that choice and of the map.
        out: folder for the page and the files, new or empty; None takes a new one in runs/.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        on_object: called with how many objects are embedded, and how many there are.

    Raises:
        UserError: a file cannot be read, there is nothing to embed, or the detector has no such layer.
    """
    if of not in ("objects", "images") or limit < 1:
        raise UserError(f"of, limit: expected objects or images, and at least 1; got {of!r} and {limit}")
    weights, source = model_path(weights), labelled_images(str(dataset), sets)
    everything = objects_of(source.annotations) if of == "objects" else images_of(source.annotations)
    items = everything.sample(limit, seed)
    if not len(items):
        raise UserError(
            f"{dataset}: nothing to embed: no object has an area in its image and is neither difficult nor a "
            "crowd; --of images takes whole images"
        )
    predictor = build_predictor(weights, device, allow_custom=allow_custom)
    LayerReader(predictor.model, layer)  # what is wrong is heard before there is a folder
    work = key_of("embed", file_stamp(weights), str(dataset), list(sets), of, layer, limit, apart, seed)
    with results_folder(out, "embed", work) as folder:
        groups = _series(source.annotations)[items.images] if apart else None
        codes = codes_of(predictor, source.pixels, items, layer, crop_side(len(items)), on_object)
        if not np.isfinite(codes.vectors).all():
            raise UserError(f"{weights}: gives vectors that are not finite at the layer {layer}")
        with ProgressLine("map", unit="steps") as on_step:
            places = layout(codes.vectors, seed, on_step)
        made = _Made(folder, source, items, codes, layer, groups, places)
        more = counted(len(everything) - len(items), of.removesuffix("s"))
        notes = [f"{more} are left out, by chance: see --limit."] if len(items) < len(everything) else []
        return made.write(f"{dataset}, by {weights}", notes)


def _series(truth: AnnotationSet) -> NDArray[np.int64]:
    """Return the (N,) number of the series of images that each is in."""
    groups = np.zeros(truth.num_images, dtype=np.int64)
    for number, series in enumerate(series_of(image_paths(truth), thumbnails_of(truth))):
        groups[series.images] = number
    return groups


class _Made:
    """The codes of a dataset, and what is written of them."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        items: Items,
        codes: Codes,
        layer: str,
        groups: NDArray[np.int64] | None,
        places: NDArray[np.float64],
    ) -> None:
        self.folder, self.source, self.items, self.codes, self.layer = folder, source, items, codes, layer
        self.truth, self.groups = source.annotations, groups
        near = nearest_neighbours(codes.vectors, groups)
        self.shares = votes(items.labels, near, len(self.truth.classes))
        self.scores, better = disagreement(items.labels, self.shares)
        self.suspects = suspects(self.scores)
        self.suggested = np.full(len(items), -1)
        self.suggested[self.suspects] = better[self.suspects]
        self.duplicates = duplicates(near, items.images, codes.thumbnails)
        self.content = EmbeddingMap(
            places,
            items.labels,
            self.suggested,
            [str(self.truth.image_files[image]) for image in items.images],
            near.rows,
            codes.crops,
            self.truth.classes,
        )

    def write(self, subtitle: str, notes: Sequence[str]) -> Embedded:
        """Write the page and the files."""
        result = Embedded(
            self.folder,
            len(self.items),
            self.truth.classes,
            self.layer,
            self.codes.vectors.shape[1],
            [self._suspect(row) for row in self.suspects.tolist()],
            [self._duplicate(*pair) for pair in self.duplicates],
        )
        write_atomically(self.folder / CODES, self._arrays())
        write_atomically(self.folder / f"{SUSPECTS}.json", json_bytes(result.suspects, indented=True))
        write_atomically(self.folder / f"{SUSPECTS}.csv", _csv(result.suspects))
        write_atomically(self.folder / DUPLICATES, json_bytes(result.duplicates, indented=True))
        about = About(self.truth.classes, self.truth.category_ids.tolist(), "detkit embed")
        for tool in TOOLS if len(self.suspects) and (self.items.objects >= 0).all() else ():
            DOCUMENTS[tool](self._tasks, self.folder / tool, about)
        write_atomically(self.folder / PAGE, self._page(result, subtitle, notes))
        return result

    def _arrays(self) -> bytes:
        """Return the codes and what belongs to each as a safetensors file."""
        items = self.items
        arrays: dict[str, NDArray[Any]] = {"vectors": self.codes.vectors, "places": self.content.places}
        arrays |= {"boxes": items.boxes, "labels": items.labels, "images": items.images}
        arrays |= {} if self.groups is None else {"series": self.groups}
        return save(arrays, {"layer": self.layer, "classes": json.dumps(self.truth.classes)})

    def _about(self, kind: str, row: int, message: str) -> dict[str, Any]:
        """Return a record of one object as `detkit check` writes it, and where the object is."""
        truth, image, place = self.truth, int(self.items.images[row]), int(self.items.objects[row])
        label, file = self.content.name(int(self.items.labels[row])), str(truth.sources[image])
        thing = self.content.names[row]
        if place >= 0:
            in_one_file = truth.num_images > 1 and truth.sources[0] == truth.sources[-1]
            what = "line" if file.endswith(".txt") else "annotation" if in_one_file else "object"
            number = truth.ids[place] if in_one_file else place - truth.offsets[image] + 1
            thing = f"{what} {number} ({label})"
        where = {
            "image": self.content.names[row],
            "box": self.items.boxes[row].round(2).tolist(),
            "label": label,
        }
        return found(kind, file, thing, message).to_json() | where

    def _suspect(self, row: int) -> dict[str, Any]:
        better, label = (self.content.name(int(of[row])) for of in (self.suggested, self.items.labels))
        share = self.shares[row, self.suggested[row]]
        message = f"labelled {label}; of its nearest neighbours' votes {share:.0%} are for {better}"
        score = round(float(self.scores[row]), 4)
        return self._about("suspect_label", row, message) | {"suggested": better, "score": score}

    def _duplicate(self, one: int, other: int, distance: float) -> dict[str, Any]:
        second = self._about("duplicate_object", other, "")
        message = f"nearly the same as {second['object']} in {second['image']}"
        keys = ("file", "object", "image", "box", "label")
        return self._about("duplicate_object", one, message) | {
            "other": {key: second[key] for key in keys},
            "distance": round(distance, 5),
        }

    def _tasks(self) -> Iterator[Named]:
        """Yield each image with suspects, whose classes are those suggested."""
        rows = np.sort(self.suspects)
        for image in np.unique(self.items.images[rows]).tolist():
            own = rows[self.items.images[rows] == image].tolist()
            height, width = self.truth.sizes[image].tolist()
            detections = [
                {
                    "box": self.items.boxes[row].tolist(),
                    "label": self.truth.classes[self.suggested[row]],
                    "score": float(self.scores[row]),
                }
                for row in own
            ]
            name = self.content.names[own[0]]
            record = {"width": width, "height": height, "detections": detections}
            yield Named(image, name, record | {"error": None, "frame": None})

    def _page(self, result: Embedded, subtitle: str, notes: Sequence[str]) -> str:
        figures = [
            Number("objects" if (self.items.objects >= 0).all() else "images", result.objects),
            Number("suspect labels", len(result.suspects), "neighbours agree on another class"),
            Number("near duplicates", len(result.duplicates), "pairs in different images"),
            Number("layer", self.layer, f"{result.dimensions:,} dimensions"),
        ]
        cards = [suspect_card(self._cut(row), row, self.content) for row in self.suspects[:SHOWN].tolist()]
        labels = self.items.labels
        contradicting = sorted(self.duplicates, key=lambda pair: labels[pair[0]] == labels[pair[1]])
        pairs = [self._pair(*pair) for pair in contradicting[:SHOWN_PAIRS]]
        known, count = self.items.labels >= 0, len(self.truth.classes)
        confused = np.zeros((count, count), dtype=np.int64)
        np.add.at(confused, (self.items.labels[known], self.shares[known].argmax(axis=1)), 1)
        title = "What the network takes for alike"
        return embedding_page(title, subtitle, figures, notes, self.content, cards, pairs, confused)

    def _cut(self, row: int) -> NDArray[np.uint8]:
        pixels = self.source.pixels(int(self.items.images[row]))
        return cut_out(pixels, self.items.boxes[row])

    def _pair(self, one: int, other: int, distance: float) -> Picture:
        labels = [self.content.name(int(self.items.labels[row])) for row in (one, other)]
        shown = np.hstack([self.codes.crops[one], self.codes.crops[other]])
        tag = "" if labels[0] == labels[1] else "two labels"
        names = f"{self.content.names[one]}, {self.content.names[other]}"
        return Picture(shown, " and ".join(dict.fromkeys(labels)), tag, names)


def _csv(records: Sequence[dict[str, Any]]) -> str:
    """Return suspects as a table."""
    text = io.StringIO(newline="")
    table = csv.writer(text)
    kept = ("kind", "file", "object", "image", "label", "suggested", "score")
    table.writerow([*kept, "x1", "y1", "x2", "y2"])
    for record in records:
        table.writerow([*(record[key] for key in kept), *record["box"]])
    return text.getvalue()
