"""Trains the tiny detector in a process of its own, so that a test may kill it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # the first optimizer of a process would import it, which takes seconds

from detkit.errors import UserError
from detkit.runtime.processes import process_group, rank, world_size
from detkit.training.loop.milestones import Report
from tests.training.loop.tiny import Loader, TinyDetector, tiny_model, train, weights

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])  # torch is imported once for all processes


def plain_model() -> TinyDetector:
    """Return a model whose result for an image does not depend on the rest of the batch, nor on chance."""
    model = tiny_model(dropout=0.0)
    model.norm = torch.nn.Identity()  # type: ignore[assignment]
    return model


def start(folder: Path, epochs: int, **settings: Any) -> BaseProcess:
    folder.mkdir(exist_ok=True)
    (folder / "steps").write_text("")
    process = CONTEXT.Process(target=_learn, args=(folder, epochs, settings))
    process.start()
    return process


def run(folder: Path, epochs: int, **settings: Any) -> str:
    """Train to the end and return what went wrong, or nothing."""
    process = start(folder, epochs, **settings)
    process.join()
    error = folder / "error.txt"
    return error.read_text() if error.exists() else ""


def _learn(folder: Path, epochs: int, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    os.environ.update(settings.get("environment", {}))
    if limit := settings.get("file_limit"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def on_step(report: Report) -> None:
        with (folder / "steps").open("a") as stream:
            stream.write(f"{report.step}\n")
        time.sleep(settings.get("step_s", 0.0))

    (folder / "error.txt").unlink(missing_ok=True)
    try:
        with process_group(torch.device("cpu")):
            model = plain_model() if settings.get("plain") else tiny_model()
            train(
                model,
                epochs=epochs,
                loader=Loader(rank=rank(), world=world_size()),
                folder=folder,
                ema_decay=0.9,
                save_every_steps=settings.get("save_every", 0),
                resumes=settings.get("resumes", False),
                clip_norm=0.5,
                on_step=on_step,
            )
            if rank() == 0:
                torch.save(weights(model), folder / "weights.pt")
    except (UserError, KeyboardInterrupt) as error:
        (folder / "error.txt").write_text(f"{type(error).__name__}: {error}")
