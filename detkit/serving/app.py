"""The web application behind `detkit serve`: one detector, images in, detections as JSON out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from fastapi import Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from detkit.errors import UserError, cut
from detkit.inference.predictor import Predictor
from detkit.inference.results import record
from detkit.inference.score_floor import Aim
from detkit.serving.upload import Upload, body_of, decode, discard_body, upload_of
from detkit.storage.json_text import json_bytes
from detkit.version import VERSION

_PAGE = Path(__file__).with_name("page.html")
_CONTENT = (
    "default-src 'none'; img-src blob:; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DECODED = 2  # images that are held as pixels at a time: one is detected in while the next is decoded
_GONE = 499  # nobody hears the answer


@dataclass(frozen=True)
class Limits:
    """What a server takes on.

    Attributes:
        bytes: largest body of a request.
        pixels: largest image.
        waiting: requests at a time, those that are worked on among them; others are refused (503).
        read_s: longest time in which a request has to arrive (408).
        wait_s: longest time that it waits for its turn (503).
    """

    bytes: int = 20 << 20
    pixels: int = 50_000_000
    waiting: int = 32
    read_s: float = 30.0
    wait_s: float = 60.0


class Service:
    """One detector that many ask at the same time, one image after another.

    Args:
        predictor: the detector.
        limits: what is taken on.
        threshold: lowest score reported where a request names none; see `Predictor.predict`.
    """

    def __init__(self, predictor: Predictor, limits: Limits, threshold: float | Aim | None) -> None:
        self.predictor, self.limits = predictor, limits
        self.waiting = self.done = 0
        self._threshold = threshold
        self._turns = asyncio.Semaphore(_DECODED)
        self._decoding = ThreadPoolExecutor(_DECODED, thread_name_prefix="detkit-decode")
        self._detecting = ThreadPoolExecutor(1, thread_name_prefix="detkit-detect")

    async def answer(self, request: Request) -> dict[str, Any]:
        """Return the record of the image in a request; see `detkit.inference.results.record`.

        Raises:
            HTTPException: the request is wrong, too large, too slow, or one too many.
        """
        try:
            if self.waiting >= self.limits.waiting:
                await self._in_time(discard_body(request, self.limits.bytes))
                _refuse(503, f"busy: {self.limits.waiting} requests wait already; try again later")
            self.waiting += 1
            try:
                body = await self._in_time(body_of(request, self.limits.bytes))
                return await self._detect(request, await upload_of(request, body))
            finally:
                self.waiting -= 1
        except ClientDisconnect:
            _refuse(_GONE, "the connection was cut")
        except UserError as error:
            _refuse(400, str(error))

    async def _in_time(self, reading: Any) -> Any:
        try:
            async with asyncio.timeout(self.limits.read_s):
                return await reading
        except TimeoutError:
            _refuse(408, f"the request did not arrive within {self.limits.read_s:g} seconds")

    async def _detect(self, request: Request, upload: Upload) -> dict[str, Any]:
        threshold = self._threshold if upload.threshold is None else upload.threshold
        self.predictor.floors(threshold, upload.classes)  # what is wrong with them needs no turn
        try:
            async with asyncio.timeout(self.limits.wait_s):
                await self._turns.acquire()
        except TimeoutError:
            _refuse(503, f"busy: no turn within {self.limits.wait_s:g} seconds; try again later")
        try:
            if await request.is_disconnected():
                raise ClientDisconnect
            pixels = await _in(self._decoding, partial(decode, upload.image, self.limits.pixels))
            detect = partial(self.predictor.predict, pixels, threshold=threshold, only=upload.classes)
            found = await _in(self._detecting, detect)
        except Exception as error:
            if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's
                _refuse(503, "out of memory; try again later, or a smaller image")
            raise
        finally:
            self._turns.release()
        self.done += 1
        return record(found, self.predictor.category_ids) | {"image": upload.name}


def make_app(
    predictor: Predictor,
    *,
    model: str,
    limits: Limits | None = None,
    threshold: float | Aim | None = None,
    hosts: tuple[str, ...] | None = None,
) -> FastAPI:
    """Return the application: `POST /predict`, `GET /health` and a page to try it at `/`.

    An image comes as the body, as a file of a form or in JSON as base64 (`upload_of`). No path and no address
    in a request is opened. Errors are `{"error": text}`.

    Args:
        predictor: the detector.
        model: what it is called.
        limits: what is taken on; None takes the defaults.
        threshold: lowest score reported where a request names none.
        hosts: names by which the server may be addressed, so that no page of another site reaches it by a
            name of its own; None takes any.
    """

    async def require_host(request: Request) -> None:
        if hosts is not None and request.url.hostname not in hosts:
            _refuse(421, "this server is not known by that name")

    service = Service(predictor, limits or Limits(), threshold)
    # Their pages would load scripts from elsewhere.
    app = FastAPI(
        title="detkit",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(require_host)],
    )

    @app.post("/predict", response_model=None)
    async def predict(request: Request) -> Response:
        return _json(await service.answer(request))

    @app.get("/health", response_model=None)
    async def health() -> Response:
        known = {"classes": list(predictor.classes), "licence": predictor.licence}
        numbers = {"waiting": service.waiting, "done": service.done}
        return _json({"status": "ok", "model": model, "version": VERSION, **known, **numbers})

    @app.get("/", response_model=None)
    async def page() -> Response:
        headers = {"content-security-policy": _CONTENT, "x-content-type-options": "nosniff"}
        return Response(_PAGE.read_bytes(), media_type="text/html", headers=headers)

    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(Exception, _our_bug)
    return app


async def _in(pool: ThreadPoolExecutor, work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _refuse(status: int, text: str) -> NoReturn:
    again = {"retry-after": "1"} if status == 503 else None
    raise HTTPException(status, cut(text, 500), headers=again)


def _json(value: Any, status: int = 200, headers: Any = None) -> Response:
    return Response(json_bytes(value), status, headers, "application/json")


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code, error.headers)


async def _our_bug(request: Request, error: Exception) -> Response:
    return _json({"error": "an error in detkit, not in the request; the server's log has it"}, 500)
