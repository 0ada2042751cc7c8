from __future__ import annotations

import socket
import urllib.request

import pytest


def test_tests_have_no_network() -> None:
    with pytest.raises(RuntimeError, match="reached for the network"):
        socket.socket()
    with pytest.raises(RuntimeError, match="reached for the network"):
        socket.create_connection(("127.0.0.1", 9))
    with pytest.raises(RuntimeError, match="reached for the network"):
        urllib.request.urlopen("http://example.com")


@pytest.mark.local_sockets
def test_a_test_of_several_processes_may_look_for_a_free_port() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
