"""What `detkit serve` stands: latency, requests a second and memory under mixed requests.

A server is started with a small Faster R-CNN of random weights. Clients send images in each of the three
ways (one after another, then many at a time), and then a mixture of images, damaged ones, bombs, bodies that
are too large and connections that are cut.

    python benchmarks/serve.py [--requests 1000] [--clients 16] [--at-once 400] [--json FILE]

`ours_s` is the median latency; `p95_s` and `p99_s` beside it are the percentiles, `per_second` the requests
answered, `growth_mib` what the server's memory grew by in the mixture, after one that warmed it up (Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import io
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from measuring.small_model import resident_mib, scenes, write_model
from measuring.turns import claim_of, deliver, rounded
from PIL import Image

LARGEST_MB = 2


@contextlib.contextmanager
def server(weights: Path) -> Iterator[tuple[str, int]]:
    """Start a server, and return its address and its process."""
    about = weights.with_name("about.json")
    command = ["-m", "detkit", "serve", str(weights), "--port", "0", "--device", "cpu", "--json", str(about)]
    command += ["--max-mb", str(LARGEST_MB), "--queue", "32"]
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL) as process:
        try:
            while not about.exists():
                if process.poll() is not None:
                    raise SystemExit("the server did not start")
                time.sleep(0.1)
            yield json.loads(about.read_text())["address"], process.pid
        finally:
            process.terminate()


def encoded(pixels: Any, kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def good_requests() -> dict[str, dict[str, Any]]:
    image = encoded(scenes(1)[0])
    return {
        "body": {"content": image},
        "form": {"files": {"file": ("a.jpg", image)}},
        "json": {"json": {"image": base64.b64encode(image).decode()}},
    }


def bad_requests() -> dict[str, dict[str, Any]]:
    image = encoded(scenes(1)[0])
    return {
        "damaged": {"content": image[: len(image) // 2]},
        "no image": {"content": b"no image"},
        "bomb": {"content": encoded(np.zeros((8000, 8000), bool), "PNG")},
        "too large": {"content": bytes((LARGEST_MB << 20) + 1)},
        "cut": {},
    }


async def cut(url: str, content: bytes) -> int:
    host, _, port = url.removeprefix("http://").partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n" + content)
    await writer.drain()
    writer.close()
    return 0


async def send(
    url: str, kinds: Mapping[str, dict[str, Any]], count: int, at_once: int
) -> tuple[list[tuple[str, int, float]], float]:
    """Return kind, status and seconds of each request, and the seconds of all."""
    choose, taken, turns = random.Random(0), list[tuple[str, int, float]](), asyncio.Semaphore(at_once)

    async def one(client: httpx.AsyncClient, kind: str) -> None:
        async with turns:
            start = time.perf_counter()
            if kind == "cut":
                status = await cut(url, b"abc")
            else:
                status = (await client.post(f"{url}/predict", **kinds[kind])).status_code
            taken.append((kind, status, time.perf_counter() - start))

    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    begin = time.perf_counter()
    async with httpx.AsyncClient(timeout=600, limits=limits) as client:
        await asyncio.gather(*(one(client, choose.choice(list(kinds))) for _ in range(count)))
    return taken, time.perf_counter() - begin


def claim(text: str, taken: list[tuple[str, int, float]], seconds: float, **more: Any) -> dict[str, Any]:
    answered = [s for _, status, s in taken if status == 200]
    p95, p99 = np.percentile(answered, [95, 99]).tolist()
    statuses = {str(status): count for status, count in sorted(Counter(s for _, s, _ in taken).items())}
    rates = {"p95_s": rounded(p95), "p99_s": rounded(p99), "per_second": rounded(len(taken) / seconds)}
    return claim_of(text, answered, **rates, statuses=statuses, **more)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--at-once", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    good, every = good_requests(), good_requests() | bad_requests()
    with tempfile.TemporaryDirectory() as name:
        weights = Path(name) / "model.safetensors"
        write_model(weights)
        with server(weights) as (url, process):
            count = options.requests
            asyncio.run(send(url, good, 20, 1))
            alone = asyncio.run(send(url, good, max(1, count // 5), 1))
            many = asyncio.run(send(url, good, count, options.clients))
            asyncio.run(send(url, every, count, options.at_once))
            before = resident_mib(str(process))
            mixed = asyncio.run(send(url, every, count, options.at_once))
            growth = resident_mib(str(process)) - before
            healthy = httpx.get(f"{url}/health").json()["waiting"] == 0
    wrong = {status for kind, status, _ in mixed[0] if kind in good and status not in (200, 503)}
    crowd = f"{count:,} mixed requests, {options.at_once} at a time: an image's latency"
    more = {"growth_mib": rounded(growth), "healthy": healthy and not wrong}
    deliver(
        [
            claim("detkit serve, one client: latency", *alone),
            claim(f"detkit serve, {options.clients} clients: latency", *many),
            claim(f"detkit serve, {crowd}", *mixed, **more),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
