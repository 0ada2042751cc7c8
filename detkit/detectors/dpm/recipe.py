"""The training of a DPM, a class at a time: roots, mixtures of them, parts, boxes of objects, and context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from detkit.data.loading.samples import DetectionDataset, Key
from detkit.data.transforms.builder import eval_transforms
from detkit.detectors.dpm.cascade import CascadeStages
from detkit.detectors.dpm.config import DPMConfig, LatentSVMConfig, RoundsConfig
from detkit.detectors.dpm.context import fit_context, order_kept
from detkit.detectors.dpm.context_examples import described_detections
from detkit.detectors.dpm.descent import Descent, FitLimits, Rounds, find_objects, train_round
from detkit.detectors.dpm.examples import ClassImages, PlacedObject
from detkit.detectors.dpm.first_filters import (
    DEFORMATION,
    faces_left,
    mirrored,
    parts_of_root,
    root_size,
    shape_groups,
    warped,
)
from detkit.detectors.dpm.model import DPM
from detkit.detectors.dpm.object_boxes import fit_boxes
from detkit.detectors.dpm.stage_files import (
    read_boxes,
    read_cubic,
    read_descent,
    read_found,
    read_stars,
    write_boxes,
    write_cubic,
    write_descent,
    write_found,
    write_stars,
)
from detkit.detectors.dpm.stars import Mixture
from detkit.detectors.dpm.trained_cascade import few_channels, stages_of_objects
from detkit.detectors.dpm.weights import BIAS, StarWeights
from detkit.detectors.staged_recipe import stage_inputs
from detkit.detectors.task import Progress, Task
from detkit.errors import UserError
from detkit.models.hog.dpm_features import dpm_features
from detkit.models.hog.feature_pyramid import FeaturePyramid
from detkit.models.roi.decision import NEVER
from detkit.runtime.processes import barrier, rank, world_size
from detkit.runtime.progress import ProgressLine, say
from detkit.training.staged.stages import Artefact, Stages

Array = NDArray[Any]

OWN = {
    "roots": ("roots", "root_area_px"),
    "mixture": ("mixture",),
    "parts": ("parts", "last"),
    "boxes": ("box_ridge",),
}
"""Keys of `train` that each stage alone depends on."""

STAGES = tuple(OWN)
CONTEXT = "context"
SEARCHED = {"interval", "nms_share", "cascade", "context"}
"""How what was learned is searched for, which is no matter of the stages before."""

_ORDER, _FACING, _RANDOM, _PARTS, _CHANNELS = 21, 22, 23, 24, 25  # keep random streams apart


def train_dpm(task: Task) -> Progress:
    """Train the star models of all classes, unless that is done; the detector is left in the task's folder.

    Raises:
        UserError: an image cannot be read, or there are no negatives.
        KeyboardInterrupt: after Ctrl-C; the stage is resumed with the training.

    Reference: Felzenszwalb et al., PAMI 2010; voc-release5, as docs/papers/dpm.md says.
    """
    if task.from_weights is not None:
        raise UserError("--from: a dpm starts from no weights; its filters are fitted from scratch")
    training = _Training.of(task)
    stages = Stages(task.folder, [*STAGES, CONTEXT] if training.detector.context else STAGES, say)
    before: dict[str, Artefact] = {}
    for name, make in (("roots", training.roots), ("mixture", training.mixture), ("parts", training.parts)):
        inputs = {**training.inputs(*OWN[name]), **before}
        training.last = stages.run(name, inputs, partial(training.each_class, make))
        before = {name: training.last}
    cascade = training.detector.model_dump(include={"cascade"})
    inputs = {**training.inputs(*OWN["boxes"]), **before, **cascade}
    boxes = stages.run("boxes", inputs, partial(training.each_class, training.boxes))
    model = cast(DPM, task.initial_model())
    training.fill(model, boxes)
    if model.context is not None:
        # With all classes: what one was found to be counts for the others.
        searched = training.detector.model_dump(include=SEARCHED)
        found = stages.run(CONTEXT, {"boxes": boxes, **searched}, partial(training.context, model))
        training.fill_context(model.context, found)
    if rank() == 0:
        task.save(model)
    barrier()
    return Progress(0, 0.0)


@dataclass
class _Training:
    """The training of all classes of a process.

    Attributes:
        task: what is trained.
        images: as a test sees them.
        last: what the stage before made.
    """

    task: Task
    images: DetectionDataset
    last: Artefact | None = None

    @staticmethod
    def of(task: Task) -> _Training:
        return _Training(task, DetectionDataset.of(task.train_set, eval_transforms(task.data), seed=0))

    @property
    def detector(self) -> DPMConfig:
        return cast(DPMConfig, self.task.detector)

    @property
    def how(self) -> LatentSVMConfig:
        return cast(LatentSVMConfig, self.task.train)

    @property
    def limits(self) -> FitLimits:
        how = self.how
        return FitLimits(how.c, how.positive_weight, how.max_negatives, how.memory_mb)

    def inputs(self, *own: str) -> dict[str, Any]:
        """Return what a stage depends on besides the one before; `own` are those of `train` it has alone."""
        others = {key for keys in OWN.values() for key in keys if key not in own}
        return {
            **stage_inputs(self.task),
            "detector": self.detector.model_dump(exclude=SEARCHED),
            "train": self.how.model_dump(exclude=others),
        }

    def class_images(self, label: int) -> ClassImages:
        """Return the training images for one class."""
        how, detector = self.how, self.detector
        return ClassImages(
            images=self.images,
            label=label,
            num_classes=self.task.num_classes,
            pyramid=FeaturePyramid(detector.cell_px, how.interval, detector.extra_octave),
            min_iou=how.min_iou,
            negative_iou=how.negative_iou,
            hard_per_image=how.hard_per_image,
            num_threads=torch.get_num_threads(),
            most=how.object_images,
        )

    def each_class(self, make: Callable[[int, Path], None], part: Path) -> None:
        """Make the files of this process's classes that are not there yet, in the folder of a stage."""
        part.mkdir(parents=True, exist_ok=True)
        for label in range(rank(), self.task.num_classes, world_size()):
            file = _file(part, label)
            if not file.exists():
                make(label, file)

    def _chance(self, what: int, label: int, *more: int) -> np.random.Generator:
        return np.random.default_rng([what, self.task.seed, label, *more])

    def _background(self, images: ClassImages, *, few: bool) -> list[int]:
        """Return the images to mine, in the order of the mining."""
        found = images.with_negatives()
        if not found:
            raise UserError(
                f"train.negative_iou: null takes negatives from images without {self._name(images.label)}, "
                "and there are none; 0.3 takes them from all images, away from objects"
            )
        order = self._chance(_ORDER, images.label).permutation(len(found))
        return [found[place] for place in order[: self.how.few_images if few else None]]

    def _name(self, label: int) -> str:
        return self.task.data.classes[label]

    def roots(self, label: int, file: Path) -> None:
        """Train the roots of a class, each on objects of its shape."""
        images, stars = self.class_images(label), list[StarWeights]()
        objects = images.with_objects()
        boxes = [images.objects(image)[1] for image in objects]
        groups = shape_groups(np.concatenate(boxes), self.detector.components) if boxes else []
        for number, shapes in enumerate(groups):
            own = replace(images, shapes=shapes)
            with_own = own.with_objects()
            what = f"{self._name(label)}, root {number + 1} of {len(groups)}"
            begun = partial(self._first_root, own, with_own, number, what)
            place = file.with_name(f"{file.stem}_{number}.safetensors")
            stars += self._trained(begun, own, with_own, self.how.roots, place, what, few=True)
        if not groups:
            say(f"{self._name(label)}: has no objects to learn from; nothing will be found")
        write_stars(file, stars)
        for number in range(len(groups)):
            file.with_name(f"{file.stem}_{number}.safetensors").unlink(missing_ok=True)

    def _first_root(
        self, images: ClassImages, objects: Sequence[int], number: int, what: str
    ) -> list[StarWeights]:
        """Return a root fitted to warped objects, all turned to face one side, and to random windows."""
        detector, label = self.detector, images.label
        read = [images.objects(image) for image in objects]
        size = root_size(
            np.concatenate([boxes for _, boxes in read]), detector.cell_px, self.how.root_area_px
        )
        if detector.roots is not None and number < len(detector.roots[label]):
            size = detector.roots[label][number]
        features = np.stack(
            [warped(pixels, box, size, detector.cell_px) for pixels, boxes in read for box in boxes]
        )
        if detector.mirrored:
            turned = faces_left(features, self._chance(_FACING, label, number))
            features[turned] = mirrored(features[turned])
        star = StarWeights.of_root(size, detector.part_size, mirrored=False)
        state = Descent.begin([star])
        background = self._background(images, few=self.how.last is None)
        each = max(self.how.max_negatives // len(background), 1)
        with ProgressLine(f"{what}: random windows", len(background)) as progress:
            for done, image in enumerate(background, 1):
                chance = self._chance(_RANDOM, label, number, image)
                state.add([images.random_negatives(star, image, each, chance)])
                progress(done)
                if done * each >= self.how.max_negatives:
                    break
        state.fit([_warped_positive(star, own) for own in features], self.limits)
        return [replace(state.stars[0], mirrored=detector.mirrored)]

    def mixture(self, label: int, file: Path) -> None:
        """Train all roots of a class together."""
        self._with_all(label, file, self.how.mixture, self._stars_before, "mixture", few=True)

    def parts(self, label: int, file: Path) -> None:
        """Give the roots of a class parts, and train all; then with the negatives of all images."""
        last = self.how.last
        if last is None:
            self._with_all(label, file, self.how.parts, self._with_parts, "parts", few=True)
            return
        between = file.with_name(f"{file.stem}_few.safetensors")
        if not between.exists():
            self._with_all(label, between, self.how.parts, self._with_parts, "parts", few=True)

        def trained(_: int) -> list[StarWeights]:
            return read_stars(between, self.detector)

        self._with_all(label, file, last, trained, "all images", few=False)
        between.unlink()

    def _stars_before(self, label: int) -> list[StarWeights]:
        assert self.last is not None
        return read_stars(_file(self.last.path, label), self.detector)

    def _with_parts(self, label: int) -> list[StarWeights]:
        """Return the stars of the stage before with parts, where the detector has some."""
        stars, detector = self._stars_before(label), self.detector
        if not detector.parts:
            return stars
        found = []
        for number, star in enumerate(stars):
            chance = self._chance(_PARTS, label, number)
            root = star.split(star.values)[0]
            found.append(
                star.with_parts(*parts_of_root(root, detector.parts, detector.part_size, chance), DEFORMATION)
            )
        return found

    def _with_all(
        self,
        label: int,
        file: Path,
        rounds: RoundsConfig,
        begin: Callable[[int], list[StarWeights]],
        what: str,
        *,
        few: bool,
    ) -> None:
        images = self.class_images(label)
        what = f"{self._name(label)}, {what}"
        place = file.with_name(f"{file.stem}_state.safetensors")
        objects = images.with_objects()
        stars = self._trained(partial(begin, label), images, objects, rounds, place, what, few=few)
        write_stars(file, stars)
        place.unlink(missing_ok=True)

    def _trained(
        self,
        begin: Callable[[], list[StarWeights]],
        images: ClassImages,
        objects: Sequence[int],
        rounds: RoundsConfig,
        file: Path,
        what: str,
        *,
        few: bool,
    ) -> list[StarWeights]:
        """Return the stars after so many rounds; what an earlier attempt left in the file is gone on with."""
        state = read_descent(file, self.detector) if file.exists() else Descent.begin(begin())
        if not state.stars:
            return []
        how = Rounds(rounds.find_objects, rounds.mine)
        background = self._background(images, few=few)
        while state.done < how.find_objects and not state.settled:
            train_round(state, images, objects, background, how, self.limits, what)
            write_descent(file, state)
        return state.stars

    def boxes(self, label: int, file: Path) -> None:
        """Fit the prediction of objects' boxes, and choose the threshold."""
        images, stars = self.class_images(label), self._stars_before(label)
        positives = find_objects(stars, images, images.with_objects(), self._name(label)) if stars else []
        boxes = [fit_boxes(positives, number, star, self.how.box_ridge) for number, star in enumerate(stars)]
        scores = np.sort([own.score for own in positives])
        # The twentieth part from below, counted as release 5 does.
        lowest = float(scores[-(-len(scores) // 20) - 1]) if len(scores) else 0.0
        cascade, stages = self.detector.cascade, list[CascadeStages]()
        if cascade is not None:
            projection = self.projection(cascade.channels)
            for number, star in enumerate(stars):
                stages.append(stages_of_objects(positives, number, star, projection, cascade.threshold))
        write_boxes(file, boxes, stages, min(-1.0, lowest))

    def projection(self, channels: int) -> Array:
        """Return the projection of features to few channels, of as many images as negatives are mined in."""
        order = np.random.default_rng([_CHANNELS, self.task.seed]).permutation(len(self.images))
        cell_px, chosen = self.detector.cell_px, order[: self.how.few_images].tolist()
        images = (self.images[Key(0, image)].image for image in chosen)
        pixels = (image.permute(1, 2, 0).contiguous().numpy() for image in images)
        return few_channels((dpm_features(own, cell_px)[0] for own in pixels), channels)

    def fill(self, model: DPM, boxes: Artefact) -> None:
        """Give the model what was learned."""
        for label, mixture in enumerate(cast(Sequence[Mixture], model.mixtures)):
            stars = self._stars_before(label)
            if not stars:
                cast(Any, mixture.stars[0]).offset.fill_(NEVER)
                mixture.stars = mixture.stars[:1]
                continue
            predictions, stages, threshold = read_boxes(_file(boxes.path, label), len(stars))
            components = [
                replace(star.components()[0], stages=own) for star, own in zip(stars, stages, strict=True)
            ]
            mixture.take(components, predictions, threshold)
        if model.projection is not None:
            model.projection.copy_(torch.from_numpy(self.projection(model.projection.shape[1])))

    def context(self, model: DPM, part: Path) -> None:
        """Fit what scores detections anew, a class at a time, to what the detector finds in the images."""
        part.mkdir(parents=True, exist_ok=True)
        examples = part / f"found_{rank()}_of_{world_size()}.safetensors"
        if not examples.exists():
            own = range(rank(), len(self.images), world_size())
            write_found(examples, described_detections(model, self.images, own))
        barrier()
        files = [part / f"found_{number}_of_{world_size()}.safetensors" for number in range(world_size())]
        for label in range(rank(), self.task.num_classes, world_size()):
            inputs, scores, found = read_found(files, label)
            cubic = fit_context(inputs, scores, found)
            if cubic is None:
                say(f"{self._name(label)}: too little was found to learn its context; the order stays")
                cubic = order_kept(inputs.shape[1])
            write_cubic(_file(part, label), cubic)

    def fill_context(self, cubics: torch.Tensor, made: Artefact) -> None:
        """Give the model what scores detections anew."""
        for label, cubic in enumerate(cubics):
            cubic.copy_(torch.from_numpy(read_cubic(_file(made.path, label))))


def _file(folder: Path, label: int) -> Path:
    return folder / f"{label}.safetensors"


def _warped_positive(star: StarWeights, features: Array) -> PlacedObject:
    vector = np.zeros(len(star.values), np.float32)
    vector[: features.size] = features.ravel()
    vector[-1] = BIAS
    return PlacedObject(0, vector, 0.0, 0, np.zeros((1, 4)), np.zeros(4), (0, 0))
