"""Garbage collection paused while millions of records are read."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """Pause the collection of cycles in a `with`, or in a function decorated with `@paused_collection()`.

    A parsed file is a tree of new dicts and lists without cycles. While it grows, the collector would
    search it over and over: half of the time it takes to read a COCO-size file.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
