from __future__ import annotations

from pathlib import Path

import pytest

from detkit.annotations.detect import detect_format
from detkit.annotations.writers import Format
from detkit.data.datasets import related_images, splits
from detkit.data.datasets.readers import config_of_sets, read_set
from detkit.data.datasets.splits import divide
from detkit.data.synthetic.dataset import write_synthetic
from detkit.errors import UserError


@pytest.mark.parametrize("fmt", ["voc", "coco", "yolo"])
def test_the_authors_division_is_kept(tmp_path: Path, fmt: Format) -> None:
    write_synthetic(tmp_path / "data", fmt, 4, 2)
    split = divide(detect_format(tmp_path / "data"), tmp_path / "c.yaml")
    assert split.written == ()
    assert read_set(split.train).num_images > 0
    assert read_set(split.val).num_images > 0
    assert not set(read_set(split.train).image_files) & set(read_set(split.val).image_files)


@pytest.mark.parametrize(
    ("parts", "chosen"),
    [
        ("train test", ("train", "test")),
        ("train val test", ("train", "val")),
        ("trainval test", ("trainval", "test")),
        ("2007_train 2007_val", ("2007_train", "2007_val")),
    ],
)
def test_without_a_validation_part_the_test_part_judges(
    tmp_path: Path, parts: str, chosen: tuple[str, str]
) -> None:
    write_synthetic(tmp_path / "data", "voc", 4, 2)
    lists = tmp_path / "data" / "ImageSets" / "Main"
    names = [name for file in sorted(lists.iterdir()) for name in file.read_text().split()]
    for file in lists.iterdir():
        file.unlink()
    for i, part in enumerate(parts.split()):
        (lists / f"{part}.txt").write_text("\n".join(names[2 * i : 2 * i + 2]))
    split = divide(detect_format(tmp_path / "data"), tmp_path / "c.yaml")
    assert split.note == "divided as the dataset is: {} for training, {} for validation".format(*chosen)


def undivided(folder: Path, fmt: Format) -> Path:
    """Return a dataset of 20 images with one part only."""
    write_synthetic(folder, fmt, 20, 1)
    match fmt:
        case "voc":
            for file in (folder / "ImageSets" / "Main").glob("*.txt"):
                file.unlink()
        case "coco":
            next((folder / "annotations").glob("*val*")).unlink()
        case "yolo":
            text = (folder / "data.yaml").read_text()
            kept = [line for line in text.splitlines() if not line.startswith("val")]
            (folder / "data.yaml").write_text("\n".join(kept))
            for part in ("images/val", "labels/val"):
                for file in (folder / part).iterdir():
                    file.unlink()
                (folder / part).rmdir()
    return folder


@pytest.mark.parametrize("fmt", ["voc", "coco", "yolo"])
def test_an_undivided_dataset_is_split_by_a_stable_hash(tmp_path: Path, fmt: Format) -> None:
    data = undivided(tmp_path / "data", fmt)
    one = divide(detect_format(data), tmp_path / "one" / "c.yaml")
    two = divide(detect_format(data), tmp_path / "two" / "c.yaml")
    train, val = read_set(one.train), read_set(one.val)
    assert val.num_images == round(0.2 * (train.num_images + val.num_images))
    assert not set(train.image_files) & set(val.image_files)
    assert sorted(read_set(two.val).image_files) == sorted(val.image_files)
    assert all(file.is_file() for file in one.written)


def test_one_image_cannot_be_divided(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "data", "voc", 1, 1)
    for file in (tmp_path / "data" / "ImageSets" / "Main").iterdir():
        file.unlink()
    next((tmp_path / "data" / "Annotations").glob("train*")).unlink()
    with pytest.raises(UserError) as caught:
        divide(detect_format(tmp_path / "data"), tmp_path / "c.yaml")
    assert str(caught.value) == (
        f"{tmp_path / 'data'}: 1 image with annotations; at least 2 are needed, one for training and one for "
        "validation"
    )


def test_images_of_a_multitude_are_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_synthetic(tmp_path / "data", "voc", 4, 1)
    for file in (tmp_path / "data" / "ImageSets" / "Main").iterdir():
        file.unlink()

    def note(most: int) -> str:
        for module in (splits, related_images):
            monkeypatch.setattr(module, "MOST_COMPARED", most)
        return divide(detect_format(tmp_path / "data"), tmp_path / "c.yaml").note

    whole = (
        "the dataset is not divided: 1 of 5 images, chosen by a hash of their names, are kept for validation "
        "(c_val.txt)"
    )
    assert note(5) == whole
    assert note(4) == f"{whole}; more than 4 images are not compared with one another"
    truth = read_set(config_of_sets(detect_format(tmp_path / "data"), ()))
    assert related_images.thumbnails_of(truth) == [None] * 5
    monkeypatch.setattr(related_images, "MOST_COMPARED", 5)
    assert all(one is not None for one in related_images.thumbnails_of(truth))
