"""Dataset types: where images and their annotations lie."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from detkit.data.transforms.config import TransformConfig
from detkit.spec import Count, CustomConfig, Fraction, Index, NonNegative, Spec


class DatasetConfig(Spec):
    """Keys that every dataset type of detkit has."""

    augment: tuple[TransformConfig, ...] = ()
    """Random changes, in this order; only for training."""

    @property
    def whole_images(self) -> bool:
        """Whether each image shows one object, whose box is the image: what a classifier learns from."""
        return False


class VOCDatasetConfig(DatasetConfig):
    """PASCAL VOC: one XML file an image."""

    type: Literal["voc"] = "voc"
    root: str
    """Folder with Annotations/ and JPEGImages/, or the VOCdevkit folder with VOC2007/ and so on in it."""
    sets: tuple[str, ...] = ()
    """Names in ImageSets/Main, such as train, or 2007_trainval for a VOCdevkit; or text files with one
    image name a line. Empty: every annotation there is."""


class COCODatasetConfig(DatasetConfig):
    """COCO: one JSON file for all images."""

    type: Literal["coco"] = "coco"
    images: str
    """Folder with the images."""
    annotations: str
    """The instances JSON file."""


class YOLODatasetConfig(DatasetConfig):
    """YOLO: one text file an image, beside or in labels/."""

    type: Literal["yolo"] = "yolo"
    root: str
    """Folder with data.yaml, or with images/ and labels/."""
    split: str = "train"
    """Split: train, val or test; or a text file with one image path a line."""


class ExportConfig(DatasetConfig):
    """What a labelling tool exports, read as it is."""

    images: str
    """Folder that the images lie in, or in folders of."""
    annotations: str
    """The file of annotations."""
    split: str = ""
    """Part that the file itself names, or a text file with one image a line. Empty: every image."""


class CSVDatasetConfig(ExportConfig):
    """A table with one object a line: TensorFlow's titles, RetinaNet's lines, and others like them."""

    type: Literal["csv"] = "csv"


class CVATDatasetConfig(ExportConfig):
    """CVAT's own XML, "CVAT for images 1.1"."""

    type: Literal["cvat"] = "cvat"


class ILSVRCDatasetConfig(ExportConfig):
    """ILSVRC's detection or localisation task (ImageNet): XML files whose objects have WordNet's numbers."""

    type: Literal["ilsvrc"] = "ilsvrc"
    images: str
    """Folder of the images of a part: ROOT/Data/DET/train, or val, or of CLS-LOC."""
    annotations: str
    """Folder of its annotations: ROOT/Annotations/DET/train. The lists in ROOT/ImageSets say which images it
    has; classes are called as the development kit's map_det.txt or LOC_synset_mapping.txt says, if one is
    there."""


class LabelMeDatasetConfig(ExportConfig):
    """LabelMe: one JSON file an image."""

    type: Literal["labelme"] = "labelme"
    annotations: str
    """Folder with the JSON files."""


class LabelStudioDatasetConfig(ExportConfig):
    """Label Studio's export as JSON or JSON-MIN."""

    type: Literal["labelstudio"] = "labelstudio"


class SyntheticDatasetConfig(DatasetConfig):
    """The embedded dataset: drawn while it is read, always the same for the same seed."""

    type: Literal["synthetic"] = "synthetic"
    num_images: Count = 400
    """Number of images."""
    seed: Index = 0
    """Seed of the images; the same seed gives the same images."""


class ImageFolderConfig(DatasetConfig):
    """Images for a classifier: one folder for each class, as ImageNet comes."""

    type: Literal["image_folder"] = "image_folder"
    root: str
    """Folder with train/CLASS/ and val/CLASS/."""
    split: str = "train"
    """Split: a folder in `root`; all where the classes lie in `root` itself; or a text file with one
    image path a line."""

    @property
    def whole_images(self) -> bool:
        """Whether each image shows one object, whose box is the image."""
        return True


class ObjectCropsConfig(DatasetConfig):
    """Images of one object each, cut out of a detection dataset: one for each ground-truth object."""

    type: Literal["object_crops"] = "object_crops"
    of: Annotated[
        VOCDatasetConfig
        | COCODatasetConfig
        | YOLODatasetConfig
        | CSVDatasetConfig
        | CVATDatasetConfig
        | ILSVRCDatasetConfig
        | LabelMeDatasetConfig
        | LabelStudioDatasetConfig
        | SyntheticDatasetConfig,
        Field(discriminator="type"),
    ]
    """The detection dataset. Difficult objects and crowds are left out."""
    context: NonNegative = 0.2
    """Widen each box to every side by this fraction of its own width and height."""
    jitter: Fraction = 0.0
    """Change how far each side is widened by up to this fraction of it, by chance that is the same in every
    run: at 1 the object lies anywhere between an edge of the crop and twice `context` from it."""
    boxes: Literal["crop", "object"] = "crop"
    """The box of each image: the whole crop for a classifier, the object in it for a localizer."""

    @model_validator(mode="after")
    def _plain(self) -> ObjectCropsConfig:
        if self.of.augment:
            raise ValueError("of.augment must be empty: write it beside `of`, the crops are what is changed")
        return self

    @property
    def whole_images(self) -> bool:
        """Whether each image shows one object, whose box is the image."""
        return self.boxes == "crop"


AnyDatasetConfig = Annotated[
    VOCDatasetConfig
    | COCODatasetConfig
    | YOLODatasetConfig
    | CSVDatasetConfig
    | CVATDatasetConfig
    | ILSVRCDatasetConfig
    | LabelMeDatasetConfig
    | LabelStudioDatasetConfig
    | SyntheticDatasetConfig
    | ImageFolderConfig
    | ObjectCropsConfig
    | CustomConfig,
    Field(discriminator="type"),
]
