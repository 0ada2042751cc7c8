from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from detkit.data.datasets.named_images import named_images
from detkit.data.images import decode_image
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from detkit.errors import UserError
from detkit.proposals.proposals import Proposals, ranked
from detkit.proposals.store.parts import StoreParts
from detkit.proposals.store.store import ProposalStore
from detkit.runs import proposal_method
from detkit.runs.proposal_method import find_method
from detkit.workflows import propose as workflow
from detkit.workflows.propose import propose

looked_at: list[tuple[int, ...]] = []


def whole(picture: NDArray[np.uint8]) -> Proposals:
    """The whole image, and a box that tells images apart."""
    looked_at.append(picture.shape)
    height, width = picture.shape[:2]
    return ranked(np.array([[0, 0, width, height], [0, 0, width, 1 + picture.mean() / 9]], np.float32))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal_method, "build_proposer", lambda spec, num_threads: whole)
    looked_at.clear()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Seven images in two folders, and a text."""
    rng = np.random.default_rng(0)
    for i in range(7):
        file = tmp_path / "pictures" / ("more" if i % 2 else "") / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), rng.integers(0, 255, (20 + i, 30, 3), np.uint8))
    return tmp_path / "pictures"


def test_a_folder_of_images(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    (pictures / "notes.txt").touch()
    result = propose("selective_search", [str(pictures)], out, overrides=["mode=single", "seed=3"])
    assert result.to_json() == {
        "method": "selective_search",
        "images": 7,
        "boxes_per_image": 2,
        "seconds_per_image": result.seconds_per_image,
        "skipped": [],
        "left_out": 1,
    }
    assert result.seconds_per_image > 0
    store = ProposalStore.open(out)
    assert sorted(store.names) == [
        "0.png",
        "2.png",
        "4.png",
        "6.png",
        "more/1.png",
        "more/3.png",
        "more/5.png",
    ]
    assert store.origin.parameters["mode"] == "single"
    for name in store.names:
        assert store(store.find(name)).boxes.tolist() == whole(decode_image(pictures / name)).boxes.tolist()


def test_what_is_done_is_not_done_again(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    propose("sliding_window", [str(pictures)], out)
    looked_at.clear()
    propose("sliding_window", [str(pictures)], out)
    assert looked_at == []
    assert "there already" in capsys.readouterr().err
    (pictures / "0.png").write_bytes((pictures / "6.png").read_bytes())
    with pytest.raises(UserError, match="exists already and holds boxes by sliding_window of other images"):
        propose("sliding_window", [str(pictures)], out)
    with pytest.raises(UserError, match="exists already"):
        propose("sliding_window", [str(pictures)], out, overrides=["max_boxes=1"])


def test_shards_make_the_same_file(pictures: Path, tmp_path: Path) -> None:
    one, many = tmp_path / "one.safetensors", tmp_path / "many.safetensors"
    propose("sliding_window", [str(pictures)], one)
    looked_at.clear()
    first = propose("sliding_window", [str(pictures)], many, shard=(1, 3))
    assert (first.images, first.boxes_per_image) == (2, 2)
    assert "5 images are left to the other shards" in first.note
    with pytest.raises(UserError, match=r"5 of 7 images are not done yet, such as .*; let the other shards"):
        propose("sliding_window", [str(pictures)], many, merge=True)
    propose("sliding_window", [str(pictures)], many, shard=(2, 3))
    last = propose("sliding_window", [str(pictures)], many, shard=(3, 3))
    assert "all shards are done" in last.note
    assert not many.exists()
    assert len(looked_at) == 7
    assert propose("sliding_window", [str(pictures)], many, merge=True).images == 7
    assert len(looked_at) == 7
    a, b = ProposalStore.open(one), ProposalStore.open(many)
    assert list(a.names) == list(b.names)
    assert all(a(i).boxes.tolist() == b(i).boxes.tolist() for i in range(7))
    assert propose("sliding_window", [str(pictures)], many, shard=(1, 3)).images == 7


@pytest.mark.parametrize("shards", [1, 2, 7, 20])
def test_every_image_is_in_one_shard(pictures: Path, tmp_path: Path, shards: int) -> None:
    for shard in range(1, shards + 1):
        propose("sliding_window", [str(pictures)], tmp_path / "x.safetensors", shard=(shard, shards))
    assert len(looked_at) == 7
    assert propose("sliding_window", [str(pictures)], tmp_path / "x.safetensors", merge=True).images == 7


def test_a_stop_says_what_is_kept(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(picture: NDArray[np.uint8]) -> Proposals:
        if len(looked_at) == 4:
            raise KeyboardInterrupt
        return whole(picture)

    monkeypatch.setattr("detkit.workflows.propose.num_cores", lambda: 1)
    monkeypatch.setattr(proposal_method, "build_proposer", lambda spec, num_threads: stops)
    out = tmp_path / "out.safetensors"
    with pytest.raises(KeyboardInterrupt, match=r"4 of 7 images are kept in .*: the same command goes on"):
        propose("sliding_window", [str(pictures)], out)
    monkeypatch.setattr(proposal_method, "build_proposer", lambda spec, num_threads: whole)
    looked_at.clear()
    assert propose("sliding_window", [str(pictures)], out).images == 7
    assert len(looked_at) == 3


def test_an_unreadable_image_is_named(pictures: Path, tmp_path: Path) -> None:
    (pictures / "4.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"4\.png"):
        propose("sliding_window", [str(pictures)], tmp_path / "out.safetensors", strict=True)


def test_threads_of_one_image_and_of_many(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, tmp_path: Path
) -> None:
    threads: list[int] = []

    def build(spec: Any, num_threads: int) -> Any:
        threads.append(num_threads)
        return whole

    monkeypatch.setattr("detkit.workflows.propose.num_cores", lambda: 8)
    monkeypatch.setattr(proposal_method, "build_proposer", build)
    propose("selective_search", [str(pictures / "0.png")], tmp_path / "1.safetensors")
    propose("selective_search", [str(pictures)], tmp_path / "2.safetensors")
    assert threads == [8, 1]


def test_progress_is_shown_on_a_terminal_alone(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    propose("sliding_window", [str(pictures)], tmp_path / "1.safetensors")
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("detkit.runtime.progress._BETWEEN_REFRESHES_S", 0.0)
    propose("sliding_window", [str(pictures)], tmp_path / "2.safetensors")
    said = capsys.readouterr().err
    assert "proposals" in said
    assert "images/s" in said


@pytest.mark.parametrize("dataset_format", ["voc", "coco", "yolo"])
def test_datasets(tmp_path: Path, dataset_format: Any) -> None:
    write_synthetic(tmp_path / "shapes", dataset_format, 3, 2)
    images = named_images([str(tmp_path / "shapes")])
    assert len(set(images.names)) == 5
    assert images.truth is not None
    assert images.truth.num_images == 5
    train = named_images([str(tmp_path / "shapes")], ["val"])
    assert len(train.names) == 2
    assert all("val_" in name for name in train.names)
    assert train.pixels(1).shape[2] == 3
    with pytest.raises(UserError, match=r"--set test: .* has train, val"):
        named_images([str(tmp_path / "shapes")], ["test"])


def test_the_embedded_dataset() -> None:
    images = named_images(["synthetic"], ["val"])
    assert images.names[:2] == ["000000", "000001"]
    np.testing.assert_array_equal(images.pixels(1), SyntheticSet(2, seed=1).render(1))
    assert len(named_images(["synthetic"]).names) == 400
    with pytest.raises(UserError, match="synthetic has train and val, one at a time"):
        named_images(["synthetic"], ["train", "val"])


def test_images_of_one_name_are_told_apart_by_path(pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "0.png").write_bytes((pictures / "0.png").read_bytes())
    images = named_images([str(pictures), str(other), str(pictures / "2.png")])
    assert (pictures / "0.png").as_posix() in images.names
    assert (other / "0.png").as_posix() in images.names
    assert images.names.count("2.png") == 1
    assert len(images.names) == 8


def test_parts_without_a_dataset(pictures: Path) -> None:
    with pytest.raises(UserError, match="parts are chosen of one dataset"):
        named_images([str(pictures)], ["train"])


def test_drawings_show_the_best_box_of_each_object(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 2, 1)
    out = tmp_path / "out.safetensors"
    result = propose("sliding_window", [str(tmp_path / "shapes")], out, draw=True)
    assert result.drawings == tmp_path / "out_drawn"
    drawn = sorted(result.drawings.rglob("*.jpg"))
    assert [file.stem for file in drawn] == ["train_000000", "train_000001", "val_000000"]
    assert (
        decode_image(drawn[0]).shape
        == decode_image(next((tmp_path / "shapes").rglob("train_000000.jpg"))).shape
    )


def test_drawings_without_labels(pictures: Path, tmp_path: Path) -> None:
    result = propose("sliding_window", [str(pictures)], tmp_path / "out.safetensors", draw=True)
    assert result.drawings is not None
    assert len(list(result.drawings.rglob("*.jpg"))) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": Path("x.pkl")}, r"must end in \.safetensors"),
        ({"shard": (0, 3)}, "the first number goes from 1"),
        ({"shard": (4, 3)}, "the first number goes from 1"),
        ({"shard": (1, 3), "merge": True}, "--shard and --merge"),
        ({"shard": (1, 3), "draw": True}, "--shard and --draw"),
    ],
)
def test_options_that_do_not_fit(
    options: dict[str, Any], message: str, pictures: Path, tmp_path: Path
) -> None:
    given = {"out": tmp_path / "x.safetensors", **options}
    with pytest.raises(UserError, match=message):
        propose("sliding_window", [str(pictures)], **given)
    assert looked_at == []


@pytest.mark.parametrize(
    ("method", "overrides", "message"),
    [
        ("search", [], "METHOD is one of selective_search, edge_boxes, sliding_window, or the model"),
        ("selective_search", ["mode=slow"], "mode: Input should be 'single', 'fast'"),
        ("selective_search", ["max_boxes=0"], "max_boxes: Input should be greater than or equal to 1; got 0"),
        ("selective_search", ["size=3"], "size: selective_search has no such parameter; it has mode, seed"),
        ("selective_search", ["mode"], "expected key=value"),
        ("selective_search", ["mode=[1"], r"mode=\[1"),
        ("selective_search", ["=3"], '^"=3": expected key=value, such as max_boxes=1000$'),
        ("sliding_window", ["windows..stride=3"], '^"windows..stride=3": expected key=value'),
        (
            "sliding_window",
            ["windows={stride: 1, stride: 2}"],
            r"^windows={stride: 1, stride: 2}: repeated key; it stands in line 1 already$",
        ),
        ("nowhere/model.pt", [], "^nowhere/model.pt: METHOD is one of"),
        ("selective_search", ["seed.x=1", "seed.y=2"], r"seed: Input should be a valid integer"),
        ("sliding_window", ["windows.stride=9"], "windows.stride: Input should be less than or equal to 4"),
        (
            "sliding_window",
            ["windows.type=pyramid", "windows.stride=1"],
            "windows.stride: .* no such parameter",
        ),
        ("sliding_window", ["windows=3", "windows.stride=1"], "windows is 3 and has no stride"),
        ("nowhere/model.safetensors", [], "cannot be read"),
        ("nowhere/model.safetensors", ["mode=fast"], "mode: a model has max_boxes alone"),
        *(
            (
                "nowhere/model.safetensors",
                [f"max_boxes={given}"],
                rf"^max_boxes: expected a whole number greater than 0, got {shown}$",
            )
            for given, shown in (
                ("many", "'many'"),
                ("0", "0"),
                ("-1", "-1"),
                ("true", "True"),
                ("1.5", "1.5"),
            )
        ),
    ],
)
def test_wrong_methods(method: str, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_method(method, overrides)


def test_parameters_reach_the_method() -> None:
    parameters = find_method("sliding_window", ["windows.stride=0.25", "max_boxes=9"]).parameters
    assert parameters["windows"]["stride"] == 0.25
    assert parameters["windows"]["type"] == "relative"
    assert parameters["max_boxes"] == 9
    sizes = find_method("sliding_window", ["windows={type: pyramid, sizes_px: [[8, 8]]}"]).parameters[
        "windows"
    ]
    assert sizes["sizes_px"] == ((8, 8),)


def test_a_dataset_whose_images_are_gone(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "shapes", "voc", 3, 2)
    for lost in [*(tmp_path / "shapes" / "JPEGImages").iterdir()][:2]:
        lost.unlink()
    with pytest.raises(UserError, match="2 of 5 images are missing"):
        named_images([str(tmp_path / "shapes")])


def test_a_bad_image_costs_itself_alone(
    pictures: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (pictures / "2.png").write_bytes(b"")
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out.safetensors"
    with pytest.raises(UserError, match=r"2\.png: the file is empty"):
        propose("selective_search", [str(pictures)], out, strict=True)
    assert not out.exists()
    result = propose("selective_search", [str(pictures)], out, draw=True)
    assert result.images == 6
    assert [item["image"] for item in result.skipped] == ["2.png", "gone.png"]
    warned = capfd.readouterr().err.splitlines()
    assert warned[0] == f"warning: {pictures / '2.png'}: the file is empty; skipped"
    store = ProposalStore.open(out)
    assert sorted(store.names) == ["0.png", "4.png", "6.png", "more/1.png", "more/3.png", "more/5.png"]
    for number, name in enumerate(store.names):
        expected = whole(decode_image(pictures / name))
        np.testing.assert_array_equal(store(number).boxes, expected.boxes)
    assert result.drawings is not None
    assert len(list(result.drawings.rglob("*.jpg"))) == 6
    before = out.read_bytes()
    again = propose("selective_search", [str(pictures)], out, draw=True)  # it is there already
    assert (again.images, again.skipped, again.seconds_per_image) == (6, result.skipped, None)
    assert out.read_bytes() == before


def test_the_same_command_adds_what_was_skipped_and_is_mended(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_file = (pictures / "2.png").read_bytes()
    (pictures / "2.png").write_bytes(b"")
    (pictures / "gone.png").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out.safetensors"
    propose("selective_search", [str(pictures)], out)
    (pictures / "2.png").write_bytes(whole_file)
    looked_at: list[int] = []
    original = workflow.propose_images

    def noted(parts: StoreParts, wanted: Sequence[int], *rest: Any, **options: Any) -> bool:
        looked_at.extend(parts.missing(wanted))
        return original(parts, wanted, *rest, **options)

    monkeypatch.setattr(workflow, "propose_images", noted)
    again = propose("selective_search", [str(pictures)], out)
    assert ([item["image"] for item in again.skipped], again.images) == (["gone.png"], 7)
    assert len(looked_at) == 2
    (pictures / "gone.png").unlink()
    store = ProposalStore.open(out)
    assert propose("selective_search", [str(pictures)], tmp_path / "whole.safetensors").images == 7
    expected = ProposalStore.open(tmp_path / "whole.safetensors")
    assert list(store.names) == list(expected.names)
    for number in range(7):
        np.testing.assert_array_equal(store(number).boxes, expected(number).boxes)
    # An image that was looked at and is another one now is no image of this file.
    Image.fromarray(np.zeros((9, 11, 3), np.uint8)).save(pictures / "0.png")
    with pytest.raises(UserError, match="exists already and holds boxes by selective_search of other images"):
        propose("selective_search", [str(pictures)], out)


def test_shards_leave_a_bad_image_to_the_one_who_joins_them(pictures: Path, tmp_path: Path) -> None:
    (pictures / "2.png").write_bytes(b"")
    out = tmp_path / "out.safetensors"
    results = [propose("selective_search", [str(pictures)], out, shard=(n, 2)) for n in (1, 2)]
    assert [len(result.skipped) for result in results] == [1, 0]
    with pytest.raises(UserError, match=r"1 of 7 images are not done yet, such as 2\.png"):
        propose("selective_search", [str(pictures)], out, merge=True)
    assert propose("selective_search", [str(pictures)], out).images == 6


def test_where_no_image_can_be_read_there_is_no_file(pictures: Path, tmp_path: Path) -> None:
    for file in pictures.rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="none of 7 images can be read"):
        propose("selective_search", [str(pictures)], tmp_path / "out.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
