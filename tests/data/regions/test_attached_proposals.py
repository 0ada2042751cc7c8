from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from detkit.data.datasets.source import Source, file_source
from detkit.data.regions import attached_proposals as proposals_of_set
from detkit.data.regions.attached_proposals import attach_proposals
from detkit.data.regions.training_regions import TrainingRegions
from detkit.data.synthetic.dataset import SyntheticSet, write_synthetic
from detkit.errors import UserError
from detkit.proposals.config import ExternalProposalsConfig, ProposalFileConfig, SelectiveSearchConfig
from detkit.proposals.proposals import Proposals, ranked
from detkit.proposals.store.aligned import Aligned
from detkit.proposals.store.store import Origin, ProposalStore, write_store
from detkit.spec import CustomConfig
from detkit.storage.content_keys import cache_folder

SEARCH = SelectiveSearchConfig(type="selective_search", mode="single")
looked_at: list[tuple[int, ...]] = []


def quarter(picture: NDArray[np.uint8]) -> Proposals:
    """One box, the first quarter of the image, and one for its brightness."""
    looked_at.append(picture.shape)
    height, width = picture.shape[:2]
    return ranked(np.array([[0, 0, width / 2, height / 2], [0, 0, width, picture.mean()]], np.float32))


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DETKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(proposals_of_set, "build_proposer", lambda spec: quarter)
    looked_at.clear()


def drawn(num_images: int, seed: int = 0) -> Source:
    images = SyntheticSet(num_images, seed)
    return Source(images.annotations(), images.render)


def boxes_of(source: Source, image: int) -> list[list[float]]:
    assert source.proposals is not None
    boxes = source.proposals(image)
    assert boxes.dtype == np.float32
    return boxes.tolist()


def test_drawn_images_get_boxes_once(capsys: pytest.CaptureFixture[str]) -> None:
    source = drawn(3)
    found = attach_proposals(SEARCH, source, "train")
    for image in range(3):
        assert boxes_of(found, image) == quarter(source.pixels(image)).boxes.tolist()
    assert "3 images of data.train: selective_search" in capsys.readouterr().err
    looked_at.clear()
    again = attach_proposals(SEARCH, drawn(3), "val")
    assert looked_at == []
    assert boxes_of(again, 2) == boxes_of(found, 2)
    assert capsys.readouterr().err == ""
    sent = pickle.dumps(found.proposals)
    assert pickle.loads(sent)(1).tolist() == boxes_of(found, 1)


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        (SelectiveSearchConfig(type="selective_search", mode="single", seed=1), drawn(2)),
        (SEARCH, drawn(2, seed=1)),
        (SEARCH, drawn(1)),
    ],
)
def test_other_images_or_parameters_are_another_store(spec: ExternalProposalsConfig, source: Source) -> None:
    attach_proposals(SEARCH, drawn(2), "train")
    looked_at.clear()
    attach_proposals(spec, source, "train")
    assert len(looked_at) == source.annotations.num_images


def test_a_changed_image_file_is_looked_at_again(tmp_path: Path) -> None:
    from detkit.annotations.voc import read_voc

    write_synthetic(tmp_path / "shapes", "voc", 2, 1, extension=".png")
    source = file_source(read_voc(tmp_path / "shapes", ("train",)))
    before = boxes_of(attach_proposals(SEARCH, source, "train"), 0)
    assert len(looked_at) == 2
    images = sorted((tmp_path / "shapes" / "JPEGImages").glob("train_*"))
    images[0].write_bytes(images[1].read_bytes())
    assert boxes_of(attach_proposals(SEARCH, source, "train"), 0) != before
    assert len(looked_at) == 4


def test_what_is_done_before_a_stop_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    source = drawn(20)

    def stops(picture: NDArray[np.uint8]) -> Proposals:
        if len(looked_at) == 12:
            raise KeyboardInterrupt
        return quarter(picture)

    monkeypatch.setattr(proposals_of_set, "num_cores", lambda: 1)
    monkeypatch.setattr(proposals_of_set, "build_proposer", lambda spec: stops)
    with pytest.raises(KeyboardInterrupt):
        attach_proposals(SEARCH, source, "train")
    looked_at.clear()
    monkeypatch.setattr(proposals_of_set, "build_proposer", lambda spec: quarter)
    found = attach_proposals(SEARCH, source, "train")
    assert len(looked_at) == 8
    assert boxes_of(found, 5) == quarter(source.pixels(5)).boxes.tolist()
    (kept,) = (cache_folder() / "proposals").iterdir()
    assert kept.suffix == ".safetensors"


