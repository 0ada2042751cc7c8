"""The images that somebody names on the command line."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from detkit.annotations.image_files import IMAGE_EXTENSIONS, images_below
from detkit.errors import UserError


def find_images(sources: Sequence[str]) -> list[Path]:
    """Return the images that files, folders and glob patterns name, each once, in order.

    Raises:
        UserError: a source names nothing that exists, or no image.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            images = images_below(path)
        elif path.exists():
            images = [path]
        else:
            matches = sorted(Path(match) for match in glob.glob(source, recursive=True))  # noqa: PTH207 (absolute patterns)
            images = [match for match in matches if match.suffix.lower() in IMAGE_EXTENSIONS]
            if not matches:
                raise UserError(f"{source}: no such file or folder, and no file matches it as a pattern")
        if not images:
            raise UserError(f"{source}: no images in it; looked for {', '.join(sorted(IMAGE_EXTENSIONS))}")
        found.update(dict.fromkeys(images))
    return list(found)
