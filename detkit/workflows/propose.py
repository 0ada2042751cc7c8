"""`detkit propose`: find where objects may be, and keep it in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.data.datasets.named_images import NamedImages, named_images, warn_of_others
from detkit.data.regions.propose_images import propose_images
from detkit.errors import UserError
from detkit.proposals.store.parts import StoreParts
from detkit.proposals.store.store import Origin
from detkit.report.proposal_drawings import draw_proposals
from detkit.runs.proposal_method import Method, find_method
from detkit.runtime.cores import num_cores
from detkit.runtime.progress import say
from detkit.storage.content_keys import key_of


@dataclass(frozen=True)
class Proposed:
    """What `propose` did.

    Attributes:
        method: its name.
        images: how many were looked at, in this run or before.
        boxes_per_image: mean.
        seconds_per_image: mean time that the method took for one image; None where it was done before.
        note: where the boxes are, or what is still to be done.
        drawings: folder of the pictures, where they were wanted.
        skipped: image and error of each that this run could not read; the file is without them.
        left_out: how many files beside the images are none.
    """

    method: str
    images: int
    boxes_per_image: float
    seconds_per_image: float | None
    note: str
    drawings: Path | None = None
    skipped: tuple[dict[str, str], ...] = ()
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` writes."""
        return {
            "method": self.method,
            "images": self.images,
            "boxes_per_image": self.boxes_per_image,
            "seconds_per_image": self.seconds_per_image,
            "skipped": list(self.skipped),
            "left_out": self.left_out,
        }


def propose(
    method: str | Path,
    sources: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    overrides: Sequence[str] = (),
    sets: Sequence[str] = (),
    shard: tuple[int, int] | None = None,
    merge: bool = False,
    draw: bool = False,
    device: str = "auto",
    allow_custom: bool = False,
    strict: bool = False,
) -> Proposed:
    """Find the proposals of many images and write them into one file.

    What is done stays in a folder beside the file until all is done, so that the same call goes on with it.
    An image that cannot be read is skipped, which is said, and the file is without it; the same call tries it
    once more, and adds it to the file.

    Args:
        method: selective_search, edge_boxes, sliding_window, or a model.safetensors of a Faster R-CNN.
        sources: a dataset, or image files, folders and patterns.
        out: the file, new.
        overrides: parameters of the method, such as "mode=quality".
        sets: parts of the dataset, such as train.
        shard: (i, n) does only the i-th of n equal shares, 1 <= i <= n; the file is written by `merge`.
        merge: only write the file from what shards have done.
        draw: also draw the best box of each object, or the first boxes where there are no labels.
        device: where a model runs.
        allow_custom: let a model file run code that it names (`type: custom`); what runs is said.
        strict: stop at the first image that cannot be read.

    Raises:
        UserError: something in this is wrong, shards are missing for `merge`, no image can be read, or one
            cannot and `strict` is set.
        KeyboardInterrupt: after Ctrl-C, when what is done is kept.
    """
    out = Path(out)
    _check(out, shard, merge, draw)
    chosen = find_method(str(method), overrides, device, allow_custom=allow_custom)
    images = named_images(sources, sets)
    warn_of_others(images.left_out)
    beside = images.left_out.total()
    count = len(images.names)

    def origin_of(kept: Sequence[int]) -> Origin:
        names, stamps = ([values[image] for image in kept] for values in (images.names, images.stamps))
        key = key_of(chosen.name, chosen.parameters, names, stamps)
        return Origin(chosen.name, chosen.parameters, key)

    parts = StoreParts(out, images.names, origin_of(range(count)), origin_of)
    wanted, skipped = _share(count, shard), dict[int, str]()
    if parts.is_joined() and (merge or shard is not None or not parts.missing(wanted)):
        say(f"{out}: these proposals are there already")
    elif not merge:
        skipped = _look(parts, wanted, images, chosen, strict=strict)
    listed = tuple({"image": images.names[image], "error": error} for image, error in skipped.items())
    if len(skipped) == count:
        raise UserError(skipped[0], f"none of {len(skipped)} images can be read")
    if shard is not None and not parts.is_joined():
        done = parts.summary(wanted)
        left = len(set(parts.missing(range(count))) - skipped.keys())
        note = f"{left} images are left to the other shards" if left else "all shards are done"
        note += "; the same command with --merge instead of --shard writes the file"
        return Proposed(chosen.name, *done, note, None, listed, beside)
    store = parts.join(skipped)
    there = set(store.names)
    without = {image for image, name in enumerate(images.names) if name not in there}
    folder = draw_proposals(store, images.without(without), out) if draw else None
    about = store.num_boxes / max(len(store), 1), store.origin.seconds / max(len(store), 1) or None
    return Proposed(chosen.name, len(store), *about, f"the proposals are in {out}", folder, listed, beside)


def _check(out: Path, shard: tuple[int, int] | None, merge: bool, draw: bool) -> None:
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: the file's name must end in .safetensors")
    if shard is not None and (merge or draw):
        other = "--merge" if merge else "--draw"
        raise UserError(f"--shard and {other}: a shard holds a part of the images; leave one of the two out")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise UserError(f"--shard {shard[0]}/{shard[1]}: the first number goes from 1 to the second")


def _share(count: int, shard: tuple[int, int] | None) -> range:
    if shard is None:
        return range(count)
    part, parts = shard
    return range(count * (part - 1) // parts, count * part // parts)


def _look(
    parts: StoreParts, wanted: range, images: NamedImages, method: Method, *, strict: bool
) -> dict[int, str]:
    """Look at the images that are not done yet, and return why some were skipped, by their positions."""
    missing, skipped = len(parts.missing(wanted)), dict[int, str]()
    if not missing:
        return skipped

    def skip(image: int, error: str) -> None:
        skipped[image] = error
        say(f"warning: {error}; skipped")

    cores = num_cores()
    # One image alone may use all cores; of many, each uses one.
    proposer = method.build(max(1, cores // missing))
    threads = max(2, cores) if method.by_model else cores
    try:
        propose_images(
            parts, wanted, images.pixels, proposer, num_threads=threads, skip=None if strict else skip
        )
    except KeyboardInterrupt:
        left = len(parts.missing(wanted))
        raise KeyboardInterrupt(
            f"stopped by Ctrl-C; {len(wanted) - left} of {len(wanted)} images are kept in {parts.folder}: "
            "the same command goes on with the others"
        ) from None
    return skipped
