"""No test reaches the network: opening an internet socket fails, but for tests that start processes.

No generated input is a failure because the machine was busy, and nothing is kept in the user's cache.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# A busy machine is slow, and that is no fault of what is tested.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")

INTERNET = (socket.AF_INET, socket.AF_INET6)
closed = [True]


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Stop what opens an internet socket or looks up a name, whatever library asks for it."""
    opens = event == "socket.__new__" and arguments[1] in (*INTERNET, -1)
    if closed[0] and (opens or event == "socket.getaddrinfo"):
        raise RuntimeError(f"a test reached for the network: {event} {arguments[1:]}")


sys.addaudithook(refuse)  # it cannot be taken away again, so `closed` says whether it counts


@pytest.fixture(autouse=True)
def network(request: pytest.FixtureRequest) -> Iterator[None]:
    closed[0] = request.node.get_closest_marker("local_sockets") is None
    yield
    closed[0] = True


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests compute out of the user's own cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
