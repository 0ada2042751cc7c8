"""`detkit predict`: run a trained detector on images and videos."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from time import time_ns
from typing import Any

from detkit.data.datasets.named_images import FoundImages, find_images, warn_of_others
from detkit.errors import UserError
from detkit.inference.model_file import model_path
from detkit.inference.predictor import Predictor, predict_together
from detkit.inference.records import Records
from detkit.inference.results import FORMATS, SKIPPED, ResultFormat
from detkit.inference.score_floor import Aim
from detkit.ops.nms import Decay
from detkit.runs.predictions import DRAWN, PredictionFolder, stamps_of
from detkit.runs.predictor import build_predictor
from detkit.runtime.processes import from_main, process_group, rank, world_size
from detkit.storage.content_keys import file_stamp, key_of
from detkit.storage.run_folder import results_folder


def predict(
    weights: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    format: ResultFormat | None = None,
    draw: bool = False,
    crops: bool = False,
    tile: int | None = None,
    augment: bool = False,
    threshold: float | Aim | None = None,
    classes: Sequence[str] | None = None,
    soft_nms: Decay | None = None,
    every: int = 1,
    device: str = "auto",
    allow_custom: bool = False,
    strict: bool = False,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Records]:
    """Run a trained detector on images and videos, write what it finds and draw it.

    Processes that torchrun started share the images; the first one writes. Memory does not grow with the
    number of images or frames. What cannot be read is skipped, which is said, and its record says why.
    However this ends, the folder holds the results of what was done, and the same call does the rest.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        sources: files of images and videos, folders (with all below them), glob patterns, cameras ("0",
            "camera:0") and addresses of streams ("rtsp://..."), which are the only ones opened.
        out: folder for the results, new or empty, or with what the same prediction left there, which goes on
            where it was stopped, with what it skipped, and with drawings if there are none yet; None takes a
            new one in runs/.
        format: json, jsonl, coco, voc, yolo, csv, cvat or labelstudio; None takes jsonl where there are
            videos, and otherwise json.
        draw: also write each image and video with its detections into drawn/, and into filters/ a picture of
            each class's filters for a model that has such (`detkit.capabilities.ShowsFilters`).
        crops: also write what is in each box into crops/CLASS/.
        tile: side of tiles in pixels, to find small objects in large images.
        augment: look at each image mirrored and in several sizes, too, as `evaluate.augment` of the model's
            config says, or its defaults.
        threshold: lowest score reported; f1, precision or recall take each class's own, and None the one of
            best F1 where the model file holds it, otherwise 0.5.
        classes: names of the classes that are reported; None reports all.
        soft_nms: linear or gaussian lowers the scores of overlapping boxes instead of dropping the boxes;
            None does as the model's config says.
        every: look at every so many-th frame of videos; of a camera or a stream at the newest, so far apart.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        strict: stop at the first image or video that cannot be read.
        on_image: called with how many images and frames are done, and how many there are in all, 0 where that
            is not known.

    Returns:
        The folder, and one record an image or frame, see `detkit.inference.results.record`, read from a file
        when it is asked for; `skipped` of the records lists what could not be read, `left_out` counts the
        files beside them that are no images, and `floors` says which scores are reported. No record in the
        processes that are not the first.

    Raises:
        UserError: the weights cannot be read, nothing matches a source, an option is none of these, or an
            image cannot be read and `strict` is set.
        KeyboardInterrupt: after Ctrl-C, when what was found is written.
    """
    file, found = model_path(weights), find_images(sources, videos=True)
    format = format or ("jsonl" if found.videos else "json")
    _require(format, every, found)
    predictor = build_predictor(file, device, allow_custom=allow_custom, soft_nms=soft_nms)
    chosen = None if classes is None else [*classes]
    what = (
        *(str(file.absolute()), [str(path) for path in found.paths], format, tile, threshold, augment),
        *([str(video.address) for video in found.videos], crops, chosen, soft_nms, every),
        time_ns() if any(video.is_live for video in found.videos) else None,  # nobody goes on with those
    )
    work = key_of(file_stamp(file), *what)
    settings: dict[str, Any] = {"threshold": threshold, "only": chosen, "tile_px": tile, "augment": augment}
    settings["strict"] = strict
    predict_together(predictor, [], **settings)  # what is wrong with them is said before there is a folder

    def again(folder: Path) -> bool:
        is_left = (folder / SKIPPED).exists() or (draw and not (folder / DRAWN).exists())
        return is_left and Records.are_of(work, folder)

    def begun(folder: Path) -> PredictionFolder:
        floors = predictor.describe_floors(threshold, chosen)
        records = Records(folder, work, stamps_of(found), found.left_out.total(), floors)
        name = "/".join(file.absolute().parts[-2:])
        return PredictionFolder(folder, found, records, format, predictor, model=name, draw=draw, crops=crops)

    opened = results_folder(out, "predict", key_of("predict", *what), keep=True, again=again)
    return _predict_into(opened, begun, found, predictor, settings, every, on_image)


def _predict_into(
    opened: AbstractContextManager[Path],
    begun: Callable[[Path], PredictionFolder],
    found: FoundImages,
    predictor: Predictor,
    settings: dict[str, Any],
    every: int,
    on_image: Callable[[int, int], None],
) -> tuple[Path, Records]:
    """Predict what is not done in a folder, images by all processes, and return it with its records."""
    with process_group(predictor.session.device), ExitStack() as held:
        kept: list[PredictionFolder] = []  # in process 0

        def begin() -> tuple[Path, tuple[list[int], list[int]]]:
            folder = held.enter_context(opened)
            warn_of_others(found.left_out)
            kept.append(held.enter_context(begun(folder)))
            return folder, kept[0].missing()

        folder, (images, videos) = from_main(begin)
        stream = predict_together(predictor, [found.paths[place] for place in images], **settings)
        held.callback(stream.close)  # its threads end
        if rank() != 0:
            deque(stream, maxlen=0)
            return folder, Records(None)
        records = kept[0].records
        for place, prediction in zip(images, stream, strict=True):
            kept[0].add(place, prediction)
            on_image(len(records), len(found.paths))
        for place in videos:
            others = sum(other != place for other in records.places)

            def on_frame(total: int | None, others: int = others) -> None:
                on_image(len(records), others + total if total else 0)

            kept[0].add_video(place, settings, every, on_frame)
    return folder, records


def _require(format: str, every: int, found: FoundImages) -> None:
    if format not in FORMATS:
        raise UserError(f"format: one of {', '.join(FORMATS)}; got {format!r}")
    if every < 1:
        raise UserError(f"every: at least 1; got {every}")
    if found.videos and world_size() > 1:
        raise UserError(f"{found.videos[0].shown}: a video is read by one process, without torchrun")
