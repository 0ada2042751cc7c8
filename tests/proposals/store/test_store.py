from __future__ import annotations

import errno
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from detkit.errors import UserError
from detkit.proposals.proposals import Proposals, ranked
from detkit.proposals.store.parts import StoreParts
from detkit.proposals.store.store import Origin, ProposalStore, map_arrays, write_store

NAMES = ["a.jpg", "b/ü.jpg", "", "d.jpg"]


def random_proposals(seed: int, counts: tuple[int, ...] = (3, 0, 1, 5)) -> list[Proposals]:
    rng = np.random.default_rng(seed)
    corners = [np.sort(rng.uniform(0, 100, (count, 2, 2)), axis=1) for count in counts]
    return [ranked(pair.reshape(-1, 4).astype(np.float32)) for pair in corners]


def assert_same(one: Proposals, other: Proposals) -> None:
    assert one.boxes.dtype == one.scores.dtype == np.float32
    np.testing.assert_array_equal(one.boxes, other.boxes)
    np.testing.assert_array_equal(one.scores, other.scores)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    wanted = random_proposals(0)
    origin = Origin("edge_boxes", {"alpha": 0.65, "sizes": [1, 2]}, "key", 1.5)
    write_store(tmp_path / "deep" / "store.safetensors", origin, NAMES, wanted.__getitem__)
    store = ProposalStore.open(tmp_path / "deep" / "store.safetensors")
    assert store.origin == origin
    assert len(store) == 4
    assert store.num_boxes == 9
    assert store.counts.tolist() == [3, 0, 1, 5]
    assert list(store.names) == NAMES
    assert store.names[-1] == "d.jpg"
    assert store.names[1:3] == NAMES[1:3]
    assert [store.find(name) for name in NAMES] == [0, 1, 2, 3]
    for image, proposals in enumerate(wanted):
        assert_same(store(image), proposals)
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["store.safetensors"]


def test_no_images_at_all(tmp_path: Path) -> None:
    write_store(tmp_path / "none.safetensors", Origin("file", {}), [], lambda i: Proposals.empty())
    store = ProposalStore.open(tmp_path / "none.safetensors")
    assert (len(store), store.num_boxes, list(store.names)) == (0, 0, [])
    with pytest.raises(UserError, match="has no image 'a'"):
        store.find("a")


def test_it_is_a_safetensors_file(tmp_path: Path) -> None:
    file = tmp_path / "store.safetensors"
    wanted = random_proposals(1)
    write_store(file, Origin("edge_boxes", {}), NAMES, wanted.__getitem__)
    arrays = load_file(file)
    np.testing.assert_array_equal(arrays["boxes"], np.concatenate([p.boxes for p in wanted]))
    assert arrays["offsets"].tolist() == [0, 3, 3, 4, 9]
    save_file({"x": np.arange(3, dtype=np.int64)}, tmp_path / "other.safetensors", {"who": "they"})
    metadata, others = map_arrays(tmp_path / "other.safetensors")
    assert metadata == {"who": "they"}
    assert others["x"].tolist() == [0, 1, 2]


def test_the_path_is_all_that_is_sent(tmp_path: Path) -> None:
    wanted = random_proposals(2, (1000, 1000, 0, 0))
    write_store(tmp_path / "store.safetensors", Origin("edge_boxes", {}), NAMES, wanted.__getitem__)
    sent = pickle.dumps(ProposalStore.open(tmp_path / "store.safetensors"))
    assert len(sent) < 1000
    assert_same(pickle.loads(sent)(1), wanted[1])


def test_the_file_cannot_be_changed_through_what_is_read(tmp_path: Path) -> None:
    wanted = random_proposals(3)
    write_store(tmp_path / "store.safetensors", Origin("edge_boxes", {}), NAMES, wanted.__getitem__)
    store = ProposalStore.open(tmp_path / "store.safetensors")
    store(0).boxes[:] = -1
    assert_same(store(0), wanted[0])


