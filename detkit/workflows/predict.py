"""`detkit predict`: run a trained detector on images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from detkit.capabilities import ShowsFilters
from detkit.data.datasets.named_images import FoundImages, find_images, warn_of_others
from detkit.data.images import decode_image, has_frames
from detkit.errors import UserError
from detkit.inference.model_file import model_path
from detkit.inference.prediction import Prediction
from detkit.inference.predictor import Predictor, predict_together
from detkit.inference.records import Records
from detkit.inference.results import (
    SKIPPED,
    ResultFormat,
    image_files,
    record,
    write_image_file,
    write_results,
)
from detkit.inference.score_floor import Aim
from detkit.names import drawn_files, file_names
from detkit.report.draw import draw_detections, write_image
from detkit.runs.predictor import build_predictor
from detkit.runtime.processes import from_main, process_group, rank
from detkit.runtime.progress import say
from detkit.storage.content_keys import file_stamp, key_of
from detkit.storage.run_folder import results_folder

DRAWN = "drawn"
FILTERS = "filters"
_WITH_FRAMES = (".gif", ".tif", ".tiff", ".webp", ".png")


def predict(
    weights: str | Path,
    sources: str | Path | Sequence[str | Path],
    *,
    out: str | Path | None = None,
    format: ResultFormat = "json",
    draw: bool = False,
    tile: int | None = None,
    augment: bool = False,
    threshold: float | Aim | None = None,
    device: str = "auto",
    allow_custom: bool = False,
    strict: bool = False,
    on_image: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Path, Records]:
    """Run a trained detector on images, write what it finds and draw it.

    Processes that torchrun started share the images; the first one writes. Memory does not grow with the
    number of images. An image that cannot be read is skipped, which is said, and its record says why. However
    this ends, the folder holds the results of the images that were done, and the same call does the others.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        sources: image files, folders (with all below them) and glob patterns.
        out: folder for the results, new or empty, or with what the same prediction left there, which goes on
            where it was stopped, with images that it skipped, and with drawings if there are none yet; None
            takes a new one in runs/.
        format: json, coco, voc, yolo or csv.
        draw: also write each image with its detections into drawn/, and into filters/ a picture of each
            class's filters for a model that has such (`detkit.capabilities.ShowsFilters`).
        tile: side of tiles in pixels, to find small objects in large images.
        augment: look at each image mirrored and in several sizes, too, as `evaluate.augment` of the model's
            config says, or its defaults.
        threshold: lowest score reported; f1, precision or recall take each class's own, and None the one of
            best F1 where the model file holds it, otherwise 0.5.
        device: auto, cpu, cuda, cuda:N or mps.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        strict: stop at the first image that cannot be read.
        on_image: called with images done and in all.

    Returns:
        The folder, and one record an image: image, width, height, detections and error, read from a file when
        it is asked for; `skipped` of the records lists the images that could not be read, `left_out` counts
        the files beside them that are no images, and `floors` says which scores are reported. No record in
        the processes that are not the first.

    Raises:
        UserError: the weights cannot be read, nothing matches a source, the threshold is none of these, or an
            image cannot be read and `strict` is set.
        KeyboardInterrupt: after Ctrl-C, when what was found is written.
    """
    weights, images = model_path(weights), find_images(sources)
    files = images.paths
    predictor = build_predictor(weights, device, allow_custom=allow_custom)
    what = (str(weights.absolute()), [str(file) for file in files], format, tile, threshold, augment)
    work = key_of(file_stamp(weights), *what)
    settings = {"threshold": threshold, "tile_px": tile, "augment": augment, "strict": strict}
    predict_together(predictor, [], **settings)  # what is wrong with them is said before there is a folder
    with process_group(predictor.session.device), ExitStack() as held:

        def again(folder: Path) -> bool:
            is_left = (folder / SKIPPED).exists() or (draw and not (folder / DRAWN).exists())
            return is_left and Records.are_of(work, folder)

        opened = results_folder(out, "predict", key_of("predict", *what), keep=True, again=again)
        results: list[_Results] = []  # in process 0

        def begin() -> tuple[Path, list[int]]:
            folder = held.enter_context(opened)
            warn_of_others(images.left_out)
            if draw:
                _draw_filters(predictor, folder / FILTERS)
            begun = _Results(folder, images, work, format, predictor, threshold, draw=draw)
            results.append(held.enter_context(begun))
            return folder, results[0].missing()

        folder, missing = from_main(begin)
        stream = predict_together(predictor, [files[place] for place in missing], **settings)
        held.callback(stream.close)  # its threads end
        if rank() != 0:
            deque(stream, maxlen=0)
            return folder, Records(None)
        for place, found in zip(missing, stream, strict=True):
            results[0].add(place, found)
            on_image(len(results[0].records), len(files))
    return folder, results[0].records


class _Results:
    """Files of a prediction: pictures and files of single images are written as they come, others at the end.

    Used as a `with`; however that ends, the files hold what was found.
    """

    def __init__(
        self,
        folder: Path,
        images: FoundImages,
        work: str,
        result_format: ResultFormat,
        predictor: Predictor,
        threshold: float | Aim | None,
        *,
        draw: bool,
    ) -> None:
        files = images.paths
        self._own_files = image_files(files, folder, result_format)
        self._drawings = [folder / DRAWN / file for file in drawn_files(images.names)] if draw else None
        self._folder, self._files, self._format = folder, files, result_format
        self._predictor, self._said_frames = predictor, False
        stamps = [file_stamp(file) for file in files]
        self.records = Records(
            folder, work, stamps, images.left_out.total(), predictor.describe_floors(threshold)
        )

    def missing(self) -> list[int]:
        """Return the places of the images that have no record, or are to be drawn and are not."""
        left = set(self.records.missing())
        left.update(place for place, file in enumerate(self._drawings or ()) if not file.exists())
        return sorted(left)

    def add(self, place: int, found: Prediction) -> None:
        """Write what was found in the image at a place, and say what is odd about it."""
        source = self._files[place]
        if found.error is not None:
            say(f"warning: {found.error}; skipped")
        else:
            if self._own_files is not None:
                write_image_file(self._own_files[place], found, self._format)
            if self._drawings is not None:
                shown = _best(found) if self._predictor.classifies_images else found
                _draw(shown, source, self._drawings[place], self._predictor.classes)
            if not self._said_frames and source.suffix.lower() in _WITH_FRAMES and has_frames(source):
                self._said_frames = True
                say(f"warning: {source}: has several frames or pages; of all such the first is taken")
        self.records.add(place, record(found, self._predictor.category_ids))

    def __enter__(self) -> _Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = len(self.records)
        if error is None:
            write_results(self.records, self._files, self._folder, self._format)
        elif done:
            with suppress(UserError, OSError):  # as on a full disk: the records are kept
                write_results(self.records, self._files, self._folder, self._format)
        if error is not None and not done:
            self.records.discard()
        elif isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(
                f"stopped by Ctrl-C; the results of {done} of {len(self._files)} images are in "
                f"{self._folder}: the same command, with it as --out, does the others"
            ) from None


def _best(found: Prediction) -> Prediction:
    """Return the likeliest class alone: all have the image as their box, and one would hide another."""
    return found[:1]


def _draw(found: Prediction, source: Path, file: Path, classes: Sequence[str]) -> None:
    """Write an image with its detections."""
    pixels = decode_image(source)
    drawn = draw_detections(
        pixels,
        found.boxes,
        found.labels,
        found.scores,
        classes,
        parts=found.parts,
        keypoints=found.keypoints,
        skeleton=found.skeleton,
    )
    write_image(file, drawn)


def _draw_filters(predictor: Predictor, folder: Path) -> None:
    """Write a picture of each class's filters, where the model has any to show."""
    if isinstance(predictor.model, ShowsFilters):
        names = file_names(predictor.classes)
        for name, picture in zip(names, predictor.model.filter_pictures(), strict=True):
            write_image(folder / f"{name}.png", picture)
