"""`detkit embed`, from a model file and a dataset to its page and files."""

from __future__ import annotations

import csv
import json
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from detkit.__main__ import main
from detkit.checks.findings import KINDS
from detkit.config.dump import dump_config
from detkit.config.load import load_config
from detkit.data.synthetic.dataset import write_synthetic
from detkit.detectors.builder import build_detector
from detkit.errors import UserError
from detkit.inference.save_model import save_model
from detkit.workflows.embed import CODES, DUPLICATES, PAGE, Embedded, embed

SMALL = [
    "detector.backbone.width=0.125",
    "detector.proposals.channels=16",
    "detector.head.channels=16",
    "data.resize={short_px: 64, long_px: 96}",
    "device=cpu",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an untrained model, and a dataset in which one image is there twice."""
    folder = tmp_path_factory.mktemp("embed")
    config = load_config("faster_rcnn_resnet18_synthetic", SMALL)
    save_model(
        folder / "model.safetensors",
        build_detector(config.detector, 5, seed=0),
        classes=config.data.classes,
        category_ids=range(5),
        config_yaml=dump_config(config),
    )
    write_synthetic(folder / "voc", "voc", 12, 3)
    labels = folder / "voc" / "Annotations"
    first = min(labels.glob("*.xml"), key=lambda file: -file.read_text().count("<object>"))
    image = next((folder / "voc" / "JPEGImages").glob(f"{first.stem}.*"))
    shutil.copy(image, image.with_name(f"again{image.suffix}"))
    text = first.read_text("utf-8").replace(image.name, f"again{image.suffix}")
    (labels / "again.xml").write_text(text, encoding="utf-8")
    for part in (folder / "voc" / "ImageSets" / "Main").glob("*.txt"):
        if first.stem in part.read_text("utf-8").split():
            part.write_text(part.read_text("utf-8").rstrip() + "\nagain\n", encoding="utf-8")
    return folder


def run(folder: Path, out: Path, **settings: object) -> Embedded:
    return embed(folder / "model.safetensors", folder / "voc", out=out, device="cpu", **settings)  # type: ignore[arg-type]


def test_files_and_records_are_those_of_a_check(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "detkit.workflows.embed.suspects", lambda scores: np.argsort(-scores, kind="stable")[:3]
    )
    seen: list[tuple[int, int]] = []
    made = run(folder, tmp_path / "out", on_object=lambda done, total: seen.append((done, total)))
    found = made.to_json()
    assert set(found) == {"objects", "classes", "layer", "dimensions", "suspects", "duplicates", "out"}
    assert seen[-1] == (found["objects"], found["objects"])
    arrays = load_file(made.folder / CODES)
    assert arrays["vectors"].shape == (found["objects"], found["dimensions"])
    assert arrays["places"].shape == (found["objects"], 2)

    for record in (*found["suspects"], *found["duplicates"]):
        assert record["kind"] in KINDS
        assert Path(record["file"]).is_file()
        number = int(record["object"].split()[1])
        own = ET.parse(record["file"]).getroot().findall("object")[number - 1]
        assert own.findtext("name") == record["label"]
        box = [float(own.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax")]
        np.testing.assert_allclose(record["box"], [box[0] - 1, box[1] - 1, box[2], box[3]], atol=0.01)
    assert json.loads((made.folder / "suspects.json").read_text("utf-8")) == found["suspects"]
    assert json.loads((made.folder / DUPLICATES).read_text("utf-8")) == found["duplicates"]
    with (made.folder / "suspects.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["suggested"] for row in rows] == [one["suggested"] for one in found["suspects"]]

    tasks = json.loads((made.folder / "labelstudio" / "detections.json").read_text("utf-8"))
    regions = [region for task in tasks for region in task["predictions"][0]["result"]]
    suggested = sorted(region["value"]["rectanglelabels"][0] for region in regions)
    assert suggested == sorted(one["suggested"] for one in found["suspects"])
    assert len(ET.parse(made.folder / "cvat" / "detections.xml").getroot().findall(".//box")) == 3
    page = (made.folder / PAGE).read_text("utf-8")
    assert "Suspect labels" in page
    assert "Near duplicates" in page


def test_an_image_that_is_there_twice_has_duplicates(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "out").duplicates
    twice = [one for one in found if "again" in one["image"] or "again" in one["other"]["image"]]
    assert twice
    assert twice[0]["distance"] == pytest.approx(0, abs=1e-4)
    assert found[0] == twice[0]


def test_a_seed_fixes_all_of_it(folder: Path, tmp_path: Path) -> None:
    one, again, other = (
        load_file(run(folder, tmp_path / str(place), limit=15, seed=seed).folder / CODES)
        for place, seed in enumerate((1, 1, 2))
    )
    assert all((one[name] == again[name]).all() for name in one)
    assert not np.array_equal(one["boxes"], other["boxes"])
    assert "are left out" in (tmp_path / "0" / PAGE).read_text("utf-8")


def test_whole_images_by_a_module_and_apart(folder: Path, tmp_path: Path) -> None:
    made = run(folder, tmp_path / "out", of="images", layer="backbone", apart=True)
    assert made.objects == 16
    series = load_file(made.folder / CODES)["series"]
    assert len(set(series.tolist())) < 16  # the copy is of the same series


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_few_objects_have_a_page(folder: Path, tmp_path: Path, limit: int) -> None:
    made = run(folder, tmp_path / "out", limit=limit)
    assert made.objects == limit
    assert not made.suspects
    assert "Suspect labels" not in (made.folder / PAGE).read_text("utf-8")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "layer9"}, "layer: the model has no 'layer9'"),
        ({"sets": ["dev"]}, "--set dev"),
        ({"of": "films"}, "expected objects or images"),
        ({"limit": 0}, "at least 1"),
    ],
)
def test_what_is_wrong_is_said_before_there_is_a_folder(
    folder: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run(folder, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_a_dataset_without_objects_has_nothing_to_embed(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "voc", tmp_path / "voc")
    for file in (tmp_path / "voc" / "Annotations").glob("*.xml"):
        file.write_text(file.read_text("utf-8").replace("<difficult>0<", "<difficult>1<"), encoding="utf-8")
    with pytest.raises(UserError, match="nothing to embed: no object"):
        embed(folder / "model.safetensors", tmp_path / "voc", out=tmp_path / "out", device="cpu")


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, result = tmp_path / "out", tmp_path / "embed.json"
    arguments = [
        "embed",
        str(folder / "model.safetensors"),
        str(folder / "voc"),
        "--set",
        "val",
        "--layer",
        "backbone",
    ]
    assert main([*arguments, "--device", "cpu", "--out", str(out), "--json", str(result)]) == 0
    said = capsys.readouterr().out.splitlines()
    found = json.loads(result.read_text("utf-8"))
    assert said[0].startswith(f"{found['objects']} codes of {found['dimensions']} dimensions at backbone; ")
    assert said[-1] == f"the page is {out / PAGE}"
    assert main([*arguments, "--out", str(out)]) == 2
    assert "not empty" in capsys.readouterr().err