def test_waiting_processes_are_told_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals_of_set, "world_size", lambda: 2)
    monkeypatch.setattr(proposals_of_set, "_ROUND_S", 0.0)
    assert boxes_of(attach_proposals(SEARCH, drawn(3), "train"), 2)
    assert len(looked_at) >= 3


def test_a_users_own_method_is_used_again_until_its_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from detkit.proposals.builder import build_proposer

    monkeypatch.setattr(proposals_of_set, "build_proposer", build_proposer)
    monkeypatch.syspath_prepend(str(tmp_path))
    code = (
        "import numpy as np\nfrom detkit.proposals.proposals import ranked\n"
        "def make(side):\n"
        "    return lambda image: ranked(np.array([[0, 0, side, side]], np.float32))\n"
    )
    (tmp_path / "own_boxes.py").write_text(code, encoding="utf-8")
    spec = CustomConfig(type="custom", target="own_boxes:make", args={"side": 3})
    assert boxes_of(attach_proposals(spec, drawn(1), "train"), 0) == [[0, 0, 3, 3]]
    attach_proposals(spec, drawn(1), "train")
    assert len(list((cache_folder() / "proposals").iterdir())) == 1
    (tmp_path / "own_boxes.py").write_text(code + "\n", encoding="utf-8")
    attach_proposals(spec, drawn(1), "train")
    assert len(list((cache_folder() / "proposals").iterdir())) == 2


def test_boxes_from_a_file_follow_the_images_names(tmp_path: Path) -> None:
    source = drawn(3)
    names = ["x/000002.jpg", "x/000000.jpg", "x/extra.jpg", "x/000001.jpg"]
    found = [ranked(np.full((4, 4), i, np.float32)) for i in range(4)]
    write_store(tmp_path / "own.safetensors", Origin("mine", {}), names, found.__getitem__)
    spec = ProposalFileConfig(type="file", train=str(tmp_path / "own.safetensors"), max_boxes=2)
    message = attach_proposals(spec, source, "train")
    assert [boxes_of(message, image) for image in range(3)] == [[[i] * 4] * 2 for i in (1, 3, 0)]
    assert looked_at == []


def test_wrong_files(tmp_path: Path) -> None:
    file = tmp_path / "own.safetensors"
    spec = ProposalFileConfig(type="file", train=str(file))
    with pytest.raises(UserError, match=r"detector\.proposals\.val: names no file"):
        attach_proposals(spec, drawn(1), "val")
    with pytest.raises(UserError, match=r"own\.safetensors"):
        attach_proposals(spec, drawn(1), "train")
    write_store(file, Origin("mine", {}), ["000001"], lambda i: Proposals.empty())
    with pytest.raises(UserError, match=r"no proposals for 2 of 3 images: 000000, 000002"):
        attach_proposals(spec, drawn(3), "train")
    assert len(ProposalStore.open(file)) == 1


def test_images_that_a_file_passes_over_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.safetensors"
    write_store(file, Origin("mine", {}), ["a"], lambda i: ranked(np.ones((1, 4), np.float32)))
    for unlisted, said in (
        (0, ""),
        (1, "own.mat: nothing about 1 image of data.train, which gets no proposals\n"),
        (2, "own.mat: nothing about 2 images of data.train, which get no proposals\n"),
    ):
        kept = Aligned(file, np.zeros(1, np.int64), unlisted)
        monkeypatch.setattr(proposals_of_set, "aligned_store", lambda *_, kept=kept: kept)
        found = attach_proposals(ProposalFileConfig(type="file", train="own.mat"), drawn(1), "train")
        assert capsys.readouterr().err == said
        assert boxes_of(found, 0) == [[1, 1, 1, 1]]


def test_what_a_method_returns_must_be_proposals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposals_of_set, "build_proposer", lambda spec: lambda picture: [[0, 0, 1, 1]])
    with pytest.raises(UserError) as caught:
        attach_proposals(SEARCH, drawn(1), "train")
    assert str(caught.value) == (
        "a method of proposals must return detkit.proposals.proposals.Proposals, not list"
    )


def test_a_store_that_another_machine_does_not_see_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposals_of_set, "from_main", lambda work: tmp_path / "there.safetensors")
    monkeypatch.setattr(proposals_of_set, "rank", lambda: 3)
    with pytest.raises(UserError) as caught:
        attach_proposals(SEARCH, drawn(1), "train")
    assert str(caught.value) == (
        f"{tmp_path / 'there.safetensors'}: process 3 does not see what process 0 wrote there; on several "
        "machines set DETKIT_CACHE to a folder that all of them share"
    )


def test_regions_to_learn_from_need_proposals() -> None:
    with pytest.raises(UserError) as caught:
        TrainingRegions.of(drawn(1))
    assert str(caught.value) == "detector.proposals: R-CNN is trained on proposals, and there are none"
