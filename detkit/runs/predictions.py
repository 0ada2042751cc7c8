"""Folder of a prediction: records, result files, drawings and crops, written as images and frames come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np

from detkit.capabilities import ShowsFilters
from detkit.data.datasets.named_images import FoundImages
from detkit.data.images import Pixels, decode_image, has_frames
from detkit.data.videos import OpenVideo, VideoFile, opened
from detkit.errors import UserError
from detkit.inference.formats import About
from detkit.inference.prediction import Prediction
from detkit.inference.predictor import Predictor
from detkit.inference.records import Records
from detkit.inference.results import ResultFiles, ResultFormat, record
from detkit.names import drawn_files, file_names
from detkit.report.draw import draw_detections, write_image
from detkit.runtime.progress import say
from detkit.storage.content_keys import file_stamp

DRAWN, FILTERS, CROPS = "drawn", "filters", "crops"
_WITH_FRAMES = (".gif", ".tif", ".tiff", ".webp", ".png")


class PredictionFolder:
    """What is kept of a prediction: what belongs to one image is written as it comes, the rest at the end.

    Used as a `with`; however that ends, the files hold what was found.

    Args:
        folder: where it goes.
        found: the images and videos.
        records: what was found in them before, and is kept there.
        result_format: see `ResultFiles`.
        predictor: the detector.
        model: its name, in files that say it.
        draw: draw the detections into copies of the images and videos.
        crops: write each detection's part of the image.

    Raises:
        UserError: two images would have one file.
    """

    def __init__(
        self,
        folder: Path,
        found: FoundImages,
        records: Records,
        result_format: ResultFormat,
        predictor: Predictor,
        *,
        model: str,
        draw: bool,
        crops: bool,
    ) -> None:
        self.records, self._folder, self._found, self._predictor = records, folder, found, predictor
        videos = [video.name for video in found.videos]
        about = About(predictor.classes, predictor.category_ids, model)
        self._files = ResultFiles(folder, result_format, found.paths, found.names, videos, about)
        self._stems = [file.with_suffix("") for file in drawn_files(found.names)]
        self._video_stems = [file.with_suffix("") for file in drawn_files(videos)]
        self._draws, self._said_frames = draw, False
        self._crop_folders = [folder / CROPS / name for name in file_names(predictor.classes)]
        self._crops = crops
        if draw:
            self._draw_filters()

    def missing(self) -> tuple[list[int], list[int]]:
        """Return the places of the images, and of the videos behind them, that are not all done."""
        left = set(self.records.missing())
        if self._draws:
            files = [self._drawing(self._stems, place, ".jpg") for place in range(len(self._stems))]
            files += [
                self._drawing(self._video_stems, place, ".mp4") for place in range(len(self._video_stems))
            ]
            left.update(place for place, file in enumerate(files) if not file.exists())
        first = len(self._found.paths)
        return sorted(p for p in left if p < first), sorted(p for p in left if p >= first)

    def _drawing(self, stems: Sequence[PurePath], place: int, ending: str) -> Path:
        return self._folder / DRAWN / stems[place].with_name(f"{stems[place].name}{ending}")

    def add(self, place: int, found: Prediction) -> None:
        """Write what was found in the image at a place, and say what is odd about it."""
        source = self._found.paths[place]
        if found.error is not None:
            say(f"warning: {found.error}; skipped")
        elif self._draws or self._crops:
            pixels = decode_image(source)
            if self._draws:
                write_image(self._drawing(self._stems, place, ".jpg"), self._drawn(pixels, found))
            self._write_crops(pixels, found, self._stems[place])
        if found.error is None and not self._said_frames and source.suffix.lower() in _WITH_FRAMES:
            self._said_frames = has_frames(source)
            if self._said_frames:
                say(f"warning: {source}: has several frames or pages; of all such the first is taken")
        self._keep(place, found)

    def _keep(self, place: int, found: Prediction) -> None:
        made = record(found, self._predictor.category_ids)
        self._files.add(place, found, made)
        self.records.add(place, made)

    def add_video(
        self, place: int, settings: dict[str, Any], every: int, on_frame: Callable[[int | None], None]
    ) -> None:
        """Find objects in the frames of the video at a place that are not done, and write what was found.

        Args:
            place: of the video, behind those of the images.
            settings: see `Predictor.stream`.
            every: only every so many-th frame is looked at.
            on_frame: called after each with how many are looked at in all, None where that is not known.

        Raises:
            UserError: it cannot be read and the settings are strict; its frames up to there are kept.
        """
        video = self._found.videos[place - len(self._found.paths)]
        try:
            with opened(video) as source:
                self._add_frames(place, source, settings, every, on_frame)
        except UserError as error:
            if settings["strict"]:
                raise
            say(f"warning: {error}; skipped from there on")
            unread = Prediction.unread(
                video.shown, str(error), self._predictor.classes, self._predictor.category_ids
            )
            self._keep(place, unread)
        else:
            self.records.end(place)

    def _add_frames(
        self,
        place: int,
        source: OpenVideo,
        settings: dict[str, Any],
        every: int,
        on_frame: Callable[[int | None], None],
    ) -> None:
        number = place - len(self._found.paths)
        shown, ended = self._found.videos[number].shown, list[UserError]()
        waiting = deque[tuple[int, float]]()  # frames that are on their way through the detector
        total = None if source.num_frames is None else -(-source.num_frames // every)
        with ExitStack() as held:
            drawing = None
            if self._draws:
                file = self._drawing(self._video_stems, number, ".mp4")
                drawing = held.enter_context(VideoFile(file, source.fps / every))

            def new_frames() -> Iterator[Pixels]:
                try:
                    for frame in source.frames(every):
                        before = None if waiting else self.records.of_frame(place, frame.number)
                        if before is None:
                            waiting.append((frame.number, frame.time_s))
                            yield frame.pixels
                        elif drawing is not None:
                            drawing.add(self._drawn(frame.pixels, self._of_record(before)), frame.time_s)
                except UserError as error:  # what is on its way comes first
                    ended.append(error)

            stream = self._predictor.stream(new_frames(), **settings)
            held.callback(stream.close)
            for found in stream:
                frame, time_s = waiting.popleft()
                one = replace(found, source=shown, frame=frame, time_s=time_s)
                pixels = one.pixels
                assert pixels is not None
                if drawing is not None:
                    drawing.add(self._drawn(pixels, one), time_s)
                self._write_crops(pixels, one, self._video_stems[number] / f"frame_{frame:06d}")
                self._keep(place, one)
                on_frame(total)
        if ended:
            raise ended[0]

    def _of_record(self, kept: dict[str, Any]) -> Prediction:
        """Return what was found in a frame before, as far as it is drawn."""
        known, found = self._predictor.classes, kept["detections"]
        names = tuple(one["label"] for one in found)
        return Prediction(
            None,
            (kept["height"], kept["width"]),
            np.array([one["box"] for one in found], np.float32).reshape(-1, 4),
            np.array([one["score"] for one in found], np.float32),
            np.array([known.index(name) for name in names], np.int64),
            names,
            classes=known,
            category_ids=self._predictor.category_ids,
        )

    def _drawn(self, pixels: Pixels, found: Prediction) -> Pixels:
        # Of a classifier the likeliest class alone: all have the image as their box, and would hide another.
        best = found[:1] if self._predictor.classifies_images else found
        return draw_detections(
            pixels,
            best.boxes,
            best.labels,
            best.scores,
            self._predictor.classes,
            parts=best.parts,
            keypoints=best.keypoints,
            skeleton=best.skeleton,
        )

    def _write_crops(self, pixels: Pixels, found: Prediction, stem: PurePath) -> None:
        if not self._crops:
            return
        for number, (box, label) in enumerate(zip(found.boxes, found.labels.tolist(), strict=True), 1):
            x1, y1 = np.floor(box[:2]).astype(int).clip(0)
            x2, y2 = np.ceil(box[2:]).astype(int)
            crop = pixels[y1:y2, x1:x2]
            if crop.size:
                write_image(self._crop_folders[label] / stem.with_name(f"{stem.name}_{number}.jpg"), crop)

    def _draw_filters(self) -> None:
        """Write a picture of each class's filters, where the model has any to show."""
        model, folder = self._predictor.model, self._folder / FILTERS
        if isinstance(model, ShowsFilters):
            names = file_names(self._predictor.classes)
            for name, picture in zip(names, model.filter_pictures(), strict=True):
                write_image(folder / f"{name}.png", picture)

    def __enter__(self) -> PredictionFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done, things = len(self.records), "frames" if self._found.videos else "images"
        with self._files:
            if error is None:
                self._files.write(self.records)
            elif done:
                with suppress(UserError, OSError):  # as on a full disk: the records are kept
                    self._files.write(self.records)
        if error is not None and not done:
            self.records.discard()
        elif isinstance(error, KeyboardInterrupt):
            of = "" if self._found.videos else f" of {len(self._found.paths)}"
            goes_on = (
                ""
                if any(video.is_live for video in self._found.videos)
                else (": the same command, with it as --out, does the others")
            )
            raise KeyboardInterrupt(
                f"stopped by Ctrl-C; the results of {done}{of} {things} are in {self._folder}{goes_on}"
            ) from None


def stamps_of(found: FoundImages) -> list[str]:
    """Return for each image and video what changes when its file is replaced."""
    return [*map(file_stamp, found.paths), *(file_stamp(str(video.address)) for video in found.videos)]
