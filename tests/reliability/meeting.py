"""Where the processes of a test meet, as torchrun tells them."""

from __future__ import annotations

import socket


def meeting(num_processes: int) -> list[dict[str, str]]:
    """Return the environment of each process; a single one meets nobody."""
    if num_processes == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(num_processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**shared, "RANK": str(number)} for number in range(num_processes)]
