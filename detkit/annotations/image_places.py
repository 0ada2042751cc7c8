"""Places of images: which files of a dataset are opened as images."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from detkit.annotations.dataset import AnnotationSet

ROOTS_VARIABLE = "DETKIT_IMAGE_ROOTS"
"""Environment variable with further folders, between colons, that images of any dataset may lie in."""

_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}


class ImagePlaces:
    """The folders that the images of a dataset may lie in; one that annotations name elsewhere is refused.

    The folders may themselves be links, and so may folders in them: whole sets of images are kept on other
    disks that way. An image that is a link of its own has to lead to a file in one of the folders, or in the
    folder that it stands in.

    Args:
        roots: the folders, as the user named them or as they lie in those.
    """

    def __init__(self, roots: Iterable[str | Path]) -> None:
        named = filter(None, os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep))
        self._roots = list(dict.fromkeys(str(root) for root in (*roots, *named)))
        self._absolute = [os.path.abspath(root) for root in self._roots]  # noqa: PTH100
        self._real = [os.path.realpath(root) for root in self._roots]
        self._holds: dict[str, bool] = {}

    @staticmethod
    def of(truth: AnnotationSet) -> ImagePlaces:
        """Return the places of the images of a set."""
        return ImagePlaces((truth.root, *truth.image_roots))

    def holds(self, folder: str) -> bool:
        """Return whether a folder is one of these or lies in one, by its name or where links lead."""
        if folder not in self._holds:
            self._holds[folder] = self._lies_inside(folder)
        return self._holds[folder]

    def refusal(self, path: str) -> str:
        """Return why a file is not opened as an image; empty where it may be, and where there is none."""
        folder = os.path.dirname(path)  # noqa: PTH120
        if not self.holds(folder):
            return (
                f"it is outside of {self._roots[0]}, by an absolute path or by ..; {ROOTS_VARIABLE} may name "
                "more folders with images"
            )
        if os.path.islink(path) and os.path.exists(path):  # noqa: PTH110, PTH114
            real = os.path.realpath(path)
            if not any(_is_below(real, root) for root in (*self._real, os.path.realpath(folder))):
                return (
                    f"it is a link to {real}, outside of {self._roots[0]}; link the folder instead, or name "
                    f"that place in {ROOTS_VARIABLE}"
                )
        return unfit(path)

    def _lies_inside(self, folder: str) -> bool:
        for root, absolute in zip(self._roots, self._absolute, strict=True):
            # In `link/..` the system goes to where the link leads, and up from there.
            if _is_below(folder, root) and ".." not in Path(folder[len(root) :]).parts:
                return True
            if ".." not in Path(folder).parts and _is_below(os.path.abspath(folder), absolute):  # noqa: PTH100
                return True
        try:
            real = os.path.realpath(folder)
        except ValueError:  # a NUL byte: no folder, and nothing in it to refuse
            return True
        return any(_is_below(real, root) for root in self._real)


def unfit(path: str | Path) -> str:
    """Return what a path is instead of a file that can be read; empty for one, and where there is nothing."""
    try:
        mode = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if mode == stat.S_IFREG else f"it is {_KINDS.get(mode, 'a device')}, not an image"


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
