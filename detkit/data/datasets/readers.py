"""Dataset types: how each is read, one record a type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from detkit.annotations.class_names import listed
from detkit.annotations.coco import json_text, read_coco, read_json
from detkit.annotations.dataset import AnnotationSet
from detkit.annotations.exports.read import read_export
from detkit.annotations.found_dataset import FoundDataset
from detkit.annotations.image_files import image_path, require_images, with_sizes
from detkit.annotations.image_folder import read_image_folder, whole_images
from detkit.annotations.text_files import write_lines
from detkit.annotations.voc import read_voc
from detkit.annotations.yolo import read_yolo
from detkit.custom import build_custom
from detkit.data.datasets.config import (
    COCODatasetConfig,
    CSVDatasetConfig,
    CVATDatasetConfig,
    DatasetConfig,
    ExportConfig,
    ILSVRCDatasetConfig,
    ImageFolderConfig,
    LabelMeDatasetConfig,
    LabelStudioDatasetConfig,
    ObjectCropsConfig,
    SyntheticDatasetConfig,
    VOCDatasetConfig,
    YOLODatasetConfig,
)
from detkit.data.datasets.source import Source, file_source
from detkit.data.synthetic.dataset import SYNTHETIC_CLASSES, SyntheticSet
from detkit.errors import UserError, cut, shown
from detkit.spec import CustomConfig, Spec
from detkit.storage.atomic import write_atomically
from detkit.storage.regular_files import is_file, is_folder

Classes = Sequence[str] | None
Screen = Callable[[AnnotationSet], AnnotationSet]
"""Leaves out images whose files cannot be read, before anything else opens them."""


@dataclass(frozen=True)
class FileFormat:
    """Capabilities of a format that a dataset folder can be recognised as, beyond being read.

    Attributes:
        of_sets: returns the config of some sets of a recognised dataset.
        of_images: returns the config of some images of a set, and the file that lists them, which it writes;
            its arguments are the set's config and annotations, the images' positions and the file, whose
            suffix it chooses.
        any_sets: whether a config takes several sets, none for everything there is, and text files as sets.
    """

    of_sets: Callable[[FoundDataset, Sequence[str]], DatasetConfig]
    of_images: Callable[[Any, AnnotationSet, Sequence[int], Path], tuple[DatasetConfig, Path]]
    any_sets: bool = False


@dataclass(frozen=True)
class DatasetReader:
    """Reader of one dataset type; its arguments are the config, the classes and the ignored classes.

    Attributes:
        read: returns the annotations without opening images; classes that are None are those of the files.
        open: returns annotations and pixels, after making sure that images are there; its last argument is a
            `Screen` for those that are files.
        for_validation: returns the annotations that predictions are compared with.
        files: what else it can do if it is a type of annotation files.
    """

    read: Callable[[Any, Classes, Sequence[str]], AnnotationSet]
    open: Callable[[Any, Classes, Sequence[str], Screen], Source]
    for_validation: Callable[[AnnotationSet], AnnotationSet] = lambda annotations: annotations
    files: FileFormat | None = None


def all_images(truth: AnnotationSet) -> AnnotationSet:
    """Return the set as it is: the `Screen` of those who want every image."""
    return truth


def reader_of(config: Spec) -> DatasetReader:
    """Return the reader of the type that a config is of."""
    return READERS[type(config)]


def config_type(name: str) -> type[Spec]:
    """Return the config class of a dataset type such as voc."""
    return next(config for config in READERS if type_of(config) == name)


def type_of(config: type[Spec]) -> str:
    """Return the `type` that the configs of a class have."""
    return str(get_args(config.model_fields["type"].annotation)[0])


def file_format(name: str) -> FileFormat:
    """Return what a type of annotation files such as voc offers."""
    files = READERS[config_type(name)].files
    assert files is not None
    return files


def require_places(part: str, config: Spec | None) -> None:
    """Check that what `data.train` or `data.val` names is there; the images are not looked for.

    Raises:
        UserError: a folder or a file of annotations is not.
    """
    config = config.of if isinstance(config, ObjectCropsConfig) else config
    for key in ("root", "annotations"):
        place = getattr(config, key, None)
        if place is not None and not is_file(Path(place)) and not is_folder(Path(place)):
            raise UserError(f"data.{part}.{key}: {cut(place, 300)}: there is no such file or folder")


def read_set(config: Spec, classes: Classes = None) -> AnnotationSet:
    """Read the annotations of one dataset config; without classes, all that the files name."""
    return reader_of(config).read(config, classes, ())


def read_sets(configs: Mapping[str, Spec]) -> dict[str, AnnotationSet]:
    """Read the annotations of several sets of a dataset, all with the same classes.

    VOC folders have no list of classes, and a rare one may be in one set only.
    """
    sets = {name: read_set(config) for name, config in configs.items()}
    if len({truth.classes for truth in sets.values()}) > 1:
        classes = sorted({name for truth in sets.values() for name in truth.classes})
        sets = {name: read_set(config, classes) for name, config in configs.items()}
    return sets


def read_classes(
    configs: Mapping[str, Spec], classes: tuple[str, ...]
) -> tuple[dict[str, AnnotationSet], tuple[str, ...]]:
    """Read the objects of some classes in several sets of a dataset, and return which classes are left out.

    Args:
        configs: of the sets.
        classes: which, in the order of their labels; none is all.

    Raises:
        UserError: the dataset has no such class.
    """
    sets = read_sets(configs)
    there = next(iter(sets.values())).classes
    if unknown := [name for name in classes if name not in there]:
        raise UserError(f"class {shown(unknown[0])}: not in the dataset, which has {listed(there)}")
    others = tuple(name for name in there if classes and name not in classes)
    if classes:
        sets = {name: reader_of(config).read(config, classes, others) for name, config in configs.items()}
    return sets, others


def config_of_sets(found: FoundDataset, names: Sequence[str]) -> DatasetConfig:
    """Return the config of sets of a recognised dataset.

    Args:
        found: the dataset.
        names: its sets; VOC takes several, the others the first; none is all of a VOC dataset.
    """
    return file_format(found.format).of_sets(found, names)


def configs_of_sets(found: FoundDataset) -> dict[str, DatasetConfig]:
    """Return the config of each set of a recognised dataset, or "all" where it is not divided."""
    if not found.sets:
        return {"all": config_of_sets(found, ())}
    return {item.name: config_of_sets(found, [item.name]) for item in found.sets}


def _of_files(
    read: Callable[[Any, Classes, Sequence[str]], AnnotationSet], files: FileFormat
) -> DatasetReader:
    """Return the reader of a type of annotation files that lie apart from their images."""

    def opened(config: Any, classes: Classes, ignored: Sequence[str], screen: Screen) -> Source:
        annotations = read(config, classes, ignored)
        require_images(annotations)
        return file_source(with_sizes(screen(annotations)))

    return DatasetReader(read, opened, files=files)


def _voc(config: VOCDatasetConfig, classes: Classes, ignored: Sequence[str]) -> AnnotationSet:
    return read_voc(Path(config.root), config.sets, classes, ignored)


def _voc_sets(found: FoundDataset, names: Sequence[str]) -> VOCDatasetConfig:
    return VOCDatasetConfig(root=str(found.root), sets=tuple(names))


def _voc_images(
    config: VOCDatasetConfig, truth: AnnotationSet, images: Sequence[int], file: Path
) -> tuple[VOCDatasetConfig, Path]:
    listed = _write_list(file, [Path(str(truth.sources[image])).stem for image in images])
    return config.model_copy(update={"sets": (str(listed.resolve()),)}), listed


def _coco(config: COCODatasetConfig, classes: Classes, ignored: Sequence[str]) -> AnnotationSet:
    return read_coco(Path(config.images), Path(config.annotations), classes, ignored)


def _coco_sets(found: FoundDataset, names: Sequence[str]) -> COCODatasetConfig:
    item = next(item for item in found.sets if item.name == names[0])
    assert item.images is not None
    assert item.annotations is not None
    return COCODatasetConfig(images=str(item.images), annotations=str(item.annotations))


def _coco_images(
    config: COCODatasetConfig, truth: AnnotationSet, images: Sequence[int], file: Path
) -> tuple[COCODatasetConfig, Path]:
    """Write the images and objects of a COCO file that are wanted; whatever else it holds stays."""
    content = read_json(Path(config.annotations))
    kept = {int(truth.image_ids[image]) for image in images}
    content["images"] = [image for image in content["images"] if image["id"] in kept]
    content["annotations"] = [item for item in content["annotations"] if item["image_id"] in kept]
    file = file.with_name(f"{file.name}.json")
    write_atomically(file, json_text(content, Path(config.annotations)))
    return config.model_copy(update={"annotations": str(file.resolve())}), file


def _yolo(config: YOLODatasetConfig, classes: Classes, ignored: Sequence[str]) -> AnnotationSet:
    return read_yolo(Path(config.root), config.split, classes, ignored)


def _yolo_sets(found: FoundDataset, names: Sequence[str]) -> YOLODatasetConfig:
    return YOLODatasetConfig(root=str(found.root), split=names[0])


def _export(config: ExportConfig, classes: Classes, ignored: Sequence[str]) -> AnnotationSet:
    images, annotations = Path(config.images), Path(config.annotations)
    return read_export(type_of(type(config)), images, annotations, config.split, classes, ignored)


def _export_sets(found: FoundDataset, names: Sequence[str]) -> DatasetConfig:
    item = next(item for item in found.sets if item.name == names[0])
    places = {"images": str(item.images), "annotations": str(item.annotations), "split": item.split}
    config = config_type(found.format).model_validate({"type": found.format, **places})
    assert isinstance(config, ExportConfig)
    return config


def _export_images(
    config: ExportConfig, truth: AnnotationSet, images: Sequence[int], file: Path
) -> tuple[DatasetConfig, Path]:
    listed = _write_list(file, [str(truth.image_files[image]) for image in images])
    return config.model_copy(update={"split": str(listed.resolve())}), listed


def _image_folder(config: ImageFolderConfig, classes: Classes, ignored: Sequence[str]) -> AnnotationSet:
    return read_image_folder(Path(config.root), config.split, classes, ignored)


def _open_image_folder(
    config: ImageFolderConfig, classes: Classes, ignored: Sequence[str], screen: Screen
) -> Source:
    annotations = _image_folder(config, classes, ignored)
    require_images(annotations)
    return file_source(screen(annotations))


def _image_folder_sets(found: FoundDataset, names: Sequence[str]) -> ImageFolderConfig:
    return ImageFolderConfig(root=str(found.root), split=names[0])


def _listed_images(
    config: YOLODatasetConfig | ImageFolderConfig, truth: AnnotationSet, images: Sequence[int], file: Path
) -> tuple[DatasetConfig, Path]:
    listed = _write_list(file, [str(image_path(truth, image).absolute()) for image in images])
    return config.model_copy(update={"split": str(listed.resolve())}), listed


def _write_list(file: Path, lines: Sequence[str]) -> Path:
    file = file.with_name(f"{file.name}.txt")
    write_lines(file, lines)
    return file


def _synthetic_set(config: SyntheticDatasetConfig, classes: Classes) -> SyntheticSet:
    return SyntheticSet(config.num_images, config.seed, SYNTHETIC_CLASSES if classes is None else classes)


def _open_synthetic(config: SyntheticDatasetConfig, classes: Classes, *_: Any) -> Source:
    drawn = _synthetic_set(config, classes)
    return Source(drawn.annotations(), drawn.render)


def _open_crops(
    config: ObjectCropsConfig, classes: Classes, ignored: Sequence[str], screen: Screen = all_images
) -> Source:
    from detkit.data.datasets.object_crops import object_crops

    source = reader_of(config.of).open(config.of, classes, ignored, screen)
    return object_crops(source, config.context, config.jitter, whole=config.whole_images)


def _open_custom(config: CustomConfig, classes: Classes, *_: Any) -> Source:
    source = build_custom(config, classes=classes)
    if not isinstance(source, Source):
        raise UserError(
            f"target {config.target!r}: a dataset must be a detkit.data.datasets.source.Source, "
            f"not {type(source).__name__}"
        )
    return source


EXPORT_CONFIGS = (
    CSVDatasetConfig,
    CVATDatasetConfig,
    ILSVRCDatasetConfig,
    LabelMeDatasetConfig,
    LabelStudioDatasetConfig,
)
READERS: dict[type[Spec], DatasetReader] = {
    VOCDatasetConfig: _of_files(_voc, FileFormat(_voc_sets, _voc_images, any_sets=True)),
    COCODatasetConfig: _of_files(_coco, FileFormat(_coco_sets, _coco_images)),
    YOLODatasetConfig: _of_files(_yolo, FileFormat(_yolo_sets, _listed_images)),
    **dict.fromkeys(EXPORT_CONFIGS, _of_files(_export, FileFormat(_export_sets, _export_images))),
    # A million images are not opened for their sizes, which only validation needs.
    ImageFolderConfig: DatasetReader(
        _image_folder,
        _open_image_folder,
        whole_images,
        FileFormat(_image_folder_sets, _listed_images),
    ),
    SyntheticDatasetConfig: DatasetReader(
        lambda config, classes, _: _synthetic_set(config, classes).annotations(), _open_synthetic
    ),
    ObjectCropsConfig: DatasetReader(lambda *wanted: _open_crops(*wanted).annotations, _open_crops),
    CustomConfig: DatasetReader(lambda *wanted: _open_custom(*wanted).annotations, _open_custom),
}
"""The reader of every dataset type; a new one is a config class and an entry here."""
