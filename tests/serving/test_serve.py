"""A real server on a free port, and what reaches it: images, and whatever else people send."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from detkit.errors import UserError
from tests.inference.bright import picture, predictor

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")
pytest.importorskip("python_multipart")
pytest.importorskip("uvicorn")

from detkit.serving.app import Limits, make_app  # noqa: E402 (they need what is skipped without)
from detkit.serving.server import LOOPBACK, address_of, is_loopback, listen, server_of  # noqa: E402

pytestmark = pytest.mark.local_sockets

LIMITS = Limits(bytes=200_000, pixels=100_000, waiting=16, read_s=300.0, wait_s=300.0)


class Running(NamedTuple):
    url: str
    app: Any

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@contextmanager
def running(limits: Limits = LIMITS, own: Any = None) -> Iterator[Running]:
    app = make_app(own or predictor(), model="runs/model.safetensors", limits=limits, hosts=LOOPBACK)
    with listen("127.0.0.1", 0) as listening:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield Running(address_of(listening), app)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    from tests.conftest import closed

    closed[0] = False  # the socket is made before the marker of a test counts
    with running() as one:
        yield one


def encoded(kind: str = "PNG", size: tuple[int, int] = (40, 60)) -> bytes:
    pixels = picture(*size, (5, 6, 25, 20, 0, 200), (30, 8, 50, 30, 2, 250))
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


IMAGE = encoded()


def found_in(answer: Any) -> list[tuple[str, list[float]]]:
    assert answer.status_code == 200, answer.text
    return [(one["label"], one["box"]) for one in answer.json()["detections"]]


BOTH = [("blue", [30, 8, 50, 30]), ("red", [5, 6, 25, 20])]


def test_an_image_comes_as_body_as_form_and_as_base64(server: Running) -> None:
    url = f"{server.url}/predict"
    with httpx.Client() as client:
        as_body = client.post(url, content=IMAGE)
        assert found_in(as_body) == BOTH
        assert as_body.json().keys() == {
            *("image", "width", "height", "detections", "error", "frame", "time_s")
        }
        assert [as_body.json()[key] for key in ("image", "width", "height", "error")] == [None, 60, 40, None]
        as_form = client.post(url, files={"file": ("../a.png", IMAGE)})
        assert (found_in(as_form), as_form.json()["image"]) == (BOTH, "../a.png")
        text = base64.b64encode(IMAGE).decode()
        for given in (text, f"data:image/png;base64,{text}"):
            assert found_in(client.post(url, json={"image": given})) == BOTH
        assert found_in(client.post(url, content=IMAGE, params={"class": "red"})) == BOTH[1:]
        assert found_in(client.post(url, content=IMAGE, params={"threshold": 0.9})) == BOTH[:1]
        form = {"class": ["red", "green"], "threshold": "0.1"}
        assert found_in(client.post(url, files={"file": IMAGE}, data=form)) == BOTH[1:]
        asked = {"image": text, "classes": ["blue"], "threshold": 0.1, "name": "b"}
        assert found_in(client.post(url, json=asked)) == BOTH[:1]


def test_boxes_are_in_the_image_as_it_is_seen(server: Running) -> None:
    turned = Image.fromarray(picture(40, 60, (5, 6, 25, 20, 0, 200)))
    exif = turned.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    turned.save(stream, "PNG", exif=exif)
    answer = httpx.post(f"{server.url}/predict", content=stream.getvalue())
    assert (answer.json()["width"], answer.json()["height"]) == (40, 60)
    assert found_in(answer) == [("red", [20, 5, 34, 25])]


def bomb(side: int) -> bytes:
    stream = io.BytesIO()
    Image.new("1", (side, side)).save(stream, "PNG")
    return stream.getvalue()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n"
FORM = {"content-type": "multipart/form-data"}
WRONG: dict[str, tuple[int, str, dict[str, Any]]] = {
    "empty": (400, "the body is empty", {"content": b""}),
    "text": (400, "not an image that can be read (JPEG, PNG, ", {"content": b"no image"}),
    "cut off": (400, "truncated", {"content": IMAGE[: len(IMAGE) // 2]}),
    "a program": (400, "begins with b'%!PS'", {"content": EPS}),
    "many pixels": (400, "too large (400 x 400 pixels); at most 100,000", {"content": bomb(400)}),
    "a bomb": (400, "too large", {"content": bomb(20_000)}),
    "many bytes": (413, "at most 0.190735 MiB", {"content": bytes(300_000)}),
    "far too many": (413, "at most 0.190735 MiB", {"content": bytes(200), "stated": 10**12}),
    "no file": (400, "the form has no file", {"data": {"a": "b"}, "files": {}, "form": True}),
    "two files": (400, "not a form", {"files": {"a": b"a", "b": b"b"}}),
    "no boundary": (400, "not a form", {"content": b"x", "headers": FORM}),
    "no JSON": (400, "not JSON", {"content": b"{", "headers": {"content-type": "application/json"}}),
    "other JSON": (400, "base64 of an image file", {"json": [1]}),
    "an address": (400, "no address and no path is opened", {"json": {"image": "http://host/a.jpg"}}),
    "a path": (400, "no address and no path", {"json": {"image": "../../etc/passwd"}}),
    "other key": (400, "'url': no such key", {"json": {"image": "", "url": "http://host/a.jpg"}}),
    "no score": (400, "threshold: a score", {"content": IMAGE, "params": {"threshold": "nan"}}),
    "no number": (400, "threshold", {"json": {"image": "aaaa", "threshold": [1]}}),
    "no class": (
        400,
        "no class 'rad'; did you mean \"red\"?",
        {"content": IMAGE, "params": {"class": "rad"}},
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_a_request_is_said(server: Running, case: str) -> None:
    status, text, sent = WRONG[case]
    sent = dict(sent)
    if stated := sent.pop("stated", None):
        head = f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: {stated}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(head.encode() + sent["content"])
            head_line, _, rest = raw.makefile("rb").read().partition(b"\r\n")
        assert int(head_line.split()[1]) == status
        assert text in json.loads(rest.partition(b"\r\n\r\n")[2])["error"]
        return
    if sent.pop("form", False):
        sent = {"content": b'--b\r\ncontent-disposition: form-data; name="a"\r\n\r\nb\r\n--b--\r\n'}
        sent["headers"] = {"content-type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}/predict", **sent)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert text in answer.json()["error"]


def test_other_addresses_and_other_names_are_refused(server: Running) -> None:
    assert httpx.get(f"{server.url}/nothing").json() == {"error": "Not Found"}
    assert httpx.get(f"{server.url}/predict").status_code == 405
    other = httpx.get(f"{server.url}/health", headers={"host": "evil.example"})
    assert (other.status_code, "not known by that name" in other.json()["error"]) == (421, True)
    assert httpx.get(f"{server.url}/docs").status_code == 404


def test_health_and_the_page(server: Running) -> None:
    about = httpx.get(f"{server.url}/health").json()
    assert (about["status"], about["model"], about["classes"], about["waiting"]) == (
        "ok",
        "runs/model.safetensors",
        ["red", "green", "blue"],
        0,
    )
    page = httpx.get(server.url)
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not any(word in page.text for word in ("http://", "https://", "src=", "innerHTML"))


def test_a_slow_request_is_ended_and_a_cut_one_forgotten() -> None:
    with running(Limits(read_s=0.2)) as one:
        head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc"
        with socket.create_connection(("127.0.0.1", one.port)) as slow:
            slow.sendall(head)
            answer = slow.makefile("rb").readline()
        assert b" 408 " in answer
        with socket.create_connection(("127.0.0.1", one.port)) as cut:
            cut.sendall(head)
        assert found_in(httpx.post(f"{one.url}/predict", content=IMAGE)) == BOTH
        assert httpx.get(f"{one.url}/health").json()["waiting"] == 0


def test_one_too_many_is_refused_and_a_bug_of_ours_is_no_end(caplog: pytest.LogCaptureFixture) -> None:
    own = predictor()
    go, begun = threading.Event(), threading.Event()
    plain = own.model.detect

    def detect(images: Any) -> Any:
        begun.set()
        go.wait(30)
        if images.originals[0] == (3, 5):
            raise RuntimeError("a bug")
        return plain(images)

    object.__setattr__(own.model, "detect", detect)
    with running(Limits(waiting=2), own) as one:
        url = f"{one.url}/predict"
        answers: list[Any] = []

        def post() -> None:
            answers.append(httpx.post(url, content=IMAGE))

        ask = [threading.Thread(target=post) for _ in "ab"]
        for thread in ask:
            thread.start()
        begun.wait(30)
        while httpx.get(f"{one.url}/health").json()["waiting"] < 2:
            time.sleep(0.01)
        third = httpx.post(url, content=IMAGE)
        assert (third.status_code, third.headers["retry-after"]) == (503, "1")
        assert third.json()["error"].startswith("busy: 2 requests wait already")
        go.set()
        for thread in ask:
            thread.join()
        assert [found_in(answer) for answer in answers] == [BOTH, BOTH]
        broken = httpx.post(url, content=encoded(size=(3, 5)))
        assert (broken.status_code, broken.json()["error"][:15]) == (500, "an error in det")
        assert found_in(httpx.post(url, content=IMAGE)) == BOTH


def test_a_taken_port_and_an_unknown_host_are_the_users() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(UserError, match="cannot be listened at"):
        listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(UserError, match="cannot be listened at"):
        listen("256.0.0.1", 0)
    assert [is_loopback(host) for host in ("::1", "127.9.9.9", "0.0.0.0", "host")] == [
        True,
        True,
        False,
        False,
    ]


async def _cut(port: int, content: bytes) -> int:
    """Send a part of a request, and cut the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(content))
    writer.write(content[: len(content) // 2])
    await writer.drain()
    writer.close()
    return 0


async def mixed(one: Running, count: int, at_once: int) -> Counter[tuple[str, int]]:
    """Send requests of every kind, and return how many of each kind had each status; 0 of a cut one."""
    choose = random.Random(0)
    text = base64.b64encode(IMAGE).decode()
    kinds: dict[str, dict[str, Any]] = {
        "image": {"content": IMAGE},
        "form": {"files": {"file": ("a.png", IMAGE)}},
        "json": {"json": {"image": text}},
        "bad": {"content": b"no image"},
        "pixels": {"content": bomb(2000)},
        "bytes": {"content": bytes(300_000)},
        "cut": {},
    }
    found = Counter[tuple[str, int]]()
    limit = asyncio.Semaphore(at_once)

    async def ask(kind: str) -> None:
        async with limit:
            if kind == "cut":
                status = await _cut(one.port, IMAGE)
            else:
                answer = await client.post(f"{one.url}/predict", **kinds[kind])
                status = answer.status_code
                assert ("error" in answer.json()) if status != 200 else answer.json()["detections"]
            found[kind, status] += 1

    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(timeout=600, limits=limits) as client:
        await asyncio.gather(*(ask(choose.choice(list(kinds))) for _ in range(count)))
    return found


EXPECTED = {"image": 200, "form": 200, "json": 200, "bad": 400, "pixels": 400, "bytes": 413, "cut": 0}


def require_answers(one: Running, count: int, at_once: int) -> Counter[tuple[str, int]]:
    """Check that each request has its answer or was refused as one too many, and that the server is well."""
    found = asyncio.run(mixed(one, count, at_once))
    assert found.total() == count
    assert all(status in (EXPECTED[kind], 503) for kind, status in found), found
    assert {kind for kind, status in found if status == EXPECTED[kind]} == EXPECTED.keys()
    assert found_in(httpx.post(f"{one.url}/predict", content=IMAGE)) == BOTH
    deadline = time.monotonic() + 30
    while httpx.get(f"{one.url}/health").json()["waiting"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert httpx.get(f"{one.url}/health").json()["waiting"] == 0
    return found


def test_mixed_requests_have_their_answers(server: Running) -> None:
    require_answers(server, 100, 20)


def resident_mb() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line]
    return int(line.split()[1]) / 1024


@pytest.mark.slow
def test_a_thousand_requests_at_a_time_leave_no_memory_behind(server: Running) -> None:
    require_answers(server, 300, 100)
    before = resident_mb()
    require_answers(server, 1000, 400)
    assert resident_mb() - before < 50


def test_no_pixels_of_other_requests_are_kept(server: Running) -> None:
    alone = httpx.post(f"{server.url}/predict", content=encoded(size=(8, 8))).json()
    assert (alone["width"], alone["height"]) == (8, 8)
    np.testing.assert_allclose([one["box"] for one in alone["detections"]], [[5, 6, 8, 8]], atol=0.3)
