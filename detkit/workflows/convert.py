"""`detkit convert`: write a dataset in another format."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.detect import detect_format
from detkit.annotations.image_files import copied_name, image_path, require_images
from detkit.annotations.writers import Format, image_folder, write_dataset
from detkit.data.datasets.readers import configs_of_sets, read_sets
from detkit.data.synthetic.dataset import NUM_SYNTHETIC, is_embedded, write_synthetic
from detkit.errors import UserError
from detkit.names import one_file
from detkit.storage.run_folder import new_folder


def convert(dataset: str, *, to: Format, out: Path) -> dict[str, Any]:
    """Write a dataset, images and all, in another format; the source is only read.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic` for the embedded one.
        to: the format to write.
        out: folder for it, new or empty.

    Returns:
        The format, the folder, and images and objects of each part.

    Raises:
        UserError: the dataset cannot be read, two images share a name, or the folder is not empty.
    """
    folder = new_folder(out, to)
    if is_embedded(dataset):
        drawn = write_synthetic(folder, to, NUM_SYNTHETIC["train"], NUM_SYNTHETIC["val"])
        return _result(to, folder, drawn)
    parts = read_sets(configs_of_sets(detect_format(Path(dataset))))
    for truth in parts.values():
        require_images(truth)
    _copy_images(parts, to, folder)
    write_dataset(folder, to, parts)
    return _result(to, folder, parts)


def _copy_images(parts: dict[str, AnnotationSet], to: Format, folder: Path) -> None:
    """Copy the images to where the new format expects them; never one over another."""
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
    for target, source in sources.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _result(to: Format, folder: Path, parts: dict[str, AnnotationSet]) -> dict[str, Any]:
    counts = {name: {"images": p.num_images, "objects": p.num_objects} for name, p in parts.items()}
    return {"format": to, "out": str(folder), "parts": counts}
