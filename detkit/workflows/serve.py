"""`detkit serve`: a trained detector behind an address."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from detkit.errors import UserError
from detkit.inference.model_file import model_path
from detkit.inference.score_floor import Aim
from detkit.runs.predictor import build_predictor
from detkit.runtime.progress import say


def serve(
    weights: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    threshold: float | Aim | None = None,
    device: str = "auto",
    max_mb: int = 20,
    max_megapixels: int = 50,
    queue: int = 32,
    allow_custom: bool = False,
    on_start: Callable[[dict[str, Any]], None] = lambda about: None,
) -> None:
    """Serve a trained detector over HTTP until Ctrl-C; see `detkit.serving.app.make_app`.

    Args:
        weights: a model.safetensors, or the folder of a run that holds one.
        host: where to listen; only this machine reaches 127.0.0.1.
        port: 0 takes a free one.
        threshold: lowest score reported where a request names none, as in `predict`.
        device: auto, cpu, cuda, cuda:N or mps.
        max_mb: largest request in MiB.
        max_megapixels: largest image in million pixels.
        queue: requests that are worked on or wait at a time; others are refused.
        allow_custom: let the model file run code that it names (`type: custom`); what runs is said.
        on_start: called with `{address, host, port, model, classes}` once it can be asked.

    Raises:
        UserError: the weights cannot be read, an option is none of these, the port is taken, or the extra
            `serve` is not installed.
        KeyboardInterrupt: after Ctrl-C, when the last requests are answered.
    """
    if not all(map(find_spec, ("fastapi", "uvicorn", "python_multipart"))):
        raise UserError("serve needs FastAPI: pip install fastapi uvicorn python-multipart")
    from detkit.serving.app import Limits, make_app
    from detkit.serving.server import LOOPBACK, address_of, is_loopback, listen, server_of

    limits = Limits(bytes=max_mb << 20, pixels=max_megapixels * 1_000_000, waiting=queue)
    weights = model_path(weights)
    with listen(host, port) as listening:  # before the model is read: that a port is taken is said at once
        predictor = build_predictor(weights, device, allow_custom=allow_custom)
        # What is wrong with the threshold is said now, and loops are compiled before the first request.
        predictor.predict(np.zeros((64, 64, 3), np.uint8), threshold=threshold)
        if not is_loopback(host):
            say(f"warning: --host {host}: whoever reaches this machine can use it; no password is asked")
        model = "/".join(weights.absolute().parts[-2:])
        hosts = (*LOOPBACK, host) if is_loopback(host) else None
        app = make_app(predictor, model=model, limits=limits, threshold=threshold, hosts=hosts)
        about = {"address": address_of(listening), "host": host, "port": listening.getsockname()[1]}
        on_start(about | {"model": model, "classes": list(predictor.classes)})
        server_of(app).run(sockets=[listening])