def test_wrong_files(tmp_path: Path) -> None:
    file = tmp_path / "store.safetensors"
    with pytest.raises(UserError, match="no such file"):
        ProposalStore.open(file)
    for content in (b"", b"abc", b"\xff" * 100, (8).to_bytes(8, "little") + b"[1, 2]  "):
        file.write_bytes(content)
        with pytest.raises(UserError, match="not a safetensors file"):
            ProposalStore.open(file)
    save_file({"x": np.zeros(3)}, file)
    with pytest.raises(UserError, match=r"damaged|not one that"):
        ProposalStore.open(file)
    save_file({"x": np.zeros(3, np.float32)}, file)
    with pytest.raises(UserError, match="not one that `detkit propose` wrote"):
        ProposalStore.open(file)
    write_store(file, Origin("edge_boxes", {}), NAMES, random_proposals(0).__getitem__)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    with pytest.raises(UserError, match="damaged or cut off"):
        ProposalStore.open(file)
    file.write_bytes(whole.replace(b'"detkit_proposals": "1"', b'"detkit_proposals": "9"'))
    with pytest.raises(UserError, match="in format 9"):
        ProposalStore.open(file)


def test_two_images_of_one_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="two images are called 'a'"):
        write_store(tmp_path / "x", Origin("file", {}), ["a", "b", "a"], lambda i: Proposals.empty())
    assert list(tmp_path.iterdir()) == []


def parts_of(tmp_path: Path, key: str = "key") -> StoreParts:
    return StoreParts(tmp_path / "store.safetensors", NAMES, Origin("edge_boxes", {"seed": 1}, key))


def test_parts_of_any_order_and_length_become_the_store(tmp_path: Path) -> None:
    wanted = random_proposals(4)
    first, second = parts_of(tmp_path), parts_of(tmp_path)
    for image in (3, 0):
        first.add(image, wanted[image], 1.0)
    second.add(1, wanted[1], 0.5)
    second.add(2, wanted[2], 0.5)
    assert first.missing(range(4)) == [0, 1, 2]
    first.flush()
    with pytest.raises(UserError, match=r"2 of 4 images are not done yet, such as b/ü.jpg"):
        first.join()
    second.flush()
    assert parts_of(tmp_path).missing(range(4)) == []
    store = parts_of(tmp_path).join()
    for image, proposals in enumerate(wanted):
        assert_same(store(image), proposals)
    assert store.origin == Origin("edge_boxes", {"seed": 1}, "key", 3.0)
    assert [file.name for file in tmp_path.iterdir()] == ["store.safetensors"]
    assert parts_of(tmp_path).is_joined()
    assert len(parts_of(tmp_path).join()) == 4


def test_parts_of_something_else_do_not_count(tmp_path: Path) -> None:
    other = parts_of(tmp_path, "other")
    for image, proposals in enumerate(random_proposals(5)):
        other.add(image, proposals, 1.0)
    other.flush()
    (tmp_path / "store.safetensors.parts" / "00000000-00000004.x.safetensors").write_bytes(b"cut off")
    assert parts_of(tmp_path).missing(range(4)) == [0, 1, 2, 3]
    other.join()
    with pytest.raises(UserError, match="exists already and holds boxes by edge_boxes"):
        parts_of(tmp_path).is_joined()


def test_work_reaches_the_disk_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.proposals.store.parts.MOST_IMAGES", 2)
    parts = parts_of(tmp_path)
    for image, proposals in enumerate(random_proposals(6)[:3]):
        parts.add(image, proposals, 1.0)
    assert parts_of(tmp_path).missing(range(4)) == [2, 3]


def written(folder: Path, header: Any = None, **changes: NDArray[Any] | None) -> Path:
    """Write a store by safetensors, some of its arrays or all of its header another."""
    file = folder / "changed.safetensors"
    write_store(file, Origin("edge_boxes", {}), NAMES, random_proposals(0).__getitem__)
    metadata, _ = map_arrays(file)
    arrays = {name: array for name, array in {**load_file(file), **changes}.items() if array is not None}
    save_file(arrays, file, metadata)
    if header is not None:
        content = file.read_bytes()
        length = int.from_bytes(content[:8], "little")
        text = json.dumps(header(json.loads(content[8 : 8 + length]))).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    return file


def changed(array: str, **about: Any) -> Any:
    return lambda header: {**header, array: {**header[array], **about}}


