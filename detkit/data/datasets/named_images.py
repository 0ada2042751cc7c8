"""Images and datasets named on the command line."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.annotations.dataset import AnnotationSet, join_sets, select_images
from detkit.annotations.detect import detect_format
from detkit.annotations.found_dataset import FoundDataset
from detkit.annotations.image_files import (
    IMAGE_EXTENSIONS,
    image_path,
    images_below,
    require_images,
    with_sizes,
)
from detkit.data.datasets.readers import config_of_sets, configs_of_sets, file_format, read_sets
from detkit.data.datasets.source import Source
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import NUM_SYNTHETIC, SYNTHETIC, embedded_set, is_embedded
from detkit.data.videos import STREAMS, VIDEO_EXTENSIONS, Video, live_video
from detkit.errors import UserError, cut
from detkit.names import counted
from detkit.runtime.progress import say
from detkit.storage.regular_files import is_file, is_folder

_NOWHERE = "{}: no such file or folder, and no file matches it as a pattern"
_STREAMED = f"streams of videos begin with {', '.join(STREAMS)}"
_MOST_KINDS = 8  # of files that a message names
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/{1,2}[^/]")  # a `Path` has lost the second slash


@dataclass(frozen=True)
class NamedImages:
    """N images to look at.

    Attributes:
        names: what each is called.
        pixels: returns the (H, W, 3) uint8 RGB pixels of the image at a position.
        stamps: N values that change when an image is replaced: quicker to have than its content.
        truth: labels, where the source is a dataset.
        left_out: how many files beside them are no images, by extension.
    """

    names: list[str]
    pixels: Callable[[int], NDArray[np.uint8]]
    stamps: list[Any]
    truth: AnnotationSet | None
    left_out: Counter[str] = field(default_factory=Counter)

    def without(self, left_out: Container[int]) -> NamedImages:
        """Return all images but those at some positions."""
        kept = [image for image in range(len(self.names)) if image not in left_out]
        return NamedImages(
            [self.names[image] for image in kept],
            lambda image: self.pixels(kept[image]),
            [self.stamps[image] for image in kept],
            None if self.truth is None else select_images(self.truth, kept),
        )


def named_images(sources: str | Path | Sequence[str | Path], sets: Sequence[str] = ()) -> NamedImages:
    """Return the images of a dataset, or those of files, folders and glob patterns.

    Args:
        sources: one VOC, COCO or YOLO dataset or `synthetic`; or image files, folders (with all below
            them) and patterns.
        sets: parts of the dataset, such as train or val.

    Raises:
        UserError: a source is not there or holds no image, or there are sets without a dataset.
    """
    given = [str(sources)] if isinstance(sources, str | Path) else list(map(str, sources))
    if len(given) == 1 and _is_dataset(given[0]):
        return _of_dataset(labelled_images(given[0], sets))
    if sets:
        raise UserError(f"--set {sets[0]}: parts are chosen of one dataset; {', '.join(given)} is none")
    found = find_images(given)
    paths = found.paths
    return NamedImages(
        found.names, lambda image: decode_image(paths[image]), _sizes(paths), None, found.left_out
    )


def _is_dataset(source: str) -> bool:
    path = Path(source)
    if is_embedded(source):
        return True
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return True
    if not path.is_dir():
        return False
    try:
        detect_format(path)
    except UserError:
        return False  # a folder with images
    return True


def _of_dataset(images: Source) -> NamedImages:
    truth = images.annotations
    names = [str(name).replace("\\", "/") for name in truth.image_files.tolist()]
    if truth.root == SYNTHETIC:
        return NamedImages(names, images.pixels, truth.sources.tolist(), truth)
    paths = [image_path(truth, image) for image in range(truth.num_images)]
    return NamedImages(names, images.pixels, _sizes(paths), truth)


def _sizes(paths: Sequence[Path]) -> list[int]:
    """Return the sizes of files, -1 of one that cannot be looked at: whoever reads it hears why."""
    sizes = []
    for path in paths:
        try:
            sizes.append(path.stat().st_size)
        except OSError:
            sizes.append(-1)
    return sizes


def labelled_images(dataset: str, sets: Sequence[str] = ()) -> Source:
    """Read a dataset.

    Args:
        dataset: a VOC, COCO or YOLO dataset, or `synthetic` for the embedded one.
        sets: which of its parts, such as train or val; none is all of them.

    Raises:
        UserError: there is no dataset, it has no such part, or its labels or images cannot be read.
    """
    if is_embedded(dataset):
        return _drawn(sets)
    found = detect_format(Path(dataset))
    names = [item.name for item in found.sets]
    unknown = [name for name in sets if name not in names and not _is_list(found, name)]
    if unknown:
        offered = ", ".join(names) or "no parts; leave --set out"
        raise UserError(f"--set {unknown[0]}: {dataset} has {offered}")
    if sets:
        parts = read_sets({name: config_of_sets(found, [name]) for name in sets})
    elif file_format(found.format).any_sets:
        parts = read_sets({"all": config_of_sets(found, [])})
    else:
        parts = read_sets(configs_of_sets(found))
    root = found.root if found.root.is_dir() else found.root.parent
    truth = join_sets(list(parts.values()), root) if len(parts) > 1 else next(iter(parts.values()))
    require_images(truth)
    truth = with_sizes(truth)
    return Source(truth, lambda image: decode_image(image_path(truth, image)))


def labels_of_image(dataset: str | Path, image: Path) -> AnnotationSet:
    """Return the labels of the one image of a dataset that has the name of a file.

    Raises:
        UserError: the dataset cannot be read, or has none or several of that name.
    """
    truth = labelled_images(str(dataset)).annotations
    names = [Path(str(file)).name for file in truth.image_files]
    if names.count(image.name) != 1:
        raise UserError(
            f"{dataset}: has {names.count(image.name)} images with the name {image.name}, not one"
        )
    return select_images(truth, [names.index(image.name)])


def split_names(dataset: str) -> list[str]:
    """Return the names of the parts of a dataset.

    Raises:
        UserError: there is no dataset.
    """
    if is_embedded(dataset):
        return list(NUM_SYNTHETIC)
    return [item.name for item in detect_format(Path(dataset)).sets]


def _is_list(found: FoundDataset, name: str) -> bool:
    """Return whether a set is given as a text file with the names of its images."""
    return file_format(found.format).any_sets and name.endswith(".txt") and Path(name).is_file()


def _drawn(sets: Sequence[str]) -> Source:
    names = list(NUM_SYNTHETIC)
    if len(sets) > 1 or not set(sets) <= set(names):
        raise UserError(f"--set {' '.join(sets)}: {SYNTHETIC} has {' and '.join(names)}, one at a time")
    images = embedded_set(sets[0] if sets else names[0])
    return Source(images.annotations(), images.render)


@dataclass(frozen=True)
class FoundImages:
    """N image files that files, folders and patterns name, and videos.

    Attributes:
        paths: the files, each once.
        names: what each is called: its path from the folder that was named on, or the name of the file;
            the whole path where others are called so.
        left_out: how many other files lie beside them, by extension.
        videos: the videos, where they were asked for.
    """

    paths: list[Path]
    names: list[str]
    left_out: Counter[str]
    videos: list[Video] = field(default_factory=list)


def warn_of_others(left_out: Counter[str]) -> None:
    """Say which files are left out because they are no images, if there are any."""
    if count := left_out.total():
        are = "is no image" if count == 1 else "are no images"
        say(f"warning: left out {counted(count, 'file')} that {are}: {_kinds(left_out)}")


def _kinds(others: Counter[str]) -> str:
    ranked = sorted(others.items(), key=lambda item: (-item[1], item[0] or "~"))
    kinds = [f"{cut(kind) or 'no extension'} {count:,}" for kind, count in ranked[:_MOST_KINDS]]
    return ", ".join([*kinds, *(["..."] if len(others) > _MOST_KINDS else [])])


def require_sources(sources: Sequence[str]) -> None:
    """Check that files and folders are there and may be images or videos; patterns are not looked up.

    Raises:
        UserError: as `find_images`.
    """
    for source in sources:
        if live_video(source):
            continue
        _require_local(source, _STREAMED)
        if not glob.has_magic(source) and not Path(source).exists():
            raise UserError(_NOWHERE.format(source))


def find_images(sources: str | Path | Sequence[str | Path], *, videos: bool = False) -> FoundImages:
    """Return the images that files, folders and glob patterns name.

    A file that is named itself is an image whatever it is called, unless that is a video's name; in a folder,
    and of what matches a pattern, the extension decides, and what is hidden (its name begins with a point) is
    passed over.

    Args:
        sources: files, folders and patterns.
        videos: whether videos are looked for, too, also cameras and streams (`live_video`).

    Raises:
        UserError: a source names nothing that exists, or no image, or is a video or on the network, where
            these are not asked for.
    """
    extensions = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS) if videos else IMAGE_EXTENSIONS
    found, live, left_out = dict[Path, str](), dict[str, Video](), Counter[str]()
    for source in [sources] if isinstance(sources, str | Path) else sources:
        if videos and (video := live_video(str(source))):
            live.setdefault(str(source), video)
            continue
        if videos:
            _require_local(source, _STREAMED)
        else:
            require_still(source)
        path, others = Path(source), Counter[str]()
        if path.is_dir():
            images = images_below(path, others, extensions)
        elif path.exists():
            images = [path]
        else:
            images = _matching(source, others, extensions)
        if not images:
            there = f"it holds {_kinds(others)}; " if others else ""
            raise UserError(
                f"{source}: no images in it; {there}looked for {', '.join(sorted(IMAGE_EXTENSIONS))}"
                + (" and videos" if videos else "")
            )
        left_out.update(others)
        for image in images:
            name = image.relative_to(path) if path in image.parents else Path(image.name)
            found.setdefault(image, name.as_posix())
    shared = {name for name, count in Counter(found.values()).items() if count > 1}
    named = {path: path.as_posix() if name in shared else name for path, name in found.items()}
    files = [Video.of_file(path, name) for path, name in named.items() if videos and _is_video(path)]
    stills = {path: name for path, name in named.items() if not (videos and _is_video(path))}
    return FoundImages(list(stills), list(stills.values()), left_out, [*files, *live.values()])


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_EXTENSIONS


def _matching(pattern: str | Path, others: Counter[str], extensions: Sequence[str]) -> list[Path]:
    """Return the images that match a pattern, and count the other files that do."""
    matches = sorted(Path(match) for match in glob.glob(str(pattern), recursive=True))  # noqa: PTH207 (absolute patterns)
    if not matches:
        raise UserError(_NOWHERE.format(pattern))
    images = [match for match in matches if match.suffix.lower() in extensions]
    others.update(match.suffix.lower() for match in matches if match not in images and not match.is_dir())
    return images


def has_wildcards(source: str | Path) -> bool:
    """Return whether a source that is no file is a pattern of names."""
    return glob.has_magic(str(source)) and not is_file(Path(source))


def require_still(source: str | Path) -> None:
    """Check that a source is on this machine, and no video.

    Raises:
        UserError: it is one of these; the message says what to do instead.
    """
    _require_local(source, "download the image and name its file")
    if _is_video(Path(source)) and not is_folder(Path(source)):
        raise UserError(
            f"{cut(str(source), 300)}: a video is not read here; detkit predict reads it (in Python, "
            "detkit.predict; `stream` takes frames as arrays)"
        )


def _require_local(source: str | Path, instead: str) -> None:
    if _ADDRESS.match(str(source)) and not (is_folder(Path(source)) or is_file(Path(source))):
        raise UserError(f"{cut(str(source), 300)}: detkit opens no connections; {instead}")
