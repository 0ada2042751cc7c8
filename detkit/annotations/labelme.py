"""Writer of LabelMe files, one JSON beside each image."""

from __future__ import annotations

from pathlib import Path, PurePath

import orjson

from detkit.annotations.coordinates import to_corners
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.image_files import image_names, with_sizes
from detkit.storage.atomic import write_atomically


def write_labelme(folder: Path, split: str, truth: AnnotationSet) -> None:
    """Write <split>/<image>.json with a rectangle for every object; `difficult` and `crowd` become flags.

    Args:
        folder: where the dataset goes.
        split: name of the part, such as train.
        truth: the annotations.

    Raises:
        UserError: two images share a name, or an image of unknown size cannot be read.
    """
    truth = with_sizes(truth)
    corners = to_corners(truth.boxes, truth.box_format).tolist()
    for index, name in enumerate(image_names(truth)):
        height, width = truth.sizes[index].tolist()
        shapes = [
            {
                "label": truth.classes[truth.labels[row]],
                "points": [corners[row][:2], corners[row][2:]],
                "group_id": None,
                "shape_type": "rectangle",
                "flags": {"difficult": bool(truth.difficult[row]), "crowd": bool(truth.crowd[row])},
            }
            for row in range(int(truth.offsets[index]), int(truth.offsets[index + 1]))
        ]
        content = {
            "version": "5.0.0",  # of LabelMe's format
            "flags": {},
            "shapes": shapes,
            "imagePath": PurePath(str(truth.image_files[index])).name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        text = orjson.dumps(content, option=orjson.OPT_INDENT_2)
        write_atomically(folder / split / f"{name}.json", text, sync=False)
