"""`detkit convert`: write a dataset in another format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from detkit.annotations.coordinates import pixels
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import locate_dataset
from detkit.annotations.image_files import copied_name, image_path, require_images
from detkit.annotations.writers import Format, image_folder, write_dataset
from detkit.data.datasets.readers import configs_of_sets, read_sets
from detkit.data.images import copy_image
from detkit.data.synthetic.dataset import NUM_SYNTHETIC, is_embedded, write_synthetic
from detkit.errors import UserError
from detkit.names import one_file
from detkit.runtime.cores import num_cores
from detkit.runtime.progress import ProgressLine
from detkit.runtime.thread_map import map_threads
from detkit.storage.content_keys import key_of
from detkit.storage.run_folder import clear, results_folder


def convert(dataset: str | Path, *, to: Format, out: str | Path) -> dict[str, Any]:
    """Write a dataset, images and all, in another format; the source is only read.

    Args:
        dataset: a dataset, or `synthetic` for the embedded one.
        to: the format to write.
        out: folder for it, new or empty, or with what the same conversion left when it was stopped: it is
            done anew.

    Returns:
        The format, the folder, and images and objects of each part.

    Raises:
        UserError: the dataset or an image cannot be read, two images share a name, or the folder holds files.
    """
    with results_folder(out, to, key_of("convert", str(Path(dataset).absolute()), to)) as folder:
        clear(folder)
        if is_embedded(str(dataset)):
            drawn = write_synthetic(folder, to, NUM_SYNTHETIC["train"], NUM_SYNTHETIC["val"])
            return _result(to, folder, drawn)
        found = locate_dataset(Path(dataset))
        parts = read_sets(configs_of_sets(found))
        if found.format == "yolo" and to != "yolo":
            parts = {name: _in_pixels(truth) for name, truth in parts.items()}
        for truth in parts.values():
            require_images(truth)
        _copy_images(parts, to, folder)
        write_dataset(folder, to, parts)
        return _result(to, folder, parts)


def _in_pixels(truth: AnnotationSet) -> AnnotationSet:
    """Return a set of YOLO without the noise that multiplying its fractions makes."""
    boxes = pixels(truth.boxes)
    return replace(truth, boxes=boxes, areas=pixels(boxes[:, 2] * boxes[:, 3]))


def _copy_images(parts: dict[str, AnnotationSet], to: Format, folder: Path) -> None:
    """Copy the images, each decoded before, to where the new format expects them; never one over another."""
    sources: dict[Path, Path] = {}
    for name, truth in parts.items():
        place = image_folder(folder, to, name)
        for index in range(truth.num_images):
            source = image_path(truth, index)
            target = place / copied_name(source)
            if sources.setdefault(target, source) != source:
                raise UserError(
                    f"{source} and {sources[target]}: two images would become {target}; rename one of them"
                )
    same = one_file(list(map(str, sources)), folder)
    if same is not None:
        first, second = (list(sources)[place] for place in same)
        raise UserError(f"{first} and {second} are one file in {folder}; rename one of the two images")
    copies = map_threads(lambda target: copy_image(sources[target], target), sources, num_cores())
    with ProgressLine("images", len(sources)) as progress:
        for done, _ in enumerate(copies, start=1):
            progress(done)


def _result(to: Format, folder: Path, parts: dict[str, AnnotationSet]) -> dict[str, Any]:
    counts = {name: {"images": p.num_images, "objects": p.num_objects} for name, p in parts.items()}
    return {"format": to, "out": str(folder), "parts": counts}