@pytest.mark.parametrize(
    "changes",
    [
        {"boxes": None},
        {"names": None},
        {"boxes": np.zeros((9, 5), np.float32)},
        {"boxes": np.zeros((9, 4), np.int64)},
        {"boxes": np.zeros((10**4, 4), np.float32)},
        {"scores": np.zeros(8, np.float32)},
        {"scores": np.zeros((9, 1), np.float32)},
        {"offsets": np.array([0, 3, 3, 4, 10])},
        {"offsets": np.array([0, 4, 3, 4, 9])},
        {"offsets": np.array([1, 3, 3, 4, 9])},
        {"offsets": np.array([0, 2**63 - 1, -(2**63), 4, 9])},
        {"offsets": np.array([0, 3, 9])},
        {"offsets": np.zeros(0, np.int64)},
        {"name_offsets": np.array([0, 5, 3, 11, 16])},
        {"header": changed("boxes", shape=[10**12, 4], data_offsets=[80, 80 + 16 * 10**12])},
        {"header": changed("boxes", shape=[10**12, 4])},
        {"header": changed("boxes", shape=[-1, 4])},
        {"header": changed("boxes", shape=[0, 2**62, 2**62], data_offsets=[0, 0])},
        {"header": changed("boxes", shape=[9] * 100_000)},
        {"header": changed("boxes", data_offsets=[-144, 0])},
        {"header": lambda header: {**header, "__metadata__": {"detkit_proposals": "1"}}},
        {"header": lambda header: {**header, "__metadata__": {"detkit_proposals": "1", "origin": "[1]"}}},
        {
            "header": lambda header: {
                **header,
                "__metadata__": {"detkit_proposals": "1", "origin": "[" * 10**5},
            }
        },
    ],
)
def test_what_does_not_fit_together_is_damage(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert len(ProposalStore.open(written(tmp_path))) == 4
    with pytest.raises(UserError, match=r"changed.safetensors: the file is damaged or cut off \("):
        ProposalStore.open(written(tmp_path, **changes))


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"boxes": ' * 10**4, '{"boxes": %s}' % ("9" * 10**4), '{"boxes": 1}', "null", "[]"]
)
def test_headers_that_are_none(tmp_path: Path, text: str) -> None:
    for length in (len(text), 2**63, 99_999_999):
        (tmp_path / "x.safetensors").write_bytes(length.to_bytes(8, "little") + text.encode())
        with pytest.raises(UserError, match="not a safetensors file"):
            ProposalStore.open(tmp_path / "x.safetensors")


@pytest.mark.parametrize("wild", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("place", [(4, 0), (4, 3), (4,)])
def test_numbers_that_are_none_are_named_with_their_image(
    tmp_path: Path, wild: float, place: tuple[int, ...]
) -> None:
    arrays = load_file(written(tmp_path))
    name = "boxes" if len(place) == 2 else "scores"
    arrays[name][place] = wild
    if name == "scores" and np.isfinite(wild):
        arrays[name][place] = np.inf
    store = ProposalStore.open(written(tmp_path, **arrays))
    assert [len(store(image)) for image in range(3)] == [3, 0, 1]
    with pytest.raises(UserError, match=r"image 'd.jpg' has the box \[.*\] \(x1 y1 x2 y2\) with score"):
        store(3)


def test_boxes_that_end_before_they_begin(tmp_path: Path) -> None:
    turned = np.ascontiguousarray(load_file(written(tmp_path))["boxes"][:, [2, 1, 0, 3]])
    with pytest.raises(UserError, match=r"image 'a\.jpg' has the box"):
        ProposalStore.open(written(tmp_path, boxes=turned))(0)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "itself.safetensors").symlink_to("itself.safetensors")
    for name in ("pipe", "itself", "x" * 300, "folder"):
        (tmp_path / "folder.safetensors").mkdir(exist_ok=True)
        with pytest.raises(UserError, match=r": cannot be read: no such file, or not a regular one"):
            ProposalStore.open(tmp_path / f"{name}.safetensors")


def test_the_file_does_not_tell_how_long_it_took(tmp_path: Path) -> None:
    contents = []
    for seconds in (0.1, 0.2):
        parts = parts_of(tmp_path)
        for image, found in enumerate(random_proposals(0)):
            parts.add(image, found, seconds)
        parts.flush()
        assert parts.join().origin.seconds == pytest.approx(4 * seconds)
        contents.append(parts.file.read_bytes())
        parts.file.unlink()
    assert contents[0] == contents[1]


def test_a_disk_that_fails_is_said_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    file = tmp_path / "store.safetensors"
    write_store(file, Origin("edge_boxes", {}), NAMES, random_proposals(0).__getitem__)
    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(UserError) as told:
        map_arrays(file)
    assert str(told.value) == f"{file}: cannot be read: Input/output error"
